//! Taking a transaction in: the checks from cheap to dear, and making room.
//!
//! `examine` changes nothing and leads to a [`Candidate`]; its signatures are checked next, and only then
//! does the pool change.

use std::collections::BTreeSet;
use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Txid, Wtxid};

use super::entry::{Id, memory_of};
use super::graph::NewEntry;
use super::replacement::{self, Newcomer};
use super::{Context, Entry, FeeRate, Mempool, MempoolError, Origin};
use crate::chain::consensus::{Coin, check_signatures, check_spends, check_transaction, is_final};
use crate::chain::error::TransactionError;
use crate::chain::p2mldsa::{PUBLIC_KEY_BYTES, SIGNATURE_BYTES, WITNESS_ITEMS};
use crate::chain::policy;

/// A transaction that was taken in, and what went for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in the order of acceptance.
    pub sequence: u64,
    /// Its id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// Its fee in base units.
    pub fee: u64,
    /// Its fee for its bytes.
    pub fee_rate: FeeRate,
    /// What it replaced, descendants included.
    pub replaced: Vec<Txid>,
    /// What was evicted to make room.
    pub evicted: Vec<Txid>,
}

/// An orphan that was looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// Its id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// The peers that sent it.
    pub peers: Vec<u64>,
    /// Whether it is in the pool now. With [`MempoolError::MissingInputs`] it goes on waiting, for other
    /// parents; with any other error it is dropped.
    pub result: Result<Accepted, MempoolError>,
}

/// Whether a transaction has to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fees {
    /// The relay minimum and the floor.
    Asked,
    /// Nothing: a block had it.
    Waived,
}

/// A transaction that passed all checks but that of its signatures.
#[derive(Debug)]
struct Candidate {
    new: NewEntry,
    coins: Vec<Coin>,
    /// What it replaces, descendants included.
    replaced: BTreeSet<Id>,
}

impl Mempool {
    /// Takes in a transaction that pays enough, is right, and that a block at `context.next_height` could
    /// hold. `coins` looks up unspent outputs in the chain whose tip `context` describes; where it fails it
    /// gives `None`, and the transaction then has missing inputs.
    ///
    /// From cheap to dear: form, whether it is known, lock time, coins, maturity and sums, fee, ancestors and
    /// descendants, replacement, signatures. Orphans that wait for it become ready for
    /// [`retry_orphan`](Self::retry_orphan).
    ///
    /// # Errors
    /// The first check that it fails. After [`MempoolError::Full`] others may have gone, else nothing
    /// has changed but the orphans.
    pub fn accept(
        &mut self,
        tx: impl Into<Arc<Transaction>>,
        coins: impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
        origin: Origin,
    ) -> Result<Accepted, MempoolError> {
        let tx = tx.into();
        let mut result = self.try_accept(&tx, coins, context, Fees::Asked);
        if let (Err(MempoolError::MissingInputs { parents, kept }), Origin::Peer(peer)) =
            (&mut result, origin)
            && has_standard_witnesses(&tx)
        {
            let ids = (tx.compute_txid(), tx.compute_wtxid());
            *kept = self
                .orphans
                .add(&tx, ids, parents, peer, context.now, &self.limits);
        }
        result
    }

    /// Whether an orphan is to be looked at again.
    #[must_use]
    pub fn has_ready_orphan(&self) -> bool {
        self.orphans.is_ready()
    }

    /// Looks at one orphan again of which a parent has arrived; `None` if there is none. One at a time, so
    /// that a parent with many children does not keep its owner from other work.
    pub fn retry_orphan(
        &mut self,
        coins: impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
    ) -> Option<Retried> {
        let (id, orphan) = self.orphans.take_ready()?;
        let mut result = self.try_accept(&orphan.tx, coins, context, Fees::Asked);
        let retried = |result| Retried {
            txid: orphan.txid,
            wtxid: orphan.wtxid,
            peers: orphan.peers.iter().copied().collect(),
            result,
        };
        if let Err(MempoolError::MissingInputs { parents, kept }) = &mut result {
            *kept = true;
            let missing = parents.clone();
            let retried = retried(result);
            self.orphans.put_back(id, orphan, missing);
            return Some(retried);
        }
        Some(retried(result))
    }

    pub(super) fn try_accept(
        &mut self,
        tx: &Arc<Transaction>,
        coins: impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
        fees: Fees,
    ) -> Result<Accepted, MempoolError> {
        let candidate = self.examine(tx, coins, context, fees)?;
        if !self.verified.contains(&candidate.new.wtxid) {
            check_signatures(&self.rules, tx, &candidate.coins)?;
        }
        self.admit(candidate, context)
    }

    /// All checks but that of the signatures.
    fn examine(
        &self,
        tx: &Arc<Transaction>,
        mut coins: impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
        fees: Fees,
    ) -> Result<Candidate, MempoolError> {
        check_transaction(&self.rules, tx)?;
        policy::check_form(tx)?;
        let (txid, wtxid) = self.check_new(tx)?;
        check_final(tx, context)?;
        let (coins, parents) = self.find_coins(tx, txid, &mut coins, context)?;
        let fee = check_spends(&self.rules, tx, &coins, context.next_height)?;
        policy::check_spent(&coins)?;
        let bytes = tx.total_size();
        if fees == Fees::Asked {
            self.check_fee(tx, fee, bytes, context)?;
        }
        let ancestors = self.check_ancestors(&parents, bytes)?;
        let newcomer = Newcomer {
            tx,
            fee,
            bytes,
            parents: &parents,
            ancestors: &ancestors,
        };
        let replaced = replacement::check(&self.graph, &newcomer, &self.limits)?;
        self.check_descendants(&ancestors, &replaced, bytes)?;
        if replaced.is_empty() {
            self.check_room(tx, FeeRate::new(fee, bytes))?;
        }
        let new = NewEntry {
            tx: Arc::clone(tx),
            txid,
            wtxid,
            bytes,
            fee,
            time: context.now,
            mature_at: self.mature_at(&coins),
            parents,
        };
        Ok(Candidate {
            new,
            coins,
            replaced,
        })
    }

    /// Its ids, if neither is in the pool.
    fn check_new(&self, tx: &Transaction) -> Result<(Txid, Wtxid), MempoolError> {
        let wtxid = tx.compute_wtxid();
        if self.graph.by_wtxid(&wtxid).is_some() {
            return Err(MempoolError::AlreadyKnown);
        }
        let txid = tx.compute_txid();
        if self.graph.by_txid(&txid).is_some() {
            return Err(MempoolError::OtherWitness);
        }
        Ok((txid, wtxid))
    }

    /// The coins that the inputs spend, in their order, and the parents in the pool.
    fn find_coins(
        &self,
        tx: &Transaction,
        txid: Txid,
        coins: &mut impl FnMut(&OutPoint) -> Option<Coin>,
        context: &Context,
    ) -> Result<(Vec<Coin>, BTreeSet<Id>), MempoolError> {
        let mut found = Vec::with_capacity(tx.input.len());
        let mut parents = BTreeSet::new();
        let mut missing = BTreeSet::new();
        for (index, input) in tx.input.iter().enumerate() {
            let outpoint = input.previous_output;
            if let Some(parent) = self.graph.by_txid(&outpoint.txid) {
                let coin = output_of(parent, &outpoint, context)
                    .ok_or(MempoolError::NoSuchOutput { index, outpoint })?;
                parents.insert(parent.id);
                found.push(coin);
            } else if let Some(coin) = coins(&outpoint) {
                found.push(coin);
            } else {
                missing.insert(outpoint.txid);
            }
        }
        if missing.is_empty() {
            return Ok((found, parents));
        }
        // At most 32 outputs, by policy.
        let mut outputs = (0..tx.output.len()).filter_map(|vout| u32::try_from(vout).ok());
        if outputs.any(|vout| coins(&OutPoint { txid, vout }).is_some()) {
            return Err(MempoolError::AlreadyConfirmed);
        }
        Err(MempoolError::MissingInputs {
            parents: missing.into_iter().collect(),
            kept: false,
        })
    }

    fn check_fee(
        &self,
        tx: &Transaction,
        fee: u64,
        bytes: usize,
        context: &Context,
    ) -> Result<(), MempoolError> {
        policy::check_fee(tx, fee)?;
        let required = policy::fee_at(self.floor.per_kb(context.now), bytes);
        if fee < required {
            return Err(MempoolError::BelowFloor { fee, required });
        }
        Ok(())
    }

    /// Its ancestors, if with itself they are within the limits.
    fn check_ancestors(
        &self,
        parents: &BTreeSet<Id>,
        bytes: usize,
    ) -> Result<BTreeSet<Id>, MempoolError> {
        let limit = self.limits.max_ancestors;
        let ancestors = self
            .graph
            .with_ancestors(parents.iter().copied(), limit.saturating_sub(1))
            .ok_or(MempoolError::TooManyAncestors { limit })?;
        let above = ancestors.iter().filter_map(|id| self.graph.entry(*id));
        let bytes = bytes + above.map(|entry| entry.bytes).sum::<usize>();
        let limit = self.limits.max_family_bytes;
        if bytes > limit {
            return Err(MempoolError::AncestorBytes { bytes, limit });
        }
        Ok(ancestors)
    }

    /// Whether each ancestor may have one more descendant, once what is replaced has gone.
    fn check_descendants(
        &self,
        ancestors: &BTreeSet<Id>,
        replaced: &BTreeSet<Id>,
        bytes: usize,
    ) -> Result<(), MempoolError> {
        let going = replacement::by_ancestor(&self.graph, ancestors, replaced);
        for ancestor in ancestors.iter().filter_map(|id| self.graph.entry(*id)) {
            let mut family = ancestor.descendants;
            family.subtract(going.get(&ancestor.id).copied().unwrap_or_default());
            let limit = self.limits.max_descendants;
            if family.count + 1 > limit {
                return Err(MempoolError::TooManyDescendants {
                    ancestor: ancestor.txid,
                    limit,
                });
            }
            let (bytes, limit) = (family.bytes + bytes, self.limits.max_family_bytes);
            if bytes > limit {
                return Err(MempoolError::DescendantBytes {
                    ancestor: ancestor.txid,
                    bytes,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Whether it would not be the first to go again. It has no descendants that pay for it, and of equals the
    /// newest goes first.
    fn check_room(&self, tx: &Transaction, rate: FeeRate) -> Result<(), MempoolError> {
        let full = self.graph.memory() + memory_of(tx) > self.limits.max_memory;
        let worst = self.graph.worst().and_then(|id| self.graph.entry(id));
        if full && worst.is_some_and(|worst| rate <= worst.score()) {
            return Err(MempoolError::Full);
        }
        Ok(())
    }

    /// First height at which all coinbases among the coins are mature.
    fn mature_at(&self, coins: &[Coin]) -> u32 {
        coins
            .iter()
            .filter(|coin| coin.coinbase)
            .map(|coin| coin.height.saturating_add(self.rules.coinbase_maturity))
            .max()
            .unwrap_or(0)
    }

    fn admit(&mut self, candidate: Candidate, context: &Context) -> Result<Accepted, MempoolError> {
        let Candidate { new, replaced, .. } = candidate;
        let mut gone = Vec::new();
        // Ids rise from parents to children, so what goes with an earlier one is not there any more.
        for id in replaced {
            gone.extend(self.remove(id));
        }
        let (txid, wtxid, fee, bytes) = (new.txid, new.wtxid, new.fee, new.bytes);
        let sequence = self.graph.insert(new);
        let evicted = self.make_room(context.now);
        if self.graph.entry(sequence).is_none() {
            return Err(MempoolError::Full);
        }
        self.orphans.parent_arrived(&txid);
        Ok(Accepted {
            sequence,
            txid,
            wtxid,
            fee,
            fee_rate: FeeRate::new(fee, bytes),
            replaced: gone,
            evicted,
        })
    }

    /// Evicts what pays least, with its descendants, until the rest fits.
    fn make_room(&mut self, now: u64) -> Vec<Txid> {
        let mut evicted = Vec::new();
        while self.graph.memory() > self.limits.max_memory {
            let Some(worst) = self.graph.worst().and_then(|id| self.graph.entry(id)) else {
                break;
            };
            let (id, rate) = (worst.id, worst.descendants.rate());
            self.floor.evicted(rate.per_kb(), now);
            evicted.extend(self.remove(id));
        }
        evicted
    }
}

fn check_final(tx: &Transaction, context: &Context) -> Result<(), TransactionError> {
    let Context {
        next_height: height,
        median_time,
        ..
    } = *context;
    if is_final(tx, height, median_time) {
        return Ok(());
    }
    Err(TransactionError::NotFinal {
        lock_time: tx.lock_time.to_consensus_u32(),
        height,
        median_time,
    })
}

/// The output of a transaction in the pool, as the next block would create it.
fn output_of(parent: &Entry, outpoint: &OutPoint, context: &Context) -> Option<Coin> {
    let index = usize::try_from(outpoint.vout).ok()?;
    Some(Coin {
        output: parent.tx.output.get(index)?.clone(),
        height: context.next_height,
        coinbase: false,
    })
}

/// Whether each witness has a signature and a key by their lengths: nothing else unlocks what is standard
/// to spend. This also bounds what a transaction takes in memory.
pub(super) fn has_standard_witnesses(tx: &Transaction) -> bool {
    tx.input.iter().all(|input| {
        let witness = &input.witness;
        witness.len() == WITNESS_ITEMS
            && witness
                .nth(0)
                .is_some_and(|item| item.len() == SIGNATURE_BYTES)
            && witness
                .nth(1)
                .is_some_and(|item| item.len() == PUBLIC_KEY_BYTES)
    })
}
