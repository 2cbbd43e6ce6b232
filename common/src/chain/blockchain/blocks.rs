//! Blocks: which to fetch, reading them back; coins.

use std::sync::MutexGuard;

use bitcoin::consensus::encode::serialize;
use bitcoin::{Block, BlockHash, OutPoint};

use super::writer::Writer;
use super::{Blockchain, State};
use crate::chain::consensus::{Coin, ParentContext};
use crate::chain::tree::{Id, Location};
use crate::chain::{BlockRef, StoreError};

/// A header chain with more work than the verified chain: [`Blockchain::branch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Its end.
    pub tip: BlockRef,
    /// All of its work.
    pub work: u128,
    /// Its lowest block that is not verified.
    pub first_missing: BlockRef,
}

/// How to get from a block to the verified chain's end: [`Blockchain::route`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Blocks to take back, from the top down.
    pub disconnected: Vec<BlockHash>,
    /// Blocks to connect then, from the fork up.
    pub connected: Vec<BlockHash>,
}

/// The verified chain at one moment, between two batches of blocks: [`Blockchain::view`]. The chain waits while this
/// is held.
#[derive(Debug)]
pub struct View<'a> {
    chain: &'a Blockchain,
    writer: MutexGuard<'a, Writer>,
}

impl View<'_> {
    /// The last verified block, and what a child of it is checked against.
    #[must_use]
    pub fn tip(&self) -> ParentContext {
        self.chain.tip_context()
    }

    /// The unspent output as that block leaves it.
    ///
    /// # Errors
    /// Where the database can't be read.
    pub fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        self.writer.check_running()?;
        self.writer.coins.coin(outpoint)
    }
}

impl Blockchain {
    /// The chain as it is, for whoever needs its end and its coins to fit together. Waits while blocks are being
    /// connected, so it never shows the midst of a reorganisation.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            chain: self,
            writer: self.lock_writer(),
        }
    }

    /// Blocks to fetch to get to the header `tip`: those that lead to it and are not verified yet, it
    /// included, lowest first, at most `limit`. None where the header is unknown or invalid, or its chain
    /// has not the network's minimum work.
    #[must_use]
    pub fn missing_blocks(&self, tip: &BlockHash, limit: usize) -> Vec<BlockRef> {
        let state = self.read();
        let Some(id) = self.plausible(&state, tip) else {
            return Vec::new();
        };
        let missing = state.missing(id, limit);
        missing.iter().map(|id| state.tree.reference(*id)).collect()
    }

    /// The chain that ends in the header `tip`, if its blocks are worth fetching: it is known and not known
    /// to be invalid, and has the network's minimum work and more work than the verified chain.
    #[must_use]
    pub fn branch(&self, tip: &BlockHash) -> Option<Branch> {
        let state = self.read();
        let id = self.plausible(&state, tip)?;
        let work = state.tree.work(id);
        if work <= state.tree.work(state.tip_id()) {
            return None;
        }
        let first = *state.missing(id, 1).first()?;
        Some(Branch {
            tip: state.tree.reference(id),
            work,
            first_missing: state.tree.reference(first),
        })
    }

    /// A header that blocks may be fetched for.
    fn plausible(&self, state: &State, tip: &BlockHash) -> Option<Id> {
        let id = state.tree.find(tip)?;
        let enough = state.tree.work(id) >= self.rules.minimum_work;
        (enough && !state.tree.is_invalid(id)).then_some(id)
    }

    /// Whether the block is kept, on any chain; on a side chain it need not be verified.
    #[must_use]
    pub fn has_block(&self, hash: &BlockHash) -> bool {
        let state = self.read();
        state
            .tree
            .find(hash)
            .is_some_and(|id| state.tree.has_block(id))
    }

    /// Whether the block is on the verified chain.
    #[must_use]
    pub fn is_verified(&self, hash: &BlockHash) -> bool {
        let state = self.read();
        let id = state.tree.find(hash);
        id.is_some_and(|id| state.is_verified(id))
    }

    /// The serialized block, or `None` where it is not on the verified chain.
    ///
    /// # Errors
    /// Where the disk can't be read, or holds what was not written.
    pub fn block(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        if self.genesis.block_hash() == *hash {
            return Ok(Some(serialize(&self.genesis)));
        }
        let location = {
            let state = self.read();
            // A block of a side chain may turn out to be invalid: it is nobody's business yet.
            let id = state.tree.find(hash).filter(|id| state.is_verified(*id));
            id.and_then(|id| state.tree.location(id))
        };
        location
            .map(|location| self.kept_bytes(location))
            .transpose()
    }

    /// Reads a kept block, whether it is verified or not.
    pub(super) fn kept_bytes(&self, location: Location) -> Result<Vec<u8>, StoreError> {
        match &self.reader {
            Some(reader) => reader.block(location),
            None => {
                let state = self.read();
                // The index was given by `keep_block`, and blocks are never removed.
                let block = state.blocks.get(location.offset as usize);
                Ok(block.cloned().unwrap_or_default())
            }
        }
    }

    /// The block at `height` on the verified chain.
    #[must_use]
    pub fn block_at(&self, height: u32) -> Option<BlockHash> {
        let state = self.read();
        state
            .verified
            .get(height as usize)
            .map(|id| state.tree.hash(*id))
    }

    /// The way from the block `from` to the end of the verified chain, at most `limit` blocks up it. None where
    /// `from` is not known any more, or more than `limit` blocks would have to be taken back.
    ///
    /// While the chain is being reorganised its end may not be [`Blockchain::tip`] yet, or never become it: ask
    /// again from there.
    #[must_use]
    pub fn route(&self, from: &BlockHash, limit: usize) -> Option<Route> {
        let state = self.read();
        let mut route = Route::default();
        let mut id = state.tree.find(from)?;
        while !state.is_verified(id) {
            if route.disconnected.len() >= limit {
                return None;
            }
            route.disconnected.push(state.tree.hash(id));
            id = state.tree.parent(id);
        }
        let above = state
            .verified
            .iter()
            .skip(state.tree.height(id) as usize + 1);
        route.connected = above.take(limit).map(|id| state.tree.hash(*id)).collect();
        Some(route)
    }

    /// A block that is kept, on any chain, verified or not; `None` where it is not.
    ///
    /// # Errors
    /// As [`Blockchain::block`].
    pub fn any_block(&self, hash: &BlockHash) -> Result<Option<Block>, StoreError> {
        let location = {
            let state = self.read();
            let id = state.tree.find(hash);
            id.and_then(|id| state.tree.location(id))
        };
        location
            .map(|location| self.kept_block(location))
            .transpose()
    }

    /// The unspent output as the verified tip leaves it. Waits while blocks are being connected.
    ///
    /// # Errors
    /// Where the database can't be read.
    pub fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        self.view().coin(outpoint)
    }
}

impl State {
    /// Headers that lead to `tip` and have no block, lowest first, at most `limit`. Takes steps only for
    /// headers that are not on the best chain.
    fn missing(&self, tip: Id, limit: usize) -> Vec<Id> {
        let tree = &self.tree;
        let best = tree.best_chain();
        let mut side = Vec::new();
        let mut id = tip;
        while !tree.has_block(id) && best.get(tree.height(id) as usize) != Some(&id) {
            side.push(id);
            id = tree.parent(id);
        }
        // On one chain, kept blocks come first, since parents are kept before children.
        let on_best = if tree.has_block(id) {
            &[]
        } else {
            let first = best.partition_point(|id| tree.has_block(*id));
            best.get(first..=tree.height(id) as usize)
                .unwrap_or_default()
        };
        on_best
            .iter()
            .copied()
            .chain(side.into_iter().rev())
            .take(limit)
            .collect()
    }
}
