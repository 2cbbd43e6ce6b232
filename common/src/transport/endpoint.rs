//! Drives one handshake over a byte stream.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::chain_spec::ChainSpec;

use super::error::{HandshakeError, HandshakeStep, RecordError};
use super::identity::{IDENTITY_PAYLOAD, Identity, NodeId, Role, verify_identity};
use super::noise::{Established, FRAME_HEADER, Noise, NoisePattern, prologue};
use super::reader::RecordReader;
use super::record::{LENGTH_LEN, OVERHEAD};
use super::stream::{ReadHalf, Stream, WriteHalf};
use super::tls::{self, Tls};
use super::writer::RecordWriter;

/// Most bytes that a peer can make us hold before its identity is proven. The handshake frames and the
/// identity record have fixed lengths, 5,074 bytes from an initiator at most; the receive buffer may have read
/// a little ahead.
pub const MAX_PRE_AUTH_BYTES: usize = 8 * 1024;

const _: () = assert!(
    FRAME_HEADER
        + NoisePattern::Xk.message_length(HandshakeStep::Message1)
        + FRAME_HEADER
        + NoisePattern::Xk.message_length(HandshakeStep::Message3)
        + LENGTH_LEN
        + IDENTITY_PAYLOAD
        + OVERHEAD
        <= MAX_PRE_AUTH_BYTES
);

/// A way to protect a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportKind {
    /// The hybrid post-quantum Noise handshake of this module.
    Noise,
    /// TLS 1.3 with X25519MLKEM768 and the same identity.
    Tls,
}

impl TransportKind {
    /// The transport that a connection with this first byte opens with.
    ///
    /// TLS starts with a handshake record, 0x16 (RFC 8446, section 5.1). A Noise connection starts with
    /// the length of its first message, whose high byte lies between 0x04 and 0x15: 1,024 to 5,631
    /// bytes, room for other handshake patterns.
    #[must_use]
    pub fn from_first_byte(byte: u8) -> Option<Self> {
        match byte {
            0x04..=0x15 => Some(Self::Noise),
            0x16 => Some(Self::Tls),
            _ => None,
        }
    }

    /// Lower-case name, as in logs and metrics labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Tls => "tls",
        }
    }

    /// Its byte in the prologue.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Noise => 1,
            Self::Tls => 2,
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The transports of this version, in the order in which they are preferred.
pub const ALL_TRANSPORTS: [TransportKind; 2] = [TransportKind::Noise, TransportKind::Tls];

/// How a peer is dialled: a transport, and for Noise what is known of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialBy {
    /// Noise, XXhfs: nothing is known.
    Noise,
    /// Noise, XKhfs: the peer's X25519 static key is known. Whoever has another one can't answer, and a stranger who
    /// only asks learns nothing.
    NoiseKnowing([u8; 32]),
    /// TLS.
    Tls,
}

impl DialBy {
    /// The transport of such a connection.
    #[must_use]
    pub fn transport(self) -> TransportKind {
        match self {
            Self::Noise | Self::NoiseKnowing(_) => TransportKind::Noise,
            Self::Tls => TransportKind::Tls,
        }
    }
}

/// Makes secured connections for one node on one network. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoint {
    identity: Arc<Identity>,
    prologue: Arc<[u8]>,
    /// `None` if rustls can't be set up, which the first use then says.
    tls: Option<Arc<Tls>>,
    /// What connections that come may open with.
    accepts: &'static [TransportKind],
}

/// Who is at the other end, as proven by the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// SHA-256 of the peer's ML-DSA-44 public key.
    pub node_id: NodeId,
    /// The peer's X25519 static key, which Noise has and TLS has not.
    pub static_key: Option<[u8; 32]>,
    /// How the connection is protected.
    pub transport: TransportKind,
    /// By which pattern, where that is Noise.
    pub pattern: Option<NoisePattern>,
}

/// An authenticated connection. The halves own their side of the stream and share nothing.
#[derive(Debug)]
pub struct Secured<S: Stream> {
    /// Who is at the other end.
    pub remote: RemoteIdentity,
    /// Receives messages.
    pub reader: RecordReader<ReadHalf<S>>,
    /// Sends messages.
    pub writer: RecordWriter<WriteHalf<S>>,
}

impl Endpoint {
    /// An endpoint for `spec`'s network that proves `identity`.
    #[must_use]
    pub fn new(spec: &ChainSpec, identity: Arc<Identity>) -> Self {
        let prologue = prologue(
            spec.network_protocol.magic_bytes,
            &spec.network,
            &ALL_TRANSPORTS,
        );
        let tls =
            Tls::new(&identity).inspect_err(|error| tracing::error!(%error, "TLS can't be set up"));
        Self {
            identity,
            prologue: prologue.into(),
            tls: tls.ok().map(Arc::new),
            accepts: &ALL_TRANSPORTS,
        }
    }

    /// Accepts connections that open with one of these only. What both sides must agree on stays the same.
    #[must_use]
    pub fn accepting(self, accepts: &'static [TransportKind]) -> Self {
        Self { accepts, ..self }
    }

    /// The identity that this endpoint proves.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Handshakes as the side that dialled, by Noise. There is no deadline in here; dropping the future drops the
    /// connection.
    ///
    /// # Errors
    /// [`HandshakeError`] says at which step and whose fault it was.
    pub async fn connect<S: Stream>(&self, io: S) -> Result<Secured<S>, HandshakeError> {
        self.connect_by(DialBy::Noise, io).await
    }

    /// Handshakes as the side that dialled.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_by<S: Stream>(
        &self,
        by: DialBy,
        io: S,
    ) -> Result<Secured<S>, HandshakeError> {
        // Boxed, as in `accept_if`.
        match by {
            DialBy::Noise => Box::pin(self.connect_noise(io, None)).await,
            DialBy::NoiseKnowing(key) => Box::pin(self.connect_noise(io, Some(&key))).await,
            DialBy::Tls => {
                let connected = tls::connect(self.tls()?, &self.prologue, io);
                Ok(Box::pin(connected).await?.into_secured())
            }
        }
    }

    /// Handshakes as the side that was dialled, by whatever of [`Self::accepting`] the other opens with.
    ///
    /// # Errors
    /// [`HandshakeError`] says at which step and whose fault it was.
    pub async fn accept<S: Stream>(&self, io: S) -> Result<Secured<S>, HandshakeError> {
        self.accept_if(io, std::future::ready(true)).await
    }

    /// As [`Self::accept`], but asks before it does anything that costs more than reading: when the first message has come
    /// whole.
    ///
    /// # Errors
    /// [`HandshakeError::Busy`] when the answer is no; else as [`Self::accept`].
    pub async fn accept_if<S: Stream>(
        &self,
        mut io: S,
        may_begin: impl Future<Output = bool> + Send,
    ) -> Result<Secured<S>, HandshakeError> {
        let step = HandshakeStep::Message1;
        let first_byte = io.read_u8().await.map_err(|error| end(error, step))?;
        let kind = TransportKind::from_first_byte(first_byte)
            .ok_or(HandshakeError::NotOurProtocol { first_byte })?;
        if !self.accepts.contains(&kind) {
            return Err(HandshakeError::TransportNotOffered { kind });
        }
        // Boxed: a crowd of connections that never come so far is not to pay for the room that these take.
        match kind {
            TransportKind::Noise => Box::pin(self.accept_noise(io, first_byte, may_begin)).await,
            TransportKind::Tls => {
                let tls = self.tls()?;
                let accepted = tls::accept(tls, &self.prologue, io, first_byte, may_begin);
                let established = Box::pin(accepted).await?;
                Ok(established.into_secured())
            }
        }
    }

    async fn connect_noise<S: Stream>(
        &self,
        mut io: S,
        known: Option<&[u8; 32]>,
    ) -> Result<Secured<S>, HandshakeError> {
        let mut noise = match self.ask(&mut io, known).await {
            Err(error) if known.is_some() => {
                return Err(HandshakeError::KeyUnanswered(Box::new(error)));
            }
            asked => asked?,
        };
        let pattern = noise.pattern();
        let message_3 = noise.write(HandshakeStep::Message3)?;
        let done = noise.finish()?;

        let (reader, writer) = io.into_halves();
        let mut reader = RecordReader::new(reader, &done.responder_key, IDENTITY_PAYLOAD);
        // Message 3 and the identity go out together: nothing has to be awaited between them.
        let mut writer = RecordWriter::new(writer, &done.initiator_key, message_3);
        let ours = self.identity.prove(Role::Initiator, &done.handshake_hash)?;
        writer.write_identity(&ours).await.map_err(identity_step)?;
        let theirs = reader.read_identity().await.map_err(identity_step)?;
        let node_id = verify_identity(
            &theirs,
            Role::Responder,
            &done.handshake_hash,
            &done.remote_static,
        )?;
        Ok(secured(node_id, &done, pattern, reader, writer))
    }

    /// The first two messages: afterwards the other side has shown that it has the key that was known, if one was.
    async fn ask<S: Stream>(
        &self,
        io: &mut S,
        known: Option<&[u8; 32]>,
    ) -> Result<Noise, HandshakeError> {
        let own = self.identity.static_private();
        let mut noise = Noise::initiator(own, known, &self.prologue)?;
        send(io, &noise.write(HandshakeStep::Message1)?).await?;
        let message_2 = receive(io, noise.pattern(), HandshakeStep::Message2).await?;
        noise.read(HandshakeStep::Message2, &message_2)?;
        Ok(noise)
    }

    /// Verifies the peer before it signs, so nobody gets a signature without showing an identity.
    async fn accept_noise<S: Stream>(
        &self,
        mut io: S,
        first_byte: u8,
        may_begin: impl Future<Output = bool> + Send,
    ) -> Result<Secured<S>, HandshakeError> {
        let (pattern, message_1) = receive_first(&mut io, first_byte).await?;
        if !may_begin.await {
            return Err(HandshakeError::Busy);
        }
        let own = self.identity.static_private();
        let mut noise = Noise::responder(pattern, own, &self.prologue)?;
        noise.read(HandshakeStep::Message1, &message_1)?;
        send(&mut io, &noise.write(HandshakeStep::Message2)?).await?;
        let message_3 = receive(&mut io, pattern, HandshakeStep::Message3).await?;
        noise.read(HandshakeStep::Message3, &message_3)?;
        let done = noise.finish()?;

        let (reader, writer) = io.into_halves();
        let mut reader = RecordReader::new(reader, &done.initiator_key, IDENTITY_PAYLOAD);
        let mut writer = RecordWriter::new(writer, &done.responder_key, Vec::new());
        let theirs = reader.read_identity().await.map_err(identity_step)?;
        let node_id = verify_identity(
            &theirs,
            Role::Initiator,
            &done.handshake_hash,
            &done.remote_static,
        )?;
        let ours = self.identity.prove(Role::Responder, &done.handshake_hash)?;
        writer.write_identity(&ours).await.map_err(identity_step)?;
        Ok(secured(node_id, &done, pattern, reader, writer))
    }

    fn tls(&self) -> Result<&Tls, HandshakeError> {
        let tls = self.tls.as_deref();
        tls.ok_or(HandshakeError::Local("TLS can't be set up"))
    }
}

fn secured<S: Stream>(
    node_id: NodeId,
    done: &Established,
    pattern: NoisePattern,
    reader: RecordReader<ReadHalf<S>>,
    writer: RecordWriter<WriteHalf<S>>,
) -> Secured<S> {
    let remote = RemoteIdentity {
        node_id,
        static_key: Some(done.remote_static),
        transport: TransportKind::Noise,
        pattern: Some(pattern),
    };
    Secured {
        remote,
        reader,
        writer,
    }
}

impl<S: Stream> tls::Established<S> {
    fn into_secured(self) -> Secured<S> {
        let (reader, writer) = self.io.into_halves();
        Secured {
            remote: RemoteIdentity {
                node_id: self.node_id,
                static_key: None,
                transport: TransportKind::Tls,
                pattern: None,
            },
            reader: RecordReader::tls(reader, self.reading),
            writer: RecordWriter::tls(writer, self.writing),
        }
    }
}

async fn send(io: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), HandshakeError> {
    io.write_all(frame).await?;
    Ok(io.flush().await?)
}

/// Reads the first message, whose length tells the pattern; its first byte has come already.
async fn receive_first(
    io: &mut (impl AsyncRead + Unpin),
    first_byte: u8,
) -> Result<(NoisePattern, Vec<u8>), HandshakeError> {
    let step = HandshakeStep::Message1;
    let second_byte = io.read_u8().await.map_err(|error| end(error, step))?;
    let length = u16::from_be_bytes([first_byte, second_byte]);
    let pattern = NoisePattern::of_first_message(usize::from(length));
    let pattern = pattern.ok_or(HandshakeError::BadLength { step, length })?;
    Ok((pattern, receive_body(io, step, length).await?))
}

/// Reads one later message of exactly the length that `step` has.
async fn receive(
    io: &mut (impl AsyncRead + Unpin),
    pattern: NoisePattern,
    step: HandshakeStep,
) -> Result<Vec<u8>, HandshakeError> {
    let length = io.read_u16().await.map_err(|error| end(error, step))?;
    if usize::from(length) != pattern.message_length(step) {
        return Err(HandshakeError::BadLength { step, length });
    }
    receive_body(io, step, length).await
}

async fn receive_body(
    io: &mut (impl AsyncRead + Unpin),
    step: HandshakeStep,
    length: u16,
) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; usize::from(length)];
    io.read_exact(&mut message)
        .await
        .map_err(|error| end(error, step))?;
    Ok(message)
}

fn end(error: io::Error, step: HandshakeStep) -> HandshakeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HandshakeError::Closed { step },
        _ => HandshakeError::Io(error),
    }
}

fn identity_step(error: RecordError) -> HandshakeError {
    match error {
        RecordError::Io(error) => HandshakeError::Io(error),
        RecordError::Closed | RecordError::Truncated => HandshakeError::Closed {
            step: HandshakeStep::Identity,
        },
        other => HandshakeError::IdentityRecord(other),
    }
}
