//! The node's pool of waiting transactions, and the thread that changes it.
//!
//! ```text
//! peers, users ─> hub ─> [worker: follows the chain, checks] ─> hub ─> announcements
//!                              │ lock
//!                        TransactionPool <─ peers that are asked for transactions, the miner
//! ```
//! Before each check the thread waits until no blocks are being connected ([`Blockchain::view`]) and tells the pool of
//! those that came and went; until the check is over the chain waits, which is a millisecond or two. So coins, height
//! and pool always fit together. Locks are taken in this order: the chain's writer, the pool, what is known by name.
//! Nobody else may take the chain's lock while holding the pool's. The hub takes only the last of them.

mod known;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::bip152::HeaderAndShortIds;
use bitcoin::{Block, BlockHash, OutPoint, Transaction};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{error, info};

pub(crate) use self::known::Known;
pub(crate) use self::worker::{Job, PoolChecker, Reply, Report};
use crate::chain::consensus::Coin;
use crate::chain::mempool::{
    Accepted, Context, Limits, Mempool, MempoolError, Origin, Retried, Template,
};
use crate::chain::{Blockchain, StoreError, View};
use crate::network::peer::session::unix_now;
use crate::network::protocol::compact_blocks::{CompactError, PartialBlock};
use crate::network::protocol::transactions::TxRef;

/// Bytes of transactions on their way from peers to the pool, in KiB: 32 MiB. Connections wait beyond it.
pub(crate) const ROOM_KIB: usize = 32 * 1024;

/// Blocks that the pool is told of at a time: 128 MB of the largest. A reorganisation that takes back more
/// empties the pool.
const BLOCKS_AT_ONCE: usize = 32;

/// A place on the way to the pool: one of the connection's, and room for the transaction's bytes. Given back when
/// dropped.
#[derive(Debug)]
pub(crate) struct TransactionTurn {
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The waiting transactions of a node; cloning shares them.
#[derive(Debug, Clone)]
pub struct TransactionPool {
    shared: Arc<Mutex<Shared>>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Shared {
    mempool: Mempool,
    /// The last block that the pool was told of.
    tip: BlockHash,
    /// Blocks were taken back, and what they held waits to be looked at again.
    unsettled: bool,
}

impl TransactionPool {
    pub(crate) fn new(chain: &Blockchain) -> Self {
        let shared = Shared {
            mempool: empty(chain),
            tip: chain.tip().hash,
            unsettled: false,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            known: Arc::new(Mutex::new(Known::new())),
        }
    }

    /// The transactions that pay most for a block on `parent`, of together at most `max_bytes`; none while the
    /// pool has not heard of that block yet.
    #[must_use]
    pub fn template(&self, parent: BlockHash, max_bytes: usize) -> Template {
        let shared = self.lock();
        if shared.tip == parent && !shared.unsettled {
            shared.mempool.select(max_bytes)
        } else {
            Template::default()
        }
    }

    /// The transaction of this name.
    #[must_use]
    pub fn find(&self, name: TxRef) -> Option<Arc<Transaction>> {
        let shared = self.lock();
        let entry = match name {
            TxRef::Txid(txid) => shared.mempool.get(&txid),
            TxRef::Wtxid(wtxid) => shared.mempool.get_by_wtxid(&wtxid),
        };
        entry.map(|entry| Arc::clone(entry.transaction()))
    }

    /// The transaction of this name, for a peer that we chose and that asked for it.
    pub(crate) fn give(&self, name: TxRef) -> Option<Arc<Transaction>> {
        let found = self.find(name);
        if found.is_some() {
            self.known().spreads(&name);
        }
        found
    }

    /// What is known by name. Held for moments only.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A compact block with those of its transactions that wait.
    ///
    /// # Errors
    /// As [`PartialBlock::new`].
    pub(crate) fn match_block(
        &self,
        compact: HeaderAndShortIds,
    ) -> Result<PartialBlock, CompactError> {
        let shared = self.lock();
        let waiting = shared.mempool.iter();
        PartialBlock::new(
            compact,
            waiting.map(|entry| (entry.wtxid(), entry.transaction())),
        )
    }

    /// How many transactions wait, and their serialized bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let shared = self.lock();
        (shared.mempool.len(), shared.mempool.bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic within the pool is a defect; what it leaves is bounded, and blocks are checked anyway.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a transaction, and takes it in if it is right.
    fn accept(
        &self,
        chain: &Blockchain,
        tx: Transaction,
        origin: Origin,
    ) -> Result<Accepted, MempoolError> {
        let view = self.follow(chain);
        let (_view, result) = apart(view, |view| {
            let mut shared = self.lock();
            let coins = |outpoint: &OutPoint| coin(view, outpoint);
            let result = shared.mempool.accept(tx, coins, &context(view), origin);
            self.note(&shared, &result, origin);
            result
        });
        result
    }

    /// Looks at one orphan again of which a parent has come; `None` if there is none.
    fn retry_orphan(&self, chain: &Blockchain) -> Option<Retried> {
        if !self.lock().mempool.has_ready_orphan() {
            return None;
        }
        let view = self.follow(chain);
        let (_view, retried) = apart(view, |view| {
            let mut shared = self.lock();
            let coins = |outpoint: &OutPoint| coin(view, outpoint);
            let retried = shared.mempool.retry_orphan(coins, &context(view))?;
            // Orphans come from peers.
            self.note(&shared, &retried.result, Origin::Peer(0));
            Some(retried)
        });
        retried
    }

    /// Notes by name what a check did to the pool.
    fn note(&self, shared: &Shared, result: &Result<Accepted, MempoolError>, origin: Origin) {
        match result {
            Ok(accepted) => {
                let mut known = self.known();
                if origin == Origin::Local {
                    known.add_own(accepted);
                }
                known.accepted(accepted);
            }
            // Others may have gone, and nothing else can have changed.
            Err(MempoolError::Full) => {
                let mut known = self.known();
                if known.held() != shared.mempool.len() {
                    known.reread(&shared.mempool);
                }
            }
            Err(_) => {}
        }
    }

    /// Drops what has waited too long.
    fn expire(&self, now: u64) {
        let mut shared = self.lock();
        if !shared.mempool.expire(now).is_empty() {
            self.known().reread(&shared.mempool);
        }
    }

    /// Tells the pool of the blocks that came and went since the last time, until it is where the chain is; gives the
    /// chain as it then is.
    fn follow<'a>(&self, chain: &'a Blockchain) -> View<'a> {
        loop {
            // Reading takes longer than the chain should wait, and while the chain runs ahead there is no need to stop it.
            while let Some((from, tip)) = self.behind(chain) {
                self.step(chain, from, tip);
            }
            let view = chain.view();
            let (at_tip, unsettled) = {
                let shared = self.lock();
                (shared.tip == view.tip().hash(), shared.unsettled)
            };
            if at_tip {
                return if unsettled {
                    apart(view, |view| self.settle(view)).0
                } else {
                    view
                };
            }
        }
    }

    /// Where the pool is and where the chain is, if these differ.
    fn behind(&self, chain: &Blockchain) -> Option<(BlockHash, BlockHash)> {
        let tip = chain.tip_context().hash();
        let mut shared = self.lock();
        if shared.is_idle() && chain.is_verified(&shared.tip) {
            // Nothing to be told: so a synchronisation is not read twice.
            shared.tip = tip;
        }
        (shared.tip != tip).then_some((shared.tip, tip))
    }

    fn step(&self, chain: &Blockchain, from: BlockHash, tip: BlockHash) {
        match Step::load(chain, from) {
            Ok(Some(step)) => self.take(from, &step),
            Ok(None) => {
                info!("the chain moved too far; transactions that waited are dropped");
                self.reset(chain, tip);
            }
            Err(error) => {
                error!(%error, "a block can't be read; transactions that waited are dropped");
                self.reset(chain, tip);
            }
        }
    }

    /// Tells the pool of these blocks. It may have to go back again, should this be the midst of a reorganisation.
    fn take(&self, from: BlockHash, step: &Step) {
        let transactions = step.connected.iter().flat_map(|b| b.txdata.iter().skip(1));
        let names: Vec<_> = transactions.flat_map(known::names).collect();
        let mut shared = self.lock();
        let mut tip = from;
        for block in &step.disconnected {
            shared.mempool.block_disconnected(block);
            tip = block.header.prev_blockhash;
        }
        for block in &step.connected {
            shared.mempool.block_connected(block, unix_now());
            tip = block.block_hash();
        }
        shared.tip = tip;
        shared.unsettled |= !step.disconnected.is_empty();
        let mut known = self.known();
        if !step.disconnected.is_empty() {
            known.disconnected();
        }
        known.confirmed(names);
        if shared.unsettled {
            // The user's own may be among what waits to be looked at again.
            known.reread_held(&shared.mempool);
        } else {
            known.reread(&shared.mempool);
        }
    }

    /// Looks again at what a reorganisation gave back.
    fn settle(&self, view: &View<'_>) {
        let mut shared = self.lock();
        let coins = |outpoint: &OutPoint| coin(view, outpoint);
        let done = shared.mempool.revalidate(coins, &context(view));
        info!(?done, "transactions after a reorganisation");
        shared.unsettled = false;
        self.known().reread(&shared.mempool);
    }

    fn reset(&self, chain: &Blockchain, tip: BlockHash) {
        let mut shared = self.lock();
        shared.mempool = empty(chain);
        shared.tip = tip;
        shared.unsettled = false;
        let mut known = self.known();
        known.disconnected();
        known.reread(&shared.mempool);
    }
}

impl Shared {
    /// Whether blocks that are added concern nothing here.
    fn is_idle(&self) -> bool {
        self.mempool.is_empty() && self.mempool.orphans().0 == 0 && !self.unsettled
    }
}

/// Does something with the chain at rest that a panic must not turn into the chain's own: the chain's lock is released
/// as if nothing had happened, since nothing here changes what is behind it.
fn apart<'a, T>(view: View<'a>, work: impl FnOnce(&View<'a>) -> T) -> (View<'a>, T) {
    match catch_unwind(AssertUnwindSafe(|| work(&view))) {
        Ok(done) => (view, done),
        Err(panic) => {
            drop(view);
            resume_unwind(panic)
        }
    }
}

fn empty(chain: &Blockchain) -> Mempool {
    Mempool::new(chain.rules().clone(), Limits::default())
}

fn context(view: &View<'_>) -> Context {
    let tip = view.tip();
    Context {
        next_height: tip.height().saturating_add(1),
        median_time: tip.median_time(),
        now: unix_now(),
    }
}

/// Where the database fails, the chain writer reports it and stops; here the coin is missing.
fn coin(view: &View<'_>, outpoint: &OutPoint) -> Option<Coin> {
    view.coin(outpoint).unwrap_or_else(|error| {
        error!(%error, "a coin can't be read");
        None
    })
}

/// Blocks that the pool is told of at once.
struct Step {
    disconnected: Vec<Block>,
    connected: Vec<Block>,
}

impl Step {
    /// `None` if the way back is too long, or a block of it is not kept.
    fn load(chain: &Blockchain, from: BlockHash) -> Result<Option<Self>, StoreError> {
        let Some(route) = chain.route(&from, BLOCKS_AT_ONCE) else {
            return Ok(None);
        };
        let load = |hashes: &[BlockHash]| -> Result<Option<Vec<Block>>, StoreError> {
            hashes.iter().map(|hash| chain.any_block(hash)).collect()
        };
        let disconnected = load(&route.disconnected)?;
        let connected = load(&route.connected)?;
        Ok(disconnected
            .zip(connected)
            .map(|(disconnected, connected)| Self {
                disconnected,
                connected,
            }))
    }
}

#[cfg(test)]
mod tests;
