//! Side chains: their blocks are kept, and verified when their chain has more work than the tip's.

use bitcoin::consensus::encode::deserialize;
use bitcoin::{Block, BlockHash};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::connect::{Bytes, Candidate};
use super::writer::{UndoPlace, Writer};
use super::{Blockchain, State};
use crate::chain::coins::{self, Undo};
use crate::chain::consensus::{check_block, check_block_at};
use crate::chain::store::Standing;
use crate::chain::tree::{Id, Location};
use crate::chain::{BlockError, BlockRef, StoreError};

/// Blocks of a side chain that are read and connected at a time, as many as the chain writer hands over.
const RUN_BLOCKS: usize = 64;
/// Serialized bytes after which fewer are.
const RUN_BYTES: usize = 8 << 20;

impl Blockchain {
    /// Keeps a block that does not follow the tip, and changes over to its chain if that has more work.
    pub(super) fn keep_aside(
        &self,
        writer: &mut Writer,
        reference: BlockRef,
        bytes: &[u8],
    ) -> Result<BlockRef, BlockError> {
        let location = self
            .keep_block(writer, bytes)
            .inspect_err(|_| writer.stop())?;
        let standing = Standing {
            block: Some(location),
            ..Standing::default()
        };
        writer.note(reference.hash, standing);
        let better = {
            let mut state = self.write();
            state.tree.find(&reference.hash).is_some_and(|id| {
                state.tree.set_location(id, location);
                state.tree.work(id) > state.tree.work(state.tip_id())
            })
        };
        if better {
            self.activate(writer, reference.hash)?;
        } else {
            self.flush_if_wanted(writer)
                .inspect_err(|_| writer.stop())?;
        }
        Ok(reference)
    }

    /// Goes on where the files' last writer was interrupted.
    pub(super) fn resume(&self) -> Result<(), StoreError> {
        let mut writer = self.lock_writer();
        let target = self.read().best_kept();
        if let Some(target) = target {
            tracing::info!(block = %target, "verifying blocks beyond the last flush");
            // After any other error the invalid block has been marked, and the best of the others taken.
            if let Err(BlockError::Store(error)) = self.activate(&mut writer, target) {
                return Err(error);
            }
            self.publish();
        }
        Ok(())
    }

    /// Changes over to the chain that ends in the kept block `target`, or to the best there is if that one
    /// is not valid. Gives what is wrong with `target`.
    fn activate(&self, writer: &mut Writer, target: BlockHash) -> Result<(), BlockError> {
        let mut outcome = Ok(());
        let origin = self.connected().hash;
        let mut next = Some(target);
        while let Some(goal) = next {
            match self.switch_to(writer, goal) {
                Ok(()) => {}
                Err(BlockError::Store(error)) => {
                    writer.stop();
                    return Err(error.into());
                }
                Err(error) if goal == target => outcome = Err(error),
                Err(_) => {}
            }
            // After a success there is none. After a failure one header more is marked, so this ends.
            next = self.read().best_kept_or(origin);
        }
        outcome
    }

    /// Disconnects down to the fork, and connects up to `goal`; after an error the tip is below it.
    fn switch_to(&self, writer: &mut Writer, goal: BlockHash) -> Result<(), BlockError> {
        let (fork, path) = self.read().path_to(goal);
        let before = self.connected();
        while self.connected().height > fork {
            self.disconnect_tip(writer)?;
        }
        if before.height > fork {
            tracing::info!(
                from = %before.hash, to = %goal, disconnected = before.height - fork,
                connecting = path.len(), "changing over to a chain of more work"
            );
        }
        let mut rest = path.as_slice();
        while !rest.is_empty() {
            let blocks = self.load_run(rest)?;
            let run: Vec<Candidate<'_>> = blocks
                .iter()
                .zip(rest)
                .map(|(block, (reference, location))| Candidate {
                    block,
                    reference: *reference,
                    bytes: Bytes::Kept(*location),
                })
                .collect();
            let (connected, failure) = self.connect_kept(writer, &run)?;
            if let Some(error) = failure {
                let failed = run.get(connected).map(|candidate| candidate.reference.hash);
                return Err(match error {
                    BlockError::Store(_) => error,
                    _ if failed == Some(goal) => error,
                    _ => BlockError::KnownInvalid { hash: goal },
                });
            }
            rest = rest.get(connected..).unwrap_or_default();
        }
        Ok(())
    }

    /// Connects blocks that were read from the files, held to the rules as if they had just come: these may
    /// be stricter than those of the release that wrote them.
    fn connect_kept(
        &self,
        writer: &mut Writer,
        run: &[Candidate<'_>],
    ) -> Result<(usize, Option<BlockError>), StoreError> {
        let bad = run
            .par_iter()
            .enumerate()
            .find_map_first(|(index, candidate)| {
                let checked = check_block(&self.rules, candidate.block)
                    .and_then(|()| check_block_at(candidate.block, candidate.reference.height));
                checked.err().map(|error| (index, candidate, error))
            });
        let good = bad.as_ref().map_or(run.len(), |(index, ..)| *index);
        let (connected, failure) = self.connect_run(writer, run.get(..good).unwrap_or_default());
        match bad {
            Some((_, candidate, error)) if failure.is_none() => {
                // What is stored was what its header commits to.
                if let (true, Bytes::Kept(location), Some(reader)) =
                    (error.is_mutation(), &candidate.bytes, &self.reader)
                {
                    return Err(reader.damaged_block(*location, error.to_string()));
                }
                self.condemn(writer, candidate.reference, &error);
                Ok((connected, Some(error)))
            }
            _ => Ok((connected, failure)),
        }
    }

    /// Reads the next blocks of a path, as many as one run has.
    fn load_run(&self, path: &[(BlockRef, Location)]) -> Result<Vec<Block>, StoreError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for (_, location) in path.iter().take(RUN_BLOCKS) {
            if bytes >= RUN_BYTES {
                break;
            }
            let block = self.kept_block(*location)?;
            bytes += block.total_size();
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Takes the tip back: the block stays kept.
    fn disconnect_tip(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let (hash, location) = {
            let state = self.read();
            let id = state.tip_id();
            (state.tree.hash(id), state.tree.location(id))
        };
        // Only the genesis block has no place, and no chain forks below it.
        let (Some(location), Some(place)) = (location, writer.pop_undo()) else {
            return Ok(());
        };
        let block = self.kept_block(location)?;
        let undo = self.read_undo(&place, &hash)?;
        coins::disconnect(&mut writer.coins, &block, undo)?;
        self.write().verified.pop();
        let standing = Standing {
            block: Some(location),
            ..Standing::default()
        };
        writer.note(hash, standing);
        self.flush_if_wanted(writer)
    }

    /// The undo data of a block.
    pub(super) fn read_undo(
        &self,
        place: &UndoPlace,
        block: &BlockHash,
    ) -> Result<Undo, StoreError> {
        match (place, &self.reader) {
            (UndoPlace::File(location), Some(reader)) => reader.undo(*location, block),
            (UndoPlace::Memory(undo), _) => Ok(undo.clone()),
            // A chain without files keeps all in memory.
            (UndoPlace::File(_), None) => Ok(Undo::default()),
        }
    }

    /// Reads a kept block, whether it is verified or not.
    pub(super) fn kept_block(&self, location: Location) -> Result<Block, StoreError> {
        let bytes = self.kept_bytes(location)?;
        deserialize(&bytes).map_err(|error| match &self.reader {
            Some(reader) => reader.damaged_block(location, error.to_string()),
            None => StoreError::Database {
                path: std::path::PathBuf::new(),
                what: error.to_string(),
            },
        })
    }
}

impl State {
    /// The kept block of most work that is not known to be invalid, if it has more work than the tip.
    fn best_kept(&self) -> Option<BlockHash> {
        let mut best = self.tip_id();
        for id in self.tree.ids() {
            let better = self.tree.work(id) > self.tree.work(best);
            if better && self.tree.has_block(id) && !self.tree.is_invalid(id) {
                best = id;
            }
        }
        (best != self.tip_id()).then(|| self.tree.hash(best))
    }

    /// As [`Self::best_kept`], but of equals `origin`, which was there first.
    fn best_kept_or(&self, origin: BlockHash) -> Option<BlockHash> {
        self.best_kept().or_else(|| {
            let id = self.tree.find(&origin)?;
            let tie = id != self.tip_id() && self.tree.work(id) == self.tree.work(self.tip_id());
            tie.then_some(origin)
        })
    }

    /// The height up to which the verified chain and that of the kept block `goal` are one, and the blocks
    /// from there to `goal`.
    fn path_to(&self, goal: BlockHash) -> (u32, Vec<(BlockRef, Location)>) {
        let mut path = Vec::new();
        let mut id = self.tree.find(&goal).unwrap_or(Id::GENESIS);
        while !self.is_verified(id) {
            // A kept block's ancestors are kept.
            let location = self.tree.location(id);
            path.extend(location.map(|location| (self.tree.reference(id), location)));
            id = self.tree.parent(id);
        }
        path.reverse();
        (self.tree.height(id), path)
    }
}
