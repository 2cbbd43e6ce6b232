//! The engine's answers, written ahead.
//!
//! For every name that resolvers usually ask for, a [`Table`] holds what the engine ([`crate::answer`]) would answer, as wire
//! form: each variant of each type, the denial of all other types, and each zone's denial of names that do not
//! exist. A query then costs a look into a hash table and a copy. Names that are not written ahead, such as unusual
//! filters and targets of SRV records, are answered by the engine itself ([`Table::find`] says which).
//!
//! The table is built beside the running one and swapped in as a whole. Variants are handed out in turn, so that two
//! clients in a row get different ones and all are used alike.

mod build;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Included, Unbounded},
    sync::atomic::{AtomicU32, Ordering},
};

pub use self::build::parts;
use crate::{
    dnssec::{denial::FILTERS, prove::ProveError},
    wire::{
        name::WireName,
        tail::{Arena, Tail, TooLarge, View},
    },
    zone::{Place, Zone},
};

/// A table that can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It can't be proved.
    #[error("an answer can't be signed: {0}")]
    Prove(#[from] ProveError),
    /// See [`TooLarge`].
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Answers in wire form.
#[derive(Debug, Default)]
pub struct Table {
    arena: Arena,
    tails: Vec<Tail>,
    names: HashMap<Box<[u8]>, Node>,
    zones: Vec<Apex>,
}

/// A zone, for names that are not in the table.
#[derive(Debug)]
struct Apex {
    index: usize,
    name: WireName,
    zone: Zone,
    signed: bool,
    /// The denials of names that do not exist, by the label below the apex behind which they hold. An unsigned zone has one for
    /// all.
    gaps: BTreeMap<Vec<u8>, Option<Tail>>,
}

/// A name.
#[derive(Debug)]
struct Node {
    zone: usize,
    before_apex: usize,
    entries: Vec<Entry>,
    no_data: Tail,
}

/// The answers of a name and a type.
#[derive(Debug)]
struct Entry {
    kind: u16,
    first: usize,
    count: u32,
    turn: AtomicU32,
}

/// What the table knows of a question.
#[derive(Debug)]
pub enum Found<'a> {
    /// The answer.
    Tail {
        /// In bytes.
        tail: &'a Tail,
        /// Index of the zone.
        zone: usize,
        /// Bytes of the question before the zone's apex.
        before_apex: usize,
    },
    /// The engine has to be asked.
    Ask,
    /// No zone of ours.
    NotOurs,
}

impl Table {
    /// Looks up a question of class IN for a type that zones may have.
    #[must_use]
    pub fn find(&self, name: &WireName, kind: u16) -> Found<'_> {
        if let Some(node) = self.names.get(name.as_bytes()) {
            let entry = node.entries.iter().find(|entry| entry.kind == kind);
            return Found::Tail {
                tail: entry
                    .and_then(|entry| self.turn(entry))
                    .unwrap_or(&node.no_data),
                zone: node.zone,
                before_apex: node.before_apex,
            };
        }
        let found = self
            .zones
            .iter()
            .find_map(|apex| Some((apex, name.below(&apex.name)?)));
        match found {
            None => Found::NotOurs,
            Some((apex, _)) if apex.zone.place(name) != Place::Nothing => Found::Ask,
            Some((apex, above)) => match apex.denial(name, above) {
                None => Found::Ask,
                Some(tail) => Found::Tail {
                    tail,
                    zone: apex.index,
                    before_apex: name.as_bytes().len() - apex.name.as_bytes().len(),
                },
            },
        }
    }

    fn turn(&self, entry: &Entry) -> Option<&Tail> {
        let turn = entry
            .turn
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(entry.count)?;
        self.tails.get(entry.first + turn as usize)
    }

    /// The bytes of a tail of this table.
    #[must_use]
    pub fn view(&self, tail: &Tail) -> View<'_> {
        self.arena.view(tail)
    }

    /// Bytes of all answers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// How many answers are written ahead.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.tails.len()
    }
}

impl Apex {
    /// The denial of a name with so many labels above the apex, which does not exist, if it is written ahead.
    fn denial(&self, name: &WireName, above: usize) -> Option<&Tail> {
        let top = name.label(above.checked_sub(1)?)?;
        let mut before = self.gaps.range::<[u8], _>((Unbounded, Included(top)));
        let (begin, tail) = before.next_back()?;
        // Below a name that exists, and between filters, each name has records of its own.
        let own = self.signed && (begin == top || top.starts_with(FILTERS));
        if own { None } else { tail.as_ref() }
    }
}

#[cfg(test)]
mod tests;
