//! The transactions of the pool, who spends whom, and sums over ancestors and descendants.
//!
//! Nothing here decides: `accept` has checked what comes in, so a transaction has few ancestors and
//! descendants, and each operation on one transaction costs at most the product of both, 25 × 25 visits.
//! There are three changes: a transaction comes that nobody in the pool spends yet, one goes with all its
//! descendants, or one goes into a block after all its ancestors.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Txid, Wtxid};

use super::FeeRate;
use super::entry::{Entry, Id, Sum, memory_of};

/// What [`Graph::insert`] needs to know.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) tx: Arc<Transaction>,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    pub(super) bytes: usize,
    pub(super) fee: u64,
    pub(super) time: u64,
    pub(super) mature_at: u32,
    /// Each parent in the pool once.
    pub(super) parents: BTreeSet<Id>,
}

/// The pool's transactions. The maps' hashes are keyed: no crafted collisions.
#[derive(Debug, Default)]
pub(super) struct Graph {
    entries: BTreeMap<Id, Entry>,
    by_txid: HashMap<Txid, Id>,
    by_wtxid: HashMap<Wtxid, Id>,
    spenders: HashMap<OutPoint, Id>,
    /// By what they are worth keeping; of equal ones the newest first.
    by_score: BTreeSet<(FeeRate, Reverse<Id>)>,
    sum: Sum,
    memory: usize,
    last: Id,
}

impl Graph {
    /// All, in the order of acceptance.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Those that came after the one of this number.
    pub(super) fn after(&self, id: Id) -> impl Iterator<Item = &Entry> {
        self.entries
            .range(id.saturating_add(1)..)
            .map(|(_, entry)| entry)
    }

    pub(super) fn entry(&self, id: Id) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn by_txid(&self, txid: &Txid) -> Option<&Entry> {
        self.entry(*self.by_txid.get(txid)?)
    }

    pub(super) fn by_wtxid(&self, wtxid: &Wtxid) -> Option<&Entry> {
        self.entry(*self.by_wtxid.get(wtxid)?)
    }

    /// The transaction that spends an output.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Id> {
        self.spenders.get(outpoint).copied()
    }

    /// Number, bytes and fees of all.
    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// What all count towards the pool's size.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The number of the last one that came.
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// The one that is least worth keeping.
    pub(super) fn worst(&self) -> Option<Id> {
        self.by_score.first().map(|(_, Reverse(id))| *id)
    }

    /// These and all from which they descend; `None` if those are more than `limit`.
    pub(super) fn with_ancestors(
        &self,
        of: impl IntoIterator<Item = Id>,
        limit: usize,
    ) -> Option<BTreeSet<Id>> {
        self.reach(of, limit, |entry| &entry.parents)
    }

    /// All from which this one descends.
    pub(super) fn ancestors(&self, id: Id) -> BTreeSet<Id> {
        let parents = self.entry(id).map(|entry| entry.parents.clone());
        self.with_ancestors(parents.unwrap_or_default(), usize::MAX)
            .unwrap_or_default()
    }

    /// This one and all that descend from it.
    pub(super) fn with_descendants(&self, id: Id) -> BTreeSet<Id> {
        self.reach([id], usize::MAX, |entry| &entry.children)
            .unwrap_or_default()
    }

    fn reach(
        &self,
        from: impl IntoIterator<Item = Id>,
        limit: usize,
        next: impl Fn(&Entry) -> &Vec<Id>,
    ) -> Option<BTreeSet<Id>> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Id> = from.into_iter().collect();
        while let Some(id) = open.pop() {
            if !found.insert(id) {
                continue;
            }
            if found.len() > limit {
                return None;
            }
            open.extend(self.entry(id).into_iter().flat_map(&next));
        }
        Some(found)
    }

    /// Takes a transaction in. Its inputs are spent by no other one here, and its outputs by none.
    pub(super) fn insert(&mut self, new: NewEntry) -> Id {
        let id = self.last + 1;
        self.last = id;
        let own = Sum {
            count: 1,
            bytes: new.bytes,
            fee: new.fee,
        };
        let mut ancestors = own;
        let above = self
            .with_ancestors(new.parents.iter().copied(), usize::MAX)
            .unwrap_or_default();
        for ancestor in &above {
            ancestors.add(self.entry(*ancestor).map(Entry::own).unwrap_or_default());
            self.change_descendants(*ancestor, |sum| sum.add(own));
        }
        for parent in &new.parents {
            if let Some(entry) = self.entries.get_mut(parent) {
                entry.children.push(id);
            }
        }
        for input in &new.tx.input {
            self.spenders.insert(input.previous_output, id);
        }
        self.by_txid.insert(new.txid, id);
        self.by_wtxid.insert(new.wtxid, id);
        self.sum.add(own);
        self.memory += memory_of(&new.tx);
        let entry = Entry {
            id,
            tx: new.tx,
            txid: new.txid,
            wtxid: new.wtxid,
            bytes: new.bytes,
            fee: new.fee,
            time: new.time,
            mature_at: new.mature_at,
            parents: new.parents.into_iter().collect(),
            children: Vec::new(),
            ancestors,
            descendants: own,
        };
        self.by_score.insert((entry.score(), Reverse(id)));
        self.entries.insert(id, entry);
        id
    }

    /// Takes a transaction and all its descendants out, and gives them, parents first.
    pub(super) fn remove(&mut self, id: Id) -> Vec<Entry> {
        let mut removed: Vec<Entry> = self
            .with_descendants(id)
            .into_iter()
            // Children first, so that each one has none when its turn comes.
            .rev()
            .filter_map(|id| self.remove_childless(id))
            .collect();
        removed.reverse();
        removed
    }

    /// Takes a transaction out that a block holds; its descendants stay. Its ancestors went before it,
    /// since a block has parents before their children; should any be left, it is removed like any other.
    /// Gives all that went.
    pub(super) fn confirm(&mut self, id: Id) -> Vec<Entry> {
        let Some(entry) = self.entry(id) else {
            return Vec::new();
        };
        if !entry.parents.is_empty() {
            return self.remove(id);
        }
        let own = entry.own();
        for descendant in self.with_descendants(id) {
            if let Some(entry) = self.entries.get_mut(&descendant) {
                entry.ancestors.subtract(own);
                entry.parents.retain(|parent| *parent != id);
            }
        }
        self.take(id).into_iter().collect()
    }

    fn remove_childless(&mut self, id: Id) -> Option<Entry> {
        let ancestors = self.ancestors(id);
        let entry = self.take(id)?;
        for ancestor in ancestors {
            self.change_descendants(ancestor, |sum| sum.subtract(entry.own()));
        }
        for parent in &entry.parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.retain(|child| *child != id);
            }
        }
        Some(entry)
    }

    /// Out of the maps and the sums, but not out of its relatives.
    fn take(&mut self, id: Id) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.by_score.remove(&(entry.score(), Reverse(id)));
        self.by_txid.remove(&entry.txid);
        self.by_wtxid.remove(&entry.wtxid);
        for input in &entry.tx.input {
            self.spenders.remove(&input.previous_output);
        }
        self.sum.subtract(entry.own());
        self.memory -= memory_of(&entry.tx);
        Some(entry)
    }

    fn change_descendants(&mut self, id: Id, change: impl FnOnce(&mut Sum)) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.by_score.remove(&(entry.score(), Reverse(id)));
        change(&mut entry.descendants);
        self.by_score.insert((entry.score(), Reverse(id)));
    }
}
