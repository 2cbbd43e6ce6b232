//! A made-up crawl of a devnet, as a year of it leaves it behind.
//!
//! Everything goes through the store's own writer. Addresses are loopback's (127.0.0.0/8), private ones of IPv6 (fd00::/8) and
//! names of onion services, and peers that pass are due in twelve hours, so that a crawler that is started on it dials only
//! loopback, and nobody there answers.

use std::net::{Ipv6Addr, SocketAddr};

use quantumcoin::reachability::census::{Latencies, OTHER, Quantiles, Trait};
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::reachability::{Outcome, Place, Stage, Transports};
use quantumcoin::store::model::Event;
use quantumcoin::store::{
    Census, Churn, Heard, NetworkSample, Observation, ProbeRecord, Sighting, Store, StoreError,
    Write,
};

/// Seconds.
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// How far back it goes.
const YEAR: i64 = 365 * DAY;

/// Probes of each hour of the past, of every outcome some.
const PROBES_AN_HOUR: u32 = 12;

/// Blocks of the chain now.
const HEIGHT: u32 = 800_000;

/// How probes that fail end, in turn.
const FAILURES: [(Outcome, Stage); 10] = [
    (Outcome::TimeoutConnect, Stage::Dial),
    (Outcome::Refused, Stage::Dial),
    (Outcome::TimeoutConnect, Stage::Dial),
    (Outcome::Unreachable, Stage::Dial),
    (Outcome::NoiseFailed, Stage::Secure),
    (Outcome::Disconnected, Stage::Version),
    (Outcome::TimeoutHandshake, Stage::Secure),
    (Outcome::Behind, Stage::Chain),
    (Outcome::TooOld, Stage::Version),
    (Outcome::WrongNetwork, Stage::Secure),
];

/// What peers call themselves, hostile ones among them: what a page shows of them must be text.
const AGENTS: [&str; 12] = [
    "/quantumcoin:0.3.1/",
    "/quantumcoin:0.3.0/",
    "/quantumcoin:0.3.1(linux)/",
    "/quantumcoin:0.2.9/",
    "/quantumcoin:0.2.8/",
    "/qtcd:1.4/",
    "/qtcd:1.3/",
    "<script>document.title='owned'</script>",
    "=HYPERLINK(\"http://127.0.0.1:1/\",\"x\")",
    "\"><img src=x onerror=alert(1)>",
    "/\u{202e}gnorts:0.1/",
    "/averyveryverylonguseragentwithoutanybreakthatgoesonandonandonandonandonandonandonandonandon:1/",
];

const COUNTRIES: [&str; 12] = [
    "US", "DE", "FR", "NL", "FI", "CH", "CA", "GB", "SG", "JP", "BR", "AU",
];

/// Whether peer `number` passes.
pub(super) fn passes(number: u32) -> bool {
    number % 10 < 6
}

/// Where peer `number` is.
pub(super) fn address(number: u32) -> PeerAddress {
    let [_, b, c, d] = number.to_be_bytes();
    match number % 50 {
        // Those that fail are all where loopback refuses them.
        n if n < 12 && passes(number) => {
            let ip = Ipv6Addr::new(
                0xfd00,
                0x5eed,
                number as u16 & 0xff,
                0,
                0,
                0,
                u16::from(b),
                u16::from_be_bytes([c, d]),
            );
            SocketAddr::from((ip, 8_333)).into()
        }
        13 if passes(number) => {
            let mut key = [7; 32];
            let (start, _) = key.split_at_mut(4);
            start.copy_from_slice(&number.to_be_bytes());
            PeerAddress::Named(OverlayName::Onion(key), 8_333)
        }
        _ => SocketAddr::from(([127, 1 + b, c, d], 8_333)).into(),
    }
}

/// Writes `count` peers and a year up to `now` (Unix seconds) down.
pub(super) async fn fill(store: &Store, count: u32, now: i64) -> Result<(), StoreError> {
    for number in 0..count {
        store.write(told(number, now)).await?;
    }
    past(store, count, now).await?;
    // Three times within an hour, which is what a good peer's record needs.
    for (round, back) in [(0, 2_400), (1, 1_200), (2, 0)] {
        for number in 0..count {
            let at = now - back - i64::from(number % 600) - 1;
            store.write(probe(number, at, now, round)).await?;
        }
        store.flush().await?;
    }
    for n in 0..8 {
        let (kind, detail) = [
            ("local_network_up", ""),
            (
                "local_network_down",
                "good peers stopped answering all at once",
            ),
        ][n % 2];
        let at = now - 9 * HOUR + 600 * n as i64;
        let subject = "IPv6".to_owned();
        store
            .write(Write::Event(Event {
                at,
                kind,
                subject,
                detail: detail.to_owned(),
            }))
            .await?;
    }
    store.close().await
}

/// The roll-ups of a year, oldest first: the network's size by hours, what good peers were like by days, and some probes of
/// every hour.
async fn past(store: &Store, count: u32, now: i64) -> Result<(), StoreError> {
    let (first, mut number) = ((now - YEAR).div_euclid(HOUR), 0_u32);
    for hour in first..now.div_euclid(HOUR) {
        let at = hour * HOUR;
        for n in 0..PROBES_AN_HOUR {
            number = (number + 7_919) % count.max(1);
            store
                .write(probe(number, at + 60 * i64::from(n), now, n))
                .await?;
        }
        let sample = size(count, at, now);
        store.write(Write::Network(sample)).await?;
        if at.rem_euclid(DAY) == 23 * HOUR {
            store
                .write(Write::Census(Box::new(census(&sample))))
                .await?;
            let wave = at.div_euclid(DAY).rem_euclid(7).unsigned_abs();
            let (came, gone) = (sample.good / 60 + wave * 9, sample.good / 70 + wave * 5);
            let day = at - at.rem_euclid(DAY);
            store.write(Write::Churn(Churn { day, came, gone })).await?;
        }
    }
    store.flush().await
}

/// A network that grows over the year and breathes with the day.
fn size(count: u32, at: i64, now: i64) -> NetworkSample {
    let grown = 60 + (at - now + YEAR).clamp(0, YEAR) * 40 / YEAR;
    let breath = 97 + (at.div_euclid(HOUR).rem_euclid(24) - 12).abs() / 4;
    let share =
        |percent: i64| (i64::from(count) * percent * grown * breath / 1_000_000).unsigned_abs();
    NetworkSample {
        at,
        known: share(100),
        reachable: share(72),
        good: share(59),
        height: Some(HEIGHT - u32::try_from((now - at) / 600).unwrap_or(0).min(HEIGHT)),
    }
}

fn census(sample: &NetworkSample) -> Census {
    let shares = Trait::ALL.map(|by| {
        let values = (1..=50_u64).map(|n| {
            let name = match by {
                Trait::UserAgent => format!("/quantumcoin:0.{n}.0/"),
                Trait::ProtocolVersion => (70_000 + n).to_string(),
                Trait::Country => format!(
                    "{}{}",
                    char::from(b'A' + (n % 26) as u8),
                    char::from(b'A' + (n / 26) as u8)
                ),
                Trait::System => (64_000 + n).to_string(),
            };
            (name, sample.good / (n + 2) / 2)
        });
        let rest = (OTHER.to_owned(), sample.good / 10);
        (by, values.chain([rest]).collect())
    });
    let wait = |ms| {
        Some(Quantiles {
            p50: ms,
            p90: ms * 3,
            p99: ms * 9,
        })
    };
    let today = u32::try_from(sample.at.div_euclid(DAY).rem_euclid(5)).unwrap_or(0);
    Census {
        at: sample.at,
        shares: shares.into(),
        latencies: Latencies {
            connect: wait(38 + today),
            secure: wait(90 + today),
            ping: wait(40),
        },
    }
}

/// Somebody has told of it.
fn told(number: u32, now: i64) -> Write {
    Write::Sighting(Sighting {
        address: address(number),
        at: now - YEAR,
        source: "peer:127.0.0.7:8333".to_owned(),
        times: 1 + number % 90,
        told_by: 1 << (number % 32),
        next_due: next_due(number, now),
    })
}

/// Those that pass are not visited for twelve hours; of the others a few each second.
fn next_due(number: u32, now: i64) -> i64 {
    if passes(number) {
        now + DAY / 2
    } else {
        now + i64::from(number % 40_000)
    }
}

fn probe(number: u32, at: i64, now: i64, turn: u32) -> Write {
    let failed = FAILURES.get((number / 10 + turn) as usize % FAILURES.len());
    let (outcome, stage) = match failed {
        Some(failed) if !passes(number) => *failed,
        _ => (Outcome::Ok, Stage::Done),
    };
    Write::Probe(Box::new(ProbeRecord {
        addr: address(number).key(),
        at,
        outcome,
        stage,
        duration_ms: 40 + number % 900,
        next_due: next_due(number, now),
        failures: u32::from(!outcome.is_success()),
        observed: if outcome.is_success() {
            observed(number)
        } else {
            Observation {
                place: Some(place(number)),
                ..Observation::default()
            }
        },
        heard: Heard::default(),
    }))
}

fn observed(number: u32) -> Observation {
    let mut node_id = [7; 32];
    let (start, _) = node_id.split_at_mut(4);
    start.copy_from_slice(&number.to_le_bytes());
    // A tenth of them is some blocks behind; the first agents are the most frequent ones.
    let lag = if number.is_multiple_of(10) {
        number / 10 % 4
    } else {
        0
    };
    let rank = (number / 10 % 400)
        .checked_ilog2()
        .map_or(0, |log| 8 - log.min(8)) as usize;
    let rare = number
        .is_multiple_of(997)
        .then_some(7 + number as usize / 997 % 5);
    let agent = AGENTS.get(rare.unwrap_or(rank % 7));
    let height = HEIGHT - lag;
    Observation {
        services: Some(0x409),
        protocol_version: Some(70_016 - u32::from(rank > 3)),
        user_agent: agent.map(|agent| (*agent).to_owned()),
        start_height: i32::try_from(height).ok(),
        proved_height: Some(height),
        relay: Some(true),
        clock_offset_secs: Some(i64::from(number % 5) - 2),
        transports: Some(match number % 9 {
            0 => Transports::TLS,
            1..4 => Transports::NOISE.union(Transports::TLS),
            _ => Transports::NOISE,
        }),
        node_id: Some(node_id),
        connect_ms: Some(6 + number * 31 % 400 * (number * 17 % 5)),
        secure_ms: Some(20 + number % 700),
        ping_ms: Some(6 + number % 400),
        told_addresses: Some(900),
        place: Some(place(number)),
    }
}

fn place(number: u32) -> Place {
    let country = COUNTRIES.get(number as usize / 10 % COUNTRIES.len());
    Place {
        country: country.and_then(|code| code.parse().ok()),
        system: Some(64_000 + number / 10 % 3_000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hundred_thousand_peers_are_on_loopback_or_not_dialled() {
        let all: HashSet<SocketAddr> = (0..100_000).map(|n| address(n).key()).collect();
        assert_eq!(all.len(), 100_000);
        for number in 0..100_000 {
            let ip = address(number).key().ip();
            assert!(passes(number) || ip.is_loopback(), "{ip} would be dialled");
        }
    }
}
