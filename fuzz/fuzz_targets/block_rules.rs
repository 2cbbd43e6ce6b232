//! Any bytes as a block, and as a transaction, through every rule that needs no other block: nothing panics,
//! and the judgement is the same each time.
#![no_main]

use std::sync::LazyLock;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Block, Transaction};
use libfuzzer_sys::fuzz_target;
use quantumcoin::chain::consensus::{
    Coin, Rules, check_block, check_block_at, check_payout, check_signatures, check_spends,
    check_transaction, is_final,
};
use quantumcoin::chain::policy::check_standard;
use quantumcoin::chain_spec::ChainSpec;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&ChainSpec::devnet()));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = deserialize::<Block>(bytes) {
        assert_eq!(serialize(&block).len(), bytes.len());
        let height = block.header.time;
        let _ = check_block(&RULES, &block);
        let _ = check_block_at(&block, height);
        let _ = check_payout(&RULES, &block, height, u64::from(height));
        for tx in &block.txdata {
            judge(tx, height);
        }
    }
    if let Ok(tx) = deserialize::<Transaction>(bytes) {
        assert_eq!(serialize(&tx).len(), bytes.len());
        judge(&tx, tx.lock_time.to_consensus_u32());
    }
});

fn judge(tx: &Transaction, height: u32) {
    let _ = check_transaction(&RULES, tx);
    let _ = is_final(tx, height, height);
    // Its own outputs serve as what it spends, so that scripts and values are the fuzzer's.
    let coins: Vec<Coin> = tx
        .output
        .iter()
        .cycle()
        .take(tx.input.len().min(1_000))
        .map(|output| Coin {
            output: output.clone(),
            height: height / 2,
            coinbase: height.is_multiple_of(2),
        })
        .collect();
    if let Ok(fee) = check_spends(&RULES, tx, &coins, height) {
        let _ = check_standard(tx, &coins, fee);
    }
    let signed = check_signatures(&RULES, tx, &coins);
    assert_eq!(signed, check_signatures(&RULES, tx, &coins));
}
