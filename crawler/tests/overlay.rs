//! Peers that have a name instead of an address, by a SOCKS5 proxy.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use quantumcoin::chain::Blockchain;
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::{Crawler, CrawlerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::*;

/// A SOCKS5 server (RFC 1928, 1929) to these peers; `labs/overlay.sh` does the same with one that others wrote.
async fn proxy(peers: HashMap<String, SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peers = Arc::new(peers);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let peers = Arc::clone(&peers);
            // A client that goes away is its own matter.
            tokio::spawn(async move { relay(stream, &peers).await });
        }
    });
    addr
}

async fn relay(mut client: TcpStream, peers: &HashMap<String, SocketAddr>) -> std::io::Result<()> {
    let (_, methods) = (client.read_u8().await?, client.read_u8().await?);
    let mut offered = vec![0; methods.into()];
    client.read_exact(&mut offered).await?;
    assert!(offered.contains(&2), "streams are isolated by credentials");
    client.write_all(&[5, 2]).await?;
    client.read_u8().await?;
    for _ in 0..2 {
        let length = client.read_u8().await?;
        client.read_exact(&mut vec![0; length.into()]).await?;
    }
    client.write_all(&[1, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    assert_eq!(request, [5, 1, 0, 3], "names are never resolved here");
    let length = client.read_u8().await?;
    let mut name = vec![0; length.into()];
    client.read_exact(&mut name).await?;
    let port = client.read_u16().await?;
    let target = format!("{}:{port}", String::from_utf8(name).unwrap());
    let reply = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    let Some(peer) = peers.get(&target) else {
        // Host unreachable.
        return client.write_all(&reply(4)).await;
    };
    let mut peer = TcpStream::connect(peer).await?;
    client.write_all(&reply(0)).await?;
    copy_bidirectional(&mut client, &mut peer).await.map(|_| ())
}

fn onion(n: u8) -> PeerAddress {
    PeerAddress::Named(OverlayName::Onion([n; 32]), 8333)
}

fn of_overlay(chain: Arc<Blockchain>) -> Behaviour {
    let names = Vec::new();
    Behaviour::TellsNames { chain, names }
}

fn with_proxy(mut config: CrawlerConfig, proxy: SocketAddr) -> CrawlerConfig {
    config.settings.proxies.onion = Some(proxy);
    config
}

#[tokio::test]
async fn names_are_learnt_visited_by_the_proxy_and_shown_as_names() {
    let chain = mined(&devnet(), 5, 1);
    let hidden = peer(1, of_overlay(chain.clone())).await;
    let i2p = PeerAddress::Named(OverlayName::I2p([3; 32]), 8333);
    let teller = peer(
        2,
        Behaviour::TellsNames {
            chain,
            names: vec![onion(1), onion(2), i2p],
        },
    )
    .await;
    let proxy = proxy(HashMap::from([(onion(1).to_string(), hidden)])).await;
    let dir = TempDir::new().unwrap();
    let crawler = Crawler::bind(with_proxy(config(&devnet(), dir.path(), &[teller]), proxy))
        .await
        .unwrap();
    let path = crawler.store_path();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    // There is no way to I2P here, so what is there is not taken in.
    assert_eq!((report.good, report.known), (2, 3), "{report}");
    assert_eq!(report.count(Outcome::Unreachable), 1);
    let reader = StoreReader::open(&path).await.unwrap();
    let detail = reader
        .peer(onion(1).key(), NOW.into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(detail.address, onion(1));
    assert_eq!(detail.source, format!("peer:{teller}"));
    assert!(good(&reader).await.contains(&onion(1).key()));
    let lost = reader
        .peer(onion(2).key(), NOW.into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lost.facts.last_outcome, Some(Outcome::Unreachable));

    let program = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_quantumcoin-crawler"))
            .args(["--network", "devnet", "--data-dir"])
            .arg(dir.path())
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let name = onion(1).to_string();
    assert!(program(&["dump", "--good", "--format", "csv"]).contains(&name));
    assert!(program(&["explain", &name]).starts_with(&format!("{name}: good")));
    assert!(program(&["add", &onion(9).to_string()]).contains("is queued"));
    assert_eq!(reader.overlay_names().await.unwrap().len(), 3);

    // It is known again after a start, and without a proxy nobody is dialled nor judged.
    let crawler = Crawler::bind(config(&devnet(), dir.path(), &[]))
        .await
        .unwrap();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!((report.probes, report.good), (1, 2), "{report}");
}

#[tokio::test]
async fn a_proxy_that_is_gone_says_nothing_of_peers() {
    let chain = mined(&devnet(), 5, 1);
    let hidden = peer(1, of_overlay(chain)).await;
    let up = proxy(HashMap::from([(onion(1).to_string(), hidden)])).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[]);
    config.seed_addrs = vec![onion(1)];
    for (proxy, outcome) in [
        (up, Outcome::Ok),
        (closed_port(9).await, Outcome::ProxyDown),
    ] {
        let crawler = Crawler::bind(with_proxy(config.clone(), proxy))
            .await
            .unwrap();
        let path = crawler.store_path();
        let report = crawler.once(CancellationToken::new()).await.unwrap();
        assert_eq!((report.count(outcome), report.probes), (1, 1), "{report}");
        let reader = StoreReader::open(&path).await.unwrap();
        let detail = reader
            .peer(onion(1).key(), NOW.into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(detail.facts.last_outcome, Some(Outcome::Ok), "{outcome}");
        assert_eq!((detail.facts.reliability.probes, report.good), (1, 1));
    }
}

/// A peer that tells the stand-in of a name as an address of its own is not believed.
#[tokio::test]
async fn nobody_is_dialled_where_a_stand_in_points() {
    let chain = mined(&devnet(), 5, 1);
    let tells = vec![onion(1).key()];
    let teller = peer(1, Behaviour::Honest { chain, tells }).await;
    let proxy = proxy(HashMap::new()).await;
    let dir = TempDir::new().unwrap();
    let crawler = Crawler::bind(with_proxy(config(&devnet(), dir.path(), &[teller]), proxy))
        .await
        .unwrap();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!((report.known, report.probes), (1, 1), "{report}");
}
