//! Block chains with real signed transactions, deterministic: the same [`ChainOptions`] give the same bytes.
//!
//! The chain is the devnet's. Each block from height 104 holds some transactions with one or two inputs and
//! two outputs, which spend mature coinbases and random earlier coins, at times those of their own block.
//! `coins` plans who pays whom, `wallet` signs, [`files`] keeps a chain on disk.
//!
//! ```text
//! for each 100 blocks (a coinbase's maturity):
//!   plan coins and unsigned transactions      one thread
//!   sign, assemble with coinbase and roots    all cores
//!   link to the parent, search the nonce      one thread
//! ```

mod coins;
pub mod files;
mod random;
#[cfg(test)]
mod tests;
mod wallet;

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Transaction, TxMerkleNode, TxOut,
};
use clap::Args;
use quantumcoin::chain::consensus::{Rules, subsidy};
use quantumcoin::chain::miner::{MineError, assemble, find_nonce};
use quantumcoin::chain_spec::ChainSpec;
use rayon::prelude::*;
use thiserror::Error;

use self::coins::{CoinFlow, PlannedBlock, Spendable};
use self::random::Random;
use self::wallet::Wallet;

/// First height with transactions, in blocks past the coinbase maturity: by then four coinbases are there
/// for the four transactions of a block.
const FIRST_TRANSACTIONS: u32 = 4;

/// Which chain to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct ChainOptions {
    /// Blocks besides the genesis block.
    #[arg(long, default_value_t = 10_000)]
    pub blocks: u32,
    /// Transactions of each block besides the coinbase, from height 104.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(..=500))]
    pub transactions: u32,
    /// Another number gives another chain.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self {
            blocks: 10_000,
            transactions: 4,
            seed: 0,
        }
    }
}

/// Why a chain could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A signature could not be made.
    #[error("signing failed: {0}")]
    Sign(&'static str),
    /// A coin belongs to no key of the wallet, or can't be signed for.
    #[error("a planned transaction can't be signed")]
    Key,
    /// A block could not be mined.
    #[error(transparent)]
    Mine(#[from] MineError),
}

/// Makes the blocks of a chain, lowest first, the genesis block left out. After an error it ends.
#[derive(Debug)]
pub struct Generator {
    spec: Arc<ChainSpec>,
    rules: Rules,
    options: ChainOptions,
    wallet: Wallet,
    flow: CoinFlow,
    /// Height and hash of the last block made.
    height: u32,
    parent: BlockHash,
    ready: VecDeque<Block>,
}

impl Generator {
    /// A chain of the built-in devnet.
    #[must_use]
    pub fn new(options: ChainOptions) -> Self {
        let spec = Arc::new(ChainSpec::devnet());
        let genesis = spec.genesis_hash();
        Self {
            rules: Rules::new(&spec),
            wallet: Wallet::new(genesis, options.seed),
            flow: CoinFlow::new(Random::new(options.seed), spec.consensus.coinbase_maturity),
            spec,
            options,
            height: 0,
            parent: genesis,
            ready: VecDeque::new(),
        }
    }

    /// The network that the chain belongs to.
    #[must_use]
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// Signed transactions that spend coins of the chain, once all of it is made, and of each other, for whatever blocks
    /// follow it; fewer than `count` where the coins do not suffice.
    ///
    /// # Errors
    /// Where one can't be signed.
    pub fn into_payments(mut self, count: u32) -> Result<Vec<Transaction>, GenerateError> {
        let next = self.height.saturating_add(1);
        let planned = self.flow.plan(next, count, &self.wallet).transactions;
        planned
            .into_par_iter()
            .map(|planned| self.wallet.sign(planned))
            .collect()
    }

    /// Makes the next blocks: as many as need no coinbase that is not there yet.
    fn refill(&mut self) -> Result<(), GenerateError> {
        let maturity = self.spec.consensus.coinbase_maturity;
        let first = self.height + 1;
        let last = self
            .options
            .blocks
            .min(self.height.saturating_add(maturity.max(1)));
        let plans: Vec<PlannedBlock> = (first..=last)
            .map(|height| {
                let count = if height >= maturity + FIRST_TRANSACTIONS {
                    self.options.transactions
                } else {
                    0
                };
                self.flow.plan(height, count, &self.wallet)
            })
            .collect();
        let bodies: Vec<(Block, usize)> = plans
            .into_par_iter()
            .map(|plan| self.body(plan))
            .collect::<Result<_, _>>()?;
        for (mut block, miner_key) in bodies {
            block.header.prev_blockhash = self.parent;
            find_nonce(&mut block.header)?;
            self.height += 1;
            self.parent = block.block_hash();
            self.keep_coinbase(&block, miner_key);
            self.ready.push_back(block);
        }
        Ok(())
    }

    /// Signs a block's transactions and puts it together; parent and nonce are still missing.
    fn body(&self, plan: PlannedBlock) -> Result<(Block, usize), GenerateError> {
        let transactions = plan
            .transactions
            .into_iter()
            .map(|planned| self.wallet.sign(planned))
            .collect::<Result<_, _>>()?;
        let payout = TxOut {
            value: Amount::from_sat(subsidy(&self.rules, plan.height) + plan.fees),
            script_pubkey: self.wallet.script(plan.miner_key),
        };
        // The devnet's spacing is a second, and its bits never change.
        let since_genesis = u64::from(plan.height) * self.spec.consensus.target_spacing;
        let header = Header {
            version: Version::NO_SOFT_FORK_SIGNALLING,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: u32::try_from(u64::from(self.spec.genesis.time) + since_genesis)
                .unwrap_or(u32::MAX),
            bits: CompactTarget::from_consensus(self.spec.genesis.bits),
            nonce: 0,
        };
        let block = assemble(header, plan.height, payout, transactions);
        Ok((block, plan.miner_key))
    }

    /// Notes the coinbase's coin, to be spent once it is mature.
    fn keep_coinbase(&mut self, block: &Block, key: usize) {
        let coinbase = block.txdata.first();
        let output = coinbase.and_then(|coinbase| coinbase.output.first());
        if let Some((coinbase, output)) = coinbase.zip(output) {
            self.flow.mined(
                self.height,
                Spendable {
                    outpoint: OutPoint {
                        txid: coinbase.compute_txid(),
                        vout: 0,
                    },
                    output: output.clone(),
                    key,
                },
            );
        }
    }
}

impl Iterator for Generator {
    type Item = Result<Block, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && self.height < self.options.blocks
            && let Err(error) = self.refill()
        {
            self.options.blocks = self.height;
            self.ready.clear();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}
