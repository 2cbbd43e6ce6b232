//! The chain that the victim has, and what an attacker makes up beside it. At the devnet's difficulty work costs two hashes
//! a block, so an attacker here has as much of it as he likes.

use std::sync::Arc;

use anyhow::Context;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, ScriptBuf, TxMerkleNode, TxOut};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::consensus::{Rules, subsidy};
use quantumcoin::chain::miner::{assemble, find_nonce};
use quantumcoin::chain_spec::ChainSpec;

use crate::chain_generator::{ChainOptions, Generator};

/// Blocks of the victim's chain: more than a fork of [`SHORT`] blocks and the 144 that a chain may be behind.
const BLOCKS: u32 = 400;

/// Headers of a fork that has far less work than the victim's chain.
pub(super) const SHORT: u32 = 200;

/// Headers of a fork that has more work than the victim's chain will have: honest blocks are found at a rate of one in two
/// seconds meanwhile.
const LONG: u32 = 100;

/// The blocks after the genesis block, the same in each process.
pub(super) fn blocks() -> anyhow::Result<Vec<Block>> {
    let options = ChainOptions {
        blocks: BLOCKS,
        transactions: 1,
        ..ChainOptions::default()
    };
    let blocks = Generator::new(options).collect::<Result<_, _>>();
    blocks.context("the chain can't be made")
}

/// The chain, verified and in memory.
pub(super) fn verified(spec: ChainSpec) -> anyhow::Result<Arc<Blockchain>> {
    let chain = Blockchain::in_memory(Arc::new(spec));
    for block in blocks()? {
        chain.accept_headers(&[block.header], block.header.time)?;
        chain.connect_block(&block)?;
    }
    Ok(Arc::new(chain))
}

/// What an attacker knows of the chain.
#[derive(Debug)]
pub(super) struct Known {
    rules: Rules,
    genesis: Header,
    tip: Header,
    /// All blocks, as they are asked for.
    pub(super) blocks: Vec<Block>,
}

impl Known {
    /// The chain of [`blocks`].
    pub(super) fn new(spec: &ChainSpec) -> anyhow::Result<Self> {
        let blocks = blocks()?;
        let tip = blocks.last().context("there are blocks")?.header;
        Ok(Self {
            rules: Rules::new(spec),
            genesis: spec.genesis_block().header,
            tip,
            blocks,
        })
    }

    /// Valid headers that leave the chain at its first block, and have far less work than it; others for each `number`.
    pub(super) fn short_fork(&self, number: u64) -> anyhow::Result<Vec<Header>> {
        fork(&self.genesis, number, SHORT)
    }

    /// A header whose work is not what it says.
    pub(super) fn unworked(&self, number: u64) -> Header {
        let mut header = child(&self.tip, number);
        while header.validate_pow(header.target()).is_ok() {
            header.nonce += 1;
        }
        header
    }

    /// Valid headers on the chain's tip, of which nobody has the blocks.
    pub(super) fn long_fork(&self, number: u64) -> anyhow::Result<Vec<Header>> {
        fork(&self.tip, number, LONG)
    }

    /// Blocks on the chain's tip, of which the first pays its miner twice what it may. All but that is valid.
    pub(super) fn overpaid(&self, number: u64) -> anyhow::Result<Vec<Block>> {
        let script = ScriptBuf::from_bytes([&[0x53, 0x20][..], &root(number)].concat());
        let mut blocks: Vec<Block> = Vec::new();
        for height in BLOCKS + 1..=BLOCKS + LONG {
            let parent = blocks.last().map_or(&self.tip, |block| &block.header);
            let share = if blocks.is_empty() { 2 } else { 1 };
            let payout = TxOut {
                value: Amount::from_sat(share * subsidy(&self.rules, height)),
                script_pubkey: script.clone(),
            };
            let mut block = assemble(child(parent, number), height, payout, Vec::new());
            find_nonce(&mut block.header)?;
            blocks.push(block);
        }
        Ok(blocks)
    }
}

/// Headers after `parent`, a second apart.
fn fork(parent: &Header, number: u64, length: u32) -> anyhow::Result<Vec<Header>> {
    let mut headers: Vec<Header> = Vec::new();
    for _ in 0..length {
        let mut header = child(headers.last().unwrap_or(parent), number);
        find_nonce(&mut header)?;
        headers.push(header);
    }
    Ok(headers)
}

/// A header that follows `parent`, without its work.
fn child(parent: &Header, number: u64) -> Header {
    Header {
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::from_byte_array(root(number)),
        time: parent.time + 1,
        ..*parent
    }
}

/// 32 bytes that are others for each number.
fn root(number: u64) -> [u8; 32] {
    let mut root = [0x5a; 32];
    let (start, _) = root.split_at_mut(8);
    start.copy_from_slice(&number.to_le_bytes());
    root
}

#[cfg(test)]
mod tests {
    use quantumcoin::chain::{BlockError, HeaderError};
    use quantumcoin::network::security::low_work::is_far_below;

    use super::*;

    fn both() -> (Arc<Blockchain>, Known) {
        let spec = ChainSpec::devnet();
        let known = Known::new(&spec).unwrap();
        (verified(spec).unwrap(), known)
    }

    fn later(known: &Known) -> u32 {
        known.tip.time + 1_000
    }

    #[test]
    fn a_short_fork_is_valid_and_far_below() {
        let (chain, known) = both();
        let fork = known.short_fork(7).unwrap();
        let accepted = chain.accept_headers(&fork, later(&known)).unwrap();
        assert_eq!(accepted.new, SHORT as usize);
        let tip = chain.tip_context();
        let work = chain.header_work(&fork.last().unwrap().block_hash());
        let block = tip.work() / u128::from(BLOCKS + 1);
        assert!(is_far_below(work.unwrap(), tip.work(), block));
        assert_ne!(known.short_fork(8).unwrap(), fork);
    }

    #[test]
    fn a_header_without_work_is_a_fault() {
        let (chain, known) = both();
        let error = chain.accept_headers(&[known.unworked(3)], later(&known));
        assert!(matches!(error, Err(HeaderError::ProofOfWork { .. })));
    }

    #[test]
    fn an_overpaid_block_has_a_valid_header_and_is_a_fault() {
        let (chain, known) = both();
        let blocks = known.overpaid(3).unwrap();
        let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
        chain.accept_headers(&headers, later(&known)).unwrap();
        let error: BlockError = chain.connect_block(&blocks[0]).unwrap_err();
        assert!(error.is_peer_fault(), "{error}");
        assert_eq!(chain.tip().height, BLOCKS, "it is not taken");
    }
}
