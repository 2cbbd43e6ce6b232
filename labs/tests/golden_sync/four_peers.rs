//! A fresh node synchronises from four peers over encrypted loopback: all of them good; one hanging and one
//! slow; one that lies about its height; one with an invalid block; one on a fork that looks heavier and is
//! invalid; one that changes bodies under true headers.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Amount;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager, NetworkStatus, SyncReport};
use tokio::time::timeout;

use crate::peers::{
    Manner, PATIENCE, Scripted, Tale, config, copy, mine, node, node_with, reaches, status_where,
    write_book,
};

/// Blocks of the true chain: twice the download window, and more than one message of headers.
const BLOCKS: u32 = 2_100;

fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::devnet())
}

fn empty() -> Arc<Blockchain> {
    Arc::new(Blockchain::in_memory(spec()))
}

/// A chain of really mined blocks; chains of different `tag` share the genesis block only.
fn mined(blocks: u32, tag: u8) -> Blockchain {
    let chain = Blockchain::in_memory(spec());
    mine(&chain, blocks, tag);
    chain
}

/// A true peer's manner, with a chain of `blocks`.
fn manner(blocks: u32) -> Manner {
    Manner {
        height: i32::try_from(blocks).unwrap(),
        pause: Duration::ZERO,
    }
}

/// Good nodes with the whole of `chain`, on hosts of their own in `net`.
async fn good_nodes(net: u8, count: u8, chain: &Blockchain) -> Vec<NetworkManager> {
    let mut nodes = Vec::new();
    for host in 1..=count {
        let chain = copy(chain, chain.tip().height);
        nodes.push(node([127, 9, net, host], chain).await);
    }
    nodes
}

/// The settings of the fresh node of `net`.
fn fresh_config(net: u8) -> NetworkConfig {
    config([127, 9, net, 100])
}

async fn synced(node: &NetworkManager) -> SyncReport {
    let report = timeout(PATIENCE, node.sync_from_zero()).await;
    report.expect("the sync ends").unwrap()
}

/// Blocks that this peer brought, by their bytes.
fn brought_blocks(status: &NetworkStatus, node: &NetworkManager) -> bool {
    let addr = node.listen_addr();
    let peer = status.peers.iter().find(|p| p.addr == addr);
    peer.is_some_and(|p| p.bytes_in > 20_000)
}

async fn end(nodes: impl IntoIterator<Item = NetworkManager>) {
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_good_peers() {
    let truth = mined(BLOCKS, 1);
    let nodes = good_nodes(1, 4, &truth).await;
    let mut settings = fresh_config(1);
    settings.manual_peers = nodes.iter().map(NetworkManager::listen_addr).collect();
    let chain = empty();
    let fresh = node_with(settings, &chain).await;
    let report = synced(&fresh).await;
    assert_eq!((report.height, report.tip), (BLOCKS, truth.tip().hash));
    let status = status_where(&fresh, |s| s.outbound == 4).await;
    assert!(status.security.offences.is_empty());
    assert!(
        nodes.iter().filter(|n| brought_blocks(&status, n)).count() >= 3,
        "the work was shared: {:?}",
        status.peers
    );
    // What it verified is what they have, byte for byte.
    for height in [1, BLOCKS / 2, BLOCKS] {
        let hash = truth.block_at(height).unwrap();
        assert_eq!(chain.block(&hash).unwrap(), truth.block(&hash).unwrap());
    }
    end(nodes).await;
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hanging_and_one_slow_peer() {
    let truth = mined(BLOCKS, 2);
    let tale = Tale::of(&truth);
    let nodes = good_nodes(2, 2, &truth).await;
    // True headers, and never a block.
    let told = Arc::clone(&tale);
    let hanging = move |message| match message {
        NetworkMessage::GetData(_) => Vec::new(),
        other => told.answer(other),
    };
    let hanging = Scripted::listen([127, 9, 2, 3], &spec(), manner(BLOCKS), hanging).await;
    let told = Arc::clone(&tale);
    let slow = Manner {
        pause: Duration::from_millis(300),
        ..manner(BLOCKS)
    };
    let slow = Scripted::listen([127, 9, 2, 4], &spec(), slow, move |m| told.answer(m)).await;
    let mut settings = fresh_config(2);
    // They come first: both have been asked for blocks when the others are heard of.
    settings.manual_peers = vec![hanging.addr, slow.addr];
    let fresh = node_with(settings, &empty()).await;
    hanging.was_asked(1).await;
    slow.was_asked(1).await;
    for node in &nodes {
        fresh.connect(node.listen_addr()).await;
    }
    let report = synced(&fresh).await;
    assert_eq!(report.tip, truth.tip().hash);
    let status = fresh.status().await.unwrap();
    assert!(
        status.security.offences.is_empty(),
        "neither is an offence: {status:?}"
    );
    assert!(nodes.iter().all(|n| brought_blocks(&status, n)));
    assert!(
        status.peers.iter().any(|p| p.addr == slow.addr),
        "slow is replaced, not dropped: {:?}",
        status.peers
    );
    end(nodes).await;
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lies_about_its_height() {
    let truth = mined(BLOCKS, 3);
    let nodes = good_nodes(3, 2, &truth).await;
    // One knows the true chain, one knows nothing; both claim ten million blocks.
    let claim = manner(10_000_000);
    let told = Tale::of(&truth);
    let boaster = Scripted::listen([127, 9, 3, 3], &spec(), claim, move |m| told.answer(m)).await;
    let told = Tale::new(Vec::new());
    let hollow = Scripted::listen([127, 9, 3, 4], &spec(), claim, move |m| told.answer(m)).await;
    let mut settings = fresh_config(3);
    settings.manual_peers = vec![hollow.addr, boaster.addr];
    settings
        .manual_peers
        .extend(nodes.iter().map(NetworkManager::listen_addr));
    let fresh = node_with(settings, &empty()).await;
    let status = status_where(&fresh, |s| {
        s.outbound == 4 && s.sync.synced && s.sync.tip == truth.tip().hash
    })
    .await;
    assert_eq!(status.sync.header_height, BLOCKS, "a claim is no header");
    assert_eq!(status.sync.block_height, BLOCKS);
    assert!(status.security.offences.is_empty());
    end(nodes).await;
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_serves_an_invalid_block() {
    const BAD: u32 = 500;
    let truth = mined(BLOCKS, 4);
    let nodes = good_nodes(4, 3, &truth).await;
    // True up to the block before the bad one, then as long as the true chain.
    let tale = Tale::overpaid(&truth, BAD);
    let told = Arc::clone(&tale);
    let liar = Scripted::listen([127, 9, 4, 4], &spec(), manner(BLOCKS), move |m| {
        told.answer(m)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    write_book(directory.path(), [liar.addr]);
    let mut settings = fresh_config(4);
    settings.data_dir = Some(directory.path().to_owned());
    let chain = empty();
    let fresh = node_with(settings, &chain).await;
    let status = status_where(&fresh, |s| s.outbound == 0 && s.security.bans.len() == 1).await;
    assert_eq!(status.security.offences["invalid_block"], 1);
    assert_eq!(
        status.sync.tip,
        truth.block_at(BAD - 1).unwrap(),
        "what was right before it stands"
    );
    assert_eq!(status.sync.header_height, BAD - 1);
    assert!(
        chain.header_work(&tale.hash(BAD)).is_none(),
        "known invalid"
    );
    assert!(chain.header_work(&tale.tip()).is_none(), "and what follows");
    for node in &nodes {
        fresh.connect(node.listen_addr()).await;
    }
    let report = synced(&fresh).await;
    assert_eq!((report.height, report.tip), (BLOCKS, truth.tip().hash));
    let status = fresh.status().await.unwrap();
    assert_eq!(status.security.offences["invalid_block"], 1);
    assert_eq!(status.security.bans.len(), 1);
    assert!(status.peers.iter().all(|p| p.addr != liar.addr));
    end(nodes).await;
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_on_a_fork_that_looks_heavier_and_is_invalid() {
    const FORK: u32 = 1_000;
    const BAD: u32 = FORK + 50;
    let shared = mined(FORK, 5);
    let truth = copy(&shared, FORK);
    mine(&truth, BLOCKS - FORK, 6);
    let heavier = copy(&shared, FORK);
    mine(&heavier, BLOCKS - FORK + 200, 7);
    let tale = Tale::overpaid(&heavier, BAD);
    let nodes = good_nodes(5, 3, &truth).await;
    let told = Arc::clone(&tale);
    let liar = Scripted::listen([127, 9, 5, 4], &spec(), manner(BLOCKS + 200), move |m| {
        told.answer(m)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let all = nodes.iter().map(NetworkManager::listen_addr);
    write_book(directory.path(), all.chain([liar.addr]));
    let mut settings = fresh_config(5);
    settings.data_dir = Some(directory.path().to_owned());
    let chain = empty();
    let fresh = node_with(settings, &chain).await;
    status_where(&fresh, |s| s.security.bans.len() == 1).await;
    reaches(&fresh, truth.tip().hash).await;
    let status = status_where(&fresh, |s| {
        s.sync.synced && s.peers.iter().all(|p| p.addr != liar.addr)
    })
    .await;
    assert_eq!(status.sync.tip, truth.tip().hash);
    assert_eq!(status.sync.header_height, BLOCKS, "the fork counts no more");
    let offences: Vec<_> = status.security.offences.keys().copied().collect();
    assert_eq!(offences, ["invalid_block"]);
    assert!(chain.header(&tale.hash(BAD)).is_some(), "it was known");
    for hash in [tale.hash(BAD), tale.hash(BAD + 1), tale.tip()] {
        assert!(chain.header_work(&hash).is_none(), "and is invalid");
    }
    assert!(chain.header_work(&tale.hash(BAD - 1)).is_some());
    end(nodes).await;
    fresh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_changes_bodies_under_true_headers() {
    let truth = mined(BLOCKS, 8);
    let tale = Tale::of(&truth);
    let nodes = good_nodes(6, 3, &truth).await;
    // One takes the miner's money, one changes what only the witness commitment covers.
    let thief = mutating(6, 4, &tale, |block| {
        block.txdata[0].output[0].value = Amount::from_sat(1);
    });
    let thief = thief.await;
    let vandal = mutating(6, 5, &tale, |block| {
        block.txdata[0].input[0].witness = bitcoin::Witness::from_slice(&[[9_u8; 32]]);
    });
    let vandal = vandal.await;
    let directory = tempfile::tempdir().unwrap();
    write_book(directory.path(), [thief.addr, vandal.addr]);
    let mut settings = fresh_config(6);
    settings.data_dir = Some(directory.path().to_owned());
    let chain = empty();
    let fresh = node_with(settings, &chain).await;
    let status = status_where(&fresh, |s| s.outbound == 0 && s.security.bans.len() == 2).await;
    assert_eq!(status.security.offences["invalid_block"], 2);
    assert_eq!(status.sync.block_height, 0, "they brought nothing");
    assert_eq!(
        status.sync.header_height, BLOCKS,
        "the headers are true, whoever told them"
    );
    for node in &nodes {
        fresh.connect(node.listen_addr()).await;
    }
    let report = synced(&fresh).await;
    assert_eq!((report.height, report.tip), (BLOCKS, truth.tip().hash));
    let status = fresh.status().await.unwrap();
    assert_eq!(status.security.bans.len(), 2, "the others are not blamed");
    assert_eq!(status.outbound, 3);
    end(nodes).await;
    fresh.shutdown().await;
}

/// A peer with true headers that serves each block after `change`.
async fn mutating(
    net: u8,
    host: u8,
    tale: &Arc<Tale>,
    change: impl Fn(&mut bitcoin::Block) + Clone + Send + Sync + 'static,
) -> Scripted {
    let told = Arc::clone(tale);
    let script = move |message| {
        let mut answers = told.answer(message);
        for answer in &mut answers {
            if let NetworkMessage::Block(block) = answer {
                change(block);
            }
        }
        answers
    };
    Scripted::listen([127, 9, net, host], &spec(), manner(BLOCKS), script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_finds_no_block() {
    let truth = mined(BLOCKS, 9);
    let tale = Tale::of(&truth);
    let nodes = good_nodes(7, 3, &truth).await;
    let script = move |message| match message {
        NetworkMessage::GetData(items) => {
            let items: Vec<Inventory> = items;
            vec![NetworkMessage::NotFound(items)]
        }
        other => tale.answer(other),
    };
    let pruned = Scripted::listen([127, 9, 7, 4], &spec(), manner(BLOCKS), script).await;
    let mut settings = fresh_config(7);
    settings.manual_peers = vec![pruned.addr];
    let fresh = node_with(settings, &empty()).await;
    pruned.was_asked(1).await;
    for node in &nodes {
        fresh.connect(node.listen_addr()).await;
    }
    let report = synced(&fresh).await;
    assert_eq!(report.tip, truth.tip().hash);
    let status = fresh.status().await.unwrap();
    assert!(status.security.offences.is_empty());
    end(nodes).await;
    fresh.shutdown().await;
}
