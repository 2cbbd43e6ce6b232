//! What follows the question in a response, in wire form.
//!
//! A [`Tail`] has up to three parts, which are kept in an [`Arena`]:
//!
//! | part | what | sent |
//! |---|---|---|
//! | head | the RRset that answers, or the SOA that denies | always |
//! | proof | signatures of the head; for denials NSEC and their signatures | to clients that set DO |
//! | extra | addresses of SRV targets and name servers | as far as there is room (RFC 2181, 9) |
//!
//! Parts that are the same bytes are kept once: the addresses of a network are the same in all of its zones, since their owner is but a
//! pointer to the question.
//!
//! Head and proof are in one section, answer or authority, so that a response is the parts it needs, copied.
//! Owners are pointers: to the question, or, behind labels of their own, to the zone's apex within the question.
//! Where that is depends on the question's length; a tail that denies many names ("floating") keeps a list of the
//! pointers that have to be set.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use super::{HEADER, kind, name::WireName, rrset::RrSet};

/// Bytes of type and class after the name in a question.
const QUESTION_REST: usize = 4;

/// A pointer to the name in the question (RFC 1035, 4.1.4).
const TO_QUESTION: u16 = pointer(HEADER);

/// Offsets that a pointer reaches.
const POINTER_REACH: usize = 0x3fff;

const fn pointer(to: usize) -> u16 {
    0xc000 | (to as u16 & 0x3fff)
}

/// The section that head and proof belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answer.
    Answer,
    /// Authority.
    Authority,
}

/// What a tail is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Response code; below 16, as all that have a tail.
    pub code: u8,
    /// Whether the name is in one of our zones (the AA bit).
    pub authoritative: bool,
    /// Where head and proof belong.
    pub section: Section,
    /// See the [module](self).
    pub head: Vec<RrSet>,
    /// See the [module](self).
    pub proof: Vec<RrSet>,
    /// See the [module](self).
    pub extra: Vec<RrSet>,
}

/// The names that a tail's owners may point to.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// The name in the question; `None` for a tail that denies many.
    pub question: Option<&'a WireName>,
    /// The zone; `None` for what is outside, where nothing points but to the question.
    pub apex: Option<&'a WireName>,
}

/// The parts of tails.
#[derive(Debug, Default)]
pub struct Arena {
    bytes: Vec<u8>,
    pointers: Vec<u16>,
    /// Where parts with a hash are, while there will be more; what it says is compared before it is used.
    known: HashMap<u64, Part>,
    hashes: RandomState,
}

/// Where a part is.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: u32,
    length: u16,
}

/// One tail in an [`Arena`].
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    /// Head, proof and extra.
    parts: [Part; 3],
    counts: [u8; 3],
    /// Of the pointers that have to be set.
    pointers: (u32, u8),
    /// See [`Parts::code`].
    pub code: u8,
    /// See [`Parts::authoritative`].
    pub authoritative: bool,
    /// See [`Parts::section`].
    pub section: Section,
}

/// A tail that can't be kept: more bytes or records than the counters of a response hold. Zones have neither.
#[derive(Debug, thiserror::Error)]
#[error("an answer is too large to be kept")]
pub struct TooLarge;

/// The parts of a tail as bytes, with the number of records of each.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// See the [module](self).
    pub head: &'a [u8],
    /// See the [module](self).
    pub proof: &'a [u8],
    /// See the [module](self).
    pub extra: &'a [u8],
    /// Records in head, proof and extra.
    pub counts: [u8; 3],
    /// Offsets, from the start of the head, of pointers to the apex that have to be set; ascending.
    pub pointers: &'a [u16],
}

impl Arena {
    /// With room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Writes a tail.
    ///
    /// # Errors
    /// [`TooLarge`], and nothing is kept.
    pub fn add(&mut self, parts: &Parts, layout: Layout<'_>) -> Result<Tail, TooLarge> {
        let mut writer = Writer {
            bytes: Vec::with_capacity(1024),
            pointers: Vec::new(),
            layout,
            targets: Vec::new(),
        };
        let mut ends = [0; 3];
        let mut counts = [0; 3];
        let all = [&parts.head, &parts.proof, &parts.extra];
        for ((sets, end), count) in all.into_iter().zip(&mut ends).zip(&mut counts) {
            for set in sets {
                writer.set(set)?;
            }
            *end = writer.bytes.len();
            let records = sets.iter().map(|set| set.rdata.len()).sum::<usize>();
            *count = u8::try_from(records).map_err(|_| TooLarge)?;
        }
        let pointers = u8::try_from(writer.pointers.len()).map_err(|_| TooLarge)?;
        let first_pointer = u32::try_from(self.pointers.len()).map_err(|_| TooLarge)?;
        let mut kept = [Part::default(); 3];
        let mut start = 0;
        for (part, end) in kept.iter_mut().zip(ends) {
            *part = self.keep(writer.bytes.get(start..end).unwrap_or_default())?;
            start = end;
        }
        self.pointers.extend(writer.pointers);
        Ok(Tail {
            parts: kept,
            counts,
            pointers: (first_pointer, pointers),
            code: parts.code,
            authoritative: parts.authoritative,
            section: parts.section,
        })
    }

    /// The place of these bytes, which is another's if that has the same.
    fn keep(&mut self, bytes: &[u8]) -> Result<Part, TooLarge> {
        let hash = self.hashes.hash_one(bytes);
        if let Some(known) = self.known.get(&hash)
            && self.part(*known) == bytes
        {
            return Ok(*known);
        }
        let part = Part {
            start: u32::try_from(self.bytes.len()).map_err(|_| TooLarge)?,
            length: u16::try_from(bytes.len()).map_err(|_| TooLarge)?,
        };
        self.bytes.extend_from_slice(bytes);
        self.known.insert(hash, part);
        Ok(part)
    }

    fn part(&self, part: Part) -> &[u8] {
        let start = part.start as usize;
        let range = start..start + usize::from(part.length);
        self.bytes.get(range).unwrap_or_default()
    }

    /// The parts of a tail of this arena.
    #[must_use]
    pub fn view(&self, tail: &Tail) -> View<'_> {
        let (first, count) = (tail.pointers.0 as usize, usize::from(tail.pointers.1));
        let [head, proof, extra] = tail.parts.map(|part| self.part(part));
        View {
            head,
            proof,
            extra,
            counts: tail.counts,
            pointers: self.pointers.get(first..first + count).unwrap_or_default(),
        }
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + 2 * self.pointers.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// When all is written: gives back what was reserved and not used.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.pointers.shrink_to_fit();
        self.known = HashMap::new();
    }
}

struct Writer<'a> {
    /// What follows the question, if all of it is sent.
    bytes: Vec<u8>,
    pointers: Vec<u16>,
    layout: Layout<'a>,
    /// Targets of SRV records, which their addresses point to.
    targets: Vec<(Vec<u8>, u16)>,
}

impl Writer<'_> {
    fn set(&mut self, set: &RrSet) -> Result<(), TooLarge> {
        for rdata in set.rdata.iter() {
            self.owner(&set.owner)?;
            let bytes = &mut self.bytes;
            bytes.extend_from_slice(&set.kind.to_be_bytes());
            bytes.extend_from_slice(&set.class.to_be_bytes());
            bytes.extend_from_slice(&set.ttl.to_be_bytes());
            let length = u16::try_from(rdata.len()).map_err(|_| TooLarge)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            self.remember_target(set.kind, rdata);
            self.bytes.extend_from_slice(rdata);
        }
        Ok(())
    }

    fn owner(&mut self, owner: &WireName) -> Result<(), TooLarge> {
        let Layout { question, apex } = self.layout;
        if question == Some(owner) {
            self.put(TO_QUESTION);
            return Ok(());
        }
        let known = self
            .targets
            .iter()
            .find(|(name, _)| name == owner.as_bytes());
        if let Some((_, at)) = known {
            let at = *at;
            self.put(at);
            return Ok(());
        }
        let Some((apex, above)) = apex.and_then(|apex| Some((apex, owner.below(apex)?))) else {
            self.bytes.extend_from_slice(owner.as_bytes());
            return Ok(());
        };
        let own = owner.as_bytes().len() - owner.suffix(above).len();
        let labels = owner.as_bytes().get(..own).unwrap_or_default();
        self.bytes.extend_from_slice(labels);
        match question {
            Some(question) => {
                let before = question
                    .as_bytes()
                    .len()
                    .saturating_sub(apex.as_bytes().len());
                self.put(pointer(HEADER + before));
            }
            None => {
                let at = u16::try_from(self.bytes.len()).map_err(|_| TooLarge)?;
                self.pointers.push(at);
                self.put(0);
            }
        }
        Ok(())
    }

    fn put(&mut self, pointer: u16) {
        self.bytes.extend_from_slice(&pointer.to_be_bytes());
    }

    /// `rdata` is about to be written: an SRV record's target begins after six bytes of it (RFC 2782).
    fn remember_target(&mut self, kind: u16, rdata: &[u8]) {
        let (Some(question), true) = (self.layout.question, kind == kind::SRV) else {
            return;
        };
        let before = HEADER + question.as_bytes().len() + QUESTION_REST;
        let at = before + (self.bytes.len()) + 6;
        if let (Some(target), true) = (rdata.get(6..), at <= POINTER_REACH) {
            self.targets.push((target.to_vec(), pointer(at)));
        }
    }
}

/// The first whole records of an additional section that fit in `room` bytes: how many bytes, and how many records.
#[must_use]
pub fn fitting(extra: &[u8], room: usize) -> (usize, u16) {
    let (mut at, mut records) = (0, 0);
    while let Some(end) = record_end(extra, at)
        && end <= room
    {
        (at, records) = (end, records + 1);
    }
    (at, records)
}

/// Where the record that begins at `at` ends.
fn record_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => break at += 1,
            size @ 1..=63 => at += 1 + usize::from(size),
            _ => break at += 2,
        }
    }
    let length = bytes.get(at + 8..at + 10)?.first_chunk::<2>()?;
    let end = at + 10 + usize::from(u16::from_be_bytes(*length));
    (end <= bytes.len()).then_some(end)
}
