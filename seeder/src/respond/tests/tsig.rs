//! Queries that are signed with a key: we have none (RFC 8945, 5.2.1 and 5.3.2).

use hickory_proto::rr::rdata::opt::EdnsOption;

use super::*;
use crate::wire::HEADER;

/// The key's name in its own words, and as labels below the question's name.
const KEYS: [&[u8]; 2] = [b"\x03key\x07example\x00", b"\x03key\xc0\x0c"];

/// The algorithm, time signed and fudge.
const SIGNED: &[u8] = b"\x0bhmac-sha256\x00\x00\x00\x65\x01\x02\x03\x01\x2c";

/// TSIG RDATA with a MAC of 32 bytes and other data of six, as after an error of the clock.
fn rdata() -> Vec<u8> {
    let mac = [[0, 32].as_slice(), &[7; 32]].concat();
    // Original id, error, other data.
    let numbers = [0x43, 0x21, 0, 18, 0, 6, 1, 2, 3, 4, 5, 6];
    [SIGNED, &mac, &numbers].concat()
}

/// `packet` with a TSIG record behind it.
fn signed(packet: &[u8], key: &[u8], class: u8, ttl: u8, rdata: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rdata.len()).unwrap().to_be_bytes();
    let fixed = [0, 250, 0, class, 0, 0, 0, ttl];
    let mut packet = [packet, key, &fixed, &length, rdata].concat();
    packet[11] += 1;
    packet
}

/// The record that comes back, byte for byte.
fn unknown(key: &[u8]) -> Vec<u8> {
    let length = SIGNED.len() as u8 + 8;
    let fixed = [0, 250, 0, 255, 0, 0, 0, 0, 0, length];
    [key, &fixed, SIGNED, &[0, 0, 0x43, 0x21, 0, 17, 0, 0]].concat()
}

fn plain(name: &str, edns: Option<u16>) -> Vec<u8> {
    query(name, RecordType::A, edns).to_vec().unwrap()
}

#[test]
fn the_key_is_told_to_be_unknown() {
    // Whatever is asked for: names of ours, others, and the table's and the engine's answers.
    for name in [APEX, "X3.seed1.quantumcoin.network.", "foreign.example."] {
        for key in KEYS {
            for transport in [Transport::Udp, Transport::Tcp] {
                let asked = plain(name, None);
                let packet = signed(&asked, key, 255, 0, &rdata());
                let bytes = reply(&responder(), &packet, transport).unwrap();
                let header = [0x12, 0x34, 0x81, 9, 0, 1, 0, 0, 0, 0, 0, 1];
                let wanted = [&header, &asked[HEADER..], &unknown(key)].concat();
                assert_eq!(bytes, wanted, "{name} {transport:?}");
                assert_eq!(packet.len() - bytes.len(), 38, "no MAC, no other data");
            }
        }
    }
}

#[test]
fn the_record_comes_last_behind_edns() {
    for transport in [Transport::Udp, Transport::Tls] {
        let mut message = query(APEX, RecordType::A, Some(1232));
        let options = message.edns.as_mut().unwrap().options_mut();
        options.insert(EdnsOption::Unknown(10, vec![7; 8]));
        options.insert(EdnsOption::Unknown(12, Vec::new()));
        let packet = signed(&message.to_vec().unwrap(), KEYS[0], 255, 0, &rdata());
        let bytes = reply(&responder(), &packet, transport).unwrap();
        assert_eq!(bytes[3], 9);
        assert_eq!(bytes[10..12], [0, 2]);
        assert!(bytes.ends_with(&unknown(KEYS[0])));
        match transport {
            // The server's half of the cookie is all that is new; the option of padding is not answered.
            Transport::Udp => assert!(bytes.len() <= packet.len() + 16),
            _ => assert_eq!(bytes.len(), crate::wire::reply::PADDING_BLOCK),
        }
    }
    // Before the version of EDNS is looked at.
    let mut message = query(APEX, RecordType::A, Some(1232));
    message.edns.as_mut().unwrap().set_version(1);
    let packet = signed(&message.to_vec().unwrap(), KEYS[0], 255, 0, &rdata());
    let bytes = reply(&responder(), &packet, Transport::Udp).unwrap();
    assert_eq!(bytes[3], 9);
    assert!(bytes.ends_with(&unknown(KEYS[0])));
}

#[test]
fn a_request_for_a_cookie_alone_is_no_exception() {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8]);
    packet.extend([5; 8]);
    let with = |key| {
        reply(
            &responder(),
            &signed(&packet, key, 255, 0, &rdata()),
            Transport::Udp,
        )
    };
    let bytes = with(KEYS[0]).unwrap();
    assert_eq!(bytes[3], 9);
    assert!(bytes.ends_with(&unknown(KEYS[0])));
    assert_eq!(with(KEYS[1]).unwrap()[3], 1, "there is no name to point to");
}

#[test]
fn malformed_records_get_formerr() {
    let formerr = Some(vec![0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let asked = plain(APEX, None);
    let ask = |packet: &[u8]| reply(&responder(), packet, Transport::Udp);
    let (key, rdata) = (KEYS[0], rdata());
    assert_eq!(ask(&signed(&asked, key, 1, 0, &rdata)), formerr, "class IN");
    assert_eq!(ask(&signed(&asked, key, 255, 9, &rdata)), formerr, "a TTL");
    for length in 0..rdata.len() {
        let cut = signed(&asked, key, 255, 0, &rdata[..length]);
        assert_eq!(ask(&cut), formerr, "{length} bytes");
    }
    let long = [rdata.as_slice(), &[0]].concat();
    assert_eq!(ask(&signed(&asked, key, 255, 0, &long)), formerr);
    let once = signed(&asked, key, 255, 0, &rdata);
    assert_eq!(ask(&signed(&once, key, 255, 0, &rdata)), formerr, "two");
    let mut before_opt = [once.as_slice(), &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]].concat();
    before_opt[11] += 1;
    assert_eq!(ask(&before_opt), formerr, "not the last");
    // The same bytes, counted as another section's.
    let mut elsewhere = once;
    (elsewhere[9], elsewhere[11]) = (1, 0);
    assert_eq!(ask(&elsewhere), formerr);
}

#[test]
fn what_does_not_fit_is_told_over_tcp() {
    let label = [[63_u8].as_slice(), &[b'k'; 63]].concat();
    let key = [label.repeat(3).as_slice(), &[0]].concat();
    let name = format!("{}{APEX}", "a234567890123456789012345678901.".repeat(6));
    let algorithm = [label.repeat(3).as_slice(), &[0]].concat();
    let numbers = [0, 0, 0, 0, 0, 1, 1, 44, 0, 0, 0, 9, 0, 0, 0, 0];
    let rdata = [algorithm.as_slice(), &numbers].concat();
    let packet = signed(&plain(&name, None), &key, 255, 0, &rdata);
    assert!(packet.len() > 512);
    let cut = reply(&responder(), &packet, Transport::Udp).unwrap();
    assert_eq!((cut[2] & 2, cut[3]), (2, 9), "TC");
    assert_eq!(cut[10..12], [0, 0]);
    assert_eq!(cut.len(), plain(&name, None).len());
    let whole = reply(&responder(), &packet, Transport::Tcp).unwrap();
    assert_eq!((whole[2] & 2, whole.len()), (0, packet.len()));
    // A datagram of EDNS has room for it.
    let packet = signed(&plain(&name, Some(1232)), &key, 255, 0, &rdata);
    let roomy = reply(&responder(), &packet, Transport::Udp).unwrap();
    assert_eq!((roomy[2] & 2, roomy.len()), (0, packet.len()));
}
