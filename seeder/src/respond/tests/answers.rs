//! What is answered: header, question, records, and in what turn.

use std::collections::{HashMap, HashSet};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record},
};

use super::*;
use crate::wire::{HEADER, rrset::RrSet};

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
    let mut seen = HashSet::new();
    for _ in 0..64 {
        let bytes = reply(&responder, &packet, Transport::Udp).unwrap();
        for record in Message::from_vec(&bytes).unwrap().answers {
            let RData::A(ip) = record.data else { panic!() };
            seen.insert(ip);
        }
    }
    assert!(seen.len() > 24, "{}", seen.len());
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
    let mut counts = HashMap::new();
    for answer in &answers {
        *counts.entry(answer).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10; 4]);
}
