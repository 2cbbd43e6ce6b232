//! Side chains that are verified on trial, because much of them is kept and nobody knows what it is worth.

use std::path::Path;
use std::sync::Arc;

use bitcoin::Block;

use super::reorganise::{forest, spoil_signature};
use super::{NOW, feed};
use crate::chain::store::Limits;
use crate::chain::{BlockError, Blockchain};
use crate::chain_spec::ChainSpec;

/// Verifies a side chain on trial when it has so many bytes: about three blocks of those here.
const ASIDE_BYTES: u64 = 14_000;

fn open(dir: &Path) -> Blockchain {
    let limits = Limits {
        // Flushes all the time, within trials too.
        flush_changes: 3,
        aside_bytes: ASIDE_BYTES,
        ..Limits::default()
    };
    Blockchain::open_with(Arc::new(ChainSpec::devnet()), dir, limits).unwrap()
}

fn tell(chain: &Blockchain, blocks: &[Block]) {
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
}

fn bytes(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.total_size() as u64).sum()
}

/// The tip, its coins and the files are those of `honest`.
fn stands(chain: &Blockchain, honest: &Blockchain) {
    assert_eq!(chain.tip(), honest.tip());
    assert!(chain.coins() == honest.coins());
    chain.check_files(true, |_| ()).unwrap();
}

#[test]
fn a_bad_side_chain_is_found_out_before_all_of_it_is_kept() {
    let mut forest = forest(&[7, 9]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    let (left, right) = forest.branches.split_at_mut(1);
    let (honest, blocks) = &left[0];
    feed(&chain, blocks);
    let bad = &mut right[0].1;
    spoil_signature(bad, 1);
    tell(&chain, bad);
    let refused = bad
        .iter()
        .position(|block| chain.connect_block(block).is_err())
        .unwrap();
    // The block that is one too many, and none before.
    assert!(bytes(&bad[..refused]) < ASIDE_BYTES && bytes(&bad[..=refused]) + 200 > ASIDE_BYTES);
    assert!(refused < blocks.len() - 1, "not by its work");
    let after = chain.connect_block(&bad[refused + 1]).unwrap_err();
    assert!(matches!(after, BlockError::KnownInvalid { .. }), "{after}");
    assert_eq!(chain.best_header(), honest.tip());
    stands(&chain, honest);
    drop(chain);
    stands(&open(dir.path()), honest);
}

#[test]
fn a_good_side_chain_passes_its_trials_and_takes_over_when_its_turn_comes() {
    let forest = forest(&[8, 9]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    let (honest, blocks) = &forest.branches[0];
    feed(&chain, blocks);
    let (winner, better) = &forest.branches[1];
    assert!(bytes(better) > 3 * ASIDE_BYTES, "{}", bytes(better));
    tell(&chain, better);
    let told = chain.subscribe();
    for block in &better[..7] {
        chain.connect_block(block).unwrap();
        assert_eq!(chain.tip(), honest.tip());
    }
    // As much work as the tip has: whoever was first stays, whether there was a trial or not.
    chain.connect_block(&better[7]).unwrap();
    assert!(!told.has_changed().unwrap(), "nobody hears of a trial");
    stands(&chain, honest);
    chain.connect_block(&better[8]).unwrap();
    stands(&chain, winner);
    drop(chain);
    stands(&open(dir.path()), winner);
}

#[test]
fn a_chain_of_equal_work_is_tried_and_left_again() {
    for length in 3..6 {
        let forest = forest(&[length, length]);
        let dir = tempfile::tempdir().unwrap();
        let chain = open(dir.path());
        feed(&chain, &forest.base);
        let (honest, blocks) = &forest.branches[0];
        feed(&chain, blocks);
        let (_, other) = &forest.branches[1];
        tell(&chain, other);
        for block in other {
            chain.connect_block(block).unwrap();
            assert_eq!(chain.tip(), honest.tip());
        }
        stands(&chain, honest);
    }
}

/// What the good chain costs is not to be paid by those who wait beside it.
#[test]
fn the_largest_is_tried_and_not_the_one_that_grows() {
    let mut forest = forest(&[7, 8, 8]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    feed(&chain, &forest.branches[0].1);
    spoil_signature(&mut forest.branches[1].1, 1);
    let (bad, good) = (&forest.branches[1].1, &forest.branches[2].1);
    tell(&chain, bad);
    tell(&chain, good);
    let mut kept = 0;
    while kept < bad.len() && bytes(&bad[..=kept]) + 200 < ASIDE_BYTES {
        chain.connect_block(&bad[kept]).unwrap();
        kept += 1;
    }
    assert!(kept >= 2);
    // This one is one too many, and is none the worse for it.
    chain.connect_block(&good[0]).unwrap();
    assert!(chain.has_block(&good[0].block_hash()));
    let error = chain.connect_block(&bad[kept]).unwrap_err();
    assert!(matches!(error, BlockError::KnownInvalid { .. }), "{error}");
    for block in &good[1..] {
        chain.connect_block(block).unwrap();
    }
    stands(&chain, &forest.branches[2].0);
}

#[test]
fn a_disk_that_fails_in_a_trial_stops_the_chain_and_loses_nothing() {
    let forest = forest(&[8, 9]);
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    feed(&chain, &forest.base);
    let (honest, blocks) = &forest.branches[0];
    feed(&chain, blocks);
    let (_, other) = &forest.branches[1];
    tell(&chain, other);
    // Spent by the last block before the trial in that chain, and not in ours yet.
    let spent = other[2].txdata[1].input[0].previous_output;
    chain.connect_block(&other[0]).unwrap();
    chain.fail_lookups_of(spent, false);
    let results: Vec<_> = other[1..5]
        .iter()
        .map(|block| chain.connect_block(block))
        .collect();
    let stopped = results
        .iter()
        .any(|result| matches!(result, Err(BlockError::Store(_))));
    assert!(stopped, "{results:?}");
    assert_eq!(chain.tip(), honest.tip());
    drop(chain);
    stands(&open(dir.path()), honest);
}
