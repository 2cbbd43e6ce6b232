//! What blocks and reorganisations do to the pool.
//!
//! A reorganisation is told as [`block_disconnected`](Mempool::block_disconnected) from the tip down,
//! [`block_connected`](Mempool::block_connected) from the fork up, and then once
//! [`revalidate`](Mempool::revalidate), all under one lock. Blocks need no coins: what was in the blocks that
//! went waits aside, with all in the pool that descends from it, and is examined anew against the chain as it
//! is in the end.

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::{Block, OutPoint, Transaction, Txid};

use super::accept::{Fees, has_standard_witnesses};
use super::entry::Id;
use super::{Context, Mempool};
use crate::chain::consensus::{Coin, is_final};
use crate::chain::policy;

/// What a block took out of the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connected {
    /// Transactions that were in the pool and are in the block.
    pub confirmed: usize,
    /// Transactions that spend what the block spends, and their descendants.
    pub conflicted: Vec<Txid>,
}

/// What became of the pool after a reorganisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revalidated {
    /// Transactions that are in the pool again.
    pub returned: usize,
    /// Transactions that waited aside and are in neither the pool nor the chain.
    pub lost: usize,
    /// Transactions that no block could hold at this height and time, and their descendants.
    pub removed: Vec<Txid>,
}

impl Mempool {
    /// A block was connected at time `now`: what it holds goes, and so does what conflicts with it. Expired
    /// transactions go too.
    ///
    /// Costs one look-up for each transaction and each input of the block, and 25 steps for each that goes.
    pub fn block_connected(&mut self, block: &Block, now: u64) -> Connected {
        let mut connected = Connected::default();
        let mut txids = HashSet::with_capacity(block.txdata.len());
        for tx in &block.txdata {
            let txid = tx.compute_txid();
            txids.insert(txid);
            if let Some(id) = self.graph.by_txid(&txid).map(|entry| entry.id) {
                for entry in self.graph.confirm(id) {
                    connected.confirmed += usize::from(entry.txid == txid);
                    self.verified.insert(entry.wtxid);
                }
                continue;
            }
            for input in &tx.input {
                if let Some(id) = self.graph.spender(&input.previous_output) {
                    connected.conflicted.extend(self.remove(id));
                }
            }
        }
        self.returning.retain(|(txid, _)| !txids.contains(txid));
        self.orphans.drop_known(&txids);
        for txid in &txids {
            self.orphans.parent_arrived(txid);
        }
        self.floor.block(now);
        self.expire(now);
        connected
    }

    /// The tip was disconnected. Its transactions, and what in the pool descends from them, wait aside until
    /// [`revalidate`](Self::revalidate).
    pub fn block_disconnected(&mut self, block: &Block) {
        let mut back = Vec::new();
        let mut spenders: Vec<Id> = Vec::new();
        for tx in &block.txdata {
            let txid = tx.compute_txid();
            let outputs = (0..tx.output.len()).filter_map(|vout| u32::try_from(vout).ok());
            spenders
                .extend(outputs.filter_map(|vout| self.graph.spender(&OutPoint { txid, vout })));
            if may_return(tx) {
                // It was verified when it was connected.
                self.verified.insert(tx.compute_wtxid());
                back.push((txid, Arc::new(tx.clone())));
            }
        }
        back.extend(self.set_aside(spenders));
        // What waits already is from higher blocks, and may spend any of these.
        for waiting in back.into_iter().rev() {
            self.returning.push_front(waiting);
        }
        self.bound_returning();
    }

    /// After a reorganisation: examines what waited aside in its order, whatever it pays, since a block has
    /// taken it before; then drops what no block could hold at this height and time. `coins` is as in
    /// [`accept`](Self::accept).
    ///
    /// Costs one examination for each transaction that waited, and a look at every one in the pool.
    pub fn revalidate(
        &mut self,
        mut coins: impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
    ) -> Revalidated {
        let returning = std::mem::take(&mut self.returning);
        let waited = returning.len();
        for (_, tx) in &returning {
            // What is not right on this chain is dropped; nobody is to blame.
            drop(self.try_accept(tx, &mut coins, context, Fees::Waived));
        }
        let removed = self.remove_if(|entry| {
            entry.mature_at > context.next_height
                || !is_final(&entry.tx, context.next_height, context.median_time)
        });
        let returned = returning
            .iter()
            .filter(|(txid, _)| self.graph.by_txid(txid).is_some())
            .count();
        Revalidated {
            returned,
            lost: waited - returned,
            removed,
        }
    }

    /// Takes these and their descendants out, and gives them, parents first.
    fn set_aside(&mut self, ids: Vec<Id>) -> Vec<(Txid, Arc<Transaction>)> {
        let mut aside = Vec::new();
        for id in ids {
            aside.extend(self.graph.remove(id));
        }
        aside.sort_by_key(|entry| entry.id);
        for entry in &aside {
            self.verified.insert(entry.wtxid);
        }
        aside
            .into_iter()
            .map(|entry| (entry.txid, entry.tx))
            .collect()
    }

    fn bound_returning(&mut self) {
        let mut bytes: usize = self.returning.iter().map(|(_, tx)| tx.total_size()).sum();
        while bytes > self.limits.returning_bytes {
            let Some((_, tx)) = self.returning.pop_back() else {
                return;
            };
            bytes -= tx.total_size();
        }
    }
}

/// Whether the pool would take it at all. What is not standard is not kept, also because its witnesses may take
/// several times their bytes in memory. (Coinbases have no such witness.)
fn may_return(tx: &Transaction) -> bool {
    policy::check_form(tx).is_ok() && has_standard_witnesses(tx)
}
