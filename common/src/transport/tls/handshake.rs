//! Drives one TLS handshake, and binds the connection to network and version.

use std::io::Write as _;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::pki_types::ServerName;
use rustls::server::{AcceptedAlert, Acceptor};
use rustls::{ClientConnection, Connection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::session::{TlsReading, TlsWriting, halves, read_plain, take_records};
use super::{ALPN, Tls, identity};
use crate::transport::endpoint::MAX_PRE_AUTH_BYTES;
use crate::transport::error::{HandshakeError, HandshakeStep};
use crate::transport::identity::{NodeId, Role};
use crate::transport::stream::Stream;

/// What the exporter (RFC 8446, section 7.5) is asked for; its context is the prologue that Noise mixes in.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-quantumcoin transport v1";

/// Each side shows 32 bytes of it.
const BINDING_LEN: usize = 32;

/// Bytes that are read from the socket at a time.
const READ_AT_ONCE: usize = 4 * 1024;

/// rustls asks for a name, and with neither SNI nor certificates nothing becomes of it.
const NO_NAME: &str = "node.invalid";

/// An established connection.
pub(in crate::transport) struct Established<S> {
    pub(in crate::transport) io: S,
    pub(in crate::transport) node_id: NodeId,
    pub(in crate::transport) reading: TlsReading,
    pub(in crate::transport) writing: TlsWriting,
}

/// Handshakes as the side that dialled.
pub(in crate::transport) async fn connect<S: Stream>(
    tls: &Tls,
    prologue: &[u8],
    io: S,
) -> Result<Established<S>, HandshakeError> {
    let name = ServerName::try_from(NO_NAME)
        .map_err(|_| HandshakeError::Local("TLS takes no server name"))?;
    let connection = ClientConnection::new(Arc::clone(&tls.client), name).map_err(refusal)?;
    Handshake::new(connection.into(), io)
        .run(Role::Initiator, prologue)
        .await
}

/// Handshakes as the side that was dialled; `first_byte` was read already. Asks whether it may begin when the whole first
/// message is there: until then nothing is computed.
pub(in crate::transport) async fn accept<S: Stream>(
    tls: &Tls,
    prologue: &[u8],
    mut io: S,
    first_byte: u8,
    may_begin: impl Future<Output = bool> + Send,
) -> Result<Established<S>, HandshakeError> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut [first_byte].as_slice())?;
    let mut received = 1;
    let hello = loop {
        match acceptor.accept() {
            Ok(Some(hello)) => break hello,
            Ok(None) => {}
            Err((error, alert)) => return Err(refuse(&mut io, error, alert).await),
        }
        let mut bytes = [0; READ_AT_ONCE];
        let count = read_some(&mut io, &mut bytes, received, HandshakeStep::Tls).await?;
        received += count;
        acceptor.read_tls(&mut bytes.get(..count).unwrap_or_default())?;
    };
    if !may_begin.await {
        return Err(HandshakeError::Busy);
    }
    let connection = match hello.into_connection(Arc::clone(&tls.server)) {
        Ok(connection) => connection,
        Err((error, alert)) => return Err(refuse(&mut io, error, alert).await),
    };
    let mut handshake = Handshake::new(connection.into(), io);
    handshake.received = received;
    handshake.run(Role::Responder, prologue).await
}

/// Tells the peer why, if it still listens; what is wrong is known already.
async fn refuse(
    io: &mut (impl AsyncWrite + Unpin),
    error: rustls::Error,
    mut alert: AcceptedAlert,
) -> HandshakeError {
    let mut out = Vec::new();
    if alert.write_all(&mut out).is_ok() {
        let _ = io.write_all(&out).await;
    }
    refusal(error)
}

/// Reads from a peer that has not shown who it is, up to the most that it may send until then.
async fn read_some(
    io: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    received: usize,
    step: HandshakeStep,
) -> Result<usize, HandshakeError> {
    let room = MAX_PRE_AUTH_BYTES.saturating_sub(received).min(bytes.len());
    if room == 0 {
        let max = MAX_PRE_AUTH_BYTES;
        return Err(HandshakeError::TooMuch { max });
    }
    match io.read(bytes.get_mut(..room).unwrap_or_default()).await? {
        0 => Err(HandshakeError::Closed { step }),
        count => Ok(count),
    }
}

struct Handshake<S> {
    connection: Connection,
    io: S,
    /// Bytes that have come.
    received: usize,
    out: Vec<u8>,
    plain: Vec<u8>,
}

impl<S: Stream> Handshake<S> {
    fn new(connection: Connection, io: S) -> Self {
        Self {
            connection,
            io,
            received: 0,
            out: Vec::new(),
            plain: Vec::new(),
        }
    }

    async fn run(mut self, role: Role, prologue: &[u8]) -> Result<Established<S>, HandshakeError> {
        // One flight each way and the initiator's second, and nobody writes before the other's flight is over: both would
        // wait for each other where little fits on the way.
        self.send().await?;
        while self.connection.is_handshaking() {
            self.receive(HandshakeStep::Tls).await?;
            if role == Role::Responder {
                self.send().await?;
            }
        }
        if self.connection.alpn_protocol() != Some(ALPN) {
            return Err(HandshakeError::Tls(rustls::Error::NoApplicationProtocol));
        }
        let node_id = self.node_id()?;
        let (ours, theirs) = self.bindings(role, prologue)?;
        self.connection.writer().write_all(&ours)?;
        if role == Role::Initiator {
            self.send().await?;
        }
        while self.plain.len() < BINDING_LEN {
            self.receive(HandshakeStep::Binding).await?;
        }
        if role == Role::Responder {
            self.send().await?;
        }
        let early = self.plain.split_off(BINDING_LEN);
        if verify_slices_are_equal(&self.plain, &theirs).is_err() {
            return Err(HandshakeError::WrongNetworkOrTampering {
                step: HandshakeStep::Binding,
            });
        }
        let (reading, writing) = halves(self.connection, early);
        Ok(Established {
            io: self.io,
            node_id,
            reading,
            writing,
        })
    }

    fn node_id(&self) -> Result<NodeId, HandshakeError> {
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        let key = certificates.first().and_then(identity::public_key);
        key.map(|key| NodeId::of(key))
            .ok_or(HandshakeError::IdentityForged)
    }

    /// What we show and what the other side must show: both follow from the keys of this very connection and from the
    /// prologue, so another network, version or offer is found out here.
    fn bindings(
        &self,
        role: Role,
        prologue: &[u8],
    ) -> Result<([u8; BINDING_LEN], [u8; BINDING_LEN]), HandshakeError> {
        let both = self
            .connection
            .export_keying_material([0; 2 * BINDING_LEN], EXPORTER_LABEL, Some(prologue))
            .map_err(refusal)?;
        let mut initiator = [0; BINDING_LEN];
        let mut responder = [0; BINDING_LEN];
        let (first, second) = both.split_at(BINDING_LEN);
        initiator.copy_from_slice(first);
        responder.copy_from_slice(second);
        Ok(match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        })
    }

    async fn send(&mut self) -> Result<(), HandshakeError> {
        take_records(&mut self.connection, &mut self.out)?;
        if !self.out.is_empty() {
            self.io.write_all(&self.out).await?;
            self.io.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn receive(&mut self, step: HandshakeStep) -> Result<(), HandshakeError> {
        let mut bytes = [0; READ_AT_ONCE];
        // Once the handshake is over, so is the bound, and only the binding is read here.
        let received = if self.connection.is_handshaking() {
            self.received
        } else {
            0
        };
        let count = read_some(&mut self.io, &mut bytes, received, step).await?;
        let taken = self.take(bytes.get(..count).unwrap_or_default());
        if taken.is_err() {
            // The peer is told why, if it still listens; what is wrong is known already.
            let _ = self.send().await;
        }
        taken
    }

    fn take(&mut self, mut received: &[u8]) -> Result<(), HandshakeError> {
        self.received += received.len();
        while !received.is_empty() {
            if self.connection.read_tls(&mut received)? == 0 {
                return Err(HandshakeError::Tls(rustls::Error::General(
                    "the peer goes on after it has closed".into(),
                )));
            }
            let state = self.connection.process_new_packets().map_err(refusal)?;
            let count = state.plaintext_bytes_to_read();
            read_plain(&mut self.connection, count, &mut self.plain)?;
        }
        Ok(())
    }
}

fn refusal(error: rustls::Error) -> HandshakeError {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature) => {
            HandshakeError::IdentityForged
        }
        rustls::Error::FailedToGetRandomBytes => HandshakeError::Local("no random numbers"),
        other => HandshakeError::Tls(other),
    }
}
