//! Valid headers without work: what two peers that make them without end can do to a node, and that an
//! honest chain arrives all the same.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{BlockHash, TxMerkleNode};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::peers::{
    HEADERS, Manner, PATIENCE, Scripted, config, mine, node, node_with, reaches, work,
};

/// Blocks of the honest chain.
const BLOCKS: u32 = 4_500;

/// Headers of chains that lose, kept at most: the height cap of the spec below.
const LIMIT: usize = 200_000 + 1_000;

/// Forks that the spammers tell, each of one message: half as much again as is kept.
const FORKS: u32 = 150;

/// A devnet whose height cap is little more than its slack, and whose minimum work is half of the honest
/// chain's, twice that of a fork.
fn spec() -> Arc<ChainSpec> {
    let mut spec = ChainSpec::devnet();
    spec.consensus.target_spacing = 600_000;
    // Two hashes a block at the devnet's difficulty.
    spec.consensus.minimum_chain_work = format!("{BLOCKS:064x}");
    Arc::new(spec)
}

/// A fork of one message from the genesis block.
fn fork(genesis: &Header, number: u32) -> Vec<Header> {
    let mut headers = Vec::with_capacity(HEADERS);
    let mut parent = *genesis;
    let mut root = [0; 32];
    root[..4].copy_from_slice(&number.to_le_bytes());
    for _ in 0..HEADERS {
        let mut header = Header {
            prev_blockhash: parent.block_hash(),
            merkle_root: TxMerkleNode::from_byte_array(root),
            time: parent.time + 1,
            ..parent
        };
        work(&mut header);
        headers.push(header);
        parent = header;
    }
    headers
}

/// A peer that answers each question for headers with another fork, and announces the next one at once.
async fn spammer(
    host: u8,
    spec: &Arc<ChainSpec>,
    next: Arc<AtomicU32>,
    told: mpsc::UnboundedSender<BlockHash>,
) -> Scripted {
    let genesis = spec.genesis_block().header;
    let script = move |message| match message {
        NetworkMessage::GetHeaders(_) => {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= FORKS {
                return vec![NetworkMessage::Headers(Vec::new())];
            }
            let fork = fork(&genesis, number);
            // The test may be over.
            let _ = told.send(fork[HEADERS - 1].block_hash());
            let news = BlockHash::from_byte_array([number as u8 + 1; 32]);
            vec![
                NetworkMessage::Headers(fork),
                NetworkMessage::Inv(vec![Inventory::Block(news)]),
            ]
        }
        NetworkMessage::Ping(nonce) => vec![NetworkMessage::Pong(nonce)],
        _ => Vec::new(),
    };
    let manner = Manner {
        height: 1_000_000,
        pause: std::time::Duration::ZERO,
    };
    Scripted::listen([127, 9, 20, host], spec, manner, script).await
}

/// Bytes of the file of headers.
fn headers_on_disk(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("headers.dat")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_work_are_bounded_and_do_not_stop_an_honest_chain() {
    let spec = spec();
    let honest = Blockchain::in_memory(Arc::clone(&spec));
    mine(&honest, BLOCKS, 1);
    let tip = honest.tip().hash;
    let honest = node([127, 9, 20, 1], honest).await;

    let (told, mut forks) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicU32::new(0));
    let one = spammer(2, &spec, Arc::clone(&next), told.clone()).await;
    let other = spammer(3, &spec, Arc::clone(&next), told).await;

    let directory = tempfile::tempdir().unwrap();
    let chain = Arc::new(Blockchain::open(Arc::clone(&spec), directory.path()).unwrap());
    let mut settings = config([127, 9, 20, 100]);
    settings.manual_peers = vec![one.addr, other.addr];
    let fresh = node_with(settings, &chain).await;

    // Most of it is told before the honest chain is heard of, the rest meanwhile.
    let mut known = Vec::new();
    let mut largest = 0;
    let feeding = async {
        while let Some(end) = forks.recv().await {
            known.push(end);
            largest = largest.max(headers_on_disk(directory.path()));
            if known.len() == FORKS as usize * 4 / 5 {
                fresh.connect(honest.listen_addr()).await;
            }
            if known.len() == FORKS as usize {
                break;
            }
        }
    };
    timeout(PATIENCE, feeding).await.expect("all is asked for");
    reaches(&fresh, tip).await;

    let kept = known.iter().filter(|end| chain.header(end).is_some());
    let kept = kept.count() * HEADERS;
    assert!(kept <= LIMIT, "{kept} headers of forks are kept");
    assert!(
        known.len() * HEADERS > LIMIT + 10 * HEADERS,
        "more was told than is kept"
    );
    // 80 bytes each and at most 20 more a record of one or of 2,000: the honest chain came in full messages.
    let bound = (LIMIT + BLOCKS as usize + 2 * HEADERS) * 90;
    assert!(largest <= bound as u64, "{largest} bytes on disk");
    let status = fresh.status().await.unwrap();
    assert!(
        status.security.offences.is_empty(),
        "valid headers are no offence: {:?}",
        status.security
    );
    // None of their blocks was asked for: they have not the minimum work.
    for spammer in [&one, &other] {
        let asked: watch::Receiver<usize> = spammer.asked.clone();
        assert_eq!(*asked.borrow(), 0);
    }
    fresh.shutdown().await;
    honest.shutdown().await;
}
