//! What others do, without anything against a quantum computer: a libp2p node's Noise handshake, and rustls with
//! X25519 and Ed25519. Each side has an Ed25519 identity, as a libp2p node has.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme,
};
use snow::{Builder, HandshakeState};

use super::handshakes::{ROOM, timed};

/// libp2p's Noise: XX over the pure Rust primitives that snow brings.
const LIBP2P: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// What an identity signs in libp2p: this and the static key.
const LIBP2P_DOMAIN: &[u8] = b"noise-libp2p-static-key:";

/// Bytes of an Ed25519 public key, which a payload starts with.
const PUBLIC_KEY: usize = 32;

/// Everything that lasts longer than a connection.
pub(super) struct Classical {
    initiator: Libp2p,
    responder: Libp2p,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// One side's keys, and the payload that proves them: signed once for all connections.
struct Libp2p {
    static_private: Vec<u8>,
    payload: Vec<u8>,
}

impl Classical {
    pub(super) fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![TLS13_CHACHA20_POLY1305_SHA256],
            kx_groups: vec![X25519],
            ..default_provider()
        });
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&anybody) as _)
            .with_client_cert_resolver(Arc::new(
                AlwaysResolvesClientRawPublicKeys::new(raw_key()?),
            ));
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(anybody)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw_key()?)));
        Ok(Self {
            initiator: Libp2p::new()?,
            responder: Libp2p::new()?,
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    /// One handshake as libp2p does it; what each side took.
    pub(super) fn libp2p(&self) -> anyhow::Result<[Duration; 2]> {
        let mut times = [Duration::ZERO; 2];
        let [initiating, responding] = &mut times;
        let mut initiator = timed(initiating, || {
            Ok(self.initiator.builder()?.build_initiator()?)
        })?;
        let mut responder = timed(responding, || {
            Ok(self.responder.builder()?.build_responder()?)
        })?;
        let first = timed(initiating, || write(&mut initiator, &[]))?;
        timed(responding, || read(&mut responder, &first).map(drop))?;
        let second = timed(responding, || {
            write(&mut responder, &self.responder.payload)
        })?;
        timed(initiating, || read_identity(&mut initiator, &second))?;
        let third = timed(initiating, || {
            write(&mut initiator, &self.initiator.payload)
        })?;
        timed(responding, || read_identity(&mut responder, &third))?;
        ensure!(responder.is_handshake_finished(), "three messages suffice");
        Ok(times)
    }

    /// One handshake of rustls, both sides proving a raw Ed25519 key; what each side took.
    pub(super) fn rustls(&self) -> anyhow::Result<[Duration; 2]> {
        let mut times = [Duration::ZERO; 2];
        let [initiating, responding] = &mut times;
        let mut client = timed(initiating, || {
            let name = ServerName::try_from("localhost")?;
            let client = ClientConnection::new(Arc::clone(&self.client), name)?;
            Ok(Connection::from(client))
        })?;
        let mut server = timed(responding, || {
            let server = ServerConnection::new(Arc::clone(&self.server))?;
            Ok(Connection::from(server))
        })?;
        while client.is_handshaking() || server.is_handshaking() {
            let flight = timed(initiating, || sent(&mut client))?;
            timed(responding, || received(&mut server, &flight))?;
            let answer = timed(responding, || sent(&mut server))?;
            timed(initiating, || received(&mut client, &answer))?;
            ensure!(
                flight.len() + answer.len() > 0 || !client.is_handshaking(),
                "the handshake goes on"
            );
        }
        Ok(times)
    }
}

impl Libp2p {
    fn new() -> anyhow::Result<Self> {
        let identity = Ed25519KeyPair::generate().ok().context("an Ed25519 key")?;
        let keys = Builder::new(LIBP2P.parse()?).generate_keypair()?;
        let signature = identity.sign(&[LIBP2P_DOMAIN, &keys.public].concat());
        Ok(Self {
            static_private: keys.private,
            payload: [identity.public_key().as_ref(), signature.as_ref()].concat(),
        })
    }

    fn builder(&self) -> anyhow::Result<Builder<'_>> {
        Ok(Builder::new(LIBP2P.parse()?).local_private_key(&self.static_private)?)
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![0; ROOM];
    let length = state.write_message(payload, &mut message)?;
    message.truncate(length);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut payload = vec![0; ROOM];
    let length = state.read_message(message, &mut payload)?;
    payload.truncate(length);
    Ok(payload)
}

/// Reads a message with a payload and checks that its identity has signed the static key.
fn read_identity(state: &mut HandshakeState, message: &[u8]) -> anyhow::Result<()> {
    let payload = read(state, message)?;
    let parts = payload.split_at_checked(PUBLIC_KEY);
    let (identity, signature) = parts.context("a key and a signature")?;
    let key = state.get_remote_static().context("a static key")?;
    UnparsedPublicKey::new(&ED25519, identity)
        .verify(&[LIBP2P_DOMAIN, key].concat(), signature)
        .ok()
        .context("a signature that holds")
}

/// A new Ed25519 key as rustls takes it.
fn raw_key() -> anyhow::Result<Arc<CertifiedKey>> {
    let pair = Ed25519KeyPair::generate().ok().context("an Ed25519 key")?;
    let private = pair.to_pkcs8v1().ok().context("its PKCS #8")?;
    let key = any_eddsa_type(&private.as_ref().to_vec().into())?;
    let public = key.public_key().context("its public part")?.into_owned();
    let public = CertificateDer::from(public.as_ref().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![public], key)))
}

fn sent(connection: &mut Connection) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

fn received(connection: &mut Connection, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        let taken: io::Result<usize> = connection.read_tls(&mut bytes);
        taken?;
        connection.process_new_packets()?;
    }
    Ok(())
}

/// Takes whoever holds the key that it shows, as a peer-to-peer node does.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl Anybody {
    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }
}

/// Only TLS 1.3 is spoken.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
