//! An honest miner, who tells the victim of new blocks and looks when it has them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, BlockHash, ScriptBuf};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::miner::mine_block;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::security::ledger::block_hash;
use quantumcoin::network::session::Session;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::honest::Answers;
use super::{chain, places};
use crate::attack::dial::{Dial, unix_seconds};

/// A block that the victim has not by then has not arrived: a third of it would be much.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the victim is asked whether it has the block.
const LOOK: Duration = Duration::from_millis(10);

/// A block that is on its way for so long when the time is over has not arrived.
const LATE: Duration = Duration::from_secs(2);

/// The miner's own number among honest peers.
const NUMBER: u8 = 39;

/// How long blocks took to arrive, or that they did not.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals {
    ended: Answers,
    /// Since when one is on its way.
    under_way: Arc<Mutex<Option<Instant>>>,
}

impl Arrivals {
    fn begin(&self) {
        *self.lock() = Some(Instant::now());
    }

    fn end(&self, arrived: bool) {
        let since = self.lock().take();
        let took = since.filter(|_| arrived).map(|since| since.elapsed());
        self.ended.add(took);
    }

    /// What has come since this was asked last; one that is late has not.
    pub(super) fn take(&self) -> Vec<Option<Duration>> {
        let mut ended = self.ended.take();
        let late = self.lock().is_some_and(|since| since.elapsed() >= LATE);
        ended.extend(late.then_some(None));
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing panics while it is held.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mines and tells; adds to `arrivals` how long each block took to be verified by the victim, or that it was not.
pub(super) async fn mine(
    to: SocketAddr,
    every: Duration,
    arrivals: Arrivals,
) -> anyhow::Result<()> {
    let spec = ChainSpec::devnet();
    let chain = chain::verified(spec.clone())?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    loop {
        ticks.tick().await;
        let block = next(&chain)?;
        arrivals.begin();
        let arrive = arrive(&spec, to, &mut session, &chain, &block);
        let arrived = matches!(timeout(PATIENCE, arrive).await, Ok(Ok(())));
        if !arrived {
            session = None;
        }
        arrivals.end(arrived);
    }
}

fn next(chain: &Blockchain) -> anyhow::Result<Block> {
    let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0x77; 32]].concat());
    Ok(mine_block(chain, payout, unix_seconds() as u32)?)
}

/// Tells of a block, gives what the victim asks for, and returns when it gives the block back, as it does when it has
/// verified it.
async fn arrive(
    spec: &ChainSpec,
    to: SocketAddr,
    session: &mut Option<Session>,
    chain: &Arc<Blockchain>,
    block: &Block,
) -> anyhow::Result<()> {
    let peer = match session {
        Some(peer) => peer,
        None => session.insert(Dial::new(places::honest(NUMBER), to).peer(spec).await?),
    };
    let hash = block.block_hash();
    let news = NetworkMessage::Headers(vec![block.header]);
    peer.writer.write(&news).await?;
    let look = NetworkMessage::GetData(vec![Inventory::WitnessBlock(hash)]);
    peer.writer.write(&look).await?;
    loop {
        match peer.reader.read().await? {
            NetworkMessage::Block(found) if found.block_hash() == hash => return Ok(()),
            NetworkMessage::NotFound(_) => {
                sleep(LOOK).await;
                peer.writer.write(&look).await?;
            }
            NetworkMessage::GetData(items) => {
                for hash in items.iter().filter_map(block_hash) {
                    if let Some(block) = stored(chain, &hash)? {
                        peer.writer.write(&NetworkMessage::Block(block)).await?;
                    }
                }
            }
            NetworkMessage::GetHeaders(request) => {
                let headers =
                    chain.headers_after(&request.locator_hashes, request.stop_hash, usize::MAX);
                peer.writer.write(&NetworkMessage::Headers(headers)).await?;
            }
            NetworkMessage::Ping(nonce) => {
                peer.writer.write(&NetworkMessage::Pong(nonce)).await?;
            }
            _ => {}
        }
    }
}

fn stored(chain: &Blockchain, hash: &BlockHash) -> anyhow::Result<Option<Block>> {
    let bytes = chain.block(hash)?;
    let block = bytes.map(|bytes| bitcoin::consensus::deserialize(&bytes));
    Ok(block.transpose()?)
}
