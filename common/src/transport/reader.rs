//! The receiving half of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::cipher::DirectionCipher;
use super::error::RecordError;
use super::record::{Assembler, Progress};
use super::tls::TlsReading;

/// First size of the receive buffer in bytes: holds the identity record (3,758) and everything that a
/// peer without blocks says at once, so that a crawler's thousand connections stay small.
const INITIAL_BUFFER: usize = 4 * 1024;

/// Largest size of the receive buffer in bytes: two full records, so that one read can bring more than
/// one of them.
const MAX_BUFFER: usize = 128 * 1024;

/// How received bytes become messages.
enum Opening {
    Records(Box<Assembler>),
    Tls(TlsReading),
}

impl Opening {
    fn take(&mut self, received: &[u8]) -> Result<Progress, RecordError> {
        match self {
            Self::Records(records) => records.take(received),
            Self::Tls(tls) => tls.take(received),
        }
    }

    fn limit_messages(&mut self, max: usize) {
        match self {
            Self::Records(records) => records.limit_messages(max),
            Self::Tls(tls) => tls.limit_messages(max),
        }
    }

    fn is_inside_message(&self) -> bool {
        match self {
            Self::Records(records) => records.is_inside_message(),
            Self::Tls(tls) => tls.is_inside_message(),
        }
    }

    fn assembled(&self) -> usize {
        match self {
            Self::Records(records) => records.assembled(),
            Self::Tls(tls) => tls.assembled(),
        }
    }
}

/// Reads messages from the receiving half of an authenticated connection.
///
/// Any failure closes it for good: later calls give [`RecordError::Failed`]. The caller then drops both
/// halves.
pub struct RecordReader<R> {
    io: R,
    opening: Opening,
    /// Received bytes; those before `start` are used up. It grows only when it is full of bytes that
    /// have arrived.
    buffer: Vec<u8>,
    start: usize,
    arriving: Arc<AtomicU64>,
    failed: bool,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    /// A reader that takes the identity record first ([`Self::read_identity`]).
    pub(crate) fn new(io: R, key: &[u8; 32], identity_len: usize) -> Self {
        let cipher = DirectionCipher::new(key);
        let records = Assembler::before_identity(cipher, identity_len);
        Self::of(io, Opening::Records(Box::new(records)))
    }

    /// A reader of what a TLS connection brings.
    pub(super) fn tls(io: R, reading: TlsReading) -> Self {
        Self::of(io, Opening::Tls(reading))
    }

    fn of(io: R, opening: Opening) -> Self {
        Self {
            io,
            opening,
            buffer: Vec::with_capacity(INITIAL_BUFFER),
            start: 0,
            arriving: Arc::default(),
            failed: false,
        }
    }

    /// Reads the next whole message.
    ///
    /// Cancel-safe: when the future is dropped nothing is lost, and the next call goes on.
    ///
    /// # Errors
    /// [`RecordError::Closed`] when the peer closed between two messages, [`RecordError::Truncated`]
    /// when inside one; anything else when the bytes are wrong or the socket failed.
    pub async fn read_message(&mut self) -> Result<Vec<u8>, RecordError> {
        if self.failed {
            return Err(RecordError::Failed);
        }
        self.note_arrived();
        let result = self.next().await;
        self.failed = result.is_err();
        result
    }

    /// How many bytes have arrived of the message under way; shared, so that others can see whether a long
    /// message makes headway.
    ///
    /// Bytes of a record that is not complete count as they came, since what they are is not known yet. The
    /// number stands from the end of a message to the next call of [`Self::read_message`].
    pub fn arriving(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.arriving)
    }

    /// Takes messages of at most `max` bytes from now on, and never more than
    /// [`MAX_MESSAGE`](super::MAX_MESSAGE). A longer one is refused at its first record, which announces
    /// the length.
    pub fn limit_messages(&mut self, max: usize) {
        self.opening.limit_messages(max);
    }

    /// Reads the peer's identity payload; only messages may follow.
    pub(crate) async fn read_identity(&mut self) -> Result<Vec<u8>, RecordError> {
        let identity = self.read_message().await?;
        if let Opening::Records(records) = &mut self.opening {
            records.authenticated();
        }
        Ok(identity)
    }

    async fn next(&mut self) -> Result<Vec<u8>, RecordError> {
        loop {
            let waiting = self.buffer.get(self.start..).unwrap_or_default();
            match self.opening.take(waiting)? {
                Progress::NeedMore => self.receive().await?,
                Progress::Consumed(count) => self.start += count,
                Progress::Message(count, message) => {
                    self.start += count;
                    return Ok(message);
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<(), RecordError> {
        self.make_room();
        if self.io.read_buf(&mut self.buffer).await? > 0 {
            self.note_arrived();
            return Ok(());
        }
        if self.start < self.buffer.len() || self.opening.is_inside_message() {
            return Err(RecordError::Truncated);
        }
        Err(RecordError::Closed)
    }

    fn note_arrived(&self) {
        let bytes = self.opening.assembled() + self.buffer.len().saturating_sub(self.start);
        self.arriving.store(bytes as u64, Ordering::Relaxed);
    }

    /// Moves what is left to the front and grows a buffer that is full of it.
    fn make_room(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.drain(..self.start);
            self.start = 0;
            let capacity = self.buffer.capacity();
            if self.buffer.len() > capacity / 2 && capacity < MAX_BUFFER {
                self.buffer.reserve_exact(2 * capacity - self.buffer.len());
            }
        }
    }
}

impl<R> std::fmt::Debug for RecordReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordReader")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
