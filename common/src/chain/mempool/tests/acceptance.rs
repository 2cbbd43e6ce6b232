//! Each check of a transaction by itself, at its edge.

use super::*;
use crate::chain::error::TransactionError;
use crate::chain::policy::PolicyError;

fn forget<T>(result: Result<T, MempoolError>) -> MempoolError {
    result.err().unwrap()
}

#[test]
fn a_payment_is_taken_and_found() {
    let mut bench = Bench::new();
    let tx = bench.payment(10_000);
    assert_eq!(tx.total_size(), PAYMENT);
    let accepted = bench.accept(&tx).unwrap();
    assert_eq!(accepted.sequence, 1);
    assert_eq!(
        (accepted.fee, accepted.fee_rate),
        (10_000, FeeRate::new(10_000, PAYMENT))
    );
    assert!(accepted.replaced.is_empty() && accepted.evicted.is_empty());
    let entry = bench.pool.get(&accepted.txid).unwrap();
    assert_eq!(entry.transaction().as_ref(), &tx);
    assert_eq!(
        (entry.fee(), entry.bytes(), entry.time()),
        (10_000, PAYMENT, NOW)
    );
    assert_eq!(
        bench.pool.get_by_wtxid(&accepted.wtxid).unwrap().txid(),
        accepted.txid
    );
    assert!(bench.pool.is_verified(&accepted.wtxid));
    assert_eq!(bench.pool.memory(), PAYMENT + 1_000 + 1_000 + 100);
}

#[test]
fn the_same_is_not_taken_twice_and_no_other_witness_of_it() {
    let mut bench = Bench::new();
    let tx = bench.payment(10_000);
    bench.accept(&tx).unwrap();
    let known = forget(bench.accept(&tx));
    assert_eq!(
        (known.remember(), known.is_peer_fault()),
        (Remember::Nothing, false)
    );
    assert_eq!(known, MempoolError::AlreadyKnown);
    // Signatures are randomised: the same payment, signed again.
    let again = bench.sign(tx.clone());
    assert_ne!(again.compute_wtxid(), tx.compute_wtxid());
    assert_eq!(forget(bench.accept(&again)), MempoolError::OtherWitness);
}

#[test]
fn consensus_faults_are_the_peers() {
    let mut bench = Bench::new();
    let coin = bench.fund(10_000);
    let draft = bench.draft(&[coin], &[10_001]);
    let tx = bench.sign(draft);
    let error = forget(bench.accept(&tx));
    assert_eq!(
        error,
        TransactionError::Overspent {
            input: 10_000,
            output: 10_001
        }
        .into()
    );
    assert!(error.is_peer_fault());
    assert_eq!(error.remember(), Remember::Txid);
    // A coinbase.
    let coinbase = bench.block(&[]).txdata.remove(0);
    let error = forget(bench.accept(&coinbase));
    assert_eq!(error, TransactionError::NullOutpoint { index: 0 }.into());
    assert!(error.is_peer_fault());
}

#[test]
fn a_bad_witness_is_the_peers_fault_and_no_fact_about_the_txid() {
    let mut bench = Bench::new();
    let tx = bench.payment(10_000);
    let mut bad = tx.clone();
    let mut items = bad.input[0].witness.to_vec();
    items[0][99] ^= 1;
    bad.input[0].witness = Witness::from_slice(&items);
    let error = forget(bench.accept(&bad));
    assert_eq!(error, TransactionError::Signature { index: 0 }.into());
    assert!(error.is_peer_fault());
    assert_eq!(error.remember(), Remember::Wtxid);
    assert!(!bench.pool.is_verified(&bad.compute_wtxid()));
    // Other shapes of it.
    bad.input[0].witness.clear();
    let error = forget(bench.accept(&bad));
    assert!(
        error.is_peer_fault() && error.remember() == Remember::Wtxid,
        "{error}"
    );
    // The right one is welcome after all of that.
    bench.accept(&tx).unwrap();
}

#[test]
fn policy_is_no_fault() {
    let mut bench = Bench::new();
    let coin = bench.fund(100_000);
    let draft = bench.draft(&[coin], &[545]);
    let tx = bench.sign(draft);
    let error = forget(bench.accept(&tx));
    assert_eq!(
        error,
        PolicyError::Dust {
            index: 0,
            value: 545
        }
        .into()
    );
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Txid)
    );
    // Anyone can spend witness versions from 4 on, but not through us.
    let open = bench.fund(100_000);
    let script = ScriptBuf::from_bytes(vec![0x54, 2, 1, 1]);
    bench.coins.get_mut(&open).unwrap().output.script_pubkey = script;
    let tx = bench.pay(&[open], 1, 10_000);
    assert_eq!(
        forget(bench.accept(&tx)),
        PolicyError::InputKind { index: 0 }.into()
    );
}

#[test]
fn the_fee_is_at_least_the_relay_minimum() {
    let mut bench = Bench::new();
    let minimum = PAYMENT as u64;
    let tx = bench.payment(minimum);
    bench.accept(&tx).unwrap();
    let tx = bench.payment(minimum - 1);
    let error = forget(bench.accept(&tx));
    assert_eq!(
        error,
        PolicyError::Fee {
            fee: minimum - 1,
            required: minimum
        }
        .into()
    );
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Wtxid)
    );
}

#[test]
fn coinbases_have_to_mature_for_the_next_block() {
    let mut bench = Bench::new();
    let mature = bench.fund_at(100_000, HEIGHT - 100, true);
    let young = bench.fund_at(100_000, HEIGHT - 99, true);
    let tx = bench.pay(&[mature], 1, 10_000);
    bench.accept(&tx).unwrap();
    let tx = bench.pay(&[young], 1, 10_000);
    let error = forget(bench.accept(&tx));
    assert!(matches!(
        error,
        MempoolError::Invalid(TransactionError::Immature { spendable: 201, .. })
    ));
    assert!(!error.is_peer_fault());
    bench.context.next_height += 1;
    bench.accept(&tx).unwrap();
}

#[test]
fn locks_have_to_be_over_for_the_next_block() {
    let mut bench = Bench::new();
    for (lock, ends) in [(HEIGHT, true), (NOW as u32, false)] {
        let coin = bench.fund(100_000);
        let mut draft = bench.draft(&[coin], &[90_000]);
        draft.lock_time = absolute::LockTime::from_consensus(lock);
        let tx = bench.sign(draft);
        let error = forget(bench.accept(&tx));
        assert!(matches!(
            error,
            MempoolError::Invalid(TransactionError::NotFinal { lock_time, .. }) if lock_time == lock
        ));
        assert!(!error.is_peer_fault());
        if ends {
            bench.context.next_height += 1;
        } else {
            bench.context.median_time += 1;
        }
        bench.accept(&tx).unwrap();
    }
}

#[test]
fn what_a_parent_in_the_pool_does_not_have_is_a_fault() {
    let mut bench = Bench::new();
    let parent = bench.payment(10_000);
    bench.accept(&parent).unwrap();
    let child = bench.draft(&[out(&parent, 1)], &[1_000]);
    let error = forget(bench.accept_from(&child, Origin::Peer(1)));
    assert_eq!(
        error,
        MempoolError::NoSuchOutput {
            index: 0,
            outpoint: out(&parent, 1)
        }
    );
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (true, Remember::Txid)
    );
}

#[test]
fn what_a_block_holds_is_known() {
    let mut bench = Bench::new();
    let tx = bench.payment(10_000);
    bench.connect(std::slice::from_ref(&tx));
    let error = forget(bench.accept_from(&tx, Origin::Peer(1)));
    assert_eq!(error, MempoolError::AlreadyConfirmed);
    assert_eq!(bench.pool.orphans(), (0, 0));
}

#[test]
fn announcements_follow_the_order_of_acceptance() {
    let mut bench = Bench::new();
    assert_eq!(bench.pool.sequence(), 0);
    let txs: Vec<Transaction> = (0..4).map(|_| bench.payment(10_000)).collect();
    for tx in &txs[..2] {
        bench.accept(tx).unwrap();
    }
    let seen = bench.pool.sequence();
    for tx in &txs[2..] {
        bench.accept(tx).unwrap();
    }
    let news: Vec<Txid> = bench.pool.since(seen).map(Entry::txid).collect();
    assert_eq!(news, [txs[2].compute_txid(), txs[3].compute_txid()]);
    assert_eq!(bench.pool.since(0).count(), 4);
    assert_eq!(bench.pool.since(bench.pool.sequence()).count(), 0);
    assert_eq!(bench.pool.since(u64::MAX).count(), 0);
    // What went is not announced.
    bench.connect(&txs[2..3]);
    assert_eq!(bench.pool.since(seen).count(), 1);
}

#[test]
fn families_are_at_most_25() {
    let mut bench = Bench::new();
    let mut tip = bench.payment(10_000);
    let first = tip.clone();
    bench.accept(&tip).unwrap();
    for _ in 1..25 {
        tip = bench.pay(&[out(&tip, 0)], 1, 10_000);
        bench.accept(&tip).unwrap();
    }
    let next = bench.pay(&[out(&tip, 0)], 1, 10_000);
    let error = forget(bench.accept(&next));
    assert_eq!(error, MempoolError::TooManyAncestors { limit: 25 });
    assert_eq!(
        (error.is_peer_fault(), error.remember()),
        (false, Remember::Wtxid)
    );
    // A block makes room at the top.
    bench.connect(&[first]);
    bench.accept(&next).unwrap();

    let coin = bench.fund(1_000_000_000);
    let parent = bench.pay(&[coin], 26, 30_000);
    bench.accept(&parent).unwrap();
    for vout in 0..24 {
        let child = bench.pay(&[out(&parent, vout)], 1, 10_000);
        bench.accept(&child).unwrap();
    }
    let child = bench.pay(&[out(&parent, 24)], 1, 10_000);
    assert_eq!(
        forget(bench.accept(&child)),
        MempoolError::TooManyDescendants {
            ancestor: parent.compute_txid(),
            limit: 25
        }
    );
}

#[test]
fn families_are_bounded_by_bytes() {
    let mut bench = Bench::with(Limits {
        max_family_bytes: 3 * PAYMENT,
        ..Limits::default()
    });
    let a = bench.payment(10_000);
    let b = bench.pay(&[out(&a, 0)], 1, 10_000);
    let c = bench.pay(&[out(&b, 0)], 1, 10_000);
    let c_larger = bench.pay(&[out(&b, 0)], 2, 10_000);
    bench.accept(&a).unwrap();
    bench.accept(&b).unwrap();
    assert_eq!(
        forget(bench.accept(&c_larger)),
        MempoolError::AncestorBytes {
            bytes: 3 * PAYMENT + 43,
            limit: 3 * PAYMENT
        }
    );
    bench.accept(&c).unwrap();
    // The same from above: a parent with children.
    let coin = bench.fund(1_000_000_000);
    let parent = bench.pay(&[coin], 2, 10_000);
    bench.accept(&parent).unwrap();
    let child = bench.pay(&[out(&parent, 0)], 1, 10_000);
    bench.accept(&child).unwrap();
    let child = bench.pay(&[out(&parent, 1)], 1, 10_000);
    assert_eq!(
        forget(bench.accept(&child)),
        MempoolError::DescendantBytes {
            ancestor: parent.compute_txid(),
            bytes: 3 * PAYMENT + 43,
            limit: 3 * PAYMENT
        }
    );
}

#[test]
fn twenty_six_inputs_are_taken() {
    let mut bench = Bench::new();
    let coins: Vec<OutPoint> = (0..26).map(|_| bench.fund(100_000)).collect();
    let tx = bench.pay(&coins, 1, 100_000);
    assert!(tx.total_size() <= 100_000);
    bench.accept(&tx).unwrap();
}
