//! A CPU miner for devnets: one block at a time, on top of the verified tip; and the parts that it shares
//! with whoever makes blocks elsewhere, [`assemble`] and [`find_nonce`].

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, transaction,
};
use thiserror::Error;

use super::consensus::{
    commitment_script, height_script, is_allowed_output, merkle_root, subsidy, work_of,
};
use super::mempool::Template;
use super::{BlockError, Blockchain, HeaderError};
use crate::chain_spec::compact;

/// Hardest bits that are mined: 2^24 hashes, seconds of one core. Real networks have miners of their own.
pub const HARDEST_BITS: u32 = 0x1e00_ffff;

/// Bytes of a block that are left to its header (80), its count of transactions (9 at most) and its coinbase
/// (about 230 with a payout of the longest allowed script).
const RESERVED_BYTES: usize = 1_000;

/// Why no block was mined.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MineError {
    /// The chain is too hard for a CPU.
    #[error(
        "the next block needs bits {bits:#x}; this miner is for devnets and stops at 0x1e00ffff"
    )]
    TooHard {
        /// Bits of the next block.
        bits: CompactTarget,
    },
    /// The payout script is not one that consensus allows for a value.
    #[error("the payout script is not of a kind that may hold coins")]
    Payout,
    /// All nonces failed.
    #[error("no nonce meets the target; try again a second later")]
    Exhausted,
    /// The header was refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The block was refused.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl MineError {
    /// Never: mining has no peer.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        false
    }
}

/// Mines one block on the verified tip that pays the subsidy to `payout`, connects it to `chain` and gives
/// it for relay.
///
/// The block's time is `now` (Unix seconds), or one second past the median of the last eleven if that is
/// later. Takes two hashes on average at a devnet's difficulty.
///
/// # Errors
/// Where the next block's bits are harder than [`HARDEST_BITS`], `payout` is not an allowed output, or the
/// chain refuses the block: with `now` far behind the chain, for its time.
pub fn mine_block(chain: &Blockchain, payout: ScriptBuf, now: u32) -> Result<Block, MineError> {
    mine_block_of(chain, payout, now, |_, _| Template::default())
}

/// As [`mine_block`], with transactions in the block, whose fees are paid to `payout` as well. `select` is asked
/// for those that fit on the given block, of together at most so many bytes.
///
/// # Errors
/// As [`mine_block`].
pub fn mine_block_of(
    chain: &Blockchain,
    payout: ScriptBuf,
    now: u32,
    select: impl FnOnce(BlockHash, usize) -> Template,
) -> Result<Block, MineError> {
    let parent = chain.tip_context();
    let rules = chain.rules();
    let bits = rules.asert.next_bits(parent.height(), parent.time());
    if work_of(bits) > work_of(CompactTarget::from_consensus(HARDEST_BITS)) {
        return Err(MineError::TooHard { bits });
    }
    let height = parent.height().saturating_add(1);
    let room = chain.spec().consensus.max_block_bytes;
    let template = select(parent.hash(), room.saturating_sub(RESERVED_BYTES));
    let payout = TxOut {
        value: Amount::from_sat(subsidy(rules, height).saturating_add(template.fees)),
        script_pubkey: payout,
    };
    if payout.script_pubkey.is_op_return() || !is_allowed_output(&payout) {
        return Err(MineError::Payout);
    }
    let header = Header {
        version: Version::from_consensus(Version::NO_SOFT_FORK_SIGNALLING.to_consensus()),
        prev_blockhash: parent.hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: now.max(parent.median_time().saturating_add(1)),
        bits,
        nonce: 0,
    };
    let transactions = template.transactions.into_iter();
    let transactions = transactions.map(Arc::unwrap_or_clone).collect();
    let mut block = assemble(header, height, payout, transactions);
    find_nonce(&mut block.header)?;
    chain.accept_headers(&[block.header], now)?;
    chain.connect_block(&block)?;
    Ok(block)
}

/// A block of `transactions` behind a coinbase that pays `payout`. `header` gives version, parent, time and
/// bits; its merkle root is filled in, its nonce is left to [`find_nonce`].
///
/// The coinbase's script starts with `height` (BIP34), its last output commits to all witnesses (BIP141).
/// Nothing is checked: neither the transactions nor whether the coinbase may pay so much.
#[must_use]
pub fn assemble(
    header: Header,
    height: u32,
    payout: TxOut,
    transactions: Vec<Transaction>,
) -> Block {
    // The push after the height brings the script to the least length of two bytes at heights up to 16.
    let tag = Builder::new().push_slice(b"qtc").into_script();
    let script_sig =
        ScriptBuf::from_bytes([height_script(height).as_bytes(), tag.as_bytes()].concat());
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0_u8; 32]]),
        }],
        output: vec![payout],
    };
    let mut block = Block {
        header,
        txdata: std::iter::once(coinbase).chain(transactions).collect(),
    };
    let commitment = TxOut {
        value: Amount::ZERO,
        script_pubkey: commitment_script(&block),
    };
    if let Some(coinbase) = block.txdata.first_mut() {
        coinbase.output.push(commitment);
    }
    let ids = block.txdata.iter().map(Transaction::compute_txid);
    block.header.merkle_root = merkle_root(ids.map(Txid::to_raw_hash)).root;
    block
}

/// Tries nonces from 0 until the header meets its own bits.
///
/// # Errors
/// [`MineError::TooHard`] where the bits are no target, [`MineError::Exhausted`] where no nonce does.
pub fn find_nonce(header: &mut Header) -> Result<(), MineError> {
    let target = compact::target_of(header.bits).ok_or(MineError::TooHard { bits: header.bits })?;
    for nonce in 0..=u32::MAX {
        header.nonce = nonce;
        if compact::hash_number(&header.block_hash()) <= target {
            return Ok(());
        }
    }
    Err(MineError::Exhausted)
}
