//! Blocks: which to fetch, checking and connecting them, reading them back.

use bitcoin::consensus::encode::serialize;
use bitcoin::{Block, BlockHash};

use super::{Backend, Blockchain, State};
use crate::chain::consensus::{check_block, check_block_at};
use crate::chain::tree::{Id, Location};
use crate::chain::{BlockError, BlockRef, StoreError};

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

impl Blockchain {
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

    /// Whether the block is verified and kept, on any chain.
    #[must_use]
    pub fn has_block(&self, hash: &BlockHash) -> bool {
        let state = self.read();
        state
            .tree
            .find(hash)
            .is_some_and(|id| state.tree.has_block(id))
    }

    /// Checks all of a block that needs no other block; may run on many threads at once.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_block(&self, block: &Block) -> Result<(), BlockError> {
        check_block(&self.rules, block)
    }

    /// Verifies a block whose header was accepted and whose parent is connected, stores it, and moves the
    /// tip to it if its chain now has the most work. A block that is connected already is a success.
    ///
    /// Flushes when a thousand blocks or 16 MiB have gathered. A block that breaks a rule condemns its
    /// header and all that follow it, unless the fault may lie in a body that was changed on the way
    /// ([`BlockError::is_mutation`]).
    ///
    /// # Errors
    /// What the block lacks, breaks, or what the disk refuses.
    pub fn connect_block(&self, block: &Block) -> Result<BlockRef, BlockError> {
        let mut writer = self.lock_writer();
        let hash = block.block_hash();
        let (id, reference, done) = self.connectable(block, hash)?;
        if done {
            return Ok(reference);
        }
        let checked = check_block(&self.rules, block)
            .and_then(|()| check_block_at(&self.rules, block, reference.height));
        if let Err(error) = checked {
            if error.condemns_header() {
                tracing::warn!(%hash, height = reference.height, %error, "invalid block");
                self.write().tree.mark_invalid(id);
            }
            return Err(error);
        }
        self.keep(&mut writer, id, serialize(block))?;
        Ok(reference)
    }

    /// Does [`Blockchain::connect_block`] for each block, and gives each one's result: faster than one by one
    /// where they follow each other.
    pub fn connect_blocks(&self, blocks: &[Block]) -> Vec<Result<BlockRef, BlockError>> {
        blocks
            .iter()
            .map(|block| self.connect_block(block))
            .collect()
    }

    /// The serialized block, or `None` where it is not kept.
    ///
    /// # Errors
    /// Where the disk can't be read, or holds what was not written.
    pub fn block(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        if self.genesis.block_hash() == *hash {
            return Ok(Some(serialize(&self.genesis)));
        }
        let location = {
            let state = self.read();
            let Some(location) = state.tree.find(hash).and_then(|id| state.tree.location(id))
            else {
                return Ok(None);
            };
            if self.reader.is_none() {
                return Ok(state.blocks.get(location.offset as usize).cloned());
            }
            location
        };
        self.reader
            .as_ref()
            .map(|reader| reader.read(location))
            .transpose()
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

    /// Finds the block's place; true if it is connected already.
    fn connectable(
        &self,
        block: &Block,
        hash: BlockHash,
    ) -> Result<(Id, BlockRef, bool), BlockError> {
        let state = self.read();
        let id = state
            .tree
            .find(&hash)
            .ok_or(BlockError::UnknownHeader { hash })?;
        if state.tree.is_invalid(id) {
            return Err(BlockError::KnownInvalid { hash });
        }
        let reference = state.tree.reference(id);
        if state.tree.has_block(id) {
            return Ok((id, reference, true));
        }
        if !state.tree.has_block(state.tree.parent(id)) {
            return Err(BlockError::ParentNotConnected {
                hash,
                parent: block.header.prev_blockhash,
            });
        }
        Ok((id, reference, false))
    }

    /// Stores a verified block and moves the tip.
    fn keep(&self, writer: &mut Backend, id: Id, bytes: Vec<u8>) -> Result<(), StoreError> {
        let location = match writer {
            Backend::Disk(store) => store.append_block(&bytes)?,
            Backend::Memory => {
                let mut state = self.write();
                state.blocks.push(bytes);
                // Fewer than 2^32 blocks: there are not so many headers.
                Location {
                    file: 0,
                    offset: (state.blocks.len() - 1) as u32,
                }
            }
        };
        let tip = {
            let mut state = self.write();
            state.set_block(id, location).then(|| state.tip())
        };
        if let Some(tip) = tip {
            self.tip.send_replace(tip);
        }
        match writer {
            Backend::Disk(store) if store.wants_flush() => store.flush(),
            _ => Ok(()),
        }
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
        // On one chain, verified blocks come first, since parents are verified before children.
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
