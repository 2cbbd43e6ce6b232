//! What is no query, or none that we take.

use proptest::prelude::*;

use super::*;
use crate::wire::HEADER;

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
