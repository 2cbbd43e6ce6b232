//! The chain as a whole: growing, forking, refusing, and its files under crashes and damage.

mod chain;
mod crash;
mod damage;
mod files;
mod regressions;
mod reorganise;
mod spending;
pub(crate) mod wallet;

use std::sync::Arc;

use bitcoin::Block;

use super::Blockchain;
use super::consensus::p2mldsa_script;
use super::miner::mine_block;
use crate::chain_spec::ChainSpec;

/// A time after the devnet's genesis.
const NOW: u32 = 1_800_000_000;

fn devnet() -> Blockchain {
    Blockchain::in_memory(Arc::new(ChainSpec::devnet()))
}

/// Mines `count` blocks that pay to a program of `tag` bytes, so that chains of different tags differ.
fn grow(chain: &Blockchain, count: usize, tag: u8) -> Vec<Block> {
    (0..count)
        .map(|_| mine_block(chain, p2mldsa_script([tag; 32]), NOW).unwrap())
        .collect()
}

/// Gives a chain headers and blocks that another one made.
fn feed(chain: &Blockchain, blocks: &[Block]) {
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    for part in headers.chunks(2_000) {
        chain.accept_headers(part, NOW).unwrap();
    }
    for block in blocks {
        chain.connect_block(block).unwrap();
    }
}
