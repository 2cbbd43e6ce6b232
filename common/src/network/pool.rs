//! The node's pool of waiting transactions, and the thread that changes it.
//!
//! ```text
//! peers, users ─> hub ─> [thread: follows the chain, checks] ─> hub ─> announcements
//!                              │ lock
//!                        TransactionPool <─ peers that are asked for transactions, the miner
//! ```
//! The pool is told of the chain's blocks before each check. Coins are looked up in the chain as it is at that
//! moment, which may be a block ahead; whatever that makes wrong is mended when the pool is told of that block.
//! The thread waits for the chain while it connects blocks, and whoever asks the pool may wait for the thread: so
//! the hub never does, and nobody may ask while holding a lock of the chain.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::bip152::HeaderAndShortIds;
use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid, Wtxid};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, info};

use crate::chain::consensus::Coin;
use crate::chain::mempool::{
    Accepted, Context, Limits, Mempool, MempoolError, Origin, Retried, Template,
};
use crate::chain::{Blockchain, StoreError};
use crate::network::peer::PeerId;
use crate::network::peer::session::unix_now;
use crate::network::protocol::compact_blocks::{CompactError, PartialBlock};
use crate::network::protocol::transactions::{Announcement, MAX_ANNOUNCED_AT_ONCE, TxRef};

/// Jobs that may wait. Each connection has one transaction on its way, so this is twice the connections of a
/// node; a transaction is at most 100 kB: 25 MB in all.
const QUEUE: usize = 256;

/// Transactions of this node's user that new peers are told of, the latest: a message full.
const MAX_OWN: usize = MAX_ANNOUNCED_AT_ONCE;

/// Blocks that the pool is told of at a time: 128 MB of the largest. A reorganisation that takes back more
/// empties the pool.
const BLOCKS_AT_ONCE: usize = 32;

/// The waiting transactions of a node; cloning shares them.
#[derive(Debug, Clone)]
pub struct TransactionPool {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    mempool: Mempool,
    /// The last block that the pool was told of.
    tip: BlockHash,
}

impl TransactionPool {
    pub(crate) fn new(chain: &Blockchain) -> Self {
        let shared = Shared {
            mempool: empty(chain),
            tip: chain.tip().hash,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// The transactions that pay most for a block on `parent`, of together at most `max_bytes`; none while the
    /// pool has not heard of that block yet.
    #[must_use]
    pub fn template(&self, parent: BlockHash, max_bytes: usize) -> Template {
        let shared = self.lock();
        if shared.tip == parent {
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

    /// Tells the pool of the blocks that came and went since the last time.
    fn follow(&self, chain: &Blockchain) {
        loop {
            let tip = chain.tip().hash;
            let mut shared = self.lock();
            if shared.tip == tip {
                return;
            }
            if shared.mempool.is_empty() && shared.mempool.orphans().0 == 0 {
                // Nothing to be told: so a synchronisation is not read twice.
                shared.tip = tip;
                return;
            }
            let from = shared.tip;
            drop(shared);
            match Step::load(chain, from) {
                Ok(Some(step)) if step.is_empty() => return,
                Ok(Some(step)) => self.lock().take(chain, from, &step),
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
    }

    fn reset(&self, chain: &Blockchain, tip: BlockHash) {
        let mut shared = self.lock();
        shared.mempool = empty(chain);
        shared.tip = tip;
    }
}

impl Shared {
    fn take(&mut self, chain: &Blockchain, from: BlockHash, step: &Step) {
        let mut tip = from;
        for block in &step.disconnected {
            self.mempool.block_disconnected(block);
            tip = block.header.prev_blockhash;
        }
        for block in &step.connected {
            self.mempool.block_connected(block, unix_now());
            tip = block.block_hash();
        }
        self.tip = tip;
        if !step.disconnected.is_empty() {
            let coins = |outpoint: &OutPoint| coin(chain, outpoint);
            let done = self.mempool.revalidate(coins, &context(chain));
            info!(?done, "transactions after a reorganisation");
        }
    }
}

fn empty(chain: &Blockchain) -> Mempool {
    Mempool::new(chain.rules().clone(), Limits::default())
}

fn context(chain: &Blockchain) -> Context {
    let tip = chain.tip_context();
    Context {
        next_height: tip.height().saturating_add(1),
        median_time: tip.median_time(),
        now: unix_now(),
    }
}

/// Where the database fails, the chain writer reports it and stops; here the coin is missing.
fn coin(chain: &Blockchain, outpoint: &OutPoint) -> Option<Coin> {
    chain.coin(outpoint).unwrap_or_else(|error| {
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

    fn is_empty(&self) -> bool {
        self.disconnected.is_empty() && self.connected.is_empty()
    }
}

/// Who hears what became of a transaction of this node's user.
pub(crate) type Reply = oneshot::Sender<Result<Accepted, MempoolError>>;

/// What the thread is asked to do.
pub(crate) enum Job {
    /// Check a transaction of a peer.
    FromPeer {
        from: PeerId,
        tx: Transaction,
        /// Given back when this is dropped.
        turn: OwnedSemaphorePermit,
    },
    /// Check a transaction of this node's user.
    Local(Transaction, Reply),
    /// The chain has moved.
    Follow,
    PeerLeft(PeerId),
    /// A peer is to hear of the transactions of this node's user that wait still: nobody else may know them.
    PeerJoined(PeerId),
}

/// What the hub hears.
pub(crate) enum Report {
    Checked(Box<Checked>),
    /// For this peer to hear of.
    Own(PeerId, Vec<Announcement>),
}

/// What became of a transaction.
pub(crate) struct Checked {
    /// The peers that sent it.
    pub(crate) from: Vec<PeerId>,
    pub(crate) txid: Txid,
    pub(crate) wtxid: Wtxid,
    pub(crate) result: Result<Accepted, MempoolError>,
    /// The least fee rate that the pool takes now, in base units for 1,000 bytes.
    pub(crate) min_fee_rate: u64,
    /// Transactions in the pool, and their bytes.
    pub(crate) size: (usize, usize),
    /// Given back when this is dropped.
    pub(crate) _turn: Option<OwnedSemaphorePermit>,
}

/// The hub's end of the thread.
pub(crate) struct PoolChecker {
    queue: SyncSender<Job>,
}

impl PoolChecker {
    /// Starts the thread. It ends when the hub's end is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn spawn(
        chain: Arc<Blockchain>,
        pool: TransactionPool,
    ) -> std::io::Result<(Self, mpsc::Receiver<Report>, std::thread::JoinHandle<()>)> {
        let (queue, jobs) = sync_channel(QUEUE);
        let (results, checked) = mpsc::channel(QUEUE);
        let mut worker = Worker {
            chain,
            pool,
            results,
            own: VecDeque::new(),
        };
        let thread = std::thread::Builder::new()
            .name("transactions".to_owned())
            .spawn(move || worker.run(&jobs))?;
        Ok((Self { queue }, checked, thread))
    }

    /// Hands a job over without waiting. False when there is no room: it is dropped.
    pub(crate) fn submit(&self, job: Job) -> bool {
        self.queue.try_send(job).is_ok()
    }
}

struct Worker {
    chain: Arc<Blockchain>,
    pool: TransactionPool,
    results: mpsc::Sender<Report>,
    /// What this node's user sent and was taken, the oldest first.
    own: VecDeque<Txid>,
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            self.pool.follow(&self.chain);
            let going_on = match job {
                Job::FromPeer { from, tx, turn } => self.check(vec![from], tx, Some(turn), None),
                Job::Local(tx, reply) => self.check(Vec::new(), tx, None, Some(reply)),
                Job::Follow => true,
                Job::PeerLeft(peer) => {
                    self.pool.lock().mempool.peer_left(peer);
                    true
                }
                Job::PeerJoined(peer) => self.tell_own(peer),
            };
            if !going_on || !self.retry_orphans() {
                return;
            }
        }
    }

    /// False when the hub is gone.
    fn tell_own(&mut self, peer: PeerId) -> bool {
        let mut told = Vec::new();
        let shared = self.pool.lock();
        self.own.retain(|txid| {
            let entry = shared.mempool.get(txid);
            told.extend(entry.map(|entry| Announcement {
                txid: entry.txid(),
                wtxid: entry.wtxid(),
                fee_per_kb: entry.fee_rate().per_kb(),
            }));
            entry.is_some()
        });
        drop(shared);
        told.is_empty() || self.results.blocking_send(Report::Own(peer, told)).is_ok()
    }

    fn remember_own(&mut self, txid: Txid) {
        if self.own.len() >= MAX_OWN {
            self.own.pop_front();
        }
        self.own.push_back(txid);
    }

    /// False when the hub is gone.
    fn check(
        &mut self,
        from: Vec<PeerId>,
        tx: Transaction,
        turn: Option<OwnedSemaphorePermit>,
        reply: Option<Reply>,
    ) -> bool {
        let (txid, wtxid) = (tx.compute_txid(), tx.compute_wtxid());
        let origin = from
            .first()
            .map_or(Origin::Local, |peer| Origin::Peer(*peer));
        let coins = |outpoint: &OutPoint| coin(&self.chain, outpoint);
        let mut shared = self.pool.lock();
        let result = shared
            .mempool
            .accept(tx, coins, &context(&self.chain), origin);
        drop(shared);
        if origin == Origin::Local && result.is_ok() {
            self.remember_own(txid);
        }
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(result.clone());
        }
        self.report(from, (txid, wtxid), result, turn)
    }

    /// False when the hub is gone.
    fn retry_orphans(&self) -> bool {
        loop {
            let mut shared = self.pool.lock();
            let coins = |outpoint: &OutPoint| coin(&self.chain, outpoint);
            let retried = shared.mempool.retry_orphan(coins, &context(&self.chain));
            drop(shared);
            let Some(retried) = retried else { return true };
            let Retried {
                txid,
                wtxid,
                peers,
                result,
            } = retried;
            if !self.report(peers, (txid, wtxid), result, None) {
                return false;
            }
        }
    }

    fn report(
        &self,
        from: Vec<PeerId>,
        (txid, wtxid): (Txid, Wtxid),
        result: Result<Accepted, MempoolError>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let shared = self.pool.lock();
        let checked = Checked {
            from,
            txid,
            wtxid,
            result,
            min_fee_rate: shared.mempool.min_fee_rate(unix_now()),
            size: (shared.mempool.len(), shared.mempool.bytes()),
            _turn: turn,
        };
        drop(shared);
        if checked.result.is_ok() {
            self.chain.note_signatures(wtxid);
        }
        self.results
            .blocking_send(Report::Checked(Box::new(checked)))
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
