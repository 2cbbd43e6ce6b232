//! One connection of the attacker to its victim: a real one, over the node's own transport and messages.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::channel::{MessageReader, MessageWriter};
use quantumcoin::network::protocol::version::{Direction, LocalVersion, Step, VersionHandshake};
use quantumcoin::transport::{Endpoint, Identity, Secured};
use quantumcoin::wire::Envelope;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::line::Line;
use crate::attack::dial::{Dial, unix_seconds};

/// What all connections of the attacker have done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes that left.
    pub(super) sent: Arc<AtomicU64>,
    /// Connections that were tried, …
    pub(super) tried: AtomicU64,
    /// … and those that became peers.
    pub(super) peers: AtomicU64,
    first_act: OnceLock<f64>,
}

impl Counts {
    /// Something hostile is done; when that was first is remembered.
    pub(super) fn act(&self) {
        self.first_act.get_or_init(unix_seconds);
    }

    /// When something hostile was done first, in Unix seconds.
    pub(super) fn first_act(&self) -> Option<f64> {
        self.first_act.get().copied()
    }
}

/// A connection after both handshakes, each with a new identity.
pub(super) struct Hostile {
    pub(super) reader: MessageReader<OwnedReadHalf>,
    pub(super) writer: MessageWriter<Line>,
    /// From this moment what is said goes out a byte a second.
    pub(super) drips: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

impl Hostile {
    /// Becomes a peer.
    pub(super) async fn connect(
        spec: &ChainSpec,
        dial: Dial,
        counts: &Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let stream = dial.connect().await?;
        Self::shake_hands(
            spec,
            stream,
            Direction::Outbound,
            dial.version(spec),
            counts,
        )
        .await
    }

    /// The same with whoever has dialled, for whom he is what `local` tells.
    pub(super) async fn accept(
        spec: &ChainSpec,
        stream: TcpStream,
        local: LocalVersion,
        counts: &Arc<Counts>,
    ) -> anyhow::Result<Self> {
        Self::shake_hands(spec, stream, Direction::Inbound, local, counts).await
    }

    async fn shake_hands(
        spec: &ChainSpec,
        stream: TcpStream,
        direction: Direction,
        local: LocalVersion,
        counts: &Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let (reading, writing) = stream.into_split();
        let drips = Arc::new(AtomicBool::new(false));
        let line = Line::new(writing, Arc::clone(&counts.sent), Arc::clone(&drips));
        let endpoint = Endpoint::new(spec, Arc::new(Identity::generate()?));
        let line = tokio::io::join(reading, line);
        let secured = match direction {
            Direction::Outbound => endpoint.connect(line).await?,
            Direction::Inbound => endpoint.accept(line).await?,
        };
        let Secured { reader, writer, .. } = secured;
        let envelope = Envelope::new(spec.magic());
        let mut peer = Self {
            reader: MessageReader::new(reader, envelope),
            writer: MessageWriter::new(writer, envelope),
            drips,
            counts: Arc::clone(counts),
        };
        peer.tell_version(VersionHandshake::new(direction, local))
            .await?;
        counts.peers.fetch_add(1, Ordering::Relaxed);
        Ok(peer)
    }

    async fn tell_version(&mut self, mut machine: VersionHandshake) -> anyhow::Result<()> {
        for message in machine.start() {
            self.writer.write(&message).await?;
        }
        loop {
            let (send, done) = match machine.on_message(&self.reader.read().await?)? {
                Step::Send(send) => (send, false),
                Step::Done { send, .. } => (send, true),
            };
            for message in send {
                self.writer.write(&message).await?;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Says something that an honest peer would not say.
    pub(super) async fn act(&mut self, message: &NetworkMessage) -> anyhow::Result<()> {
        self.counts.act();
        self.writer.write(message).await?;
        Ok(())
    }

    /// Says what `next` gives as fast as the victim takes it, until that ends the connection; reads and answers nothing.
    pub(super) async fn flood(
        &mut self,
        next: impl Fn(u64) -> NetworkMessage,
    ) -> anyhow::Result<()> {
        self.counts.act();
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        let talk = async {
            let mut number = 0;
            loop {
                if let Err(error) = writer.write(&next(number)).await {
                    return Err(error.into());
                }
                number += 1;
            }
        };
        tokio::select! {
            ended = talk => ended,
            ended = listen(reader) => ended,
        }
    }

    /// Answers pings as an honest peer does, and nothing else, until the connection ends.
    pub(super) async fn hold(&mut self) -> anyhow::Result<()> {
        self.answer(|_| Vec::new()).await
    }

    /// As [`Self::hold`], and says to each message what `script` makes of it.
    pub(super) async fn answer(
        &mut self,
        script: impl Fn(&NetworkMessage) -> Vec<NetworkMessage>,
    ) -> anyhow::Result<()> {
        loop {
            let message = self.reader.read().await?;
            for answer in script(&message) {
                self.writer.write(&answer).await?;
            }
            if let NetworkMessage::Ping(nonce) = message {
                self.writer.write(&NetworkMessage::Pong(nonce)).await?;
            }
        }
    }
}

async fn listen(reader: &mut MessageReader<OwnedReadHalf>) -> anyhow::Result<()> {
    loop {
        reader.read().await?;
    }
}
