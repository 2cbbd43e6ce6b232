//! What goes into the next block.

use super::*;

fn txids(template: &Template) -> Vec<Txid> {
    template
        .transactions
        .iter()
        .map(|tx| tx.compute_txid())
        .collect()
}

#[test]
fn the_best_rates_come_first() {
    let mut bench = Bench::new();
    let txs: Vec<Transaction> = [10_000, 30_000, 20_000, 30_000]
        .into_iter()
        .map(|fee| bench.payment(fee))
        .collect();
    for tx in &txs {
        bench.accept(tx).unwrap();
    }
    let expected = [1, 3, 2, 0].map(|index: usize| txs[index].compute_txid());
    let all = bench.pool.select(4 * PAYMENT);
    assert_eq!(txids(&all), expected);
    assert_eq!((all.fees, all.bytes), (90_000, 4 * PAYMENT));
    let some = bench.pool.select(4 * PAYMENT - 1);
    assert_eq!(txids(&some), expected[..3]);
    assert_eq!((some.fees, some.bytes), (80_000, 3 * PAYMENT));
    assert!(txids(&bench.pool.select(PAYMENT - 1)).is_empty());
}

#[test]
fn a_child_pays_for_its_parents() {
    let mut bench = Bench::new();
    let parent = bench.payment(4_000);
    let child = bench.pay(&[out(&parent, 0)], 1, 56_000);
    let alone = bench.payment(25_000);
    for tx in [&parent, &child, &alone] {
        bench.accept(tx).unwrap();
    }
    let order = [&parent, &child, &alone].map(Transaction::compute_txid);
    assert_eq!(txids(&bench.pool.select(usize::MAX)), order);
    assert_eq!(txids(&bench.pool.select(2 * PAYMENT)), order[..2]);
    // Where the package does not fit, what does is taken.
    assert_eq!(txids(&bench.pool.select(PAYMENT)), order[2..]);
}

#[test]
fn what_was_taken_counts_no_more() {
    // Two children of one dear parent: once it is taken, each stands for itself.
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000_000);
    let parent = bench.pay(&[coin], 2, 100_000);
    let dear = bench.pay(&[out(&parent, 0)], 1, 90_000);
    let cheap = bench.pay(&[out(&parent, 1)], 1, 5_000);
    let alone = bench.payment(20_000);
    for tx in [&parent, &cheap, &dear, &alone] {
        bench.accept(tx).unwrap();
    }
    let order = [&parent, &dear, &alone, &cheap].map(Transaction::compute_txid);
    assert_eq!(txids(&bench.pool.select(usize::MAX)), order);
}

#[test]
fn smaller_ones_fill_the_gap() {
    let mut bench = Bench::new();
    let coins: Vec<OutPoint> = (0..3).map(|_| bench.fund(1_000_000)).collect();
    let large = bench.pay(&coins, 1, 90_000);
    let small = bench.payment(10_000);
    bench.accept(&large).unwrap();
    bench.accept(&small).unwrap();
    let template = bench.pool.select(large.total_size() - 1);
    assert_eq!(txids(&template), [small.compute_txid()]);
}
