//! The integrity check: every byte of the files read, and the coins compared with what the blocks leave.

use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{Block, OutPoint};
use ruint::aliases::U256;

use super::Blockchain;
use super::writer::Writer;
use crate::chain::coins::{created, encode_coin, encode_outpoint};
use crate::chain::consensus::{Coin, check_block, check_block_at, check_signatures};
use crate::chain::tree::Location;
use crate::chain::{BlockError, BlockRef, StoreError};

/// What [`Blockchain::check_files`] read and found in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckReport {
    /// The tip up to which the chain was checked.
    pub tip: BlockRef,
    /// Blocks read, those of side chains included.
    pub blocks: u64,
    /// Serialized bytes of these.
    pub bytes: u64,
    /// Signatures checked.
    pub signatures: u64,
    /// Unspent outputs.
    pub coins: u64,
    /// What these are worth, base units.
    pub supply: u64,
}

impl Blockchain {
    /// Flushes, then reads everything that is on disk and checks that it fits together: every block and its
    /// undo data, with its rules, and the coins against what the blocks created and spent. With
    /// `signatures`, these are checked again too. `progress` is given the blocks read so far.
    ///
    /// Memory does not grow with the chain: coins are compared by a sum of hashes, to which each created
    /// coin adds and from which each spent coin takes away.
    ///
    /// # Errors
    /// The first damage found, or what the disk refuses.
    pub fn check_files(
        &self,
        signatures: bool,
        mut progress: impl FnMut(u64),
    ) -> Result<CheckReport, StoreError> {
        let mut writer = self.lock_writer();
        self.flush_writer(&mut writer)?;
        let tip = self.connected();
        let mut report = CheckReport {
            tip,
            blocks: 0,
            bytes: 0,
            signatures: 0,
            coins: 0,
            supply: 0,
        };
        let (Some(reader), Some(files)) = (&self.reader, writer.files()) else {
            return Ok(report);
        };
        let mut expected = CoinSum::default();
        let mut connected = 0;
        reader.all_blocks(files.blocks_end(), |location, bytes| {
            let damaged = |what: String| reader.damaged_block(location, what);
            let block: Block =
                deserialize(bytes).map_err(|error| damaged(format!("no block: {error}")))?;
            check_block(&self.rules, &block).map_err(|error| damaged(error.to_string()))?;
            report.blocks += 1;
            report.bytes += bytes.len() as u64;
            if let Some(height) = self.verified_at(&block, location) {
                connected += 1;
                check_block_at(&block, height).map_err(|error| damaged(error.to_string()))?;
                let undo = self.undo_of(&writer, &block, height)?;
                if signatures {
                    report.signatures += check_inputs(self, &block, &undo)
                        .map_err(|error| damaged(error.to_string()))?;
                }
                expected.apply(&block, height, &undo);
            }
            progress(report.blocks);
            Ok(())
        })?;
        if connected != u64::from(tip.height) {
            let what = format!("{connected} of {} connected blocks are there", tip.height);
            return Err(files.inconsistent(what));
        }
        let mut found = CoinSum::default();
        files.database().coins(|key, value, coin| {
            found.add(key, value);
            report.coins += 1;
            report.supply = report.supply.saturating_add(coin.output.value.to_sat());
        })?;
        if found != expected {
            let what = "the coins are not those that the blocks leave unspent";
            return Err(files.inconsistent(what.into()));
        }
        Ok(report)
    }

    /// The block's height, if this copy of it is on the verified chain.
    fn verified_at(&self, block: &Block, location: Location) -> Option<u32> {
        let state = self.read();
        let id = state.tree.find(&block.block_hash())?;
        let here = state.is_verified(id) && state.tree.location(id) == Some(location);
        here.then(|| state.tree.height(id))
    }

    fn undo_of(
        &self,
        writer: &Writer,
        block: &Block,
        height: u32,
    ) -> Result<Vec<Vec<Coin>>, StoreError> {
        let hash = block.block_hash();
        match writer.undo_at(height) {
            Some(place) => Ok(self.read_undo(place, &hash)?.spent),
            None => Ok(Vec::new()),
        }
    }
}

/// Checks a block's signatures against the coins that it spent; gives how many there are.
fn check_inputs(chain: &Blockchain, block: &Block, spent: &[Vec<Coin>]) -> Result<u64, BlockError> {
    let mut count = 0;
    for ((index, tx), coins) in block.txdata.iter().enumerate().skip(1).zip(spent) {
        check_signatures(&chain.rules, tx, coins)
            .map_err(|error| BlockError::transaction(index, tx, error))?;
        count += tx.input.len() as u64;
    }
    Ok(count)
}

/// The sum of the hashes of a set of coins, in any order.
#[derive(Debug, Default, PartialEq, Eq)]
struct CoinSum(U256);

impl CoinSum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(hash(key, value));
    }

    fn apply(&mut self, block: &Block, height: u32, spent: &[Vec<Coin>]) {
        for (index, tx) in block.txdata.iter().enumerate() {
            for (outpoint, coin) in created(tx, tx.compute_txid(), height, index == 0) {
                self.0 = self.0.wrapping_add(hash_of(&outpoint, &coin));
            }
        }
        for (tx, coins) in block.txdata.iter().skip(1).zip(spent) {
            for (input, coin) in tx.input.iter().zip(coins) {
                self.0 = self.0.wrapping_sub(hash_of(&input.previous_output, coin));
            }
        }
    }
}

fn hash_of(outpoint: &OutPoint, coin: &Coin) -> U256 {
    hash(&encode_outpoint(outpoint), &encode_coin(coin))
}

fn hash(key: &[u8], value: &[u8]) -> U256 {
    let mut engine = sha256::Hash::engine();
    engine.input(key);
    engine.input(value);
    U256::from_le_bytes(sha256::Hash::from_engine(engine).to_byte_array())
}
