//! Growth, fork choice and refusal, without files.

use std::sync::Arc;
use std::time::Instant;

use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash};

use crate::chain::Blockchain;
use crate::chain::consensus::p2mldsa_script;
use crate::chain::miner::mine_block;
use crate::chain_spec::ChainSpec;

/// A time after the devnet's genesis.
pub(super) const NOW: u32 = 1_800_000_000;

pub(super) fn devnet() -> Blockchain {
    Blockchain::in_memory(Arc::new(ChainSpec::devnet()))
}

/// Mines `count` blocks that pay to a program of `tag` bytes, so that chains of different tags differ.
pub(super) fn grow(chain: &Blockchain, count: usize, tag: u8) -> Vec<Block> {
    (0..count)
        .map(|_| mine_block(chain, p2mldsa_script([tag; 32]), NOW).unwrap())
        .collect()
}

#[test]
fn six_hundred_blocks_in_two_seconds() {
    let chain = devnet();
    let mut tips = chain.subscribe();
    let start = Instant::now();
    let blocks = grow(&chain, 600, 1);
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    assert_eq!(chain.tip().height, 600);
    assert_eq!(chain.tip(), chain.best_header());
    assert_eq!(chain.tip().hash, blocks[599].block_hash());
    assert!(tips.has_changed().unwrap());
    assert_eq!(*tips.borrow_and_update(), chain.tip());

    // A second chain takes it in as a peer would: headers, then blocks.
    let other = devnet();
    while other.best_header().height < 600 {
        let headers = chain.headers_after(&other.locator(), BlockHash::all_zeros(), 250);
        assert_eq!(
            other.accept_headers(&headers, NOW).unwrap().new,
            headers.len()
        );
    }
    assert_eq!(other.tip().height, 0);
    let missing = other.missing_blocks(1_000);
    assert_eq!(missing.len(), 600);
    for wanted in missing {
        let bytes = chain.block(&wanted.hash).unwrap().unwrap();
        let block: Block = bitcoin::consensus::encode::deserialize(&bytes).unwrap();
        assert_eq!(other.connect_block(&block).unwrap(), wanted);
    }
    assert_eq!(other.tip(), chain.tip());
    assert!(other.missing_blocks(1).is_empty());
}
