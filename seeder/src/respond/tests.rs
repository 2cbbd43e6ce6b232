//! The wire behaviour, byte by byte: what goes in and out of [`Responder::respond`] without sockets.

mod streams;

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use proptest::prelude::*;
use quantumcoin::{
    chain_spec::ChainSpec, reachability::GoodPeer, service::metrics::Metrics, store::GoodSet,
};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    SeederConfig,
    answer::Identity,
    snapshot::Policy,
    wire::{HEADER, name::WireName, rrset::RrSet},
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
            node_id: Some(crate::snapshot::tests::id_of(&addr)),
            quality: 0.5,
            ..GoodPeer::unknown(addr.parse().unwrap())
        })
        .collect()
}

pub(crate) fn responder() -> Responder {
    responder_with(None)
}

fn responder_with(limit: Option<u32>) -> Responder {
    let policy = Policy {
        network: "devnet".to_owned(),
        default_port: 8333,
        one_per_netgroup: true,
        variants: 4,
        host_memory: 100,
        selections: vec![crate::snapshot::Selection::default()],
    };
    let set = GoodSet {
        peers: peers(),
        generation: 1,
        newest_probe_at: Some(1),
        ..GoodSet::default()
    };
    let snapshot = Snapshot::build(set, &policy, None, 1000, &mut StdRng::seed_from_u64(1));
    let config = SeederConfig {
        zones: vec![APEX.to_owned()],
        rate_limit: limit.unwrap_or(0),
        cookie_secret: Some([1; 16]),
        identity: Identity {
            version: None,
            id: Some("ns1".to_owned()),
        },
        ..SeederConfig::new(ChainSpec::mainnet())
    };
    let counters = Counters::new(&Metrics::new("test")).unwrap();
    let setup = Arc::new(Setup::new(&config, &counters, None).unwrap());
    let state = State::new(setup, Arc::new(snapshot), 1000, None).unwrap();
    Responder::new(Arc::new(ArcSwap::from_pointee(state)), counters)
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

fn reply(responder: &Responder, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let moment = Moment {
        unix: 1_800_000_000,
        micros: 5_000_000,
    };
    reply_at(responder, packet, transport, moment)
}

fn reply_at(
    responder: &Responder,
    packet: &[u8],
    transport: Transport,
    moment: Moment,
) -> Option<Vec<u8>> {
    let from = Asker {
        addr: "192.0.2.1:5353".parse().unwrap(),
        transport,
        moment,
        idle: Duration::from_secs(10),
    };
    let mut out = Vec::new();
    let state = responder.state().load();
    responder
        .respond(&state, packet, from, &mut out)
        .then_some(out)
}

fn ask(message: &Message, transport: Transport) -> (Message, Vec<u8>) {
    let bytes = reply(&responder(), &message.to_vec().unwrap(), transport).expect("an answer");
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
fn glue_is_left_out_record_by_record_before_an_answer_is_cut() {
    // Which peers an answer draws differs from query to query, and so does its size: 12 services take some 700 to
    // 1,000 bytes and their addresses 16 or 28 bytes each.
    let name = format!("_qtc._tcp.{APEX}");
    let responder = responder();
    let mut glue = Vec::new();
    for limit in [1000, 1232] {
        for _ in 0..32 {
            let packet = query(&name, RecordType::SRV, Some(limit)).to_vec().unwrap();
            let bytes = reply(&responder, &packet, Transport::Udp).unwrap();
            let answer = Message::from_vec(&bytes).unwrap();
            assert!(bytes.len() <= usize::from(limit));
            assert_eq!(answer.answers.len(), 12);
            assert!(
                !answer.metadata.truncation,
                "the additional section is not essential (RFC 2181, 9)"
            );
            for (service, host) in answer.answers.iter().zip(&answer.additionals) {
                let RData::SRV(srv) = &service.data else {
                    panic!("{service}")
                };
                assert_eq!(
                    host.name, srv.target,
                    "glue comes in the order of the services"
                );
            }
            glue.push((limit, answer.additionals.len()));
        }
    }
    let some = |limit, least, most| {
        let mut counts = glue.iter().filter(|(l, _)| *l == limit);
        counts.all(|(_, count)| (least..=most).contains(count))
    };
    assert!(some(1232, 6, 12), "{glue:?}");
    assert!(glue.contains(&(1232, 12)), "{glue:?}");
    assert!(
        glue.iter().any(|(_, count)| (1..12).contains(count)),
        "{glue:?}"
    );
}

#[test]
fn the_case_of_the_question_comes_back() {
    let name = "SeEd1.qUaNtUmCoIn.NeTwOrK.";
    let packet = query(name, RecordType::A, None).to_vec().unwrap();
    let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
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
        let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
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
    let responder = responder();
    let mut packet = query(APEX, RecordType::A, None).to_vec().unwrap();
    for length in 0..HEADER {
        assert_eq!(reply(&responder, &packet[..length], Transport::Udp), None);
    }
    packet[2] |= 0x80;
    assert_eq!(reply(&responder, &packet, Transport::Udp), None);
    packet.truncate(20);
    assert_eq!(
        reply(&responder, &packet, Transport::Udp),
        None,
        "a malformed response too"
    );
}

#[test]
fn malformed_queries_get_formerr_without_more_bytes_than_they_had() {
    let whole = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let formerr = [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    for length in HEADER..whole.len() {
        let bytes = reply(&responder(), &whole[..length], Transport::Udp).unwrap();
        assert_eq!(bytes, formerr, "cut after {length} bytes");
    }
    let with = |index: usize, value: u8| {
        let mut packet = whole.clone();
        packet[index] = value;
        reply(&responder(), &packet, Transport::Udp).unwrap()
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
    let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
    assert_eq!(bytes[3] & 0x0f, 1);
}

#[test]
fn the_pair_of_a_stub_resolver_gets_both_answers() {
    let responder = responder();
    for _ in 0..100 {
        for kind in [RecordType::A, RecordType::AAAA] {
            let packet = query(APEX, kind, Some(1232)).to_vec().unwrap();
            let bytes = reply(&responder, &packet, Transport::Udp).unwrap();
            assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 24);
        }
    }
}

#[test]
fn one_client_asking_again_gets_other_peers() {
    let responder = responder();
    let packet = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..64 {
        let bytes = reply(&responder, &packet, Transport::Udp).unwrap();
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
        if let Some(response) = reply(&responder(), &packet, Transport::Udp) {
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
        if let Some(response) = reply(&responder(), &packet, Transport::Udp) {
            assert_sane(&packet, &response);
        }
    }
}

#[test]
fn a_cookie_is_given_and_lifts_the_rate_limit() {
    use hickory_proto::rr::rdata::opt::EdnsOption;
    let responder = responder_with(Some(10));
    let with = |cookie: &[u8]| {
        let mut message = query(APEX, RecordType::A, Some(1232));
        let options = message.edns.as_mut().unwrap().options_mut();
        options.insert(EdnsOption::Unknown(10, cookie.to_vec()));
        message.to_vec().unwrap()
    };
    let first = reply(&responder, &with(&[7; 8]), Transport::Udp).unwrap();
    // The OPT's only option is the last of the message.
    let (_, given) = first.split_at(first.len() - 24);
    assert_eq!(
        (&given[..8], &given[8..12]),
        (&[7; 8][..], &[1, 0, 0, 0][..])
    );

    let bare = query(APEX, RecordType::A, Some(1232)).to_vec().unwrap();
    let answers = |packet: &[u8]| {
        let all = (0..400).filter_map(|_| reply(&responder, packet, Transport::Udp));
        let counts = all.map(|bytes| {
            let answer = Message::from_vec(&bytes).unwrap();
            (
                answer.metadata.truncation,
                answer.answers.len(),
                bytes.len(),
            )
        });
        counts.collect::<Vec<_>>()
    };
    let without = answers(&bare);
    let full = without.iter().filter(|(_, count, _)| *count == 24).count();
    let cut: Vec<_> = without.iter().filter(|(tc, ..)| *tc).collect();
    assert_eq!(full, 20, "two seconds' worth, of which one was the first");
    assert_eq!(cut.len(), 190, "every second of the rest");
    assert!(
        cut.iter()
            .all(|(_, count, bytes)| *count == 0 && *bytes == bare.len())
    );
    assert_eq!(
        answers(&with(given)).len(),
        400,
        "who has a cookie is answered"
    );
    let mut forged = given.to_vec();
    forged[23] ^= 1;
    assert_eq!(answers(&with(&forged)).len(), 200);
    let stream = reply(&responder, &bare, Transport::Tcp).unwrap();
    assert_eq!(
        Message::from_vec(&stream).unwrap().answers.len(),
        24,
        "TCP is not limited"
    );
}

#[test]
fn a_query_for_a_cookie_alone_gets_one() {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8]);
    packet.extend([5; 8]);
    let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.queries.is_empty());
    assert_eq!(bytes.len(), packet.len() + 16);
    // Of a length that no cookie has.
    for length in [0, 7, 9, 15, 41] {
        let mut packet = packet[..25].to_vec();
        packet.extend([0, length]);
        packet.extend(vec![5; length.into()]);
        packet[22] = length + 4;
        let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
        assert_eq!(bytes[3], 1, "FORMERR for {length} bytes");
    }
}

#[test]
fn nsid_is_told_who_asks() {
    use hickory_proto::rr::rdata::opt::EdnsOption;
    let mut message = query(APEX, RecordType::SOA, Some(1232));
    let options = message.edns.as_mut().unwrap().options_mut();
    options.insert(EdnsOption::Unknown(3, Vec::new()));
    let (_, bytes) = ask(&message, Transport::Udp);
    assert!(bytes.ends_with(&[0, 3, 0, 3, b'n', b's', b'1']));
}

/// The table is nothing but the engine, written ahead: for every name and type, every answer is one that the engine gives.
#[test]
fn what_is_written_ahead_is_what_the_engine_says() {
    let responder = responder();
    let state = responder.state().load_full();
    let mut names = vec![APEX.to_owned()];
    for label in [
        "x9",
        "X1",
        "x400",
        "xabc",
        "n",
        "_tcp",
        "_qtc._tcp",
        "_qtc._tcp.x9",
        "_tcp.x9",
        "ns1",
        "no",
        "a.b.c",
        "x0",
    ] {
        names.push(format!("{label}.{APEX}"));
    }
    for name in names {
        for kind in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::SRV,
            RecordType::NS,
            RecordType::SOA,
            RecordType::ANY,
            RecordType::MX,
            RecordType::DNSKEY,
        ] {
            let asked = WireName::of(&Name::from_ascii(&name).unwrap());
            let question = Question {
                name: &asked,
                class: CLASS_IN,
                kind: kind.into(),
            };
            let packet = query(&name, kind, Some(1232)).to_vec().unwrap();
            for _ in 0..6 {
                let bytes = reply(&responder, &packet, Transport::Tcp).unwrap();
                let answer = Message::from_vec(&bytes).unwrap();
                assert_eq!(answer.queries[0].name().to_ascii(), name);
                let same = |pick: u64| {
                    let engine = state.setup.engine.answer(&question, &state.snapshot, pick);
                    let shown = |sets: &[RrSet]| -> Vec<Record> {
                        sets.iter().flat_map(|set| set.records().unwrap()).collect()
                    };
                    u16::from(engine.code) == u16::from(answer.metadata.response_code)
                        && engine.authoritative == answer.metadata.authoritative
                        && shown(engine.answer.as_slice()) == answer.answers
                        && shown(engine.denial.as_slice()) == answer.authorities
                        && shown(&engine.additionals) == answer.additionals
                };
                let picks = 0..state.snapshot.len() as u64;
                assert!(picks.into_iter().any(same), "{name} {kind}: {answer:?}");
            }
        }
    }
}

#[test]
fn answers_in_a_row_differ_and_all_variants_are_used_alike() {
    let responder = responder();
    let packet = query(APEX, RecordType::A, None).to_vec().unwrap();
    let answers: Vec<_> = (0..40)
        .map(|_| reply(&responder, &packet, Transport::Udp).unwrap())
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] != pair[1]));
    let mut counts = std::collections::HashMap::new();
    for answer in &answers {
        *counts.entry(answer).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10; 4]);
}
