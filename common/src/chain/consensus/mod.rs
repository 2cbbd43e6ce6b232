//! The consensus rules, as pure functions of a [`Rules`] value, blocks and a time that the caller gives.
//!
//! `asert` computes the difficulty, `header` checks headers against their parents, `merkle` and `block`
//! check bodies, `transaction` and `outputs` check what is spent and by whom, `subsidy` is the money supply. Nothing here does I/O or reads a clock.

mod asert;
#[cfg(test)]
mod bitcoin_tests;
mod block;
mod coin;
mod header;
mod merkle;
mod outputs;
mod subsidy;
mod transaction;

use bitcoin::{BlockHash, CompactTarget};
use ruint::aliases::U256;

use crate::chain_spec::{ChainSpec, compact};

pub use self::asert::Asert;
pub use self::block::{
    MAX_COINBASE_SCRIPT_BYTES, MIN_COINBASE_SCRIPT_BYTES, check_block, check_block_at, check_payout,
};
pub(crate) use self::block::{commitment_script, height_script};
pub use self::coin::Coin;
pub(crate) use self::header::check_hashed;
pub use self::header::{HEIGHT_CAP_SLACK, MEDIAN_TIME_SPAN, ParentContext, check_header};
pub use self::merkle::{MerkleRoot, merkle_root};
pub use self::outputs::{
    MAX_OP_RETURN_BYTES, OutputKind, is_allowed_output, output_kind, p2mldsa_script,
};
pub use self::subsidy::{subsidy, subsidy_sum};
pub use self::transaction::{check_signatures, check_spends, check_transaction, is_final};

/// A network's rules in the form that checks need: parsed once, copied freely.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(crate) asert: Asert,
    pub(crate) limit: U256,
    pub(crate) genesis_time: u32,
    pub(crate) target_spacing: u64,
    pub(crate) max_future_seconds: u64,
    pub(crate) max_block_bytes: usize,
    pub(crate) max_money: u64,
    pub(crate) initial_subsidy: u64,
    pub(crate) halving_interval: u32,
    pub(crate) minimum_work: u128,
    /// Blocks from a coinbase to the first that may spend it.
    pub(crate) coinbase_maturity: u32,
    /// Names the chain in what is signed.
    pub(crate) genesis_hash: BlockHash,
}

impl Rules {
    /// The rules that `spec` describes.
    ///
    /// A spec that was loaded or built in is proven. In one that was put together by hand, a limit that is
    /// no target allows no block, and minimum work that is no number counts as the largest.
    #[must_use]
    pub fn new(spec: &ChainSpec) -> Self {
        let c = &spec.consensus;
        let limit_bits = CompactTarget::from_consensus(c.pow_limit_bits);
        Self {
            asert: Asert {
                anchor_height: 0,
                anchor_parent_time: i64::from(spec.genesis.time)
                    - i64::try_from(c.target_spacing).unwrap_or(i64::MAX),
                anchor_bits: CompactTarget::from_consensus(spec.genesis.bits),
                limit_bits,
                target_spacing: c.target_spacing,
                half_life: c.asert_half_life,
            },
            limit: compact::target_of(limit_bits).unwrap_or_default(),
            genesis_time: spec.genesis.time,
            target_spacing: c.target_spacing.max(1),
            max_future_seconds: c.max_future_seconds,
            max_block_bytes: c.max_block_bytes,
            max_money: c.max_money,
            initial_subsidy: c.initial_subsidy,
            halving_interval: c.halving_interval,
            minimum_work: U256::from_str_radix(&c.minimum_chain_work, 16)
                .ok()
                .and_then(|work| u128::try_from(work).ok())
                .unwrap_or(u128::MAX),
            coinbase_maturity: c.coinbase_maturity,
            genesis_hash: spec.genesis_hash(),
        }
    }
}

/// The expected number of hashes behind a block with this target: `2^256 / (target + 1)`.
///
/// Zero for bits that no block may have. Capped at `2^128 - 1`, more hashes than can ever be made.
#[must_use]
pub fn work_of(bits: CompactTarget) -> u128 {
    compact::target_of(bits).map_or(0, |target| {
        // 2^256 / (t + 1) without 257 bits: (2^256 - 1 - t) / (t + 1) + 1. A target is below 2^256 - 1,
        // since its compact form keeps three bytes.
        let work = (!target / (target + U256::from(1))).saturating_add(U256::from(1));
        u128::try_from(work).unwrap_or(u128::MAX)
    })
}
