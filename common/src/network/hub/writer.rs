//! The chain writer: one thread that verifies and stores blocks in order, so that disk waits hold up
//! nothing else.

use std::sync::Arc;

use bitcoin::Block;
use tokio::sync::mpsc;
use tracing::error;

use crate::chain::{BlockError, BlockRef, Blockchain, StoreError};
use crate::network::peer::PeerId;

/// Blocks handed over and not yet verified. The hub keeps the rest, within its own byte bound.
pub(crate) const QUEUE: usize = 64;

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
    queue: mpsc::Sender<(PeerId, Block)>,
}

impl ChainWriter {
    /// Starts the thread. It ends when the hub's end is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn spawn(
        chain: Arc<Blockchain>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Verified>, std::thread::JoinHandle<()>)> {
        let (queue, blocks) = mpsc::channel(QUEUE);
        // Every block gives one result and at most QUEUE + 1 are under way: sending never waits.
        let (results, verified) = mpsc::channel(QUEUE + 2);
        let thread = std::thread::Builder::new()
            .name("chain-writer".to_owned())
            .spawn(move || run(&chain, blocks, &results))?;
        Ok((Self { queue }, verified, thread))
    }

    /// Hands a block over; gives it back when the queue is full or the thread has ended.
    pub(crate) fn submit(&self, from: PeerId, block: Block) -> Result<(), Block> {
        self.queue
            .try_send((from, block))
            .map_err(|e| e.into_inner().1)
    }
}

fn run(
    chain: &Blockchain,
    mut blocks: mpsc::Receiver<(PeerId, Block)>,
    results: &mpsc::Sender<Verified>,
) {
    while let Some((from, block)) = blocks.blocking_recv() {
        let hash = block.block_hash();
        let result = chain.connect_block(&block);
        let storage = if blocks.is_empty() {
            chain.flush().err()
        } else {
            None
        };
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
    if let Err(error) = chain.flush() {
        error!(%error, "the last blocks may have to be downloaded again");
    }
}
