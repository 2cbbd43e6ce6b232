//! Which transactions are relayed and mined here: narrower than consensus, and free to differ from node to
//! node. What breaks policy is no fault of a peer and may well be in a valid block.
//!
//! From cheap to dear: [`check_form`] needs the transaction alone, [`check_fee`] its fee, and
//! [`check_spent`] the coins that it spends. [`check_standard`] is all three.

use bitcoin::{Script, Transaction};
use thiserror::Error;

use super::consensus::{Coin, OutputKind, output_kind};

/// Most serialized bytes of a relayed transaction. 32 inputs and outputs have about 122 kB, so this is what
/// bounds the inputs of one transaction in practice: 26. Guards the work that one message can cause.
pub const MAX_STANDARD_BYTES: usize = 100_000;
/// Most inputs of a relayed transaction: signatures to check before one fee is paid.
pub const MAX_STANDARD_INPUTS: usize = 32;
/// Most outputs of a relayed transaction: coins that one fee adds to every node's database.
pub const MAX_STANDARD_OUTPUTS: usize = 32;
/// Least fee in base units for 1,000 serialized bytes: what relaying to all nodes must cost.
pub const MIN_RELAY_FEE_PER_KB: u64 = 1_000;
/// Least value in base units of an output that can be spent; Bitcoin's figure. Guards the database against
/// coins that nobody will ever spend.
pub const DUST: u64 = 546;

/// Why a transaction is not relayed. Amounts are in base units, indices count from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Too many serialized bytes.
    #[error("the transaction has {bytes} bytes, {MAX_STANDARD_BYTES} are relayed")]
    TooLarge {
        /// Serialized bytes with witness.
        bytes: usize,
    },
    /// Too many inputs.
    #[error("the transaction has {count} inputs, {MAX_STANDARD_INPUTS} are relayed")]
    TooManyInputs {
        /// Inputs found.
        count: usize,
    },
    /// Too many outputs.
    #[error("the transaction has {count} outputs, {MAX_STANDARD_OUTPUTS} are relayed")]
    TooManyOutputs {
        /// Outputs found.
        count: usize,
    },
    /// An output has a witness version that has no meaning yet.
    #[error("output {index} is neither pay-to-ML-DSA nor OP_RETURN")]
    OutputKind {
        /// Index of the output.
        index: usize,
    },
    /// An output is worth less than spending it costs.
    #[error("output {index} is worth {value}, less than {DUST}")]
    Dust {
        /// Index of the output.
        index: usize,
        /// Its value.
        value: u64,
    },
    /// The fee is too low for the size.
    #[error("the fee is {fee}, at least {required} is needed")]
    Fee {
        /// The fee.
        fee: u64,
        /// The least fee for this size.
        required: u64,
    },
    /// An input spends an output whose witness version has no meaning yet.
    #[error("input {index} spends an output that is not pay-to-ML-DSA")]
    InputKind {
        /// Index of the input.
        index: usize,
    },
}

/// Checks all of policy. `coins` are what the inputs spend, in their order; `fee` is what
/// [`check_spends`](super::consensus::check_spends) gives.
///
/// # Errors
/// The first rule that the transaction breaks.
pub fn check_standard(tx: &Transaction, coins: &[Coin], fee: u64) -> Result<(), PolicyError> {
    check_form(tx)?;
    check_fee(tx, fee)?;
    check_spent(coins)
}

/// Checks size, counts and outputs.
///
/// # Errors
/// The first rule that the transaction breaks.
pub fn check_form(tx: &Transaction) -> Result<(), PolicyError> {
    let bytes = tx.total_size();
    if bytes > MAX_STANDARD_BYTES {
        return Err(PolicyError::TooLarge { bytes });
    }
    let count = tx.input.len();
    if count > MAX_STANDARD_INPUTS {
        return Err(PolicyError::TooManyInputs { count });
    }
    let count = tx.output.len();
    if count > MAX_STANDARD_OUTPUTS {
        return Err(PolicyError::TooManyOutputs { count });
    }
    for (index, output) in tx.output.iter().enumerate() {
        let value = output.value.to_sat();
        match output_kind(&output.script_pubkey) {
            Some(OutputKind::P2mldsa(_)) if value < DUST => {
                return Err(PolicyError::Dust { index, value });
            }
            Some(OutputKind::P2mldsa(_) | OutputKind::OpReturn) => {}
            Some(OutputKind::FutureWitness) | None => {
                return Err(PolicyError::OutputKind { index });
            }
        }
    }
    Ok(())
}

/// Checks the fee against the size.
///
/// # Errors
/// [`PolicyError::Fee`].
pub fn check_fee(tx: &Transaction, fee: u64) -> Result<(), PolicyError> {
    let required = required_fee(tx.total_size());
    if fee < required {
        return Err(PolicyError::Fee { fee, required });
    }
    Ok(())
}

/// Checks the kinds of the coins that the inputs spend, in their order.
///
/// # Errors
/// [`PolicyError::InputKind`].
pub fn check_spent(coins: &[Coin]) -> Result<(), PolicyError> {
    match coins
        .iter()
        .position(|coin| !is_p2mldsa(&coin.output.script_pubkey))
    {
        None => Ok(()),
        Some(index) => Err(PolicyError::InputKind { index }),
    }
}

/// The least fee in base units for a transaction of so many serialized bytes, rounded up.
#[must_use]
pub fn required_fee(bytes: usize) -> u64 {
    fee_at(MIN_RELAY_FEE_PER_KB, bytes)
}

/// What `bytes` cost at a rate for 1,000 of them, rounded up; the largest number if that is too much.
pub(super) fn fee_at(per_kb: u64, bytes: usize) -> u64 {
    let fee = (u128::from(per_kb) * bytes as u128).div_ceil(1_000);
    u64::try_from(fee).unwrap_or(u64::MAX)
}

fn is_p2mldsa(script: &Script) -> bool {
    matches!(output_kind(script), Some(OutputKind::P2mldsa(_)))
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
