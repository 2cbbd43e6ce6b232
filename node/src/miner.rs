//! The CPU miner of devnets: one block after each pause, of what waits in the pool, paid to nobody.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::ScriptBuf;
use quantumcoin::chain::{Blockchain, miner};
use quantumcoin::network::pool::TransactionPool;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// Mines until stopped, or until the chain can't be mined or written.
pub async fn run(
    chain: Arc<Blockchain>,
    pool: TransactionPool,
    pause: Duration,
    stop: CancellationToken,
) {
    let mut timer = tokio::time::interval(pause);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let (chain, pool) = (Arc::clone(&chain), pool.clone());
        let mined = tokio::task::spawn_blocking(move || mine_from(&chain, &pool)).await;
        match mined {
            Ok(Ok(height)) => debug!(height, "mined"),
            Ok(Err(reason)) => {
                error!(reason, "mining stopped");
                return stop.cancelled().await;
            }
            Err(_) => return stop.cancelled().await,
        }
    }
}

/// Mines one block on the tip, of the transactions that pay most, and connects it; returns its height.
///
/// # Errors
/// When the difficulty is not a devnet's, or the block can't be stored.
pub fn mine_from(chain: &Blockchain, pool: &TransactionPool) -> Result<u32, String> {
    let select = |parent, max_bytes| pool.template(parent, max_bytes);
    miner::mine_block_of(chain, payout(), unix_now(), select).map_err(|e| e.to_string())?;
    chain.flush().map_err(|e| e.to_string())?;
    Ok(chain.tip().height)
}

/// Mines one block without transactions, with the time `now` (Unix seconds), and does not wait for the disk; returns
/// its height.
///
/// # Errors
/// When the difficulty is not a devnet's, `now` is far behind the chain, or the block can't be stored.
pub fn mine_at(chain: &Blockchain, now: u32) -> Result<u32, String> {
    miner::mine_block(chain, payout(), now).map_err(|e| e.to_string())?;
    Ok(chain.tip().height)
}

fn unix_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX))
}

/// A P2MLDSA output (`OP_3 <32 bytes>`) whose program nobody has a key for: devnet coins are worthless and
/// a miner without a wallet must not pretend to own them.
fn payout() -> ScriptBuf {
    ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat())
}
