//! What differs by transport: padding (RFC 7830, RFC 8467) and idle times (RFC 7828).

use hickory_proto::rr::rdata::opt::EdnsOption;
use proptest::prelude::*;

use super::*;
use crate::wire::{
    option::{KEEPALIVE, PADDING},
    reply::{PADDING_BLOCK, padding},
};

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn with_options(name: &str, kind: RecordType, options: &[(u16, Vec<u8>)]) -> Message {
    let mut message = query(name, kind, Some(1232));
    let own = message.edns.as_mut().unwrap().options_mut();
    for (number, value) in options {
        own.insert(EdnsOption::Unknown(*number, value.clone()));
    }
    message
}

/// The values of an option in a response; hickory keeps one of each number only.
fn values(bytes: &[u8], number: u16) -> Vec<Vec<u8>> {
    let message = Message::from_vec(bytes).unwrap();
    let edns = message.edns.expect("an OPT");
    let options = edns.options().as_ref().iter();
    let found = options.filter(|(code, _)| u16::from(*code) == number);
    let as_bytes = |option: &EdnsOption| match option {
        EdnsOption::Unknown(_, value) => value.clone(),
        other => panic!("{other:?}"),
    };
    found.map(|(_, option)| as_bytes(option)).collect()
}

#[test]
fn padding_is_for_who_asks_within_tls() {
    let responder = responder();
    for name in [
        APEX,
        "nope.seed1.quantumcoin.network.",
        "foreign.example.",
        "x3.seed1.quantumcoin.network.",
    ] {
        for transport in ALL {
            let ask = |options: &[(u16, Vec<u8>)]| {
                let packet = with_options(name, RecordType::SOA, options);
                reply(&responder, &packet.to_vec().unwrap(), transport).unwrap()
            };
            let plain = ask(&[]);
            assert_eq!(values(&plain, PADDING), Vec::<Vec<u8>>::new());
            let padded = ask(&[(PADDING, vec![0; 30])]);
            if transport != Transport::Tls {
                assert_eq!(padded, plain, "{transport:?}");
                continue;
            }
            assert!(padded.len().is_multiple_of(PADDING_BLOCK));
            let [filling] = values(&padded, PADDING).try_into().unwrap();
            assert!(filling.len() < PADDING_BLOCK && filling.iter().all(|byte| *byte == 0));
            assert_eq!(padded.len(), plain.len() + 4 + filling.len());
        }
    }
}

#[test]
fn without_edns_nothing_is_padded() {
    let (answer, bytes) = ask(&query(APEX, RecordType::A, None), Transport::Tls);
    assert!(answer.edns.is_none() && !bytes.len().is_multiple_of(PADDING_BLOCK));
}

#[test]
fn the_idle_time_is_told_on_connections_to_who_asks() {
    let responder = responder();
    for transport in ALL {
        let ask = |options: &[(u16, Vec<u8>)]| {
            let packet = with_options(APEX, RecordType::A, options);
            let bytes = reply(&responder, &packet.to_vec().unwrap(), transport).unwrap();
            values(&bytes, KEEPALIVE)
        };
        let told = match transport {
            Transport::Udp => vec![],
            // 10 s in units of 100 ms.
            Transport::Tcp | Transport::Tls => vec![vec![0, 100]],
        };
        assert_eq!(ask(&[(KEEPALIVE, Vec::new())]), told, "{transport:?}");
        assert!(ask(&[]).is_empty());
        assert!(
            ask(&[(KEEPALIVE, vec![0, 9])]).is_empty(),
            "a time of its own"
        );
    }
}

#[test]
fn tls_takes_answers_of_any_size_without_a_rate_limit() {
    let responder = responder_with(Some(1));
    let packet = query(APEX, RecordType::TXT, None).to_vec().unwrap();
    for _ in 0..50 {
        let bytes = reply(&responder, &packet, Transport::Tls).unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(!answer.metadata.truncation && bytes.len() > 512);
    }
}

proptest! {
    #[test]
    fn padding_fills_blocks_or_stays_away(length in 0..70_000_usize, limit in 0..=65_535_usize) {
        match padding(length, limit) {
            Some(bytes) => {
                let whole = length + 4 + bytes;
                prop_assert!(whole.is_multiple_of(PADDING_BLOCK) && whole <= limit);
                prop_assert!(bytes < PADDING_BLOCK, "no block more than is needed");
            }
            None => prop_assert!((length + 4).next_multiple_of(PADDING_BLOCK) > limit),
        }
    }

    #[test]
    fn responses_within_tls_are_whole_blocks_exactly_when_that_is_asked(
        label in "([a-z0-9]{1,30}\\.){0,4}",
        kind in prop_oneof![Just(1_u16), Just(16), Just(28), Just(33), any::<u16>()],
        filling in 0..200_usize, pad in any::<bool>(), secure in any::<bool>(), keepalive in any::<bool>(),
        nsid in any::<bool>(), cookie in any::<Option<[u8; 8]>>(),
    ) {
        thread_local! {
            static RESPONDER: Responder = responder();
        }
        let mut options = Vec::new();
        options.extend(cookie.map(|cookie| (10, cookie.to_vec())));
        options.extend(keepalive.then(|| (KEEPALIVE, Vec::new())));
        options.extend(nsid.then(|| (3, Vec::new())));
        let message = with_options(&format!("{label}{APEX}"), RecordType::from(kind), &options);
        let plain = message.to_vec().unwrap();
        let transport = if secure { Transport::Tls } else { Transport::Tcp };
        let packet = if pad {
            options.push((PADDING, vec![0; filling]));
            with_options(&format!("{label}{APEX}"), RecordType::from(kind), &options).to_vec().unwrap()
        } else {
            plain
        };
        let bytes = RESPONDER.with(|responder| reply(responder, &packet, transport)).unwrap();
        let answer = Message::from_vec(&bytes);
        prop_assert!(answer.is_ok(), "hickory reads it whole: {answer:?}");
        prop_assert_eq!(values(&bytes, PADDING).len(), usize::from(pad && secure));
        prop_assert!(!pad || !secure || bytes.len().is_multiple_of(PADDING_BLOCK), "{}", bytes.len());
        prop_assert_eq!(values(&bytes, KEEPALIVE).len(), usize::from(keepalive));
    }
}
