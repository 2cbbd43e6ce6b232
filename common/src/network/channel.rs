//! A secured connection as a stream of messages: records below, the Bitcoin envelope above.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bitcoin::p2p::message::NetworkMessage;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::{RecordError, RecordReader, RecordWriter};
use crate::wire::{Envelope, WireError};

/// Why no more messages come or go.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The secured stream failed or ended.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The peer's bytes are no message, or ours are too large for one.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl ChannelError {
    /// Whether only a faulty or hostile peer causes this.
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::Record(error) => error.is_peer_fault(),
            Self::Wire(error) => error.is_peer_fault(),
        }
    }
}

/// Receives messages.
#[derive(Debug)]
pub struct MessageReader<R> {
    records: RecordReader<R>,
    envelope: Envelope,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads messages of `envelope` from `records`.
    pub fn new(records: RecordReader<R>, envelope: Envelope) -> Self {
        Self { records, envelope }
    }

    /// Takes messages of at most `max` bytes, envelope included, from now on.
    pub fn limit_messages(&mut self, max: usize) {
        self.records.limit_messages(max);
    }

    /// Bytes that have arrived of the message under way: [`RecordReader::arriving`].
    pub fn arriving(&self) -> Arc<AtomicU64> {
        self.records.arriving()
    }

    /// The next message.
    ///
    /// # Errors
    /// After an error the connection can't be used any more.
    pub async fn read(&mut self) -> Result<NetworkMessage, ChannelError> {
        Ok(self.read_sized().await?.0)
    }

    /// The next message and its size with envelope, in bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_sized(&mut self) -> Result<(NetworkMessage, usize), ChannelError> {
        let bytes = self.records.read_message().await?;
        Ok((self.envelope.decode(&bytes)?, bytes.len()))
    }
}

/// Sends messages.
#[derive(Debug)]
pub struct MessageWriter<W> {
    records: RecordWriter<W>,
    envelope: Envelope,
}

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    /// Writes messages in `envelope` to `records`.
    pub fn new(records: RecordWriter<W>, envelope: Envelope) -> Self {
        Self { records, envelope }
    }

    /// Sends one message; returns its size with envelope, in bytes.
    ///
    /// # Errors
    /// After an error the connection can't be used any more.
    pub async fn write(&mut self, message: &NetworkMessage) -> Result<usize, ChannelError> {
        let bytes = self.envelope.encode(message)?;
        self.records.write_message(&bytes).await?;
        Ok(bytes.len())
    }

    /// The bytes of a message, for [`Self::write_encoded`].
    ///
    /// # Errors
    /// Where it is too large for one.
    pub fn encode(&self, message: &NetworkMessage) -> Result<Vec<u8>, ChannelError> {
        Ok(self.envelope.encode(message)?)
    }

    /// The bytes of a `block` message of a serialized block, for [`Self::write_encoded`].
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_block(&self, block: &[u8]) -> Result<Vec<u8>, ChannelError> {
        Ok(self.envelope.encode_block(block)?)
    }

    /// Sends messages that were encoded before, small ones in one write to the socket.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_encoded(&mut self, messages: &[Vec<u8>]) -> Result<(), ChannelError> {
        Ok(self.records.write_messages(messages).await?)
    }
}
