//! From a TCP stream to a peer that has shown its identity and told its version.

use std::time::Duration;

use bitcoin::p2p::Magic;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::network::channel::{ChannelError, MessageReader, MessageWriter};
use crate::network::connections::Purpose;
use crate::network::protocol::version::{
    Direction, LocalVersion, PeerVersion, Step, VersionError, VersionHandshake,
};
use crate::network::security::limits::HandshakeGate;
use crate::transport::{
    DialBy, Endpoint, HandshakeError, MAX_MESSAGE, NodeId, RemoteIdentity, Secured,
};
use crate::wire::Envelope;

/// Largest message before `verack`, in bytes: `version` with the longest user agent taken is below 500, and
/// 4 kB leave room for fields to come; 24 is the envelope. Guards our memory against strangers.
const MAX_HANDSHAKE_MESSAGE: usize = 4_096 + 24;

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
    /// The other end has proven our own identity: we dialled ourselves.
    #[error("connected to ourselves")]
    Ourselves,
    /// We have dialled this node at another address.
    #[error("already connected to node {0}")]
    AlreadyConnected(NodeId),
    /// We came by TLS, since it was said to speak no Noise, and it says that it does.
    #[error("the peer speaks Noise, and TLS was used")]
    Downgraded,
    /// The connection failed during the version handshake.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The version handshake failed.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl SessionError {
    /// All that [`Self::kind`] gives.
    pub const KINDS: [&str; 10] = [
        "connect",
        "timeout",
        "known_key",
        "busy",
        "transport",
        "channel",
        "self",
        "duplicate",
        "downgraded",
        "version",
    ];

    /// Bounded label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(..) => "timeout",
            Self::Handshake(HandshakeError::KeyUnanswered(_)) => "known_key",
            Self::Handshake(HandshakeError::Busy) => "busy",
            Self::Handshake(_) => "transport",
            Self::Channel(_) => "channel",
            Self::Ourselves => "self",
            Self::AlreadyConnected(_) => "duplicate",
            Self::Downgraded => "downgraded",
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

/// Does the transport's handshake (by Noise, if outbound) and the version handshake, without a deadline: the caller
/// sets one.
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
    prepare(&stream)?;
    let secured = match direction {
        Direction::Outbound => endpoint.connect(stream).await?,
        Direction::Inbound => endpoint.accept(stream).await?,
    };
    check_not_us(endpoint, &secured)?;
    negotiate(secured, magic, local, direction).await
}

/// Which side of a connection we are, and what its handshake needs to know.
#[derive(Debug)]
pub(crate) enum How {
    /// We dialled in this way, and for this.
    Dial(DialBy, Purpose),
    /// We dialled a peer of ours once more, since it asked for that.
    DialBack(DialBy),
    /// We were dialled; the gate is asked before we put work into it.
    Accept(HandshakeGate),
}

/// The transport's handshake: afterwards the identity is proven, and nothing has been said yet.
pub(crate) async fn secure(
    endpoint: &Endpoint,
    stream: TcpStream,
    how: &How,
) -> Result<Secured<TcpStream>, SessionError> {
    prepare(&stream)?;
    let secured = match how {
        How::Dial(by, _) | How::DialBack(by) => endpoint.connect_by(*by, stream).await?,
        How::Accept(gate) => endpoint.accept_if(stream, gate.open()).await?,
    };
    check_not_us(endpoint, &secured)?;
    Ok(secured)
}

/// Small messages must not wait for the acknowledgement of earlier ones.
fn prepare(stream: &TcpStream) -> Result<(), SessionError> {
    stream.set_nodelay(true).map_err(SessionError::Connect)
}

/// The identity is proven, unlike the nonce of `version`, which any peer can send back to us.
fn check_not_us(endpoint: &Endpoint, secured: &Secured<TcpStream>) -> Result<(), SessionError> {
    if secured.remote.node_id == endpoint.identity().node_id() {
        return Err(SessionError::Ourselves);
    }
    Ok(())
}

/// The version handshake over a secured connection. Until it is over, only small messages are taken.
pub(crate) async fn negotiate(
    mut secured: Secured<TcpStream>,
    magic: Magic,
    local: LocalVersion,
    direction: Direction,
) -> Result<Session, SessionError> {
    secured.reader.limit_messages(MAX_HANDSHAKE_MESSAGE);
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
            reader.limit_messages(MAX_MESSAGE);
            return Ok(Session {
                remote: secured.remote,
                version,
                reader,
                writer,
            });
        }
    }
}
