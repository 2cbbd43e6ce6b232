//! What a block does to the coins, and the reverse.

use bitcoin::{Block, OutPoint, Transaction, TxOut, Txid};

use super::{CoinCache, Undo};
use crate::chain::consensus::{Coin, Rules, check_payout, check_spends, is_final};
use crate::chain::{BlockError, StoreError, TransactionError};

/// Spends and creates the coins of a block whose body was checked by itself, and gives what it spent.
///
/// `median_time` is that of the parent. Signatures are left for the caller. After an error the coins are as
/// they were.
pub(in crate::chain) fn connect(
    rules: &Rules,
    coins: &mut CoinCache,
    block: &Block,
    height: u32,
    median_time: u32,
) -> Result<Undo, BlockError> {
    let mut undo = Undo::default();
    let mut fees = 0_u64;
    let mut failure = None;
    for (index, tx) in block.txdata.iter().enumerate().skip(1) {
        match spend(rules, coins, tx, height, median_time) {
            // Each fee is below the money cap, 2^61, and the block has fewer than 2^17 transactions; what
            // overflows is more than can exist, and refused by `check_payout` as any excess is.
            Ok((spent, fee)) => {
                fees = fees.saturating_add(fee);
                undo.spent.push(spent);
            }
            Err(Refusal::Store(error)) => {
                failure = Some(BlockError::Store(error));
                break;
            }
            Err(Refusal::Rule(source)) => {
                failure = Some(BlockError::transaction(index, tx, source));
                break;
            }
        }
    }
    let failure = match failure {
        Some(error) => Some(error),
        None => check_payout(rules, block, height, fees).err(),
    };
    if let Some(error) = failure {
        for (tx, spent) in block.txdata.iter().skip(1).zip(undo.spent).rev() {
            take_back(coins, tx, spent)?;
        }
        return Err(error);
    }
    if let Some(coinbase) = block.txdata.first() {
        create(coins, coinbase, height, true);
    }
    Ok(undo)
}

/// Takes a block back: removes the coins that it created and restores those that it spent. The block is the
/// last one that was connected, and `undo` is what connecting gave.
pub(in crate::chain) fn disconnect(
    coins: &mut CoinCache,
    block: &Block,
    undo: Undo,
) -> Result<(), StoreError> {
    // No block is without a coinbase.
    let Some((coinbase, transactions)) = block.txdata.split_first() else {
        return Ok(());
    };
    remove(coins, coinbase)?;
    for (tx, spent) in transactions.iter().zip(undo.spent).rev() {
        take_back(coins, tx, spent)?;
    }
    Ok(())
}

/// The coins that a transaction creates: all outputs but those that nobody can ever spend.
pub(in crate::chain) fn created(
    tx: &Transaction,
    txid: Txid,
    height: u32,
    coinbase: bool,
) -> impl Iterator<Item = (OutPoint, Coin)> {
    let spendable = (0_u32..)
        .zip(&tx.output)
        .filter(|(_, output)| is_coin(output));
    spendable.map(move |(vout, output)| {
        let coin = Coin {
            output: output.clone(),
            height,
            coinbase,
        };
        (OutPoint { txid, vout }, coin)
    })
}

/// Nobody can ever spend an `OP_RETURN` output: it is not kept.
fn is_coin(output: &TxOut) -> bool {
    !output.script_pubkey.is_op_return()
}

/// Why a transaction could not be connected.
enum Refusal {
    Rule(TransactionError),
    Store(StoreError),
}

/// Connects one transaction: gives the coins that it spent and its fee.
fn spend(
    rules: &Rules,
    coins: &mut CoinCache,
    tx: &Transaction,
    height: u32,
    median_time: u32,
) -> Result<(Vec<Coin>, u64), Refusal> {
    if !is_final(tx, height, median_time) {
        return Err(Refusal::Rule(TransactionError::NotFinal {
            lock_time: tx.lock_time.to_consensus_u32(),
            height,
            median_time,
        }));
    }
    let mut spent = Vec::with_capacity(tx.input.len());
    let mut checked = Ok(0);
    for (index, input) in tx.input.iter().enumerate() {
        let outpoint = input.previous_output;
        match coins.take(&outpoint).map_err(Refusal::Store)? {
            Some(coin) => spent.push(coin),
            None => {
                checked = Err(TransactionError::MissingCoin { index, outpoint });
                break;
            }
        }
    }
    if checked.is_ok() {
        checked = check_spends(rules, tx, &spent, height);
    }
    match checked {
        Ok(fee) => {
            create(coins, tx, height, false);
            Ok((spent, fee))
        }
        Err(error) => {
            restore(coins, tx, spent);
            Err(Refusal::Rule(error))
        }
    }
}

fn take_back(coins: &mut CoinCache, tx: &Transaction, spent: Vec<Coin>) -> Result<(), StoreError> {
    remove(coins, tx)?;
    restore(coins, tx, spent);
    Ok(())
}

fn restore(coins: &mut CoinCache, tx: &Transaction, spent: Vec<Coin>) {
    for (input, coin) in tx.input.iter().zip(spent) {
        coins.put(input.previous_output, coin);
    }
}

fn create(coins: &mut CoinCache, tx: &Transaction, height: u32, coinbase: bool) {
    // An equal outpoint that is unspent can't be there: a coinbase holds its height (BIP34, from block 1
    // on), and every other transaction spends what nobody else can spend.
    for (outpoint, coin) in created(tx, tx.compute_txid(), height, coinbase) {
        coins.put(outpoint, coin);
    }
}

fn remove(coins: &mut CoinCache, tx: &Transaction) -> Result<(), StoreError> {
    let txid = tx.compute_txid();
    for (vout, output) in (0_u32..).zip(&tx.output) {
        if is_coin(output) {
            coins.take(&OutPoint { txid, vout })?;
        }
    }
    Ok(())
}
