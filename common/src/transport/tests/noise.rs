//! The Noise state machine: every truncation and every single-bit flip of its three messages, rekey.

use snow::TransportState;

use crate::transport::TransportKind;
use crate::transport::cipher::{DirectionCipher, TAG_LEN};
use crate::transport::crypto::x25519_public;
use crate::transport::error::{HandshakeError, HandshakeStep};
use crate::transport::identity::Role;
use crate::transport::noise::{Established, FRAME_HEADER, Noise, NoisePattern, prologue};
use crate::transport::record::REKEY_INTERVAL;

use HandshakeStep::{Message1, Message2, Message3};

const PROLOGUE: &[u8] = b"test";

const INITIATOR: [u8; 32] = [1; 32];
const RESPONDER: [u8; 32] = [2; 32];

fn side(pattern: NoisePattern, role: Role) -> Noise {
    let known = x25519_public(&RESPONDER).unwrap();
    let known = (pattern == NoisePattern::Xk).then_some(&known);
    let side = match role {
        Role::Initiator => Noise::initiator(&INITIATOR, known, PROLOGUE),
        Role::Responder => Noise::responder(pattern, &RESPONDER, PROLOGUE),
    };
    side.unwrap()
}

fn both(pattern: NoisePattern) -> (Noise, Noise) {
    (
        side(pattern, Role::Initiator),
        side(pattern, Role::Responder),
    )
}

fn message(noise: &mut Noise, step: HandshakeStep) -> Vec<u8> {
    noise.write(step).unwrap().split_off(FRAME_HEADER)
}

/// Both sides after `rounds` unchanged messages.
fn advanced(pattern: NoisePattern, rounds: usize) -> (Noise, Noise) {
    let (mut initiator, mut responder) = both(pattern);
    let steps = [Message1, Message2, Message3];
    for (index, step) in steps.into_iter().take(rounds).enumerate() {
        let (writer, reader) = match index % 2 {
            0 => (&mut initiator, &mut responder),
            _ => (&mut responder, &mut initiator),
        };
        let bytes = message(writer, step);
        reader.read(step, &bytes).unwrap();
    }
    (initiator, responder)
}

#[test]
fn the_messages_have_the_lengths_of_the_pattern() {
    for (pattern, lengths) in [
        (NoisePattern::Xx, [1_216, 1_200, 64]),
        (NoisePattern::Xk, [1_248, 1_152, 64]),
    ] {
        let (mut initiator, mut responder) = both(pattern);
        assert_eq!(initiator.pattern(), pattern);
        let first = initiator.write(Message1).unwrap();
        assert_eq!(first[0], 0x04, "which is no other transport's first byte");
        let first = first[FRAME_HEADER..].to_vec();
        assert_eq!(NoisePattern::of_first_message(first.len()), Some(pattern));
        responder.read(Message1, &first).unwrap();
        let second = message(&mut responder, Message2);
        initiator.read(Message2, &second).unwrap();
        let third = message(&mut initiator, Message3);
        responder.read(Message3, &third).unwrap();
        assert_eq!([first.len(), second.len(), third.len()], lengths);
        let steps = [Message1, Message2, Message3];
        assert_eq!(steps.map(|step| pattern.message_length(step)), lengths);

        let (a, b) = (initiator.finish().unwrap(), responder.finish().unwrap());
        assert_eq!(a.initiator_key, b.initiator_key);
        assert_eq!(a.responder_key, b.responder_key);
        assert_ne!(a.initiator_key, a.responder_key);
        assert_eq!(a.handshake_hash, b.handshake_hash);
        assert_eq!(Some(a.remote_static), x25519_public(&RESPONDER));
        assert_eq!(Some(b.remote_static), x25519_public(&INITIATOR));
    }
}

#[test]
fn an_unfinished_handshake_gives_no_keys() {
    for pattern in NoisePattern::ALL {
        let (initiator, responder) = advanced(pattern, 2);
        assert!(matches!(initiator.finish(), Err(HandshakeError::Local(_))));
        assert!(matches!(responder.finish(), Err(HandshakeError::Local(_))));
    }
}

/// What a changed message 1 comes to: nothing in that of XX is encrypted, so it shows when message 2 does not decrypt.
fn message_1_is_refused(pattern: NoisePattern, change: impl FnOnce(&mut Vec<u8>)) -> bool {
    let (mut initiator, mut responder) = both(pattern);
    let mut first = message(&mut initiator, Message1);
    let original = first.clone();
    change(&mut first);
    if responder.read(Message1, &first).is_err() {
        return true;
    }
    assert!(
        pattern == NoisePattern::Xx || first == original,
        "XK shows it at once"
    );
    match responder.write(Message2) {
        // The change makes an ML-KEM coefficient too large, or an X25519 key of low order.
        Err(error) => {
            assert!(
                matches!(error, HandshakeError::InvalidKey { step: Message1 }),
                "{error}"
            );
            true
        }
        Ok(frame) => initiator.read(Message2, &frame[FRAME_HEADER..]).is_err(),
    }
}

#[test]
fn every_bit_flip_of_message_1_is_refused() {
    for (pattern, bits) in [(NoisePattern::Xx, 9_728), (NoisePattern::Xk, 9_984)] {
        assert_eq!(pattern.message_length(Message1) * 8, bits);
        for bit in 0..bits {
            let flip = |first: &mut Vec<u8>| first[bit / 8] ^= 1 << (bit % 8);
            assert!(
                message_1_is_refused(pattern, flip),
                "{pattern:?}, bit {bit}"
            );
        }
        assert!(
            !message_1_is_refused(pattern, |_| ()),
            "an unchanged one passes"
        );
    }
}

#[test]
fn every_bit_flip_of_message_2_is_refused() {
    for pattern in NoisePattern::ALL {
        for bit in 0..pattern.message_length(Message2) * 8 {
            let (mut initiator, mut responder) = advanced(pattern, 1);
            let mut second = message(&mut responder, Message2);
            second[bit / 8] ^= 1 << (bit % 8);
            let error = initiator.read(Message2, &second).unwrap_err();
            assert!(error.is_peer_fault(), "{pattern:?}, bit {bit}: {error}");
        }
    }
}

#[test]
fn every_bit_flip_of_message_3_is_refused() {
    for pattern in NoisePattern::ALL {
        for bit in 0..pattern.message_length(Message3) * 8 {
            let (mut initiator, mut responder) = advanced(pattern, 2);
            let mut third = message(&mut initiator, Message3);
            third[bit / 8] ^= 1 << (bit % 8);
            let error = responder.read(Message3, &third).unwrap_err();
            assert!(
                matches!(
                    error,
                    HandshakeError::WrongNetworkOrTampering { step: Message3 }
                ),
                "{pattern:?}, bit {bit}: {error}"
            );
        }
    }
}

#[test]
fn every_truncation_of_every_message_is_refused() {
    for pattern in NoisePattern::ALL {
        for length in 0..pattern.message_length(Message1) {
            let cut = |first: &mut Vec<u8>| first.truncate(length);
            assert!(
                message_1_is_refused(pattern, cut),
                "{pattern:?}, {length} of message 1"
            );
        }
        let (mut initiator, mut responder) = advanced(pattern, 1);
        let second = message(&mut responder, Message2);
        for length in 0..second.len() {
            // snow goes back to where it was after a refusal, so one state serves.
            assert!(
                initiator.read(Message2, &second[..length]).is_err(),
                "{pattern:?}, {length} of message 2"
            );
        }
        let (mut initiator, mut responder) = advanced(pattern, 2);
        let third = message(&mut initiator, Message3);
        for length in 0..third.len() {
            assert!(
                responder.read(Message3, &third[..length]).is_err(),
                "{pattern:?}, {length} of message 3"
            );
        }
    }
}

#[test]
fn a_key_of_low_order_is_refused() {
    for pattern in NoisePattern::ALL {
        let (mut initiator, mut responder) = both(pattern);
        let mut first = message(&mut initiator, Message1);
        first[..32].fill(0);
        let refused = responder.read(Message1, &first);
        let refused = refused.and_then(|()| responder.write(Message2).map(drop));
        let error = refused.unwrap_err();
        assert!(
            matches!(error, HandshakeError::InvalidKey { .. }),
            "{error}"
        );
        assert!(error.is_peer_fault());
    }
}

#[test]
fn who_is_dialled_with_a_key_that_is_not_his_does_not_answer() {
    let other = x25519_public(&[3; 32]).unwrap();
    let mut initiator = Noise::initiator(&INITIATOR, Some(&other), PROLOGUE).unwrap();
    let first = message(&mut initiator, Message1);
    let error = side(NoisePattern::Xk, Role::Responder)
        .read(Message1, &first)
        .unwrap_err();
    assert!(matches!(error, HandshakeError::NotForUs), "{error}");
    assert!(!error.is_peer_fault(), "the key may be ours of yesterday");
}

#[test]
fn the_prologue_says_everything_and_nothing_twice() {
    let expected = [
        b"QTCM".as_slice(),
        &[0, 0, 0, 0, 0, 0, 0, 7],
        b"mainnet",
        &[0, 1],
        &[1, 1],
    ]
    .concat();
    assert_eq!(
        prologue(*b"QTCM", "mainnet", &[TransportKind::Noise]),
        expected
    );
    let others = [
        prologue(*b"QTCT", "mainnet", &[TransportKind::Noise]),
        prologue(*b"QTCM", "mainnet\0", &[TransportKind::Noise]),
        prologue(*b"QTCM", "mainne", &[TransportKind::Noise]),
        prologue(*b"QTCM", "mainnet", &[]),
        prologue(
            *b"QTCM",
            "mainnet",
            &[TransportKind::Noise, TransportKind::Tls],
        ),
    ];
    assert!(others.iter().all(|other| *other != expected));
}

/// Our side as raw keys, the other side as snow itself, so that snow judges our ciphers.
fn ours_and_snows() -> (Established, TransportState) {
    let (initiator, responder) = advanced(NoisePattern::Xx, 3);
    let snows = responder.into_state().into_transport_mode().unwrap();
    (initiator.finish().unwrap(), snows)
}

#[test]
fn our_records_and_our_rekey_are_snows() {
    let (ours, mut snows) = ours_and_snows();
    let mut sealing = DirectionCipher::new(&ours.initiator_key);
    let mut opening = DirectionCipher::new(&ours.responder_key);
    for record in 1..=3 * REKEY_INTERVAL + 1 {
        let text = record.to_be_bytes();
        let mut sealed = text.to_vec();
        let tag = sealing.seal(&mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        let mut opened = [0; 8];
        assert_eq!(
            snows.read_message(&sealed, &mut opened).unwrap(),
            8,
            "record {record}"
        );
        assert_eq!(opened, text);

        let mut theirs = [0; 8 + TAG_LEN];
        assert_eq!(
            snows.write_message(&text, &mut theirs).unwrap(),
            theirs.len()
        );
        let mut opened = Vec::new();
        opening.open(&theirs, &mut opened).unwrap();
        assert_eq!(opened, text);
        if record % REKEY_INTERVAL == 0 {
            snows.rekey_incoming();
            snows.rekey_outgoing();
        }
    }
}

#[test]
fn the_rekey_happens_after_1_024_records_and_not_before_or_later() {
    for rekey_after in [REKEY_INTERVAL - 1, REKEY_INTERVAL, REKEY_INTERVAL + 1] {
        let (ours, mut snows) = ours_and_snows();
        let mut sealing = DirectionCipher::new(&ours.initiator_key);
        let mut refused_at = None;
        for record in 1..=REKEY_INTERVAL + 2 {
            let mut sealed = vec![0; 8];
            let tag = sealing.seal(&mut sealed).unwrap();
            sealed.extend_from_slice(&tag);
            if snows.read_message(&sealed, &mut [0; 8]).is_err() {
                refused_at = Some(record);
                break;
            }
            if record == rekey_after {
                snows.rekey_incoming();
            }
        }
        let expected = match rekey_after {
            REKEY_INTERVAL => None,
            early if early < REKEY_INTERVAL => Some(REKEY_INTERVAL),
            _ => Some(REKEY_INTERVAL + 1),
        };
        assert_eq!(refused_at, expected, "snow rekeys after {rekey_after}");
    }
}
