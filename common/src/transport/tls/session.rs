//! An established TLS connection: two halves that share its state.
//!
//! What goes through is a row of messages in the Bitcoin envelope, whose head tells where each ends.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::Connection;

use crate::transport::error::RecordError;
use crate::transport::record::{MAX_MESSAGE, Progress, REKEY_INTERVAL};
use crate::wire::limits::ENVELOPE_HEADER;

/// Where the length of the body stands in the head: after magic (4) and command (12), little-endian.
const LENGTH_AT: usize = 16;

/// Plaintext that is encrypted at a time: the most that a TLS record carries (RFC 8446, section 5.1).
const CHUNK: usize = 16 * 1024;

/// Decrypted bytes that are taken out of rustls at a time.
const READ_CHUNK: usize = 16 * 1024;

type Shared = Arc<Mutex<Connection>>;

/// Comes apart into what reads and what writes. `early` is what was decrypted beyond the handshake.
pub(super) fn halves(connection: Connection, early: Vec<u8>) -> (TlsReading, TlsWriting) {
    let shared = Arc::new(Mutex::new(connection));
    let reading = TlsReading {
        shared: Arc::clone(&shared),
        plain: early,
        max_total: MAX_MESSAGE,
        records: Records::default(),
        end: None,
    };
    let writing = TlsWriting { shared, sealed: 0 };
    (reading, writing)
}

/// After a panic within rustls its state may be anything; the next use of it then fails or closes the connection,
/// since every record is authenticated.
fn lock(shared: &Shared) -> MutexGuard<'_, Connection> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decrypts, and puts messages together.
pub(in crate::transport) struct TlsReading {
    shared: Shared,
    /// Decrypted bytes of the message under way and of what came with it.
    plain: Vec<u8>,
    max_total: usize,
    records: Records,
    /// What is said when all messages that came before it are taken: that the peer closed, or what is wrong.
    end: Option<RecordError>,
}

impl TlsReading {
    /// Takes messages of at most `max` bytes from here on.
    pub(in crate::transport) fn limit_messages(&mut self, max: usize) {
        self.max_total = max.min(MAX_MESSAGE);
    }

    /// Whether a message or a record has begun and not ended.
    pub(in crate::transport) fn is_inside_message(&self) -> bool {
        !self.plain.is_empty() || self.records.is_inside()
    }

    /// Bytes of the message under way.
    pub(in crate::transport) fn assembled(&self) -> usize {
        self.plain.len()
    }

    /// Takes bytes from the start of `received`, as many as rustls wants, and gives a message if one is complete.
    pub(in crate::transport) fn take(&mut self, received: &[u8]) -> Result<Progress, RecordError> {
        if let Some(message) = self.message()? {
            return Ok(Progress::Message(0, message));
        }
        match self.end.take() {
            Some(RecordError::Closed) if !self.plain.is_empty() => {
                return Err(RecordError::Truncated);
            }
            Some(end) => return Err(end),
            None => {}
        }
        if received.is_empty() {
            return Ok(Progress::NeedMore);
        }
        let count = self.decrypt(received)?;
        Ok(match self.message()? {
            Some(message) => Progress::Message(count, message),
            None => Progress::Consumed(count),
        })
    }

    fn decrypt(&mut self, received: &[u8]) -> Result<usize, RecordError> {
        let mut connection = lock(&self.shared);
        let mut rest = received;
        // A slice gives what it has; rustls refuses only when decrypted bytes wait, and none are left waiting here.
        let count = connection.read_tls(&mut rest)?;
        self.records.pass(received.get(..count).unwrap_or_default());
        let decrypted = match connection.process_new_packets() {
            Ok(state) => {
                if state.peer_has_closed() {
                    self.end = Some(RecordError::Closed);
                }
                state.plaintext_bytes_to_read()
            }
            Err(error) => {
                self.end = Some(RecordError::Tls(error));
                usize::MAX
            }
        };
        read_plain(&mut connection, decrypted, &mut self.plain)?;
        Ok(count)
    }

    /// The first message, when all of it is there.
    fn message(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(head) = self.plain.first_chunk::<ENVELOPE_HEADER>() else {
            return Ok(None);
        };
        let length = head.get(LENGTH_AT..).and_then(<[u8]>::first_chunk);
        // The head is longer than that.
        let length = u32::from_le_bytes(length.copied().unwrap_or_default());
        let total = (length as usize).saturating_add(ENVELOPE_HEADER);
        if total > self.max_total {
            return Err(RecordError::MessageTooLong {
                length: total,
                max: self.max_total,
                received: true,
            });
        }
        if self.plain.len() < total {
            return Ok(None);
        }
        let rest = self.plain.split_off(total);
        Ok(Some(std::mem::replace(&mut self.plain, rest)))
    }
}

/// Moves decrypted bytes to the end of `plain`: `count` of them, or all where there are fewer.
pub(super) fn read_plain(
    connection: &mut Connection,
    mut count: usize,
    plain: &mut Vec<u8>,
) -> io::Result<()> {
    while count > 0 {
        let start = plain.len();
        plain.resize(start + count.min(READ_CHUNK), 0);
        let read = connection
            .reader()
            .read(plain.get_mut(start..).unwrap_or_default());
        let got = read.as_ref().copied().unwrap_or(0);
        plain.truncate(start + got);
        match read {
            // The peer has closed.
            Ok(0) => return Ok(()),
            Ok(_) => count = count.saturating_sub(got),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How much of a TLS record has passed: whether a stream that ends here ends inside one.
#[derive(Debug, Default)]
struct Records {
    /// Bytes of the head that have passed: type (1), version (2), length (2).
    head: usize,
    length: u16,
    /// Bytes of the body that are still to come.
    left: usize,
}

impl Records {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= body.len();
                bytes = rest;
                continue;
            }
            self.head += 1;
            match self.head {
                4 => self.length = u16::from(*first) << 8,
                5 => {
                    self.left = usize::from(self.length | u16::from(*first));
                    self.head = 0;
                }
                _ => {}
            }
            bytes = rest;
        }
    }

    fn is_inside(&self) -> bool {
        self.head > 0 || self.left > 0
    }
}

/// Encrypts.
pub(in crate::transport) struct TlsWriting {
    shared: Shared,
    /// Records so far.
    sealed: u64,
}

impl TlsWriting {
    /// Appends the TLS records of the first bytes of `message` to `out`, and whatever else TLS has to say. Gives how
    /// many bytes those were: some, unless there are none.
    pub(in crate::transport) fn seal(
        &mut self,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, RecordError> {
        let mut connection = lock(&self.shared);
        self.sealed += 1;
        if self.sealed.is_multiple_of(REKEY_INTERVAL) {
            // So that whoever takes the machine over reads no more of the past than with Noise.
            connection
                .refresh_traffic_keys()
                .map_err(RecordError::Tls)?;
        }
        let chunk = message.get(..CHUNK).unwrap_or(message);
        let count = connection.writer().write(chunk)?;
        take_records(&mut connection, out)?;
        if count == 0 && !chunk.is_empty() {
            // rustls keeps no more than what it could not give away, and everything was taken.
            return Err(RecordError::Failed);
        }
        Ok(count)
    }

    /// Says that nothing follows.
    pub(in crate::transport) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let mut connection = lock(&self.shared);
        connection.send_close_notify();
        Ok(take_records(&mut connection, out)?)
    }
}

/// Appends what rustls wants to send to `out`.
pub(super) fn take_records(connection: &mut Connection, out: &mut Vec<u8>) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(out)?;
    }
    Ok(())
}
