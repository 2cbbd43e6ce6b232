//! The Noise state machine: every truncation and every single-bit flip of its three messages, rekey.

use snow::TransportState;

use crate::transport::TransportKind;
use crate::transport::cipher::{DirectionCipher, TAG_LEN};
use crate::transport::error::{HandshakeError, HandshakeStep};
use crate::transport::identity::Role;
use crate::transport::noise::{
    Established, FRAME_HEADER, MESSAGE_1, MESSAGE_2, MESSAGE_3, Noise, prologue,
};
use crate::transport::record::REKEY_INTERVAL;

use HandshakeStep::{Message1, Message2, Message3};

const PROLOGUE: &[u8] = b"test";

fn side(role: Role) -> Noise {
    let key = match role {
        Role::Initiator => [1; 32],
        Role::Responder => [2; 32],
    };
    Noise::new(role, &key, PROLOGUE).unwrap()
}

fn message(noise: &mut Noise, step: HandshakeStep) -> Vec<u8> {
    noise.write(step).unwrap().split_off(FRAME_HEADER)
}

/// Both sides after `rounds` unchanged messages.
fn advanced(rounds: usize) -> (Noise, Noise) {
    let (mut initiator, mut responder) = (side(Role::Initiator), side(Role::Responder));
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
    let (mut initiator, mut responder) = (side(Role::Initiator), side(Role::Responder));
    let first = initiator.write(Message1).unwrap();
    assert_eq!(first[..FRAME_HEADER], [0x04, 0xc0]);
    assert_eq!(first.len() - FRAME_HEADER, MESSAGE_1);
    assert_eq!((MESSAGE_1, MESSAGE_2, MESSAGE_3), (1_216, 1_200, 64));
    responder.read(Message1, &first[FRAME_HEADER..]).unwrap();
    let second = message(&mut responder, Message2);
    assert_eq!(second.len(), MESSAGE_2);
    initiator.read(Message2, &second).unwrap();
    let third = message(&mut initiator, Message3);
    assert_eq!(third.len(), MESSAGE_3);
    responder.read(Message3, &third).unwrap();

    let (a, b) = (initiator.finish().unwrap(), responder.finish().unwrap());
    assert_eq!(a.initiator_key, b.initiator_key);
    assert_eq!(a.responder_key, b.responder_key);
    assert_ne!(a.initiator_key, a.responder_key);
    assert_eq!(a.handshake_hash, b.handshake_hash);
}

#[test]
fn an_unfinished_handshake_gives_no_keys() {
    let (initiator, responder) = advanced(2);
    assert!(matches!(initiator.finish(), Err(HandshakeError::Local(_))));
    assert!(matches!(responder.finish(), Err(HandshakeError::Local(_))));
}

/// Nothing in message 1 is encrypted, so a changed one shows when message 2 does not decrypt.
fn message_1_is_refused(bytes: &[u8]) -> bool {
    let (mut initiator, mut responder) = (side(Role::Initiator), side(Role::Responder));
    let original = message(&mut initiator, Message1);
    let changed = if bytes.is_empty() {
        original
    } else {
        bytes.to_vec()
    };
    if responder.read(Message1, &changed).is_err() {
        return true;
    }
    match responder.write(Message2) {
        Err(_) => true,
        Ok(frame) => initiator.read(Message2, &frame[FRAME_HEADER..]).is_err(),
    }
}

#[test]
fn every_bit_flip_of_message_1_is_refused() {
    let mut faults = 0;
    for bit in 0..MESSAGE_1 * 8 {
        let (mut initiator, mut responder) = (side(Role::Initiator), side(Role::Responder));
        let mut first = message(&mut initiator, Message1);
        first[bit / 8] ^= 1 << (bit % 8);
        let refused = match responder.read(Message1, &first) {
            Err(_) => true,
            Ok(()) => match responder.write(Message2) {
                // The flipped bit makes an ML-KEM coefficient too large.
                Err(error) => matches!(error, HandshakeError::InvalidKey { step: Message2 }),
                Ok(frame) => initiator.read(Message2, &frame[FRAME_HEADER..]).is_err(),
            },
        };
        assert!(refused, "bit {bit}");
        faults += 1;
    }
    assert_eq!(faults, 9_728);
    assert!(!message_1_is_refused(&[]), "an unchanged one passes");
}

#[test]
fn every_bit_flip_of_message_2_is_refused() {
    for bit in 0..MESSAGE_2 * 8 {
        let (mut initiator, mut responder) = advanced(1);
        let mut second = message(&mut responder, Message2);
        second[bit / 8] ^= 1 << (bit % 8);
        let error = initiator.read(Message2, &second).unwrap_err();
        assert!(error.is_peer_fault(), "bit {bit}: {error}");
    }
}

#[test]
fn every_bit_flip_of_message_3_is_refused() {
    for bit in 0..MESSAGE_3 * 8 {
        let (mut initiator, mut responder) = advanced(2);
        let mut third = message(&mut initiator, Message3);
        third[bit / 8] ^= 1 << (bit % 8);
        let error = responder.read(Message3, &third).unwrap_err();
        assert!(
            matches!(
                error,
                HandshakeError::WrongNetworkOrTampering { step: Message3 }
            ),
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn every_truncation_of_every_message_is_refused() {
    for length in 1..MESSAGE_1 {
        let mut initiator = side(Role::Initiator);
        let first = message(&mut initiator, Message1);
        assert!(
            message_1_is_refused(&first[..length]),
            "{length} bytes of message 1"
        );
    }
    let (mut initiator, mut responder) = advanced(1);
    let second = message(&mut responder, Message2);
    for length in 0..MESSAGE_2 {
        // snow goes back to where it was after a refusal, so one state serves.
        assert!(
            initiator.read(Message2, &second[..length]).is_err(),
            "{length} of message 2"
        );
    }
    let (mut initiator, mut responder) = advanced(2);
    let third = message(&mut initiator, Message3);
    for length in 0..MESSAGE_3 {
        assert!(
            responder.read(Message3, &third[..length]).is_err(),
            "{length} of message 3"
        );
    }
}

#[test]
fn a_key_of_low_order_is_refused() {
    let mut responder = side(Role::Responder);
    let mut first = message(&mut side(Role::Initiator), Message1);
    first[..32].fill(0);
    responder.read(Message1, &first).unwrap();
    let error = responder.write(Message2).unwrap_err();
    assert!(
        matches!(error, HandshakeError::InvalidKey { .. }),
        "{error}"
    );
    assert!(error.is_peer_fault());
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
    let (initiator, responder) = advanced(3);
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
