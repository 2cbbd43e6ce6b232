//! Side chains that take over, with transactions, with and without files.

use std::path::Path;
use std::sync::Arc;

use bitcoin::Block;

use super::spending::{block_at, mature};
use super::wallet::{Wallet, add, seal};
use super::{NOW, devnet, feed};
use crate::chain::store::Limits;
use crate::chain::{BlockError, Blockchain};
use crate::chain_spec::ChainSpec;

/// Flushes all the time, so that coins are met in the database too.
pub(super) fn open(dir: &Path) -> Blockchain {
    let limits = Limits {
        roll_bytes: 100_000,
        flush_changes: 7,
        flush_bytes: u64::MAX,
    };
    Blockchain::open_with(Arc::new(ChainSpec::devnet()), dir, limits).unwrap()
}

/// A common start of 105 blocks, and branches of these lengths that spend the same coins differently.
pub(super) struct Forest {
    pub(super) base: Vec<Block>,
    pub(super) branches: Vec<(Blockchain, Vec<Block>)>,
}

pub(super) fn forest(lengths: &[usize]) -> Forest {
    let (source, wallet) = mature();
    let base: Vec<Block> = (1..=105).map(|height| block_at(&source, height)).collect();
    let branches = lengths
        .iter()
        .enumerate()
        .map(|(number, length)| {
            let chain = devnet();
            feed(&chain, &base);
            let mut spender = Wallet::new(1);
            for block in &base {
                spender.own(&block.txdata[0]);
            }
            let mut blocks = Vec::new();
            for step in 0..*length {
                // The same oldest coins in each branch, with another fee.
                let fee = 1_000 * (number as u64 + 1);
                let inputs = 1 + (step + number) % 2;
                let tx = spender.transaction(&chain, inputs, fee);
                let block = spender.block(&chain, vec![tx.clone()], fee);
                add(&chain, &block).unwrap();
                spender.own(&tx);
                blocks.push(block);
            }
            (chain, blocks)
        })
        .collect();
    drop(wallet);
    Forest { base, branches }
}

/// Gives the branches' headers, then their blocks in turns.
fn feed_in_turns(chain: &Blockchain, forest: &Forest) {
    for (_, blocks) in &forest.branches {
        let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
        chain.accept_headers(&headers, NOW).unwrap();
    }
    let longest = forest.branches.iter().map(|(_, b)| b.len()).max().unwrap();
    for step in 0..longest {
        for (_, blocks) in &forest.branches {
            if let Some(block) = blocks.get(step) {
                chain.connect_block(block).unwrap();
            }
        }
    }
}

#[test]
fn coins_are_those_of_the_winner() {
    for lengths in [[3, 5, 4], [6, 1, 2], [2, 2, 3]] {
        let forest = forest(&lengths);
        let chain = devnet();
        feed(&chain, &forest.base);
        feed_in_turns(&chain, &forest);
        let longest = *lengths.iter().max().unwrap();
        let (winner, _) = forest
            .branches
            .iter()
            .find(|(_, blocks)| blocks.len() == longest)
            .unwrap();
        assert_eq!(chain.tip(), winner.tip());
        assert!(chain.coins() == winner.coins(), "{lengths:?}");
    }
}

#[test]
fn files_follow_and_open_again() {
    let forest = forest(&[3, 6, 4]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    feed_in_turns(&chain, &forest);
    let (winner, blocks) = &forest.branches[1];
    assert_eq!(chain.tip(), winner.tip());
    assert!(chain.coins() == winner.coins());
    let report = chain.check_files(true, |_| ()).unwrap();
    assert_eq!(report.coins, winner.coins().len() as u64);
    assert!(
        report.blocks > u64::from(report.tip.height),
        "side chains are read too"
    );
    drop(chain);
    let chain = open(dir.path());
    assert_eq!(chain.tip(), winner.tip());
    assert!(chain.coins() == winner.coins());
    assert_eq!(chain.block_at(106), Some(blocks[0].block_hash()));
    assert_eq!(chain.check_files(true, |_| ()).unwrap(), report);
}

#[test]
fn a_heavier_chain_with_a_bad_block_is_left_again_for_ever() {
    let mut forest = forest(&[4, 7]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    let (left, right) = forest.branches.split_at_mut(1);
    let (honest, blocks) = &left[0];
    feed(&chain, blocks);
    let coins = chain.coins();
    // The fifth block of the other branch has a bad signature: nobody sees it before its turn comes.
    let (_, bad) = &mut right[0];
    let mut items = bad[2].txdata[1].input[0].witness.to_vec();
    items[0][50] ^= 4;
    bad[2].txdata[1].input[0].witness = bitcoin::Witness::from_slice(&items);
    for index in 2..bad.len() {
        bad[index].header.prev_blockhash = bad[index - 1].block_hash();
        seal(&mut bad[index]);
    }
    let headers: Vec<_> = bad.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
    assert_eq!(chain.best_header().hash, bad[6].block_hash());
    for block in &bad[..4] {
        chain.connect_block(block).unwrap();
        assert_eq!(chain.tip(), honest.tip());
    }
    let error = chain.connect_block(&bad[4]).unwrap_err();
    assert!(matches!(error, BlockError::KnownInvalid { .. }), "{error}");
    let sound = |chain: &Blockchain| {
        assert_eq!(
            (chain.tip(), chain.best_header()),
            (honest.tip(), honest.tip())
        );
        assert!(chain.coins() == coins);
        assert!(matches!(
            chain.connect_block(&bad[5]),
            Err(BlockError::KnownInvalid { .. })
        ));
        chain.check_files(true, |_| ()).unwrap();
    };
    sound(&chain);
    drop(chain);
    sound(&open(dir.path()));
}

#[test]
fn the_valid_part_of_a_heavier_chain_is_kept() {
    let mut forest = forest(&[2, 6]);
    let chain = devnet();
    feed(&chain, &forest.base);
    feed(&chain, &forest.branches[0].1);
    let (_, blocks) = &mut forest.branches[1];
    // Its last block pays too much.
    let payout = &mut blocks[5].txdata[0].output[0].value;
    *payout += bitcoin::Amount::from_sat(1);
    seal(&mut blocks[5]);
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
    let results = chain.connect_blocks(blocks);
    assert!(results[..5].iter().all(Result::is_ok));
    assert!(matches!(results[5], Err(BlockError::Subsidy { .. })));
    assert_eq!(chain.tip().hash, blocks[4].block_hash());
    assert_eq!(chain.best_header(), chain.tip());
}

#[test]
fn a_chain_comes_back_from_an_export() {
    let forest = forest(&[6]);
    let (source, _) = &forest.branches[0];
    let mut file = Vec::new();
    let last = source.export(&mut file, |_| ()).unwrap();
    assert_eq!(last, source.tip());
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let mut heights = Vec::new();
    let tip = chain
        .import(&mut file.as_slice(), NOW, |height| heights.push(height))
        .unwrap();
    assert_eq!((tip, heights.last()), (source.tip(), Some(&111)));
    assert!(chain.coins() == source.coins());
    // Once more changes nothing; cut off, changed or foreign files are refused with the place.
    chain.import(&mut file.as_slice(), NOW, |_| ()).unwrap();
    let cut = &file[..file.len() - 1];
    let error = devnet().import(&mut &*cut, NOW, |_| ()).unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
    let mut foreign = file.clone();
    foreign[0] ^= 1;
    let error = devnet()
        .import(&mut foreign.as_slice(), NOW, |_| ())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("byte 0: no block of this network"),
        "{error}"
    );
    let mut flipped = file.clone();
    let late = flipped.len() - 100;
    flipped[late] ^= 1;
    assert!(
        devnet()
            .import(&mut flipped.as_slice(), NOW, |_| ())
            .is_err()
    );
}
