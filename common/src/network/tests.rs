//! Whole nodes against each other, over real sockets on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::ScriptBuf;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::protocol::version::{Direction, LocalVersion};
use super::session::{Session, SessionError, shake_hands};
use super::*;
use crate::chain::miner::mine_block;

/// Longest that anything in here may take; never waited for when all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::devnet())
}

/// A chain of `blocks` really mined blocks, a second apart, the last of them now.
pub(super) fn mined(blocks: u32) -> Arc<Blockchain> {
    let chain = Arc::new(Blockchain::in_memory(spec()));
    mine(&chain, blocks);
    chain
}

pub(super) fn mine(chain: &Blockchain, blocks: u32) {
    let now = peer::session::unix_now() as u32;
    let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat());
    for n in 0..blocks {
        mine_block(chain, payout.clone(), now - blocks + n).unwrap();
    }
}

pub(super) fn copy(from: &Blockchain) -> Arc<Blockchain> {
    let chain = Blockchain::in_memory(Arc::clone(from.spec()));
    let now = peer::session::unix_now() as u32;
    for height in 1..=from.tip().height {
        let bytes = from
            .block(&from.block_at(height).unwrap())
            .unwrap()
            .unwrap();
        let block: bitcoin::Block = bitcoin::consensus::deserialize(&bytes).unwrap();
        chain.accept_headers(&[block.header], now).unwrap();
        chain.connect_block(&block).unwrap();
    }
    Arc::new(chain)
}

/// A config that asks no DNS, on an address of its own.
pub(super) fn config(host: u8) -> NetworkConfig {
    let mut config = NetworkConfig::new(SocketAddr::from(([127, 7, 0, host], 0)));
    config.providers = Vec::new();
    config
}

pub(super) async fn node(chain: &Arc<Blockchain>, config: NetworkConfig) -> NetworkManager {
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, Arc::clone(chain), None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    node
}

pub(super) async fn synced(node: &NetworkManager) -> SyncReport {
    timeout(PATIENCE, node.sync_from_zero())
        .await
        .expect("sync ends")
        .unwrap()
}

/// Connects as a stranger from `host`.
pub(super) async fn stranger(
    host: [u8; 4],
    to: SocketAddr,
    spec: &ChainSpec,
) -> Result<Session, SessionError> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    let stream = socket.connect(to).await.map_err(SessionError::Connect)?;
    hands(stream, Direction::Outbound, spec, 0).await
}

pub(super) async fn hands(
    stream: TcpStream,
    direction: Direction,
    spec: &ChainSpec,
    height: i32,
) -> Result<Session, SessionError> {
    let identity = Arc::new(Identity::generate().unwrap());
    hands_as(identity, stream, direction, spec, height).await
}

pub(super) async fn hands_as(
    identity: Arc<Identity>,
    stream: TcpStream,
    direction: Direction,
    spec: &ChainSpec,
    height: i32,
) -> Result<Session, SessionError> {
    let endpoint = Endpoint::new(spec, identity);
    let addr = stream.peer_addr().map_err(SessionError::Connect)?;
    let local = LocalVersion {
        protocol_version: 70015,
        min_protocol_version: 70010,
        services: 9,
        user_agent: "/test/".to_owned(),
        start_height: height,
        relay: true,
        nonce: rand::random(),
        now: 0,
        our_addr: addr,
        their_addr: addr,
    };
    let handshake = shake_hands(&endpoint, spec.magic(), local, stream, direction);
    timeout(PATIENCE, handshake)
        .await
        .expect("a handshake ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_node_syncs_from_several_peers_at_once() {
    let chain = mined(300);
    let mut servers = Vec::new();
    let mut fresh = config(9);
    for host in 1..=4 {
        let server = node(&copy(&chain), config(host)).await;
        fresh.manual_peers.push(server.listen_addr());
        servers.push(server);
    }
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let fresh = node(&empty, fresh).await;
    let report = synced(&fresh).await;
    assert_eq!((report.height, report.tip), (300, chain.tip().hash));
    let status = fresh.status().await.unwrap();
    assert_eq!((status.outbound, status.sync.peers), (4, 4));
    let served = status.peers.iter().filter(|p| p.bytes_in > 10_000).count();
    assert!(
        served >= 2,
        "blocks came from several peers: {:?}",
        status.peers
    );
    assert_eq!(status.external.unwrap().votes, 4);
    fresh.shutdown().await;
    for server in servers {
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_vanish_or_hang_do_not_stop_the_sync() {
    let chain = mined(1_000);
    let (asked, mut was_asked) = mpsc::channel(1);
    let good = node(&copy(&chain), config(11)).await;
    let dying = node(&copy(&chain), config(12)).await;
    // One peer shakes hands, claims everything and never answers.
    let silent = TcpListener::bind("127.7.0.13:0").await.unwrap();
    let silent_addr = silent.local_addr().unwrap();
    let hanging = tokio::spawn(async move {
        while let Ok((stream, _)) = silent.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let session = hands(stream, Direction::Inbound, &spec(), 1_000).await;
                // It reads for as long as the connection stands, and answers nothing.
                let Ok(mut session) = session else { return };
                while let Ok(message) = session.reader.read().await {
                    if matches!(message, NetworkMessage::GetHeaders(_)) {
                        let _ = asked.try_send(());
                    }
                }
            });
        }
    });
    let mut fresh = config(19);
    fresh.manual_peers = vec![good.listen_addr(), dying.listen_addr(), silent_addr];
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let fresh = node(&empty, fresh).await;
    let mut progress = fresh.progress();
    timeout(PATIENCE, progress.wait_for(|p| p.block_height > 20))
        .await
        .unwrap()
        .unwrap();
    let dying_addr = dying.listen_addr();
    let connected = fresh.status().await.unwrap().peers;
    assert!(connected.iter().any(|p| p.addr == dying_addr));
    // Without an orderly end.
    drop(dying);
    let after = progress.borrow().block_height;
    assert!(after < 1_000, "it vanished after the end: {after}");
    let report = synced(&fresh).await;
    assert_eq!(report.tip, chain.tip().hash);
    timeout(PATIENCE, was_asked.recv())
        .await
        .expect("the silent peer was asked");
    hanging.abort();
    fresh.shutdown().await;
    good.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_blocks_are_announced_and_fetched() {
    let chain = mined(3);
    let server = node(&chain, config(21)).await;
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let mut follower = config(22);
    follower.manual_peers = vec![server.listen_addr()];
    let follower = node(&empty, follower).await;
    synced(&follower).await;
    for _ in 0..3 {
        mine(&chain, 1);
        let wanted = chain.tip().hash;
        let mut progress = follower.progress();
        timeout(PATIENCE, progress.wait_for(|p| p.tip == wanted))
            .await
            .unwrap()
            .unwrap();
    }
    follower.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_spread_by_gossip() {
    let chain = mined(1);
    let hub = node(&copy(&chain), config(31)).await;
    let mut nodes = Vec::new();
    for host in 32..38 {
        let mut config = config(host);
        config.manual_peers = vec![hub.listen_addr()];
        nodes.push(node(&copy(&chain), config).await);
    }
    // Everybody learns of everybody, though each was told of one only.
    for node in &nodes {
        let mut progress = node.progress();
        timeout(PATIENCE, progress.wait_for(|p| p.peers >= 6))
            .await
            .unwrap()
            .unwrap();
    }
    for node in nodes {
        node.shutdown().await;
    }
    hub.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_that_serves_an_invalid_block_is_banned_and_the_sync_goes_on() {
    let chain = mined(30);
    let good = node(&copy(&chain), config(41)).await;
    let evil = TcpListener::bind("127.7.0.42:0").await.unwrap();
    let evil_addr = evil.local_addr().unwrap();
    let liar_chain = copy(&chain);
    let liar = tokio::spawn(async move {
        while let Ok((stream, _)) = evil.accept().await {
            if let Ok(session) = hands(stream, Direction::Inbound, &spec(), 30).await {
                tokio::spawn(lie(session, Arc::clone(&liar_chain)));
            }
        }
    });
    let mut fresh = config(49);
    // Not manual: those are never banned. The liar is met first, through the book.
    fresh.data_dir = Some(tempfile::tempdir().unwrap().keep());
    let mut book = address_book::AddressBook::new(true);
    book.met(evil_addr, 9, peer::session::unix_now());
    book.save(fresh.data_dir.as_ref().unwrap()).unwrap();
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let data_dir = fresh.data_dir.clone().unwrap();
    let fresh = node(&empty, fresh).await;
    let banned = async {
        loop {
            if fresh.status().await.unwrap().security.bans.len() == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, banned).await.expect("the liar is banned");
    fresh.connect(good.listen_addr()).await;
    let mut progress = fresh.progress();
    let wanted = chain.tip().hash;
    timeout(PATIENCE, progress.wait_for(|p| p.tip == wanted))
        .await
        .unwrap()
        .unwrap();
    let status = fresh.status().await.unwrap();
    assert_eq!(status.security.offences.get("invalid_block"), Some(&1));
    assert!(status.peers.iter().all(|p| p.addr != evil_addr));
    liar.abort();
    fresh.shutdown().await;
    good.shutdown().await;
    std::fs::remove_dir_all(data_dir).unwrap();
}

/// Tells the true headers, and blocks with a stolen coinbase under them.
async fn lie(mut session: Session, chain: Arc<Blockchain>) {
    while let Ok(message) = session.reader.read().await {
        let answers = match message {
            NetworkMessage::GetHeaders(request) => vec![NetworkMessage::Headers(
                chain.headers_after(&request.locator_hashes, request.stop_hash, 2_000),
            )],
            NetworkMessage::GetData(items) => items
                .iter()
                .filter_map(security::ledger::block_hash)
                .map(|hash| {
                    let bytes = chain.block(&hash).unwrap().unwrap();
                    let mut block: bitcoin::Block =
                        bitcoin::consensus::deserialize(&bytes).unwrap();
                    block.txdata[0].output[0].value = bitcoin::Amount::from_sat(1);
                    NetworkMessage::Block(block)
                })
                .collect(),
            NetworkMessage::Ping(nonce) => vec![NetworkMessage::Pong(nonce)],
            _ => Vec::new(),
        };
        for answer in answers {
            if session.writer.write(&answer).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_network_is_refused() {
    let server = node(&mined(1), config(51)).await;
    let error = stranger([127, 7, 1, 1], server.listen_addr(), &ChainSpec::testnet()).await;
    assert!(
        matches!(error, Err(SessionError::Handshake(_))),
        "{error:?}"
    );
    let ok = stranger([127, 7, 1, 1], server.listen_addr(), &spec()).await;
    assert!(ok.is_ok(), "{ok:?}");
    let status = server.status().await.unwrap();
    assert_eq!(
        status.security.failed_handshakes.get("inbound.transport"),
        Some(&1)
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_connections_of_one_address_and_no_more() {
    let server = node(&mined(1), config(61)).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(
            stranger([127, 7, 2, 1], server.listen_addr(), &spec())
                .await
                .unwrap(),
        );
    }
    assert!(
        stranger([127, 7, 2, 1], server.listen_addr(), &spec())
            .await
            .is_err()
    );
    assert!(
        stranger([127, 7, 2, 2], server.listen_addr(), &spec())
            .await
            .is_ok()
    );
    let status = server.status().await.unwrap();
    assert_eq!(status.security.refused.get("per_ip"), Some(&1));
    // A place that is given back can be taken again.
    drop(held.pop());
    let again = async {
        while stranger([127, 7, 2, 1], server.listen_addr(), &spec())
            .await
            .is_err()
        {}
    };
    timeout(PATIENCE, again)
        .await
        .expect("the place is free again");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_ends_the_connection_without_an_answer() {
    let server = node(&mined(1), config(71)).await;
    for junk in [
        vec![0x99; 4_000],
        vec![0; 10],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![4; 1_300],
    ] {
        let mut stream = TcpStream::connect(server.listen_addr()).await.unwrap();
        // The node may hang up while we write.
        let _ = stream.write_all(&junk).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("hung up");
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    }
    assert!(
        stranger([127, 7, 3, 1], server.listen_addr(), &spec())
            .await
            .is_ok()
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooder_is_dropped() {
    let server = node(&mined(1), config(81)).await;
    let mut session = stranger([127, 7, 4, 1], server.listen_addr(), &spec())
        .await
        .unwrap();
    // 1.8 MB that nobody asked for: far over the megabyte a minute.
    let item = Inventory::Transaction(bitcoin::Txid::from_byte_array([7; 32]));
    session
        .writer
        .write(&NetworkMessage::Inv(vec![item; 50_000]))
        .await
        .unwrap();
    let dropped = async { while session.reader.read().await.is_ok() {} };
    timeout(PATIENCE, dropped)
        .await
        .expect("the flooder is dropped");
    let noted = async {
        while server
            .status()
            .await
            .unwrap()
            .security
            .offences
            .get("inventory_spam")
            != Some(&1)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, noted)
        .await
        .expect("the offence is noted");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_do_not_become_our_own_peer() {
    let chain = mined(1);
    let node = node(&chain, config(91)).await;
    node.connect(node.listen_addr()).await;
    let noticed = async {
        loop {
            let status = node.status().await.unwrap();
            let failed = &status.security.failed_handshakes;
            if failed.contains_key("outbound.self") && failed.contains_key("inbound.self") {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    let status = timeout(PATIENCE, noticed)
        .await
        .expect("we notice ourselves");
    assert_eq!(status.sync.peers, 0);
    node.shutdown().await;
}

#[tokio::test]
async fn a_busy_port_is_a_clear_error() {
    let holder = TcpListener::bind("127.7.0.101:0").await.unwrap();
    let addr = holder.local_addr().unwrap();
    let chain = Arc::new(Blockchain::in_memory(spec()));
    let error = NetworkManager::new(addr, chain, None).await.unwrap_err();
    assert!(matches!(error, NetworkError::Bind(_)));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn another_networks_chain_is_refused() {
    let chain = Arc::new(Blockchain::in_memory(spec()));
    let addr = SocketAddr::new(IpAddr::from([127, 7, 0, 102]), 0);
    let error = NetworkManager::new(addr, chain, Some(ChainSpec::testnet()))
        .await
        .unwrap_err();
    assert!(matches!(error, NetworkError::OtherChain { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_and_addresses_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chain = mined(2);
    let server = node(&copy(&chain), config(111)).await;
    let mut first = config(112);
    first.data_dir = Some(dir.path().to_owned());
    let mut second = first.clone();
    first.manual_peers = vec![server.listen_addr()];
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let run = node(&empty, first).await;
    let id = run.node_id();
    synced(&run).await;
    run.shutdown().await;

    // The second run is told of nobody.
    second.manual_peers.clear();
    let empty = Arc::new(Blockchain::in_memory(spec()));
    let run = node(&empty, second).await;
    assert_eq!(run.node_id(), id);
    assert_eq!(synced(&run).await.height, 2);
    run.shutdown().await;
    server.shutdown().await;
}
