//! The thread that changes the pool.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bitcoin::{Transaction, Txid, Wtxid};
use tokio::sync::{mpsc, oneshot};

use super::{TransactionPool, TransactionTurn};
use crate::chain::Blockchain;
use crate::chain::mempool::{Accepted, MempoolError, Origin, Retried};
use crate::network::peer::PeerId;
use crate::network::peer::session::unix_now;

/// Jobs that may wait. The bytes of those that carry transactions are bounded by [`super::ROOM_KIB`].
const QUEUE: usize = 4_096;

/// Who hears what became of a transaction of this node's user.
pub(crate) type Reply = oneshot::Sender<Result<Accepted, MempoolError>>;

/// What the thread is asked to do.
pub(crate) enum Job {
    /// Check a transaction of a peer.
    FromPeer {
        from: PeerId,
        tx: Transaction,
        /// Given back when this is dropped.
        turn: TransactionTurn,
    },
    /// Check a transaction of this node's user.
    Local(Transaction, Reply),
    /// The chain may have moved, or time has passed.
    Follow,
    PeerLeft(PeerId),
}

/// What became of a transaction.
pub(crate) struct Report {
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
    pub(crate) _turn: Option<TransactionTurn>,
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
        let worker = Worker {
            chain,
            pool,
            results,
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
}

impl Worker {
    fn run(&self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let going_on = match job {
                Job::FromPeer { from, tx, turn } => self.check(vec![from], tx, Some(turn), None),
                Job::Local(tx, reply) => self.check(Vec::new(), tx, None, Some(reply)),
                Job::Follow => {
                    drop(self.pool.follow(&self.chain));
                    self.pool.expire(unix_now());
                    true
                }
                Job::PeerLeft(peer) => {
                    self.pool.lock().mempool.peer_left(peer);
                    true
                }
            };
            if !going_on || !self.retry_orphans() {
                return;
            }
        }
    }

    /// False when the hub is gone.
    fn check(
        &self,
        from: Vec<PeerId>,
        tx: Transaction,
        turn: Option<TransactionTurn>,
        reply: Option<Reply>,
    ) -> bool {
        let names = (tx.compute_txid(), tx.compute_wtxid());
        let origin = from
            .first()
            .map_or(Origin::Local, |peer| Origin::Peer(*peer));
        let result = self.pool.accept(&self.chain, tx, origin);
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(result.clone());
        }
        self.report(from, names, result, turn)
    }

    /// False when the hub is gone.
    fn retry_orphans(&self) -> bool {
        while let Some(retried) = self.pool.retry_orphan(&self.chain) {
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
        true
    }

    fn report(
        &self,
        from: Vec<PeerId>,
        (txid, wtxid): (Txid, Wtxid),
        result: Result<Accepted, MempoolError>,
        turn: Option<TransactionTurn>,
    ) -> bool {
        if result.is_ok() {
            self.chain.note_signatures(wtxid);
        }
        let shared = self.pool.lock();
        let report = Report {
            from,
            txid,
            wtxid,
            result,
            min_fee_rate: shared.mempool.min_fee_rate(unix_now()),
            size: (shared.mempool.len(), shared.mempool.bytes()),
            _turn: turn,
        };
        drop(shared);
        self.results.blocking_send(report).is_ok()
    }
}
