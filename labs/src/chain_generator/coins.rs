//! Who pays whom: the flow of coins through a generated chain, before anything is signed.
//!
//! A transaction's id does not commit to its signatures, so the flow of many blocks can be planned first and
//! signed afterwards on all cores. Only coinbases have to wait: their ids commit to the witnesses of their
//! blocks, and they are spent `coinbase_maturity` blocks later at the earliest.

use std::collections::VecDeque;

use bitcoin::absolute::LockTime;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};

use super::random::Random;
use super::wallet::Wallet;

/// Fee for each input, in base units: an input makes about 3.8 kB, so this is more than twice the least
/// that is relayed (1,000 a kB).
const FEE_PER_INPUT: u64 = 10_000;

/// Coins of less value are left where they are, in base units: enough for the fee and two outputs above
/// the dust limit.
const LEAST_VALUE: u64 = 200_000;

/// Every third transaction spends two coins, the others one.
const TWO_INPUTS_EVERY: u64 = 3;

/// One input of so many spends an output of its own block.
const SAME_BLOCK_ONE_IN: u64 = 8;

/// An output that a transaction may spend.
#[derive(Debug, Clone)]
pub(super) struct Spendable {
    pub(super) outpoint: OutPoint,
    pub(super) output: TxOut,
    /// The wallet's key that may spend it.
    pub(super) key: usize,
}

/// A transaction without signatures, and what it spends, by input.
#[derive(Debug)]
pub(super) struct PlannedTransaction {
    pub(super) unsigned: Transaction,
    pub(super) spent: Vec<Spendable>,
}

/// What a block will hold.
#[derive(Debug)]
pub(super) struct PlannedBlock {
    pub(super) height: u32,
    pub(super) transactions: Vec<PlannedTransaction>,
    /// What its transactions pay the miner, in base units.
    pub(super) fees: u64,
    /// The wallet's key that the coinbase pays.
    pub(super) miner_key: usize,
}

/// The coins of one chain while it is being planned.
#[derive(Debug)]
pub(super) struct CoinFlow {
    random: Random,
    maturity: u32,
    spendable: Vec<Spendable>,
    /// Coinbases by height, lowest first, that are not spendable yet.
    maturing: VecDeque<(u32, Spendable)>,
    transactions: u64,
}

impl CoinFlow {
    pub(super) fn new(random: Random, maturity: u32) -> Self {
        Self {
            random,
            maturity,
            spendable: Vec::new(),
            maturing: VecDeque::new(),
            transactions: 0,
        }
    }

    /// Takes the coinbase of the block at `height`, which follows the one taken last.
    pub(super) fn mined(&mut self, height: u32, coinbase: Spendable) {
        self.maturing.push_back((height, coinbase));
    }

    /// Plans the block at `height` with `count` transactions, or fewer where the coins do not suffice.
    pub(super) fn plan(&mut self, height: u32, count: u32, wallet: &Wallet) -> PlannedBlock {
        while let Some((_, coin)) = self
            .maturing
            .pop_front_if(|(mined, _)| height.saturating_sub(*mined) >= self.maturity)
        {
            self.spendable.push(coin);
        }
        let mut block = PlannedBlock {
            height,
            transactions: Vec::new(),
            fees: 0,
            miner_key: self.random.index(wallet.len()),
        };
        // Outputs of this block: spent by some of its transactions, by others later.
        let mut fresh = Vec::new();
        for _ in 0..count {
            let Some((transaction, fee)) = self.pay(&mut fresh, wallet) else {
                break;
            };
            block.fees += fee;
            block.transactions.push(transaction);
        }
        self.spendable.append(&mut fresh);
        block
    }

    /// One transaction to two of the wallet's keys, and its fee.
    fn pay(
        &mut self,
        fresh: &mut Vec<Spendable>,
        wallet: &Wallet,
    ) -> Option<(PlannedTransaction, u64)> {
        let inputs = if self.transactions % TWO_INPUTS_EVERY == TWO_INPUTS_EVERY - 1 {
            2
        } else {
            1
        };
        let spent: Vec<Spendable> = (0..inputs).map_while(|_| self.draw(fresh)).collect();
        if spent.is_empty() {
            return None;
        }
        self.transactions += 1;
        let fee = FEE_PER_INPUT * spent.len() as u64;
        let value: u64 = spent.iter().map(|coin| coin.output.value.to_sat()).sum();
        // Each coin is worth more than its fee.
        let left = value - fee;
        // From a quarter to three quarters.
        let first = left / 4 + self.random.below(left / 2);
        let keys = [(); 2].map(|()| self.random.index(wallet.len()));
        let outputs: Vec<TxOut> = [first, left - first]
            .into_iter()
            .zip(keys)
            .map(|(value, key)| TxOut {
                value: Amount::from_sat(value),
                script_pubkey: wallet.script(key),
            })
            .collect();
        let unsigned = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: spent.iter().map(unsigned_input).collect(),
            output: outputs.clone(),
        };
        let txid = unsigned.compute_txid();
        for ((vout, output), key) in (0..).zip(outputs).zip(keys) {
            if output.value.to_sat() >= LEAST_VALUE {
                fresh.push(Spendable {
                    outpoint: OutPoint { txid, vout },
                    output,
                    key,
                });
            }
        }
        Some((PlannedTransaction { unsigned, spent }, fee))
    }

    /// Takes a random coin: mostly an older one, at times one of this block.
    fn draw(&mut self, fresh: &mut Vec<Spendable>) -> Option<Spendable> {
        let same_block = self.random.below(SAME_BLOCK_ONE_IN) == 0;
        let from = if (same_block && !fresh.is_empty()) || self.spendable.is_empty() {
            fresh
        } else {
            &mut self.spendable
        };
        let index = self.random.index(from.len());
        (index < from.len()).then(|| from.swap_remove(index))
    }
}

fn unsigned_input(coin: &Spendable) -> TxIn {
    TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}
