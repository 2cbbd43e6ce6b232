//! The CPU miner of devnets: one block after each pause, paid to nobody.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::ScriptBuf;
use quantumcoin::chain::{Blockchain, miner};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// Mines until stopped, or until the chain can't be mined or written.
pub async fn run(chain: Arc<Blockchain>, pause: Duration, stop: CancellationToken) {
    let mut timer = tokio::time::interval(pause);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let chain = Arc::clone(&chain);
        let mined = tokio::task::spawn_blocking(move || mine_one(&chain)).await;
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

/// Mines one block on the tip and connects it; returns its height.
///
/// # Errors
/// When the difficulty is not a devnet's, or the block can't be stored.
pub fn mine_one(chain: &Blockchain) -> Result<u32, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let height = mine_at(chain, now)?;
    chain.flush().map_err(|e| e.to_string())?;
    Ok(height)
}

/// As [`mine_one`], with the time `now` (Unix seconds) in the block, and without waiting for the disk.
///
/// # Errors
/// As [`mine_one`], or when `now` is far behind the chain.
pub fn mine_at(chain: &Blockchain, now: u32) -> Result<u32, String> {
    miner::mine_block(chain, payout(), now).map_err(|e| e.to_string())?;
    Ok(chain.tip().height)
}

/// A P2MLDSA output (`OP_3 <32 bytes>`) whose program nobody has a key for: devnet coins are worthless and
/// a miner without a wallet must not pretend to own them.
fn payout() -> ScriptBuf {
    ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat())
}
