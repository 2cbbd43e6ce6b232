//! Encrypted, authenticated connections that a recorder cannot read later with a quantum computer.
//!
//! | module | what it is for |
//! |---|---|
//! | `endpoint` | [`Endpoint`]: drives one handshake over a byte stream and hands out the two halves |
//! | `noise` | the hybrid Noise state machine, its prologue and frames (no I/O) |
//! | `crypto` | snow's primitives, supplied by aws-lc-rs and blake2 |
//! | `identity` | [`Identity`] and [`NodeId`]: the ML-DSA-44 key of a node and what it signs |
//! | `identity_file` | `identity.key` on disk |
//! | `cipher` | one direction's AEAD key, length mask and rekey (no I/O) |
//! | `record` | the record format: seal, open, put messages together (no I/O) |
//! | `reader`, `writer` | the record format over a socket's halves |
//! | `stream` | how a stream comes apart into its halves without a lock |
//! | `tls` | the fallback, TLS 1.3: its configuration, handshake and halves |
//!
//! The bytes are described in `docs/transport.md`. A handshake has no deadline of its own: whoever
//! calls [`Endpoint::connect`] or [`Endpoint::accept`] puts `tokio::time::timeout` around it. The bytes
//! that an unauthenticated peer can make us hold are bounded by [`MAX_PRE_AUTH_BYTES`].

mod cipher;
mod crypto;
mod endpoint;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod identity_file;
mod noise;
mod reader;
mod record;
mod stream;
mod tls;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use crypto::Primitives;
pub use endpoint::{
    ALL_TRANSPORTS, DialBy, Endpoint, MAX_PRE_AUTH_BYTES, RemoteIdentity, Secured, TransportKind,
};
pub use error::{HandshakeError, HandshakeStep, RecordError};
pub use identity::{Identity, NodeId, NodeIdError};
pub use identity_file::IdentityError;
pub use noise::NoisePattern;
pub use reader::RecordReader;
pub use record::{MAX_MESSAGE, MAX_RECORD_DATA, REKEY_INTERVAL};
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use writer::RecordWriter;
