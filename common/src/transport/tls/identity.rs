//! The ML-DSA-44 identity of a node as a raw public key (RFC 7250): nothing of X.509 is parsed but a fixed prefix.

use std::sync::Arc;

use aws_lc_rs::signature::{ML_DSA_44, UnparsedPublicKey};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureAlgorithm, SignatureScheme,
};

use crate::transport::identity::{Identity, PUBLIC_KEY_LEN};

/// What stands before the key in its SubjectPublicKeyInfo: a sequence of 1,330 bytes, the algorithm 2.16.840.1.101.3.4.3.17
/// without parameters (RFC 9881), and a bit string of 1,313 bytes without unused bits.
const SPKI_PREFIX: [u8; 22] = [
    0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03,
    0x11, 0x03, 0x82, 0x05, 0x21, 0x00,
];

/// Our raw public key for both roles.
#[derive(Debug)]
pub(super) struct Ours(Arc<CertifiedKey>);

impl Ours {
    pub(super) fn new(identity: &Arc<Identity>) -> Self {
        let key = Key(Arc::clone(identity));
        let info = CertificateDer::from(key.info());
        Self(Arc::new(CertifiedKey::new(vec![info], Arc::new(key))))
    }
}

impl ResolvesServerCert for Ours {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ResolvesClientCert for Ours {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// The identity as a key that rustls signs with.
#[derive(Debug, Clone)]
struct Key(Arc<Identity>);

impl Key {
    fn info(&self) -> Vec<u8> {
        [&SPKI_PREFIX, self.0.public_key()].concat()
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ML_DSA_44)
            .then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.info()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // TLS 1.2's numbers have none for it, and no TLS 1.2 is spoken.
        SignatureAlgorithm::Unknown(0)
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign(message)
            .ok_or_else(|| Error::General("the identity key cannot sign".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ML_DSA_44
    }
}

/// The ML-DSA-44 public key in what stands for a certificate.
pub(super) fn public_key<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Option<&'a [u8; PUBLIC_KEY_LEN]> {
    let key = certificate.as_ref().strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok()
}

/// Takes any node that proves to hold the key that it shows: whether it is the one that was wanted is for the
/// caller to say, who is told its id.
#[derive(Debug)]
pub(super) struct AnyNode;

impl AnyNode {
    fn key<'a>(
        certificate: &'a CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<&'a [u8; PUBLIC_KEY_LEN], Error> {
        let key = public_key(certificate).filter(|_| others.is_empty());
        key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    fn verify(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = Self::key(certificate, &[])?;
        let bad = Error::InvalidCertificate(CertificateError::BadSignature);
        if signed.scheme != SignatureScheme::ML_DSA_44 {
            return Err(bad);
        }
        UnparsedPublicKey::new(&ML_DSA_44, key)
            .verify(message, signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| bad)
    }
}

/// Never asked for: no TLS 1.2 is spoken.
fn no_tls12() -> Error {
    PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::key(end_entity, intermediates).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ML_DSA_44]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::key(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ML_DSA_44]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
