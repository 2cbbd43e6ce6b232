//! Writing a table.

use std::{cmp::Reverse, collections::BTreeMap, sync::atomic::AtomicU32};

use super::{Apex, Entry, Node, Table, TableError};
use crate::{
    answer::{Answer, Engine, Question},
    dnssec::{
        kind::{NSEC, RRSIG},
        prove::{Budget, Prover},
    },
    snapshot::Snapshot,
    wire::{
        CLASS_IN,
        kind::{A, AAAA, ANY, NS, SOA, SRV, TXT},
        name::WireName,
        tail::{Arena, Layout, Parts, Section, Tail, TooLarge},
    },
    zone::{Zone, render},
};

/// Types that names of a zone may have.
const KINDS: [u16; 7] = [A, AAAA, TXT, SRV, NS, SOA, ANY];

/// A type that no name has (NULL; RFC 1035, 3.3.10), to learn how the engine denies one.
const NO_KIND: u16 = 10;

impl Table {
    /// Writes all answers; `provers` are those of the engine's zones, of which some may not be signed. `bytes` is about how large
    /// it will be ([`Table::bytes`] of the one before), lest memory be taken twice while it grows.
    ///
    /// # Errors
    /// [`TableError`]: with zones that could be made, none is known.
    pub fn build(
        engine: &Engine,
        snapshot: &Snapshot,
        provers: &[Option<Prover>],
        bytes: usize,
    ) -> Result<Self, TableError> {
        let mut table = Self {
            // A sixteenth more than the last draw took: one byte too few would have it grow to twice its size for a moment.
            arena: Arena::with_capacity(bytes + bytes / 16),
            ..Self::default()
        };
        // The deepest first: of two zones of which one lies in the other, that one answers.
        let mut zones: Vec<(usize, &Zone)> = engine.zones().iter().enumerate().collect();
        zones.sort_by_key(|(_, zone)| Reverse(zone.apex_wire().labels()));
        for (index, zone) in zones {
            let source = Source {
                engine,
                snapshot,
                zone,
                prover: provers.get(index).and_then(Option::as_ref),
            };
            for name in usual_names(zone) {
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
        name: &WireName,
    ) -> Result<(), TableError> {
        let apex = source.zone.apex_wire();
        let layout = Layout {
            question: Some(name),
            apex: Some(apex),
        };
        let mut entries = Vec::new();
        for kind in KINDS {
            let first = self.tails.len();
            for variant in 0..source.engine.variants(name, kind, source.snapshot) {
                let answer = source.ask(name, kind, variant);
                if answer.answer.is_none() {
                    break;
                }
                let parts = source.proved(answer, name, kind)?;
                self.tails.push(self.arena.add(&parts, layout)?);
            }
            entries.extend(self.entry(kind, first)?);
        }
        for (kind, parts) in source.further(name)? {
            let first = self.tails.len();
            self.tails.push(self.arena.add(&parts, layout)?);
            entries.extend(self.entry(kind, first)?);
        }
        let denial = source.proved(source.ask(name, NO_KIND, 0), name, NO_KIND)?;
        let node = Node {
            zone,
            before_apex: name.as_bytes().len() - apex.as_bytes().len(),
            entries,
            no_data: self.arena.add(&denial, layout)?,
        };
        self.names.entry(name.as_bytes().into()).or_insert(node);
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
                    let parts = source.proved(denial.clone(), &name, NO_KIND)?;
                    Some(self.arena.add(&parts, layout)?)
                }
            };
            tails.insert(begin, tail);
        }
        Ok(tails)
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
    fn ask(&self, name: &WireName, kind: u16, variant: u64) -> Answer {
        let question = Question {
            name,
            class: CLASS_IN,
            kind,
        };
        self.engine.answer(&question, self.snapshot, variant)
    }

    fn proved(&self, answer: Answer, name: &WireName, kind: u16) -> Result<Parts, TableError> {
        let mut parts = parts(answer);
        if let Some(prover) = self.prover {
            let budget = &Budget::Unlimited;
            prover.prove(&mut parts, name, kind, self.zone, self.snapshot, budget)?;
        }
        Ok(parts)
    }

    /// Answers of a signed zone that the engine knows nothing of: the apex's keys, and each name's NSEC and its signature.
    fn further(&self, name: &WireName) -> Result<Vec<(u16, Parts)>, TableError> {
        let Some(prover) = self.prover else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let keys = prover.key_sets().iter();
        for set in keys.filter(|_| name == self.zone.apex_wire()) {
            let answer = Answer::of_set(set.clone());
            all.push((set.kind, self.proved(answer, name, set.kind)?));
        }
        for kind in [NSEC, RRSIG] {
            let none = Answer::no_data(self.zone, self.snapshot.serial);
            all.push((kind, self.proved(none, name, kind)?));
        }
        Ok(all)
    }
}

/// An answer as parts of a tail.
#[must_use]
pub fn parts(answer: Answer) -> Parts {
    let (section, head) = match (answer.answer, answer.denial) {
        (Some(set), _) => (Section::Answer, vec![set]),
        (None, denial) => (Section::Authority, denial.into_iter().collect()),
    };
    Parts {
        code: answer.code,
        authoritative: answer.authoritative,
        section,
        head,
        proof: Vec::new(),
        extra: answer.additionals,
    }
}

/// The names of a zone that are written ahead.
fn usual_names(zone: &Zone) -> Vec<WireName> {
    let apex = zone.apex_wire();
    let [service, protocol] = render::SERVICE_LABELS;
    let mut names: Vec<WireName> = apex
        .below_labels(&[render::HOSTS_LABEL])
        .into_iter()
        .collect();
    for filter in std::iter::once(&0).chain(&zone.selection().filters) {
        let name = match filter {
            0 => Some(*apex),
            filter => apex.below_labels(&[format!("x{filter:x}").as_bytes()]),
        };
        // An apex of more than 230 characters has no room for these.
        let Some(name) = name else {
            continue;
        };
        names.extend(name.below_labels(&[protocol]));
        names.extend(name.below_labels(&[service, protocol]));
        names.push(name);
    }
    names.extend(zone.own_servers());
    names
}
