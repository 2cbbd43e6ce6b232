//! DNS servers good and bad, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::Provider;
use quantumcoin_seeder::{Seeder, SeederConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long a resolver's question is under way to the seed and back; the liar needs to ask nobody.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Longest question: that of a resolver with EDNS is far below.
const MAX_QUESTION: usize = 1_232;

/// A seeder of these addresses, for all zones of `spec`, until `stop`.
pub(super) async fn seeder(
    host: Ipv4Addr,
    spec: &ChainSpec,
    peers: &[SocketAddr],
    stop: &CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let mut spec = spec.clone();
    spec.discovery.bootstrap_nodes = peers.to_vec();
    let mut config = SeederConfig::new(spec);
    config.listen = vec![SocketAddr::from((host, 0))];
    let seeder = Seeder::bind(config).await?;
    let addr = seeder.dns_addr();
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = seeder.run(stop).await {
            eprintln!("the seeder ended: {error}");
        }
    });
    Ok(addr)
}

/// Sockets that take questions, over UDP and TCP, and answer none.
#[derive(Debug)]
pub(super) struct Hanging {
    udp: UdpSocket,
    _tcp: TcpListener,
}

impl Hanging {
    pub(super) async fn bind(host: Ipv4Addr) -> anyhow::Result<Self> {
        let (udp, tcp) = both(host).await?;
        Ok(Self { udp, _tcp: tcp })
    }

    pub(super) fn provider(&self) -> anyhow::Result<Provider> {
        Ok(Provider::Server(self.udp.local_addr()?))
    }
}

async fn both(host: Ipv4Addr) -> anyhow::Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind((host, 0)).await?;
    let tcp = TcpListener::bind(udp.local_addr()?).await?;
    Ok((udp, tcp))
}

/// A resolver that asks `seeder` about one seed, and for which all others are dead: it hears nothing of them, and neither
/// does who asks it.
pub(super) async fn resolver(
    host: Ipv4Addr,
    seeder: SocketAddr,
    alive: &str,
) -> anyhow::Result<SocketAddr> {
    let (udp, tcp) = both(host).await?;
    let addr = udp.local_addr()?;
    let alive: Arc<[u8]> = label(alive).into();
    let udp = Arc::new(udp);
    tokio::spawn(by_udp(udp, seeder, Arc::clone(&alive)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            // Who asks hears nothing when the line breaks, as with any other failure.
            tokio::spawn(by_tcp(stream, seeder, Arc::clone(&alive)));
        }
    });
    Ok(addr)
}

/// The first label of a name as it stands in a question.
fn label(name: &str) -> Vec<u8> {
    let label = name.split('.').next().unwrap_or_default().as_bytes();
    // A label has 63 bytes at most.
    let mut bytes = vec![label.len() as u8];
    bytes.extend(label.to_ascii_lowercase());
    bytes
}

fn asks_about(question: &[u8], label: &[u8]) -> bool {
    question
        .windows(label.len())
        .any(|part| part.eq_ignore_ascii_case(label))
}

async fn by_udp(socket: Arc<UdpSocket>, seeder: SocketAddr, alive: Arc<[u8]>) {
    let mut buffer = [0; MAX_QUESTION];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        if asks_about(&question, &alive) {
            let socket = Arc::clone(&socket);
            tokio::spawn(async move { pass_on(&socket, from, &question, seeder).await });
        }
    }
}

async fn pass_on(
    socket: &UdpSocket,
    from: SocketAddr,
    question: &[u8],
    seeder: SocketAddr,
) -> std::io::Result<()> {
    sleep(ROUND_TRIP).await;
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    upstream.send_to(question, seeder).await?;
    let mut answer = [0; 4_096];
    let (length, _) = upstream.recv_from(&mut answer).await?;
    socket
        .send_to(answer.get(..length).unwrap_or_default(), from)
        .await?;
    Ok(())
}

async fn by_tcp(
    mut stream: TcpStream,
    seeder: SocketAddr,
    alive: Arc<[u8]>,
) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(seeder).await?;
    loop {
        let length = usize::from(stream.read_u16().await?);
        let mut question = vec![0; length];
        stream.read_exact(&mut question).await?;
        if !asks_about(&question, &alive) {
            continue;
        }
        sleep(ROUND_TRIP).await;
        // A length of two bytes fits where it came from.
        upstream.write_u16(length as u16).await?;
        upstream.write_all(&question).await?;
        let length = upstream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        upstream.read_exact(&mut answer).await?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_by_its_label_in_any_case() {
        let alive = label("seed1.quantumcoin.network");
        assert!(asks_about(b"..\x05sEEd1\x0bquantumcoin", &alive));
        assert!(!asks_about(b"..\x05seed2\x0bquantumcoin", &alive));
        assert!(!asks_about(b"..\x06seed10", &alive));
        assert!(!asks_about(b"", &alive));
    }
}
