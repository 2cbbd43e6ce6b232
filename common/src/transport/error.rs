//! What can go wrong in a handshake and in the records after it, and whose fault it is.

use std::fmt;
use std::io;

use super::TransportKind;

/// The step of a handshake at which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeStep {
    /// Noise message 1, initiator to responder: the ephemeral keys.
    Message1,
    /// Noise message 2, responder to initiator: ephemeral, KEM ciphertext and static key.
    Message2,
    /// Noise message 3, initiator to responder: the static key.
    Message3,
    /// The first encrypted record of either side: post-quantum identity and signature.
    Identity,
    /// The handshake of TLS, both flights.
    Tls,
    /// What binds a TLS connection to network and version: the first that is said in it.
    Binding,
}

impl HandshakeStep {
    /// The step whose message is answered at this one: when no answer can be made, that message was wrong.
    pub(crate) fn answered_here(self) -> Self {
        match self {
            Self::Message3 => Self::Message2,
            _ => Self::Message1,
        }
    }
}

impl fmt::Display for HandshakeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message1 => "handshake message 1",
            Self::Message2 => "handshake message 2",
            Self::Message3 => "handshake message 3",
            Self::Identity => "the identity record",
            Self::Tls => "the TLS handshake",
            Self::Binding => "the binding of the TLS connection",
        })
    }
}

/// Why a handshake did not lead to a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first byte belongs to no transport of ours: a port scan, another protocol, or junk.
    #[error("not our protocol: the connection starts with byte {first_byte:#04x}")]
    NotOurProtocol {
        /// The byte that came first.
        first_byte: u8,
    },
    /// The peer opens with a transport of ours that this endpoint does not offer.
    #[error("the peer opens with {kind}, which is not offered here")]
    TransportNotOffered {
        /// What the peer opens with.
        kind: TransportKind,
    },
    /// A handshake message announces a length that its step does not have.
    #[error("{step} announces {length} bytes, which is no length of it")]
    BadLength {
        /// Where.
        step: HandshakeStep,
        /// The announced length in bytes.
        length: u16,
    },
    /// A handshake message does not decrypt: the peer is of another network (the network is part of
    /// what both sides hash), or somebody changed bytes on the way.
    #[error("{step} does not decrypt: wrong network or tampering")]
    WrongNetworkOrTampering {
        /// Where.
        step: HandshakeStep,
    },
    /// A first message that names a static key does not decrypt with ours: the peer knows one that we had before or that
    /// another node has, it is of another network, or somebody changed bytes on the way.
    #[error("the peer's first message is not for our static key, or for another network")]
    NotForUs,
    /// We named the static key that the peer had when we last met, and it did not answer to that: it may have another one
    /// now, or it closed for another reason.
    #[error("the peer does not answer to the key that it had: {0}")]
    KeyUnanswered(#[source] Box<Self>),
    /// The peer sent an X25519 key of low order or an ML-KEM-768 key that FIPS 203 refuses.
    #[error("{step} carries an invalid public key")]
    InvalidKey {
        /// Where.
        step: HandshakeStep,
    },
    /// The peer's post-quantum signature does not hold for this very handshake.
    #[error("the peer's identity signature is forged or belongs to another connection")]
    IdentityForged,
    /// The identity record itself is broken.
    #[error("the peer's identity record is broken: {0}")]
    IdentityRecord(#[source] RecordError),
    /// TLS came to no agreement, or the peer breaks it.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] rustls::Error),
    /// The peer says more than any handshake takes before it has shown who it is.
    #[error("more than {max} bytes before the peer has shown who it is")]
    TooMuch {
        /// The most that is taken.
        max: usize,
    },
    /// We are asked for more handshakes than we work on.
    #[error("too many handshakes are asked for")]
    Busy,
    /// The peer closed the connection before the handshake was over.
    #[error("the peer closed the connection while we waited for {step}")]
    Closed {
        /// What we waited for.
        step: HandshakeStep,
    },
    /// Reading or writing failed.
    #[error("input or output failed during the handshake: {0}")]
    Io(#[from] io::Error),
    /// Our own side failed: no randomness, or a key that cannot sign.
    #[error("our own side of the handshake failed: {0}")]
    Local(&'static str),
}

impl HandshakeError {
    /// Whether bytes that the other end sent were wrong. Silence, closing and I/O errors are nobody's
    /// proven fault.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::NotOurProtocol { .. }
            | Self::BadLength { .. }
            | Self::WrongNetworkOrTampering { .. }
            | Self::InvalidKey { .. }
            | Self::TooMuch { .. }
            | Self::IdentityForged => true,
            Self::IdentityRecord(error) => error.is_peer_fault(),
            Self::KeyUnanswered(error) => error.is_peer_fault(),
            Self::Tls(error) => is_tls_peer_fault(error),
            Self::TransportNotOffered { .. }
            | Self::NotForUs
            | Self::Busy
            | Self::Closed { .. }
            | Self::Io(_)
            | Self::Local(_) => false,
        }
    }
}

/// Why a message could not be read from or written to an established connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The peer closed the connection between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection ended inside a record or a message.
    #[error("the connection ended inside a message")]
    Truncated,
    /// A record does not decrypt: changed, replayed, reordered or forged.
    #[error("a record does not decrypt: it was changed, replayed or reordered on the way")]
    Decrypt,
    /// A record announces a length that no record has here.
    #[error("a record announces {length} bytes; {min} to {max} are possible")]
    BadLength {
        /// The announced length in bytes.
        length: usize,
        /// The least possible.
        min: usize,
        /// The most possible.
        max: usize,
    },
    /// A record decrypts but breaks the format.
    #[error("a record breaks the format: {0}")]
    Malformed(&'static str),
    /// A message is longer than the protocol allows.
    #[error("a message of {length} bytes is longer than the {max} allowed")]
    MessageTooLong {
        /// Its length in bytes.
        length: usize,
        /// The most allowed.
        max: usize,
        /// Whether the peer sent it (or we tried to).
        received: bool,
    },
    /// TLS refuses what came.
    #[error("TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The peer sends nothing but decoys.
    #[error("more than {0} decoy records in a row")]
    TooManyDecoys(u32),
    /// An earlier failure, or a write that was given up half-way, closed this half.
    #[error("this half of the connection was closed by an earlier failure")]
    Failed,
    /// The record counter has run out; practically unreachable.
    #[error("the record counter is exhausted")]
    Exhausted,
    /// Reading or writing failed.
    #[error("input or output failed: {0}")]
    Io(#[from] io::Error),
}

impl RecordError {
    /// Whether bytes that the other end sent were wrong.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::Decrypt
            | Self::BadLength { .. }
            | Self::Malformed(_)
            | Self::TooManyDecoys(_) => true,
            Self::MessageTooLong { received, .. } => *received,
            Self::Tls(error) => is_tls_peer_fault(error),
            Self::Closed | Self::Truncated | Self::Failed | Self::Exhausted | Self::Io(_) => false,
        }
    }
}

/// Whether TLS says that the other end sent what it must not.
fn is_tls_peer_fault(error: &rustls::Error) -> bool {
    use rustls::Error as E;
    matches!(
        error,
        E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::InvalidMessage(_)
            | E::DecryptError
            | E::PeerIncompatible(_)
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord
            | E::NoApplicationProtocol
            | E::NoCertificatesPresented
            | E::InvalidCertificate(_)
    )
}
