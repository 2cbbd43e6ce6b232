//! Whom to dial: drawn from the tables so that each netgroup has its chance.

use std::collections::HashSet;
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::IteratorRandom;

use super::{AddressBook, Entry, Table};

/// By so much the chance of each address grows while none is taken: slowly, so that a netgroup with a thousandth of
/// another's addresses is still drawn as often, and fast enough that a draw ends after a few hundred.
const KINDNESS: f64 = 1.03;

/// How addresses are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Each netgroup of a table with equal chances, however many addresses it has there.
    ByNetgroup,
    /// Each bucket with equal chances, as in Bitcoin Core; to compare with.
    ByBucket,
}

impl AddressBook {
    /// Up to `count` addresses to dial now, at most one of each netgroup and none of the netgroups of `taken`. An
    /// `excluded` address is left out without taking its netgroup's place. On devnets, where all share one netgroup, an
    /// address is its own group.
    ///
    /// Each is drawn from the met or the unmet with equal chances, and there by netgroup ([`Draw::ByNetgroup`]): with
    /// ten thousand addresses in 32 netgroups somebody is 32 of a thousand (`labs attack eclipse`). Those that failed lately
    /// are drawn more rarely.
    pub fn choose<R: Rng>(
        &self,
        count: usize,
        taken: &HashSet<SocketAddr>,
        excluded: impl Fn(&SocketAddr) -> bool,
        now: u64,
        rng: &mut R,
    ) -> Vec<SocketAddr> {
        let mut groups = self.groups(taken);
        let mut chosen = Vec::new();
        let mut tables = [self.tried.buckets(), self.new.buckets()];
        while chosen.len() < count {
            let eligible = |addr: &SocketAddr| {
                self.is_due(addr, now)
                    && !taken.contains(addr)
                    && !excluded(addr)
                    && !groups.contains(&self.group(*addr))
            };
            let [tried, new] = &mut tables;
            let (first, second) = if rng.random() {
                ((&self.tried, tried), (&self.new, new))
            } else {
                ((&self.new, new), (&self.tried, tried))
            };
            let drawn = self.draw(first.0, first.1, eligible, rng);
            let Some(addr) = drawn.or_else(|| self.draw(second.0, second.1, eligible, rng)) else {
                break;
            };
            groups.insert(self.group(addr));
            chosen.push(addr);
        }
        chosen
    }

    /// Whom to dial only to see who is there: one whose place another wants, or else somebody whom we have not met.
    pub fn feeler<R: Rng>(
        &mut self,
        excluded: impl Fn(&SocketAddr) -> bool,
        now: u64,
        rng: &mut R,
    ) -> Option<SocketAddr> {
        self.settle(now);
        let eligible = |addr: &SocketAddr| self.is_due(addr, now) && !excluded(addr);
        let contested = self.contests.iter().filter_map(|contest| {
            let holder = self.tried.get(self.met_place(contest.newcomer));
            holder.filter(eligible)
        });
        let holder = contested.choose(rng);
        holder.or_else(|| self.draw(&self.new, &mut self.new.buckets(), eligible, rng))
    }

    /// Draws one of `table`'s eligible addresses. Buckets that have none leave `buckets`.
    fn draw<R: Rng>(
        &self,
        table: &Table,
        buckets: &mut Vec<usize>,
        eligible: impl Fn(&SocketAddr) -> bool,
        rng: &mut R,
    ) -> Option<SocketAddr> {
        // Grows with each address that is not taken, so that also the least likely is, in the end.
        let mut kindness = 1.0;
        loop {
            let index = rng.random_range(0..buckets.len().max(1));
            let candidates = table.bucket(*buckets.get(index)?);
            let Some(addr) = candidates.filter(&eligible).choose(rng) else {
                buckets.swap_remove(index);
                continue;
            };
            let weight = match self.draw {
                Draw::ByNetgroup => f64::from(table.places_of(&self.group(addr)).max(1)).recip(),
                Draw::ByBucket => 1.0,
            };
            let chance = self.entries.get(&addr).map_or(0.0, Entry::chance);
            if rng.random_bool((chance * weight * kindness).min(1.0)) {
                return Some(addr);
            }
            kindness *= KINDNESS;
        }
    }

    fn is_due(&self, addr: &SocketAddr, now: u64) -> bool {
        self.entries.get(addr).is_some_and(|e| e.not_before <= now)
    }

    /// Those of `among` that may be dialled now, at most one of each netgroup and none of the netgroups of `taken`. What the
    /// book does not know it holds nothing against.
    pub fn choose_among(
        &self,
        among: &[SocketAddr],
        taken: &HashSet<SocketAddr>,
        excluded: impl Fn(&SocketAddr) -> bool,
        now: u64,
    ) -> Vec<SocketAddr> {
        let mut groups = self.groups(taken);
        let due = |addr: &SocketAddr| self.entries.get(addr).is_none_or(|e| e.not_before <= now);
        let eligible = among
            .iter()
            .filter(|addr| due(addr) && !taken.contains(addr) && !excluded(addr));
        eligible
            .filter(|addr| groups.insert(self.group(**addr)))
            .copied()
            .collect()
    }

    fn groups(&self, of: &HashSet<SocketAddr>) -> HashSet<String> {
        of.iter().map(|addr| self.group(*addr)).collect()
    }
}
