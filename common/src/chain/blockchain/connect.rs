//! Connecting blocks: runs that extend the tip are verified together, on all cores.

use bitcoin::{Block, BlockHash, Transaction};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::Blockchain;
use super::writer::Writer;
use crate::chain::coins::{self, Undo};
use crate::chain::consensus::{Coin, check_block, check_block_at, check_signatures};
use crate::chain::store::Standing;
use crate::chain::tree::{Id, Location};
use crate::chain::{BlockError, BlockRef};

/// A block, and what is wrong with it by itself: [`Blockchain::check_block`]. For the chain that checked it.
#[derive(Debug)]
pub struct CheckedBlock {
    block: Block,
    hash: BlockHash,
    size: usize,
    verdict: Result<(), BlockError>,
}

impl CheckedBlock {
    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Its serialized size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The first rule that it breaks by itself, if it breaks one.
    ///
    /// # Errors
    /// That is the error.
    pub fn verdict(&self) -> Result<(), &BlockError> {
        self.verdict.as_ref().copied()
    }
}

/// A block that was checked by itself, and how it is kept if it is right.
struct Prepared<'a> {
    block: &'a Block,
    hash: BlockHash,
    record: Result<Vec<u8>, BlockError>,
}

/// A block that is to be connected.
pub(super) struct Candidate<'a> {
    pub(super) block: &'a Block,
    pub(super) reference: BlockRef,
    pub(super) bytes: Bytes,
}

/// Where a block's bytes are.
pub(super) enum Bytes {
    /// In the files already.
    Kept(Location),
    /// Here, as they will be kept.
    New(Vec<u8>),
}

/// Where a block belongs.
enum Place {
    /// It is kept already.
    Known(BlockRef),
    /// It follows the block that is asked about.
    Next(BlockRef),
    /// It follows another block that is kept.
    Side(BlockRef),
}

impl Blockchain {
    /// Checks all of a block that needs no other block; may run on many threads at once.
    #[must_use]
    pub fn check_block(&self, block: Block) -> CheckedBlock {
        CheckedBlock {
            hash: block.block_hash(),
            size: block.total_size(),
            verdict: check_block(&self.rules, &block),
            block,
        }
    }

    /// Takes in a block whose header was accepted and whose parent is kept.
    ///
    /// A block that extends the tip is verified in full, and the tip moves to it. Any other is checked as far
    /// as it can be and kept; as soon as its chain has more work than the tip's, that chain is verified and
    /// takes over. A block that is kept already is a success. A block that breaks a rule condemns its header
    /// and all that follow it, unless the fault may lie in a body that was changed on the way
    /// ([`BlockError::is_mutation`]).
    ///
    /// # Errors
    /// What the block lacks, breaks, or what the disk refuses.
    pub fn connect_block(&self, block: &Block) -> Result<BlockRef, BlockError> {
        let mut results = self.connect_blocks(std::slice::from_ref(block));
        // One result for one block.
        results.pop().unwrap_or(Err(BlockError::Empty))
    }

    /// Does what [`Blockchain::connect_block`] does for each block in order, and gives each one's result. Blocks
    /// that follow each other share the work of all cores.
    #[must_use]
    pub fn connect_blocks(&self, blocks: &[Block]) -> Vec<Result<BlockRef, BlockError>> {
        let prepared = blocks.par_iter().map(|block| {
            let verdict = check_block(&self.rules, block);
            self.prepare(block, block.block_hash(), verdict)
        });
        self.connect_prepared(prepared.collect())
    }

    /// Does what [`Blockchain::connect_blocks`] does for blocks that were checked where they arrived, and does not check
    /// them a second time.
    #[must_use]
    pub fn connect_checked(&self, blocks: Vec<CheckedBlock>) -> Vec<Result<BlockRef, BlockError>> {
        let (blocks, verdicts): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .map(|checked| ((checked.block, checked.hash), checked.verdict))
            .unzip();
        let prepared = blocks
            .par_iter()
            .zip(verdicts)
            .map(|((block, hash), verdict)| self.prepare(block, *hash, verdict));
        self.connect_prepared(prepared.collect())
    }

    fn prepare<'a>(
        &self,
        block: &'a Block,
        hash: BlockHash,
        verdict: Result<(), BlockError>,
    ) -> Prepared<'a> {
        Prepared {
            block,
            hash,
            record: verdict.map(|()| self.encode_block(block)),
        }
    }

    fn connect_prepared(&self, blocks: Vec<Prepared<'_>>) -> Vec<Result<BlockRef, BlockError>> {
        let mut writer = self.lock_writer();
        let before = self.connected();
        let mut results = Vec::with_capacity(blocks.len());
        let mut run: Vec<Candidate<'_>> = Vec::new();
        for Prepared {
            block,
            hash,
            record,
        } in blocks
        {
            // What does not follow the run is judged by what is left when the run is over.
            let follows = |last: &Candidate<'_>| last.reference.hash == block.header.prev_blockhash;
            if !run.last().is_some_and(follows) {
                self.finish(&mut writer, &mut run, &mut results);
            }
            let end = run
                .last()
                .map_or_else(|| self.connected(), |last| last.reference);
            let result = match self.admit(&mut writer, block, hash, record, end) {
                Ok((Place::Next(reference), bytes)) => {
                    let bytes = Bytes::New(bytes);
                    run.push(Candidate {
                        block,
                        reference,
                        bytes,
                    });
                    continue;
                }
                Ok((Place::Known(reference), _)) => Ok(reference),
                Ok((Place::Side(reference), bytes)) => {
                    self.keep_aside(&mut writer, reference, &bytes)
                }
                Err(error) => Err(error),
            };
            self.finish(&mut writer, &mut run, &mut results);
            results.push(result);
        }
        self.finish(&mut writer, &mut run, &mut results);
        if self.connected() != before {
            self.publish();
        }
        results
    }

    /// Finds a block's place after `end`, and checks it as far as that needs no coins. Gives its bytes back.
    fn admit(
        &self,
        writer: &mut Writer,
        block: &Block,
        hash: BlockHash,
        record: Result<Vec<u8>, BlockError>,
        end: BlockRef,
    ) -> Result<(Place, Vec<u8>), BlockError> {
        writer.check_running()?;
        let place = self.place(block, hash, end)?;
        let (Place::Next(reference) | Place::Side(reference)) = place else {
            return Ok((place, Vec::new()));
        };
        let record =
            record.and_then(|bytes| check_block_at(block, reference.height).map(|()| bytes));
        match record {
            Ok(bytes) => Ok((place, bytes)),
            Err(error) => {
                self.condemn(writer, reference, &error);
                Err(error)
            }
        }
    }

    fn place(&self, block: &Block, hash: BlockHash, end: BlockRef) -> Result<Place, BlockError> {
        let state = self.read();
        let tree = &state.tree;
        let id = tree.find(&hash).ok_or(BlockError::UnknownHeader { hash })?;
        if tree.is_invalid(id) {
            return Err(BlockError::KnownInvalid { hash });
        }
        let reference = tree.reference(id);
        if tree.has_block(id) {
            return Ok(Place::Known(reference));
        }
        if block.header.prev_blockhash == end.hash {
            return Ok(Place::Next(reference));
        }
        if !tree.has_block(tree.parent(id)) {
            return Err(BlockError::ParentNotConnected {
                hash,
                parent: block.header.prev_blockhash,
            });
        }
        Ok(Place::Side(reference))
    }

    /// Connects a run and adds its results.
    fn finish(
        &self,
        writer: &mut Writer,
        run: &mut Vec<Candidate<'_>>,
        results: &mut Vec<Result<BlockRef, BlockError>>,
    ) {
        let run = std::mem::take(run);
        if run.is_empty() {
            return;
        }
        let (connected, mut failure) = self.connect_run(writer, &run);
        results.extend(run.iter().take(connected).map(|c| Ok(c.reference)));
        for candidate in run.iter().skip(connected) {
            results.push(Err(match failure.take() {
                Some(error) => error,
                None => self.refusal(writer, candidate),
            }));
        }
    }

    /// Why a block that comes after one that failed is refused.
    fn refusal(&self, writer: &Writer, candidate: &Candidate<'_>) -> BlockError {
        let hash = candidate.reference.hash;
        if let Err(error) = writer.check_running() {
            return error.into();
        }
        match self.place(candidate.block, hash, self.connected()) {
            Err(error) => error,
            Ok(_) => BlockError::ParentNotConnected {
                hash,
                parent: candidate.block.header.prev_blockhash,
            },
        }
    }

    /// Verifies blocks that follow the tip and each other, keeps those that are not kept yet, and moves the
    /// tip. Gives how many were connected and why the next one was not.
    pub(super) fn connect_run(
        &self,
        writer: &mut Writer,
        run: &[Candidate<'_>],
    ) -> (usize, Option<BlockError>) {
        let (spent, mut failure) = self.spend_run(writer, run);
        let good = spent.len();
        let mut connected = 0;
        for (candidate, undo) in run.iter().zip(spent) {
            match self.keep(writer, candidate, undo) {
                Ok(()) => connected += 1,
                Err(error) => {
                    writer.stop();
                    failure = Some(error.into());
                    break;
                }
            }
        }
        if connected == good
            && let Some(error) = &failure
            && let Some(candidate) = run.get(connected)
        {
            self.condemn(writer, candidate.reference, error);
        }
        if let Err(error) = self.flush_if_wanted(writer) {
            writer.stop();
            failure.get_or_insert(error.into());
        }
        (connected, failure)
    }

    /// Moves the coins of the blocks that are right; gives what each spent, and why the next one is not.
    fn spend_run(
        &self,
        writer: &mut Writer,
        run: &[Candidate<'_>],
    ) -> (Vec<Undo>, Option<BlockError>) {
        let mut spent = Vec::with_capacity(run.len());
        let mut failure = None;
        for candidate in run {
            let median_time = self.median_time_before(candidate.block);
            let height = candidate.reference.height;
            let coins = &mut writer.coins;
            match coins::connect(&self.rules, coins, candidate.block, height, median_time) {
                Ok(undo) => spent.push(undo),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        // A lookup that failed has left coins half moved: nothing may hide that.
        let failed = matches!(failure, Some(BlockError::Store(_)));
        if !failed && let Some((index, error)) = self.bad_signature(run, &spent) {
            failure = Some(error);
            let wrong = spent.split_off(index);
            for (candidate, undo) in run.iter().skip(index).zip(wrong).rev() {
                if let Err(error) = coins::disconnect(&mut writer.coins, candidate.block, undo) {
                    failure = Some(error.into());
                    break;
                }
            }
        }
        if let Some(BlockError::Store(_)) = failure {
            writer.stop();
            spent.clear();
        }
        (spent, failure)
    }

    /// The first block with a bad signature; all cores look.
    fn bad_signature(&self, run: &[Candidate<'_>], spent: &[Undo]) -> Option<(usize, BlockError)> {
        let jobs: Vec<(usize, usize, &Transaction, &Vec<Coin>)> = run
            .iter()
            .zip(spent)
            .enumerate()
            .flat_map(|(index, (candidate, undo))| {
                let transactions = candidate.block.txdata.iter().enumerate().skip(1);
                transactions
                    .zip(&undo.spent)
                    .map(move |((place, tx), coins)| (index, place, tx, coins))
            })
            .collect();
        jobs.par_iter()
            .with_max_len(1)
            .find_map_first(|(index, place, tx, coins)| {
                if self.has_checked_signatures(tx) {
                    return None;
                }
                let error = check_signatures(&self.rules, tx, coins).err()?;
                Some((*index, BlockError::transaction(*place, tx, error)))
            })
    }

    /// The median time of the blocks before this one, by which its transactions' lock times are judged.
    fn median_time_before(&self, block: &Block) -> u32 {
        let state = self.read();
        // The parent is known: the block's header was accepted.
        let parent = state.tree.find(&block.header.prev_blockhash);
        state
            .tree
            .context(parent.unwrap_or(Id::GENESIS))
            .median_time()
    }

    /// Keeps a connected block and its undo data, and moves the tip to it.
    fn keep(
        &self,
        writer: &mut Writer,
        candidate: &Candidate<'_>,
        undo: Undo,
    ) -> Result<(), crate::chain::StoreError> {
        let hash = candidate.reference.hash;
        let location = match &candidate.bytes {
            Bytes::Kept(location) => *location,
            Bytes::New(bytes) => self.keep_block(writer, bytes)?,
        };
        writer.push_undo(hash, location, undo)?;
        let mut state = self.write();
        // Headers are dropped only under the writer's lock, so it is still known.
        if let Some(id) = state.tree.find(&hash) {
            state.tree.set_location(id, location);
            state.verified.push(id);
        }
        Ok(())
    }

    /// Marks a block that breaks a rule, and all that follow it.
    pub(super) fn condemn(&self, writer: &mut Writer, block: BlockRef, error: &BlockError) {
        if !error.condemns_header() {
            return;
        }
        let BlockRef { hash, height } = block;
        tracing::warn!(%hash, height, %error, "invalid block");
        let mut state = self.write();
        if let Some(id) = state.tree.find(&hash) {
            let standing = Standing {
                block: state.tree.location(id),
                undo: None,
                invalid: true,
            };
            state.tree.mark_invalid(&[id]);
            writer.note(hash, standing);
        }
    }
}
