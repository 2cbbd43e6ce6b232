//! What the reader takes and what it turns down, with hickory as the writer.

use hickory_proto::{
    op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as HickoryQuery},
    rr::{DNSClass, Name, RecordType, rdata::opt::EdnsOption},
};
use proptest::prelude::*;

use super::*;

fn message(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = true;
    message.add_query(HickoryQuery::query(Name::from_ascii(name).unwrap(), kind));
    message
}

#[test]
fn a_query_is_read_whole() {
    let mut message = message("SeEd.example.", RecordType::AAAA);
    let mut edns = HickoryEdns::new();
    edns.set_max_payload(1400).set_dnssec_ok(true);
    let cookie = [[1; 8].as_slice(), &[2; 16]].concat();
    let options = [
        (10, cookie),
        (3, Vec::new()),
        (11, Vec::new()),
        (12, vec![0; 7]),
        (65_000, vec![1, 2, 3]),
    ];
    for (number, value) in options {
        edns.options_mut()
            .insert(EdnsOption::Unknown(number, value));
    }
    message.set_edns(edns);
    let bytes = message.to_vec().unwrap();
    let mut name = WireName::root();
    let Packet::Query(query) = read(&bytes, &mut name) else {
        panic!()
    };
    let header = Header {
        id: [0, 7],
        opcode_and_rd: 1,
        cd: 0x10,
    };
    assert_eq!(query.header, header);
    assert_eq!(query.question, b"\x04SeEd\x07example\x00\x00\x1c\x00\x01");
    assert_eq!(format!("{:?}", query.name), "seed.example.");
    assert_eq!((query.kind, query.class), (28, 1));
    let cookie = Cookie {
        client: [1; 8],
        server: Some([2; 16]),
    };
    let edns = Edns {
        version: 0,
        payload: 1400,
        dnssec_ok: true,
        nsid: true,
        cookie: Some(cookie),
        keepalive: true,
        padding: true,
    };
    assert_eq!(query.edns, Some(edns));
    assert!(query.tsig.is_none());
}

fn with_opt(data: &[u8]) -> Vec<u8> {
    let mut bytes = message("a.", RecordType::A).to_vec().unwrap();
    bytes[11] = 1;
    bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, data.len() as u8]);
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn options_that_do_not_fit_are_malformed() {
    assert!(matches!(
        read(&with_opt(&[]), &mut WireName::root()),
        Packet::Query(_)
    ));
    assert!(matches!(
        read(&with_opt(&[0, 9, 0, 0]), &mut WireName::root()),
        Packet::Query(_)
    ));
    for data in [&[0][..], &[0, 9, 0], &[0, 9, 0, 1], &[0, 9, 0, 0, 7]] {
        assert!(
            matches!(
                read(&with_opt(data), &mut WireName::root()),
                Packet::Broken(_, FORMERR)
            ),
            "{data:?}"
        );
    }
    // Options of another version than ours are not looked at.
    let mut later = with_opt(&[1, 2, 3]);
    later[25] = 9;
    assert!(
        matches!(&read(&later, &mut WireName::root()), Packet::Query(query) if query.edns.unwrap().version == 9)
    );
}

#[test]
fn cookies_of_other_servers_are_none_of_ours() {
    for (length, ours) in [(8, false), (16, false), (24, true), (40, false)] {
        let mut data = vec![0, 10, 0, length];
        data.extend(vec![4; length.into()]);
        let bytes = with_opt(&data);
        let mut name = WireName::root();
        let Packet::Query(query) = read(&bytes, &mut name) else {
            panic!("{length}")
        };
        assert_eq!(
            query.edns.unwrap().cookie.unwrap().server.is_some(),
            ours,
            "{length}"
        );
    }
}

/// Only servers name a time (RFC 7828, 3.2.1).
#[test]
fn a_client_that_names_an_idle_time_asks_for_none() {
    for (data, asks) in [(&[0, 11, 0, 0][..], true), (&[0, 11, 0, 2, 0, 9], false)] {
        let bytes = with_opt(data);
        let mut name = WireName::root();
        let Packet::Query(query) = read(&bytes, &mut name) else {
            panic!("{data:?}")
        };
        assert_eq!(query.edns.unwrap().keepalive, asks, "{data:?}");
    }
}

#[test]
fn a_compressed_name_is_malformed() {
    let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    // A pointer to itself, and one to the header.
    for pointer in [12, 0] {
        bytes.truncate(HEADER);
        bytes.extend([0xc0, pointer, 0, 1, 0, 1]);
        assert!(matches!(
            read(&bytes, &mut WireName::root()),
            Packet::Broken(_, FORMERR)
        ));
    }
}

#[test]
fn bytes_left_over_are_malformed() {
    let mut bytes = message("a.", RecordType::A).to_vec().unwrap();
    assert!(matches!(
        read(&bytes, &mut WireName::root()),
        Packet::Query(_)
    ));
    bytes.push(0);
    assert!(matches!(
        read(&bytes, &mut WireName::root()),
        Packet::Broken(_, FORMERR)
    ));
}

#[test]
fn a_transfer_may_bring_its_authority_and_a_signature_comes_last() {
    let mut bytes = message("a.", RecordType::IXFR).to_vec().unwrap();
    bytes[9] = 1;
    // An SOA owned by a pointer, with RDATA that we don't look into.
    bytes.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9]);
    assert!(matches!(
        read(&bytes, &mut WireName::root()),
        Packet::Query(_)
    ));
    let mut tsig = vec![1, b'k', 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 17];
    // An algorithm's name of one byte (the root's), and numbers.
    tsig.extend([0; 17]);
    bytes[11] = 1;
    bytes.extend(tsig);
    assert!(
        matches!(&read(&bytes, &mut WireName::root()), Packet::Query(query) if query.tsig.is_some())
    );
    bytes[11] = 2;
    bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert!(
        matches!(
            read(&bytes, &mut WireName::root()),
            Packet::Broken(_, FORMERR)
        ),
        "TSIG before OPT"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, &mut WireName::root());
    }

    /// What we take as a query, hickory reads in the same way.
    #[test]
    fn what_we_take_hickory_takes(
        name in "([a-zA-Z0-9_]{1,9}\\.){0,5}", kind in any::<u16>(), class in any::<u16>(),
        payload in any::<Option<u16>>(), damage in proptest::option::of((12..60_usize, any::<u8>())),
    ) {
        let name = if name.is_empty() { "." } else { &name };
        let mut message = message(name, RecordType::from(kind));
        message.queries[0].set_query_class(DNSClass::from(class));
        if let Some(payload) = payload {
            let mut edns = HickoryEdns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let mut bytes = message.to_vec().unwrap();
        if let Some((at, value)) = damage && at < bytes.len() {
            bytes[at] = value;
        }
        let mut place = WireName::root();
        if let Packet::Query(query) = read(&bytes, &mut place)
            && let Ok(theirs) = Message::from_vec(&bytes)
        {
            let question = &theirs.queries[0];
            prop_assert_eq!(*query.name, WireName::of(question.name()));
            prop_assert_eq!(query.kind, u16::from(question.query_type()));
            prop_assert_eq!(query.class, u16::from(question.query_class()));
            // hickory raises what is below 512.
            let limit = query.edns.map(|edns| edns.payload.max(512));
            prop_assert_eq!(limit, theirs.edns.map(|edns| edns.max_payload()));
        } else if damage.is_none() {
            prop_assert!(false, "an honest query was turned down");
        }
    }
}
