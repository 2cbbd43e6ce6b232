//! Compact blocks (BIP152 version 2, low bandwidth): a new block as the short ids of its transactions, most of
//! which the receiver has in its pool.
//!
//! ```text
//! we                                  the peer
//!   getdata (compact block)    ->
//!                              <-     cmpctblock: header, short ids, the coinbase
//!   getblocktxn (what we lack) ->                                             (or nothing, when we have all)
//!                              <-     blocktxn
//! ```
//! What comes out is a block like any other and is checked like one. Short ids have 48 bits, so once in a great
//! while the wrong transaction is taken and the block does not fit its header: then the whole block is asked for,
//! and nobody is to blame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::bip152::{HeaderAndShortIds, ShortId};
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, Transaction, Wtxid};
use thiserror::Error;

use crate::wire::limits::MAX_BLOCK_TRANSACTIONS;

/// The version that names transactions by wtxid, the only one here.
pub const VERSION: u64 = 2;

/// Blocks below the tip that are served in compact form; older ones nobody has in the pool (Bitcoin Core's figure).
pub const MAX_COMPACT_DEPTH: u32 = 5;

/// Blocks below the tip of which single transactions are served; of older ones the whole block is sent, which costs
/// the same to read (Bitcoin Core's figure).
pub const MAX_TRANSACTIONS_DEPTH: u32 = 10;

/// Serialized bytes of transactions that a compact block may bring along, at most: all but the coinbase are usually in
/// the receiver's pool. With more, the whole block is sent or asked for, which is not kept while something is missing.
pub const MAX_PREFILLED_BYTES: usize = 100_000;

/// Blocks of one peer that may wait for transactions: more than are asked for in compact form at a time.
const MAX_PARTIAL: usize = 4;

/// How long a block may wait for its transactions. The download has asked others long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a compact block leads to no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompactError {
    /// No block has so few or so many transactions.
    #[error("a compact block of {0} transactions")]
    Count(usize),
    /// A transaction is placed behind the end of the block.
    #[error("a transaction of a compact block has no place in it")]
    Place,
    /// Two transactions have the same short id: the whole block must be asked for.
    #[error("two transactions of a compact block have the same short id")]
    Ambiguous,
    /// It brings more transactions along than are kept: the whole block must be asked for.
    #[error("a compact block brings {bytes} bytes of transactions, {MAX_PREFILLED_BYTES} are kept")]
    Prefilled {
        /// Serialized bytes.
        bytes: usize,
    },
    /// Not as many transactions came as were asked for, perhaps for an earlier question: the whole block must be
    /// asked for.
    #[error("{found} transactions of a block came, {wanted} were asked for")]
    Missing {
        /// What came.
        found: usize,
        /// What was asked for.
        wanted: usize,
    },
}

impl CompactError {
    /// Whether only a faulty or hostile peer causes this.
    #[must_use]
    pub fn is_peer_fault(self) -> bool {
        matches!(self, Self::Count(_) | Self::Place)
    }
}

/// A block of which some transactions may be missing.
#[derive(Debug)]
pub struct PartialBlock {
    header: Header,
    slots: Vec<Option<Arc<Transaction>>>,
}

impl PartialBlock {
    /// The block with those of its transactions that came with it or are in `pool`. Costs a keyed hash for each
    /// transaction of the pool.
    ///
    /// # Errors
    /// Where the compact block is malformed or ambiguous.
    pub fn new<'a>(
        compact: HeaderAndShortIds,
        pool: impl Iterator<Item = (Wtxid, &'a Arc<Transaction>)>,
    ) -> Result<Self, CompactError> {
        let count = compact.short_ids.len() + compact.prefilled_txs.len();
        if count == 0 || count > MAX_BLOCK_TRANSACTIONS {
            return Err(CompactError::Count(count));
        }
        let prefilled = compact.prefilled_txs.iter();
        let bytes = prefilled.map(|prefilled| prefilled.tx.total_size()).sum();
        if bytes > MAX_PREFILLED_BYTES {
            return Err(CompactError::Prefilled { bytes });
        }
        let mut slots = vec![None; count];
        let mut next = 0;
        for prefilled in compact.prefilled_txs {
            // Each index counts from the one before it.
            let place = next + usize::from(prefilled.idx);
            *slots.get_mut(place).ok_or(CompactError::Place)? = Some(Arc::new(prefilled.tx));
            next = place + 1;
        }
        let mut places: HashMap<ShortId, usize> = HashMap::with_capacity(compact.short_ids.len());
        let free = slots.iter().enumerate().filter(|(_, slot)| slot.is_none());
        for ((place, _), id) in free.zip(&compact.short_ids) {
            if places.insert(*id, place).is_some() {
                return Err(CompactError::Ambiguous);
            }
        }
        let keys = ShortId::calculate_siphash_keys(&compact.header, compact.nonce);
        for (wtxid, tx) in pool {
            let id = ShortId::with_siphash_keys(&wtxid.to_raw_hash(), keys);
            let Some(place) = places.get(&id) else {
                continue;
            };
            if let Some(slot) = slots.get_mut(*place) {
                // Two of the pool fit: neither is believed.
                *slot = if slot.is_none() {
                    Some(Arc::clone(tx))
                } else {
                    None
                };
            }
        }
        Ok(Self {
            header: compact.header,
            slots,
        })
    }

    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.header.block_hash()
    }

    /// Places of the transactions that are missing, lowest first.
    #[must_use]
    pub fn missing(&self) -> Vec<u64> {
        let places = (0..).zip(&self.slots);
        places
            .filter(|(_, slot)| slot.is_none())
            .map(|(place, _)| place)
            .collect()
    }

    /// The block, with the missing transactions in the order of their places. Not checked.
    ///
    /// # Errors
    /// Where their number is wrong.
    pub fn complete(self, missing: Vec<Transaction>) -> Result<Block, CompactError> {
        let wanted = self.slots.iter().filter(|slot| slot.is_none()).count();
        let found = missing.len();
        let mut missing = missing.into_iter();
        let transactions = self.slots.into_iter().map(|slot| match slot {
            Some(tx) => Some(Arc::unwrap_or_clone(tx)),
            None => missing.next(),
        });
        let transactions: Option<Vec<_>> = transactions.collect();
        match transactions {
            Some(txdata) if found == wanted => Ok(Block {
                header: self.header,
                txdata,
            }),
            _ => Err(CompactError::Missing { found, wanted }),
        }
    }
}

/// The blocks of one peer that wait for transactions.
#[derive(Debug, Default)]
pub struct PartialBlocks {
    waiting: Vec<(PartialBlock, Instant)>,
}

impl PartialBlocks {
    /// Whether this block waits.
    #[must_use]
    pub fn contains(&self, hash: &BlockHash) -> bool {
        self.waiting.iter().any(|(block, _)| block.hash() == *hash)
    }

    /// Lets a block wait. When there are too many, the oldest goes.
    pub fn insert(&mut self, block: PartialBlock, now: Instant) {
        if self.waiting.len() >= MAX_PARTIAL {
            self.waiting.remove(0);
        }
        self.waiting.push((block, now));
    }

    /// Takes a block out.
    pub fn take(&mut self, hash: &BlockHash) -> Option<PartialBlock> {
        let mut blocks = self.waiting.iter();
        let place = blocks.position(|(block, _)| block.hash() == *hash)?;
        Some(self.waiting.remove(place).0)
    }

    /// Drops those that have waited too long.
    pub fn expire(&mut self, now: Instant) {
        self.waiting
            .retain(|(_, since)| now.saturating_duration_since(*since) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::bip152::PrefilledTransaction;
    use bitcoin::consensus::deserialize;
    use bitcoin::constants::genesis_block;

    use super::*;

    /// A block of `count` different transactions; nothing of it is valid.
    fn block(count: u32) -> Block {
        let mut block = genesis_block(bitcoin::Network::Regtest);
        let first = block.txdata[0].clone();
        block.txdata = (0..count)
            .map(|n| {
                let mut tx = first.clone();
                tx.lock_time = bitcoin::absolute::LockTime::from_consensus(n);
                tx
            })
            .collect();
        block
    }

    fn compact(block: &Block) -> HeaderAndShortIds {
        HeaderAndShortIds::from_block(block, 7, 2, &[]).unwrap()
    }

    fn start(
        compact: HeaderAndShortIds,
        pool: &[Arc<Transaction>],
    ) -> Result<PartialBlock, CompactError> {
        let pool = pool.iter().map(|tx| (tx.compute_wtxid(), tx));
        PartialBlock::new(compact, pool)
    }

    fn pool(block: &Block, places: impl Iterator<Item = usize>) -> Vec<Arc<Transaction>> {
        places.map(|n| Arc::new(block.txdata[n].clone())).collect()
    }

    #[test]
    fn what_the_pool_has_need_not_come() {
        let block = block(6);
        let all = start(compact(&block), &pool(&block, 1..6)).unwrap();
        assert_eq!((all.missing(), all.hash()), (vec![], block.block_hash()));
        assert_eq!(all.complete(Vec::new()).unwrap(), block);
        let some = start(compact(&block), &pool(&block, [1, 4].into_iter())).unwrap();
        assert_eq!(some.missing(), [2, 3, 5]);
        let rest = [2, 3, 5].map(|n: usize| block.txdata[n].clone());
        assert_eq!(some.complete(rest.to_vec()).unwrap(), block);
    }

    /// 256 transactions with a signature and a key each.
    #[test]
    fn a_block_of_a_megabyte_takes_two_kilobytes() {
        let mut block = block(257);
        for tx in block.txdata.iter_mut().skip(1) {
            tx.input[0].witness = bitcoin::Witness::from_slice(&[vec![1; 2_420], vec![2; 1_312]]);
        }
        assert!(block.total_size() > 1_000_000);
        let bytes = bitcoin::consensus::serialize(&compact(&block));
        assert!(bytes.len() < 1_900, "{}", bytes.len());
    }

    #[test]
    fn too_few_or_too_many_make_no_block_and_are_nobodys_fault() {
        let block = block(3);
        for found in [1, 3] {
            let partial = start(compact(&block), &[]).unwrap();
            let error = partial
                .complete(block.txdata[..found].to_vec())
                .unwrap_err();
            assert_eq!(error, CompactError::Missing { found, wanted: 2 });
            assert!(!error.is_peer_fault());
        }
    }

    #[test]
    fn what_brings_a_whole_block_along_is_not_kept() {
        let mut block = block(3);
        block.txdata[1].input[0].script_sig = vec![0; MAX_PREFILLED_BYTES].into();
        let large = HeaderAndShortIds::from_block(&block, 1, 2, &[1]).unwrap();
        let error = start(large, &[]).unwrap_err();
        assert!(matches!(error, CompactError::Prefilled { bytes } if bytes > MAX_PREFILLED_BYTES));
        assert!(!error.is_peer_fault());
    }

    #[test]
    fn several_blocks_wait_for_a_while_and_not_too_many() {
        let start = Instant::now();
        let mut waiting = PartialBlocks::default();
        let hashes: Vec<_> = (0..=MAX_PARTIAL as u64)
            .map(|nonce| {
                let mut block = block(2);
                block.header.nonce = nonce as u32;
                let compact = HeaderAndShortIds::from_block(&block, nonce, 2, &[]).unwrap();
                let partial = PartialBlock::new(compact, std::iter::empty()).unwrap();
                waiting.insert(partial, start + Duration::from_secs(nonce));
                block.block_hash()
            })
            .collect();
        assert!(!waiting.contains(&hashes[0]), "the oldest went");
        assert!(hashes[1..].iter().all(|hash| waiting.contains(hash)));
        assert_eq!(waiting.take(&hashes[2]).unwrap().hash(), hashes[2]);
        assert!(waiting.take(&hashes[2]).is_none());
        waiting.expire(start + PATIENCE + Duration::from_secs(3));
        assert!(!waiting.contains(&hashes[1]) && !waiting.contains(&hashes[3]));
        assert!(waiting.contains(&hashes[4]));
    }

    #[test]
    fn malformed_ones_are_refused() {
        let mut none = compact(&block(1));
        none.prefilled_txs.clear();
        assert_eq!(start(none, &[]).unwrap_err(), CompactError::Count(0));
        let mut behind = compact(&block(3));
        behind.prefilled_txs[0].idx = 3;
        assert_eq!(start(behind, &[]).unwrap_err(), CompactError::Place);
        let mut far = compact(&block(3));
        let tx = far.prefilled_txs[0].tx.clone();
        far.prefilled_txs
            .push(PrefilledTransaction { idx: u16::MAX, tx });
        assert_eq!(start(far, &[]).unwrap_err(), CompactError::Place);
        let mut twice = compact(&block(3));
        twice.short_ids[1] = twice.short_ids[0];
        let error = start(twice, &[]).unwrap_err();
        assert!(error == CompactError::Ambiguous && !error.is_peer_fault());
    }

    #[test]
    fn of_two_that_fit_neither_is_believed() {
        let block = block(2);
        let same = pool(&block, [1, 1].into_iter());
        assert_eq!(start(compact(&block), &same).unwrap().missing(), [1]);
    }

    #[test]
    fn prefilled_transactions_stand_where_they_belong() {
        let block = block(5);
        let compact = HeaderAndShortIds::from_block(&block, 1, 2, &[3]).unwrap();
        let bytes = bitcoin::consensus::serialize(&compact);
        let partial = start(deserialize(&bytes).unwrap(), &[]).unwrap();
        assert_eq!(partial.missing(), [1, 2, 4]);
        let rest = [1, 2, 4].map(|n: usize| block.txdata[n].clone());
        assert_eq!(partial.complete(rest.to_vec()).unwrap(), block);
    }
}
