//! Does a node of the network defend itself? A client that sends junk, and one that wants more connections
//! than the chain spec allows; both small enough to harm nobody.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::network::NetworkManager;
use quantumcoin::network::protocol::version::{Direction, LocalVersion};
use quantumcoin::network::session::{Session, shake_hands};
use quantumcoin::transport::{Endpoint, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Measure, Options};

/// Connections beyond the limit that are tried.
const BEYOND: usize = 2;

/// How long the node may take for each step; a little more than its own time-out.
const STEP: Duration = Duration::from_secs(7);

pub(super) async fn check(
    options: &Options,
    target: Option<SocketAddr>,
    network: &NetworkManager,
) -> Measure {
    let start = Instant::now();
    let result = match target {
        Some(target) => attack(options, target).await,
        None => Err("there is no peer to test".to_owned()),
    };
    // The fresh node's own connections must not have suffered.
    let peers = network.progress().borrow().peers;
    let (pass, detail) = match result {
        Ok(detail) if peers > 0 => (true, detail),
        Ok(detail) => (false, format!("{detail}; but honest connections were lost")),
        Err(reason) => (false, reason),
    };
    Measure {
        name: "dos_protection",
        pass,
        seconds: start.elapsed().as_secs_f64(),
        detail,
    }
}

async fn attack(options: &Options, target: SocketAddr) -> Result<String, String> {
    junk(options.attacker, target).await?;
    let limit = options.spec.network_protocol.max_connections_per_ip;
    let mut sessions = Vec::new();
    for _ in 0..limit + BEYOND {
        sessions.extend(connect(options, target).await);
    }
    judge(sessions.len(), limit, options.attacker.is_some())
        .map(|()| {
            format!(
                "junk was hung up on; {} of {} connections of one address were taken",
                sessions.len(),
                limit + BEYOND
            )
        })
        .map_err(|reason| format!("{target} {reason}"))
}

/// Whether a node that took `taken` connections of one address keeps its `limit`. `alone`: the address is
/// ours alone, so that exactly the limit must be taken; a public one may have other users.
pub(super) fn judge(taken: usize, limit: usize, alone: bool) -> Result<(), String> {
    if taken == 0 {
        Err("takes no connection at all any more".to_owned())
    } else if taken > limit {
        Err(format!(
            "took {taken} connections of one address, {limit} are allowed"
        ))
    } else if alone && taken < limit {
        Err(format!(
            "took only {taken} connections of one address, {limit} should be"
        ))
    } else {
        Ok(())
    }
}

/// Bytes that are no handshake must end the connection, without an answer.
async fn junk(from: Option<IpAddr>, target: SocketAddr) -> Result<(), String> {
    let mut stream = dial(from, target)
        .await
        .map_err(|e| format!("{target}: {e}"))?;
    // The first byte is neither TLS nor Noise. A reset while we write is a fine answer as well.
    let _ = stream.write_all(&[0x99; 2_000]).await;
    let mut answer = Vec::new();
    match timeout(STEP, stream.read_to_end(&mut answer)).await {
        Err(_) => Err(format!("{target} kept a connection that sent junk")),
        Ok(_) if !answer.is_empty() => Err(format!("{target} answered junk")),
        Ok(_) => Ok(()),
    }
}

/// One more connection, as a new node each time; `None` when it was refused.
async fn connect(options: &Options, target: SocketAddr) -> Option<Session> {
    let identity = Arc::new(Identity::generate().ok()?);
    let protocol = &options.spec.network_protocol;
    let local = LocalVersion {
        protocol_version: protocol.protocol_version,
        min_protocol_version: protocol.min_protocol_version,
        services: 0,
        user_agent: concat!("/network-test:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
        start_height: 0,
        relay: false,
        nonce: rand::random(),
        now: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs() as i64),
        our_addr: options.listen_addr,
        their_addr: target,
    };
    let endpoint = Endpoint::new(&options.spec, identity);
    let attempt = async {
        let stream = dial(options.attacker, target).await.ok()?;
        shake_hands(
            &endpoint,
            options.spec.magic(),
            local,
            stream,
            Direction::Outbound,
        )
        .await
        .ok()
    };
    timeout(STEP, attempt).await.ok().flatten()
}

async fn dial(from: Option<IpAddr>, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(from) = from.filter(|from| from.is_ipv4() == target.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    match timeout(STEP, socket.connect(target)).await {
        Ok(result) => result,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
