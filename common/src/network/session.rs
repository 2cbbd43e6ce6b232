//! From a TCP stream to a peer that has shown its identity and told its version.

use std::time::Duration;

use bitcoin::p2p::Magic;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::network::channel::{ChannelError, MessageReader, MessageWriter};
use crate::network::protocol::version::{
    Direction, LocalVersion, PeerVersion, Step, VersionError, VersionHandshake,
};
use crate::transport::{Endpoint, HandshakeError, RemoteIdentity};
use crate::wire::Envelope;

/// Why a connection did not become a peer.
#[derive(Debug, Error)]
pub enum SessionError {
    /// TCP did not come about.
    #[error("connection failed: {0}")]
    Connect(std::io::Error),
    /// A deadline passed.
    #[error("{0} did not finish within {1:?}")]
    Timeout(&'static str, Duration),
    /// The transport's handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection failed during the version handshake.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The version handshake failed.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl SessionError {
    /// Bounded label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(..) => "timeout",
            Self::Handshake(_) => "transport",
            Self::Channel(_) => "channel",
            Self::Version(VersionError::SelfConnection) => "self",
            Self::Version(_) => "version",
        }
    }
}

/// A connection after both handshakes.
#[derive(Debug)]
pub struct Session {
    /// Its identity and transport.
    pub remote: RemoteIdentity,
    /// What it said of itself.
    pub version: PeerVersion,
    /// Receives.
    pub reader: MessageReader<OwnedReadHalf>,
    /// Sends.
    pub writer: MessageWriter<OwnedWriteHalf>,
}

/// Does the transport's handshake and the version handshake, without a deadline: the caller sets one.
///
/// # Errors
/// See [`SessionError`].
pub async fn shake_hands(
    endpoint: &Endpoint,
    magic: Magic,
    local: LocalVersion,
    stream: TcpStream,
    direction: Direction,
) -> Result<Session, SessionError> {
    // Small messages must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true).map_err(SessionError::Connect)?;
    let secured = match direction {
        Direction::Outbound => endpoint.connect(stream).await?,
        Direction::Inbound => endpoint.accept(stream).await?,
    };
    let envelope = Envelope::new(magic);
    let mut reader = MessageReader::new(secured.reader, envelope);
    let mut writer = MessageWriter::new(secured.writer, envelope);
    let mut machine = VersionHandshake::new(direction, local);
    for message in machine.start() {
        writer.write(&message).await?;
    }
    loop {
        let (send, peer) = match machine.on_message(&reader.read().await?)? {
            Step::Send(send) => (send, None),
            Step::Done { send, peer } => (send, Some(peer)),
        };
        for message in send {
            writer.write(&message).await?;
        }
        if let Some(version) = peer {
            return Ok(Session {
                remote: secured.remote,
                version,
                reader,
                writer,
            });
        }
    }
}
