//! Messages as bytes: the Bitcoin envelope and payloads (protocol 70015). Pure, no I/O.
//!
//! ```text
//! magic (4) ‖ command (12, zero padded) ‖ payload length (u32 LE) ‖ checksum (4) ‖ payload
//! ```
//!
//! The payload types and their codec are the `bitcoin` crate's. The framing is ours, because a decoder
//! of hostile bytes must know each command's cap before it looks at the payload ([`limits`]) and must
//! not believe a count before the bytes are there (`scan`). A payload passes three gates in order:
//! length and checksum, the shape (every count against the cap and the bytes at hand), and the codec.
//!
//! ```
//! use quantumcoin::wire::{Envelope, NetworkMessage};
//!
//! let envelope = Envelope::new(bitcoin::p2p::Magic::from_bytes(*b"QTCM"));
//! let bytes = envelope.encode(&NetworkMessage::Ping(7))?;
//! assert_eq!(envelope.decode(&bytes)?, NetworkMessage::Ping(7));
//! # Ok::<(), quantumcoin::wire::WireError>(())
//! ```

mod envelope;
mod error;
pub mod limits;
mod scan;
pub mod services;

#[cfg(test)]
pub(crate) mod tests;

pub use bitcoin::p2p::message::NetworkMessage;
pub use envelope::Envelope;
pub use error::WireError;
