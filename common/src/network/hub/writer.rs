//! The chain writer: one thread that verifies and stores blocks in order, so that disk waits hold up
//! nothing else.
//!
//! It takes what is in its queue as one batch, since the chain verifies many blocks at once faster than one
//! by one. While it works on a batch, the next one gathers in the queue.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use tokio::sync::mpsc;
use tracing::error;

use crate::chain::{BlockError, BlockRef, Blockchain, CheckedBlock, StoreError};
use crate::network::peer::Origin;

/// Blocks of one batch, at most: enough signatures for all cores, little enough that the tip moves often
/// (docs/chain.md).
const BATCH_BLOCKS: usize = 64;

/// Bytes of one batch, at most; a larger block is a batch of its own (docs/chain.md).
const BATCH_BYTES: usize = 8_000_000;

/// Blocks handed over and not yet taken: the next batch is there when one is done, and the hub has the time
/// of a whole batch to fill the queue up. The hub keeps the rest, within its own byte bound.
const QUEUE: usize = 2 * BATCH_BLOCKS;

/// Batches whose results the hub has not heard yet; the thread waits beyond it.
const RESULTS: usize = 4;

/// Written blocks are made durable when none has come for so long …
const IDLE_FLUSH: Duration = Duration::from_millis(100);

/// … and at least so often. What a crash loses in between is downloaded again; a disk that has to wait for
/// its platter after each block would be the limit of synchronisation otherwise.
const BUSY_FLUSH: Duration = Duration::from_secs(1);

/// A block that arrived.
pub(crate) struct Received {
    pub(crate) from: Origin,
    pub(crate) block: CheckedBlock,
}

/// What became of a batch.
pub(crate) struct Verified {
    /// Each block's sender, hash and result, in the order in which they were submitted.
    pub(crate) blocks: Vec<(Origin, BlockHash, Result<BlockRef, BlockError>)>,
    /// A failure to make written blocks durable: ours, and fatal for synchronisation.
    pub(crate) storage: Option<StoreError>,
}

/// The hub's end.
pub(crate) struct ChainWriter {
    queue: SyncSender<Received>,
}

impl ChainWriter {
    /// Starts the thread. It ends when the hub's end is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn spawn(
        chain: Arc<Blockchain>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Verified>, std::thread::JoinHandle<()>)> {
        let (queue, received) = sync_channel(QUEUE);
        let (results, verified) = mpsc::channel(RESULTS);
        let thread = std::thread::Builder::new()
            .name("chain-writer".to_owned())
            .spawn(move || run(&chain, &received, &results))?;
        Ok((Self { queue }, verified, thread))
    }

    /// Hands a block over without waiting; gives it back when the queue is full or the thread has ended.
    pub(crate) fn submit(&self, block: Received) -> Option<Received> {
        match self.queue.try_send(block) {
            Ok(()) => None,
            Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) => Some(block),
        }
    }
}

fn run(chain: &Blockchain, queue: &Receiver<Received>, results: &mpsc::Sender<Verified>) {
    // When the oldest block that is not durable yet was written.
    let mut unflushed: Option<Instant> = None;
    // Taken from the queue, but too large for the batch before.
    let mut left: Option<Received> = None;
    loop {
        let first = left
            .take()
            .map_or_else(|| queue.recv_timeout(IDLE_FLUSH), Ok);
        match first {
            Ok(first) => {
                let batch = Batch::gather(first, || queue.try_recv().ok(), &mut left);
                let (senders, blocks) = (batch.senders, batch.blocks);
                let connected = chain.connect_checked(blocks);
                let since = *unflushed.get_or_insert_with(Instant::now);
                let mut storage = None;
                if since.elapsed() >= BUSY_FLUSH {
                    storage = chain.flush().err();
                    unflushed = None;
                }
                let verified = Verified {
                    blocks: report(senders, connected),
                    storage,
                };
                if results.blocking_send(verified).is_err() {
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

/// Blocks that are verified together.
struct Batch {
    blocks: Vec<CheckedBlock>,
    senders: Vec<(Origin, BlockHash)>,
    bytes: usize,
}

impl Batch {
    /// `first`, and what `next` gives while there is room; a block that did not fit goes to `left`.
    fn gather(
        first: Received,
        mut next: impl FnMut() -> Option<Received>,
        left: &mut Option<Received>,
    ) -> Self {
        let mut batch = Self {
            blocks: Vec::new(),
            senders: Vec::new(),
            bytes: 0,
        };
        batch.push(first);
        while batch.blocks.len() < BATCH_BLOCKS {
            let Some(received) = next() else { break };
            if batch.bytes + received.block.size() > BATCH_BYTES {
                *left = Some(received);
                break;
            }
            batch.push(received);
        }
        batch
    }

    fn push(&mut self, received: Received) {
        self.bytes += received.block.size();
        self.senders.push((received.from, received.block.hash()));
        self.blocks.push(received.block);
    }
}

/// The results with whom they concern; the chain gives one for each block.
fn report(
    senders: Vec<(Origin, BlockHash)>,
    connected: Vec<Result<BlockRef, BlockError>>,
) -> Vec<(Origin, BlockHash, Result<BlockRef, BlockError>)> {
    let pairs = senders.into_iter().zip(connected);
    pairs.map(|((from, hash), r)| (from, hash, r)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bitcoin::{Block, ScriptBuf};

    use super::*;
    use crate::chain::miner::mine_block;
    use crate::chain_spec::ChainSpec;
    use crate::network::peer::session::unix_now;

    fn mined(count: u32) -> (Arc<Blockchain>, Vec<Block>) {
        let spec = Arc::new(ChainSpec::devnet());
        let source = Blockchain::in_memory(Arc::clone(&spec));
        let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat());
        let start = unix_now() as u32 - count;
        let blocks: Vec<Block> = (0..count)
            .map(|n| mine_block(&source, payout.clone(), start + n).unwrap())
            .collect();
        let chain = Blockchain::in_memory(spec);
        let headers: Vec<_> = blocks.iter().map(|b| b.header).collect();
        for part in headers.chunks(2_000) {
            chain.accept_headers(part, unix_now() as u32).unwrap();
        }
        (Arc::new(chain), blocks)
    }

    fn received(chain: &Blockchain, block: &Block) -> Received {
        Received {
            from: Origin {
                id: 7,
                addr: SocketAddr::from(([9, 9, 9, 9], 1)),
            },
            block: chain.check_block(block.clone()),
        }
    }

    /// Submits everything as the queue has room, and collects the batches.
    fn write(
        chain: &Blockchain,
        writer: &ChainWriter,
        results: &mut mpsc::Receiver<Verified>,
        blocks: &[Block],
    ) -> Vec<Verified> {
        let mut batches = Vec::new();
        let mut heard = 0;
        let mut next = 0;
        while heard < blocks.len() {
            while next < blocks.len() && writer.submit(received(chain, &blocks[next])).is_none() {
                next += 1;
            }
            let batch = results.blocking_recv().unwrap();
            heard += batch.blocks.len();
            batches.push(batch);
        }
        batches
    }

    #[test]
    fn every_block_is_reported_once_and_in_order() {
        let (chain, blocks) = mined(500);
        let (writer, mut results, thread) = ChainWriter::spawn(Arc::clone(&chain)).unwrap();
        let batches = write(&chain, &writer, &mut results, &blocks);
        let heights: Vec<u32> = batches
            .iter()
            .flat_map(|b| &b.blocks)
            .map(|(_, _, result)| result.as_ref().unwrap().height)
            .collect();
        assert_eq!(heights, (1..=500).collect::<Vec<_>>());
        assert!(batches.iter().all(|b| b.blocks.len() <= BATCH_BLOCKS));
        assert_eq!(chain.tip().hash, blocks[499].block_hash());
        drop(writer);
        thread.join().unwrap();
    }

    #[test]
    fn those_before_a_bad_block_stand_and_those_after_it_do_not() {
        let (chain, mut blocks) = mined(20);
        blocks[10].txdata[0].output[0].value = bitcoin::Amount::from_sat(1);
        let (writer, mut results, thread) = ChainWriter::spawn(Arc::clone(&chain)).unwrap();
        let batches = write(&chain, &writer, &mut results, &blocks);
        let faults: Vec<Option<bool>> = batches
            .iter()
            .flat_map(|b| &b.blocks)
            .map(|(_, _, result)| result.as_ref().err().map(BlockError::is_peer_fault))
            .collect();
        let mut expected = vec![None; 10];
        expected.push(Some(true));
        expected.resize(20, Some(false));
        assert_eq!(
            faults, expected,
            "a changed body is its sender's fault alone"
        );
        assert_eq!(chain.tip().height, 10);
        drop(writer);
        thread.join().unwrap();
    }

    #[test]
    fn a_batch_is_bounded_in_blocks_and_bytes() {
        let (chain, blocks) = mined(1);
        let mut left = None;
        let mut given = 0;
        let endless = |bytes: usize| {
            let mut block = blocks[0].clone();
            block.txdata[0].output[0].script_pubkey = ScriptBuf::from_bytes(vec![0; bytes]);
            received(&chain, &block)
        };
        let batch = Batch::gather(
            endless(300),
            || {
                given += 1;
                Some(endless(300))
            },
            &mut left,
        );
        assert_eq!(
            (batch.blocks.len(), given),
            (BATCH_BLOCKS, BATCH_BLOCKS - 1)
        );
        assert!(left.is_none());
        let batch = Batch::gather(endless(3_000_000), || Some(endless(3_000_000)), &mut left);
        assert_eq!(batch.blocks.len(), 2);
        assert!(left.take().is_some(), "what did not fit is not lost");
        let batch = Batch::gather(endless(BATCH_BYTES + 1), || None, &mut left);
        assert_eq!(batch.blocks.len(), 1, "one block is always taken");
    }

    #[test]
    fn the_thread_ends_with_the_hub_and_nothing_is_left_unflushed() {
        let (chain, blocks) = mined(3);
        let (writer, results, thread) = ChainWriter::spawn(Arc::clone(&chain)).unwrap();
        for block in &blocks {
            assert!(writer.submit(received(&chain, block)).is_none());
        }
        drop(results);
        drop(writer);
        thread.join().unwrap();
    }
}
