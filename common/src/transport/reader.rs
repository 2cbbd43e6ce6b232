//! The receiving half of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::cipher::DirectionCipher;
use super::error::RecordError;
use super::record::{Assembler, LENGTH_LEN, MAX_RECORD, Progress};
use super::tls::TlsReading;

/// First size of the receive buffer in bytes: holds the identity record (3,758) and everything that a
/// peer without blocks says at once, so that a crawler's thousand connections stay small.
const INITIAL_BUFFER: usize = 4 * 1024;

/// Largest size of the receive buffer in bytes: two full records, so that one read can bring more than one of them, and
/// nothing is left over of what arrived at once.
const MAX_BUFFER: usize = 2 * (LENGTH_LEN + MAX_RECORD);

/// So many times in a row the buffer must be emptied of no more than [`INITIAL_BUFFER`] bytes before it is made small
/// again: a block or two in between are no reason.
const SMALL_READS: u8 = 16;

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
    small_reads: u8,
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
            small_reads: 0,
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

    /// Moves what is left to the front and grows a buffer that is full of it; one that has long been empty shrinks.
    fn make_room(&mut self) {
        if self.start == self.buffer.len() {
            self.note_emptied(self.start);
            self.buffer.clear();
            self.start = 0;
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.drain(..self.start);
            self.start = 0;
            let (length, capacity) = (self.buffer.len(), self.buffer.capacity());
            if length > capacity / 2 && capacity < MAX_BUFFER {
                let larger = MAX_BUFFER.min(2 * capacity);
                self.buffer.reserve_exact(larger - length);
            }
        }
    }

    /// All of the buffer was used up, which were so many bytes.
    fn note_emptied(&mut self, bytes: usize) {
        self.small_reads = if bytes <= INITIAL_BUFFER {
            self.small_reads.saturating_add(1)
        } else {
            0
        };
        if self.small_reads >= SMALL_READS && self.buffer.capacity() > INITIAL_BUFFER {
            self.buffer = Vec::with_capacity(INITIAL_BUFFER);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::connected;

    #[tokio::test]
    async fn the_buffer_grows_for_a_block_and_shrinks_when_small_messages_follow() {
        let (mut near, mut far) = connected().await;
        let sizes = [2_000_000].into_iter().chain([100; 20]);
        let mut capacities = Vec::new();
        for size in sizes {
            let message = vec![7; size];
            let (sent, got) = tokio::join!(
                near.writer.write_message(&message),
                far.reader.read_message()
            );
            sent.unwrap();
            assert_eq!(got.unwrap(), message);
            capacities.push(far.reader.buffer.capacity());
        }
        let [first, .., last] = capacities[..] else {
            panic!("there are many")
        };
        assert!(first > 8 * INITIAL_BUFFER && first <= MAX_BUFFER, "{first}");
        assert_eq!(last, INITIAL_BUFFER);
        let small = capacities.iter().filter(|size| **size == INITIAL_BUFFER);
        assert!(
            small.count() < 8,
            "not at the first small message: {capacities:?}"
        );
    }
}
