//! TLS: honest connections, and those that must not come about.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::transport::error::{HandshakeError, HandshakeStep, RecordError};
use crate::transport::record::MAX_MESSAGE;
use crate::transport::tls::{ALPN, Tls};
use crate::transport::{
    DialBy, Endpoint, Identity, MAX_PRE_AUTH_BYTES, REKEY_INTERVAL, Secured, TransportKind,
};
use crate::wire::limits::ENVELOPE_HEADER;

use super::{Outcome, accept_bytes, endpoint, endpoint_of, spec};

/// A message with a body of so many bytes in an envelope, as far as the transport looks at it.
fn message(body: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; ENVELOPE_HEADER + body];
    bytes[16..20].copy_from_slice(&u32::try_from(body).unwrap().to_le_bytes());
    bytes
}

async fn shake(dials: &Endpoint, accepts: &Endpoint, capacity: usize) -> (Outcome, Outcome) {
    let (near, far) = duplex(capacity);
    tokio::join!(dials.connect_by(DialBy::Tls, near), accepts.accept(far))
}

async fn connected() -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let (near, far) = shake(&endpoint(), &endpoint(), 64 * 1024).await;
    (near.unwrap(), far.unwrap())
}

#[tokio::test]
async fn both_sides_know_each_other_and_talk_both_ways() {
    let (dials, accepts) = (endpoint(), endpoint());
    let (near, far) = shake(&dials, &accepts, 64 * 1024).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.remote.node_id, accepts.identity().node_id());
    assert_eq!(far.remote.node_id, dials.identity().node_id());
    for end in [&near, &far] {
        assert_eq!(end.remote.transport, TransportKind::Tls);
        assert_eq!(end.remote.static_key, None);
    }
    let messages = [message(0, 1), message(100, 2), message(40_000, 3)];
    near.writer.write_messages(&messages[..2]).await.unwrap();
    near.writer.write_message(&messages[2]).await.unwrap();
    far.writer.write_message(&messages[1]).await.unwrap();
    // Nothing is sent, and nothing disturbed.
    far.writer.write_decoy(1_000).await.unwrap();
    for sent in &messages {
        assert_eq!(far.reader.read_message().await.unwrap(), *sent);
    }
    assert_eq!(near.reader.read_message().await.unwrap(), messages[1]);
    near.writer.shutdown().await.unwrap();
    let ended = far.reader.read_message().await;
    assert!(matches!(ended, Err(RecordError::Closed)), "{ended:?}");
    // Half a message, and then a close.
    let mut half = message(100, 4);
    half.truncate(50);
    far.writer.write_message(&half).await.unwrap();
    far.writer.shutdown().await.unwrap();
    let ended = near.reader.read_message().await;
    assert!(matches!(ended, Err(RecordError::Truncated)), "{ended:?}");
}

#[tokio::test]
async fn slow_peers_that_move_one_byte_at_a_time_succeed() {
    let (near, far) = shake(&endpoint(), &endpoint(), 1).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    let text = message(3_000, 9);
    let (sent, got) = tokio::join!(near.writer.write_message(&text), far.reader.read_message());
    sent.unwrap();
    assert_eq!(got.unwrap(), text);
}

#[tokio::test]
async fn messages_of_every_size_cross_and_those_above_the_bound_are_refused() {
    let (mut near, mut far) = connected().await;
    for body in [1, 16_383, 16_384, 65_536, MAX_MESSAGE - ENVELOPE_HEADER] {
        let text = message(body, 7);
        let (sent, got) = tokio::join!(near.writer.write_message(&text), far.reader.read_message());
        sent.unwrap();
        assert!(got.unwrap() == text, "{body}");
    }
    let error = near.writer.write_message(&message(MAX_MESSAGE, 7)).await;
    assert!(matches!(
        error,
        Err(RecordError::MessageTooLong {
            received: false,
            ..
        })
    ));
    far.reader.limit_messages(100);
    near.writer.write_message(&message(76, 1)).await.unwrap();
    near.writer.write_message(&message(77, 1)).await.unwrap();
    assert_eq!(far.reader.read_message().await.unwrap().len(), 100);
    let error = far.reader.read_message().await.unwrap_err();
    assert!(
        matches!(error, RecordError::MessageTooLong { received: true, .. })
            && error.is_peer_fault()
    );
}

#[tokio::test]
async fn another_network_is_refused() {
    let mut magic = spec("devnet");
    magic.network_protocol.magic_bytes = *b"QTCT";
    for other in [spec("devnet2"), magic] {
        let (near, far) = shake(&endpoint(), &endpoint_of(&other), 64 * 1024).await;
        for end in [near.unwrap_err(), far.unwrap_err()] {
            let step = HandshakeStep::Binding;
            assert!(
                matches!(end, HandshakeError::WrongNetworkOrTampering { step: s } if s == step),
                "{end}"
            );
        }
    }
}

#[tokio::test]
async fn who_accepts_one_transport_only_says_so() {
    let only_tls = endpoint().accepting(&[TransportKind::Tls]);
    let (near, far) = super::shake(&endpoint(), &only_tls, 64 * 1024).await;
    let far = far.unwrap_err();
    let noise = TransportKind::Noise;
    assert!(matches!(far, HandshakeError::TransportNotOffered { kind } if kind == noise));
    assert!(!far.is_peer_fault() && near.is_err());
    let (near, far) = shake(&endpoint(), &only_tls, 64 * 1024).await;
    assert!(near.is_ok() && far.is_ok());
    let only_noise = endpoint().accepting(&[TransportKind::Noise]);
    let (_, far) = shake(&endpoint(), &only_noise, 64 * 1024).await;
    let tls = TransportKind::Tls;
    assert!(
        matches!(far.unwrap_err(), HandshakeError::TransportNotOffered { kind } if kind == tls)
    );
}

/// What our client sends, changed.
fn client(change: impl FnOnce(&mut ClientConfig)) -> ClientConnection {
    let tls = Tls::new(&Arc::new(Identity::generate().unwrap())).unwrap();
    let mut config = ClientConfig::clone(tls.client_config());
    change(&mut config);
    let name = ServerName::try_from("node.invalid").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// Our client's configuration with other cryptography.
fn with_groups(groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>) -> ClientConnection {
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: groups,
        ..default_provider()
    };
    let tls = Tls::with_provider(&Arc::new(Identity::generate().unwrap()), provider).unwrap();
    let name = ServerName::try_from("node.invalid").unwrap();
    ClientConnection::new(Arc::clone(tls.client_config()), name).unwrap()
}

/// Plays one side by hand until it is through with the handshake, and leaves.
async fn play(mut side: Connection, mut near: DuplexStream) {
    loop {
        let mut out = Vec::new();
        while side.wants_write() {
            side.write_tls(&mut out).unwrap();
        }
        if near.write_all(&out).await.is_err() || !side.is_handshaking() {
            return;
        }
        let mut bytes = [0; 4_096];
        match near.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let mut rest = &bytes[..count];
                while !rest.is_empty() && side.read_tls(&mut rest).unwrap() > 0 {
                    // Its own refusal is not what is asked for here.
                    let _ = side.process_new_packets();
                }
            }
        }
    }
}

/// What our responder says of a client.
async fn against(client: ClientConnection) -> HandshakeError {
    let (near, far) = duplex(64 * 1024);
    let ours = tokio::spawn(async move { endpoint().accept(far).await });
    play(client.into(), near).await;
    ours.await.unwrap().unwrap_err()
}

/// What our initiator says of a server.
async fn against_server(change: impl FnOnce(&mut ServerConfig)) -> HandshakeError {
    let tls = Tls::new(&Arc::new(Identity::generate().unwrap())).unwrap();
    let mut config = ServerConfig::clone(tls.server_config());
    change(&mut config);
    let server = ServerConnection::new(Arc::new(config)).unwrap();
    let (near, far) = duplex(64 * 1024);
    let ours = tokio::spawn(async move { endpoint().connect_by(DialBy::Tls, far).await });
    play(server.into(), near).await;
    ours.await.unwrap().unwrap_err()
}

#[tokio::test]
async fn no_weaker_way_in() {
    use rustls::{Error, PeerIncompatible};
    let classical = against(with_groups(vec![kx_group::X25519])).await;
    assert!(
        matches!(
            classical,
            HandshakeError::Tls(Error::PeerIncompatible(
                PeerIncompatible::NoKxGroupsInCommon
            ))
        ),
        "{classical}"
    );
    let only_kem = against(with_groups(vec![kx_group::MLKEM768])).await;
    assert!(
        matches!(only_kem, HandshakeError::Tls(Error::PeerIncompatible(_))),
        "{only_kem}"
    );
    let stranger = against(client(|config| {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }))
    .await;
    assert!(
        matches!(stranger, HandshakeError::Tls(Error::NoApplicationProtocol)),
        "{stranger}"
    );
    let silent = against(client(|config| config.alpn_protocols.clear())).await;
    assert!(
        matches!(silent, HandshakeError::Tls(Error::NoApplicationProtocol)),
        "{silent}"
    );
    let nobody = against(client(|config| {
        config.client_auth_cert_resolver = Arc::new(NoKey);
    }))
    .await;
    assert!(
        matches!(nobody, HandshakeError::Tls(_)) && nobody.is_peer_fault(),
        "{nobody}"
    );
    for error in [classical, only_kem, stranger, silent] {
        assert!(error.is_peer_fault(), "{error}");
    }
}

/// Has no key to show.
#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Shows one node's key and signs with another's.
#[derive(Debug)]
struct Thief(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Thief {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Shows this in place of a raw public key, and signs with a key of its own.
fn thief(shown: Vec<Vec<u8>>) -> Arc<Thief> {
    let own = shown_key(&Arc::new(Identity::generate().unwrap()));
    let shown = shown.into_iter().map(Into::into).collect();
    let key = rustls::sign::CertifiedKey::new(shown, Arc::clone(&own.key));
    Arc::new(Thief(Arc::new(key)))
}

fn shown_key(of: &Arc<Identity>) -> Arc<rustls::sign::CertifiedKey> {
    let tls = Tls::new(of).unwrap();
    let resolver = Arc::clone(&tls.client_config().client_auth_cert_resolver);
    resolver.resolve(&[], &[]).unwrap()
}

/// Another node's key; then what is no key of ours: another algorithm, a cut one, two at once.
fn stolen_and_broken() -> (Vec<u8>, [Vec<Vec<u8>>; 3]) {
    let victim = shown_key(&Arc::new(Identity::generate().unwrap()));
    let info = victim.cert[0].to_vec();
    let mut other = info.clone();
    other[16] ^= 1;
    let cut = info[..info.len() - 1].to_vec();
    let two = vec![info.clone(), info.clone()];
    (info, [vec![other], vec![cut], two])
}

fn is_refused(error: &HandshakeError) {
    assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
    assert!(error.is_peer_fault(), "{error}");
}

#[tokio::test]
async fn an_identity_can_only_be_shown_by_who_holds_its_key() {
    let posing = |shown| client(|config| config.client_auth_cert_resolver = thief(shown));
    let (stolen, broken) = stolen_and_broken();
    let forged = against(posing(vec![stolen])).await;
    assert!(matches!(forged, HandshakeError::IdentityForged), "{forged}");
    for shown in broken {
        is_refused(&against(posing(shown)).await);
    }
}

/// The same from the other side: who dials is no easier to deceive.
#[tokio::test]
async fn nobody_can_pose_as_the_node_that_is_dialled() {
    let posing = |shown| {
        let thief = thief(shown);
        |config: &mut ServerConfig| config.cert_resolver = thief
    };
    let (stolen, broken) = stolen_and_broken();
    let forged = against_server(posing(vec![stolen])).await;
    assert!(matches!(forged, HandshakeError::IdentityForged), "{forged}");
    for shown in broken {
        is_refused(&against_server(posing(shown)).await);
    }
    // Nobody in particular, who speaks something else.
    for protocols in [vec![], vec![b"h2".to_vec()]] {
        let other = against_server(|config| config.alpn_protocols = protocols).await;
        assert!(!matches!(other, HandshakeError::Local(_)), "{other}");
    }
}

#[tokio::test]
async fn keys_are_renewed_on_the_way_and_nothing_is_lost() {
    let (mut near, mut far) = connected().await;
    let text = message(10, 5);
    for _ in 0..3 * REKEY_INTERVAL {
        near.writer.write_message(&text).await.unwrap();
        assert_eq!(far.reader.read_message().await.unwrap(), text);
    }
    // The other side's answers to that go before what it says next.
    far.writer.write_message(&text).await.unwrap();
    assert_eq!(near.reader.read_message().await.unwrap(), text);
}

fn hello() -> Vec<u8> {
    let mut client = client(|_| ());
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[tokio::test]
async fn every_truncation_of_the_first_message_is_a_close() {
    let hello = hello();
    assert_eq!(hello[0], 0x16);
    for length in 1..=hello.len() {
        let error = accept_bytes(&hello[..length]).await;
        assert!(
            matches!(error, HandshakeError::Closed { .. }),
            "{length}: {error}"
        );
    }
}

/// Some flips change what nobody looks at yet (the random, the key share): then the handshake stays open until the
/// transcripts turn out to differ, here until the end of the stream.
#[tokio::test]
async fn no_bit_flip_of_the_first_message_leads_anywhere() {
    let hello = hello();
    for bit in (0..hello.len() * 8).step_by(7) {
        let mut changed = hello.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = accept_bytes(&changed).await;
        assert!(
            !matches!(error, HandshakeError::Local(_) | HandshakeError::Io(_)),
            "{bit}: {error}"
        );
    }
}

#[tokio::test]
async fn nobody_makes_us_hold_more_than_a_handshake_takes() {
    // A handshake message of 60,000 bytes in records of 1,000, which never ends.
    let mut bytes = vec![0x16, 3, 3, 3, 232, 1, 0, 0xea, 0x60];
    bytes.resize(1_005, 0);
    let record = [&[0x16, 3, 3, 3, 232][..], &[0; 1_000]].concat();
    for _ in 0..20 {
        bytes.extend_from_slice(&record);
    }
    let error = accept_bytes(&bytes).await;
    let max = MAX_PRE_AUTH_BYTES;
    assert!(
        matches!(error, HandshakeError::TooMuch { max: m } if m == max),
        "{error}"
    );
    assert!(error.is_peer_fault());
}

/// The pipe between two ends, in the hands of somebody who lets the handshake pass.
#[tokio::test]
async fn records_that_are_changed_replayed_or_cut_are_caught() {
    for attack in ["change", "replay", "cut"] {
        let (near, mut near_wire) = duplex(1 << 20);
        let (far, mut far_wire) = duplex(1 << 20);
        let (dials, accepts) = (endpoint(), endpoint());
        let ends = async { tokio::join!(dials.connect_by(DialBy::Tls, near), accepts.accept(far)) };
        let ((near, far), ()) = tokio::join!(ends, async {
            // Until both are done: the last that is said is the responder's binding of 32 bytes.
            let (mut a, mut b) = ([0; 4_096], [0; 4_096]);
            loop {
                tokio::select! {
                    read = near_wire.read(&mut a) => far_wire.write_all(&a[..read.unwrap()]).await.unwrap(),
                    read = far_wire.read(&mut b) => {
                        let read = read.unwrap();
                        near_wire.write_all(&b[..read]).await.unwrap();
                        if b[..read].starts_with(&[0x17, 3, 3, 0, 49]) {
                            break;
                        }
                    }
                }
            }
        });
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.writer.write_message(&message(100, 1)).await.unwrap();
        let mut record = vec![0; 5 + 124 + 17];
        near_wire.read_exact(&mut record).await.unwrap();
        let passed = match attack {
            "change" => {
                record[50] ^= 1;
                record
            }
            "replay" => [record.clone(), record].concat(),
            _ => record[..100].to_vec(),
        };
        far_wire.write_all(&passed).await.unwrap();
        drop(far_wire);
        if attack == "replay" {
            far.reader.read_message().await.unwrap();
        }
        let error = far.reader.read_message().await.unwrap_err();
        match attack {
            "cut" => assert!(matches!(error, RecordError::Truncated), "{error}"),
            _ => assert!(
                matches!(error, RecordError::Tls(rustls::Error::DecryptError)),
                "{error}"
            ),
        }
        assert!(matches!(
            far.reader.read_message().await,
            Err(RecordError::Failed)
        ));
    }
}

#[test]
fn the_protocol_is_named_as_documented() {
    assert_eq!(ALPN, b"qtc/1");
}
