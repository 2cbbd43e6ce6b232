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
    collections::{BTreeMap, HashMap},
    ops::Bound::{Included, Unbounded},
    sync::atomic::{AtomicU32, Ordering},
};

use hickory_proto::{
    ProtoError,
    rr::{DNSClass, Name, RecordType},
};

use crate::{
    answer::{Answer, Engine, Question},
    dnssec::{
        denial::FILTERS,
        kind as dnssec_kind,
        prove::{Budget, ProveError, Prover},
    },
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
    /// Writes all answers; `provers` are those of the engine's zones, of which some may not be signed.
    ///
    /// # Errors
    /// [`TableError`]: with zones that could be made, none is known.
    pub fn build(
        engine: &Engine,
        snapshot: &Snapshot,
        provers: &[Option<Prover>],
    ) -> Result<Self, TableError> {
        let mut table = Self::default();
        // The deepest first: of two zones of which one lies in the other, that one answers.
        let mut zones: Vec<(usize, &Zone)> = engine.zones().iter().enumerate().collect();
        zones.sort_by_key(|(_, zone)| std::cmp::Reverse(zone.apex_wire().labels()));
        for (index, zone) in zones {
            let source = Source {
                engine,
                snapshot,
                zone,
                prover: provers.get(index).and_then(Option::as_ref),
            };
            for name in usual_names(zone)? {
                table.add_name(&source, index, &name)?;
            }
            let gaps = table.gaps(&source)?;
            table.zones.push(Apex {
                index,
                name: *zone.apex_wire(),
                zone: zone.clone(),
                signed: source.prover.is_some(),
                gaps,
            });
        }
        table.arena.shrink();
        table.tails.shrink_to_fit();
        Ok(table)
    }

    fn add_name(
        &mut self,
        source: &Source<'_>,
        zone: usize,
        name: &Name,
    ) -> Result<(), TableError> {
        let question = WireName::of(name);
        let apex = source.zone.apex_wire();
        let layout = Layout {
            question: Some(&question),
            apex: Some(apex),
        };
        let mut entries = Vec::new();
        for kind in KINDS {
            let first = self.tails.len();
            for variant in 0..source.engine.variants(&question, kind, source.snapshot) {
                let answer = source.ask(name, kind, variant);
                if answer.answers.is_empty() {
                    break;
                }
                let parts = source.proved(&answer, &question, kind.into())?;
                self.tails.push(self.arena.add(&parts, layout)?);
            }
            entries.extend(self.entry(kind.into(), first)?);
        }
        for parts in source.further(&question)? {
            let first = self.tails.len();
            self.tails.push(self.arena.add(&parts, layout)?);
            let kind = parts.head.first().map_or(0, |set| set.kind);
            entries.extend(self.entry(kind, first)?);
        }
        let denial = source.ask(name, NO_KIND, 0);
        let denial = source.proved(&denial, &question, NO_KIND.into())?;
        let node = Node {
            zone,
            before_apex: question.as_bytes().len() - apex.as_bytes().len(),
            entries,
            no_data: self.arena.add(&denial, layout)?,
        };
        self.names.entry(question.as_bytes().into()).or_insert(node);
        Ok(())
    }

    /// The answers that were written since `first`.
    fn entry(&self, kind: u16, first: usize) -> Result<Option<Entry>, TooLarge> {
        let count = u32::try_from(self.tails.len() - first).map_err(|_| TooLarge)?;
        Ok((count > 0).then(|| Entry {
            kind,
            first,
            count,
            turn: AtomicU32::new(0),
        }))
    }

    fn gaps(&mut self, source: &Source<'_>) -> Result<BTreeMap<Vec<u8>, Option<Tail>>, TableError> {
        let apex = source.zone.apex_wire();
        let layout = Layout {
            question: None,
            apex: Some(apex),
        };
        let denial = Answer::no_such_name(source.zone, source.snapshot.serial);
        let gaps = match source.prover {
            None => vec![(Vec::new(), Some(*apex))],
            Some(prover) => prover.chain().gaps(),
        };
        let mut tails = BTreeMap::new();
        for (begin, name) in gaps {
            let tail = match name {
                None => None,
                Some(name) => {
                    let parts = source.proved(&denial, &name, NO_KIND.into())?;
                    Some(self.arena.add(&parts, layout)?)
                }
            };
            tails.insert(begin, tail);
        }
        Ok(tails)
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

/// Where a zone's answers come from.
struct Source<'a> {
    engine: &'a Engine,
    snapshot: &'a Snapshot,
    zone: &'a Zone,
    prover: Option<&'a Prover>,
}

impl Source<'_> {
    fn ask(&self, name: &Name, kind: RecordType, variant: u64) -> Answer {
        let class = DNSClass::IN;
        self.engine
            .answer(&Question { name, class, kind }, self.snapshot, variant)
    }

    fn proved(&self, answer: &Answer, name: &WireName, kind: u16) -> Result<Parts, TableError> {
        let mut parts = parts(answer)?;
        if let Some(prover) = self.prover {
            let budget = &Budget::Unlimited;
            prover.prove(&mut parts, name, kind, self.zone, self.snapshot, budget)?;
        }
        Ok(parts)
    }

    /// Answers of a signed zone that the engine knows nothing of: the apex's keys, and each name's NSEC and a signature.
    fn further(&self, name: &WireName) -> Result<Vec<Parts>, TableError> {
        let Some(prover) = self.prover else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let keys = prover.key_sets().iter();
        for set in keys.filter(|_| name == self.zone.apex_wire()) {
            let mut parts = Parts {
                code: 0,
                authoritative: true,
                section: Section::Answer,
                head: vec![set.clone()],
                proof: Vec::new(),
                extra: Vec::new(),
            };
            let budget = &Budget::Unlimited;
            prover.prove(&mut parts, name, set.kind, self.zone, self.snapshot, budget)?;
            all.push(parts);
        }
        let none = Answer::no_data(self.zone, self.snapshot.serial);
        for kind in [dnssec_kind::NSEC, dnssec_kind::RRSIG] {
            all.push(self.proved(&none, name, kind)?);
        }
        Ok(all)
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
