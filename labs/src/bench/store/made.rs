//! Made-up results of probes, as a real crawl has them.

use std::net::{Ipv4Addr, SocketAddr};

use quantumcoin::reachability::{Outcome, Place, Stage, Transports};
use quantumcoin::store::{Heard, Observation, ProbeRecord, Sighting, Write};

/// When the first probe was, Unix seconds.
pub(super) const START: i64 = 1_790_000_000;

/// Address `number`, in as many netgroups as there are numbers modulo 30,000.
pub(super) fn addr(number: u32) -> SocketAddr {
    // From 1 on.
    let (group, host) = (number % 30_000, number / 30_000 + 1);
    let [_, _, a, b] = (0x0b00 + group).to_be_bytes();
    let [_, _, c, d] = host.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(a, b, c, d), 8_333))
}

/// Somebody has told of it.
pub(super) fn told(number: u32) -> Write {
    Write::Sighting(Sighting {
        address: addr(number).into(),
        at: START,
        source: "peer:192.0.2.7:8333".to_owned(),
        times: 1,
        told_by: 1,
        next_due: START + i64::from(number % 1_800),
    })
}

/// A probe of it: three of five peers pass.
pub(super) fn probe(number: u32, at: i64) -> Write {
    let passed = number % 5 < 3;
    Write::Probe(Box::new(ProbeRecord {
        addr: addr(number),
        at,
        outcome: if passed {
            Outcome::Ok
        } else {
            Outcome::TimeoutConnect
        },
        stage: if passed { Stage::Done } else { Stage::Dial },
        duration_ms: 120,
        next_due: at + 1_500,
        failures: u32::from(!passed),
        observed: if passed {
            observed(number)
        } else {
            Observation::default()
        },
        heard: Heard {
            times: 3,
            at,
            told_by: 1 << (number % 32),
        },
    }))
}

/// Where the peers are, in turn.
const COUNTRIES: [&str; 5] = ["US", "DE", "FR", "FI", "CH"];
const SYSTEMS: u32 = 2_000;

fn observed(number: u32) -> Observation {
    let mut node_id = [7; 32];
    let (start, _) = node_id.split_at_mut(4);
    start.copy_from_slice(&number.to_le_bytes());
    Observation {
        services: Some(0x409),
        protocol_version: Some(70_015),
        user_agent: Some("/quantumcoin:0.1.0/".to_owned()),
        start_height: Some(800_000),
        proved_height: Some(800_000),
        relay: Some(true),
        clock_offset_secs: Some(1),
        transports: Some(Transports::NOISE),
        node_id: Some(node_id),
        connect_ms: Some(30),
        secure_ms: Some(60),
        ping_ms: Some(30),
        told_addresses: Some(0),
        place: Some(Place {
            country: COUNTRIES
                .get(number as usize % COUNTRIES.len())
                .and_then(|code| code.parse().ok()),
            system: Some(1 + number % SYSTEMS),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_million_addresses_are_a_million() {
        let all: HashSet<_> = (0..1_000_000).map(addr).collect();
        assert_eq!(all.len(), 1_000_000);
    }
}
