//! Which error of which stage is which outcome.

use std::io;

use quantumcoin::chain::HeaderError;
use quantumcoin::network::channel::ChannelError;
use quantumcoin::network::protocol::version::VersionError;
use quantumcoin::reachability::Outcome;
use quantumcoin::transport::{HandshakeError, RecordError};
use quantumcoin::wire::WireError;

/// Why a visit ended before it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
        }
    }

    pub(super) fn too_slow(what: &str) -> Self {
        Self::new(Outcome::TimeoutProtocol, format!("{what} took too long"))
    }

    pub(super) fn dial(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let outcome = match error.kind() {
            Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
                Outcome::Refused
            }
            Kind::TimedOut => Outcome::TimeoutConnect,
            _ if is_ours(error) => Outcome::LocalNetworkDown,
            _ => Outcome::Unreachable,
        };
        Self::new(outcome, error.to_string())
    }

    pub(super) fn handshake(error: &HandshakeError) -> Self {
        let outcome = match error {
            // The prologue holds magic and network name, so another network fails to decrypt.
            HandshakeError::WrongNetworkOrTampering { .. } => Outcome::WrongNetwork,
            HandshakeError::Closed { .. } | HandshakeError::Io(_) => Outcome::Disconnected,
            HandshakeError::Tls(_) => Outcome::TlsFailed,
            _ => Outcome::NoiseFailed,
        };
        Self::new(outcome, error.to_string())
    }

    pub(super) fn version(error: &VersionError) -> Self {
        let outcome = match error {
            VersionError::TooOld { .. } => Outcome::TooOld,
            VersionError::SelfConnection => Outcome::SelfConnection,
            _ => Outcome::ProtocolError,
        };
        Self::new(outcome, error.to_string())
    }

    pub(super) fn channel(error: &ChannelError) -> Self {
        let outcome = match error {
            ChannelError::Wire(WireError::WrongMagic { .. }) => Outcome::WrongNetwork,
            ChannelError::Record(
                RecordError::Closed
                | RecordError::Truncated
                | RecordError::Io(_)
                | RecordError::Failed,
            ) => Outcome::Disconnected,
            _ => Outcome::ProtocolError,
        };
        Self::new(outcome, error.to_string())
    }

    pub(super) fn headers(error: &HeaderError) -> Self {
        Self::new(Outcome::WrongChain, error.to_string())
    }
}

/// Out of file descriptors, memory, ports or local rights: says nothing about the peer. `errno` values of
/// Linux: EMFILE, ENFILE, ENOMEM, ENOBUFS.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 12 | 105))
        || matches!(
            error.kind(),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_errors_are_sorted() {
        let of = |errno| Failure::dial(&io::Error::from_raw_os_error(errno)).outcome;
        assert_eq!(of(111), Outcome::Refused);
        assert_eq!(of(113), Outcome::Unreachable);
        assert_eq!(of(101), Outcome::Unreachable);
        assert_eq!(of(110), Outcome::TimeoutConnect);
        assert_eq!(of(24), Outcome::LocalNetworkDown);
    }
}
