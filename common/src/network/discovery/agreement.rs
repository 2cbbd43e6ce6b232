//! Whether answers to the same question agree. Pure.
//!
//! Honest resolvers do not give equal answers: a seed draws each answer anew from a larger set, and resolvers keep what
//! they drew for a minute. So nobody is suspected because its answer differs. The rule:
//!
//! * Two answers *overlap* when they share a netgroup (thus also when they share an address), or when both say that
//!   there is nothing.
//! * One answer is *contradicted* by two others when those two overlap, it overlaps neither of them, and that can't
//!   well be chance. From how much the two share, the size of the set that they were drawn from follows (as one counts
//!   fish by marking them: `|a| · |b| / |a ∩ b|`), and from that the chance that a third draw misses both. The size is
//!   taken a standard deviation larger than it looks, and the chance must be below 0.001. IPv4 and IPv6 are
//!   compared apart: a provider that only got one of them through has not contradicted the other.
//! * Who is contradicted and overlaps nobody is [`Standing::Alone`]; who is contradicted and overlaps somebody stands
//!   in one of two camps, [`Standing::Disputed`]: who of them lies can't be told.
//! * Below three answers nobody is contradicted: one word against another says nothing.
//! * A *secure* answer (DNSSEC) is the zone's own word: nobody contradicts it, and where there is one, nobody is
//!   contradicted without one: any number of resolvers that lie alike do not outvote it.
//!
//! Only witnesses contradict: parties that can be expected to have asked for themselves. The system's resolver is none,
//! since it often only hands on what one of the others has in its cache; two equal copies would make a third, honest
//! answer look alone.
//!
//! Simulated with random draws of the system's resolver and three others: in the worst case (4 addresses of 10) somebody
//! is suspected in 2 % of honest rounds, with the 24 addresses of our seeders' answers in 0.5 %. With these 24, two honest
//! witnesses always find a liar when there are up to 50 good addresses, three times of four at 100, and hardly ever at
//! 400: then honest answers have little in common either. A liar that mixes in one true netgroup is not found. This is a
//! smoke detector; what keeps a liar from harm is that nobody's answer is more than a share of the address book.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::Serialize;

use crate::reachability::netgroup::Netgroup;

/// An answer is contradicted when it would miss two others by chance less often than this.
const CHANCE: f64 = 0.001;

/// How an answer stands to those of others, the most trustworthy first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It overlaps another answer, and nothing contradicts it.
    Agrees,
    /// There is too little to compare it with.
    Unclear,
    /// There was no answer.
    #[default]
    Silent,
    /// Some answers overlap it, and others contradict it.
    Disputed,
    /// Others contradict it, and none overlaps it.
    Alone,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Agrees,
        Self::Unclear,
        Self::Silent,
        Self::Disputed,
        Self::Alone,
    ];

    /// As in logs and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Unclear => "unclear",
            Self::Silent => "silent",
            Self::Disputed => "disputed",
            Self::Alone => "alone",
        }
    }

    /// Whether others contradict it.
    #[must_use]
    pub fn is_suspect(self) -> bool {
        matches!(self, Self::Disputed | Self::Alone)
    }
}

/// What one party said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// `None` when nothing came; an empty set when the answer was that there is nothing.
    pub addresses: Option<BTreeSet<SocketAddr>>,
    /// Whether its word counts against others; see the module's rule.
    pub witness: bool,
    /// Whether it is signed by the zone, all of it.
    pub secure: bool,
}

/// What the others' answers say of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// How it stands.
    pub standing: Standing,
    /// Indices of the answers that overlap it.
    pub agrees_with: Vec<usize>,
    /// How many of its addresses others named too.
    pub shared: usize,
}

/// Compares each of the answers with all others; a verdict for each, in the same order.
#[must_use]
pub fn judge(answers: &[Answer]) -> Vec<Verdict> {
    let heard: Vec<Heard<'_>> = answers
        .iter()
        .enumerate()
        .filter_map(|(index, answer)| Heard::new(index, answer))
        .collect();
    let pairs = witness_pairs(&heard);
    let mut verdicts = vec![Verdict::default(); answers.len()];
    for one in &heard {
        verdicts[one.index] = verdict(one, &heard, &pairs);
    }
    verdicts
}

/// Witnesses that overlap each other, two by two; a secure one among them when there is any. Who hands on what the zone
/// signed is a witness, whoever he is.
fn witness_pairs<'a>(heard: &'a [Heard<'a>]) -> Vec<(&'a Heard<'a>, &'a Heard<'a>)> {
    let witnesses: Vec<_> = heard
        .iter()
        .filter(|one| one.witness || one.secure)
        .collect();
    let some_secure = witnesses.iter().any(|one| one.secure);
    let mut pairs = Vec::new();
    for (at, a) in witnesses.iter().enumerate() {
        for b in &witnesses[at + 1..] {
            let counts = a.secure || b.secure || !some_secure;
            if counts && a.groups.overlap(&b.groups) {
                pairs.push((*a, *b));
            }
        }
    }
    pairs
}

fn verdict(one: &Heard<'_>, heard: &[Heard<'_>], pairs: &[(&Heard<'_>, &Heard<'_>)]) -> Verdict {
    let index = one.index;
    let others = || heard.iter().filter(move |other| other.index != index);
    let agrees_with: Vec<usize> = others()
        .filter(|other| one.groups.overlap(&other.groups))
        .map(|other| other.index)
        .collect();
    let differs = |from: &Heard<'_>| from.index != index && !agrees_with.contains(&from.index);
    let contradicts = |(a, b): &(&Heard<'_>, &Heard<'_>)| {
        differs(a) && differs(b) && one.groups.misses(&a.groups, &b.groups)
    };
    let contradicted = !one.secure && pairs.iter().any(contradicts);
    let shared = one
        .addresses
        .iter()
        .filter(|addr| others().any(|other| other.addresses.contains(*addr)))
        .count();
    Verdict {
        standing: match (contradicted, agrees_with.is_empty()) {
            (true, true) => Standing::Alone,
            (true, false) => Standing::Disputed,
            (false, true) => Standing::Unclear,
            (false, false) => Standing::Agrees,
        },
        agrees_with,
        shared,
    }
}

/// An answer that came, and its place among all.
#[derive(Debug)]
struct Heard<'a> {
    index: usize,
    addresses: &'a BTreeSet<SocketAddr>,
    groups: Groups,
    witness: bool,
    secure: bool,
}

impl<'a> Heard<'a> {
    fn new(index: usize, answer: &'a Answer) -> Option<Self> {
        let addresses = answer.addresses.as_ref()?;
        Some(Self {
            index,
            addresses,
            groups: Groups::of(addresses),
            witness: answer.witness,
            secure: answer.secure,
        })
    }
}

/// The netgroups of an answer.
#[derive(Debug)]
struct Groups {
    v4: BTreeSet<Netgroup>,
    v6: BTreeSet<Netgroup>,
}

impl Groups {
    fn of(addresses: &BTreeSet<SocketAddr>) -> Self {
        let all = addresses.iter().map(|addr| Netgroup::of(addr.ip()));
        let (v4, v6) = all.partition(|group| matches!(group, Netgroup::V4(_)));
        Self { v4, v6 }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn overlap(&self, other: &Self) -> bool {
        let both_deny = self.is_empty() && other.is_empty();
        both_deny || !self.v4.is_disjoint(&other.v4) || !self.v6.is_disjoint(&other.v6)
    }

    /// Whether it can't well be chance that this overlaps neither `a` nor `b`, which overlap each other.
    fn misses(&self, a: &Self, b: &Self) -> bool {
        // "Nothing" against "something" is no matter of chance.
        if self.is_empty() || a.is_empty() {
            return true;
        }
        [(&self.v4, &a.v4, &b.v4), (&self.v6, &a.v6, &b.v6)]
            .into_iter()
            .any(|(own, a, b)| {
                let shared = a.intersection(b).count();
                chance_to_miss(own.len(), a.len(), b.len(), shared) < CHANCE
            })
    }
}

/// The chance that a draw of `own` shares nothing with two draws of `a` and `b` from the same set, which share `shared`.
fn chance_to_miss(own: usize, a: usize, b: usize, shared: usize) -> f64 {
    if own == 0 || shared == 0 {
        return 1.0;
    }
    let (a, b, shared) = (a as f64, b as f64, shared as f64);
    let size = a * b / shared;
    // The variance of a hypergeometric distribution; nought when one draw holds the other.
    let variance = if size > 1.0 {
        (a - shared) * (b - shared) / (size - 1.0)
    } else {
        0.0
    };
    let least_shared = shared - variance.sqrt();
    if least_shared <= 0.0 {
        return 1.0;
    }
    let size = a * b / least_shared;
    let taken = a + b - shared;
    if taken + own as f64 > size {
        return 0.0;
    }
    (0..own)
        .map(|drawn| (size - taken - drawn as f64) / (size - drawn as f64))
        .product()
}

#[cfg(test)]
mod tests;
