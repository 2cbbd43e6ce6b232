//! The engine's answers, written ahead.
//!
//! For every name that resolvers usually ask for, a [`Table`] holds what the [`Engine`] would answer, as wire
//! form: each variant of each type, the denial of all other types, and each zone's denial of names that do not
//! exist. A query then costs a look into a hash table and a copy. Names that are not written ahead, such as unusual
//! filters and targets of SRV records, are answered by the engine itself ([`Table::find`] says which).
//!
//! The table is built beside the running one and swapped in as a whole. Variants are handed out in turn, so that two
//! clients in a row get different ones and all are used alike.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
};

use hickory_proto::{
    ProtoError,
    rr::{DNSClass, Name, RecordType},
};

use crate::{
    answer::{Answer, Engine, Question},
    snapshot::{Snapshot, USUAL_FILTERS},
    wire::{
        name::WireName,
        tail::{Arena, Layout, Parts, RrSet, Section, Tail, TooLarge, View},
    },
    zone::{Place, Zone, render},
};

/// Types that names of a zone may have.
const KINDS: [RecordType; 7] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::SRV,
    RecordType::NS,
    RecordType::SOA,
    RecordType::ANY,
];

/// A type that no name has, to learn how the engine denies one.
const NO_KIND: RecordType = RecordType::NULL;

/// A table that can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// hickory can't write a record, or a name is too long.
    #[error("an answer can't be written: {0}")]
    Record(#[from] ProtoError),
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
    no_such_name: Tail,
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
    /// Writes all answers.
    ///
    /// # Errors
    /// [`TableError`]: with zones that could be made, none is known.
    pub fn build(engine: &Engine, snapshot: &Snapshot) -> Result<Self, TableError> {
        let mut table = Self::default();
        // The deepest first: of two zones of which one lies in the other, that one answers.
        let mut zones: Vec<(usize, &Zone)> = engine.zones().iter().enumerate().collect();
        zones.sort_by_key(|(_, zone)| std::cmp::Reverse(zone.apex_wire().labels()));
        for (index, zone) in zones {
            let apex = *zone.apex_wire();
            for name in usual_names(zone)? {
                table.add_name(engine, snapshot, index, &apex, &name)?;
            }
            let layout = Layout {
                question: None,
                apex: Some(&apex),
            };
            let denial = Answer::no_such_name(zone, snapshot.serial);
            let no_such_name = table.arena.add(&parts(&denial)?, layout)?;
            table.zones.push(Apex {
                index,
                name: apex,
                zone: zone.clone(),
                no_such_name,
            });
        }
        table.arena.shrink();
        table.tails.shrink_to_fit();
        Ok(table)
    }

    fn add_name(
        &mut self,
        engine: &Engine,
        snapshot: &Snapshot,
        zone: usize,
        apex: &WireName,
        name: &Name,
    ) -> Result<(), TableError> {
        let question = WireName::of(name);
        let layout = Layout {
            question: Some(&question),
            apex: Some(apex),
        };
        let ask = |kind, pick| {
            let class = DNSClass::IN;
            engine.answer(&Question { name, class, kind }, snapshot, pick)
        };
        let mut entries = Vec::new();
        for kind in KINDS {
            let first = self.tails.len();
            for variant in 0..engine.variants(&question, kind, snapshot) {
                let answer = ask(kind, variant);
                if answer.answers.is_empty() {
                    break;
                }
                let tail = self.arena.add(&parts(&answer)?, layout)?;
                self.tails.push(tail);
            }
            let count = self.tails.len() - first;
            if count > 0 {
                entries.push(Entry {
                    kind: kind.into(),
                    first,
                    count: u32::try_from(count).map_err(|_| TooLarge)?,
                    turn: AtomicU32::new(0),
                });
            }
        }
        let no_data = self.arena.add(&parts(&ask(NO_KIND, 0))?, layout)?;
        let node = Node {
            zone,
            before_apex: question.as_bytes().len() - apex.as_bytes().len(),
            entries,
            no_data,
        };
        self.names.entry(question.as_bytes().into()).or_insert(node);
        Ok(())
    }

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
            Some((apex, _)) => Found::Tail {
                tail: &apex.no_such_name,
                zone: apex.index,
                before_apex: name.as_bytes().len() - apex.name.as_bytes().len(),
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

/// An answer as parts of a tail.
///
/// # Errors
/// When hickory can't write a record.
pub fn parts(answer: &Answer) -> Result<Parts, ProtoError> {
    let (section, head) = if answer.answers.is_empty() {
        (Section::Authority, &answer.authorities)
    } else {
        (Section::Answer, &answer.answers)
    };
    Ok(Parts {
        code: answer.code.low(),
        authoritative: answer.authoritative,
        section,
        head: RrSet::group(head)?,
        proof: Vec::new(),
        extra: RrSet::group(&answer.additionals)?,
    })
}

/// The names of a zone that are written ahead.
fn usual_names(zone: &Zone) -> Result<Vec<Name>, ProtoError> {
    let apex = zone.apex();
    let [service, protocol] = render::SERVICE_LABELS;
    let mut names = vec![apex.prepend_label(render::HOSTS_LABEL)?];
    for filter in std::iter::once(0).chain(USUAL_FILTERS) {
        let name = match filter {
            0 => apex.clone(),
            filter => apex.prepend_label(format!("x{filter:x}"))?,
        };
        // An apex of more than 230 characters has no room for these.
        if let Ok(protocol) = name.prepend_label(protocol) {
            names.extend(protocol.prepend_label(service).ok());
            names.push(protocol);
        }
        names.push(name);
    }
    let servers = zone.name_servers().iter();
    names.extend(servers.filter(|server| zone.contains(server)).cloned());
    Ok(names)
}

#[cfg(test)]
mod tests;
