//! The block chain: which headers and blocks are valid, which chain is best, and where it is kept.
//!
//! | part | what it is for |
//! |---|---|
//! | [`consensus`] | the rules, pure: work, difficulty, time, merkle root, coinbase, subsidy |
//! | [`p2mldsa`] | what an output pays to and what unlocks it: program, address, signature hash, keys |
//! | [`policy`] | which transactions are relayed: narrower than consensus |
//! | [`Blockchain`] | headers, blocks and coins, verification, fork choice; the one owner of them all |
//! | `coins` | the unspent outputs: what changed, undo data |
//! | `tree` | the headers in memory, about 130 bytes each, side chains included |
//! | `store` | files and a database that survive `kill -9`, and say so when they are damaged |
//! | [`mempool`] | transactions that wait for a block |
//! | [`miner`] | a CPU miner for devnets |
//! | [`genesis`] | mining a first block for any chain spec |
//!
//! `docs/chain.md` tells how they work together.

mod blockchain;
mod coins;
pub mod consensus;
mod error;
pub mod genesis;
pub mod mempool;
pub mod miner;
pub mod p2mldsa;
pub mod policy;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use bitcoin::BlockHash;

pub use self::blockchain::{
    Blockchain, Branch, CheckReport, CheckedBlock, HeadersAccepted, MAX_HEADERS_PER_MESSAGE,
    MAX_LOCATOR_ENTRIES, Route, TransferError, View,
};
pub use self::error::{BlockError, HeaderError, StoreError, TransactionError};

/// A block or header by height and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Distance from the genesis block, which has height 0.
    pub height: u32,
    /// The header's double SHA-256.
    pub hash: BlockHash,
}
