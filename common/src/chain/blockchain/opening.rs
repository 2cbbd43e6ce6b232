//! From the files to a [`Blockchain`].
//!
//! What is there was checked before it was written, and its checksum holds; headers' proof of work and the
//! links between records are checked again, the rest is not. Blocks beyond the last flush are verified as if
//! they had just come.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::{BlockHash, CompactTarget};
use ruint::aliases::U256;

use super::writer::Writer;
use super::{Blockchain, State};
use crate::chain::StoreError;
use crate::chain::consensus::work_of;
use crate::chain::store::{
    self, BlockReader, Database, HeadersFile, Limits, Load, Opened, Standing,
};
use crate::chain::tree::{HeaderTree, Id, Location};
use crate::chain_spec::{ChainSpec, compact};

impl Blockchain {
    pub(in crate::chain) fn open_with(
        spec: Arc<ChainSpec>,
        dir: &Path,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let genesis = spec.genesis_block();
        let mut loader = Loader {
            tree: HeaderTree::new(&genesis.header),
            last: Id::GENESIS,
            bits: None,
        };
        let opened = store::open(&spec, dir, limits, &mut loader)?;
        let Opened {
            mut headers,
            blocks,
            mark,
            unflushed,
        } = opened;
        let missing = |hash| StoreError::Damaged {
            path: HeadersFile::path(dir),
            offset: 0,
            what: format!("the header of block {hash}, which was flushed, is missing"),
        };
        let places = load_standings(&mut loader.tree, blocks.database(), missing)?;
        let (verified, undo) = match mark {
            None => (vec![Id::GENESIS], Vec::new()),
            Some(mark) => {
                let chain = verified_chain(&loader.tree, mark.tip.hash, &places);
                chain.ok_or_else(|| {
                    let what = format!("a block below the tip {} has no entry", mark.tip.hash);
                    blocks.inconsistent(what)
                })?
            }
        };
        let pending = loader.take_unflushed(unflushed, &mut headers, &blocks.reader())?;
        let state = State {
            tree: loader.tree,
            verified,
            blocks: Vec::new(),
        };
        let mut writer = Writer::on_disk(blocks, undo);
        for (hash, location) in pending {
            let standing = Standing {
                block: Some(location),
                ..Standing::default()
            };
            writer.note(hash, standing);
        }
        let chain = Self::assemble(spec, genesis, state, writer, Some(headers));
        chain.resume()?;
        let (tip, best) = (chain.tip(), chain.best_header());
        tracing::info!(
            dir = %dir.display(), height = tip.height, tip = %tip.hash, headers = best.height, "chain opened"
        );
        Ok(chain)
    }
}

/// Builds the tree from the files.
struct Loader {
    tree: HeaderTree,
    /// The header that was inserted last.
    last: Id,
    /// What the bits of that header mean; nearly always those of the next as well.
    bits: Option<Difficulty>,
}

/// What bits mean.
#[derive(Debug, Clone, Copy)]
struct Difficulty {
    bits: CompactTarget,
    target: U256,
    work: u128,
}

impl Load for Loader {
    fn expect_headers(&mut self, count: usize) {
        self.tree.reserve(count);
    }

    fn expect_hashes<'a>(&mut self, hashes: impl Iterator<Item = &'a BlockHash>) {
        self.tree.warm(hashes);
    }

    fn header(&mut self, header: &Header, hash: BlockHash) -> Result<(), String> {
        self.insert(header, hash).map(|_| ())
    }
}

impl Loader {
    fn insert(&mut self, header: &Header, hash: BlockHash) -> Result<Id, String> {
        // Nearly always the header follows the one before. That one is the newest of all and has no child
        // yet, so the header can't be there already.
        let parent = if self.tree.hash(self.last) == header.prev_blockhash {
            self.last
        } else {
            if let Some(id) = self.tree.find(&hash) {
                return Ok(id);
            }
            self.tree
                .find(&header.prev_blockhash)
                .ok_or_else(|| format!("header {hash} has no parent"))?
        };
        let difficulty = self
            .difficulty(header.bits)
            .filter(|difficulty| compact::hash_number(&hash) <= difficulty.target)
            .ok_or_else(|| format!("header {hash} has no proof of work"))?;
        let work = self.tree.work(parent).saturating_add(difficulty.work);
        self.last = self
            .tree
            .insert(parent, header, hash, work)
            .ok_or("too many headers")?;
        Ok(self.last)
    }

    fn difficulty(&mut self, bits: CompactTarget) -> Option<Difficulty> {
        if let Some(known) = self.bits.filter(|known| known.bits == bits) {
            return Some(known);
        }
        self.bits = compact::target_of(bits).map(|target| Difficulty {
            bits,
            target,
            work: work_of(bits),
        });
        self.bits
    }

    /// Takes in the blocks beyond the last flush, and stores headers that only a block brought: their own
    /// record was lost unflushed.
    fn take_unflushed(
        &mut self,
        blocks: Vec<(Header, Location)>,
        headers: &mut HeadersFile,
        reader: &BlockReader,
    ) -> Result<Vec<(BlockHash, Location)>, StoreError> {
        let mut taken = Vec::with_capacity(blocks.len());
        let mut missing = Vec::new();
        for (header, location) in blocks {
            let known = self.tree.len();
            let damaged = |what| reader.damaged_block(location, what);
            let id = self.insert(&header, header.block_hash()).map_err(damaged)?;
            if self.tree.len() > known {
                missing.push(header);
            }
            if !self.tree.has_block(self.tree.parent(id)) {
                return Err(damaged(format!(
                    "block {} has no parent",
                    self.tree.hash(id)
                )));
            }
            self.tree.set_location(id, location);
            taken.push((self.tree.hash(id), location));
        }
        headers.append(&missing)?;
        Ok(taken)
    }
}

/// Enters what the database knows of blocks into the tree; gives the places of undo data.
fn load_standings(
    tree: &mut HeaderTree,
    database: &Database,
    missing: impl Fn(BlockHash) -> StoreError,
) -> Result<HashMap<Id, Location>, StoreError> {
    let mut undo = HashMap::new();
    let mut invalid = Vec::new();
    database.blocks(|hash, standing: Standing| {
        let Some(id) = tree.find(&hash) else {
            // Invalid headers may have been dropped to make room.
            return match standing.block {
                Some(_) => Err(missing(hash)),
                None => Ok(()),
            };
        };
        if let Some(location) = standing.block {
            tree.set_location(id, location);
        }
        if let Some(location) = standing.undo {
            undo.insert(id, location);
        }
        if standing.invalid {
            invalid.push(id);
        }
        Ok(())
    })?;
    tree.mark_invalid(&invalid);
    Ok(undo)
}

/// The chain that ends in the block `tip`, by height, and the places of its undo data; `None` where one of
/// them is missing.
fn verified_chain(
    tree: &HeaderTree,
    tip: BlockHash,
    undo: &HashMap<Id, Location>,
) -> Option<(Vec<Id>, Vec<Location>)> {
    let mut verified = vec![Id::GENESIS];
    tree.lead(&mut verified, tree.find(&tip)?);
    let places: Option<Vec<Location>> = verified
        .iter()
        .skip(1)
        .map(|id| undo.get(id).copied().filter(|_| tree.has_block(*id)))
        .collect();
    places.map(|places| (verified, places))
}
