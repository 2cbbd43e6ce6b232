//! All probed addresses in memory, so that every question of the dashboard takes milliseconds and none of them the store.
//!
//! | part | what it does |
//! |---|---|
//! | this file | [`Roster`]: the lines, and how they are kept up to date |
//! | [`query`] | which lines a search means, and in which order (pure) |
//! | [`figures`] | distributions over all lines (pure) |
//!
//! The observer brings it up to date by what has changed in the store since the last time (`renew`); handlers read it
//! under a lock that nobody holds for longer than some milliseconds, and never across an await. A line takes some 250 bytes,
//! so a hundred thousand peers take 25 MB.

pub mod figures;
pub mod query;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::store::{GoodSet, PeerSummary, StoreError, StoreReader};

/// One probed address.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the store says of it.
    pub peer: PeerSummary,
    /// Whether it is in the good set.
    pub is_good: bool,
}

/// All probed addresses, by their address.
#[derive(Debug, Default)]
pub struct Roster {
    /// The change of the store up to which it is known; 0 before it was read.
    generation: u64,
    lines: BTreeMap<SocketAddr, Line>,
    /// By the numbers of the store's rows.
    addrs: HashMap<i64, SocketAddr>,
    /// Names of those that have one instead of an address, by what stands for it.
    names: HashMap<IpAddr, OverlayName>,
}

impl Roster {
    /// Takes in what is known of an address now.
    pub fn put(&mut self, peer: PeerSummary) {
        if let Some(old) = self.addrs.insert(peer.id, peer.addr)
            && old != peer.addr
        {
            // The number was free again.
            self.lines.remove(&old);
        }
        let is_good = self.lines.get(&peer.addr).is_some_and(|line| line.is_good);
        self.lines.insert(peer.addr, Line { peer, is_good });
    }

    /// Forgets all but those with these numbers.
    pub fn retain(&mut self, ids: &[i64]) {
        let kept: HashSet<i64> = ids.iter().copied().collect();
        self.addrs.retain(|id, _| kept.contains(id));
        self.lines.retain(|_, line| kept.contains(&line.peer.id));
    }

    /// Notes who is good now.
    pub fn mark_good(&mut self, good: &HashSet<SocketAddr>) {
        for (addr, line) in &mut self.lines {
            line.is_good = good.contains(addr);
        }
    }

    /// All of them, in the order of their addresses.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.values()
    }

    /// Those whose addresses come after this one, in their order.
    pub fn after(&self, addr: SocketAddr) -> impl Iterator<Item = &Line> {
        use std::ops::Bound::{Excluded, Unbounded};
        let rest = self.lines.range((Excluded(addr), Unbounded));
        rest.map(|(_, line)| line)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// An address as people write it.
    pub fn address(&self, addr: SocketAddr) -> PeerAddress {
        let name = self.names.get(&addr.ip());
        name.map_or(addr.into(), |name| PeerAddress::Named(*name, addr.port()))
    }
}

/// The roster, for those who read it and the one who renews it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedRoster(Arc<RwLock<Roster>>);

impl SharedRoster {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Roster> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Roster> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the store has got since the last time; `good` are those that are good now.
    pub(crate) async fn renew(
        &self,
        reader: &StoreReader,
        good: &GoodSet,
    ) -> Result<(), StoreError> {
        // Read first: a commit in between is read again the next time, and never missed.
        let generation = reader.generation().await?;
        let known = self.read().generation;
        let known = if generation < known { 0 } else { known };
        if generation > known {
            let mut changed = Vec::new();
            reader.summaries(known, |peer| changed.push(peer)).await?;
            let mut roster = self.write();
            if known == 0 {
                *roster = Roster::default();
            }
            changed.into_iter().for_each(|peer| roster.put(peer));
            roster.generation = generation;
        }
        let probed = reader.probed().await?;
        if self.read().len() != probed {
            let ids = reader.probed_ids().await?;
            self.write().retain(&ids);
        }
        let named: Vec<SocketAddr> = {
            let roster = self.read();
            let unnamed = |line: &&Line| !roster.names.contains_key(&line.peer.addr.ip());
            let lines = roster.lines().filter(unnamed);
            lines.map(|line| line.peer.addr).collect()
        };
        let named = reader.named(named.into_iter()).await?;
        let good: HashSet<SocketAddr> = good.peers.iter().map(|peer| peer.addr).collect();
        let mut roster = self.write();
        for (addr, peer) in named {
            roster
                .names
                .extend(peer.name().map(|name| (addr.ip(), name)));
        }
        roster.mark_good(&good);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quantumcoin::reachability::{Outcome, Place, Transports};

    use super::*;

    /// A peer that passed at 1,000 s.
    pub(crate) fn peer(id: i64, addr: &str) -> PeerSummary {
        PeerSummary {
            id,
            addr: addr.parse().unwrap(),
            last_outcome: Outcome::Ok,
            last_probe_at: 1_000,
            last_ok_at: Some(1_000),
            first_ok_at: Some(500),
            services: Some(9),
            protocol_version: Some(70_016),
            user_agent: Some("/a:1/".into()),
            height: Some(100),
            clock_offset_secs: Some(0),
            transports: Transports::NOISE,
            place: Place::default(),
            connect_ms: Some(20),
            uptime: Some(1.0),
        }
    }

    #[test]
    fn what_is_forgotten_goes_and_a_number_may_be_used_again() {
        let mut roster = Roster::default();
        for (id, addr) in [(1, "1.1.1.1:1"), (2, "2.2.2.2:2"), (3, "3.3.3.3:3")] {
            roster.put(peer(id, addr));
        }
        roster.mark_good(&["2.2.2.2:2".parse().unwrap()].into());
        roster.retain(&[2, 3]);
        assert_eq!(roster.len(), 2);
        // Row 3 was forgotten, and another address got its number.
        roster.put(peer(3, "4.4.4.4:4"));
        // News of somebody who is good do not change that.
        roster.put(peer(2, "2.2.2.2:2"));
        let all: Vec<_> = roster.lines().map(|l| (l.peer.id, l.is_good)).collect();
        assert_eq!(all, [(2, true), (3, false)]);
        let rest: Vec<_> = roster.after("2.2.2.2:2".parse().unwrap()).collect();
        assert_eq!(rest.len(), 1);
    }
}
