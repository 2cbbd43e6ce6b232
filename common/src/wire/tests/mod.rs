//! Tests of the envelope, its limits and its codec.

mod limits;
mod round_trip;

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::RawNetworkMessage;

use super::{Envelope, NetworkMessage, WireError};

pub(super) fn magic() -> Magic {
    Magic::from_bytes(*b"QTCM")
}

pub(crate) fn envelope() -> Envelope {
    Envelope::new(magic())
}

/// A message by hand, with a right length and checksum.
pub(super) fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = magic().to_bytes().to_vec();
    bytes.extend_from_slice(command.as_bytes());
    bytes.resize(16, 0);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn decode(command: &str, payload: &[u8]) -> Result<NetworkMessage, WireError> {
    envelope().decode(&framed(command, payload))
}

/// The payloads in the vector file.
pub(super) fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    include_str!("vectors/payloads.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (command, hex) = line.split_once(' ').unwrap();
            (
                command,
                data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_bitcoin_crates_vectors_decode_and_encode_to_themselves() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 7);
    for (command, payload) in vectors {
        let bytes = framed(command, &payload);
        let message = envelope().decode(&bytes).unwrap();
        assert_eq!(message.cmd(), command);
        match command {
            "reject" => assert!(matches!(
                envelope().encode(&message),
                Err(WireError::NotSent { .. })
            )),
            _ => assert_eq!(envelope().encode(&message).unwrap(), bytes, "{command}"),
        }
        // The crate's own framing agrees with ours in both directions.
        assert_eq!(
            serialize(&RawNetworkMessage::new(magic(), message.clone())),
            bytes
        );
        let raw: RawNetworkMessage = bitcoin::consensus::deserialize(&bytes).unwrap();
        assert_eq!(*raw.payload(), message);
    }
}

/// BIP 155's addresses, valid and not, as the bitcoin crate's tests have them.
#[test]
fn bip_155_addresses() {
    let entry = |address: &str| {
        let address = data_encoding::HEXLOWER.decode(address.as_bytes()).unwrap();
        [&[1, 1, 2, 3, 4, 0], address.as_slice(), &[0x20, 0x8d]].concat()
    };
    let valid = [
        "010401020304",
        "02101a1b2a2b3a3b4a4b5a5b6a6b7a7b8a8b",
        "030af1f2f3f4f5f6f7f8f9fa",
        "042053cd5648488c4707914182655b7664034e09e66f7e8cbf1084e654eb56c5bd88",
        "0520a2894dabaec08c0051a481a6dac88b64f98232ae42d4b6fd2fa81952dfe36a87",
        "0610fc010001000200030004000500060007",
        "aa0401020304",
        "aa00",
    ];
    for address in valid {
        let bytes = framed("addrv2", &entry(address));
        let message = envelope()
            .decode(&bytes)
            .unwrap_or_else(|e| panic!("{address}: {e}"));
        assert_eq!(envelope().encode(&message).unwrap(), bytes, "{address}");
    }
    let invalid = [
        "01040102",
        "010501020304",
        "01fd010201020304",
        "020400",
        "021000000000000000000000ffff01020304",
        "0210fd87d87eeb430102030405060708090a",
        "030700",
        "040000",
        "050300",
        "0610fd000001000200030004000500060007",
        "060100",
        "aafe0000000201020304050607",
    ];
    for address in invalid {
        let error = decode("addrv2", &entry(address)).expect_err(address);
        assert!(error.is_peer_fault());
    }
}

#[test]
fn messages_without_payload_are_exactly_that() {
    for command in [
        "verack",
        "getaddr",
        "mempool",
        "sendheaders",
        "sendaddrv2",
        "wtxidrelay",
    ] {
        let message = decode(command, &[]).unwrap();
        assert_eq!(message.cmd(), command);
        assert_eq!(envelope().encode(&message).unwrap(), framed(command, &[]));
        assert!(matches!(
            decode(command, &[0]),
            Err(WireError::TooLong { max: 0, .. })
        ));
    }
}

#[test]
fn another_network_is_named() {
    let mut bytes = framed("verack", &[]);
    bytes[..4].copy_from_slice(&Magic::BITCOIN.to_bytes());
    let error = envelope().decode(&bytes).unwrap_err();
    assert!(
        matches!(
            error,
            WireError::WrongMagic {
                found: Magic::BITCOIN,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn every_truncation_of_every_vector_is_refused() {
    for (command, payload) in vectors() {
        let bytes = framed(command, &payload);
        for length in 0..bytes.len() {
            let error = envelope().decode(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, WireError::Truncated { .. }),
                "{command} {length}: {error}"
            );
        }
        // Cut inside the payload, under a header that is right for what is left.
        for length in 0..payload.len() {
            let error = decode(command, &payload[..length]).unwrap_err();
            assert!(error.is_peer_fault(), "{command} {length}");
        }
    }
}

#[test]
fn every_bit_flip_of_a_message_is_refused() {
    let (command, payload) = vectors().remove(0);
    let good = framed(command, &payload);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A flip inside the command can make another word, which we then do not know.
        match envelope().decode(&bytes) {
            Err(error) => assert!(error.is_peer_fault(), "bit {bit}"),
            Ok(message) => {
                assert!((4 * 8..16 * 8).contains(&bit), "bit {bit}");
                assert!(
                    matches!(message, NetworkMessage::Unknown { .. }),
                    "bit {bit}"
                );
            }
        }
    }
}

#[test]
fn trailing_bytes_are_refused_after_the_payload_and_inside_it() {
    for (command, payload) in vectors() {
        let mut bytes = framed(command, &payload);
        bytes.push(0);
        let error = envelope().decode(&bytes).unwrap_err();
        assert!(
            matches!(error, WireError::TrailingBytes { count: 1, .. }),
            "{command}: {error}"
        );
        let inside = [payload.as_slice(), &[0]].concat();
        let error = decode(command, &inside).unwrap_err();
        assert!(
            matches!(error, WireError::TrailingBytes { count: 1, .. }),
            "{command}: {error}"
        );
    }
    for command in ["ping", "pong", "feefilter", "sendcmpct"] {
        let error = decode(command, &[0; 10]).unwrap_err();
        assert!(matches!(error, WireError::TooLong { .. }), "{error}");
    }
}

#[test]
fn a_command_must_be_text() {
    let good = framed("verack", &[]);
    let broken: [&[u8; 12]; 5] = [
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"ver\0ack\0\0\0\0\0",
        b"ver ack\0\0\0\0\0",
        b"ver\x7fck\0\0\0\0\0\0",
        b"ver\xffck\0\0\0\0\0\0",
    ];
    for command in broken {
        let mut bytes = good.clone();
        bytes[4..16].copy_from_slice(command);
        let error = envelope().decode(&bytes).unwrap_err();
        assert!(
            matches!(error, WireError::BadCommand),
            "{command:?}: {error}"
        );
    }
}

#[test]
fn unknown_commands_pass_and_come_back_the_same() {
    for command in ["x", "twelve-chars", "filterload", "alert", "merkleblock"] {
        let bytes = framed(command, &[1, 2, 3]);
        let message = envelope().decode(&bytes).unwrap();
        let NetworkMessage::Unknown {
            command: name,
            payload,
        } = &message
        else {
            panic!("{command} is known")
        };
        assert_eq!(
            (name.as_ref(), payload.as_slice()),
            (command, [1, 2, 3].as_slice())
        );
        assert_eq!(envelope().encode(&message).unwrap(), bytes);
    }
}

#[test]
fn what_a_peer_would_refuse_is_not_sent() {
    let many = NetworkMessage::Ping(0);
    assert!(envelope().encode(&many).is_ok());
    let inventory = bitcoin::p2p::message_blockdata::Inventory::Error;
    let error = envelope()
        .encode(&NetworkMessage::Inv(vec![inventory; 50_001]))
        .unwrap_err();
    assert!(matches!(error, WireError::OwnMessage { .. }), "{error}");
    assert!(!error.is_peer_fault());
    let disguised = NetworkMessage::Unknown {
        command: "ping".parse().unwrap(),
        payload: vec![0; 8],
    };
    let spaced = NetworkMessage::Unknown {
        command: "a b".parse().unwrap(),
        payload: vec![],
    };
    let alert = NetworkMessage::Alert(vec![1]);
    for message in [disguised, spaced, alert] {
        let error = envelope().encode(&message).unwrap_err();
        assert!(matches!(error, WireError::NotSent { .. }), "{error}");
        assert!(!error.is_peer_fault());
    }
}

#[test]
fn a_header_followed_by_transactions_is_refused() {
    let (_, mut payload) = vectors()
        .into_iter()
        .find(|(name, _)| *name == "headers")
        .unwrap();
    *payload.last_mut().unwrap() = 1;
    assert!(matches!(
        decode("headers", &payload),
        Err(WireError::Malformed { .. })
    ));
}

#[test]
fn a_negative_fee_rate_is_refused() {
    assert!(matches!(
        decode("feefilter", &1_i64.to_le_bytes()),
        Ok(NetworkMessage::FeeFilter(1))
    ));
    assert!(decode("feefilter", &(-1_i64).to_le_bytes()).is_err());
}

#[test]
fn a_count_that_is_not_in_its_shortest_form_is_refused() {
    let header = vectors()
        .into_iter()
        .find(|(name, _)| *name == "headers")
        .unwrap()
        .1;
    for count in [
        [0xfd, 1, 0].as_slice(),
        &[0xfe, 1, 0, 0, 0],
        &[0xff, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let payload = [count, &header[1..]].concat();
        assert!(matches!(
            decode("headers", &payload),
            Err(WireError::Malformed { .. })
        ));
    }
}
