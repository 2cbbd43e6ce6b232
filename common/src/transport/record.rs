//! The record format: `u16 masked length ‖ AEAD(data ‖ zero padding ‖ 8-byte trailer) ‖ 16-byte tag`.
//!
//! The length counts everything after it, so the largest record (65,535 bytes) carries
//! 65,535 − 16 − 8 = 65,511 bytes of data. The trailer is `flags u8 ‖ kind u8 ‖ pad length u16 ‖ total
//! message length u32`, in big endian. A message of N bytes takes ⌈N / 65,511⌉ records and all but the
//! last are full, so there is one way to cut it. Decoys may stand between records anywhere.
//!
//! Pure: [`seal_message`] appends to a buffer, [`Assembler`] takes records from one.

use super::cipher::{DirectionCipher, TAG_LEN};
use super::error::RecordError;

/// Most bytes of data in one record: the u16 length less tag and trailer.
pub const MAX_RECORD_DATA: usize = MAX_RECORD - OVERHEAD;

/// Most bytes of one message: 4 MiB. The largest message of the protocol, a block of 4,000,000 bytes in
/// its 24-byte envelope, fits; a peer cannot make us assemble more.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Records in one direction after which its key changes (`REKEY`), so that a key that leaks tells
/// nothing about records before the last change.
pub const REKEY_INTERVAL: u64 = 1_024;

/// Bytes of the masked length.
pub(crate) const LENGTH_LEN: usize = 2;

/// Bytes of the trailer.
const TRAILER_LEN: usize = 8;

/// Bytes that a record carries besides data and padding.
pub(crate) const OVERHEAD: usize = TRAILER_LEN + TAG_LEN;

/// Largest value of the length, by its type.
pub(crate) const MAX_RECORD: usize = u16::MAX as usize;

/// Data and padding have at least this many bytes, so that ping, verack or getaddr look alike.
pub(crate) const PAD_TO: usize = 64;

/// Decoys in a row that a reader takes before it calls them an attack on its CPU.
pub(crate) const MAX_DECOYS_IN_A_ROW: u32 = 64;

/// Flag: the record starts a message.
const FIRST: u8 = 1;
/// Flag: the record ends a message.
const LAST: u8 = 2;

/// A message under way may hold so many times the bytes that have arrived, besides these.
const GROWTH: usize = 3;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Means nothing; its data is thrown away.
    Decoy = 0,
    /// Part of a message.
    Message = 1,
    /// The post-quantum identity: the first record of each direction, and only that.
    Identity = 2,
}

/// What the end of a record's plaintext says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) flags: u8,
    pub(crate) kind: u8,
    pub(crate) padding: u16,
    pub(crate) total: u32,
}

impl Trailer {
    fn to_bytes(self) -> [u8; TRAILER_LEN] {
        let mut bytes = [self.flags, self.kind, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&self.padding.to_be_bytes());
        bytes[4..].copy_from_slice(&self.total.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; TRAILER_LEN]) -> Self {
        let [flags, kind, p0, p1, t0, t1, t2, t3] = bytes;
        Self {
            flags,
            kind,
            padding: u16::from_be_bytes([p0, p1]),
            total: u32::from_be_bytes([t0, t1, t2, t3]),
        }
    }
}

/// The records of one message, in order: each one's data and trailer.
pub(crate) fn fragments(
    kind: Kind,
    message: &[u8],
) -> Result<impl Iterator<Item = (&[u8], Trailer)>, RecordError> {
    if message.len() > MAX_MESSAGE {
        return Err(RecordError::MessageTooLong {
            length: message.len(),
            max: MAX_MESSAGE,
            received: false,
        });
    }
    let total = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let count = message.len().div_ceil(MAX_RECORD_DATA).max(1);
    Ok((0..count).map(move |index| {
        let start = index * MAX_RECORD_DATA;
        let end = message.len().min(start + MAX_RECORD_DATA);
        let data = message.get(start..end).unwrap_or_default();
        let first = if index == 0 { FIRST } else { 0 };
        let last = if index + 1 == count { LAST } else { 0 };
        let padding = u16::try_from(PAD_TO.saturating_sub(data.len())).unwrap_or(0);
        (
            data,
            Trailer {
                flags: first | last,
                kind: kind as u8,
                padding,
                total,
            },
        )
    }))
}

/// Appends one record to `out`. `data` and padding together are at most [`MAX_RECORD_DATA`] bytes.
pub(crate) fn seal_record(
    cipher: &mut DirectionCipher,
    data: &[u8],
    trailer: Trailer,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let length = data.len() + usize::from(trailer.padding) + OVERHEAD;
    let Ok(wire_length) = u16::try_from(length) else {
        return Err(RecordError::BadLength {
            length,
            min: OVERHEAD,
            max: MAX_RECORD,
        });
    };
    let mask = cipher.length_mask()?;
    let [high, low] = wire_length.to_be_bytes();
    out.reserve(LENGTH_LEN + length);
    out.extend_from_slice(&[high ^ mask[0], low ^ mask[1]]);
    let start = out.len();
    out.extend_from_slice(data);
    out.resize(out.len() + usize::from(trailer.padding), 0);
    out.extend_from_slice(&trailer.to_bytes());
    let tag = cipher.seal(out.get_mut(start..).unwrap_or_default())?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// Appends one decoy of `size` bytes of nothing (at most [`MAX_RECORD_DATA`]).
pub(crate) fn seal_decoy(
    cipher: &mut DirectionCipher,
    size: usize,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let padding = u16::try_from(size.clamp(PAD_TO, MAX_RECORD_DATA)).unwrap_or(0);
    seal_record(
        cipher,
        &[],
        Trailer {
            flags: 0,
            kind: Kind::Decoy as u8,
            padding,
            total: 0,
        },
        out,
    )
}

/// What an [`Assembler`] made of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not a whole record yet.
    NeedMore,
    /// Took this many bytes; the message is not complete.
    Consumed(usize),
    /// Took this many bytes, and here is the message.
    Message(usize, Vec<u8>),
}

/// Opens the records of one direction in order and puts messages together.
///
/// It holds no more than one message of the allowed length, and grows by data that has arrived.
pub(crate) struct Assembler {
    cipher: DirectionCipher,
    expected: Kind,
    max_total: usize,
    message: Vec<u8>,
    /// The length that the first record of the message under way announced.
    total: Option<u32>,
    decoys: u32,
}

impl Assembler {
    /// Expects one identity message of `length` bytes first; [`Self::authenticated`] ends that.
    pub(crate) fn before_identity(cipher: DirectionCipher, length: usize) -> Self {
        Self {
            cipher,
            expected: Kind::Identity,
            max_total: length.min(MAX_RECORD_DATA),
            message: Vec::new(),
            total: None,
            decoys: 0,
        }
    }

    /// From here on messages are expected.
    pub(crate) fn authenticated(&mut self) {
        self.expected = Kind::Message;
        self.max_total = MAX_MESSAGE;
    }

    /// Bounds the messages from here on to `max` bytes; those under way keep no privilege.
    pub(crate) fn limit_messages(&mut self, max: usize) {
        self.max_total = max.min(MAX_MESSAGE);
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_inside_message(&self) -> bool {
        self.total.is_some()
    }

    /// Bytes of the message under way whose records were taken.
    pub(crate) fn assembled(&self) -> usize {
        self.message.len()
    }

    /// Takes one record from the start of `buffer` if it is there as a whole.
    ///
    /// After an error the direction is out of step for good; do not call it again.
    pub(crate) fn take(&mut self, buffer: &[u8]) -> Result<Progress, RecordError> {
        let Some(([high, low], rest)) = buffer.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(Progress::NeedMore);
        };
        let mask = self.cipher.length_mask()?;
        let length = usize::from(u16::from_be_bytes([*high ^ mask[0], *low ^ mask[1]]));
        let max = self.max_record();
        if !(OVERHEAD..=max).contains(&length) {
            return Err(RecordError::BadLength {
                length,
                min: OVERHEAD,
                max,
            });
        }
        let Some(sealed) = rest.get(..length) else {
            return Ok(Progress::NeedMore);
        };
        let start = self.message.len();
        self.cipher.open(sealed, &mut self.message)?;
        let (data_len, trailer) = accept(self.message.get(start..).unwrap_or_default())?;
        let consumed = LENGTH_LEN + length;
        if trailer.kind == Kind::Decoy as u8 {
            self.message.truncate(start);
            if start == 0 {
                // A large decoy leaves nothing behind.
                self.message = Vec::new();
            }
            self.count_decoy()?;
            return Ok(Progress::Consumed(consumed));
        }
        self.message.truncate(start + data_len);
        Ok(match self.append(start, trailer)? {
            None => Progress::Consumed(consumed),
            Some(message) => Progress::Message(consumed, message),
        })
    }

    /// The longest record possible here: before the identity is known, the identity record's.
    fn max_record(&self) -> usize {
        match self.expected {
            Kind::Identity => self.max_total + OVERHEAD,
            Kind::Decoy | Kind::Message => MAX_RECORD,
        }
    }

    fn count_decoy(&mut self) -> Result<(), RecordError> {
        if self.expected == Kind::Identity {
            return Err(RecordError::Malformed("a decoy before the identity"));
        }
        self.decoys += 1;
        if self.decoys > MAX_DECOYS_IN_A_ROW {
            return Err(RecordError::TooManyDecoys(MAX_DECOYS_IN_A_ROW));
        }
        Ok(())
    }

    /// The message has grown from `start` by a record's data.
    fn append(&mut self, start: usize, trailer: Trailer) -> Result<Option<Vec<u8>>, RecordError> {
        self.decoys = 0;
        self.check(self.message.len() - start, trailer)?;
        self.total = Some(trailer.total);
        if trailer.flags & LAST == 0 {
            self.make_room(trailer.total as usize);
            return Ok(None);
        }
        self.total = None;
        Ok(Some(std::mem::take(&mut self.message)))
    }

    /// Room for the rest of a message of `total` bytes, but for no more than three times what has arrived: doubling, as a
    /// `Vec` does it, would move each byte once more, which costs a tenth of decrypting it.
    fn make_room(&mut self, total: usize) {
        let have = self.message.len();
        if self.message.capacity() - have < MAX_RECORD {
            let rest = total.saturating_sub(have) + TRAILER_LEN;
            self.message.reserve_exact(rest.min(GROWTH * have));
        }
    }

    fn check(&self, data_len: usize, trailer: Trailer) -> Result<(), RecordError> {
        let malformed = |what| Err(RecordError::Malformed(what));
        if trailer.kind != self.expected as u8 {
            return malformed("a record kind that does not belong here");
        }
        let total = usize::try_from(trailer.total).unwrap_or(usize::MAX);
        if total > self.max_total {
            return Err(RecordError::MessageTooLong {
                length: total,
                max: self.max_total,
                received: true,
            });
        }
        match self.total {
            None if trailer.flags & FIRST == 0 => return malformed("a message without a start"),
            Some(_) if trailer.flags & FIRST != 0 => {
                return malformed("a message inside a message");
            }
            Some(announced) if announced != trailer.total => {
                return malformed("a total length that changes inside a message");
            }
            _ => {}
        }
        if self.expected == Kind::Identity && total != self.max_total {
            return malformed("an identity of another length");
        }
        let have = self.message.len();
        if trailer.flags & LAST != 0 {
            if have != total {
                return malformed("a message that is not as long as announced");
            }
        } else if data_len != MAX_RECORD_DATA || have >= total {
            return malformed("a record inside a message that is not full");
        }
        Ok(())
    }
}

/// How much of a record's plaintext is data, and its trailer.
fn accept(plaintext: &[u8]) -> Result<(usize, Trailer), RecordError> {
    let Some((body, trailer)) = plaintext.split_last_chunk::<TRAILER_LEN>() else {
        return Err(RecordError::Malformed("no trailer"));
    };
    let trailer = Trailer::from_bytes(*trailer);
    if trailer.flags & !(FIRST | LAST) != 0 {
        return Err(RecordError::Malformed("an unknown flag"));
    }
    let data_len = body.len().checked_sub(usize::from(trailer.padding));
    let Some((data, padding)) = data_len.and_then(|length| body.split_at_checked(length)) else {
        return Err(RecordError::Malformed("more padding than record"));
    };
    if padding.iter().any(|byte| *byte != 0) {
        return Err(RecordError::Malformed("padding that is not zero"));
    }
    Ok((data.len(), trailer))
}
