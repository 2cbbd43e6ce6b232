//! An honest stranger who comes again and again, each time from another place, and wants to become a peer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::protocol::version::{Direction, LocalVersion};
use quantumcoin::network::session::shake_hands;
use quantumcoin::transport::{Endpoint, Identity};
use tokio::net::TcpSocket;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

/// Between two visits.
const EVERY: Duration = Duration::from_millis(250);

/// Who has not become a peer by then has not been let in.
const PATIENCE: Duration = Duration::from_secs(2);

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
        let endpoint = Endpoint::new(&spec, Arc::new(Identity::generate()?));
        let start = Instant::now();
        let became = timeout(PATIENCE, visit(&spec, &endpoint, from, to)).await;
        visits.push(matches!(became, Ok(Ok(()))).then(|| start.elapsed()));
    }
}

/// Both handshakes, from `from`.
async fn visit(
    spec: &ChainSpec,
    endpoint: &Endpoint,
    from: Ipv4Addr,
    to: SocketAddr,
) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    let protocol = &spec.network_protocol;
    let local = LocalVersion {
        protocol_version: protocol.protocol_version,
        min_protocol_version: protocol.min_protocol_version,
        services: 0,
        user_agent: "/visitor/".to_owned(),
        start_height: 0,
        relay: false,
        nonce: 1,
        now: 0,
        our_addr: SocketAddr::from((from, 0)),
        their_addr: to,
    };
    shake_hands(endpoint, spec.magic(), local, stream, Direction::Outbound).await?;
    Ok(())
}
