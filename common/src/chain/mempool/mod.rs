//! Transactions that wait for a block.
//!
//! [`Mempool`] is pure: coins, the state of the chain and the time come in as arguments, and nothing here
//! knows the network. Its owner asks it to [`accept`](Mempool::accept) what peers send, tells it of blocks,
//! and takes blocks to mine from it ([`select`](Mempool::select)). Policy is decided here and in
//! [`policy`](super::policy); what a block may hold is decided in [`consensus`](super::consensus) alone.
//!
//! | part | what it is for |
//! |---|---|
//! | `accept` | the checks from cheap to dear, and making room |
//! | `replacement` | when a transaction takes the place of others that spend the same |
//! | `graph`, `entry` | what is in the pool, who spends whom, sums over ancestors and descendants |
//! | `blocks` | what blocks and reorganisations do to the pool |
//! | `select` | the transactions of the next block |
//! | `orphans` | transactions whose inputs are not known yet |
//! | `floor` | the fee rate that a full pool asks |
//! | `verified` | transactions that left and whose signatures need no second check |
//!
//! # Security
//!
//! Memory is bounded by [`Limits`]: 64 MB of transactions, 4 MB of orphans, 20 MB of what a reorganisation
//! returns, 2.2 MB of wtxids. What fills the pool has paid: each transaction pays at least the relay
//! minimum, 3,878 base units for a payment, so 64 MB cost 0.4 coins at the least, and from then on the price
//! rises with each eviction. What never gets into a block costs nothing, though; so what is evicted or
//! replaced must have been outbid by its whole size: an eviction lifts the floor above what went, and a
//! replacement pays for all that it replaces and for itself.
//!
//! Time for one transaction: ids and form are linear in its size; coins are one look-up an input; the rest is
//! bounded by ancestors and descendants, 25 each, and 100 replaced ones, whatever the pool's size. Signatures
//! come last, so that a check of 26 of them (about 1.2 ms) takes a transaction that is right in all else, and
//! a wrong one is the peer's fault.

mod accept;
mod blocks;
mod entry;
mod error;
mod fee_rate;
mod floor;
mod graph;
mod limits;
mod orphans;
mod replacement;
mod select;
#[cfg(test)]
mod tests;
mod verified;

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::{Transaction, Txid, Wtxid};

pub use self::accept::{Accepted, Retried};
pub use self::blocks::{Connected, Revalidated};
pub use self::entry::Entry;
pub use self::error::{MempoolError, Remember};
pub use self::fee_rate::FeeRate;
use self::floor::Floor;
use self::graph::Graph;
pub use self::limits::Limits;
use self::orphans::Orphans;
pub use self::select::Template;
use self::verified::Verified;
use super::consensus::Rules;

/// What the checks need to know of the chain and the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Height of the next block: the tip's and one.
    pub next_height: u32,
    /// The tip's median time past in Unix seconds, which ends lock times (BIP113).
    pub median_time: u32,
    /// Unix seconds.
    pub now: u64,
}

/// From where a transaction comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a peer, by a number that its owner gives: it may wait for its parents on that peer's account.
    Peer(u64),
    /// From this node's user: it is not kept as an orphan.
    Local,
}

/// The pool. One owner changes it, behind a lock; each call is short.
///
/// ```
/// use quantumcoin::chain::consensus::Rules;
/// use quantumcoin::chain::mempool::{Limits, Mempool};
/// use quantumcoin::chain_spec::ChainSpec;
///
/// let pool = Mempool::new(Rules::new(&ChainSpec::devnet()), Limits::default());
/// assert!(pool.is_empty());
/// assert_eq!(pool.min_fee_rate(0), 1_000);
/// assert_eq!(pool.select(1_000_000).fees, 0);
/// ```
#[derive(Debug)]
pub struct Mempool {
    rules: Rules,
    limits: Limits,
    graph: Graph,
    orphans: Orphans,
    floor: Floor,
    verified: Verified,
    /// From blocks that were disconnected, and what spent their outputs: parents first, until
    /// [`Self::revalidate`].
    returning: VecDeque<(Txid, Arc<Transaction>)>,
}

impl Mempool {
    /// An empty pool.
    #[must_use]
    pub fn new(rules: Rules, limits: Limits) -> Self {
        Self {
            rules,
            limits,
            graph: Graph::default(),
            orphans: Orphans::default(),
            floor: Floor::default(),
            verified: Verified::new(verified::GENERATION),
            returning: VecDeque::new(),
        }
    }

    /// How many transactions are in the pool; orphans are not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.sum().count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their serialized bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.graph.sum().bytes
    }

    /// The sum of their fees in base units.
    #[must_use]
    pub fn fees(&self) -> u64 {
        self.graph.sum().fee
    }

    /// Bytes that they count towards [`Limits::max_memory`]: an upper bound of what they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.graph.memory()
    }

    /// Orphans, and their serialized bytes.
    #[must_use]
    pub fn orphans(&self) -> (usize, usize) {
        (self.orphans.len(), self.orphans.bytes())
    }

    /// Whether this transaction is an orphan.
    #[must_use]
    pub fn is_orphan(&self, wtxid: &Wtxid) -> bool {
        self.orphans.contains(wtxid)
    }

    /// The transaction with this id.
    #[must_use]
    pub fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.graph.by_txid(txid)
    }

    /// The transaction with this id with witness.
    #[must_use]
    pub fn get_by_wtxid(&self, wtxid: &Wtxid) -> Option<&Entry> {
        self.graph.by_wtxid(wtxid)
    }

    /// All transactions in the order of acceptance, in which parents are before their children.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.graph.iter()
    }

    /// Those that came after the one with this [`Entry::sequence`], in the order of acceptance; 0 gives all.
    /// What came and went in between is not among them.
    pub fn since(&self, sequence: u64) -> impl Iterator<Item = &Entry> {
        self.graph.after(sequence)
    }

    /// The sequence number of the last transaction that came; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.graph.last()
    }

    /// The least fee rate that is taken at time `now` (Unix seconds), in base units for 1,000 bytes: what a
    /// `feefilter` says.
    #[must_use]
    pub fn min_fee_rate(&self, now: u64) -> u64 {
        self.floor.per_kb(now)
    }

    /// Whether the signatures of this transaction were checked and fit, so that a block that holds it needs
    /// no second check of them (and of its witnesses) where the coins that it spends exist. False says
    /// nothing: what was checked long ago is forgotten.
    #[must_use]
    pub fn is_verified(&self, wtxid: &Wtxid) -> bool {
        self.graph.by_wtxid(wtxid).is_some() || self.verified.contains(wtxid)
    }

    /// A peer has left: its orphans go, unless others sent them too.
    pub fn peer_left(&mut self, peer: u64) {
        self.orphans.forget_peer(peer);
    }

    /// Drops what has waited too long; to be called every few minutes. Looks at every transaction. Gives
    /// the transactions that went, orphans not counted.
    pub fn expire(&mut self, now: u64) -> Vec<Txid> {
        let orphans_from = now.saturating_sub(self.limits.orphan_seconds);
        self.orphans.drop_before(orphans_from);
        let from = now.saturating_sub(self.limits.expiry_seconds);
        self.remove_if(|entry| entry.time < from)
    }

    /// Takes out all that `condition` holds for, with their descendants.
    fn remove_if(&mut self, condition: impl Fn(&Entry) -> bool) -> Vec<Txid> {
        let ids: Vec<entry::Id> = self
            .graph
            .iter()
            .filter(|entry| condition(entry))
            .map(|entry| entry.id)
            .collect();
        let mut removed = Vec::new();
        for id in ids {
            removed.extend(self.remove(id));
        }
        removed
    }

    /// Takes out one with its descendants, remembers that they were right, and gives them, parents first.
    fn remove(&mut self, id: entry::Id) -> Vec<Txid> {
        let removed = self.graph.remove(id);
        for entry in &removed {
            self.verified.insert(entry.wtxid);
        }
        removed.into_iter().map(|entry| entry.txid).collect()
    }
}
