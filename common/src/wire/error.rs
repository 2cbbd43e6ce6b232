//! Why bytes are no message, or a message has no bytes.

use bitcoin::consensus::encode;

/// Why a message could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// There are fewer bytes than the header has or announces.
    #[error("a message has {actual} bytes where {expected} are needed")]
    Truncated {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        actual: usize,
    },
    /// The message is of another network.
    #[error("a message starts with {found} instead of this network's {expected}")]
    WrongMagic {
        /// What the message starts with.
        found: bitcoin::p2p::Magic,
        /// What it should start with.
        expected: bitcoin::p2p::Magic,
    },
    /// The command is not printable ASCII padded with zeros.
    #[error("a message has a command that is not printable text")]
    BadCommand,
    /// The payload is longer than its command allows.
    #[error("`{command}` announces {length} bytes; at most {max} are allowed")]
    TooLong {
        /// The command.
        command: String,
        /// Announced bytes.
        length: usize,
        /// Allowed bytes.
        max: usize,
    },
    /// The payload is not what its checksum says.
    #[error("`{command}` has a wrong checksum")]
    BadChecksum {
        /// The command.
        command: String,
    },
    /// The payload counts more things than are allowed or than its bytes can hold.
    #[error("`{command}` counts {count} {what}; at most {max} are possible")]
    TooMany {
        /// The command.
        command: String,
        /// What is counted.
        what: &'static str,
        /// The count.
        count: u64,
        /// The most possible.
        max: usize,
    },
    /// Bytes follow the end of the payload or of the message.
    #[error("`{command}` has {count} bytes after its end")]
    TrailingBytes {
        /// The command.
        command: String,
        /// How many.
        count: usize,
    },
    /// The payload does not have the form of its command.
    #[error("`{command}` is malformed: {source}")]
    Malformed {
        /// The command.
        command: String,
        /// The codec's reason.
        source: encode::Error,
    },
    /// We were asked to send a message that this protocol does not have.
    #[error("`{command}` is not a message that we send")]
    NotSent {
        /// The command.
        command: String,
    },
    /// We were asked to send a message that its receiver would refuse.
    #[error("our own `{command}` would be refused: {reason}")]
    OwnMessage {
        /// The command.
        command: String,
        /// Why it would be refused.
        reason: Box<Self>,
    },
}

impl WireError {
    /// Whether bytes that the other end sent were wrong; false for messages that we could not encode.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::WrongMagic { .. }
            | Self::BadCommand
            | Self::TooLong { .. }
            | Self::BadChecksum { .. }
            | Self::TooMany { .. }
            | Self::TrailingBytes { .. }
            | Self::Malformed { .. } => true,
            Self::NotSent { .. } | Self::OwnMessage { .. } => false,
        }
    }
}
