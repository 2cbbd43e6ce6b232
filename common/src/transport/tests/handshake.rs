//! Whole handshakes over in-memory streams, honest and attacked.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::transport::endpoint::{ALL_TRANSPORTS, TransportKind};
use crate::transport::error::{HandshakeError, HandshakeStep, RecordError};
use crate::transport::identity::{IDENTITY_PAYLOAD, Role};
use crate::transport::noise::{Established, FRAME_HEADER, Noise, NoisePattern, prologue};
use crate::transport::{DialBy, Endpoint, Identity, RecordReader, RecordWriter, Stream, WriteHalf};

use super::{accept_bytes, connected, endpoint, endpoint_of, shake, spec};

const MESSAGE_1: usize = NoisePattern::Xx.message_length(HandshakeStep::Message1);
const MESSAGE_2: usize = NoisePattern::Xx.message_length(HandshakeStep::Message2);
const MESSAGE_3: usize = NoisePattern::Xx.message_length(HandshakeStep::Message3);
/// Bytes that the initiator sends in a handshake by XX: two frames and the identity record.
const FROM_INITIATOR: usize = 2 * FRAME_HEADER + MESSAGE_1 + MESSAGE_3 + IDENTITY_RECORD;
/// Bytes that the responder sends.
const FROM_RESPONDER: usize = FRAME_HEADER + MESSAGE_2 + IDENTITY_RECORD;
const IDENTITY_RECORD: usize = 2 + IDENTITY_PAYLOAD + 8 + 16;

#[tokio::test]
async fn both_sides_know_each_other_and_talk_both_ways() {
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far) = shake(&dials, &accepts, 64 * 1024).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.remote.node_id, accepts.identity().node_id());
    assert_eq!(far.remote.node_id, dials.identity().node_id());
    let key = |of: &Endpoint| Some(of.identity().static_public_key());
    assert_eq!(near.remote.static_key, key(&accepts));
    assert_eq!(far.remote.static_key, key(&dials));
    assert_eq!(near.remote.transport, TransportKind::Noise);
    assert_eq!(near.remote.pattern, Some(NoisePattern::Xx));

    near.writer
        .write_messages(&[b"one".as_slice(), b"", b"three"])
        .await
        .unwrap();
    far.writer.write_message(b"back").await.unwrap();
    assert_eq!(far.reader.read_message().await.unwrap(), b"one");
    assert_eq!(far.reader.read_message().await.unwrap(), b"");
    assert_eq!(far.reader.read_message().await.unwrap(), b"three");
    assert_eq!(near.reader.read_message().await.unwrap(), b"back");
}

/// Handshakes by XK, with what the dialling side takes for the other's static key.
async fn shake_knowing(
    dials: &Endpoint,
    accepts: &Endpoint,
    key: [u8; 32],
) -> (super::Outcome, super::Outcome) {
    let (near, far) = duplex(1);
    let by = DialBy::NoiseKnowing(key);
    tokio::join!(dials.connect_by(by, near), accepts.accept(far))
}

#[tokio::test]
async fn who_knows_the_others_key_dials_by_xk() {
    let (dials, accepts) = (endpoint(), endpoint());
    let key = accepts.identity().static_public_key();
    let (near, far) = shake_knowing(&dials, &accepts, key).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    for (end, other) in [(&near, &accepts), (&far, &dials)] {
        let identity = other.identity();
        assert_eq!(end.remote.node_id, identity.node_id());
        assert_eq!(end.remote.static_key, Some(identity.static_public_key()));
        assert_eq!(end.remote.pattern, Some(NoisePattern::Xk));
    }
    let (sent, got) = tokio::join!(
        near.writer.write_message(b"known"),
        far.reader.read_message()
    );
    sent.unwrap();
    assert_eq!(got.unwrap(), b"known");
}

#[tokio::test]
async fn who_has_another_key_than_the_one_that_was_known_learns_nothing() {
    let (dials, accepts) = (endpoint(), endpoint());
    let key = endpoint().identity().static_public_key();
    let (near, far) = shake_knowing(&dials, &accepts, key).await;
    let far = far.unwrap_err();
    assert!(matches!(far, HandshakeError::NotForUs), "{far}");
    let near = near.unwrap_err();
    assert!(
        matches!(
            near,
            HandshakeError::KeyUnanswered(ref error)
                if matches!(**error, HandshakeError::Closed { step: HandshakeStep::Message2 })
        ),
        "{near}"
    );
}

#[tokio::test]
async fn slow_peers_that_move_one_byte_at_a_time_succeed() {
    let (near, far) = shake(&endpoint(), &endpoint(), 1).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    let text = vec![9; 3_000];
    let (sent, got) = tokio::join!(near.writer.write_message(&text), far.reader.read_message());
    sent.unwrap();
    assert_eq!(got.unwrap(), text);
}

#[tokio::test]
async fn it_runs_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far) = tokio::join!(
        async {
            dials
                .connect(tokio::net::TcpStream::connect(address).await.unwrap())
                .await
        },
        async { accepts.accept(listener.accept().await.unwrap().0).await },
    );
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.writer.write_message(b"over tcp").await.unwrap();
    assert_eq!(far.reader.read_message().await.unwrap(), b"over tcp");
}

#[tokio::test]
async fn another_network_is_refused_by_name_and_by_magic() {
    let ours = spec("devnet");
    let other_name = spec("devnet2");
    let mut other_magic = spec("devnet");
    other_magic.network_protocol.magic_bytes = *b"QTCT";
    for other in [other_name, other_magic] {
        let (near, far) = shake(&endpoint_of(&ours), &endpoint_of(&other), 64 * 1024).await;
        let near = near.unwrap_err();
        assert!(
            matches!(
                near,
                HandshakeError::WrongNetworkOrTampering {
                    step: HandshakeStep::Message2
                }
            ),
            "{near}"
        );
        assert!(
            near.to_string().contains("wrong network or tampering"),
            "{near}"
        );
        let far = far.unwrap_err();
        assert!(
            matches!(
                far,
                HandshakeError::Closed {
                    step: HandshakeStep::Message3
                }
            ),
            "{far}"
        );
        assert!(near.is_peer_fault() && !far.is_peer_fault());
    }
}

#[tokio::test]
async fn junk_is_told_from_our_protocol_by_its_first_byte() {
    for first_byte in 0..=u8::MAX {
        let error = accept_bytes(&[first_byte, 0, 1, 2, 3]).await;
        match first_byte {
            0x04..=0x15 => assert!(matches!(error, HandshakeError::BadLength { .. }), "{error}"),
            0x16 => assert!(matches!(error, HandshakeError::Tls(_)), "{error}"),
            _ => {
                assert!(
                    matches!(error, HandshakeError::NotOurProtocol { first_byte: found }
                        if found == first_byte),
                    "{error}"
                );
                assert!(error.is_peer_fault());
            }
        }
    }
    let http = accept_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        matches!(http, HandshakeError::NotOurProtocol { first_byte: b'G' }),
        "{http}"
    );
}

#[tokio::test]
async fn every_wrong_length_of_the_first_message_is_refused_without_reading_on() {
    for length in 0x0400..=0x15ff_u16 {
        if NoisePattern::of_first_message(usize::from(length)).is_some() {
            continue;
        }
        let error = accept_bytes(&length.to_be_bytes()).await;
        assert!(
            matches!(error, HandshakeError::BadLength { .. }),
            "{length}: {error}"
        );
    }
}

/// Sits between two endpoints and passes on at most so many bytes up (from the initiator) and down; then
/// it closes.
async fn through(limit_up: usize, limit_down: usize) -> (super::Outcome, super::Outcome) {
    let (near, mut near_wire) = duplex(64 * 1024);
    let (far, mut far_wire) = duplex(64 * 1024);
    let middle = async move {
        let (mut up, mut down) = (limit_up, limit_down);
        pass(
            &mut near_wire,
            &mut far_wire,
            FRAME_HEADER + MESSAGE_1,
            &mut up,
        )
        .await?;
        pass(
            &mut far_wire,
            &mut near_wire,
            FRAME_HEADER + MESSAGE_2,
            &mut down,
        )
        .await?;
        let rest = FROM_INITIATOR - FRAME_HEADER - MESSAGE_1;
        pass(&mut near_wire, &mut far_wire, rest, &mut up).await?;
        pass(&mut far_wire, &mut near_wire, IDENTITY_RECORD, &mut down).await
    };
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far, _) = tokio::join!(dials.connect(near), accepts.accept(far), middle);
    (near, far)
}

/// Passes on `count` bytes, or `None` when `budget` does not last for them.
async fn pass(
    from: &mut DuplexStream,
    to: &mut DuplexStream,
    count: usize,
    budget: &mut usize,
) -> Option<()> {
    let bytes = read(from, count).await;
    let passed = bytes.len().min(*budget);
    to.write_all(&bytes[..passed]).await.ok()?;
    *budget -= passed;
    (passed == count).then_some(())
}

async fn read<S: Stream>(io: &mut S, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut have = 0;
    while have < count {
        match io.read(&mut bytes[have..]).await {
            Ok(0) | Err(_) => break,
            Ok(n) => have += n,
        }
    }
    bytes.truncate(have);
    bytes
}

#[tokio::test]
async fn a_handshake_cut_at_any_byte_fails_on_both_sides_or_on_the_one_that_waits() {
    for limit in 0..FROM_INITIATOR {
        let (near, far) = through(limit, usize::MAX).await;
        let far = far.unwrap_err();
        assert!(
            matches!(far, HandshakeError::Closed { .. }),
            "cut at {limit}: {far}"
        );
        assert!(near.is_err(), "cut at {limit}");
    }
    for limit in 0..FROM_RESPONDER {
        let (near, _) = through(usize::MAX, limit).await;
        let near = near.unwrap_err();
        assert!(
            matches!(near, HandshakeError::Closed { .. }),
            "cut at {limit}: {near}"
        );
    }
    let (near, far) = through(usize::MAX, usize::MAX).await;
    assert!(near.is_ok() && far.is_ok(), "uncut it passes");
}

/// One side of the Noise part by hand, for attackers.
async fn noise_as<S: Stream>(
    role: Role,
    identity: &Identity,
    io: &mut S,
) -> (Established, Option<Vec<u8>>) {
    let spec = spec("devnet");
    let prologue = prologue(
        spec.network_protocol.magic_bytes,
        &spec.network,
        &ALL_TRANSPORTS,
    );
    let own = identity.static_private();
    let noise = match role {
        Role::Initiator => Noise::initiator(own, None, &prologue),
        Role::Responder => Noise::responder(NoisePattern::Xx, own, &prologue),
    };
    let mut noise = noise.unwrap();
    match role {
        Role::Initiator => {
            io.write_all(&noise.write(HandshakeStep::Message1).unwrap())
                .await
                .unwrap();
            let second = read(io, FRAME_HEADER + MESSAGE_2).await;
            noise
                .read(HandshakeStep::Message2, &second[FRAME_HEADER..])
                .unwrap();
            let third = noise.write(HandshakeStep::Message3).unwrap();
            (noise.finish().unwrap(), Some(third))
        }
        Role::Responder => {
            let first = read(io, FRAME_HEADER + MESSAGE_1).await;
            noise
                .read(HandshakeStep::Message1, &first[FRAME_HEADER..])
                .unwrap();
            io.write_all(&noise.write(HandshakeStep::Message2).unwrap())
                .await
                .unwrap();
            let third = read(io, FRAME_HEADER + MESSAGE_3).await;
            noise
                .read(HandshakeStep::Message3, &third[FRAME_HEADER..])
                .unwrap();
            (noise.finish().unwrap(), None)
        }
    }
}

/// Dials `accepts` as an attacker who sends `payload(handshake)` as its identity.
async fn dial_with_identity(
    accepts: &Endpoint,
    attacker: &Identity,
    payload: impl Fn(&Established) -> Vec<u8>,
) -> HandshakeError {
    let (near, far) = duplex(64 * 1024);
    let attack = show_identity(near, attacker, payload);
    let (_writer, result) = tokio::join!(attack, accepts.accept(far));
    result.unwrap_err()
}

/// Dials as `attacker`, who shows `payload(handshake)` as its identity. The connection stands as long as the writer.
async fn show_identity<S: Stream>(
    mut io: S,
    attacker: &Identity,
    payload: impl Fn(&Established) -> Vec<u8>,
) -> RecordWriter<WriteHalf<S>> {
    let (done, third) = noise_as(Role::Initiator, attacker, &mut io).await;
    let (_reader, writer) = io.into_halves();
    let mut writer = RecordWriter::new(writer, &done.initiator_key, third.unwrap());
    writer.write_identity(&payload(&done)).await.unwrap();
    writer
}

/// Somebody else's public key with our signature.
fn stolen_key(attacker: &Identity, victim: &Identity, done: &Established) -> Vec<u8> {
    let payload = attacker.prove(Role::Initiator, &done.handshake_hash);
    let mut payload = payload.unwrap();
    payload[..victim.public_key().len()].copy_from_slice(victim.public_key());
    payload
}

/// Dials as somebody who claims to be another node. The connection stands as long as what is given back.
pub(crate) async fn dial_as_another<S: Stream>(io: S) -> RecordWriter<WriteHalf<S>> {
    let (attacker, victim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    show_identity(io, &attacker, |done| stolen_key(&attacker, &victim, done)).await
}

#[tokio::test]
async fn a_forged_identity_is_refused() {
    let (attacker, victim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let accepts = endpoint();
    let stolen_key = dial_with_identity(&accepts, &attacker, |done| {
        stolen_key(&attacker, &victim, done)
    })
    .await;
    // A signature that the victim made in another connection.
    let replayed = dial_with_identity(&accepts, &attacker, |_| {
        victim.prove(Role::Initiator, &[7; 32]).unwrap()
    })
    .await;
    // The victim's signature for this very hash, but for the victim's own static key: what a man in the
    // middle would get who could make two connections share a hash.
    let other_static = dial_with_identity(&accepts, &attacker, |done| {
        victim.prove(Role::Initiator, &done.handshake_hash).unwrap()
    })
    .await;
    // Our own signature in the other role.
    let other_role = dial_with_identity(&accepts, &attacker, |done| {
        attacker
            .prove(Role::Responder, &done.handshake_hash)
            .unwrap()
    })
    .await;
    for error in [stolen_key, replayed, other_static, other_role] {
        assert!(matches!(error, HandshakeError::IdentityForged), "{error}");
        assert!(error.is_peer_fault());
    }
}

#[tokio::test]
async fn an_identity_of_another_length_is_refused_and_a_longer_one_before_it_is_read() {
    let attacker = Identity::generate().unwrap();
    let long = dial_with_identity(&endpoint(), &attacker, |_| vec![0; IDENTITY_PAYLOAD + 1]).await;
    assert!(
        matches!(
            long,
            HandshakeError::IdentityRecord(RecordError::BadLength { .. })
        ),
        "{long}"
    );
    let short = dial_with_identity(&endpoint(), &attacker, |_| vec![0; 100]).await;
    assert!(
        matches!(
            short,
            HandshakeError::IdentityRecord(RecordError::Malformed(_))
        ),
        "{short}"
    );
}

/// A man in the middle who breaks X25519 and so can be anybody in Noise: he handshakes with both sides,
/// knows all keys, and passes the identities on. The signatures give him away.
#[tokio::test]
async fn a_man_in_the_middle_who_swaps_keys_is_caught() {
    let (near, mut near_wire) = duplex(64 * 1024);
    let (far, mut far_wire) = duplex(64 * 1024);
    let attacker = Identity::generate().unwrap();
    let middle = async {
        let (left, _) = noise_as(Role::Responder, &attacker, &mut near_wire).await;
        let (right, third) = noise_as(Role::Initiator, &attacker, &mut far_wire).await;
        let (left_reader, _left_writer) = near_wire.into_halves();
        let (_right_reader, right_writer) = far_wire.into_halves();
        let mut from_left = RecordReader::new(left_reader, &left.initiator_key, IDENTITY_PAYLOAD);
        let mut to_right = RecordWriter::new(right_writer, &right.initiator_key, third.unwrap());
        let identity = from_left.read_identity().await.unwrap();
        to_right.write_identity(&identity).await.unwrap();
    };
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far, ()) = tokio::join!(dials.connect(near), accepts.accept(far), middle);
    assert!(matches!(far, Err(HandshakeError::IdentityForged)));
    assert!(matches!(
        near,
        Err(HandshakeError::Closed {
            step: HandshakeStep::Identity
        })
    ));
}

#[tokio::test]
async fn a_responder_signs_nothing_for_a_peer_without_identity() {
    let attacker = Identity::generate().unwrap();
    let (mut near, far) = duplex(64 * 1024);
    let accepts = endpoint();
    let attack = async {
        let (done, third) = noise_as(Role::Initiator, &attacker, &mut near).await;
        near.write_all(&third.unwrap()).await.unwrap();
        let (reader, writer) = near.into_halves();
        let mut writer = RecordWriter::new(writer, &done.initiator_key, Vec::new());
        writer.write_message(&[0; IDENTITY_PAYLOAD]).await.unwrap();
        RecordReader::new(reader, &done.responder_key, IDENTITY_PAYLOAD)
            .read_identity()
            .await
    };
    let (got, result) = tokio::join!(attack, accepts.accept(far));
    assert!(matches!(
        result.unwrap_err(),
        HandshakeError::IdentityRecord(RecordError::Malformed(_))
    ));
    assert!(
        matches!(got, Err(RecordError::Closed)),
        "nothing was signed: {got:?}"
    );
}

#[tokio::test]
async fn a_recorded_handshake_cannot_be_replayed() {
    // Record an honest initiator.
    let (near, mut wire) = duplex(64 * 1024);
    let (far, mut far_wire) = duplex(64 * 1024);
    let record = async {
        let first = read(&mut wire, FRAME_HEADER + MESSAGE_1).await;
        far_wire.write_all(&first).await.unwrap();
        let second = read(&mut far_wire, FRAME_HEADER + MESSAGE_2).await;
        wire.write_all(&second).await.unwrap();
        let rest = read(&mut wire, FROM_INITIATOR - first.len()).await;
        far_wire.write_all(&rest).await.unwrap();
        let identity = read(&mut far_wire, IDENTITY_RECORD).await;
        wire.write_all(&identity).await.unwrap();
        [first, rest].concat()
    };
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far, recorded) = tokio::join!(dials.connect(near), accepts.accept(far), record);
    assert!(near.is_ok() && far.is_ok());
    assert_eq!(recorded.len(), FROM_INITIATOR);
    // Play it to the same responder.
    let (mut replay, far) = duplex(64 * 1024);
    replay.write_all(&recorded).await.unwrap();
    let error = accepts.accept(far).await.unwrap_err();
    assert!(
        matches!(
            error,
            HandshakeError::WrongNetworkOrTampering {
                step: HandshakeStep::Message3
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_a_connection_is_seen_as_closed() {
    let (near, mut far) = connected().await;
    drop(near);
    assert!(matches!(
        far.reader.read_message().await,
        Err(RecordError::Closed)
    ));
    assert!(matches!(
        far.reader.read_message().await,
        Err(RecordError::Failed)
    ));
}
