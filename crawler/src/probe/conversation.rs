//! Messages with deadlines over a secured connection.

use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::network::channel::{MessageReader, MessageWriter};
use quantumcoin::network::protocol::addresses::{Gossip, MAX_ADDRESSES};
use quantumcoin::transport::{ReadHalf, Secured, Stream, WriteHalf};
use quantumcoin::wire::Envelope;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;
use super::read_gossip;

/// Our side of a secured connection.
pub(super) struct Conversation<S: Stream> {
    reader: MessageReader<ReadHalf<S>>,
    writer: MessageWriter<WriteHalf<S>>,
}

impl<S: Stream> Conversation<S> {
    pub(super) fn new(secured: Secured<S>, envelope: Envelope) -> Self {
        Self {
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

    pub(super) async fn send_all(&mut self, messages: &[NetworkMessage]) -> Result<(), Failure> {
        for message in messages {
            self.send(message).await?;
        }
        Ok(())
    }

    /// The next message of any kind. Has no deadline of its own.
    pub(super) async fn read(&mut self) -> Result<NetworkMessage, Failure> {
        self.reader.read().await.map_err(|e| Failure::channel(&e))
    }

    /// Asks, and reads until `pick` takes a message or `limit` has passed in all. Answers pings on the way
    /// and ignores the rest: the peer may chat, but not stretch the deadline.
    pub(super) async fn ask<T>(
        &mut self,
        question: &NetworkMessage,
        limit: Duration,
        what: &str,
        mut pick: impl FnMut(NetworkMessage) -> Option<T>,
    ) -> Result<T, Failure> {
        let conversation = async {
            self.send(question).await?;
            loop {
                match self.read().await? {
                    NetworkMessage::Ping(nonce) => self.send(&NetworkMessage::Pong(nonce)).await?,
                    message => {
                        if let Some(answer) = pick(message) {
                            return Ok(answer);
                        }
                    }
                }
            }
        };
        timeout(limit, conversation)
            .await
            .map_err(|_| Failure::too_slow(what))?
    }

    /// Asks for addresses and reads until an answer or the deadline. A single entry that is the peer itself
    /// announces it and is not the answer; no answer is no failure.
    pub(super) async fn ask_addresses(
        &mut self,
        peer: SocketAddr,
        limit: Duration,
        now: i64,
    ) -> Result<Vec<Gossip>, Failure> {
        let deadline = Instant::now() + limit;
        let mut told: Vec<Gossip> = Vec::new();
        self.send(&NetworkMessage::GetAddr).await?;
        while told.len() < MAX_ADDRESSES {
            let message = match timeout_at(deadline, self.read()).await {
                Err(_) => break,
                Ok(message) => message?,
            };
            match message {
                NetworkMessage::Ping(nonce) => self.send(&NetworkMessage::Pong(nonce)).await?,
                NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => {
                    let entries = read_gossip(&message, now);
                    let announcement = matches!(entries.as_slice(), [only] if only.addr == peer);
                    told.extend(entries.into_iter().filter(|e| e.addr != peer));
                    if !announcement {
                        break;
                    }
                }
                _ => {}
            }
        }
        told.truncate(MAX_ADDRESSES);
        Ok(told)
    }

    /// Round trip of a ping.
    pub(super) async fn ping(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let start = Instant::now();
        let nonce = rand::random();
        self.ask(&NetworkMessage::Ping(nonce), limit, "the ping", |message| {
            matches!(message, NetworkMessage::Pong(n) if n == nonce).then_some(())
        })
        .await?;
        Ok(start.elapsed())
    }
}
