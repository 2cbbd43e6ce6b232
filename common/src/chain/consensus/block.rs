//! Checking a block's body: what its header commits to, and what its coinbase may do.
//!
//! The order matters. The merkle root comes first and the witness commitment before anything that the
//! witness could change, so that an error that is not [`BlockError::is_mutation`] is a fact about the
//! header's own block, and may condemn the header.

use bitcoin::blockdata::opcodes::all::{OP_PUSHBYTES_36, OP_RETURN};
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, ScriptBuf, Transaction};

use super::{Rules, check_transaction, is_allowed_output, merkle_root, subsidy};
use crate::chain::error::BlockError;
use crate::chain_spec::compact;

/// Fewest bytes of a coinbase's input script.
pub const MIN_COINBASE_SCRIPT_BYTES: usize = 2;
/// Most bytes of a coinbase's input script.
pub const MAX_COINBASE_SCRIPT_BYTES: usize = 100;

/// What BIP141 puts before the witness commitment: `OP_RETURN`, a push of 36 bytes, four marker bytes.
const COMMITMENT_PREFIX: [u8; 6] = [
    OP_RETURN.to_u8(),
    OP_PUSHBYTES_36.to_u8(),
    0xaa,
    0x21,
    0xa9,
    0xed,
];
/// Bytes of the prefix and the commitment.
const COMMITMENT_SCRIPT_BYTES: usize = COMMITMENT_PREFIX.len() + 32;

/// Checks all that needs neither height nor ancestors.
///
/// # Errors
/// The first rule that the block breaks.
pub fn check_block(rules: &Rules, block: &Block) -> Result<(), BlockError> {
    check_work(rules, block)?;
    let root = merkle_root(
        block
            .txdata
            .iter()
            .map(|tx| tx.compute_txid().to_raw_hash()),
    );
    if root.root != block.header.merkle_root {
        return Err(BlockError::MerkleRoot {
            found: root.root,
            committed: block.header.merkle_root,
        });
    }
    if root.mutated {
        return Err(BlockError::DuplicateTransactions);
    }
    check_size(rules, block)?;
    let coinbase = check_coinbase_place(block)?;
    check_witness_commitment(block, coinbase)?;
    check_coinbase(rules, coinbase)?;
    check_transactions(rules, block)
}

/// Checks what depends on the block's height alone: the height in the coinbase (BIP34).
///
/// # Errors
/// The first rule that the block breaks.
pub fn check_block_at(block: &Block, height: u32) -> Result<(), BlockError> {
    let coinbase = check_coinbase_place(block)?;
    let script = coinbase
        .input
        .first()
        .map(|input| input.script_sig.as_bytes())
        .unwrap_or_default();
    if !script.starts_with(height_script(height).as_bytes()) {
        return Err(BlockError::CoinbaseHeight { height });
    }
    Ok(())
}

/// Checks what the coinbase pays: at most the subsidy and the fees of the block's transactions.
///
/// # Errors
/// The first rule that the block breaks.
pub fn check_payout(
    rules: &Rules,
    block: &Block,
    height: u32,
    fees: u64,
) -> Result<(), BlockError> {
    let paid = total(rules, check_coinbase_place(block)?)?;
    let allowed = subsidy(rules, height).saturating_add(fees);
    if paid > allowed {
        return Err(BlockError::Subsidy { paid, allowed });
    }
    Ok(())
}

/// The bytes that start a coinbase's input script at `height` (BIP34): the shortest push of the number.
pub(crate) fn height_script(height: u32) -> ScriptBuf {
    Builder::new().push_int(i64::from(height)).into_script()
}

/// The output script that commits to the block's witnesses (BIP141), where `block` holds its coinbase first
/// and the reserved value is 32 zero bytes.
pub(crate) fn commitment_script(block: &Block) -> ScriptBuf {
    let mut script = COMMITMENT_PREFIX.to_vec();
    script.extend_from_slice(commitment(block, &[0; 32]).as_byte_array());
    ScriptBuf::from_bytes(script)
}

fn check_work(rules: &Rules, block: &Block) -> Result<(), BlockError> {
    let target = compact::target_of(block.header.bits).filter(|target| *target <= rules.limit);
    let hash = block.block_hash();
    match target {
        Some(target) if compact::hash_number(&hash) <= target => Ok(()),
        _ => Err(BlockError::ProofOfWork { hash }),
    }
}

/// The size with witness must not pass the limit. A body that passes it by its witness alone may be a
/// mutation: the header does not say how long witnesses are.
fn check_size(rules: &Rules, block: &Block) -> Result<(), BlockError> {
    let limit = rules.max_block_bytes;
    let bytes = block.total_size();
    if bytes <= limit {
        return Ok(());
    }
    // 80 bytes of header and at most 9 of transaction count.
    let stripped = block
        .txdata
        .iter()
        .map(Transaction::base_size)
        .fold(80, usize::saturating_add);
    Err(BlockError::TooLarge {
        bytes,
        limit,
        by_witness: stripped <= limit,
    })
}

fn check_coinbase_place(block: &Block) -> Result<&Transaction, BlockError> {
    let (first, others) = block.txdata.split_first().ok_or(BlockError::Empty)?;
    if !first.is_coinbase() {
        return Err(BlockError::FirstNotCoinbase);
    }
    match others.iter().position(Transaction::is_coinbase) {
        None => Ok(first),
        Some(index) => Err(BlockError::SecondCoinbase { index: index + 1 }),
    }
}

/// BIP141, mandatory here from block 1: the last output with the marker commits to all witnesses and to the
/// coinbase's only witness item, 32 reserved bytes.
fn check_witness_commitment(block: &Block, coinbase: &Transaction) -> Result<(), BlockError> {
    let committed = coinbase
        .output
        .iter()
        .rev()
        .map(|output| output.script_pubkey.as_bytes())
        .find(|script| {
            script.len() >= COMMITMENT_SCRIPT_BYTES && script.starts_with(&COMMITMENT_PREFIX)
        })
        .and_then(|script| script.get(COMMITMENT_PREFIX.len()..COMMITMENT_SCRIPT_BYTES))
        .ok_or(BlockError::NoWitnessCommitment)?;
    let witness = coinbase.input.first().map(|input| &input.witness);
    let reserved = witness
        .filter(|witness| witness.len() == 1)
        .and_then(|witness| witness.nth(0))
        .and_then(|item| <&[u8; 32]>::try_from(item).ok())
        .ok_or(BlockError::WitnessReservedValue)?;
    if commitment(block, reserved).as_byte_array().as_slice() != committed {
        return Err(BlockError::WitnessCommitment);
    }
    Ok(())
}

fn commitment(block: &Block, reserved: &[u8; 32]) -> sha256d::Hash {
    // The coinbase counts as zero, since it carries the result.
    let leaves = std::iter::once(sha256d::Hash::all_zeros()).chain(
        block
            .txdata
            .iter()
            .skip(1)
            .map(|tx| tx.compute_wtxid().to_raw_hash()),
    );
    let mut engine = sha256d::Hash::engine();
    engine.input(merkle_root(leaves).root.as_byte_array());
    engine.input(reserved);
    sha256d::Hash::from_engine(engine)
}

fn check_coinbase(rules: &Rules, coinbase: &Transaction) -> Result<(), BlockError> {
    let bytes = coinbase
        .input
        .first()
        .map_or(0, |input| input.script_sig.len());
    if !(MIN_COINBASE_SCRIPT_BYTES..=MAX_COINBASE_SCRIPT_BYTES).contains(&bytes) {
        return Err(BlockError::CoinbaseScript { bytes });
    }
    if let Some(index) = coinbase
        .output
        .iter()
        .position(|output| !is_allowed_output(output))
    {
        return Err(BlockError::Output { index });
    }
    total(rules, coinbase).map(|_| ())
}

/// Each transaction besides the coinbase, by itself.
fn check_transactions(rules: &Rules, block: &Block) -> Result<(), BlockError> {
    for (index, tx) in block.txdata.iter().enumerate().skip(1) {
        check_transaction(rules, tx)
            .map_err(|source| BlockError::transaction(index, tx, source))?;
    }
    Ok(())
}

/// The sum of a transaction's outputs, each and all within the cap.
fn total(rules: &Rules, tx: &Transaction) -> Result<u64, BlockError> {
    tx.output
        .iter()
        .try_fold(0_u64, |sum, output| {
            sum.checked_add(Amount::to_sat(output.value))
                .filter(|sum| *sum <= rules.max_money)
        })
        .ok_or(BlockError::Value)
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
