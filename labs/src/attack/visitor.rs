//! An honest stranger who comes again and again, each time from another place, and wants to become a peer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain_spec::ChainSpec;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::dial::Dial;

/// Between two visits.
const EVERY: Duration = Duration::from_millis(250);

/// Who has not become a peer by then has not been let in.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the visitor's ping says: any number will do.
const PING: u64 = 7;

/// How a visit went: how long it took to become a peer, or that it came to nothing.
pub(super) type Visit = Option<Duration>;

/// Visits `to` until told to stop.
pub(super) async fn visits(to: SocketAddr, stop: CancellationToken) -> anyhow::Result<Vec<Visit>> {
    let spec = ChainSpec::devnet();
    let mut ticks = interval(EVERY);
    let mut visits = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(visits),
            _ = ticks.tick() => {}
        }
        // A /24 of its own each time.
        let number = u16::try_from(visits.len())?.to_be_bytes();
        let from = Ipv4Addr::new(127, 200 + number[0], number[1], 1);
        let dial = Dial::new(SocketAddr::from((from, 0)), to);
        let start = Instant::now();
        let became = timeout(PATIENCE, visit(&spec, dial)).await;
        visits.push(matches!(became, Ok(Ok(()))).then(|| start.elapsed()));
    }
}

/// The share of visits that led in, and what 99 of 100 of those took at most, in milliseconds.
pub(super) fn judged(visits: &[Visit]) -> (Vec<f64>, Vec<f64>) {
    let mut took: Vec<f64> = visits
        .iter()
        .flatten()
        .map(|time| time.as_secs_f64() * 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    let at = (took.len() * 99).div_ceil(100).saturating_sub(1);
    let rate = took.len() as f64 / visits.len().max(1) as f64;
    (vec![rate], took.get(at).copied().into_iter().collect())
}

/// Becomes a peer, and is answered as one: who is sent away after the handshakes has not been let in.
async fn visit(spec: &ChainSpec, dial: Dial) -> anyhow::Result<()> {
    let mut peer = dial.peer(spec).await?;
    peer.writer.write(&NetworkMessage::Ping(PING)).await?;
    while peer.reader.read().await? != NetworkMessage::Pong(PING) {}
    Ok(())
}
