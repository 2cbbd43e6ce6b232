//! Checking transactions other than the coinbase, from cheap to dear: by itself, against the coins that it
//! spends, and its signatures. The caller finds the coins.

use std::collections::HashSet;

use bitcoin::locktime::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::{Sequence, Transaction, TxIn, TxOut};

use super::{Coin, OutputKind, Rules, is_allowed_output, output_kind};
use crate::chain::error::TransactionError;
use crate::chain::p2mldsa::{
    self, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SignatureHasher, WITNESS_ITEMS,
};

/// Checks a transaction that is not a coinbase by itself: it spends and creates something, no outpoint is
/// null or repeated, input scripts are empty, outputs are of an allowed kind, values and their sum lie within
/// the money cap, and it fits a block.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_transaction(rules: &Rules, tx: &Transaction) -> Result<(), TransactionError> {
    if tx.input.is_empty() {
        return Err(TransactionError::NoInputs);
    }
    if tx.output.is_empty() {
        return Err(TransactionError::NoOutputs);
    }
    let (bytes, limit) = (tx.total_size(), rules.max_block_bytes);
    if bytes > limit {
        return Err(TransactionError::TooLarge { bytes, limit });
    }
    check_inputs(&tx.input)?;
    if let Some(index) = tx.output.iter().position(|out| !is_allowed_output(out)) {
        return Err(TransactionError::Output { index });
    }
    output_sum(rules, &tx.output).map(|_| ())
}

/// Checks what a transaction that passed [`check_transaction`] spends, in a block at `height`: coinbases are
/// mature, sums lie within the money cap, and no more is created than spent. Gives the fee in base units.
///
/// `coins` are what the inputs spend, in their order.
///
/// # Errors
/// The first rule that it breaks; [`TransactionError::MissingCoin`] if there are fewer coins than inputs.
pub fn check_spends(
    rules: &Rules,
    tx: &Transaction,
    coins: &[Coin],
    height: u32,
) -> Result<u64, TransactionError> {
    let limit = rules.max_money;
    let mut input = 0_u64;
    for (index, (_, coin)) in spent(tx, coins)?.enumerate() {
        check_mature(rules, coin, index, height)?;
        input = input
            .checked_add(coin.output.value.to_sat())
            .filter(|sum| *sum <= limit)
            .ok_or(TransactionError::InputSum { index, limit })?;
    }
    let output = output_sum(rules, &tx.output)?;
    input
        .checked_sub(output)
        .ok_or(TransactionError::Overspent { input, output })
}

/// Checks the witness of every input against the coin that it spends. A P2MLDSA coin is unlocked by exactly
/// a signature and the public key that it pays to; a coin of witness version 4 to 16 by anything.
///
/// `coins` are what the inputs spend, in their order. All that is cheap is checked before any signature.
///
/// # Errors
/// The first rule that an input breaks; [`TransactionError::MissingCoin`] if there are fewer coins than
/// inputs.
pub fn check_signatures(
    rules: &Rules,
    tx: &Transaction,
    coins: &[Coin],
) -> Result<(), TransactionError> {
    let unlocks = spent(tx, coins)?
        .enumerate()
        .map(|(index, (input, coin))| unlock(index, input, coin))
        .collect::<Result<Vec<_>, _>>()?;
    if unlocks.iter().all(Option::is_none) {
        return Ok(());
    }
    let outputs = spent(tx, coins)?.map(|(_, coin)| &coin.output);
    let hasher = SignatureHasher::new(rules.genesis_hash, tx, outputs);
    for (index, unlock) in unlocks.into_iter().enumerate() {
        let Some(unlock) = unlock else { continue };
        hasher
            .as_ref()
            .and_then(|hasher| hasher.hash(index))
            .filter(|hash| p2mldsa::verify(unlock.public_key, hash, unlock.signature))
            .ok_or(TransactionError::Signature { index })?;
    }
    Ok(())
}

/// Whether a block at `height` may hold the transaction, by its lock time. A lock time below 500,000,000 is
/// the last height that may not, one from there on the last time, where time means `median_time`, the
/// median time past of the block's parent (BIP113). If all sequences are `0xffffffff` there is no lock.
#[must_use]
pub fn is_final(tx: &Transaction, height: u32, median_time: u32) -> bool {
    let lock = tx.lock_time.to_consensus_u32();
    let now = if lock < LOCK_TIME_THRESHOLD {
        height
    } else {
        median_time
    };
    lock == 0 || lock < now || tx.input.iter().all(|input| input.sequence == Sequence::MAX)
}

fn check_inputs(inputs: &[TxIn]) -> Result<(), TransactionError> {
    for (index, input) in inputs.iter().enumerate() {
        if input.previous_output.is_null() {
            return Err(TransactionError::NullOutpoint { index });
        }
        if !input.script_sig.is_empty() {
            let bytes = input.script_sig.len();
            return Err(TransactionError::ScriptSig { index, bytes });
        }
    }
    if let [_] = inputs {
        return Ok(());
    }
    // The inputs are in memory, so their number is no claim. The set's hash is keyed: no crafted collisions.
    let mut seen = HashSet::with_capacity(inputs.len());
    match inputs
        .iter()
        .position(|input| !seen.insert(&input.previous_output))
    {
        None => Ok(()),
        Some(index) => Err(TransactionError::RepeatedOutpoint {
            index,
            outpoint: inputs
                .get(index)
                .map(|i| i.previous_output)
                .unwrap_or_default(),
        }),
    }
}

/// The sum of outputs, each and all within the cap.
fn output_sum(rules: &Rules, outputs: &[TxOut]) -> Result<u64, TransactionError> {
    let limit = rules.max_money;
    let mut sum = 0_u64;
    for (index, output) in outputs.iter().enumerate() {
        let value = output.value.to_sat();
        if value > limit {
            return Err(TransactionError::OutputValue {
                index,
                value,
                limit,
            });
        }
        sum = sum
            .checked_add(value)
            .filter(|sum| *sum <= limit)
            .ok_or(TransactionError::OutputSum { index, limit })?;
    }
    Ok(sum)
}

/// Each input with its coin.
fn spent<'a>(
    tx: &'a Transaction,
    coins: &'a [Coin],
) -> Result<impl Iterator<Item = (&'a TxIn, &'a Coin)>, TransactionError> {
    match tx.input.get(coins.len()) {
        None => Ok(tx.input.iter().zip(coins)),
        Some(input) => Err(TransactionError::MissingCoin {
            index: coins.len(),
            outpoint: input.previous_output,
        }),
    }
}

fn check_mature(
    rules: &Rules,
    coin: &Coin,
    index: usize,
    height: u32,
) -> Result<(), TransactionError> {
    let spendable = u64::from(coin.height) + u64::from(rules.coinbase_maturity);
    if !coin.coinbase || u64::from(height) >= spendable {
        return Ok(());
    }
    Err(TransactionError::Immature {
        index,
        created: coin.height,
        height,
        spendable,
    })
}

/// What an input gives to unlock a P2MLDSA coin.
struct Unlock<'a> {
    signature: &'a [u8],
    public_key: &'a [u8],
}

/// All of an input's witness but the signature itself; `None` where anyone can spend.
fn unlock<'a>(
    index: usize,
    input: &'a TxIn,
    coin: &Coin,
) -> Result<Option<Unlock<'a>>, TransactionError> {
    let program = match output_kind(&coin.output.script_pubkey) {
        Some(OutputKind::P2mldsa(program)) => program,
        Some(OutputKind::FutureWitness) => return Ok(None),
        Some(OutputKind::OpReturn) | None => return Err(TransactionError::Unspendable { index }),
    };
    let witness = &input.witness;
    let (Some(signature), Some(public_key), WITNESS_ITEMS) =
        (witness.nth(0), witness.nth(1), witness.len())
    else {
        return Err(TransactionError::WitnessItems {
            index,
            found: witness.len(),
        });
    };
    if signature.len() != SIGNATURE_BYTES {
        let found = signature.len();
        return Err(TransactionError::SignatureLength { index, found });
    }
    if public_key.len() != PUBLIC_KEY_BYTES {
        let found = public_key.len();
        return Err(TransactionError::PublicKeyLength { index, found });
    }
    if p2mldsa::program(public_key) != program {
        return Err(TransactionError::PublicKey { index });
    }
    Ok(Some(Unlock {
        signature,
        public_key,
    }))
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
