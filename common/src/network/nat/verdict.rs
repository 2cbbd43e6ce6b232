//! Whether an address of ours can be reached: what peers' dial-backs have shown. Pure.
//!
//! A dial-back that arrives is a proof, for it shows the identity of the peer that was asked; what a peer only says counts
//! when it says that it could not reach us, and weakly. So one liar changes nothing: it takes two netgroups to be
//! reachable, and two that have failed since the last arrival to be unreachable.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Netgroups that must agree: one alone may lie, or be on our side of a filter.
const NEEDED: usize = 2;

/// How long what was seen counts: four times as long as a verdict stands before peers are asked anew.
const COUNTS_FOR: Duration = Duration::from_secs(2 * 3_600);

/// Netgroups remembered; we have fewer outbound peers.
const MAX_GROUPS: usize = 64;

/// Whether others can open connections to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reachability {
    /// Too few peers have tried.
    #[default]
    Unknown,
    /// Peers of different netgroups did.
    Reachable,
    /// Peers of different netgroups could not, and none could since.
    Unreachable,
}

impl Reachability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Reachable, Self::Unreachable];

    /// Bounded label for metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What is known of one address.
#[derive(Debug, Default)]
pub(in crate::network) struct Verdict {
    of: Option<SocketAddr>,
    arrived: HashMap<String, Instant>,
    failed: HashMap<String, Instant>,
}

impl Verdict {
    /// From now on it is about this address; what was known of another is forgotten.
    pub(in crate::network) fn about(&mut self, addr: Option<SocketAddr>) {
        if self.of != addr {
            *self = Self {
                of: addr,
                ..Self::default()
            };
        }
    }

    /// Whether it is about this address.
    pub(in crate::network) fn is_about(&self, addr: SocketAddr) -> bool {
        self.of == Some(addr)
    }

    /// A peer of that netgroup, asked to, has dialled us.
    pub(in crate::network) fn arrived(&mut self, group: String, now: Instant) {
        self.failed.remove(&group);
        note(&mut self.arrived, group, now);
    }

    /// A peer of that netgroup says that it could not.
    pub(in crate::network) fn failed(&mut self, group: String, now: Instant) {
        note(&mut self.failed, group, now);
    }

    /// Netgroups whose dial-backs have arrived.
    pub(in crate::network) fn confirmations(&self, now: Instant) -> usize {
        self.arrived.values().filter(|at| counts(**at, now)).count()
    }

    /// What follows: what most lately two netgroups have shown.
    pub(in crate::network) fn reachability(&self, now: Instant) -> Reachability {
        let latest = self.arrived.values().max().copied();
        let since = |at: &&Instant| latest.is_none_or(|latest| **at > latest) && counts(**at, now);
        if self.failed.values().filter(since).count() >= NEEDED {
            Reachability::Unreachable
        } else if self.confirmations(now) >= NEEDED {
            Reachability::Reachable
        } else {
            Reachability::Unknown
        }
    }

    /// Whether enough netgroups have shown within this time that they can reach us: then nobody needs to be asked.
    pub(in crate::network) fn is_settled(&self, within: Duration, now: Instant) -> bool {
        let fresh = |at: &&Instant| now.saturating_duration_since(**at) < within;
        let enough = self.arrived.values().filter(fresh).count() >= NEEDED;
        enough && self.reachability(now) == Reachability::Reachable
    }

    /// Whether a peer of that netgroup can tell us something new: it has not been heard for as long as `age`.
    pub(in crate::network) fn wants(&self, group: &str, age: Duration, now: Instant) -> bool {
        let heard = [self.arrived.get(group), self.failed.get(group)];
        let latest = heard.into_iter().flatten().max();
        latest.is_none_or(|at| now.saturating_duration_since(*at) >= age)
    }
}

fn note(seen: &mut HashMap<String, Instant>, group: String, now: Instant) {
    if seen.len() >= MAX_GROUPS && !seen.contains_key(&group) {
        let oldest = seen.iter().min_by_key(|(_, at)| **at);
        if let Some(oldest) = oldest.map(|(group, _)| group.clone()) {
            seen.remove(&oldest);
        }
    }
    seen.insert(group, now);
}

fn counts(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < COUNTS_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: usize) -> String {
        format!("{n}.0.0.0/16")
    }

    #[test]
    fn two_netgroups_make_a_verdict_and_one_liar_none() {
        let now = Instant::now();
        let mut verdict = Verdict::default();
        for _ in 0..9 {
            verdict.failed(group(1), now);
        }
        assert_eq!(verdict.reachability(now), Reachability::Unknown);
        verdict.arrived(group(2), now);
        verdict.arrived(group(2), now);
        assert_eq!(verdict.reachability(now), Reachability::Unknown);
        verdict.arrived(group(3), now);
        assert_eq!(verdict.reachability(now), Reachability::Reachable);
        // A liar who had arrived before, and says that he could not.
        let later = now + Duration::from_secs(1);
        verdict.failed(group(3), later);
        assert_eq!(verdict.reachability(later), Reachability::Reachable);
        // Two: something has changed.
        verdict.failed(group(4), later);
        assert_eq!(verdict.reachability(later), Reachability::Unreachable);
        let last = later + Duration::from_secs(1);
        verdict.arrived(group(2), last);
        assert_eq!(verdict.reachability(last), Reachability::Reachable);
    }

    #[test]
    fn unreachable_is_what_nobody_reaches() {
        let now = Instant::now();
        let mut verdict = Verdict::default();
        verdict.failed(group(1), now);
        verdict.failed(group(2), now);
        assert_eq!(verdict.reachability(now), Reachability::Unreachable);
        let later = now + Duration::from_secs(1);
        verdict.arrived(group(3), later);
        assert_eq!(verdict.reachability(later), Reachability::Unknown);
    }

    #[test]
    fn what_was_seen_ages_and_belongs_to_an_address() {
        let start = Instant::now();
        let mut verdict = Verdict::default();
        let addr = |n: u8| Some(SocketAddr::from(([9, 9, 9, n], 8333)));
        verdict.about(addr(1));
        verdict.arrived(group(1), start);
        verdict.arrived(group(2), start);
        verdict.about(addr(1));
        assert_eq!(verdict.confirmations(start), 2);
        let half = start + COUNTS_FOR / 2;
        assert!(verdict.wants(&group(1), COUNTS_FOR / 2, half));
        assert!(!verdict.wants(&group(1), COUNTS_FOR, half));
        assert!(verdict.wants(&group(9), COUNTS_FOR, half));
        assert_eq!(verdict.confirmations(start + COUNTS_FOR), 0);
        assert!(verdict.is_settled(COUNTS_FOR, half) && !verdict.is_settled(COUNTS_FOR / 2, half));
        verdict.about(addr(2));
        assert_eq!(verdict.reachability(start), Reachability::Unknown);
        assert!(!verdict.is_settled(COUNTS_FOR, start));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut verdict = Verdict::default();
        for n in 0..1_000 {
            verdict.arrived(group(n), now + Duration::from_millis(n as u64));
        }
        assert_eq!(verdict.arrived.len(), MAX_GROUPS);
        assert!(verdict.arrived.contains_key(&group(999)));
    }
}
