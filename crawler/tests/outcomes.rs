//! Each way a visit can end, with real peers over the real transport: exactly that outcome is recorded.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bitcoin::Block;
use bitcoin::absolute::LockTime;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::genesis::mine_genesis;
use quantumcoin::reachability::{Outcome, Stage, Transports};
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::Crawler;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::*;

/// Crawls once from the given seeds; gives the store.
async fn crawl(seeds: &[SocketAddr]) -> (TempDir, StoreReader) {
    let dir = TempDir::new().unwrap();
    let crawler = Crawler::bind(config(&devnet(), dir.path(), seeds))
        .await
        .unwrap();
    let path = crawler.store_path();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!(report.probes, report.known, "each address is visited once");
    assert!(!report.interrupted);
    (dir, StoreReader::open(&path).await.unwrap())
}

async fn outcome(reader: &StoreReader, addr: SocketAddr) -> (Outcome, Stage) {
    let detail = reader
        .peer(addr, NOW.into())
        .await
        .unwrap()
        .expect("the address is known");
    let probe = detail.history.first().expect("it was probed");
    assert_eq!(detail.facts.last_outcome, Some(probe.outcome));
    (probe.outcome, probe.stage)
}

async fn ends(behaviour: Behaviour, expected: (Outcome, Stage)) {
    let addr = peer(1, behaviour).await;
    let (_dir, reader) = crawl(&[addr]).await;
    assert_eq!(outcome(&reader, addr).await, expected);
    let good = reader
        .good_peers(i64::from(u32::MAX))
        .await
        .unwrap()
        .peers
        .len();
    assert_eq!(good, usize::from(expected.0 == Outcome::Ok));
}

#[tokio::test]
async fn an_honest_peer_is_good_after_one_visit() {
    let chain = mined(&devnet(), 30, 1);
    ends(honest(chain), (Outcome::Ok, Stage::Done)).await;
}

#[tokio::test]
async fn a_peer_without_addresses_is_no_failure() {
    let chain = mined(&devnet(), 5, 1);
    ends(
        Behaviour::AnnouncesOnly { chain },
        (Outcome::Ok, Stage::Done),
    )
    .await;
}

#[tokio::test]
async fn a_network_without_blocks_can_start() {
    let chain = mined(&devnet(), 0, 1);
    ends(honest(chain), (Outcome::Ok, Stage::Done)).await;
}

#[tokio::test]
async fn nobody_listens() {
    let addr = closed_port(2).await;
    let (_dir, reader) = crawl(&[addr]).await;
    assert_eq!(
        outcome(&reader, addr).await,
        (Outcome::Refused, Stage::Dial)
    );
}

#[tokio::test]
async fn a_tarpit_times_out() {
    ends(
        Behaviour::Tarpit,
        (Outcome::TimeoutHandshake, Stage::Secure),
    )
    .await;
}

#[tokio::test]
async fn junk_is_no_handshake() {
    ends(Behaviour::Junk, (Outcome::NoiseFailed, Stage::Secure)).await;
}

#[tokio::test]
async fn a_node_that_speaks_tls_alone_is_good() {
    let addr = peer(
        1,
        Behaviour::TlsOnly {
            chain: mined(&devnet(), 20, 1),
        },
    )
    .await;
    let (_dir, reader) = crawl(&[addr]).await;
    assert_eq!(outcome(&reader, addr).await, (Outcome::Ok, Stage::Done));
    let detail = reader.peer(addr, NOW.into()).await.unwrap().unwrap();
    assert_eq!(detail.transports, Transports::TLS);
}

#[tokio::test]
async fn tls_that_does_not_work() {
    ends(Behaviour::BrokenTls, (Outcome::TlsFailed, Stage::Secure)).await;
}

/// A crawl in which each peer has to show a block.
async fn shows_a_block(answer: fn(Block) -> NetworkMessage) -> (Outcome, Stage) {
    let chain = mined(&devnet(), 20, 1);
    let addr = peer(1, Behaviour::Asked { chain, answer }).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[addr]);
    config.settings.pace.block_every = 1;
    config.settings.limits.block_ms = 500;
    let crawler = Crawler::bind(config).await.unwrap();
    let path = crawler.store_path();
    crawler.once(CancellationToken::new()).await.unwrap();
    outcome(&StoreReader::open(&path).await.unwrap(), addr).await
}

#[tokio::test]
async fn a_peer_has_to_have_the_blocks_of_its_headers() {
    let given = shows_a_block(NetworkMessage::Block).await;
    assert_eq!(given, (Outcome::Ok, Stage::Done));
    let lacks = |block: Block| {
        let item = Inventory::WitnessBlock(block.block_hash());
        NetworkMessage::NotFound(vec![item])
    };
    let without = shows_a_block(lacks).await;
    assert_eq!(without, (Outcome::NoBlock, Stage::Block));
    let changed = |mut block: Block| {
        block.txdata[0].lock_time = LockTime::from_consensus(77);
        NetworkMessage::Block(block)
    };
    let forged = shows_a_block(changed).await;
    assert_eq!(forged, (Outcome::NoBlock, Stage::Block));
    let silent = shows_a_block(|_| NetworkMessage::Pong(1)).await;
    assert_eq!(silent, (Outcome::TimeoutProtocol, Stage::Block));
}

#[tokio::test]
async fn a_peer_that_hangs_up() {
    ends(Behaviour::Closes, (Outcome::Disconnected, Stage::Secure)).await;
}

#[tokio::test]
async fn another_network() {
    ends(
        Behaviour::OtherNetwork,
        (Outcome::WrongNetwork, Stage::Secure),
    )
    .await;
}

#[tokio::test]
async fn a_mute_peer_times_out() {
    ends(Behaviour::Mute, (Outcome::TimeoutProtocol, Stage::Version)).await;
}

#[tokio::test]
async fn a_rude_peer() {
    ends(Behaviour::Rude, (Outcome::ProtocolError, Stage::Version)).await;
}

#[tokio::test]
async fn an_old_protocol() {
    let chain = mined(&devnet(), 5, 1);
    ends(
        Behaviour::Old {
            chain,
            version: 70_009,
        },
        (Outcome::TooOld, Stage::Version),
    )
    .await;
}

#[tokio::test]
async fn ourselves_are_forgotten() {
    let addr = peer(1, Behaviour::Mirror).await;
    let dir = TempDir::new().unwrap();
    let crawler = Crawler::bind(config(&devnet(), dir.path(), &[addr]))
        .await
        .unwrap();
    let path = crawler.store_path();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!(report.count(Outcome::SelfConnection), 1);
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(reader.peer(addr, NOW.into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_claimed_height_without_headers() {
    let chain = mined(&devnet(), 3, 1);
    ends(
        Behaviour::Claims {
            chain,
            height: 5_000,
        },
        (Outcome::WrongChain, Stage::Chain),
    )
    .await;
}

/// A chain with another genesis block, in a network of the same name and magic.
fn foreign_chain(blocks: u32) -> Arc<Blockchain> {
    let mut spec = (*devnet()).clone();
    spec.genesis.message = "another first block".to_owned();
    let never = AtomicBool::new(false);
    spec.genesis = mine_genesis(&spec, 1, |_| {}, &never).unwrap();
    assert_ne!(spec.genesis_hash(), devnet().genesis_hash());
    mined(&Arc::new(spec), blocks, 1)
}

#[tokio::test]
async fn another_chain_of_the_same_network() {
    let chain = foreign_chain(30);
    ends(honest(chain), (Outcome::WrongChain, Stage::Chain)).await;
}

#[tokio::test]
async fn behind_and_forked_peers_beside_good_ones() {
    let spec = devnet();
    let long = mined(&spec, 100, 1);
    let good = peer(1, honest(long)).await;
    let dir = TempDir::new().unwrap();
    let run = async |seeds: &[SocketAddr]| {
        let crawler = Crawler::bind(config(&spec, dir.path(), seeds))
            .await
            .unwrap();
        let path = crawler.store_path();
        crawler.once(CancellationToken::new()).await.unwrap();
        StoreReader::open(&path).await.unwrap()
    };
    // The crawler must know the height before it can tell who is behind: the good peer tells of the others.
    let late = mined(&spec, 20, 1);
    let behind = peer(2, honest(late)).await;
    let fork = mined(&spec, 95, 2);
    let forked = peer(3, honest(fork)).await;
    let tells = vec![behind, forked];
    let guide = mined(&spec, 100, 1);
    let guide = peer(
        4,
        Behaviour::Honest {
            chain: guide,
            tells,
        },
    )
    .await;
    let reader = run(&[guide]).await;
    assert_eq!(outcome(&reader, guide).await.0, Outcome::Ok);
    assert_eq!(outcome(&reader, behind).await.0, Outcome::Behind);
    assert_eq!(outcome(&reader, forked).await.0, Outcome::WrongChain);
    let reader = run(&[good]).await;
    assert_eq!(outcome(&reader, good).await.0, Outcome::Ok);
}

#[tokio::test]
async fn a_chain_of_many_messages_is_downloaded_and_proved() {
    let chain = mined(&devnet(), 4_500, 1);
    let addr = peer(1, honest(chain)).await;
    let (_dir, reader) = crawl(&[addr]).await;
    assert_eq!(outcome(&reader, addr).await, (Outcome::Ok, Stage::Done));
    let detail = reader.peer(addr, NOW.into()).await.unwrap().unwrap();
    assert_eq!(detail.facts.proved_height, Some(4_500));
}

#[tokio::test]
async fn peers_that_feed_headers_slowly_do_not_make_an_honest_one_fail() {
    let chain = mined(&devnet(), 4_500, 1);
    let paced = |first, then| Behaviour::Paced {
        chain: Arc::clone(&chain),
        first: Duration::from_millis(first),
        then: Duration::from_millis(then),
    };
    let mut seeds = Vec::new();
    for host in 1..=6 {
        seeds.push(peer(host, paced(0, 1_200)).await);
    }
    let honest = peer(7, paced(300, 0)).await;
    seeds.push(honest);
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &seeds);
    config.settings.limits.chain_ms = 4_000;
    let crawler = Crawler::bind(config).await.unwrap();
    let path = crawler.store_path();
    crawler.once(CancellationToken::new()).await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(outcome(&reader, honest).await.0, Outcome::Ok);
}

#[tokio::test]
async fn who_showed_another_chain_before_ours_was_known_is_visited_again() {
    // The first to be visited shows the only chain that is known then.
    let forked = peer(1, honest(mined(&devnet(), 20, 9))).await;
    let other = peer(2, honest(mined(&devnet(), 30, 1))).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[forked, other]);
    config.settings.pace.max_in_flight = 1;
    let crawler = Crawler::bind(config).await.unwrap();
    let path = crawler.store_path();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!((report.probes, report.known), (3, 2));
    let reader = StoreReader::open(&path).await.unwrap();
    let outcomes = (
        outcome(&reader, forked).await.0,
        outcome(&reader, other).await.0,
    );
    assert_eq!(outcomes, (Outcome::WrongChain, Outcome::Ok));
}

#[tokio::test]
async fn a_peer_on_a_branch_that_was_left_a_while_ago_is_no_reason_to_crawl_for_ever() {
    let (long, short) = (mined(&devnet(), 30, 1), mined(&devnet(), 30, 1));
    // It leaves at 30 and is four shorter. Asked from 12 below the top on, it is met at 29, the next in the locator.
    extend(&long, 14, 1);
    extend(&short, 10, 2);
    let other = peer(1, honest(long)).await;
    let forked = peer(2, honest(short)).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[other, forked]);
    config.settings.pace.max_in_flight = 1;
    let crawler = Crawler::bind(config).await.unwrap();
    let path = crawler.store_path();
    let crawl = crawler.once(CancellationToken::new());
    let report = tokio::time::timeout(Duration::from_secs(20), crawl);
    let report = report.await.expect("it ends").unwrap();
    assert_eq!(report.probes, 2);
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(outcome(&reader, forked).await.0, Outcome::WrongChain);
}

#[tokio::test]
async fn one_peer_ahead_of_all_does_not_put_them_behind() {
    let spec = devnet();
    let honest = |tells| Behaviour::Honest {
        chain: mined(&spec, 100, 1),
        tells,
    };
    let second = peer(2, honest(Vec::new())).await;
    let ahead = Behaviour::Honest {
        chain: mined(&spec, 150, 1),
        tells: vec![second],
    };
    let ahead = peer(3, ahead).await;
    let first = peer(1, honest(vec![ahead])).await;
    let (_dir, reader) = crawl(&[first]).await;
    for addr in [first, ahead, second] {
        assert_eq!(outcome(&reader, addr).await.0, Outcome::Ok, "{addr}");
    }
    let good = reader.good_peers(i64::from(u32::MAX)).await.unwrap();
    assert_eq!(good.peers.len(), 3);
}
