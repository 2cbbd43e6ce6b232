//! The machine's clock: against a time server (SNTP), and against what can't be.
//!
//! Signatures, key changes and the age of peers are all measured by it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use crate::{
    ask::{self, PATIENCE, Question, Via},
    words::span,
};

use super::{CheckOptions, Finding, Level, Topic};

/// The port of NTP (RFC 5905, 7.2).
const NTP_PORT: u16 = 123;

/// Bytes of a packet without extensions (RFC 4330, 4).
const PACKET: usize = 48;

/// First byte of a question: no leap warning, version 4, client (RFC 4330, 4).
const CLIENT: u8 = 4 << 3 | 3;

/// Seconds from 1900, where NTP begins, to 1970 (RFC 5905, figure 4).
const EPOCH: f64 = 2_208_988_800.0;

/// Seconds of an era: then its 32 bits begin anew, for the first time on 7 February 2036.
const ERA: f64 = 4_294_967_296.0;

/// Time servers of each family asked at once; a pool's name has four addresses, and the quickest answer is the most
/// exact.
const SERVERS: usize = 4;

/// Seconds by which a clock may be wrong without a word: what any NTP daemon does better, and no TTL or signature
/// feels.
const TOLERANCE: f64 = 1.0;

/// Seconds beyond which a clock is plainly not set. Our signatures begin an hour early, so validators forgive more;
/// but key changes, and the crawler's idea of which peers are fresh, go by it too.
const BROKEN: f64 = 300.0;

/// Seconds that a probe may lie ahead of now: the crawler may have written it while we looked.
const AHEAD: i64 = 60;

/// What a time server said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Offset {
    /// Who said it.
    pub(super) server: SocketAddr,
    /// Seconds that our clock is behind; negative when it is ahead.
    pub(super) seconds: f64,
    /// Seconds that question and answer took.
    pub(super) took: f64,
}

/// What asking came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// It was not to be asked.
    No,
    /// Nobody answered.
    Unreachable(String),
    /// An answer.
    Told(Offset),
}

/// A packet that tells no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum SntpError {
    #[error("it is no answer to our question")]
    Foreign,
    #[error("the server's own clock is not set")]
    Unset,
    #[error("the server does not want to be asked ({0})")]
    Kiss(String),
}

/// When a server got the question and when it sent the answer, Unix seconds by its clock.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    received: f64,
    sent: f64,
}

/// A question. `nonce` stands where our time would: it comes back and shows that the answer is to us, and tells
/// nobody our clock.
fn question(nonce: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = CLIENT;
    if let Some(transmitted) = packet.last_chunk_mut() {
        *transmitted = nonce.to_be_bytes();
    }
    packet
}

/// Reads an answer (RFC 4330, 5).
fn read(packet: &[u8], nonce: u64) -> Result<Told, SntpError> {
    let field = |at: usize| -> Option<[u8; 8]> { packet.get(at..at + 8)?.try_into().ok() };
    let [first, stratum, ..] = packet else {
        return Err(SntpError::Foreign);
    };
    let (leap, mode) = (first >> 6, first & 7);
    let times = [24, 32, 40].map(|at| field(at).map(u64::from_be_bytes));
    let [Some(origin), Some(received), Some(sent)] = times else {
        return Err(SntpError::Foreign);
    };
    // 4 is a server; 5, broadcast, was not asked for.
    if mode != 4 || origin != nonce {
        return Err(SntpError::Foreign);
    }
    match stratum {
        // The reference identifier holds four letters that say why.
        0 => {
            let why = packet.get(12..16).unwrap_or_default();
            Err(SntpError::Kiss(why.escape_ascii().to_string()))
        }
        1..=15 if leap != 3 && sent != 0 => Ok(Told {
            received: unix(received),
            sent: unix(sent),
        }),
        _ => Err(SntpError::Unset),
    }
}

/// An NTP timestamp as Unix seconds. Without its highest bit it is of the era that begins in 2036 (RFC 4330, 3).
fn unix(timestamp: u64) -> f64 {
    let (seconds, fraction) = (timestamp >> 32, timestamp & u64::from(u32::MAX));
    let era = if seconds & 0x8000_0000 == 0 { ERA } else { 0.0 };
    // Both have 32 bits: exact.
    seconds as f64 + fraction as f64 / ERA + era - EPOCH
}

/// Seconds that our clock is behind. The question left at `left` and the answer came at `came`, by our clock; both
/// ways are taken to be equally long (RFC 4330, 5).
fn offset(told: Told, left: f64, came: f64) -> f64 {
    ((told.received - left) + (told.sent - came)) / 2.0
}

/// Asks the time server that the options name.
pub(super) async fn look(options: &CheckOptions) -> Asked {
    if options.offline {
        return Asked::No;
    }
    let servers = find(&options.ntp, &options.resolvers).await;
    if servers.is_empty() {
        return Asked::Unreachable(format!("no address of {} is known", options.ntp));
    }
    let asked = ask::all(servers.into_iter().map(ask)).await;
    let mut failure = String::new();
    let mut best: Option<Offset> = None;
    for answer in asked {
        match answer {
            Ok(offset) if best.is_none_or(|best| offset.took < best.took) => best = Some(offset),
            Ok(_) => {}
            Err(why) => failure = why,
        }
    }
    best.map_or(Asked::Unreachable(failure), Asked::Told)
}

/// The addresses of a time server by the resolvers: the system's own might hang for long without a network.
async fn find(host: &str, resolvers: &[SocketAddr]) -> Vec<SocketAddr> {
    if let Ok(addr) = host.parse() {
        return vec![addr];
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip, NTP_PORT)];
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(NTP_PORT)),
        None => (host, NTP_PORT),
    };
    let Ok(mut name) = Name::from_ascii(name) else {
        return Vec::new();
    };
    name.set_fqdn(true);
    let kinds = [RecordType::A, RecordType::AAAA];
    let pairs = resolvers
        .iter()
        .flat_map(|resolver| kinds.map(|kind| (*resolver, kind)));
    let asked = pairs.map(|(resolver, kind)| {
        let question = Question::of_resolver(&name, kind);
        async move { ask::ask(resolver, &question, Via::Either).await }
    });
    let answers = ask::all(asked).await.into_iter().flatten();
    // A name may stand for another one: all addresses in the answer are meant.
    let records = answers.flat_map(|message| message.answers);
    let ips: BTreeSet<IpAddr> = records.filter_map(|record| record.data.ip_addr()).collect();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = ips.into_iter().partition(IpAddr::is_ipv4);
    let some = |ips: Vec<IpAddr>| ips.into_iter().take(SERVERS);
    some(v4)
        .chain(some(v6))
        .map(|ip| SocketAddr::new(ip, port))
        .collect()
}

async fn ask(server: SocketAddr) -> Result<Offset, String> {
    let asked = async {
        let socket = ask::connected(server).await?;
        let nonce = rand::random();
        let (left, start) = (unix_seconds(), Instant::now());
        socket.send(&question(nonce)).await?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).await?;
        let took = start.elapsed().as_secs_f64();
        let packet = buffer.get(..length).unwrap_or_default();
        let told = read(packet, nonce).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(Offset {
            server,
            seconds: offset(told, left, left + took),
            took,
        })
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(offset)) => Ok(offset),
        Ok(Err(error)) => Err(format!("{server}: {error}")),
        Err(_) => Err(format!(
            "{server}: no answer within {} s",
            PATIENCE.as_secs()
        )),
    }
}

fn unix_seconds() -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs_f64()
}

/// What is known about the clock.
#[derive(Debug)]
pub(super) struct Facts {
    /// What it says, Unix seconds.
    pub(super) now: i64,
    /// What a time server says.
    pub(super) offset: Asked,
    /// When the crawler's newest probe passed, Unix seconds.
    pub(super) newest_probe: Option<i64>,
    /// When the network began, Unix seconds.
    pub(super) genesis: i64,
    /// Whether a zone is signed.
    pub(super) signed: bool,
}

const SET_IT: &str = "set the clock and keep it set: `timedatectl set-ntp true`, or install chrony; \
 `timedatectl` shows what it does";

/// Judges the clock.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let of = |level, found: String, mend: &str| {
        Finding::new(Topic::Clock, level, "this machine", found, mend)
    };
    let mut findings = Vec::new();
    if facts.now < facts.genesis {
        let found =
            "the clock is before the network's first block, so that it is wrong by a long way";
        findings.push(of(Level::Error, found.to_owned(), SET_IT));
    }
    let ahead = facts
        .newest_probe
        .map_or(0, |at| at.saturating_sub(facts.now));
    if ahead > AHEAD {
        let found = format!(
            "the newest probe in the store lies {} in the future: this clock is late, or was early when the \
             crawler wrote",
            span(ahead)
        );
        findings.push(of(Level::Error, found, SET_IT));
    }
    findings.push(match &facts.offset {
        Asked::No => of(
            Level::Note,
            "not compared with a time server (--offline)".to_owned(),
            "leave --offline out to compare it",
        ),
        Asked::Unreachable(why) => of(
            Level::Note,
            format!("no time server is reachable from here ({why})"),
            "name one that is, with --ntp HOST; `timedatectl` tells what the system thinks of its clock",
        ),
        Asked::Told(offset) => judge_offset(*offset, facts.signed),
    });
    findings
}

fn judge_offset(offset: Offset, signed: bool) -> Finding {
    let by = offset.seconds.abs();
    let direction = if offset.seconds > 0.0 {
        "late"
    } else {
        "early"
    };
    let (level, mend) = match by {
        by if by > BROKEN && signed => (Level::Error, SET_IT),
        by if by > TOLERANCE => (Level::Warning, SET_IT),
        _ => (Level::Ok, ""),
    };
    let effect = match level {
        Level::Error => "; validators may take signatures for not yet or no more valid",
        _ => "",
    };
    let found = format!("{by:.3} s {direction} by {}{effect}", offset.server);
    Finding::new(Topic::Clock, level, "this machine", found, mend)
}

#[cfg(test)]
mod tests;
