//! Eviction, the floor and expiry.

use super::*;

/// What one payment counts.
const COUNTED: usize = PAYMENT + 2_100;
const DAY: u64 = 24 * 60 * 60;

fn small(payments: usize) -> Bench {
    Bench::with(Limits {
        max_memory: payments * COUNTED,
        ..Limits::default()
    })
}

#[test]
fn a_full_pool_keeps_what_pays_most() {
    let mut bench = small(3);
    let txs: Vec<Transaction> = [30_000, 10_000, 20_000]
        .into_iter()
        .map(|fee| bench.payment(fee))
        .collect();
    for tx in &txs {
        assert!(bench.accept(tx).unwrap().evicted.is_empty());
    }
    assert_eq!(bench.pool.memory(), 3 * COUNTED);
    // As much as the worst is not more. Nothing has changed.
    let same = bench.payment(10_000);
    let error = bench.accept(&same).err().unwrap();
    assert_eq!(error, MempoolError::Full);
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Wtxid)
    );
    assert_eq!(bench.pool.min_fee_rate(NOW), 1_000);
    let better = bench.payment(10_001);
    assert_eq!(
        bench.accept(&better).unwrap().evicted,
        [txs[1].compute_txid()]
    );
    assert!(bench.pool.is_verified(&txs[1].compute_wtxid()));
    assert_eq!(bench.pool.len(), 3);
}

#[test]
fn no_signature_is_checked_for_what_would_go_at_once() {
    let mut bench = small(1);
    let tx = bench.payment(20_000);
    bench.accept(&tx).unwrap();
    let mut unsigned = bench.payment(20_000);
    unsigned.input[0].witness = tx.input[0].witness.clone();
    assert_eq!(bench.accept(&unsigned), Err(MempoolError::Full));
}

#[test]
fn the_floor_rises_with_evictions_and_falls_after_a_block() {
    let mut bench = small(1);
    let tx = bench.payment(PAYMENT as u64 * 7);
    bench.accept(&tx).unwrap();
    let better = bench.payment(PAYMENT as u64 * 10);
    bench.accept(&better).unwrap();
    assert_eq!(bench.pool.min_fee_rate(NOW), 8_000);
    // Room alone is not enough to come in below the floor.
    bench.connect(&[better]);
    let low = bench.payment(PAYMENT as u64 * 8 - 1);
    let error = bench.accept(&low).err().unwrap();
    assert_eq!(
        error,
        MempoolError::BelowFloor {
            fee: PAYMENT as u64 * 8 - 1,
            required: PAYMENT as u64 * 8
        }
    );
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Wtxid)
    );
    bench.context.now += DAY / 2;
    assert_eq!(bench.pool.min_fee_rate(bench.context.now), 4_000);
    bench.accept(&low).unwrap();
}

#[test]
fn packages_are_evicted_whole_and_judged_as_a_whole() {
    // A cheap parent with a child that pays for both stays; a lone one that pays between them goes.
    let mut bench = small(3);
    let parent = bench.payment(4_000);
    let child = bench.pay(&[out(&parent, 0)], 1, 60_000);
    let alone = bench.payment(20_000);
    for tx in [&parent, &child, &alone] {
        bench.accept(tx).unwrap();
    }
    let tx = bench.payment(25_000);
    assert_eq!(bench.accept(&tx).unwrap().evicted, [alone.compute_txid()]);
    // Now the package is the worst: parent and child go together, and the floor is above their rate.
    let dear = bench.payment(90_000);
    assert_eq!(bench.accept(&dear).unwrap().evicted, [tx.compute_txid()]);
    let dearer = bench.payment(90_000);
    assert_eq!(
        bench.accept(&dearer).unwrap().evicted,
        [parent.compute_txid(), child.compute_txid()]
    );
    let package = FeeRate::new(64_000, 2 * PAYMENT).per_kb();
    assert_eq!(bench.pool.min_fee_rate(NOW), package + 1_000);
    assert_eq!(bench.pool.len(), 2);
}

#[test]
fn a_dear_parent_stays_when_its_cheap_child_goes() {
    let mut bench = small(2);
    let parent = bench.payment(50_000);
    let child = bench.pay(&[out(&parent, 0)], 1, 4_000);
    bench.accept(&parent).unwrap();
    bench.accept(&child).unwrap();
    let tx = bench.payment(30_000);
    assert_eq!(bench.accept(&tx).unwrap().evicted, [child.compute_txid()]);
    assert!(bench.holds(&parent));
}

#[test]
fn a_replacement_in_a_full_pool_takes_the_place_of_what_it_replaces() {
    let mut bench = small(2);
    let other = bench.payment(90_000);
    let coin = bench.fund(1_000_000);
    let old = bench.pay(&[coin], 1, 10_000);
    bench.accept(&other).unwrap();
    bench.accept(&old).unwrap();
    let new = bench.pay(&[coin], 1, 20_000);
    let accepted = bench.accept(&new).unwrap();
    assert_eq!(accepted.replaced, [old.compute_txid()]);
    assert!(accepted.evicted.is_empty());
}

#[test]
fn what_is_larger_than_the_pool_is_refused() {
    let mut bench = Bench::with(Limits {
        max_memory: COUNTED - 1,
        ..Limits::default()
    });
    let tx = bench.payment(10_000);
    assert_eq!(bench.accept(&tx), Err(MempoolError::Full));
    assert!(bench.pool.is_empty());
}

#[test]
fn transactions_expire_after_14_days() {
    let mut bench = Bench::new();
    let old = bench.payment(10_000);
    bench.accept(&old).unwrap();
    bench.context.now += DAY;
    let child = bench.pay(&[out(&old, 0)], 1, 10_000);
    let young = bench.payment(10_000);
    bench.accept(&child).unwrap();
    bench.accept(&young).unwrap();
    assert!(bench.pool.expire(NOW + 14 * DAY).is_empty());
    // With its descendants.
    assert_eq!(
        bench.pool.expire(NOW + 14 * DAY + 1),
        [old.compute_txid(), child.compute_txid()]
    );
    bench.check();
    assert!(bench.holds(&young));
    bench.context.now = NOW + 16 * DAY;
    bench.connect(&[]);
    assert!(bench.pool.is_empty());
}
