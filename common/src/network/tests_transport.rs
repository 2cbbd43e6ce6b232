//! Which transport a connection is made by, and who can change that.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::protocol::addresses::Gossip;
use super::security::limits::MAX_PENDING_HANDSHAKES;
use super::tests::{PATIENCE, config, copy, mined, node, spec, stranger};
use super::tests_sync::reaches;
use super::*;
use crate::network::peer::session::unix_now;
use crate::transport::TransportKind;
use crate::wire::services::{NOISE, TLS};

const TLS_ONLY: &[TransportKind] = &[TransportKind::Tls];

/// A node with files, to which somebody has told `addr` with these services.
async fn told(
    host: u8,
    addr: SocketAddr,
    services: u64,
    noise: bool,
) -> (NetworkManager, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut book = AddressBook::new(true);
    let time = unix_now() as u32;
    book.add(
        Gossip {
            addr,
            services: 9 | services,
            time,
        },
        "somebody",
    );
    if noise {
        book.speaks_noise(addr, unix_now());
        // Told anew as speaking TLS alone.
        book.met(addr, 9 | services, unix_now());
    }
    book.save(dir.path()).unwrap();
    let mut config = config(host);
    config.data_dir = Some(dir.path().to_owned());
    let empty = Arc::new(Blockchain::in_memory(spec()));
    (node(&empty, config).await, dir)
}

/// Those of its connections; the other side may have dialled back by now.
async fn transports(node: &NetworkManager) -> Vec<&'static str> {
    let status = node.status().await.unwrap();
    let mut all: Vec<_> = status.peers.iter().map(|peer| peer.transport).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_speaks_tls_alone_is_reached_and_synced_from() {
    let chain = mined(40);
    let mut settings = config(151);
    settings.transports = TLS_ONLY;
    let server = node(&copy(&chain), settings).await;
    let (fresh, _dir) = told(152, server.listen_addr(), TLS, false).await;
    reaches(&fresh, chain.tip().hash).await;
    assert_eq!(transports(&fresh).await, ["tls"]);
    assert_eq!(transports(&server).await, ["tls"]);
    fresh.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slandered_as_speaking_no_noise_is_found_out_and_dialled_by_noise() {
    let chain = mined(10);
    let server = node(&copy(&chain), config(153)).await;
    let (fresh, dir) = told(154, server.listen_addr(), TLS, false).await;
    reaches(&fresh, chain.tip().hash).await;
    assert_eq!(transports(&fresh).await, ["noise"]);
    let failed = fresh.status().await.unwrap().security.failed_handshakes;
    assert_eq!(failed.get("outbound.downgraded"), Some(&1));
    fresh.shutdown().await;
    let book = AddressBook::load(dir.path(), true);
    let by = book.dial_by(server.listen_addr(), unix_now());
    assert_eq!(by.transport(), TransportKind::Noise);
    server.shutdown().await;
}

/// The pattern of the only connection that `node` dialled, once it stands.
async fn pattern(node: &NetworkManager) -> Option<&'static str> {
    let dialled = async {
        loop {
            let status = node.status().await.unwrap();
            let mut peers = status.peers.into_iter();
            if let Some(peer) = peers.find(|peer| peer.direction == "outbound") {
                return peer.pattern;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, dialled).await.expect("it dials")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_met_is_dialled_with_its_key_and_one_with_new_keys_is_asked() {
    let mut settings = config(146);
    let server = node(&mined(3), settings.clone()).await;
    let addr = server.listen_addr();
    let (first, dir) = told(147, addr, NOISE, false).await;
    assert_eq!(pattern(&first).await, Some("XXhfs"));
    first.shutdown().await;

    let again = || {
        let mut config = config(147);
        config.data_dir = Some(dir.path().to_owned());
        config.manual_peers = vec![addr];
        async { node(&Arc::new(Blockchain::in_memory(spec())), config).await }
    };
    let second = again().await;
    assert_eq!(pattern(&second).await, Some("XKhfs"));
    let failed = second.status().await.unwrap().security.failed_handshakes;
    assert!(!failed.contains_key("outbound.known_key"), "{failed:?}");
    second.shutdown().await;
    server.shutdown().await;

    // Another node at the same address.
    settings.listen_addr = addr;
    let other = node(&mined(3), settings).await;
    let third = again().await;
    assert_eq!(pattern(&third).await, Some("XXhfs"));
    let failed = third.status().await.unwrap().security.failed_handshakes;
    assert_eq!(failed.get("outbound.known_key"), Some(&1), "{failed:?}");
    third.shutdown().await;
    let fourth = again().await;
    assert_eq!(pattern(&fourth).await, Some("XKhfs"));
    fourth.shutdown().await;
    other.shutdown().await;
}

/// Somebody on the path lets no Noise through and says that TLS would do.
#[tokio::test(flavor = "multi_thread")]
async fn cutting_noise_off_brings_nobody_to_dial_by_tls() {
    for services in [0, NOISE, NOISE | TLS, TLS] {
        let listener = TcpListener::bind("127.7.0.155:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let firsts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&firsts);
        let path = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Ok(byte) = stream.read_u8().await {
                    seen.lock().unwrap().push(byte);
                }
            }
        });
        // Even who is said to speak TLS alone has spoken Noise with us before.
        let (node, _dir) = told(156, addr, services, services == TLS).await;
        // Told again and again; dialled again and again.
        let dialled = async {
            while firsts.lock().unwrap().len() < 2 {
                node.connect(addr).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, dialled).await.expect("it is dialled");
        let firsts = firsts.lock().unwrap().clone();
        assert!(
            firsts.iter().all(|byte| *byte == 0x04),
            "{services:x}: {firsts:?}"
        );
        path.abort();
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_tls_says_so_and_takes_none() {
    let chain = mined(5);
    let mut settings = config(157);
    settings.transports = &[TransportKind::Noise];
    let server = node(&copy(&chain), settings).await;
    let mut settings = config(158);
    settings.transports = TLS_ONLY;
    settings.manual_peers = vec![server.listen_addr()];
    let other = node(&Arc::new(Blockchain::in_memory(spec())), settings).await;
    let refused = async {
        loop {
            let failed = other.status().await.unwrap().security.failed_handshakes;
            if failed.contains_key("outbound.transport") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it is refused");
    assert!(transports(&server).await.is_empty());
    let visitor = stranger([127, 7, 16, 9], server.listen_addr(), &spec())
        .await
        .unwrap();
    assert_eq!(
        visitor.version.services & (NOISE | TLS),
        NOISE,
        "it says so"
    );
    other.shutdown().await;
    server.shutdown().await;
}

/// More than may be in their handshakes at once, from as many subnets, half of them with half a first message.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_crowd_does_not_keep_an_honest_peer_out() {
    let server = node(&mined(3), config(159)).await;
    let to = server.listen_addr();
    let mut crowd = Vec::new();
    for n in 0..MAX_PENDING_HANDSHAKES + 200 {
        let socket = TcpSocket::new_v4().unwrap();
        let host = [127, 20 + (n / 250) as u8, (n % 250) as u8, 1];
        socket.bind(SocketAddr::from((host, 0))).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        if n % 2 == 0 {
            // It may be gone already.
            let _ = stream.write_all(&[0x04, 0xc0, 7, 7, 7]).await;
        }
        crowd.push(stream);
    }
    for host in 1..=5 {
        stranger([127, 7, 16, host], to, &spec()).await.unwrap();
    }
    let refused = server.status().await.unwrap().security.refused;
    assert!(
        refused.get("evicted").is_some_and(|count| *count > 100),
        "{refused:?}"
    );
    server.shutdown().await;
}
