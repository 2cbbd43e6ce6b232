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

/// Witnesses that overlap each other, two by two.
fn witness_pairs<'a>(heard: &'a [Heard<'a>]) -> Vec<(&'a Heard<'a>, &'a Heard<'a>)> {
    let witnesses: Vec<_> = heard.iter().filter(|one| one.witness).collect();
    let mut pairs = Vec::new();
    for (at, a) in witnesses.iter().enumerate() {
        for b in &witnesses[at + 1..] {
            if a.groups.overlap(&b.groups) {
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
    let contradicted = pairs
        .iter()
        .any(|(a, b)| differs(a) && differs(b) && one.groups.misses(&a.groups, &b.groups));
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
}

impl<'a> Heard<'a> {
    fn new(index: usize, answer: &'a Answer) -> Option<Self> {
        let addresses = answer.addresses.as_ref()?;
        Some(Self {
            index,
            addresses,
            groups: Groups::of(addresses),
            witness: answer.witness,
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
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::index::sample;

    use super::Standing::{Agrees, Alone, Disputed, Silent, Unclear};
    use super::*;

    /// An address in a netgroup of its own.
    fn addr(n: u16) -> SocketAddr {
        let [a, b] = n.to_be_bytes();
        SocketAddr::from(([20 + a, b, 0, 1], 8333))
    }

    fn said(by: impl IntoIterator<Item = u16>) -> Answer {
        Answer {
            addresses: Some(by.into_iter().map(addr).collect()),
            witness: true,
        }
    }

    fn silent() -> Answer {
        Answer {
            addresses: None,
            witness: true,
        }
    }

    fn standings(answers: &[Answer]) -> Vec<Standing> {
        judge(answers).iter().map(|v| v.standing).collect()
    }

    #[test]
    fn a_liar_stands_alone() {
        let answers = [said(1..5), said(2..6), said(90..94), silent()];
        let verdicts = judge(&answers);
        let expected = [Agrees, Agrees, Alone, Silent];
        assert_eq!(standings(&answers), expected);
        assert_eq!(verdicts[0].agrees_with, [1]);
        assert_eq!((verdicts[0].shared, verdicts[2].shared), (3, 0));
    }

    #[test]
    fn one_word_against_another_says_nothing() {
        assert_eq!(standings(&[said(1..5), said(90..94)]), [Unclear; 2]);
        assert_eq!(standings(&[said(1..5)]), [Unclear]);
        assert!(standings(&[]).is_empty());
        let three = [said(1..9), said(20..29), said(40..49)];
        assert_eq!(standings(&three), [Unclear; 3]);
    }

    #[test]
    fn the_seed_that_names_one_address_names_the_same_to_all() {
        assert_eq!(
            standings(&[said([1]), said([1]), said([2])]),
            [Agrees, Agrees, Alone]
        );
    }

    #[test]
    fn an_overlap_that_may_be_chance_accuses_nobody() {
        let (a, b, c) = (said(0..24), said(23..47), said(60..84));
        assert_eq!(standings(&[a, b, c]), [Agrees, Agrees, Unclear]);
        let (a, b, c) = (said(0..24), said(12..36), said(60..84));
        assert_eq!(standings(&[a, b, c]), [Agrees, Agrees, Alone]);
    }

    #[test]
    fn a_shared_netgroup_is_an_overlap() {
        let near: SocketAddr = "20.1.77.77:9000".parse().unwrap();
        let neighbour = Answer {
            addresses: Some([near].into()),
            witness: true,
        };
        let answers = [said(1..5), said(1..5), neighbour];
        assert_eq!(standings(&answers), [Agrees; 3]);
        assert_eq!(judge(&answers)[2].shared, 0);
    }

    #[test]
    fn two_camps_are_a_dispute() {
        let answers = [said(1..5), said(1..5), said(90..94), said(90..94)];
        assert_eq!(standings(&answers), [Disputed; 4]);
    }

    #[test]
    fn liars_do_not_hide_each_other() {
        let answers = [said(1..5), said(1..5), said(90..122), said(200..203)];
        assert_eq!(standings(&answers), [Agrees, Agrees, Alone, Alone]);
    }

    #[test]
    fn denial_is_an_answer_and_silence_is_none() {
        let answers = [said(1..5), said(1..5), said([])];
        assert_eq!(standings(&answers), [Agrees, Agrees, Alone]);
        let answers = [said([]), said([]), said(1..5)];
        assert_eq!(standings(&answers), [Agrees, Agrees, Alone]);
        let answers = [said(1..5), said(1..5), silent()];
        assert_eq!(standings(&answers), [Agrees, Agrees, Silent]);
    }

    #[test]
    fn families_are_compared_apart() {
        let v6: SocketAddr = "[2a01:4f8::1]:8333".parse().unwrap();
        let only_v6 = Answer {
            addresses: Some([v6].into()),
            witness: true,
        };
        let answers = [said(1..5), said(1..5), only_v6];
        assert_eq!(standings(&answers), [Agrees, Agrees, Unclear]);
    }

    #[test]
    fn who_may_only_repeat_another_accuses_nobody() {
        let mut answers = [said(1..5), said(1..5), said(90..94)];
        answers[0].witness = false;
        assert_eq!(standings(&answers), [Agrees, Agrees, Unclear]);
        let mut answers = [said(90..94), said(1..5), said(1..5)];
        answers[0].witness = false;
        assert_eq!(
            standings(&answers),
            [Alone, Agrees, Agrees],
            "but can be accused"
        );
    }

    #[test]
    fn honest_draws_are_rarely_suspected_and_a_liar_is_found() {
        let mut rng = StdRng::seed_from_u64(1);
        for (size, drawn) in [
            (10, 4),
            (24, 8),
            (48, 24),
            (64, 16),
            (200, 24),
            (1_000, 32),
            (3_000, 24),
        ] {
            let mut suspected = 0;
            for _ in 0..400 {
                let mut answers: Vec<_> = (0..4)
                    .map(|_| said(sample(&mut rng, size, drawn).iter().map(|n| n as u16)))
                    .collect();
                // As the system's resolver is among the providers.
                answers[0].witness = false;
                let honest = standings(&answers);
                suspected += usize::from(honest.iter().any(|s| s.is_suspect()));
                answers[3] = said((0..drawn).map(|n| 10_000 + n as u16));
                if size <= drawn * 2 {
                    assert_eq!(standings(&answers)[3], Alone, "{drawn} of {size}");
                }
            }
            assert!(suspected <= 20, "{suspected} of 400 at {drawn} of {size}");
        }
    }

    fn any_answers() -> impl Strategy<Value = Vec<Answer>> {
        let addresses = proptest::option::of(btree_set((0_u16..40).prop_map(addr), 0..12));
        let answer = (addresses, any::<bool>())
            .prop_map(|(addresses, witness)| Answer { addresses, witness });
        vec(answer, 0..7)
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(answers in any_answers(), by in 0_usize..7) {
            let mut rotated = answers.clone();
            let by = if answers.is_empty() { 0 } else { by % answers.len() };
            rotated.rotate_left(by);
            let mut expected = standings(&answers);
            expected.rotate_left(by);
            prop_assert_eq!(standings(&rotated), expected);
        }

        #[test]
        fn below_three_answers_nobody_is_suspect(mut answers in any_answers()) {
            let mut heard = 0;
            for answer in &mut answers {
                heard += usize::from(answer.addresses.is_some());
                if heard > 2 {
                    answer.addresses = None;
                }
            }
            prop_assert!(standings(&answers).iter().all(|s| !s.is_suspect()));
        }

        #[test]
        fn a_common_address_makes_all_agree(mut answers in any_answers()) {
            for named in answers.iter_mut().filter_map(|a| a.addresses.as_mut()) {
                named.insert(addr(500));
            }
            let heard = answers.iter().filter(|a| a.addresses.is_some()).count();
            for (answer, standing) in answers.iter().zip(standings(&answers)) {
                let expected = match (&answer.addresses, heard) {
                    (None, _) => Silent,
                    (Some(_), 1) => Unclear,
                    (Some(_), _) => Agrees,
                };
                prop_assert_eq!(standing, expected);
            }
        }

        #[test]
        fn agreement_is_mutual_and_standing_follows_from_it(answers in any_answers()) {
            let verdicts = judge(&answers);
            for (index, verdict) in verdicts.iter().enumerate() {
                for other in &verdict.agrees_with {
                    prop_assert!(verdicts[*other].agrees_with.contains(&index));
                }
                let named = answers[index].addresses.as_ref().map_or(0, BTreeSet::len);
                prop_assert!(verdict.shared <= named);
                let overlaps = !verdict.agrees_with.is_empty();
                prop_assert_eq!(overlaps, matches!(verdict.standing, Agrees | Disputed));
                prop_assert_eq!(answers[index].addresses.is_none(), verdict.standing == Silent);
            }
        }

        #[test]
        fn it_is_a_chance(own in 0_usize..200, a in 1_usize..200, b in 1_usize..200, shared in 0_usize..200) {
            let chance = chance_to_miss(own, a, b, shared.min(a).min(b));
            prop_assert!((0.0..=1.0).contains(&chance), "{}", chance);
        }
    }
}
