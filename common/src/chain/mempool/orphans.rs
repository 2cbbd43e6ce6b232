//! Transactions whose inputs are not known yet.
//!
//! What they pay and whether they are right is not known either, so they are a loan to the peer that sent
//! them: held to its account, few, small, for minutes, and gone with it. A transaction that several peers
//! sent is on each of their accounts and stays as long as one of them does, so nobody can push it out by
//! sending it first and leaving. It is kept by its wtxid: a copy with a spoilt witness keeps no good one out.
//!
//! # Security
//!
//! In memory: only witnesses of standard shape are kept (the caller's check), so a transaction is at most 26
//! inputs and takes little more than its bytes; all have at most 4 MB together, and 100 × 26 places in the
//! index of parents. A payment of one input has 3.9 kB, so the ten of an honest peer are 39 kB, and the bound
//! by bytes only meets peers that send large ones: four of the largest.
//! In work: an orphan is examined again once for each of its parents that arrives, one at a time when the
//! caller asks, and its signatures only when everything else fits. A parent has to be taken in, and so pay,
//! before anything happens.
//! When all places are taken, the peer with the most gives up its oldest, so that k hostile peers leave an
//! honest one at least a share of 1 in k + 1.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Transaction, Txid, Wtxid};

use super::Limits;

/// Orphans in the order in which they came.
type OrphanId = u64;

/// A transaction that waits for its parents.
#[derive(Debug, Clone)]
pub(super) struct Orphan {
    pub(super) tx: Arc<Transaction>,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    /// Each parent that is missing once.
    pub(super) missing: Vec<Txid>,
    /// The peers on whose accounts it is, never none.
    pub(super) peers: BTreeSet<u64>,
    bytes: usize,
    time: u64,
}

/// What a peer has here.
#[derive(Debug, Default)]
struct Account {
    orphans: BTreeSet<OrphanId>,
    bytes: usize,
}

/// The orphans, by what they are looked up by.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    orphans: BTreeMap<OrphanId, Orphan>,
    by_wtxid: HashMap<Wtxid, OrphanId>,
    waiting: HashMap<Txid, BTreeSet<OrphanId>>,
    accounts: BTreeMap<u64, Account>,
    /// Those of which a parent has arrived.
    ready: BTreeSet<OrphanId>,
    bytes: usize,
    last: OrphanId,
}

impl Orphans {
    pub(super) fn len(&self) -> usize {
        self.orphans.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, wtxid: &Wtxid) -> bool {
        self.by_wtxid.contains_key(wtxid)
    }

    /// Whether any orphan waits for its parents to be looked at again.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Keeps a transaction on a peer's account, in the place of older ones where there is no room. Gives
    /// whether it is there now.
    pub(super) fn add(
        &mut self,
        tx: &Arc<Transaction>,
        ids: (Txid, Wtxid),
        missing: &[Txid],
        peer: u64,
        now: u64,
        limits: &Limits,
    ) -> bool {
        let (txid, wtxid) = ids;
        let bytes = tx.total_size();
        if bytes > limits.orphan_bytes_per_peer || limits.orphans_per_peer == 0 {
            return false;
        }
        let id = match self.by_wtxid.get(&wtxid) {
            Some(id) => *id,
            None => {
                self.last += 1;
                self.insert(
                    self.last,
                    Orphan {
                        tx: Arc::clone(tx),
                        txid,
                        wtxid,
                        missing: missing.to_vec(),
                        peers: BTreeSet::new(),
                        bytes,
                        time: now,
                    },
                );
                self.last
            }
        };
        self.charge(id, peer);
        self.make_room(peer, limits);
        self.orphans.contains_key(&id)
    }

    /// A transaction is known now: whoever waits for it is ready.
    pub(super) fn parent_arrived(&mut self, txid: &Txid) {
        if let Some(ids) = self.waiting.get(txid) {
            self.ready.extend(ids);
        }
    }

    /// Takes out the first one that is ready.
    pub(super) fn take_ready(&mut self) -> Option<(u64, Orphan)> {
        let id = self.ready.pop_first()?;
        Some((id, self.remove(id)?))
    }

    /// Puts back what [`Self::take_ready`] gave, since these parents are still missing.
    pub(super) fn put_back(&mut self, id: u64, mut orphan: Orphan, missing: Vec<Txid>) {
        orphan.missing = missing;
        let peers = std::mem::take(&mut orphan.peers);
        self.insert(id, orphan);
        for peer in peers {
            self.charge(id, peer);
        }
    }

    /// Closes a peer's account.
    pub(super) fn forget_peer(&mut self, peer: u64) {
        let ids = self
            .accounts
            .get(&peer)
            .map(|account| account.orphans.clone());
        for id in ids.unwrap_or_default() {
            self.release(id, peer);
        }
    }

    /// Drops those that came before `time`.
    pub(super) fn drop_before(&mut self, time: u64) {
        self.drop_if(|orphan| orphan.time < time);
    }

    /// Drops those that are known otherwise.
    pub(super) fn drop_known(&mut self, txids: &HashSet<Txid>) {
        self.drop_if(|orphan| txids.contains(&orphan.txid));
    }

    fn drop_if(&mut self, condition: impl Fn(&Orphan) -> bool) {
        let ids: Vec<OrphanId> = self
            .orphans
            .iter()
            .filter(|(_, orphan)| condition(orphan))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.remove(id);
        }
    }

    /// First within the peer's own limits, then within all; its newest goes last.
    fn make_room(&mut self, peer: u64, limits: &Limits) {
        while let Some(oldest) = self.accounts.get(&peer).and_then(|account| {
            let over = account.orphans.len() > limits.orphans_per_peer
                || account.bytes > limits.orphan_bytes_per_peer;
            account.orphans.first().copied().filter(|_| over)
        }) {
            self.release(oldest, peer);
        }
        while self.len() > limits.orphans || self.bytes > limits.orphan_bytes {
            let by_count = self.len() > limits.orphans;
            let largest = self.accounts.iter().max_by_key(|(owner, account)| {
                let share = if by_count {
                    account.orphans.len()
                } else {
                    account.bytes
                };
                // Of equals, the one that wants more.
                (share, **owner == peer)
            });
            let Some((owner, oldest)) =
                largest.and_then(|(owner, account)| Some((*owner, *account.orphans.first()?)))
            else {
                return;
            };
            self.release(oldest, owner);
        }
    }

    fn charge(&mut self, id: OrphanId, peer: u64) {
        let Some(orphan) = self.orphans.get_mut(&id) else {
            return;
        };
        if orphan.peers.insert(peer) {
            let account = self.accounts.entry(peer).or_default();
            account.orphans.insert(id);
            account.bytes += orphan.bytes;
        }
    }

    /// Takes an orphan off a peer's account, and drops it if that was the last one.
    fn release(&mut self, id: OrphanId, peer: u64) {
        let Some(orphan) = self.orphans.get_mut(&id) else {
            return;
        };
        orphan.peers.remove(&peer);
        let (bytes, unowned) = (orphan.bytes, orphan.peers.is_empty());
        self.discharge(id, peer, bytes);
        if unowned {
            self.remove(id);
        }
    }

    fn discharge(&mut self, id: OrphanId, peer: u64, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&peer) {
            if account.orphans.remove(&id) {
                account.bytes -= bytes;
            }
            if account.orphans.is_empty() {
                self.accounts.remove(&peer);
            }
        }
    }

    /// Into the maps; the caller charges its peers.
    fn insert(&mut self, id: OrphanId, orphan: Orphan) {
        for parent in &orphan.missing {
            self.waiting.entry(*parent).or_default().insert(id);
        }
        self.by_wtxid.insert(orphan.wtxid, id);
        self.bytes += orphan.bytes;
        self.orphans.insert(id, orphan);
    }

    fn remove(&mut self, id: OrphanId) -> Option<Orphan> {
        let orphan = self.orphans.remove(&id)?;
        self.by_wtxid.remove(&orphan.wtxid);
        self.ready.remove(&id);
        self.bytes -= orphan.bytes;
        for parent in &orphan.missing {
            if let Some(ids) = self.waiting.get_mut(parent) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.waiting.remove(parent);
                }
            }
        }
        for peer in &orphan.peers {
            self.discharge(id, *peer, orphan.bytes);
        }
        Some(orphan)
    }
}

#[cfg(test)]
impl Orphans {
    /// What must hold at any time: each index and account, computed anew from the orphans.
    pub(super) fn check(&self, limits: &Limits) {
        let mut accounts: BTreeMap<u64, (BTreeSet<OrphanId>, usize)> = BTreeMap::new();
        let mut waiting: HashMap<Txid, BTreeSet<OrphanId>> = HashMap::new();
        for (id, orphan) in &self.orphans {
            assert_eq!(self.by_wtxid.get(&orphan.wtxid), Some(id));
            assert!(!orphan.peers.is_empty() && !orphan.missing.is_empty());
            for peer in &orphan.peers {
                let account = accounts.entry(*peer).or_default();
                account.0.insert(*id);
                account.1 += orphan.bytes;
            }
            for parent in &orphan.missing {
                waiting.entry(*parent).or_default().insert(*id);
            }
        }
        assert_eq!(self.by_wtxid.len(), self.orphans.len());
        assert_eq!(self.waiting, waiting);
        assert!(self.ready.iter().all(|id| self.orphans.contains_key(id)));
        let found = self.accounts.iter();
        let found = found.map(|(peer, account)| (*peer, (account.orphans.clone(), account.bytes)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), accounts);
        for (orphans, bytes) in accounts.values() {
            assert!(orphans.len() <= limits.orphans_per_peer);
            assert!(*bytes <= limits.orphan_bytes_per_peer);
        }
        let bytes: usize = self.orphans.values().map(|orphan| orphan.bytes).sum();
        assert_eq!(self.bytes, bytes);
        assert!(bytes <= limits.orphan_bytes && self.len() <= limits.orphans);
    }
}
