//! The fallback: TLS 1.3 with the same identity and no weaker key exchange.
//!
//! | module | what it is for |
//! |---|---|
//! | this | what both sides agree on: one key exchange, one suite, one signature, no certificates |
//! | `identity` | the ML-DSA-44 identity as a raw public key (RFC 7250) |
//! | `handshake` | drives one handshake over a byte stream |
//! | `session` | an established connection, shared by its two halves |
//!
//! rustls does all of TLS; nothing here looks into a record. The two halves of a connection share its state behind
//! a lock that is held while bytes are encrypted or decrypted and never while a socket is waited for.

mod handshake;
mod identity;
mod session;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

pub(super) use self::handshake::{Established, accept, connect};
pub(super) use self::session::{TlsReading, TlsWriting};
use super::identity::Identity;

/// Names the protocol in both hellos (RFC 7301), so that a browser or another service is told apart early.
pub(super) const ALPN: &[u8] = b"qtc/1";

/// The configuration of both sides of TLS for one identity.
pub(super) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// For connections that prove `identity`.
    ///
    /// # Errors
    /// Where rustls finds no suite and group that fit each other: never with those named here.
    pub(super) fn new(identity: &Arc<Identity>) -> Result<Self, rustls::Error> {
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_CHACHA20_POLY1305_SHA256],
            kx_groups: vec![X25519MLKEM768],
            ..default_provider()
        };
        Self::with_provider(identity, provider)
    }

    /// With the cryptography of `provider`; tests see by it that any other leads nowhere.
    pub(super) fn with_provider(
        identity: &Arc<Identity>,
        provider: CryptoProvider,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(provider);
        let verifier = Arc::new(identity::AnyNode);
        let resolver = Arc::new(identity::Ours::new(identity));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
        })
    }

    #[cfg(test)]
    pub(super) fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    #[cfg(test)]
    pub(super) fn client_config(&self) -> &Arc<ClientConfig> {
        &self.client
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
