//! Blocks and reorganisations.

use super::*;

#[test]
fn a_block_takes_what_it_holds_and_what_conflicts() {
    let mut bench = Bench::new();
    let parent = bench.payment(10_000);
    let child = bench.pay(&[out(&parent, 0)], 1, 10_000);
    let coin = bench.fund(1_000_000);
    let ours = bench.pay(&[coin], 1, 10_000);
    let ours_child = bench.pay(&[out(&ours, 0)], 1, 10_000);
    let theirs = bench.pay(&[coin], 2, 10_000);
    for tx in [&parent, &child, &ours, &ours_child] {
        bench.accept(tx).unwrap();
    }
    let block = bench.block(&[parent.clone(), theirs]);
    let connected = bench.pool.block_connected(&block, NOW);
    assert_eq!(
        connected,
        Connected {
            confirmed: 1,
            conflicted: vec![ours.compute_txid(), ours_child.compute_txid()]
        }
    );
    assert!(bench.holds(&child) && bench.pool.len() == 1);
    let entry = bench.pool.get(&child.compute_txid()).unwrap();
    assert_eq!((entry.ancestors.count, entry.parents.len()), (1, 0));
    // Both sides of a fork may still need them.
    assert!(bench.pool.is_verified(&parent.compute_wtxid()));
    assert!(bench.pool.is_verified(&ours.compute_wtxid()));
}

#[test]
fn a_family_shrinks_from_the_top() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000_000);
    let a = bench.pay(&[coin], 2, 10_000);
    let b = bench.pay(&[out(&a, 0)], 1, 20_000);
    let c = bench.pay(&[out(&a, 1), out(&b, 0)], 1, 30_000);
    for tx in [&a, &b, &c] {
        bench.accept(tx).unwrap();
    }
    bench.connect(&[a, b]);
    assert_eq!(bench.pool.fees(), 30_000);
    bench.connect(&[c]);
    assert!(bench.pool.is_empty());
    assert_eq!(
        (bench.pool.memory(), bench.pool.bytes(), bench.pool.fees()),
        (0, 0, 0)
    );
}

#[test]
fn what_a_lost_block_held_comes_back_with_what_spends_it() {
    let mut bench = Bench::new();
    let a = bench.payment(10_000);
    let b = bench.pay(&[out(&a, 0)], 1, 10_000);
    bench.accept(&a).unwrap();
    let (first, spent_first) = bench.connect(std::slice::from_ref(&a));
    let (second, spent_second) = bench.connect(std::slice::from_ref(&b));
    let c = bench.pay(&[out(&b, 0)], 1, 10_000);
    let other = bench.payment(10_000);
    bench.accept(&other).unwrap();
    bench.accept(&c).unwrap();
    bench.disconnect(&second, spent_second);
    bench.disconnect(&first, spent_first);
    assert_eq!(bench.pool.len(), 1);
    let result = bench.revalidate();
    assert_eq!(
        result,
        Revalidated {
            returned: 3,
            lost: 0,
            removed: vec![]
        }
    );
    let order: Vec<Txid> = bench.pool.iter().map(Entry::txid).collect();
    assert_eq!(order, [&other, &a, &b, &c].map(Transaction::compute_txid));
    assert_eq!(
        bench.pool.get(&c.compute_txid()).unwrap().ancestors.count,
        3
    );
}

#[test]
fn what_spends_it_comes_back_parents_first() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let confirmed = bench.pay(&[coin], 2, 10_000);
    let (block, spent) = bench.connect(std::slice::from_ref(&confirmed));
    // The first output's spender is the child of the second's.
    let parent = bench.pay(&[out(&confirmed, 1)], 1, 10_000);
    let child = bench.pay(&[out(&confirmed, 0), out(&parent, 0)], 1, 10_000);
    bench.accept(&parent).unwrap();
    bench.accept(&child).unwrap();
    bench.disconnect(&block, spent);
    assert_eq!(bench.revalidate().returned, 3);
}

#[test]
fn what_the_new_chain_holds_does_not_come_back() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let kept = bench.payment(10_000);
    let lost = bench.pay(&[coin], 1, 10_000);
    let lost_child = bench.pay(&[out(&lost, 0)], 1, 10_000);
    let winner = bench.pay(&[coin], 2, 10_000);
    let (block, spent) = bench.connect(&[kept.clone(), lost.clone()]);
    bench.accept(&lost_child).unwrap();
    bench.disconnect(&block, spent);
    bench.connect(&[kept.clone(), winner]);
    let result = bench.revalidate();
    assert_eq!((result.returned, result.lost), (0, 2));
    assert!(bench.pool.is_empty());
    assert!(!bench.holds(&kept) && !bench.holds(&lost_child));
}

#[test]
fn what_came_from_a_block_need_not_pay() {
    let mut bench = Bench::new();
    let free = bench.payment(0);
    assert!(bench.accept(&free).is_err());
    let (block, spent) = bench.connect(std::slice::from_ref(&free));
    bench.disconnect(&block, spent);
    assert_eq!(bench.revalidate().returned, 1);
    assert!(bench.holds(&free));
}

#[test]
fn what_is_not_standard_does_not_come_back() {
    let mut bench = Bench::new();
    let coin = bench.fund(1_000_000);
    let draft = bench.draft(&[coin], &[545]);
    let tx = bench.sign(draft);
    let (block, spent) = bench.connect(std::slice::from_ref(&tx));
    bench.disconnect(&block, spent);
    assert_eq!(bench.revalidate(), Revalidated::default());
    assert!(bench.pool.is_empty());
}

#[test]
fn what_spends_a_lost_coinbase_goes() {
    let mut bench = Bench::new();
    let (block, spent) = bench.connect(&[]);
    let reward = out(&block.txdata[0], 0);
    bench.coins.get_mut(&reward).unwrap().output.value = Amount::from_sat(1_000_000);
    bench.outputs.get_mut(&reward).unwrap().value = Amount::from_sat(1_000_000);
    bench.context.next_height += 99;
    let tx = bench.pay(&[reward], 1, 10_000);
    bench.accept(&tx).unwrap();
    bench.context.next_height -= 99;
    bench.disconnect(&block, spent);
    assert_eq!(bench.revalidate().lost, 1);
    assert!(bench.pool.is_empty());
}

#[test]
fn a_lower_chain_unsettles_locks_and_maturity() {
    let mut bench = Bench::new();
    let young = bench.fund_at(1_000_000, HEIGHT - 100, true);
    let spends_young = bench.pay(&[young], 1, 10_000);
    let child = bench.pay(&[out(&spends_young, 0)], 1, 10_000);
    let coin = bench.fund(1_000_000);
    let mut draft = bench.draft(&[coin], &[900_000]);
    draft.lock_time = absolute::LockTime::from_consensus(HEIGHT - 1);
    let locked = bench.sign(draft);
    let coin = bench.fund(1_000_000);
    let mut draft = bench.draft(&[coin], &[900_000]);
    draft.lock_time = absolute::LockTime::from_consensus(NOW as u32 - 1);
    let timed = bench.sign(draft);
    let plain = bench.payment(10_000);
    for tx in [&spends_young, &child, &locked, &timed, &plain] {
        bench.accept(tx).unwrap();
    }
    // At the same place nothing goes.
    assert_eq!(bench.revalidate(), Revalidated::default());
    bench.context.next_height -= 1;
    bench.context.median_time -= 1;
    let removed = bench.revalidate().removed;
    let expected = [&spends_young, &child, &locked, &timed].map(Transaction::compute_txid);
    assert_eq!(removed, expected);
    assert!(bench.holds(&plain) && bench.pool.len() == 1);
}

#[test]
fn signatures_that_were_checked_are_not_checked_again() {
    let mut bench = Bench::new();
    // Signed wrongly, but connected: as if it had been right.
    let mut tx = bench.payment(10_000);
    let mut items = tx.input[0].witness.to_vec();
    items[0][5] ^= 1;
    tx.input[0].witness = Witness::from_slice(&items);
    assert!(bench.accept(&tx).is_err());
    let (block, spent) = bench.connect(std::slice::from_ref(&tx));
    bench.disconnect(&block, spent);
    assert_eq!(bench.revalidate().returned, 1);
}

#[test]
fn what_waits_aside_is_bounded_and_the_highest_goes_first() {
    let mut bench = Bench::with(Limits {
        returning_bytes: 3 * PAYMENT,
        ..Limits::default()
    });
    let mut chain = vec![bench.payment(10_000)];
    for _ in 0..4 {
        let next = bench.pay(&[out(chain.last().unwrap(), 0)], 1, 10_000);
        chain.push(next);
    }
    let blocks: Vec<_> = chain.chunks(2).map(|txs| bench.connect(txs)).collect();
    for (block, spent) in blocks.into_iter().rev() {
        bench.disconnect(&block, spent);
    }
    assert_eq!(bench.revalidate().returned, 3);
    let order: Vec<Txid> = bench.pool.iter().map(Entry::txid).collect();
    let expected: Vec<Txid> = chain[..3].iter().map(Transaction::compute_txid).collect();
    assert_eq!(order, expected);
}
