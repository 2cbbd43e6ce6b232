//! [`Blockchain`]: the one owner of headers, blocks, coins and their files.
//!
//! | part | what it is for |
//! |---|---|
//! | `opening` | from the files to a [`Blockchain`] |
//! | `headers` | taking headers in, finding them, offering them to peers |
//! | `connect` | verifying blocks: batches that extend the tip |
//! | `reorganise` | side chains: keeping their blocks, changing over to one that has more work |
//! | `blocks` | which blocks to fetch, reading them back, coins |
//! | `writer` | what a connected block changes, and flushing it |
//! | `check` | the integrity check |
//! | `transfer` | export and import |
//!
//! Three locks, taken in this order: `writer` (blocks, coins, undo data) is held through a batch of blocks,
//! `headers` (the headers file) through a list of headers, `state` for moments, so that readers never wait
//! for a disk. Nothing awaits; a call that flushes blocks its thread for as long as the disk takes.

mod blocks;
mod check;
mod connect;
mod headers;
mod opening;
mod reorganise;
mod transfer;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bitcoin::{Block, Transaction, Wtxid};
use tokio::sync::watch;

pub use self::blocks::{Branch, Route, View};
pub use self::check::CheckReport;
pub use self::connect::CheckedBlock;
pub use self::headers::{HeadersAccepted, MAX_HEADERS_PER_MESSAGE, MAX_LOCATOR_ENTRIES};
pub use self::transfer::TransferError;
use self::writer::Writer;
use super::consensus::{ParentContext, Rules};
use super::store::{BlockReader, HeadersFile, Limits};
use super::tree::{HeaderTree, Id};
use super::{BlockRef, StoreError};
use crate::chain_spec::ChainSpec;
use crate::recent::Recent;

/// A block chain: every header with valid work, the verified blocks of the chain of most work, and the coins
/// that they leave unspent.
///
/// Shared as `Arc<Blockchain>`. The *best header* is the end of the header chain of most work; the *tip* is
/// the end of the chain of verified blocks of most work, and follows the best header as blocks come in.
#[derive(Debug)]
pub struct Blockchain {
    spec: Arc<ChainSpec>,
    rules: Rules,
    genesis: Block,
    /// Held while waiting for `writer`: who comes again at once stands behind who waits already.
    turnstile: Mutex<()>,
    writer: Mutex<Writer>,
    headers: Mutex<Option<HeadersFile>>,
    state: RwLock<State>,
    reader: Option<BlockReader>,
    tip: watch::Sender<BlockRef>,
    max_side_headers: usize,
    /// Transactions whose signatures fitted before they were in a block.
    checked: Mutex<Recent<Wtxid>>,
}

/// Wtxids in a generation of those: more than a full pool has. A set of 28,672 has 2^15 buckets of 33 bytes: 2.2 MB
/// for both.
const CHECKED: usize = 28_672;

/// Most headers that are not on the best chain: 120 MB. A whole chain of plausible length fits on networks
/// with real spacing; see `headers::make_room`.
const MAX_SIDE_HEADERS: usize = 1_000_000;

/// What is in memory.
struct State {
    tree: HeaderTree,
    /// By height: the chain of verified blocks of most work; of equals, the first.
    verified: Vec<Id>,
    /// Serialized blocks of a chain without files; the offset of a location is the index.
    blocks: Vec<Vec<u8>>,
}

impl Blockchain {
    /// Opens the chain in `dir`, creating the directory where there is none, and locks it.
    ///
    /// Reads all headers, the places of all blocks, and the blocks since the last flush, which are verified
    /// again: about a second per million headers.
    ///
    /// # Errors
    /// Where the directory can't be written, is in use, holds another network's chain or a newer format, or
    /// is damaged. An unfinished write of a crash is no damage: it is cut off and logged.
    pub fn open(spec: Arc<ChainSpec>, dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(spec, dir, Limits::default())
    }

    /// A chain without files: for programs that follow headers only, and for tests. Blocks that are
    /// connected stay in memory.
    #[must_use]
    pub fn in_memory(spec: Arc<ChainSpec>) -> Self {
        let genesis = spec.genesis_block();
        let state = State::new(&genesis);
        Self::assemble(spec, genesis, state, Writer::in_memory(), None)
    }

    fn assemble(
        spec: Arc<ChainSpec>,
        genesis: Block,
        state: State,
        writer: Writer,
        headers: Option<HeadersFile>,
    ) -> Self {
        Self {
            rules: Rules::new(&spec),
            spec,
            genesis,
            tip: watch::Sender::new(state.tip()),
            state: RwLock::new(state),
            reader: writer.reader(),
            turnstile: Mutex::new(()),
            writer: Mutex::new(writer),
            headers: Mutex::new(headers),
            max_side_headers: MAX_SIDE_HEADERS,
            checked: Mutex::new(Recent::new(CHECKED)),
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

    /// The last verified block of the chain of most work. Does not show the steps of a reorganisation.
    #[must_use]
    pub fn tip(&self) -> BlockRef {
        *self.tip.borrow()
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
        self.flush_writer(&mut self.lock_writer())
    }

    /// The signatures of this transaction were checked against the coins that it spends, and fit: a block that holds
    /// it needs no second check of them. The wtxid commits to the witnesses and, through the ids in the inputs, to
    /// what they spend, so this holds on every chain where those coins exist. The latest are remembered.
    pub fn note_signatures(&self, wtxid: Wtxid) {
        self.lock_checked().insert(wtxid);
    }

    /// Whether [`Self::note_signatures`] was told of this transaction.
    fn has_checked_signatures(&self, tx: &Transaction) -> bool {
        // While the chain is downloaded there are none, and no id has to be computed.
        if self.lock_checked().is_empty() {
            return false;
        }
        let wtxid = tx.compute_wtxid();
        self.lock_checked().contains(&wtxid)
    }

    fn lock_checked(&self) -> MutexGuard<'_, Recent<Wtxid>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Behind `state` and `headers` a panic can't leave a half-made change: these are made by code without
    // panics, after all checks. So such a poisoned lock is used as it is.

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        let turn = self.turnstile.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        self.writer.lock().unwrap_or_else(|poisoned| {
            // Coins move before signatures are checked: after a panic in between they fit no tip.
            let mut writer = poisoned.into_inner();
            writer.stop();
            writer
        })
    }

    /// The block up to which the coins are those of: within a reorganisation not yet the tip.
    fn connected(&self) -> BlockRef {
        self.read().tip()
    }

    /// Makes the last connected block the tip.
    fn publish(&self) {
        self.tip.send_replace(self.connected());
    }

    fn lock_headers(&self) -> MutexGuard<'_, Option<HeadersFile>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn set_max_side_headers(&mut self, limit: usize) {
        self.max_side_headers = limit;
    }

    #[cfg(test)]
    pub(super) fn known_headers(&self) -> usize {
        self.read().tree.len()
    }

    /// All coins, as the verified tip leaves them.
    #[cfg(test)]
    pub(super) fn coins(&self) -> std::collections::BTreeMap<Vec<u8>, super::consensus::Coin> {
        self.flush().unwrap();
        let writer = self.lock_writer();
        let mut all = std::collections::BTreeMap::new();
        if let Some(files) = writer.files() {
            let read = files.database().coins(|key, _, coin| {
                all.insert(key.to_vec(), coin);
            });
            read.unwrap();
        }
        for (outpoint, change) in writer.coins.changes() {
            let key = super::coins::encode_outpoint(outpoint).to_vec();
            all.extend(change.coin.clone().map(|coin| (key, coin)));
        }
        all
    }

    /// From here on looking up this coin fails as a disk would, or panics.
    #[cfg(test)]
    pub(super) fn fail_lookups_of(&self, outpoint: bitcoin::OutPoint, panics: bool) {
        self.flush().unwrap();
        let mut writer = self.lock_writer();
        let database = writer.files().unwrap().database().clone();
        let failing = FailingCoins {
            database,
            outpoint,
            panics,
        };
        writer.coins = super::coins::CoinCache::new(Box::new(failing));
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_blocks_file(&self, file: std::fs::File) {
        self.lock_writer().replace_blocks_file(file);
    }
}

impl Drop for Blockchain {
    fn drop(&mut self) {
        let dirty = self.lock_writer().is_dirty();
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

    /// Whether the header is that of a block of the verified chain.
    fn is_verified(&self, id: Id) -> bool {
        self.verified.get(self.tree.height(id) as usize) == Some(&id)
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

#[cfg(test)]
#[derive(Debug)]
struct FailingCoins {
    database: super::store::Database,
    outpoint: bitcoin::OutPoint,
    panics: bool,
}

#[cfg(test)]
impl super::coins::CoinDatabase for FailingCoins {
    fn coin(
        &self,
        outpoint: &bitcoin::OutPoint,
    ) -> Result<Option<super::consensus::Coin>, StoreError> {
        if *outpoint == self.outpoint {
            assert!(!self.panics, "a panic in the middle of a run");
            return Err(self
                .database
                .inconsistent("a block of it is damaged".into()));
        }
        self.database.coin(outpoint)
    }
}
