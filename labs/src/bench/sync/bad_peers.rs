//! Peers that a sync has to live with: one that has all headers and never sends a block, and one behind a
//! slow line.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain::{Blockchain, MAX_HEADERS_PER_MESSAGE};
use quantumcoin::network::protocol::version::{Direction, LocalVersion};
use quantumcoin::network::session::shake_hands;
use quantumcoin::transport::{Endpoint, Identity};
use quantumcoin::wire::services;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the slow line carries towards the fresh node, in bytes a second: about a megabit, less than a
/// hundredth of what a sync takes from four peers.
const SLOW_BYTES_PER_S: u64 = 128 << 10;

/// How often the slow line carries something.
const SLOW_TICK: Duration = Duration::from_millis(20);

/// Starts a peer that shakes hands, tells its headers, answers pings, and is silent when it is asked for
/// blocks.
pub(super) async fn hanging(host: Ipv4Addr, chain: Arc<Blockchain>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((host, 0)).await?;
    let addr = listener.local_addr()?;
    let identity = Arc::new(Identity::generate()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (identity, chain) = (Arc::clone(&identity), Arc::clone(&chain));
            tokio::spawn(async move {
                if let Err(error) = hang(stream, identity, &chain).await {
                    eprintln!("  the hanging peer's connection ended: {error:#}");
                }
            });
        }
    });
    Ok(addr)
}

async fn hang(
    stream: TcpStream,
    identity: Arc<Identity>,
    chain: &Blockchain,
) -> anyhow::Result<()> {
    let spec = chain.spec();
    let (our_addr, their_addr) = (stream.local_addr()?, stream.peer_addr()?);
    let local = LocalVersion {
        protocol_version: spec.network_protocol.protocol_version,
        min_protocol_version: spec.network_protocol.min_protocol_version,
        services: services::NETWORK.to_u64() | services::WITNESS.to_u64() | services::NOISE,
        user_agent: "/labs/".to_owned(),
        start_height: i32::try_from(chain.tip().height)?,
        relay: false,
        // No other node has it, which is all that it has to be.
        nonce: u64::from(our_addr.port()),
        now: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?,
        our_addr,
        their_addr,
    };
    let endpoint = Endpoint::new(spec, identity);
    let mut session =
        shake_hands(&endpoint, spec.magic(), local, stream, Direction::Inbound).await?;
    loop {
        let answer = match session.reader.read().await? {
            NetworkMessage::GetHeaders(request) => NetworkMessage::Headers(chain.headers_after(
                &request.locator_hashes,
                request.stop_hash,
                MAX_HEADERS_PER_MESSAGE,
            )),
            NetworkMessage::Ping(nonce) => NetworkMessage::Pong(nonce),
            _ => continue,
        };
        session.writer.write(&answer).await?;
    }
}

/// Starts a slow line to the honest peer at `to`.
pub(super) async fn slow(host: Ipv4Addr, to: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((host, 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The line ends when one of its ends does; who broke it does not matter.
                let _ = carry(stream, to).await;
            });
        }
    });
    Ok(addr)
}

async fn carry(near: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut near_reader, mut near_writer) = near.into_split();
    let (mut far_reader, mut far_writer) = far.into_split();
    let questions = async move {
        tokio::io::copy(&mut near_reader, &mut far_writer).await?;
        Ok(())
    };
    let answers = async move {
        let mut tick = tokio::time::interval(SLOW_TICK);
        // At most 16 kB in a tick; the cast can't cut anything off.
        let most = (SLOW_BYTES_PER_S * SLOW_TICK.as_millis() as u64 / 1_000) as usize;
        let mut bytes = vec![0; most];
        loop {
            tick.tick().await;
            let count = far_reader.read(&mut bytes).await?;
            let Some(read) = bytes.get(..count).filter(|read| !read.is_empty()) else {
                return Ok(());
            };
            near_writer.write_all(read).await?;
        }
    };
    tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
    }
}
