//! The questions of one way in.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType},
};

use super::judgement::Way;
use crate::{
    ask::{AskError, Question, Via, ask},
    snapshot::Family,
    state::State,
};

/// How much older than our own serial one may be, in seconds: several servers of one address read the crawl at different times. One that
/// is behind for longer does not follow it.
const MAX_BEHIND: u32 = 3600;

/// What a zone is expected to answer.
struct Expected<'a> {
    name: &'a Name,
    via: Via,
    signed: bool,
    serial: u32,
    /// Whether we have peers for such an answer.
    peers: bool,
}

/// Asks for the authority and the peers of these zones.
pub(super) async fn way(
    state: &State,
    server: SocketAddr,
    via: Via,
    zones: &BTreeSet<usize>,
) -> Way {
    let mut way = Way {
        server,
        via,
        wrong: Vec::new(),
        no_route: false,
        told: BTreeSet::new(),
    };
    let all = state.setup.engine.zones().iter().zip(&state.provers);
    for (_, (zone, prover)) in all.enumerate().filter(|(index, _)| zones.contains(index)) {
        for kind in [RecordType::SOA, RecordType::A, RecordType::AAAA] {
            let name = zone.apex();
            let family = if kind == RecordType::A {
                Family::V4
            } else {
                Family::V6
            };
            let expected = Expected {
                name,
                via,
                signed: prover.is_some(),
                serial: state.snapshot.serial,
                peers: kind != RecordType::SOA && state.snapshot.has(zone.selection(), 0, family),
            };
            match ask(server, &Question::of_server(name, kind), via).await {
                Err(error) => {
                    way.no_route = matches!(error, AskError::NoRoute(_));
                    way.wrong.push(format!(
                        "{name} {kind}: {error} (a firewall? or a router that does not lead its own network back: see audit_addresses)"
                    ));
                    // Who does not answer one question does not answer the others: no need to wait for each.
                    return way;
                }
                Ok(message) => {
                    way.wrong.extend(expected.fault(&message, kind));
                    way.told.extend(addresses(&message));
                }
            }
        }
    }
    way
}

impl Expected<'_> {
    /// What is wrong with an answer.
    fn fault(&self, message: &Message, kind: RecordType) -> Option<String> {
        let Self {
            name,
            via,
            signed,
            serial,
            peers,
        } = *self;
        let metadata = &message.metadata;
        if metadata.truncation {
            // A server under attack may send everybody to TCP.
            return (via == Via::Tcp).then(|| format!("{name} {kind} is cut off, over TCP"));
        }
        if metadata.response_code != ResponseCode::NoError {
            return Some(format!("{name} {kind} gets {}", metadata.response_code));
        }
        if !metadata.authoritative {
            return Some(format!(
                "{name} {kind} is answered by who is no authority for it (no AA bit)"
            ));
        }
        let mut records = message.answers.iter().chain(&message.authorities);
        if signed && !records.any(|record| record.record_type() == RecordType::RRSIG) {
            return Some(format!(
                "{name} {kind} has no signature, and the zone is signed"
            ));
        }
        if peers && message.answers.is_empty() {
            return Some(format!(
                "{name} {kind} has no peers, and here there are some"
            ));
        }
        let behind = soa_serial(message).map(|found| serial.wrapping_sub(found));
        match behind {
            // Ahead by RFC 1982 is not behind.
            Some(behind) if (MAX_BEHIND..1 << 31).contains(&behind) => {
                Some(format!("{name} is {behind} s behind what is served here"))
            }
            None if kind == RecordType::SOA => Some(format!("{name} has no SOA")),
            _ => None,
        }
    }
}

fn soa_serial(message: &Message) -> Option<u32> {
    message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        })
}

fn addresses(message: &Message) -> impl Iterator<Item = IpAddr> {
    message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(a.0.into()),
            RData::AAAA(aaaa) => Some(aaaa.0.into()),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::{
        op::{MessageType, OpCode},
        rr::{
            Record,
            rdata::{A, SOA},
        },
    };

    use super::*;

    const OURS: u32 = 1_800_000_000;

    fn fault(change: impl FnOnce(&mut Message), kind: RecordType, signed: bool) -> Option<String> {
        let name = Name::from_str("seed.test.").unwrap();
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        let data = match kind {
            RecordType::SOA => RData::SOA(SOA::new(name.clone(), name.clone(), OURS, 1, 1, 1, 1)),
            _ => RData::A(A::new(192, 0, 2, 1)),
        };
        message.add_answer(Record::from_rdata(name.clone(), 60, data));
        change(&mut message);
        let expected = Expected {
            name: &name,
            via: Via::Udp,
            signed,
            serial: OURS,
            peers: kind == RecordType::A,
        };
        expected.fault(&message, kind)
    }

    fn with_serial(message: &mut Message, serial: u32) {
        let RData::SOA(soa) = &mut message.answers[0].data else {
            unreachable!("it is the SOA")
        };
        soa.serial = serial;
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_told() {
        let is = |found: Option<String>, expected: &str| {
            let found = found.unwrap_or_default();
            assert!(found.contains(expected), "{found}");
        };
        assert_eq!(fault(|_| {}, RecordType::A, false), None);
        assert_eq!(fault(|_| {}, RecordType::SOA, false), None);
        is(fault(|_| {}, RecordType::A, true), "no signature");
        is(
            fault(|m| m.metadata.authoritative = false, RecordType::A, false),
            "no AA bit",
        );
        let refused = |m: &mut Message| m.metadata.response_code = ResponseCode::Refused;
        is(fault(refused, RecordType::A, false), "Query Refused");
        is(
            fault(|m| m.answers.clear(), RecordType::SOA, false),
            "no SOA",
        );
        is(
            fault(|m| m.answers.clear(), RecordType::A, false),
            "no peers, and here there are",
        );
        let cut = |m: &mut Message| m.metadata.truncation = true;
        assert_eq!(fault(cut, RecordType::A, false), None, "over UDP");
    }

    #[test]
    fn a_server_that_is_behind_is_told_and_one_that_is_ahead_is_not() {
        let of = |serial| {
            fault(
                |message| with_serial(message, serial),
                RecordType::SOA,
                false,
            )
        };
        assert_eq!(of(OURS - 3599), None);
        assert!(of(OURS - 3600).unwrap().contains("3600 s behind"));
        assert_eq!(of(OURS + 5000), None);
    }
}
