//! `dump`: every probed address, in the columns of the well-known seeder dump, as CSV or as JSON.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::service::files;
use quantumcoin::store::StoreReader;
use quantumcoin::store::queries::PeerLine;
use serde_json::json;

use super::commands::{open_reader, print};
use crate::config::CrawlerConfig;
use crate::probe::unix_now;

/// Rows that are read at a time.
const BATCH: u32 = 10_000;

/// How a dump is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns of bitcoin-seeder's dump, which many scripts read.
    SeedsTxt,
    /// Comma-separated, with a header.
    Csv,
    /// One array of objects.
    Json,
}

pub(super) async fn dump(
    config: &CrawlerConfig,
    format: Format,
    only_good: bool,
    out: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let reader = open_reader(config).await?;
    let lines = lines(&reader, format, only_good).await?;
    match out {
        None => print(lines.trim_end())?,
        Some(path) => files::replace(path, |file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("{} can't be written", path.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn lines(reader: &StoreReader, format: Format, only_good: bool) -> anyhow::Result<String> {
    let set = reader.good_peers(unix_now()).await?;
    let good: HashSet<SocketAddr> = set.peers.iter().map(|peer| peer.addr).collect();
    let banned = reader.banned(unix_now()).await?;
    let mut text = format.header().to_owned();
    let (mut after, mut first) = (0, true);
    loop {
        let (batch, last) = reader.peers_after(after, BATCH, &banned).await?;
        if batch.is_empty() {
            break;
        }
        after = last;
        for line in batch {
            let good = good.contains(&line.facts.addr);
            if only_good && !good {
                continue;
            }
            format.line(&mut text, &line, good, first)?;
            first = false;
        }
    }
    text.push_str(format.footer());
    Ok(text)
}

impl Format {
    fn header(self) -> &'static str {
        match self {
            Self::SeedsTxt => SEEDS_HEADER,
            Self::Csv => CSV_HEADER,
            Self::Json => "[",
        }
    }

    fn footer(self) -> &'static str {
        if self == Self::Json { "\n]\n" } else { "" }
    }

    fn line(self, text: &mut String, line: &PeerLine, good: bool, first: bool) -> std::fmt::Result {
        match self {
            Self::SeedsTxt => seeds(text, line, good),
            Self::Csv => csv(text, line, good),
            Self::Json => {
                let comma = if first { "" } else { "," };
                write!(text, "{comma}\n{}", object(line, good))
            }
        }
    }
}

/// As bitcoin-seeder has it.
const SEEDS_HEADER: &str = "# address                                        good  lastSuccess    %(2h)   %(8h)   %(1d)   %(7d)  %(30d)  blocks      svcs  version\n";

const CSV_HEADER: &str = "address,good,last_outcome,last_ok_at,last_probe_at,probes,passed,\
     reliability_2h,reliability_8h,reliability_1d,reliability_7d,reliability_30d,\
     height,services,protocol_version,connect_ms,user_agent\n";

fn seeds(text: &mut String, line: &PeerLine, good: bool) -> std::fmt::Result {
    let facts = &line.facts;
    write!(
        text,
        "{:<47}  {:>4}  {:>11}",
        line.address.to_string(),
        u8::from(good),
        facts.last_ok_at.unwrap_or(0)
    )?;
    for window in facts.reliability.windows {
        write!(text, "  {:>6.2}%", 100.0 * window.reliability)?;
    }
    writeln!(
        text,
        "  {:>6}  {:08x}  {} \"{}\"",
        facts.proved_height.unwrap_or(0),
        line.services.unwrap_or(0),
        facts.protocol_version.unwrap_or(0),
        agent(line)
    )
}

fn csv(text: &mut String, line: &PeerLine, good: bool) -> std::fmt::Result {
    let facts = &line.facts;
    let number = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
    write!(
        text,
        "{},{},{},{},{},{},{}",
        line.address,
        u8::from(good),
        facts.last_outcome.map_or("", Outcome::as_str),
        number(facts.last_ok_at),
        line.last_probe_at,
        facts.reliability.probes,
        facts.reliability.successes
    )?;
    for window in facts.reliability.windows {
        write!(text, ",{:.4}", window.reliability)?;
    }
    writeln!(
        text,
        ",{},{},{},{},\"{}\"",
        number(facts.proved_height.map(i64::from)),
        line.services.map_or_else(String::new, |s| s.to_string()),
        number(facts.protocol_version.map(i64::from)),
        number(line.connect_ms.map(i64::from)),
        agent(line).replace('"', "\"\"")
    )
}

fn object(line: &PeerLine, good: bool) -> serde_json::Value {
    let facts = &line.facts;
    let windows = facts.reliability.windows.map(|window| window.reliability);
    json!({
        "address": line.address.to_string(),
        "good": good,
        "last_outcome": facts.last_outcome.map(Outcome::as_str),
        "last_ok_at": facts.last_ok_at,
        "last_probe_at": line.last_probe_at,
        "probes": facts.reliability.probes,
        "passed": facts.reliability.successes,
        "reliability": windows,
        "height": facts.proved_height,
        "services": line.services,
        "protocol_version": facts.protocol_version,
        "connect_ms": line.connect_ms,
        "user_agent": line.user_agent,
    })
}

/// The user agent, which the peer chose, without what could end a line or a string.
fn agent(line: &PeerLine) -> String {
    let agent = line.user_agent.as_deref().unwrap_or_default();
    agent
        .chars()
        .filter(|c| !c.is_control() && *c != '"')
        .collect()
}

/// Addresses that a file has, one on each line: its first word, so that a seeder's dump can be read as it is.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = Result<PeerAddress, (usize, &str)>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let word = line.split([' ', '\t', ',']).next().unwrap_or_default();
        if word.is_empty() || word.starts_with('#') || word == "address" {
            return None;
        }
        Some(word.parse().map_err(|_| (index + 1, word)))
    })
}

#[cfg(test)]
mod tests {
    use quantumcoin::reachability::{PeerFacts, Reliability};

    use super::*;

    fn line(agent: &str) -> PeerLine {
        let mut reliability = Reliability::default();
        reliability.update(None, true);
        let addr: SocketAddr = "192.0.2.7:8333".parse().unwrap();
        PeerLine {
            address: addr.into(),
            facts: PeerFacts {
                addr,
                last_outcome: Some(Outcome::Ok),
                last_ok_at: Some(1_800_000_000),
                protocol_version: Some(70_015),
                proved_height: Some(77),
                reliability,
                banned: false,
            },
            user_agent: Some(agent.to_owned()),
            services: Some(1_033),
            last_probe_at: 1_800_000_001,
            connect_ms: Some(12),
        }
    }

    fn written(format: Format, agent: &str) -> String {
        let mut text = String::new();
        format.line(&mut text, &line(agent), true, true).unwrap();
        text
    }

    /// The words that scripts such as Bitcoin Core's `makeseeds.py` take: at least twelve, the user agent in quotes last.
    #[test]
    fn the_columns_of_the_seeder_dump() {
        let text = written(Format::SeedsTxt, "/a:1/");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words.len(), 12);
        assert_eq!(words[..3], ["192.0.2.7:8333", "1", "1800000000"]);
        assert!(words[3..8].iter().all(|word| word.ends_with('%')));
        assert_eq!(words[8..], ["77", "00000409", "70015", "\"/a:1/\""]);
        assert_eq!(SEEDS_HEADER.split_whitespace().count(), 12);
    }

    #[test]
    fn a_hostile_user_agent_stays_in_its_place() {
        let hostile = "a\"\n9.9.9.9:1 1 \u{7}, b";
        for format in [Format::SeedsTxt, Format::Csv] {
            let text = written(format, hostile);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(text.matches('"').count(), 2, "{text}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&written(Format::Json, hostile)).unwrap();
        assert_eq!(json["user_agent"], hostile);
        let header = CSV_HEADER.trim_end().split(',').count();
        assert_eq!(written(Format::Csv, "x").split(',').count(), header);
    }

    #[test]
    fn what_was_dumped_can_be_imported() {
        for format in [Format::SeedsTxt, Format::Csv] {
            let text = format!("{}{}", format.header(), written(format, "/a:1/"));
            let found: Vec<_> = addresses(&text).collect();
            assert_eq!(found, [Ok("192.0.2.7:8333".parse().unwrap())]);
        }
        let found: Vec<_> = addresses("[2001:db8::1]:8333\n\nexample.org:1 x\n").collect();
        assert_eq!(found[1], Err((3, "example.org:1")));
    }
}
