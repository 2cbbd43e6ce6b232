//! Slow links, dripping peers, and peers that leave before they are found out, over real sockets on
//! loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{Amount, CompactTarget, ScriptBuf, TxOut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::address_book::file::FILE_NAME;
use super::protocol::version::Direction;
use super::session::Session;
use super::tests::{PATIENCE, config, hands, mined, node, spec, stranger};
use super::tests_peers::status_where;
use super::tests_sync::reaches;
use super::*;
use crate::chain::miner::{find_nonce, mine_block};

/// Bytes of a block that no slow link brings within a stall time-out.
const LARGE: usize = 400_000;

/// A chain whose one block is [`LARGE`].
pub(super) fn large_block() -> Arc<Blockchain> {
    let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat());
    let now = peer::session::unix_now() as u32;
    let mut block = mine_block(&Blockchain::in_memory(spec()), payout, now).unwrap();
    // OP_RETURN with 80 bytes.
    let note = ScriptBuf::from_bytes([&[0x6a, 0x4c, 80][..], &[7; 80]].concat());
    let note = TxOut {
        value: Amount::ZERO,
        script_pubkey: note,
    };
    let room = LARGE / 92;
    block.txdata[0].output.splice(1..1, vec![note; room]);
    block.header.merkle_root = block.txdata[0].compute_txid().to_raw_hash().into();
    find_nonce(&mut block.header).unwrap();
    let chain = Blockchain::in_memory(spec());
    chain.accept_headers(&[block.header], now).unwrap();
    chain.connect_block(&block).unwrap();
    assert!(block.total_size() > LARGE * 9 / 10);
    Arc::new(chain)
}

/// Bytes a second of a link, after the first `free` ones, which come at once.
#[derive(Clone, Copy)]
struct Link {
    free: usize,
    rate: usize,
}

/// Stands before `target` and brings what it says at the pace of `link`.
async fn slow_link(host: u8, target: SocketAddr, link: Link) -> (SocketAddr, JoinOnDrop) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 7, 20, host], 0)))
        .await
        .unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.unwrap();
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            tokio::spawn(paced(from_server, to_client, link));
            tokio::spawn(async move {
                // Either side may hang up as it likes.
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
        }
    });
    (addr, JoinOnDrop(task))
}

async fn paced(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: Link) {
    const TICKS_PER_SECOND: usize = 20;
    let mut free = link.free;
    let mut buffer = vec![0; (link.rate / TICKS_PER_SECOND).max(1)];
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / TICKS_PER_SECOND as u64));
    loop {
        if free == 0 {
            tick.tick().await;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        free = free.saturating_sub(count);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A task that ends with its owner.
struct JoinOnDrop(tokio::task::JoinHandle<()>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Settings of a node that dials nobody by itself, so that no connection goes around the slow link.
fn alone(host: u8) -> NetworkConfig {
    let mut config = config(host);
    config.outbound_target = 0;
    config
}

/// Settings of a node that knows only what stands behind `link`.
fn behind(host: u8, link: SocketAddr) -> NetworkConfig {
    let mut config = alone(host);
    config.manual_peers = vec![link];
    config
}

/// A node without blocks, and its metrics.
async fn fresh(config: NetworkConfig) -> (NetworkManager, Metrics) {
    let metrics = Metrics::new("quantumcoin_node");
    let chain = Arc::new(Blockchain::in_memory(spec()));
    let node = NetworkManager::with_config(config, chain, None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    (node, metrics)
}

fn stalls(metrics: &Metrics) -> u64 {
    let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("quantumcoin_node_block_stalls_total"))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_block_over_a_slow_link_arrives_without_a_stall() {
    let chain = large_block();
    let server = node(&chain, alone(201)).await;
    let link = Link {
        free: 0,
        rate: 100_000,
    };
    let (addr, _link) = slow_link(1, server.listen_addr(), link).await;
    let start = Instant::now();
    let (fresh, metrics) = fresh(behind(202, addr)).await;
    reaches(&fresh, chain.tip().hash).await;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(3), "the link is slow: {took:?}");
    assert_eq!(stalls(&metrics), 0);
    let status = fresh.status().await.unwrap();
    assert_eq!(status.peers.len(), 1);
    assert!(
        status.peers[0].bytes_in < 2 * LARGE as u64,
        "it came once: {status:?}"
    );
    fresh.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_drips_is_fetched_from_another() {
    let chain = large_block();
    let server = node(&chain, alone(211)).await;
    // Handshake, header and the begin of the block; then twenty bytes a second.
    let link = Link {
        free: 40_000,
        rate: 20,
    };
    let (addr, _link) = slow_link(2, server.listen_addr(), link).await;
    let (fresh, metrics) = fresh(behind(212, addr)).await;
    let mut progress = fresh.progress();
    timeout(PATIENCE, progress.wait_for(|p| p.in_flight == 1))
        .await
        .unwrap()
        .unwrap();
    let good = node(&chain, alone(213)).await;
    fresh.connect(good.listen_addr()).await;
    reaches(&fresh, chain.tip().hash).await;
    let status = fresh.status().await.unwrap();
    assert!(status.security.offences.is_empty(), "slow is no offence");
    assert!(stalls(&metrics) >= 1);
    for node in [fresh, server, good] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_leaves_before_its_headers_are_checked_is_banned_all_the_same() {
    let chain = mined(1);
    let server = node(&chain, config(221)).await;
    let (_, mut header) = chain.header(&chain.tip().hash).unwrap();
    header.bits = CompactTarget::from_consensus(0x1d00_ffff);
    let lie = NetworkMessage::Headers(vec![header]);
    let liars = 20;
    for host in 1..=liars {
        let liar = stranger([127, 7, 21, host], server.listen_addr(), &spec()).await;
        let Session {
            mut reader,
            mut writer,
            ..
        } = liar.unwrap();
        writer.write(&lie).await.unwrap();
        // It hangs up at once, and in order: nothing that it said is lost.
        drop(writer);
        while reader.read().await.is_ok() {}
    }
    let status = status_where(&server, |s| {
        s.security.bans.len() == usize::from(liars) && s.inbound == 0
    })
    .await;
    assert_eq!(
        status.security.offences["invalid_header"],
        u64::from(liars),
        "each counts once"
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_goes_silent_is_one_failure_in_the_address_book() {
    let listener = TcpListener::bind("127.7.20.3:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _silent = JoinOnDrop(tokio::spawn(async move {
        // One connection: whoever dials again gets no answer, and no failure before the time-out.
        let (stream, _) = listener.accept().await.unwrap();
        let session = hands(stream, Direction::Inbound, &spec(), 1).await;
        let mut session = session.unwrap();
        while session.reader.read().await.is_ok() {}
        std::future::pending::<()>().await;
    }));
    let dir = tempfile::tempdir().unwrap();
    let mut book = AddressBook::new(true);
    book.met(addr, 9, peer::session::unix_now());
    book.save(dir.path()).unwrap();
    let mut settings = config(222);
    settings.data_dir = Some(dir.path().to_owned());
    settings.outbound_target = 1;
    let (fresh, _) = fresh(settings).await;
    status_where(&fresh, |s| s.outbound == 1).await;
    status_where(&fresh, |s| s.outbound == 0).await;
    fresh.shutdown().await;
    let saved = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(saved["addresses"][addr.to_string()]["failures"], 1);
}
