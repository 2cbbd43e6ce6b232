//! The chain writer: one thread that verifies and stores blocks in order, so that disk waits hold up
//! nothing else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bitcoin::Block;
use tokio::sync::mpsc;
use tracing::error;

use crate::chain::{BlockError, BlockRef, Blockchain, StoreError};
use crate::network::peer::PeerId;

/// Blocks handed over and not yet verified. The hub keeps the rest, within its own byte bound.
pub(crate) const QUEUE: usize = 64;

/// Written blocks are made durable when none has come for so long …
const IDLE_FLUSH: Duration = Duration::from_millis(100);

/// … and at least so often. What a crash loses in between is downloaded again; a disk that has to wait for
/// its platter after each block would be the limit of synchronisation otherwise.
const BUSY_FLUSH: Duration = Duration::from_secs(1);

/// What became of a block.
pub(crate) struct Verified {
    pub(crate) from: PeerId,
    pub(crate) hash: bitcoin::BlockHash,
    pub(crate) result: Result<BlockRef, BlockError>,
    /// A failure to make written blocks durable: ours, and fatal for synchronisation.
    pub(crate) storage: Option<StoreError>,
}

/// The hub's end.
pub(crate) struct ChainWriter {
    queue: SyncSender<(PeerId, Block)>,
}

impl ChainWriter {
    /// Starts the thread. It ends when the hub's end is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn spawn(
        chain: Arc<Blockchain>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Verified>, std::thread::JoinHandle<()>)> {
        let (queue, blocks) = sync_channel(QUEUE);
        // Every block gives one result and at most QUEUE + 1 are under way: sending never waits.
        let (results, verified) = mpsc::channel(QUEUE + 2);
        let thread = std::thread::Builder::new()
            .name("chain-writer".to_owned())
            .spawn(move || run(&chain, &blocks, &results))?;
        Ok((Self { queue }, verified, thread))
    }

    /// Hands a block over; gives it back when the queue is full or the thread has ended.
    pub(crate) fn submit(&self, from: PeerId, block: Block) -> Result<(), Block> {
        self.queue
            .try_send((from, block))
            .map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full((_, block))
                | std::sync::mpsc::TrySendError::Disconnected((_, block)) => block,
            })
    }
}

fn run(chain: &Blockchain, blocks: &Receiver<(PeerId, Block)>, results: &mpsc::Sender<Verified>) {
    // When the oldest block that is not durable yet was written.
    let mut unflushed: Option<Instant> = None;
    loop {
        match blocks.recv_timeout(IDLE_FLUSH) {
            Ok((from, block)) => {
                let hash = block.block_hash();
                let result = chain.connect_block(&block);
                let since = *unflushed.get_or_insert_with(Instant::now);
                let mut storage = None;
                if since.elapsed() >= BUSY_FLUSH {
                    storage = chain.flush().err();
                    unflushed = None;
                }
                if results
                    .blocking_send(Verified {
                        from,
                        hash,
                        result,
                        storage,
                    })
                    .is_err()
                {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                // A disk that refuses will refuse the next block as well, which then tells the hub.
                if unflushed.take().is_some()
                    && let Err(error) = chain.flush()
                {
                    error!(%error, "blocks could not be made durable");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(error) = chain.flush() {
        error!(%error, "the last blocks may have to be downloaded again");
    }
}
