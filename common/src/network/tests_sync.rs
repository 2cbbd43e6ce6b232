//! Synchronisation against peers that lie, withhold, drip or overtake themselves, over real sockets on
//! loopback. What the machines decide by themselves is tested beside them; here whole nodes must get there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, ScriptBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::protocol::addresses::{self, Gossip};
use super::protocol::version::{Direction, LocalVersion};
use super::security::ledger::block_hash;
use super::session::{Session, SessionError, shake_hands};
use super::*;
use crate::chain::miner::mine_block;

/// Longest that anything in here may take; never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(90);

fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::devnet())
}

fn empty() -> Arc<Blockchain> {
    Arc::new(Blockchain::in_memory(spec()))
}

/// A chain of really mined blocks, a second apart; chains of different `tag` share the genesis block only.
fn mined(blocks: u32, tag: u8) -> Arc<Blockchain> {
    let chain = empty();
    mine(&chain, blocks, tag);
    chain
}

fn mine(chain: &Blockchain, blocks: u32, tag: u8) {
    let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[tag; 32]].concat());
    let start = peer::session::unix_now() as u32 - 20_000 + chain.tip().height;
    for n in 0..blocks {
        mine_block(chain, payout.clone(), start + n).unwrap();
    }
}

/// A config that asks no DNS, on an address of its own.
fn config(host: u8) -> NetworkConfig {
    let mut config = NetworkConfig::new(SocketAddr::from(([127, 7, 10, host], 0)));
    config.providers = Vec::new();
    config
}

async fn node(chain: &Arc<Blockchain>, config: NetworkConfig) -> NetworkManager {
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, Arc::clone(chain), None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    node
}

/// Waits until the node has this tip.
pub(super) async fn reaches(node: &NetworkManager, tip: bitcoin::BlockHash) {
    let mut progress = node.progress();
    let arrived = timeout(PATIENCE, progress.wait_for(|p| p.tip == tip)).await;
    assert!(
        arrived.is_ok_and(|a| a.is_ok()),
        "{:?}",
        node.status().await
    );
}

async fn hands(
    stream: TcpStream,
    direction: Direction,
    height: i32,
) -> Result<Session, SessionError> {
    let endpoint = Endpoint::new(&spec(), Arc::new(Identity::generate().unwrap()));
    let addr = stream.peer_addr().map_err(SessionError::Connect)?;
    let local = LocalVersion {
        protocol_version: 70015,
        min_protocol_version: 70010,
        services: 9,
        user_agent: "/test/".to_owned(),
        start_height: height,
        relay: false,
        nonce: rand::random(),
        now: 0,
        our_addr: addr,
        their_addr: addr,
    };
    shake_hands(&endpoint, spec().magic(), local, stream, direction).await
}

/// Connects to `to` as an inbound peer of it.
async fn stranger(host: [u8; 4], to: SocketAddr) -> Session {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    let stream = socket.connect(to).await.unwrap();
    hands(stream, Direction::Outbound, 0).await.unwrap()
}

/// A peer that has `chain`, listens on `host`, and answers each message with what `script` makes of it.
async fn scripted<S>(
    host: u8,
    chain: &Arc<Blockchain>,
    script: S,
) -> (SocketAddr, tokio::task::JoinHandle<()>)
where
    S: Fn(&Blockchain, NetworkMessage) -> Vec<NetworkMessage> + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 7, 10, host], 0)))
        .await
        .unwrap();
    let addr = listener.local_addr().unwrap();
    let chain = Arc::clone(chain);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (chain, script) = (Arc::clone(&chain), script.clone());
            tokio::spawn(async move {
                let height = i32::try_from(chain.tip().height).unwrap();
                let Ok(mut session) = hands(stream, Direction::Inbound, height).await else {
                    return;
                };
                while let Ok(message) = session.reader.read().await {
                    for answer in script(&chain, message) {
                        if session.writer.write(&answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (addr, task)
}

/// The true answer to any question.
fn honest(chain: &Blockchain, message: NetworkMessage) -> Vec<NetworkMessage> {
    match message {
        NetworkMessage::GetHeaders(request) => vec![NetworkMessage::Headers(chain.headers_after(
            &request.locator_hashes,
            request.stop_hash,
            2_000,
        ))],
        NetworkMessage::GetData(items) => items
            .iter()
            .filter_map(block_hash)
            .map(|hash| NetworkMessage::Block(block(chain, &hash)))
            .collect(),
        NetworkMessage::Ping(nonce) => vec![NetworkMessage::Pong(nonce)],
        _ => Vec::new(),
    }
}

/// True headers, and silence when asked for blocks.
fn withholding(chain: &Blockchain, message: NetworkMessage) -> Vec<NetworkMessage> {
    match message {
        NetworkMessage::GetData(_) => Vec::new(),
        other => honest(chain, other),
    }
}

/// Pongs and nothing else.
fn silent(_: &Blockchain, message: NetworkMessage) -> Vec<NetworkMessage> {
    match message {
        NetworkMessage::Ping(nonce) => vec![NetworkMessage::Pong(nonce)],
        _ => Vec::new(),
    }
}

fn block(chain: &Blockchain, hash: &bitcoin::BlockHash) -> Block {
    deserialize(&chain.block(hash).unwrap().unwrap()).unwrap()
}

fn save_book(dir: &Path, addrs: &[SocketAddr]) {
    let mut book = AddressBook::new(true);
    for addr in addrs {
        book.met(*addr, 9, peer::session::unix_now());
    }
    book.save(dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_deeper_than_one_message_is_left_for_the_heavier_chain() {
    let right = mined(4_500, 2);
    let good = node(&right, config(1)).await;
    let mut misled = config(2);
    misled.manual_peers = vec![good.listen_addr()];
    // The first 2,000 headers after the fork have less work than what the node has.
    let misled = node(&mined(2_100, 1), misled).await;
    reaches(&misled, right.tip().hash).await;
    misled.shutdown().await;
    good.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_overtakes_the_answer_is_not_the_answer() {
    let chain = mined(4_100, 3);
    let (addr, peer) = scripted(11, &chain, |chain, message| {
        let mut answers = Vec::new();
        if matches!(message, NetworkMessage::GetHeaders(_)) {
            let (_, tip) = chain.header(&chain.tip().hash).unwrap();
            answers.push(NetworkMessage::Headers(vec![tip]));
        }
        answers.extend(honest(chain, message));
        answers
    })
    .await;
    let mut fresh = config(12);
    fresh.manual_peers = vec![addr];
    let fresh = node(&empty(), fresh).await;
    let report = timeout(PATIENCE, fresh.sync_from_zero())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.tip, chain.tip().hash);
    fresh.shutdown().await;
    peer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_headers_that_nobody_asked_for_change_nothing() {
    let chain = mined(30, 4);
    let (silent_addr, silent) = scripted(21, &chain, silent).await;
    let mut fresh = config(22);
    fresh.manual_peers = vec![silent_addr];
    let fresh = node(&empty(), fresh).await;
    let mut progress = fresh.progress();
    timeout(PATIENCE, progress.wait_for(|p| p.peers == 1))
        .await
        .unwrap()
        .unwrap();
    let mut liar = stranger([127, 7, 11, 1], fresh.listen_addr()).await;
    for _ in 0..20 {
        let nothing = NetworkMessage::Headers(Vec::new());
        liar.writer.write(&nothing).await.unwrap();
    }
    let good = node(&chain, config(23)).await;
    fresh.connect(good.listen_addr()).await;
    let report = timeout(PATIENCE, fresh.sync_from_zero())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.tip, chain.tip().hash);
    fresh.shutdown().await;
    good.shutdown().await;
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_gives_its_place_to_one_that_does() {
    let chain = mined(30, 5);
    let (silent_addr, silent) = scripted(31, &chain, silent).await;
    let dir = tempfile::tempdir().unwrap();
    save_book(dir.path(), &[silent_addr]);
    let good = node(&chain, config(32)).await;
    let mut fresh = config(33);
    fresh.data_dir = Some(dir.path().to_owned());
    fresh.outbound_target = 1;
    let fresh = node(&empty(), fresh).await;
    let mut progress = fresh.progress();
    timeout(PATIENCE, progress.wait_for(|p| p.peers == 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fresh.status().await.unwrap().peers[0].addr, silent_addr);
    let mut teller = stranger([127, 7, 11, 2], fresh.listen_addr()).await;
    let gossip = Gossip {
        addr: good.listen_addr(),
        services: 9,
        time: peer::session::unix_now() as u32,
    };
    let message = addresses::write(&[gossip], true);
    teller.writer.write(&message).await.unwrap();
    reaches(&fresh, chain.tip().hash).await;
    let status = fresh.status().await.unwrap();
    assert!(status.security.offences.is_empty(), "silence is no offence");
    fresh.shutdown().await;
    good.shutdown().await;
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_blocks_do_not_stop_the_sync() {
    let right = mined(50, 6);
    let heavier = mined(100, 7);
    let (liar_addr, liar) = scripted(41, &heavier, withholding).await;
    let good = node(&right, config(42)).await;
    let mut fresh = config(43);
    fresh.manual_peers = vec![liar_addr];
    let fresh = node(&empty(), fresh).await;
    // The heavier headers are known, and their blocks are asked for, before the other chain is heard of.
    let mut progress = fresh.progress();
    timeout(
        PATIENCE,
        progress.wait_for(|p| p.header_height == 100 && p.in_flight > 0),
    )
    .await
    .unwrap()
    .unwrap();
    fresh.connect(good.listen_addr()).await;
    reaches(&fresh, right.tip().hash).await;
    // What is mined there later arrives as well, and is told on.
    let follower_chain = empty();
    let mut follower = config(44);
    follower.manual_peers = vec![fresh.listen_addr()];
    let follower = node(&follower_chain, follower).await;
    mine(&right, 3, 6);
    reaches(&fresh, right.tip().hash).await;
    reaches(&follower, right.tip().hash).await;
    for node in [follower, fresh, good] {
        node.shutdown().await;
    }
    liar.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_finds_no_block_does_not_stop_the_sync() {
    let chain = mined(300, 8);
    let (liar_addr, liar) = scripted(51, &chain, |chain, message| match message {
        NetworkMessage::GetData(items) => {
            // What was asked for, and what was not.
            let all = (1..=300).filter_map(|height| chain.block_at(height));
            let all = all.map(Inventory::WitnessBlock).collect();
            vec![
                NetworkMessage::NotFound(items),
                NetworkMessage::NotFound(all),
            ]
        }
        other => honest(chain, other),
    })
    .await;
    let good = node(&chain, config(52)).await;
    let mut fresh = config(53);
    fresh.manual_peers = vec![liar_addr, good.listen_addr()];
    let fresh = node(&empty(), fresh).await;
    reaches(&fresh, chain.tip().hash).await;
    fresh.shutdown().await;
    good.shutdown().await;
    liar.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn telling_new_headers_quickly_is_no_flood() {
    let chain = mined(400, 9);
    let fresh = node(&empty(), config(61)).await;
    let mut teller = stranger([127, 7, 11, 3], fresh.listen_addr()).await;
    // Four times what may be said unasked in a minute.
    for header in chain.headers_after(&[], chain.tip().hash, 400) {
        let message = NetworkMessage::Headers(vec![header]);
        teller.writer.write(&message).await.unwrap();
    }
    let mut progress = fresh.progress();
    let heard = timeout(PATIENCE, progress.wait_for(|p| p.header_height == 400)).await;
    // What was heard is a guard, for which the node waits.
    let heard = heard.is_ok_and(|h| h.is_ok());
    let status = fresh.status().await.unwrap();
    assert!(heard, "{status:?}");
    assert!(status.security.offences.is_empty(), "{status:?}");
    assert_eq!(status.inbound, 1);
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_at_speed_is_no_offence() {
    let chain = mined(3, 10);
    let server = node(&chain, config(71)).await;
    let mut follower = config(72);
    follower.manual_peers = vec![server.listen_addr()];
    let follower = node(&empty(), follower).await;
    reaches(&follower, chain.tip().hash).await;
    let before = follower.status().await.unwrap().peers[0].id;
    // Each block is told as soon as it is there, three times as many as messages are allowed in a minute.
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..300 {
        mine(&chain, 1, 10);
        pace.tick().await;
    }
    reaches(&follower, chain.tip().hash).await;
    for node in [&server, &follower] {
        let status = node.status().await.unwrap();
        assert!(status.security.offences.is_empty(), "{status:?}");
    }
    // The server may have dialled as well; that is another connection.
    let peers = follower.status().await.unwrap().peers;
    assert!(
        peers.iter().any(|p| p.id == before),
        "the connection held: {peers:?}"
    );
    follower.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_its_header_does_not_commit_to_never_waits_for_its_parents() {
    let chain = mined(40, 11);
    let (liar_addr, liar) = scripted(81, &chain, |chain, message| match message {
        // Never the first one, so that nothing can be verified; all others with a stolen coinbase.
        NetworkMessage::GetData(items) => items
            .iter()
            .filter_map(block_hash)
            .skip(1)
            .map(|hash| {
                let mut block = block(chain, &hash);
                block.txdata[0].output[0].value = bitcoin::Amount::from_sat(1);
                NetworkMessage::Block(block)
            })
            .collect(),
        other => honest(chain, other),
    })
    .await;
    let mut fresh = config(82);
    fresh.manual_peers = vec![liar_addr];
    let fresh = node(&empty(), fresh).await;
    let punished = async {
        while !fresh
            .status()
            .await
            .unwrap()
            .security
            .offences
            .contains_key("invalid_block")
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, punished).await.expect("it is noticed");
    // The headers are not held against those who have the true blocks.
    let good = node(&chain, config(83)).await;
    fresh.connect(good.listen_addr()).await;
    reaches(&fresh, chain.tip().hash).await;
    fresh.shutdown().await;
    good.shutdown().await;
    liar.abort();
}
