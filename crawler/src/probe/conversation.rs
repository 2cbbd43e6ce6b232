//! Messages with deadlines over a secured connection.

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::network::channel::{MessageReader, MessageWriter};
use quantumcoin::network::protocol::addresses::{MAX_ADDRESSES, endpoints};
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::transport::{ReadHalf, Secured, Stream, WriteHalf};
use quantumcoin::wire::Envelope;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;

/// Our side of a secured connection.
pub(super) struct Conversation<S: Stream> {
    reader: MessageReader<ReadHalf<S>>,
    writer: MessageWriter<WriteHalf<S>>,
    told: Told,
    ping: Option<Ping>,
}

/// A ping of ours.
#[derive(Debug)]
struct Ping {
    nonce: u64,
    sent: Instant,
    took: Option<Duration>,
}

impl Ping {
    fn take_in(&mut self, nonce: u64) {
        if nonce == self.nonce {
            self.took.get_or_insert_with(|| self.sent.elapsed());
        }
    }
}

/// Addresses that the peer has told, whenever they came.
#[derive(Debug)]
struct Told {
    peer: PeerAddress,
    entries: Vec<PeerAddress>,
    /// Whether that was the answer to `getaddr`.
    answered: bool,
}

impl Told {
    /// A single entry that is the peer itself announces it and is not the answer.
    fn take_in(&mut self, message: &NetworkMessage) {
        let mut entries = endpoints(message);
        let announcement = match (entries.next(), entries.next()) {
            (first, None) => first == Some(self.peer),
            _ => false,
        };
        let room = MAX_ADDRESSES.saturating_sub(self.entries.len());
        let others = endpoints(message).filter(|addr| *addr != self.peer);
        self.entries.extend(others.take(room));
        self.answered |= !announcement || self.entries.len() >= MAX_ADDRESSES;
    }
}

impl<S: Stream> Conversation<S> {
    pub(super) fn new(peer: PeerAddress, secured: Secured<S>, envelope: Envelope) -> Self {
        Self {
            told: Told {
                peer,
                entries: Vec::new(),
                answered: false,
            },
            ping: None,
            reader: MessageReader::new(secured.reader, envelope),
            writer: MessageWriter::new(secured.writer, envelope),
        }
    }

    pub(super) async fn send(&mut self, message: &NetworkMessage) -> Result<(), Failure> {
        self.writer
            .write(message)
            .await
            .map(|_| ())
            .map_err(|e| Failure::channel(&e))
    }

    /// Sends several, in one write where they are small.
    pub(super) async fn send_all(&mut self, messages: &[NetworkMessage]) -> Result<(), Failure> {
        let encoded: Result<Vec<_>, _> = messages.iter().map(|m| self.writer.encode(m)).collect();
        let encoded = encoded.map_err(|e| Failure::channel(&e))?;
        let written = self.writer.write_encoded(&encoded).await;
        written.map_err(|e| Failure::channel(&e))
    }

    /// The next message of any kind. Has no deadline of its own.
    pub(super) async fn read(&mut self) -> Result<NetworkMessage, Failure> {
        self.reader.read().await.map_err(|e| Failure::channel(&e))
    }

    /// The next message. A ping is answered; addresses and the answer to our ping are taken in.
    async fn read_on(&mut self) -> Result<NetworkMessage, Failure> {
        let message = self.read().await?;
        match &message {
            NetworkMessage::Ping(nonce) => self.send(&NetworkMessage::Pong(*nonce)).await?,
            NetworkMessage::Pong(nonce) => {
                if let Some(ping) = &mut self.ping {
                    ping.take_in(*nonce);
                }
            }
            NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => self.told.take_in(&message),
            _ => {}
        }
        Ok(message)
    }

    /// Asks, and waits for the answer as [`Self::answer`] does.
    pub(super) async fn ask<T>(
        &mut self,
        question: &NetworkMessage,
        limit: Duration,
        what: &str,
        pick: impl FnMut(NetworkMessage) -> Option<T>,
    ) -> Result<T, Failure> {
        let conversation = async {
            self.send(question).await?;
            self.pick(pick).await
        };
        timeout(limit, conversation)
            .await
            .map_err(|_| Failure::too_slow(what))?
    }

    /// Reads until `pick` takes a message or `limit` has passed in all. Other messages are ignored on the way: the peer may
    /// chat, but not stretch the deadline.
    pub(super) async fn answer<T>(
        &mut self,
        limit: Duration,
        what: &str,
        pick: impl FnMut(NetworkMessage) -> Option<T>,
    ) -> Result<T, Failure> {
        timeout(limit, self.pick(pick))
            .await
            .map_err(|_| Failure::too_slow(what))?
    }

    async fn pick<T>(
        &mut self,
        mut pick: impl FnMut(NetworkMessage) -> Option<T>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(answer) = pick(self.read_on().await?) {
                return Ok(answer);
            }
        }
    }

    /// What was told in answer to a `getaddr` that was sent before; waits for it until the deadline. No answer is no
    /// failure.
    pub(super) async fn addresses(&mut self, limit: Duration) -> Result<Vec<PeerAddress>, Failure> {
        let deadline = Instant::now() + limit;
        while !self.told.answered {
            match timeout_at(deadline, self.read_on()).await {
                Err(_) => break,
                Ok(message) => message?,
            };
        }
        Ok(std::mem::take(&mut self.told.entries))
    }

    /// A ping to be sent with the next messages; when its answer comes is noted whatever is read then.
    pub(super) fn ping(&mut self) -> NetworkMessage {
        let nonce = rand::random();
        self.ping = Some(Ping {
            nonce,
            sent: Instant::now(),
            took: None,
        });
        NetworkMessage::Ping(nonce)
    }

    /// Round trip of that ping; waits for its answer if it has not come yet.
    pub(super) async fn pong(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(took) = self.ping.as_ref().and_then(|ping| ping.took) {
                return Ok(took);
            }
            timeout_at(deadline, self.read_on())
                .await
                .map_err(|_| Failure::too_slow("the ping"))??;
        }
    }
}
