//! What is known of transactions by name, for those who must not wait for the pool.

use std::collections::{HashMap, HashSet, VecDeque};

use bitcoin::{Transaction, Txid, Wtxid};

use crate::chain::mempool::{Accepted, Mempool};
use crate::network::protocol::transactions::{Announcement, MAX_ANNOUNCED_AT_ONCE, TxRef};
use crate::recent::Recent;

/// Transactions of this node's user that new peers are told of, the latest: a message full.
const MAX_OWN: usize = MAX_ANNOUNCED_AT_ONCE;

/// Names of confirmed transactions in a generation of [`Recent`]: those of 14 full blocks of payments. 2 MB a generation.
const CONFIRMED: usize = 28_672;

/// The names of what the pool holds and of what the last blocks held, and the user's own transactions that no peer of our
/// choice is known to have yet. Behind a lock of its own that is held for moments.
#[derive(Debug)]
pub(crate) struct Known {
    held: HashMap<Txid, Wtxid>,
    held_wtxids: HashSet<Wtxid>,
    confirmed: Recent<TxRef>,
    own: VecDeque<Announcement>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            held: HashMap::new(),
            held_wtxids: HashSet::new(),
            confirmed: Recent::new(CONFIRMED),
            own: VecDeque::new(),
        }
    }

    /// Whether it need not be asked for: it is in the pool, or in one of the last blocks.
    pub(crate) fn contains(&self, name: &TxRef) -> bool {
        let held = match name {
            TxRef::Txid(txid) => self.held.contains_key(txid),
            TxRef::Wtxid(wtxid) => self.held_wtxids.contains(wtxid),
        };
        held || self.confirmed.contains(name)
    }

    /// The user's own transactions that wait and that no peer of our choice has asked for or announced, the oldest first.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Announcement> {
        self.own.iter()
    }

    /// A peer that we chose has it: it spreads without us. One that came to us may keep it to itself.
    pub(crate) fn spreads(&mut self, name: &TxRef) {
        self.own.retain(|own| match name {
            TxRef::Txid(txid) => own.txid != *txid,
            TxRef::Wtxid(wtxid) => own.wtxid != *wtxid,
        });
    }

    pub(super) fn add_own(&mut self, accepted: &Accepted) {
        if self.own.len() >= MAX_OWN {
            self.own.pop_front();
        }
        self.own.push_back(Announcement {
            txid: accepted.txid,
            wtxid: accepted.wtxid,
            fee_per_kb: accepted.fee_rate.per_kb(),
        });
    }

    /// The pool took one in, and others went for it.
    pub(super) fn accepted(&mut self, accepted: &Accepted) {
        self.held.insert(accepted.txid, accepted.wtxid);
        self.held_wtxids.insert(accepted.wtxid);
        let gone: HashSet<_> = accepted.replaced.iter().chain(&accepted.evicted).collect();
        for txid in &gone {
            if let Some(wtxid) = self.held.remove(*txid) {
                self.held_wtxids.remove(&wtxid);
            }
        }
        if !gone.is_empty() {
            self.own.retain(|own| !gone.contains(&own.txid));
        }
    }

    /// How many transactions the pool holds, as far as is known here.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Looks at all that the pool holds now.
    pub(super) fn reread(&mut self, mempool: &Mempool) {
        self.reread_held(mempool);
        let held = &self.held;
        self.own.retain(|own| held.contains_key(&own.txid));
    }

    /// The same, while some of the user's own may be neither here nor there.
    pub(super) fn reread_held(&mut self, mempool: &Mempool) {
        self.held = mempool.iter().map(|e| (e.txid(), e.wtxid())).collect();
        self.held_wtxids = self.held.values().copied().collect();
    }

    /// Blocks hold these.
    pub(super) fn confirmed(&mut self, names: Vec<TxRef>) {
        for name in names {
            self.confirmed.insert(name);
        }
    }

    /// Blocks were taken back: what they held is welcome again.
    pub(super) fn disconnected(&mut self) {
        self.confirmed.clear();
    }
}

/// Both names of a transaction.
pub(super) fn names(tx: &Transaction) -> [TxRef; 2] {
    [
        TxRef::Txid(tx.compute_txid()),
        TxRef::Wtxid(tx.compute_wtxid()),
    ]
}
