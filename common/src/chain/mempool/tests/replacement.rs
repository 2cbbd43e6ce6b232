//! Taking the place of others: each rule at its edge.

use super::*;

const FEE: u64 = 20_000;

#[test]
fn pays_for_what_goes_and_for_itself() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let old = bench.pay(&[coin], 1, FEE);
    bench.accept(&old).unwrap();
    let required = FEE + PAYMENT as u64;
    let low = bench.pay(&[coin], 1, required - 1);
    let error = bench.accept(&low).err().unwrap();
    assert_eq!(
        error,
        MempoolError::ReplacementFee {
            fee: required - 1,
            required
        }
    );
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Wtxid)
    );
    assert!(bench.holds(&old));
    let new = bench.pay(&[coin], 1, required);
    let accepted = bench.accept(&new).unwrap();
    assert_eq!(accepted.replaced, [old.compute_txid()]);
    assert!(!bench.holds(&old) && bench.holds(&new));
    // What was replaced may yet be in a block.
    assert!(bench.pool.is_verified(&old.compute_wtxid()));
}

#[test]
fn descendants_go_too_and_are_paid_for() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let old = bench.pay(&[coin], 1, FEE);
    let child = bench.pay(&[out(&old, 0)], 1, 2 * FEE);
    let grandchild = bench.pay(&[out(&child, 0)], 1, 3 * FEE);
    for tx in [&old, &child, &grandchild] {
        bench.accept(tx).unwrap();
    }
    let required = 6 * FEE + PAYMENT as u64;
    let low = bench.pay(&[coin], 1, required - 1);
    assert_eq!(
        bench.accept(&low),
        Err(MempoolError::ReplacementFee {
            fee: required - 1,
            required
        })
    );
    let new = bench.pay(&[coin], 1, required);
    let gone = bench.accept(&new).unwrap().replaced;
    assert_eq!(
        gone,
        [
            old.compute_txid(),
            child.compute_txid(),
            grandchild.compute_txid()
        ]
    );
    assert_eq!(bench.pool.len(), 1);
}

#[test]
fn its_rate_is_higher_than_that_of_each_conflict() {
    let mut bench = Bench::new();
    let (a, b) = (bench.fund(10_000_000), bench.fund(10_000_000));
    // Five base units a byte.
    let old = bench.pay(&[a], 1, 5 * PAYMENT as u64);
    bench.accept(&old).unwrap();
    // Larger, so that it pays for both at the same rate. Sizes do not depend on fees.
    let same_rate = 5 * bench.pay(&[a, b], 1, 0).total_size() as u64;
    for fee in [same_rate - 1, same_rate] {
        let new = bench.pay(&[a, b], 1, fee);
        assert_eq!(
            bench.accept(&new),
            Err(MempoolError::ReplacementRate {
                replaced: old.compute_txid()
            })
        );
    }
    let new = bench.pay(&[a, b], 1, same_rate + 1);
    bench.accept(&new).unwrap();
}

#[test]
fn adds_no_parent_that_waits_itself() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let waiting = bench.payment(FEE);
    let old = bench.pay(&[coin], 1, FEE);
    bench.accept(&waiting).unwrap();
    bench.accept(&old).unwrap();
    let new = bench.pay(&[coin, out(&waiting, 0)], 1, 10 * FEE);
    assert_eq!(
        bench.accept(&new),
        Err(MempoolError::ReplacementInput {
            parent: waiting.compute_txid()
        })
    );
    bench.connect(&[waiting]);
    bench.accept(&new).unwrap();
}

#[test]
fn keeps_a_parent_of_what_it_replaces() {
    let mut bench = Bench::new();
    let parent = bench.payment(FEE);
    bench.accept(&parent).unwrap();
    let old = bench.pay(&[out(&parent, 0)], 1, FEE);
    bench.accept(&old).unwrap();
    let new = bench.pay(&[out(&parent, 0)], 1, 3 * FEE);
    bench.accept(&new).unwrap();
    assert!(bench.holds(&parent) && !bench.holds(&old));
}

#[test]
fn makes_room_in_a_full_family() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000_000);
    let parent = bench.pay(&[coin], 25, 30_000);
    bench.accept(&parent).unwrap();
    for vout in 0..24 {
        let child = bench.pay(&[out(&parent, vout)], 1, FEE);
        bench.accept(&child).unwrap();
    }
    let new = bench.pay(&[out(&parent, 0)], 1, 3 * FEE);
    bench.accept(&new).unwrap();
    let other = bench.pay(&[out(&parent, 24)], 1, 3 * FEE);
    assert!(matches!(
        bench.accept(&other),
        Err(MempoolError::TooManyDescendants { .. })
    ));
}

#[test]
fn at_most_a_hundred_go() {
    let mut bench = Bench::new();
    // Four families of 25, and one transaction.
    let mut coins = Vec::new();
    for _ in 0..4 {
        let coin = bench.fund(1_000_000_000);
        coins.push(coin);
        let parent = bench.pay(&[coin], 24, 10_000);
        bench.accept(&parent).unwrap();
        for vout in 0..24 {
            let child = bench.pay(&[out(&parent, vout)], 1, 4_000);
            bench.accept(&child).unwrap();
        }
    }
    let one = bench.fund(1_000_000_000);
    let tx = bench.pay(&[one], 1, 4_000);
    bench.accept(&tx).unwrap();
    let mut all = coins.clone();
    all.push(one);
    let fee = 10_000_000;
    let new = bench.pay(&all, 1, fee);
    assert_eq!(
        bench.accept(&new),
        Err(MempoolError::TooManyReplaced { limit: 100 })
    );
    let new = bench.pay(&coins, 1, fee);
    assert_eq!(bench.accept(&new).unwrap().replaced.len(), 100);
    assert_eq!(bench.pool.len(), 2);
}

#[test]
fn nobody_replaces_an_ancestor() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let old = bench.pay(&[coin], 1, FEE);
    let child = bench.pay(&[out(&old, 0)], 1, FEE);
    bench.accept(&old).unwrap();
    bench.accept(&child).unwrap();
    for parent in [&old, &child] {
        let new = bench.pay(&[coin, out(parent, 0)], 1, 20 * FEE);
        let error = bench.accept(&new).err().unwrap();
        assert_eq!(
            error,
            MempoolError::ConflictsWithAncestor {
                ancestor: old.compute_txid()
            }
        );
        assert_eq!(
            (error.is_peer_fault(), error.remember()),
            (true, Remember::Txid)
        );
    }
}

#[test]
fn a_bad_signature_replaces_nothing() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let old = bench.pay(&[coin], 1, FEE);
    bench.accept(&old).unwrap();
    let mut new = bench.pay(&[coin], 1, 5 * FEE);
    new.input[0].witness = old.input[0].witness.clone();
    assert!(bench.accept(&new).err().unwrap().is_peer_fault());
    assert!(bench.holds(&old));
}
