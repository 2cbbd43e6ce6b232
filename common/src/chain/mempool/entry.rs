//! A transaction in the pool, and sums over its relatives.

use std::sync::Arc;

use bitcoin::{Transaction, Txid, Wtxid};

use super::FeeRate;

/// A transaction's number in the pool. Numbers rise and are never used twice, and a parent is always there
/// before its child: in the order of numbers, parents come first.
pub(super) type Id = u64;

/// What a transaction costs in memory beyond its serialized bytes: [`Entry`], the transaction's own struct,
/// and its places in the four indices, whose tables may be half empty. About 750 bytes on 64-bit machines.
const ENTRY_BYTES: usize = 1_000;
/// The same for an input: its struct (104 bytes, 41 of them counted already), the index of spent outputs
/// (44 bytes, the table half empty), links to a parent and back, and up to 616 bytes that decoding leaves
/// unused behind a witness of standard length.
const INPUT_BYTES: usize = 1_000;
/// The same for an output: its struct and a script in an allocation of its own.
const OUTPUT_BYTES: usize = 100;

/// What a transaction counts towards the pool's size: an upper bound of the memory that it takes.
pub(super) fn memory_of(tx: &Transaction) -> usize {
    tx.total_size() + ENTRY_BYTES + tx.input.len() * INPUT_BYTES + tx.output.len() * OUTPUT_BYTES
}

/// Sums over a set of transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: usize,
    pub(super) bytes: usize,
    pub(super) fee: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        // Fees are money, of which there is less than 2^52: coins in the pool are spent once.
        self.fee = self.fee.saturating_add(other.fee);
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count = self.count.saturating_sub(other.count);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.fee = self.fee.saturating_sub(other.fee);
    }

    pub(super) fn rate(self) -> FeeRate {
        FeeRate::new(self.fee, self.bytes)
    }
}

/// A transaction in the pool.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) id: Id,
    pub(super) tx: Arc<Transaction>,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    pub(super) bytes: usize,
    pub(super) fee: u64,
    pub(super) time: u64,
    /// First height at which the coinbases that it spends are mature.
    pub(super) mature_at: u32,
    /// Whose outputs in the pool it spends; who in the pool spends its outputs.
    pub(super) parents: Vec<Id>,
    pub(super) children: Vec<Id>,
    /// Itself and all from which it descends, itself and all that descend from it.
    pub(super) ancestors: Sum,
    pub(super) descendants: Sum,
}

impl Entry {
    /// Its place in the order of acceptance; see [`Mempool::since`](super::Mempool::since).
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.id
    }

    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &Arc<Transaction> {
        &self.tx
    }

    /// Its id without witness.
    #[must_use]
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// Its id with witness.
    #[must_use]
    pub fn wtxid(&self) -> Wtxid {
        self.wtxid
    }

    /// Serialized bytes with witness.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The fee in base units.
    #[must_use]
    pub fn fee(&self) -> u64 {
        self.fee
    }

    /// Its fee for its own bytes.
    #[must_use]
    pub fn fee_rate(&self) -> FeeRate {
        self.own().rate()
    }

    /// When it came, in Unix seconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn own(&self) -> Sum {
        Sum {
            count: 1,
            bytes: self.bytes,
            fee: self.fee,
        }
    }

    /// What it is worth keeping: its own rate, or with all that descend from it, if that is more.
    pub(super) fn score(&self) -> FeeRate {
        self.fee_rate().max(self.descendants.rate())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use bitcoin::{OutPoint, TxIn, TxOut};

    use super::*;

    /// Slots for each entry in a hash table that has just grown: 16 for 7.
    fn in_table(bytes: usize) -> usize {
        (bytes + 1) * 16 / 7
    }

    /// Slots for each entry in a tree whose nodes have just been split: 11 for 5, and pointers.
    fn in_tree(bytes: usize) -> usize {
        bytes * 11 / 5 + 16
    }

    #[test]
    fn what_is_counted_is_no_less_than_what_is_taken() {
        let entry = in_tree(size_of::<(Id, Entry)>())
            + size_of::<Transaction>()
            + 16
            + in_table(size_of::<(Txid, Id)>())
            + in_table(size_of::<(Wtxid, Id)>())
            + in_tree(size_of::<(FeeRate, Id)>());
        // Version, lock time, counts and the segwit marker are among the serialized bytes.
        assert!(entry <= ENTRY_BYTES + 10, "{entry}");
        let input = size_of::<TxIn>() - 41
            + in_table(size_of::<(OutPoint, Id)>())
            // The place of a parent, and of the child there, in vectors that may be half empty.
            + 4 * size_of::<Id>()
            + 616;
        assert!(input <= INPUT_BYTES, "{input}");
        // The script is counted as serialized; allocators round up.
        assert!(size_of::<TxOut>() - 9 + 32 <= OUTPUT_BYTES);
    }
}
