//! Somebody who shows another's identity. By TLS: rustls lets whoever likes sign as he likes, which the node's own Noise
//! does not.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quantumcoin::transport::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, PeerIncompatible,
    SignatureAlgorithm, SignatureScheme,
};
use tokio::task::spawn_blocking;

use super::peer::Counts;
use crate::attack::dial::Dial;

/// The protocol's name (docs/transport.md).
const ALPN: &[u8] = b"qtc/1";

/// What stands before an ML-DSA-44 public key in its SubjectPublicKeyInfo (RFC 9881; docs/transport.md).
const SPKI_PREFIX: [u8; 22] = [
    0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03,
    0x11, 0x03, 0x82, 0x05, 0x21, 0x00,
];

/// Bytes of an ML-DSA-44 signature (FIPS 204, table 2).
const SIGNATURE: usize = 2_420;

/// Longest that a handshake may take: the victim's own time-out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes connections that show one stolen public key.
pub(super) struct Forger(Arc<ClientConfig>);

impl Forger {
    /// Has seen some node's public key, and has not its private one.
    pub(super) fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![TLS13_CHACHA20_POLY1305_SHA256],
            kx_groups: vec![X25519MLKEM768],
            ..default_provider()
        });
        let stolen = Identity::generate()?;
        let key = Stolen([&SPKI_PREFIX, stolen.public_key()].concat());
        let shown = CertificateDer::from(key.0.clone());
        let key = Arc::new(CertifiedKey::new(vec![shown], Arc::new(key)));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Whoever))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// One handshake, until the victim ends it.
    pub(super) async fn forge(&self, dial: Dial, counts: &Counts) -> anyhow::Result<()> {
        let name = ServerName::try_from("node.invalid")?;
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name)?;
        let stream = dial.connect().await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        counts.act();
        let sent = Arc::clone(&counts.sent);
        let shown = spawn_blocking(move || {
            let mut io = Counted { stream, sent };
            tls.complete_io(&mut io)?;
            // Only now it shows whether that was believed: an alert is an error.
            rustls::Stream::new(&mut tls, &mut io).read(&mut [0; 64])
        });
        shown.await??;
        Ok(())
    }
}

/// A socket that counts what goes out.
struct Counted {
    stream: std::net::TcpStream,
    sent: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.read(bytes)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A public key, and signatures that are none.
#[derive(Debug, Clone)]
struct Stolen(Vec<u8>);

impl SigningKey for Stolen {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signs = offered.contains(&SignatureScheme::ML_DSA_44);
        signs.then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // TLS 1.2's numbers have none for it, and no TLS 1.2 is spoken.
        SignatureAlgorithm::Unknown(0)
    }
}

impl Signer for Stolen {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0x5a; SIGNATURE])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ML_DSA_44
    }
}

/// Whoever the victim is, it is the one to be attacked.
#[derive(Debug)]
struct Whoever;

impl ServerCertVerifier for Whoever {
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
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ML_DSA_44]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use quantumcoin::chain_spec::ChainSpec;
    use quantumcoin::transport::{Endpoint, HandshakeError};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stolen_identity_is_found_out() {
        let endpoint = Endpoint::new(
            &ChainSpec::devnet(),
            Arc::new(Identity::generate().unwrap()),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let dial = Dial::new("127.0.0.1:0".parse().unwrap(), to);
        let counts = Counts::default();
        let forger = Forger::new().unwrap();
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            endpoint.accept(stream).await.map(drop)
        };
        let (forged, accepted) = tokio::join!(forger.forge(dial, &counts), accept);
        assert!(matches!(accepted, Err(HandshakeError::IdentityForged)));
        assert!(forged.is_err(), "the victim says so");
        assert!(counts.sent.load(Ordering::Relaxed) > 3_000);
    }
}
