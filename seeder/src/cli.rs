//! The commands of `quantumcoin-seeder`.

mod check;
mod keys;
mod settings;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode},
    rr::{Name, RecordType},
};
use quantumcoin::{
    service::{
        cli::{EXIT_CODES, ShapeCommand},
        config::{Loaded, Mistakes, command::ConfigCommand, flags::Flags},
        logging::{self, LogOptions},
        output, shutdown, supervisor,
    },
    store::StoreReader,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use crate::{
    config::{SeederConfig, keys::Everywhere},
    follow::unix_now,
    respond,
    server::{Control, Seeder},
    snapshot::Snapshot,
    zone::dump,
};

/// Authoritative DNS server that answers from the crawl.
#[derive(Debug, Parser)]
#[command(name = "quantumcoin-seeder", version, about, max_term_width = 100, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}\n{LOGS}"))]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  quantumcoin-seeder run --contact seed@example.net --ns ns1.example.net
  quantumcoin-seeder run --network devnet --zone seed.test --listen 127.0.0.1:5353 --refresh-seconds 1
  quantumcoin-seeder check --zone seed.example.org --ns-address 192.0.2.53 --ns-address 2001:db8::53
  quantumcoin-seeder query seed1.quantumcoin.network AAAA
  quantumcoin-seeder zone --dump --zone seed1.quantumcoin.network
  quantumcoin-seeder keys generate --zone seed1.quantumcoin.network --keys /var/lib/quantumcoin-seeder/keys
  quantumcoin-seeder config check --config seeder.toml
  quantumcoin-seeder config show";

const LOGS: &str = "Logs go to standard error; QTC_LOG sets the filter, as in QTC_LOG=debug.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve DNS until SIGTERM or SIGINT.
    Run,
    /// Find what is wrong with a seeder, its machine and its delegation, and say how to mend it.
    ///
    /// Takes the same settings as `run`, prints the records that belong into the parent zone, and exits with 1 when there is an error.
    Check(check::Check),
    /// Print what would be answered now, without a server.
    Query {
        /// The name, as in seed1.quantumcoin.network or x9.seed1.quantumcoin.network.
        name: String,
        /// The type: A, AAAA, SRV, TXT, NS, SOA …
        #[arg(default_value = "A")]
        kind: String,
        /// With signatures and proofs, if the zone has keys.
        #[arg(long)]
        dnssec: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make, show and replace the keys that zones are signed with.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Print the zones.
    Zone {
        /// As master files, with all peers. Without it, only their names.
        #[arg(long)]
        dump: bool,
        /// The names as JSON.
        #[arg(long, conflicts_with = "dump")]
        json: bool,
    },
    /// Show or check the settings, or print a commented settings file.
    #[command(subcommand)]
    Config(ConfigCommand<settings::Nothing>),
    #[command(flatten)]
    Shape(ShapeCommand),
}

/// What every command needs to know. Flags come before the environment, the file and the defaults.
#[derive(Debug, Clone, Args)]
struct Options {
    #[command(flatten)]
    flags: Flags<Everywhere>,
    /// TOML file with the same keys (name_servers and name_server_addresses for the two --ns flags), and more: see
    /// docs/seeder.md.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "QTC_SEEDER_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = anyhow::Error::from(error).context("the runtime can't be started");
            output::complain(&*error);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(dispatch(cli));
    // What was answered has been sent, for as long as that may take (`DRAIN`). A read that hangs on a dead disk is not waited for:
    // nothing depends on it, and it would hold us up until somebody kills us.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        output::complain(&*error);
        ExitCode::FAILURE
    })
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let flags = cli.options;
    match cli.command {
        Command::Shape(command) => print(&command.text(Cli::command())?)?,
        Command::Config(command) => return settings::config(command, &flags).await,
        command => return carry_out(command, flags).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(command: Command, flags: Options) -> anyhow::Result<ExitCode> {
    let loaded = flags.load();
    let level = match command {
        Command::Run => "info",
        _ => "warn",
    };
    start_logging(loaded.as_ref().ok(), level)?;
    let config = match loaded {
        Ok(loaded) => SeederConfig::of(&loaded).await,
        Err(mistakes) => Err(mistakes),
    };
    match command {
        Command::Run => run(config?, flags).await?,
        Command::Check(how) => return check::run(config.map_err(Into::into), how).await,
        Command::Query {
            name,
            kind,
            dnssec,
            json,
        } => query(&config?, &name, &kind, Shown { dnssec, json }).await?,
        Command::Keys(command) => print(&keys::run(&config?, &command)?)?,
        Command::Zone { dump, json } => zones(&config?, dump, json).await?,
        // They are carried out without a configuration, before.
        Command::Config(_) | Command::Shape(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// With the defaults where the settings can't be read: `check` tells what is wrong with them.
fn start_logging(loaded: Option<&Loaded>, level: &str) -> Result<(), logging::LogError> {
    let text = |key| loaded.and_then(|loaded| loaded.text(key));
    logging::init(&LogOptions {
        level: text("log").unwrap_or(level).to_owned(),
        format: text("log_format")
            .and_then(|format| format.parse().ok())
            .unwrap_or_default(),
    })
}

impl Options {
    fn load(&self) -> Result<Loaded, Mistakes> {
        Loaded::read(
            &crate::config::keys::PROGRAM,
            &settings::sources(self).inputs(),
        )
    }
}

async fn run(config: SeederConfig, flags: Options) -> anyhow::Result<()> {
    let (stop, hangups) = (shutdown::signals(), shutdown::reloads());
    let seeder = Seeder::bind(config).await?;
    let reloading = tokio::spawn(reload(seeder.control(), flags, hangups));
    if let Some(addr) = seeder.http_addr() {
        tracing::info!(%addr, "serving status, metrics and health");
    }
    let telling = tokio::spawn(supervisor::report(seeder.health().clone(), stop.clone()));
    let ran = seeder.run(stop.clone()).await;
    stop.cancel();
    telling.await?;
    ran?;
    reloading.abort();
    Ok(())
}

/// Reads settings and keys again at each SIGHUP. What is wrong with them is told, and the old ones stay.
async fn reload(control: Control, flags: Options, mut hangups: watch::Receiver<u64>) {
    while hangups.changed().await.is_ok() {
        let result = async {
            let config = SeederConfig::of(&flags.load()?).await?;
            anyhow::Ok(control.reload(&config).await?)
        };
        match result.await {
            Ok(()) => tracing::info!("settings and keys were read again"),
            Err(error) => tracing::error!("the settings stay as they were: {error:#}"),
        }
    }
}

/// What of an answer is wanted, and how.
#[derive(Debug, Clone, Copy)]
struct Shown {
    dnssec: bool,
    json: bool,
}

async fn query(config: &SeederConfig, name: &str, kind: &str, shown: Shown) -> anyhow::Result<()> {
    let mut owner =
        Name::from_ascii(name).with_context(|| format!("{name:?} is no domain name"))?;
    owner.set_fqdn(true);
    let kind: RecordType = kind.to_ascii_uppercase().parse().map_err(|_| {
        anyhow::anyhow!("{kind:?} is no record type: use A, AAAA, SRV, TXT, NS, SOA …")
    })?;
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(hickory_proto::op::Query::query(owner, kind));
    if shown.dnssec {
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        message.set_edns(edns);
    }
    let snapshot = load(config).await?;
    let response = respond::answer_once(config, snapshot, &message.to_vec()?)?;
    let message = Message::from_vec(&response)?;
    print(&if shown.json {
        format!("{}\n", as_json(&message))
    } else {
        render(&message)
    })
}

async fn zones(config: &SeederConfig, dump: bool, json: bool) -> anyhow::Result<()> {
    let zones = config.build_zones()?;
    if !dump {
        let names: Vec<String> = zones.iter().map(|zone| zone.apex().to_string()).collect();
        if json {
            return print(&format!("{}\n", serde_json::to_string(&names)?));
        }
        return print(&format!("{}\n", names.join("\n")));
    }
    let snapshot = load(config).await?;
    let port = config.spec.network_protocol.default_port;
    for zone in &zones {
        print(&dump::master_file(zone, &snapshot, port)?)?;
    }
    Ok(())
}

/// The snapshot that a seeder would start with.
async fn load(config: &SeederConfig) -> anyhow::Result<Snapshot> {
    let (policy, now) = (config.policy(&config.build_zones()?), unix_now());
    let mut rng = StdRng::from_os_rng();
    let read = async {
        let path = config.store.as_ref().context("no store")?;
        let reader = StoreReader::open(path).await?;
        let found = reader.network().await?;
        anyhow::ensure!(
            found == config.spec.network,
            "{} holds the crawl of {found}, not of {}",
            path.display(),
            config.spec.network
        );
        anyhow::Ok(reader.good_peers(now).await?)
    };
    let snapshot = match read.await {
        Ok(set) if !set.peers.is_empty() => Snapshot::build(set, &policy, None, now, &mut rng),
        other => {
            let nodes = &config.spec.discovery.bootstrap_nodes;
            let why = match other {
                Ok(_) => "the store holds no good peer".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            tracing::warn!(
                nodes = nodes.len(),
                "using the chain spec's bootstrap nodes: {why}"
            );
            Snapshot::bootstrap(nodes, &policy, None, now, &mut rng)
        }
    };
    Ok(snapshot)
}

/// As `dig` shows it: the code, then the sections.
fn render(message: &Message) -> String {
    let mut text = format!("; {}\n", message.metadata.response_code);
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    for (name, records) in sections {
        if !records.is_empty() {
            text.push_str(&format!("; {name}\n"));
            for record in records {
                dump::line(&mut text, record);
            }
        }
    }
    text
}

/// The same as one object: each record with its name, TTL, type and data.
fn as_json(message: &Message) -> serde_json::Value {
    let record = |record: &hickory_proto::rr::Record| {
        serde_json::json!({
            "name": record.name.to_string(),
            "ttl": record.ttl,
            "type": record.record_type().to_string(),
            "data": record.data.to_string(),
        })
    };
    let section =
        |records: &[hickory_proto::rr::Record]| records.iter().map(record).collect::<Vec<_>>();
    serde_json::json!({
        "code": message.metadata.response_code.to_string(),
        "answer": section(&message.answers),
        "authority": section(&message.authorities),
        "additional": section(&message.additionals),
    })
}

/// Results go to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    Ok(output::print(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
