//! Somebody who answers in the place of nodes that the victim knows, at their own addresses: a new owner of an address, or
//! somebody in the middle. He has not their keys, and each time he is another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quantumcoin::chain_spec::ChainSpec;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::peer::{Counts, Hostile};
use crate::attack::dial::Dial;

/// How long he is a peer before he goes, to come back as another.
const STAYS: Duration = Duration::from_secs(1);

/// Until whoever listened there has gone.
const AGAIN: Duration = Duration::from_millis(20);

/// Answers at `addr` to `victim`, as soon as nobody else does.
pub(super) async fn stand(addr: SocketAddr, victim: SocketAddr, counts: Arc<Counts>) {
    let spec = ChainSpec::devnet();
    let listener = loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => break listener,
            Err(_) => sleep(AGAIN).await,
        }
    };
    while let Ok((stream, _)) = listener.accept().await {
        // Whether he is believed is the victim's to tell.
        let _ = answer(&spec, stream, Dial::new(addr, victim), &counts).await;
    }
}

async fn answer(
    spec: &ChainSpec,
    stream: TcpStream,
    dial: Dial,
    counts: &Arc<Counts>,
) -> anyhow::Result<()> {
    counts.act();
    let mut peer = Hostile::accept(spec, stream, dial.version(spec), counts).await?;
    let _ = timeout(STAYS, peer.hold()).await;
    Ok(())
}
