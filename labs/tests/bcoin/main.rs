//! A foreign node against ours: bcoin, a Bitcoin node written by others in JavaScript, mines a regtest chain
//! and serves it to a real `NetworkManager` through a bridge that only this test has. What it shows, what of
//! bcoin's regtest is set differently and where the two disagree: `labs/bcoin/README.md`.
//!
//! Needs Node.js and bcoin: `labs/bcoin/run.sh` installs it and runs this.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "the lab prints what it compares")]

mod bridge;
mod candidates;
mod cases;
mod foreign;
mod spends;
mod verdicts;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bitcoin::p2p::Magic;
use quantumcoin::chain::genesis::mine_genesis;
use quantumcoin::chain::{BlockRef, Blockchain};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::service::metrics::Metrics;
use tempfile::TempDir;
use tokio::time::timeout;

use bridge::{Bridge, Way};
use foreign::{Bcoin, ForeignBlock, Settings};

/// Longest that a step may take; never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks of the first chain: two halvings, of 150 blocks each, lie in it.
const BLOCKS: u32 = 420;

/// Bitcoin's regtest as a spec of ours: its magic, difficulty, subsidy and money cap. The first block's time
/// is regtest's; its coinbase has our form, which Bitcoin's has not.
fn spec() -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    "regtest-lab".clone_into(&mut spec.network);
    "Bitcoin regtest, as far as our rules go".clone_into(&mut spec.name);
    spec.network_protocol.magic_bytes = Magic::REGTEST.to_bytes();
    spec.network_protocol.default_port = 48_444;
    spec.consensus.target_spacing = 600;
    spec.consensus.initial_subsidy = 5_000_000_000;
    spec.consensus.halving_interval = 150;
    spec.consensus.max_money = 2_100_000_000_000_000;
    spec.genesis.time = 1_296_688_602;
    "QuantumCoin lab: a chain mined by bcoin".clone_into(&mut spec.genesis.message);
    spec.genesis = mine_genesis(&spec, 1, |_| (), &AtomicBool::new(false)).expect("an easy target");
    // Loading proves it, as it would prove a file.
    ChainSpec::from_toml(&spec.to_toml(), "regtest-lab").unwrap()
}

/// A node of ours on an empty chain in `dir`, whose only peer is `peer`.
async fn node(spec: &ChainSpec, dir: &Path, peer: SocketAddr) -> (NetworkManager, Arc<Blockchain>) {
    let chain = Arc::new(Blockchain::open(Arc::new(spec.clone()), dir).unwrap());
    let mut config = NetworkConfig::new(SocketAddr::from(([127, 7, 21, 1], 0)));
    config.providers = Vec::new();
    config.manual_peers = vec![peer];
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, Arc::clone(&chain), None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    (node, chain)
}

/// Waits until the node's verified tip is this block.
async fn reaches(node: &NetworkManager, tip: BlockRef) {
    let mut progress = node.progress();
    let arrived = timeout(PATIENCE, progress.wait_for(|p| p.tip == tip.hash)).await;
    assert!(
        arrived.is_ok_and(|a| a.is_ok()),
        "not at {tip:?}: {:?}",
        node.status().await
    );
}

/// Compares two chains block for block: height, hash, bytes and chain work.
fn compare(ours: &Blockchain, theirs: &[ForeignBlock]) {
    for block in theirs {
        let height = block.height;
        assert_eq!(ours.block_at(height), Some(block.hash), "height {height}");
        let bytes = ours.block(&block.hash).unwrap();
        assert_eq!(bytes.as_deref(), Some(&block.raw[..]), "block {height}");
        assert_eq!(
            ours.header_work(&block.hash),
            Some(block.work),
            "work at {height}"
        );
    }
    let last = theirs.last().expect("bcoin has its first block at least");
    let tip = BlockRef {
        height: last.height,
        hash: last.hash,
    };
    assert_eq!(ours.tip(), tip);
    assert_eq!(ours.best_header(), tip);
    println!(
        "agree  blocks 0 to {}: height, hash, bytes, chain work {:#x}",
        last.height, last.work
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "labs/bcoin/run.sh installs bcoin and runs this"]
async fn a_node_follows_bcoins_chain_block_for_block() {
    let spec = spec();
    let mut bcoin = Bcoin::start(&spec, Settings::default());
    println!("bcoin {}, protocol {}", bcoin.release, bcoin.protocol);
    assert_eq!(bcoin.genesis, spec.genesis_hash());
    assert_eq!(
        Magic::from_bytes(bcoin.magic),
        spec.magic(),
        "the magic is regtest's own"
    );
    assert_eq!(bcoin.protocol, spec.network_protocol.protocol_version);
    let mined = bcoin.mine(BLOCKS, None);
    assert_eq!(mined.height, BLOCKS);

    let bridge = Bridge::start(&spec, 2, bcoin.addr).await;
    let dir = TempDir::new().unwrap();
    let (node, chain) = node(&spec, dir.path(), bridge.addr).await;
    let report = timeout(PATIENCE, node.sync_from_zero())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((report.height, report.tip), (mined.height, mined.hash));
    println!(
        "synced from zero: {} blocks, {:.1} s until the node calls itself synchronised",
        report.blocks,
        report.elapsed.as_secs_f64()
    );
    compare(&chain, &bcoin.chain(0));
    let peer = node.status().await.unwrap().peers.remove(0);
    assert!(peer.user_agent.contains("bcoin"), "{peer:?}");

    // Blocks that come while both are connected: bcoin announces, the node fetches.
    let grown = bcoin.mine(12, None);
    reaches(&node, grown).await;
    println!("followed 12 new blocks");
    compare(&chain, &bcoin.chain(0));

    // Another branch, two blocks longer: bcoin reorganises, and so must the node.
    let fork = grown.height - 6;
    let moved = bcoin.mine(8, Some(fork));
    assert_eq!(
        moved.height,
        grown.height + 2,
        "bcoin took the longer branch"
    );
    reaches(&node, moved).await;
    assert_ne!(chain.block_at(grown.height), Some(grown.hash));
    println!("reorganised: 6 blocks off, 8 on");
    compare(&chain, &bcoin.chain(0));

    bridge.print();
    // The new ones came in compact form, which bcoin writes and we put together.
    let compact = bridge.count(Way::ToUs, "cmpctblock");
    assert!(compact > 0);
    assert!(bridge.count(Way::ToUs, "block") + compact >= u64::from(BLOCKS) + 12 + 8);
    assert_eq!(bridge.count(Way::ToUs, "reject"), 0);
    let security = node.status().await.unwrap().security;
    assert!(
        security.offences.is_empty() && security.bans.is_empty(),
        "{security:?}"
    );
    node.shutdown().await;
    drop((node, chain));
    let reopened = Blockchain::open(Arc::new(spec), dir.path()).unwrap();
    println!("opened again from disk");
    compare(&reopened, &bcoin.chain(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "labs/bcoin/run.sh installs bcoin and runs this"]
async fn a_chain_that_pays_too_much_is_refused_by_both() {
    let spec = spec();
    let mut honest = Bcoin::start(&spec, Settings::default());
    honest.mine(20, None);
    // A bcoin that believes in one base unit more than its own rules give.
    let mut greedy = Bcoin::start(&spec, Settings { bonus: 1 });
    for block in honest.chain(1) {
        greedy.add(&block.block()).unwrap();
    }
    assert_eq!(greedy.mine(5, None).height, 25);
    let wrong = greedy.chain(21).remove(0);
    assert_eq!(honest.judge(&wrong.block()), Err("bad-cb-amount".into()));

    let bridge = Bridge::start(&spec, 2, greedy.addr).await;
    let dir = TempDir::new().unwrap();
    let (node, chain) = node(&spec, dir.path(), bridge.addr).await;
    offended(&node).await;
    assert_eq!(chain.tip().height, 20, "all that is right was kept");
    println!("agree  both refuse block 21, which pays one base unit too much");

    let good = Bridge::start(&spec, 3, honest.addr).await;
    node.connect(good.addr).await;
    reaches(&node, honest.mine(2, None)).await;
    compare(&chain, &honest.chain(0));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "labs/bcoin/run.sh installs bcoin and runs this"]
async fn a_changed_body_does_not_condemn_its_header() {
    let spec = spec();
    let mut honest = Bcoin::start(&spec, Settings::default());
    let tip = honest.mine(20, None);
    let mut hostile = Bcoin::start(&spec, Settings::default());
    for block in honest.chain(1) {
        hostile.add(&block.block()).unwrap();
    }
    let mut changed = honest.chain(11).remove(0).block();
    changed.txdata[0].output[0].value = bitcoin::Amount::from_sat(1);
    hostile.corrupt(11, &changed);

    let bridge = Bridge::start(&spec, 2, hostile.addr).await;
    let dir = TempDir::new().unwrap();
    let (node, chain) = node(&spec, dir.path(), bridge.addr).await;
    offended(&node).await;
    assert!(chain.tip().height <= 10);
    let good = Bridge::start(&spec, 3, honest.addr).await;
    node.connect(good.addr).await;
    reaches(&node, tip).await;
    println!(
        "agree  a changed body costs the peer that sent it; the true one is taken from another"
    );
    compare(&chain, &honest.chain(0));
    node.shutdown().await;
}

/// Waits until the node has dropped its peer for an invalid block. It is not banned: an operator's choice
/// never is.
async fn offended(node: &NetworkManager) {
    let wait = async {
        while !node
            .status()
            .await
            .unwrap()
            .security
            .offences
            .contains_key("invalid_block")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("no peer was dropped for an invalid block");
}
