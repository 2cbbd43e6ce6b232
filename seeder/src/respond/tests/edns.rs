//! EDNS and its options: version, DO, NSID, cookies.

use hickory_proto::{op::ResponseCode, rr::rdata::opt::EdnsOption};

use super::*;

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
fn nsid_is_told_who_asks() {
    let mut message = query(APEX, RecordType::SOA, Some(1232));
    let options = message.edns.as_mut().unwrap().options_mut();
    options.insert(EdnsOption::Unknown(3, Vec::new()));
    let (_, bytes) = ask(&message, Transport::Udp);
    assert!(bytes.ends_with(&[0, 3, 0, 3, b'n', b's', b'1']));
}

#[test]
fn a_cookie_is_given_and_lifts_the_rate_limit() {
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
