//! Compact blocks, twice. A true block of any transactions, some of which wait in the pool: it must come together
//! as it was. And any bytes as a compact block, answered with any transactions: nothing panics, and what comes out has
//! as many transactions as were announced.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::bip152::HeaderAndShortIds;
use bitcoin::consensus::encode::{Decodable, deserialize, deserialize_partial};
use bitcoin::{Block, Transaction};
use libfuzzer_sys::fuzz_target;
use quantumcoin::network::protocol::compact_blocks::{
    CompactError, MAX_PREFILLED_BYTES, PartialBlock, VERSION,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((mask, rest)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let mask = u64::from_le_bytes(*mask);
    if let Ok(block) = deserialize::<Block>(rest) {
        true_block(&block, mask);
    }
    if let Ok((compact, read)) = deserialize_partial::<HeaderAndShortIds>(rest) {
        any_compact(compact, rest.get(read..).unwrap_or_default());
    }
});

/// The transactions whose bit is set are in the pool; the others are missing.
fn true_block(block: &Block, mask: u64) {
    let Ok(compact) = HeaderAndShortIds::from_block(block, mask, VERSION as u32, &[]) else {
        return;
    };
    let count = block.txdata.len();
    let bit = |place: usize| mask >> (place % 64) & 1 == 1;
    let names: HashSet<_> = block
        .txdata
        .iter()
        .map(Transaction::compute_wtxid)
        .collect();
    let pool: Vec<_> = block
        .txdata
        .iter()
        .enumerate()
        .filter(|(place, _)| bit(*place))
        .map(|(_, tx)| (tx.compute_wtxid(), Arc::new(tx.clone())))
        .collect();
    let pairs = pool.iter().map(|(name, tx)| (*name, tx));
    let partial = match PartialBlock::new(compact, pairs) {
        Ok(partial) => partial,
        Err(CompactError::Prefilled { bytes }) => {
            assert!(bytes > MAX_PREFILLED_BYTES);
            return;
        }
        // The coinbase came along, so that it may be the same as another.
        Err(error) => {
            assert!(count == 0 || names.len() < count, "{error}");
            return;
        }
    };
    assert_eq!(partial.hash(), block.block_hash());
    let missing: Vec<Transaction> = partial
        .missing()
        .into_iter()
        .map(|place| block.txdata[place as usize].clone())
        .collect();
    assert_eq!(&partial.complete(missing).expect("all are there"), block);
}

/// The answer is what can be read of the rest.
fn any_compact(compact: HeaderAndShortIds, mut rest: &[u8]) {
    let count = compact.short_ids.len() + compact.prefilled_txs.len();
    let mut answer = Vec::new();
    while let Ok(tx) = Transaction::consensus_decode(&mut rest) {
        answer.push(tx);
    }
    // Those that come along are in the pool as well.
    let known: Vec<_> = compact
        .prefilled_txs
        .iter()
        .map(|prefilled| (prefilled.tx.compute_wtxid(), Arc::new(prefilled.tx.clone())))
        .collect();
    let pool = || known.iter().map(|(name, tx)| (*name, tx));
    let Ok(partial) = PartialBlock::new(compact, pool()) else {
        return;
    };
    let missing = partial.missing();
    assert!(missing.is_sorted_by(|a, b| a < b));
    assert!(missing.last().is_none_or(|last| (*last as usize) < count));
    let found = answer.len();
    match partial.complete(answer) {
        Ok(block) => {
            assert_eq!(found, missing.len());
            assert_eq!(block.txdata.len(), count);
        }
        Err(error) => {
            let wanted = missing.len();
            assert_eq!(error, CompactError::Missing { found, wanted });
            assert_ne!(found, wanted);
        }
    }
}
