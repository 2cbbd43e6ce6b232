//! Commands that ask a running node, or have it do something: all by its API.
//!
//! Where something is changed, the node's token is read from its data directory, so these commands work for whoever may read that.
//! `tables` says what comes back in words; `--json` prints it as it is.

mod tables;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use axum::http::Method;
use clap::{Args, Subcommand};
use quantumcoin::network::security::operator::Network;
use quantumcoin_node::api::token::{ApiToken, FILE_NAME};
use quantumcoin_node::client;
use quantumcoin_node::config::DEFAULT_HTTP;
use serde_json::{Value, json};

use super::chain::Place;
use super::show;

/// Most characters of a transaction from standard input: the digits of the largest that is relayed, and white space.
const MAX_INPUT: u64 = 300_000;

#[derive(Debug, Subcommand)]
pub(super) enum AskCommand {
    /// Tell whether all is well with a running node, and what to do if not; exit code 1 if it does not do its work
    Health(Api),
    /// List the peers of a running node
    Peers {
        #[command(flatten)]
        api: Api,
        /// Only these: inbound or outbound
        #[arg(long, value_parser = ["inbound", "outbound"])]
        direction: Option<String>,
    },
    /// Show one peer of a running node
    Peer {
        #[command(flatten)]
        api: Api,
        /// The number of its connection, or ADDR:PORT
        peer: String,
    },
    /// Have a running node connect to a peer, and stay connected
    Add {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        secret: Secret,
        /// Its address
        #[arg(value_name = "ADDR:PORT")]
        addr: SocketAddr,
        /// Dial it once, now, and no more when it is gone
        #[arg(long)]
        once: bool,
    },
    /// Have a running node hang up on a peer, and leave it alone for an hour
    Drop {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        secret: Secret,
        /// The number of its connection, or ADDR:PORT
        peer: String,
    },
    /// Have a running node keep a host or network out
    Ban {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        secret: Secret,
        /// ADDR or ADDR/BITS; an IPv6 address stands for its /64
        #[arg(value_name = "NETWORK")]
        target: Network,
        /// How long: 90s, 30m, 24h, 7d, a number of hours, or `ever`
        #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = ban_time)]
        time: BanTime,
        /// Why, for those who read it later
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have a running node let a host or network in again
    Unban {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        secret: Secret,
        /// As `bans` shows it
        #[arg(value_name = "NETWORK")]
        target: Network,
    },
    /// Show what the detectors of a running node have found
    Events {
        #[command(flatten)]
        api: Api,
        /// Only those after this one
        #[arg(long, default_value_t = 0)]
        since: u64,
    },
    /// Show what is in the address book of a running node
    Book(Api),
    /// Show a block of a running node
    Block {
        #[command(flatten)]
        api: Api,
        /// Its height or hash
        block: String,
        /// Leave out so many transactions
        #[arg(long, default_value_t = 0)]
        offset: usize,
        /// Show at most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a header of a running node
    Header {
        #[command(flatten)]
        api: Api,
        /// Its height or hash
        block: String,
    },
    /// Transactions of a running node
    #[command(subcommand)]
    Tx(TxCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// Have it check a transaction and pass it on
    Submit {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        secret: Secret,
        /// Its hexadecimal digits, or - for standard input
        hex: String,
    },
    /// Show one that waits for a block
    Show {
        #[command(flatten)]
        api: Api,
        /// Its id
        txid: String,
    },
}

/// Which node.
#[derive(Debug, Clone, Args)]
pub(super) struct Api {
    /// The API of the node
    #[arg(long, env = "QTC_NODE_HTTP", default_value = DEFAULT_HTTP, value_name = "ADDR:PORT")]
    pub(super) http: SocketAddr,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What shows that we may command it.
#[derive(Debug, Args)]
pub(super) struct Secret {
    #[command(flatten)]
    place: Place,
    /// The node's token [default: api.token in its data directory]
    #[arg(long, env = "QTC_NODE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Secret {
    async fn token(&self) -> anyhow::Result<ApiToken> {
        let path = match &self.token_file {
            Some(path) => path.clone(),
            None => self.place.find(false).await?.1.join(FILE_NAME),
        };
        Ok(ApiToken::load(&path)?)
    }
}

/// How long a ban lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BanTime {
    Seconds(u64),
    Ever,
}

fn ban_time(text: &str) -> Result<BanTime, String> {
    if text == "ever" {
        return Ok(BanTime::Ever);
    }
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "h"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write 90s, 30m, 24h, 7d, a number of hours, or ever".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "there is no number before the unit".to_owned())?;
    Ok(BanTime::Seconds(number.saturating_mul(seconds)))
}

/// What was asked, and how to say what comes back.
struct Question<'a> {
    api: &'a Api,
    secret: Option<&'a Secret>,
    method: Method,
    path: String,
    body: Option<Value>,
}

impl<'a> Question<'a> {
    fn get(api: &'a Api, path: impl Into<String>) -> Self {
        Self {
            api,
            secret: None,
            method: Method::GET,
            path: path.into(),
            body: None,
        }
    }

    fn change(
        api: &'a Api,
        secret: &'a Secret,
        method: Method,
        path: impl Into<String>,
        body: Option<Value>,
    ) -> Self {
        Self {
            api,
            secret: Some(secret),
            method,
            path: path.into(),
            body,
        }
    }

    async fn ask(self) -> anyhow::Result<Value> {
        let token = match self.secret {
            Some(secret) => Some(secret.token().await?),
            None => None,
        };
        let path = format!("/api/v1{}", self.path);
        let secret = token.as_ref().map(ApiToken::secret);
        client::send(
            self.api.http,
            self.method,
            &path,
            secret,
            self.body.as_ref(),
        )
        .await
    }

    /// Asks, and prints the answer: as it is, or in these words.
    async fn print(self, words: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        let json = self.api.json;
        let answer = self.ask().await?;
        let text = if json {
            format!("{answer}\n")
        } else {
            words(&answer)
        };
        show::text(&text);
        Ok(())
    }
}

/// A part of a path or query: everything but letters and digits is escaped.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

pub(super) async fn run(command: AskCommand) -> anyhow::Result<()> {
    match command {
        AskCommand::Health(api) => health(&api).await,
        AskCommand::Peers { api, direction } => {
            let only = direction.map_or_else(String::new, |d| format!("&direction={d}"));
            let question = Question::get(&api, format!("/peers?limit=1000{only}"));
            question.print(tables::peers).await
        }
        AskCommand::Peer { api, peer } => {
            let question = Question::get(&api, format!("/peers/{}", escaped(&peer)));
            question.print(tables::facts).await
        }
        AskCommand::Events { api, since } => {
            let question = Question::get(&api, format!("/events?since={since}"));
            question.print(tables::events).await
        }
        AskCommand::Book(api) => Question::get(&api, "/book").print(tables::facts).await,
        AskCommand::Block {
            api,
            block,
            offset,
            limit,
        } => {
            let path = format!("/blocks/{}?offset={offset}&limit={limit}", escaped(&block));
            Question::get(&api, path).print(tables::facts).await
        }
        AskCommand::Header { api, block } => {
            let question = Question::get(&api, format!("/headers/{}", escaped(&block)));
            question.print(tables::facts).await
        }
        AskCommand::Tx(TxCommand::Show { api, txid }) => {
            let question = Question::get(&api, format!("/transactions/{}", escaped(&txid)));
            question.print(tables::facts).await
        }
        command => change(command).await,
    }
}

/// The commands that change something.
async fn change(command: AskCommand) -> anyhow::Result<()> {
    match command {
        AskCommand::Add {
            api,
            secret,
            addr,
            once,
        } => {
            let body = Some(json!({ "addr": addr, "once": once }));
            let question = Question::change(&api, &secret, Method::POST, "/peers", body);
            let words = |_: &Value| {
                format!(
                    "{addr} is being dialled; `quantumcoin-node peers` shows it once it stands\n"
                )
            };
            question.print(words).await
        }
        AskCommand::Drop { api, secret, peer } => {
            let path = format!("/peers/{}", escaped(&peer));
            let question = Question::change(&api, &secret, Method::DELETE, path, None);
            question.print(tables::dropped).await
        }
        AskCommand::Ban {
            api,
            secret,
            target,
            time,
            reason,
        } => {
            let body = match time {
                BanTime::Seconds(seconds) => {
                    json!({ "network": target, "seconds": seconds, "reason": reason })
                }
                BanTime::Ever => json!({ "network": target, "forever": true, "reason": reason }),
            };
            let question = Question::change(&api, &secret, Method::POST, "/bans", Some(body));
            question.print(tables::banned).await
        }
        AskCommand::Unban {
            api,
            secret,
            target,
        } => {
            let path = format!("/bans?network={}", escaped(&target.to_string()));
            let question = Question::change(&api, &secret, Method::DELETE, path, None);
            let words = |_: &Value| format!("nothing is held against {target} any more\n");
            question.print(words).await
        }
        AskCommand::Tx(TxCommand::Submit { api, secret, hex }) => {
            let body = Some(json!({ "hex": digits(hex)? }));
            let question = Question::change(&api, &secret, Method::POST, "/transactions", body);
            question.print(tables::submitted).await
        }
        // The others change nothing.
        _ => Ok(()),
    }
}

fn digits(argument: String) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .context("standard input can't be read as hexadecimal digits")?;
    Ok(text.split_whitespace().collect())
}

async fn health(api: &Api) -> anyhow::Result<()> {
    let answer = Question::get(api, "/health").ask().await?;
    let text = if api.json {
        format!("{answer}\n")
    } else {
        tables::health(&answer)
    };
    show::text(&text);
    let mut advice = answer["advice"].as_array().into_iter().flatten();
    if answer["status"] == "failing" || advice.any(|one| one["severity"] == "bad") {
        bail!("the node does not do its work; what is above says what to do");
    }
    Ok(())
}

/// The bans of a running node; `None` where none answers.
pub(super) async fn bans(api: &Api) -> anyhow::Result<Option<()>> {
    let answer = Question::get(api, "/bans?limit=1000").ask().await;
    match answer {
        Err(error) if client::is_absent(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => {
            show_bans(
                answer["items"].as_array().map_or(&[][..], Vec::as_slice),
                api.json,
            );
            Ok(Some(()))
        }
    }
}

/// Prints bans, as the API tells them.
pub(super) fn show_bans(bans: &[Value], as_json: bool) {
    let text = if as_json {
        format!("{}\n", Value::from(bans))
    } else {
        tables::bans(bans)
    };
    show::text(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("24h", 86_400),
            ("24", 86_400),
            ("7d", 604_800),
        ] {
            assert_eq!(ban_time(text), Ok(BanTime::Seconds(seconds)), "{text}");
        }
        assert_eq!(ban_time("ever"), Ok(BanTime::Ever));
        for wrong in ["", "h", "1w", "-1h", "1 h", "1.5h"] {
            assert!(ban_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_stands_in_a_path_is_escaped() {
        assert_eq!(escaped("[::1]:8333"), "%5B%3A%3A1%5D%3A8333");
        assert_eq!(escaped("../a?b#c d"), "%2E%2E%2Fa%3Fb%23c%20d");
    }
}
