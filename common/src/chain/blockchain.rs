//! [`Blockchain`]: the one owner of headers, verified blocks and their files.
//!
//! Two locks: `writer` is held through a whole change (checks, append, update), `state` only for moments,
//! so readers never wait for a disk. Writers take `writer` first. Nothing awaits; a call that flushes
//! blocks its thread for as long as the disk takes.

mod blocks;
mod headers;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, CompactTarget};
use ruint::aliases::U256;
use tokio::sync::watch;

pub use self::blocks::Branch;
pub use self::headers::{HeadersAccepted, MAX_HEADERS_PER_MESSAGE, MAX_LOCATOR_ENTRIES};
use super::consensus::{ParentContext, Rules, work_of};
use super::store::{BlockReader, Limits, Load, Store};
use super::tree::{HeaderTree, Id, Location};
use super::{BlockRef, StoreError};
use crate::chain_spec::{ChainSpec, compact};

/// A block chain: every header with valid work, and the verified blocks of the chain of most work.
///
/// Shared as `Arc<Blockchain>`. The *best header* is the end of the header chain of most work; the *tip* is
/// the end of the chain of verified blocks of most work, and follows the best header as blocks come in.
#[derive(Debug)]
pub struct Blockchain {
    spec: Arc<ChainSpec>,
    rules: Rules,
    genesis: Block,
    state: RwLock<State>,
    writer: Mutex<Backend>,
    reader: Option<BlockReader>,
    tip: watch::Sender<BlockRef>,
    max_side_headers: usize,
}

/// Most headers that are not on the best chain: 120 MB. A whole chain of plausible length fits on networks
/// with real spacing; see `headers::make_room`.
const MAX_SIDE_HEADERS: usize = 1_000_000;

/// What is in memory.
struct State {
    tree: HeaderTree,
    /// By height: the chain of verified blocks of most work; of equals, the first.
    verified: Vec<Id>,
    /// Serialized blocks of a chain without files; `Location::offset` is the index.
    blocks: Vec<Vec<u8>>,
}

/// Where accepted data goes.
#[derive(Debug)]
enum Backend {
    Memory,
    Disk(Box<Store>),
}

impl Blockchain {
    /// Opens the chain in `dir`, creating the directory where there is none, and locks it.
    ///
    /// Reads and checks all files: about a second per million headers and per gigabyte of blocks.
    ///
    /// # Errors
    /// Where the directory can't be written, is in use, holds another network's chain or a newer format, or
    /// is damaged. An unfinished write of a crash is no damage: it is cut off and logged.
    pub fn open(spec: Arc<ChainSpec>, dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(spec, dir, Limits::default())
    }

    pub(super) fn open_with(
        spec: Arc<ChainSpec>,
        dir: &Path,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let genesis = spec.genesis_block();
        let mut loader = Loader {
            state: State::new(&genesis),
            missing: Vec::new(),
            last: Id::GENESIS,
            bits: None,
        };
        let mut store = Store::open(&spec, dir, limits, &mut loader)?;
        store.append_headers(&loader.missing)?;
        let chain = Self::assemble(spec, genesis, loader.state, Backend::Disk(Box::new(store)));
        let (tip, best) = (chain.tip(), chain.best_header());
        tracing::info!(
            dir = %dir.display(), height = tip.height, tip = %tip.hash, headers = best.height, "chain opened"
        );
        Ok(chain)
    }

    /// A chain without files: for programs that follow headers only, and for tests. Blocks that are
    /// connected stay in memory.
    #[must_use]
    pub fn in_memory(spec: Arc<ChainSpec>) -> Self {
        let genesis = spec.genesis_block();
        let state = State::new(&genesis);
        Self::assemble(spec, genesis, state, Backend::Memory)
    }

    fn assemble(spec: Arc<ChainSpec>, genesis: Block, state: State, backend: Backend) -> Self {
        let reader = match &backend {
            Backend::Memory => None,
            Backend::Disk(store) => Some(store.reader()),
        };
        Self {
            rules: Rules::new(&spec),
            spec,
            genesis,
            tip: watch::Sender::new(state.tip()),
            state: RwLock::new(state),
            writer: Mutex::new(backend),
            reader,
            max_side_headers: MAX_SIDE_HEADERS,
        }
    }

    /// The network's specification.
    #[must_use]
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// The network's rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The last verified block of the chain of most work.
    #[must_use]
    pub fn tip(&self) -> BlockRef {
        self.read().tip()
    }

    /// The last header of the chain of most work among headers that are not known to be invalid.
    #[must_use]
    pub fn best_header(&self) -> BlockRef {
        let state = self.read();
        state.tree.reference(state.tree.best_header())
    }

    /// Tells each change of [`Blockchain::tip`]; a slow receiver sees the latest only.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BlockRef> {
        self.tip.subscribe()
    }

    /// What a child of the verified tip is checked against.
    #[must_use]
    pub fn tip_context(&self) -> ParentContext {
        let state = self.read();
        state.tree.context(state.tip_id())
    }

    /// Waits until everything accepted so far is on disk.
    ///
    /// # Errors
    /// Where the disk refuses; from then on nothing more can be stored until the chain is opened again.
    pub fn flush(&self) -> Result<(), StoreError> {
        match &mut *self.lock_writer() {
            Backend::Memory => Ok(()),
            Backend::Disk(store) => store.flush(),
        }
    }

    // A panic can't leave a half-made change behind these locks: changes are made by code without panics,
    // after all checks. So a poisoned lock is used as it is.

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_writer(&self) -> MutexGuard<'_, Backend> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn set_max_side_headers(&mut self, limit: usize) {
        self.max_side_headers = limit;
    }

    #[cfg(test)]
    pub(super) fn known_headers(&self) -> usize {
        self.read().tree.len()
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_blocks_file(&self, file: std::fs::File) {
        if let Backend::Disk(store) = &mut *self.lock_writer() {
            store.replace_blocks_file(file);
        }
    }
}

impl Drop for Blockchain {
    fn drop(&mut self) {
        let dirty = matches!(&*self.lock_writer(), Backend::Disk(store) if store.is_dirty());
        if dirty && let Err(error) = self.flush() {
            tracing::error!(%error, "the last blocks could not be flushed");
        }
    }
}

impl State {
    fn new(genesis: &Block) -> Self {
        Self {
            tree: HeaderTree::new(&genesis.header),
            verified: vec![Id::GENESIS],
            blocks: Vec::new(),
        }
    }

    fn tip_id(&self) -> Id {
        // The genesis block is always there.
        self.verified.last().copied().unwrap_or(Id::GENESIS)
    }

    fn tip(&self) -> BlockRef {
        self.tree.reference(self.tip_id())
    }

    /// Notes that a verified block is kept at `location`; true if it is the new tip.
    fn set_block(&mut self, id: Id, location: Location) -> bool {
        self.tree.set_location(id, location);
        let better = self.tree.work(id) > self.tree.work(self.tip_id());
        if better {
            self.tree.lead(&mut self.verified, id);
        }
        better
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("tip", &self.tip())
            .field("headers", &self.tree.len())
            .finish()
    }
}

/// Builds the state from the files.
///
/// What is there was checked before it was written, and its checksum holds; proof of work and the links
/// between records are checked again, the rest is not.
struct Loader {
    state: State,
    /// Headers that only a block brought: their own record was lost unflushed.
    missing: Vec<Header>,
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

impl Loader {
    fn insert(&mut self, header: &Header, hash: BlockHash) -> Result<Id, String> {
        // Nearly always the header follows the one before. That one is the newest of all and has no child
        // yet, so the header can't be there already.
        let parent = if self.state.tree.hash(self.last) == header.prev_blockhash {
            self.last
        } else {
            let tree = &self.state.tree;
            if let Some(id) = tree.find(&hash) {
                return Ok(id);
            }
            tree.find(&header.prev_blockhash)
                .ok_or_else(|| format!("header {hash} has no parent"))?
        };
        let difficulty = self
            .difficulty(header.bits)
            .filter(|difficulty| compact::hash_number(&hash) <= difficulty.target)
            .ok_or_else(|| format!("header {hash} has no proof of work"))?;
        let tree = &mut self.state.tree;
        let work = tree.work(parent).saturating_add(difficulty.work);
        self.last = tree
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
}

impl Load for Loader {
    fn expect_headers(&mut self, count: usize) {
        self.state.tree.reserve(count);
    }

    fn expect_hashes<'a>(&mut self, hashes: impl Iterator<Item = &'a BlockHash>) {
        self.state.tree.warm(hashes);
    }

    fn header(&mut self, header: &Header, hash: BlockHash) -> Result<(), String> {
        self.insert(header, hash).map(|_| ())
    }

    fn block(&mut self, header: &Header, location: Location) -> Result<(), String> {
        let known = self.state.tree.len();
        let hash = header.block_hash();
        let id = self.insert(header, hash)?;
        if self.state.tree.len() > known {
            self.missing.push(*header);
        }
        let tree = &self.state.tree;
        if !tree.has_block(tree.parent(id)) {
            return Err(format!("block {hash} has no parent"));
        }
        self.state.set_block(id, location);
        Ok(())
    }
}
