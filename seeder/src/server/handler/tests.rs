//! The wire behaviour, byte by byte: what goes in and out of [`Handler::reply`] without sockets.

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Message, MessageType, Query},
    rr::{DNSClass, Name, RData},
};
use proptest::prelude::*;
use quantumcoin::{reachability::GoodPeer, service::metrics::Metrics, store::GoodSet};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    answer::Identity,
    snapshot::{Policy, Snapshot},
    zone::{Zone, ZoneOptions},
};

const APEX: &str = "seed1.quantumcoin.network.";

fn peers() -> Vec<GoodPeer> {
    let addrs = (1..=60).flat_map(|n| [format!("10.{n}.0.1:8333"), format!("[2400:{n}::1]:8333")]);
    addrs
        .map(|addr| GoodPeer {
            services: 9,
            protocol_version: 70_015,
            height: 123_456,
            transports: quantumcoin::reachability::Transports::NOISE,
            node_id: Some([9; 32]),
            quality: 0.5,
            ..GoodPeer::unknown(addr.parse().unwrap())
        })
        .collect()
}

fn handler() -> Handler {
    let policy = Policy {
        default_port: 8333,
        one_per_netgroup: true,
        variants: 4,
        host_memory: 100,
    };
    let set = GoodSet {
        left_out: 0,
        peers: peers(),
        generation: 1,
        newest_probe_at: Some(1),
        stale: false,
    };
    let snapshot = Snapshot::build(set, &policy, None, 1000, &mut StdRng::seed_from_u64(1));
    let zone = Zone::new(APEX, &ZoneOptions::default()).unwrap();
    let counters = Counters::new(&Metrics::new("test"), std::slice::from_ref(&zone)).unwrap();
    let engine = Engine::new(vec![zone], Identity::default());
    Handler::new(engine, Arc::new(ArcSwap::from_pointee(snapshot)), counters)
}

fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut question = Query::query(Name::from_ascii(name).unwrap(), kind);
    question.set_query_class(DNSClass::IN);
    message.add_query(question);
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

/// `block_on` without a runtime: the handler never waits for anything.
fn reply(handler: &Handler, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let client = "192.0.2.1:5353".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(handler.reply(packet, client, transport))
}

fn ask(message: &Message, transport: Transport) -> (Message, Vec<u8>) {
    let bytes = reply(&handler(), &message.to_vec().unwrap(), transport).expect("an answer");
    (Message::from_vec(&bytes).expect("a message"), bytes)
}

#[test]
fn the_header_of_an_answer_is_right() {
    let (answer, bytes) = ask(&query(APEX, RecordType::A, Some(4096)), Transport::Udp);
    let meta = answer.metadata;
    assert_eq!(
        (meta.id, meta.message_type),
        (0x1234, MessageType::Response)
    );
    assert!(meta.authoritative && meta.recursion_desired && !meta.recursion_available);
    assert!(!meta.truncation && !meta.authentic_data);
    assert_eq!(answer.answers.len(), 24);
    assert!(bytes.len() <= usize::from(MAX_UDP));
}

#[test]
fn an_answer_has_an_opt_exactly_when_the_query_had_one() {
    for name in [APEX, "nope.seed1.quantumcoin.network.", "foreign.example."] {
        let (with, _) = ask(&query(name, RecordType::A, Some(4096)), Transport::Udp);
        let edns = with.edns.expect("an OPT");
        assert_eq!(
            edns.max_payload(),
            MAX_UDP,
            "our own limit, not the client's echoed"
        );
        assert_eq!(edns.version(), 0);
        let (without, _) = ask(&query(name, RecordType::A, None), Transport::Udp);
        assert!(without.edns.is_none(), "{name}");
    }
}

#[test]
fn the_do_bit_comes_back() {
    let mut message = query(APEX, RecordType::A, Some(1232));
    message.edns.as_mut().unwrap().set_dnssec_ok(true);
    assert!(
        ask(&message, Transport::Udp)
            .0
            .edns
            .unwrap()
            .flags()
            .dnssec_ok
    );
}

#[test]
fn what_does_not_fit_is_cut_to_nothing_with_tc_and_comes_whole_over_tcp() {
    let cases = [
        (RecordType::AAAA, None, 512, true),
        (RecordType::AAAA, Some(512), 512, true),
        (RecordType::AAAA, Some(0), 512, true),
        (RecordType::AAAA, Some(1232), 1232, false),
        (RecordType::AAAA, Some(65_535), 1232, false),
        (RecordType::TXT, None, 512, true),
        (RecordType::TXT, Some(4096), 1232, false),
        (RecordType::A, None, 512, false),
    ];
    for (kind, edns, limit, cut) in cases {
        let (answer, bytes) = ask(&query(APEX, kind, edns), Transport::Udp);
        assert!(
            bytes.len() <= limit,
            "{kind} {edns:?}: {} bytes",
            bytes.len()
        );
        assert_eq!(answer.metadata.truncation, cut, "{kind} {edns:?}");
        assert_eq!(
            answer.answers.is_empty(),
            cut,
            "{kind} {edns:?}: never a part of a set"
        );
        assert_eq!(answer.queries.len(), 1);
        let (whole, _) = ask(&query(APEX, kind, edns), Transport::Tcp);
        assert!(!whole.metadata.truncation);
        assert!(whole.answers.len() >= 8);
    }
}

#[test]
fn glue_is_left_out_before_an_answer_is_cut() {
    // Which peers an answer draws differs from query to query, and so does its size: 12 services take 733 to
    // 997 bytes, with their addresses 925 to 1333. So within 1000 bytes the services always fit, and the
    // addresses almost never; within 1232 they mostly do.
    let name = format!("_qtc._tcp.{APEX}");
    let mut glue = Vec::new();
    for limit in [1000, 1232] {
        for _ in 0..32 {
            let (answer, bytes) = ask(&query(&name, RecordType::SRV, Some(limit)), Transport::Udp);
            assert!(bytes.len() <= usize::from(limit));
            assert_eq!(answer.answers.len(), 12);
            assert!(
                !answer.metadata.truncation,
                "the additional section is not essential (RFC 2181, 9)"
            );
            glue.push((limit, answer.additionals.len()));
        }
    }
    assert!(
        glue.iter().all(|(_, count)| [0, 12].contains(count)),
        "whole or not at all: {glue:?}"
    );
    assert!(
        glue.contains(&(1000, 0)) && glue.contains(&(1232, 12)),
        "{glue:?}"
    );
}

#[test]
fn the_case_of_the_question_comes_back() {
    let name = "SeEd1.qUaNtUmCoIn.NeTwOrK.";
    let packet = query(name, RecordType::A, None).to_vec().unwrap();
    let bytes = reply(&handler(), &packet, Transport::Udp).unwrap();
    assert_eq!(
        bytes[HEADER..packet.len()],
        packet[HEADER..],
        "the question, byte for byte"
    );
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(
        answer
            .answers
            .iter()
            .all(|record| record.name.to_ascii() == name)
    );
}

#[test]
fn another_edns_version_gets_badvers() {
    let mut message = query(APEX, RecordType::A, Some(1232));
    message.edns.as_mut().unwrap().set_version(1);
    let (answer, bytes) = ask(&message, Transport::Udp);
    assert_eq!(bytes[3] & 0x0f, 0, "16 has zero low bits");
    let edns = answer.edns.unwrap();
    assert_eq!((edns.rcode_high(), edns.version()), (1, 0));
    assert!(answer.answers.is_empty());
}

#[test]
fn unknown_edns_options_are_ignored() {
    use hickory_proto::rr::rdata::opt::EdnsOption;
    let mut message = query(APEX, RecordType::A, Some(1232));
    let options = message.edns.as_mut().unwrap().options_mut();
    options.insert(EdnsOption::Unknown(65_001, vec![1, 2, 3]));
    let (answer, _) = ask(&message, Transport::Udp);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 24);
    assert!(
        answer.edns.unwrap().options().as_ref().is_empty(),
        "not echoed"
    );
}

#[test]
fn refused_is_a_response() {
    let (answer, bytes) = ask(
        &query("foreign.example.", RecordType::A, None),
        Transport::Udp,
    );
    assert_eq!(bytes[2] & 0x80, 0x80, "the QR bit");
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(!answer.metadata.authoritative);
    assert_eq!(answer.queries.len(), 1);
}

#[test]
fn other_opcodes_are_not_implemented() {
    let mut packet = query(APEX, RecordType::SOA, None).to_vec().unwrap();
    for opcode in 1..16_u8 {
        packet[2] = (opcode << 3) | 1;
        let bytes = reply(&handler(), &packet, Transport::Udp).unwrap();
        assert_eq!(
            bytes,
            [
                0x12,
                0x34,
                0x80 | (opcode << 3) | 1,
                4,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0
            ]
        );
    }
}

#[test]
fn responses_and_scraps_get_silence() {
    let handler = handler();
    let mut packet = query(APEX, RecordType::A, None).to_vec().unwrap();
    for length in 0..HEADER {
        assert_eq!(reply(&handler, &packet[..length], Transport::Udp), None);
    }
    packet[2] |= 0x80;
    assert_eq!(reply(&handler, &packet, Transport::Udp), None);
    packet.truncate(20);
    assert_eq!(
        reply(&handler, &packet, Transport::Udp),
        None,
        "a malformed response too"
    );
}

#[test]
fn malformed_queries_get_formerr_without_more_bytes_than_they_had() {
    let whole = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let formerr = [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    for length in HEADER..whole.len() {
        let bytes = reply(&handler(), &whole[..length], Transport::Udp).unwrap();
        assert_eq!(bytes, formerr, "cut after {length} bytes");
    }
    let with = |index: usize, value: u8| {
        let mut packet = whole.clone();
        packet[index] = value;
        reply(&handler(), &packet, Transport::Udp).unwrap()
    };
    assert_eq!(with(5, 0), formerr, "no question");
    assert_eq!(with(5, 2), formerr, "two questions");
    assert_eq!(with(4, 0xff), formerr, "a claimed 65,281 questions");
    assert_eq!(with(7, 1), formerr, "an answer in a query");
    assert_eq!(
        with(10, 0xff),
        formerr,
        "a claimed 65,281 additional records"
    );
}

#[test]
fn two_opts_are_malformed() {
    let mut packet = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let opt = packet[packet.len() - 11..].to_vec();
    packet.extend(opt);
    packet[11] = 2;
    let bytes = reply(&handler(), &packet, Transport::Udp).unwrap();
    assert_eq!(bytes[3] & 0x0f, 1);
}

#[test]
fn the_pair_of_a_stub_resolver_gets_both_answers() {
    let handler = handler();
    for _ in 0..100 {
        for kind in [RecordType::A, RecordType::AAAA] {
            let packet = query(APEX, kind, Some(1232)).to_vec().unwrap();
            let bytes = reply(&handler, &packet, Transport::Udp).unwrap();
            assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 24);
        }
    }
}

#[test]
fn one_client_asking_again_gets_other_peers() {
    let handler = handler();
    let packet = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..64 {
        let bytes = reply(&handler, &packet, Transport::Udp).unwrap();
        for record in Message::from_vec(&bytes).unwrap().answers {
            let RData::A(ip) = record.data else { panic!() };
            seen.insert(ip);
        }
    }
    assert!(seen.len() > 24, "{}", seen.len());
}

/// A response is well-formed, belongs to the packet and keeps to the client's limit.
fn assert_sane(packet: &[u8], response: &[u8]) {
    assert!(response.len() >= HEADER);
    assert_eq!(response[..2], packet[..2], "the id");
    assert_eq!(response[2] & 0x80, 0x80);
    assert_eq!(packet[2] & 0x80, 0, "answered only queries");
    assert!(response.len() <= usize::from(MAX_UDP));
    Message::from_vec(response).expect("parses");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Some(response) = reply(&handler(), &packet, Transport::Udp) {
            assert_sane(&packet, &response);
        }
    }

    #[test]
    fn damaged_queries_never_panic(
        kind in any::<u16>(), edns in any::<Option<u16>>(), prefix in "[a-z0-9_.]{0,20}",
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), whole in any::<bool>(),
    ) {
        let name = format!("{prefix}.{APEX}");
        let name = Name::from_ascii(&name).map_or_else(|_| APEX.to_owned(), |n| n.to_ascii());
        let mut packet = query(&name, RecordType::from(kind), edns).to_vec().unwrap();
        for (index, value) in damage {
            let at = index.index(packet.len());
            packet[at] = value;
        }
        if !whole {
            packet.truncate(cut.index(packet.len()));
        }
        if let Some(response) = reply(&handler(), &packet, Transport::Udp) {
            assert_sane(&packet, &response);
        }
    }
}
