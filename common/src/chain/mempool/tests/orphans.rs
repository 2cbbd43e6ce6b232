//! Transactions without parents.

use proptest::prelude::*;

use super::*;

/// A chain of two: the parent is not in the pool.
fn family(bench: &mut Bench) -> (Transaction, Transaction) {
    let parent = bench.payment(10_000);
    let child = bench.pay(&[out(&parent, 0)], 1, 10_000);
    (parent, child)
}

fn kept(bench: &mut Bench, tx: &Transaction, peer: u64) -> bool {
    let parents = tx.input.iter().map(|input| input.previous_output.txid);
    let expected: std::collections::BTreeSet<Txid> = parents.collect();
    match bench.accept_from(tx, Origin::Peer(peer)) {
        Err(error @ MempoolError::MissingInputs { .. }) => {
            assert!(!error.is_peer_fault());
            assert_eq!(error.remember(), Remember::Nothing);
            let MempoolError::MissingInputs { parents, kept } = error else {
                unreachable!()
            };
            assert_eq!(parents, Vec::from_iter(expected));
            assert_eq!(kept, bench.pool.is_orphan(&tx.compute_wtxid()));
            kept
        }
        other => panic!("{other:?}"),
    }
}

/// An orphan with witnesses of the right shape, as cheap to make as an attacker's.
fn fake(bench: &Bench, tag: u32, inputs: u8) -> Transaction {
    let parent = |number: u8| {
        let mut id = [number; 32];
        id[..4].copy_from_slice(&tag.to_le_bytes());
        OutPoint::new(Txid::from_byte_array(id), 0)
    };
    let parents: Vec<OutPoint> = (0..inputs).map(parent).collect();
    let mut tx = bench.draft(&parents, &[1_000]);
    for input in &mut tx.input {
        input.witness = Witness::from_slice(&[vec![1; 2_420], vec![2; 1_312]]);
    }
    tx
}

/// Sends such an orphan: tag and inputs.
fn kept_fake(bench: &mut Bench, (tag, inputs): (u32, u8), peer: u64) -> bool {
    let tx = fake(bench, tag, inputs);
    kept(bench, &tx, peer)
}

#[test]
fn waits_for_its_parent() {
    let mut bench = Bench::new();
    let (parent, child) = family(&mut bench);
    assert!(kept(&mut bench, &child, 1));
    assert_eq!(bench.pool.orphans(), (1, PAYMENT));
    assert!(!bench.pool.has_ready_orphan());
    assert_eq!(bench.retry(), None);
    bench.accept(&parent).unwrap();
    assert!(bench.pool.has_ready_orphan());
    let retried = bench.retry().unwrap();
    assert_eq!(
        (retried.txid, retried.peers),
        (child.compute_txid(), vec![1])
    );
    assert_eq!(retried.result.unwrap().fee, 10_000);
    assert_eq!(bench.pool.orphans(), (0, 0));
    assert!(bench.holds(&child));
    assert_eq!(bench.retry(), None);
}

#[test]
fn waits_for_its_parent_in_a_block() {
    let mut bench = Bench::new();
    let (parent, child) = family(&mut bench);
    assert!(kept(&mut bench, &child, 1));
    bench.connect(&[parent]);
    assert!(bench.retry().unwrap().result.is_ok());
    // In one block with its parent it is known and waits no longer.
    let (parent, child) = family(&mut bench);
    assert!(kept(&mut bench, &child, 1));
    bench.connect(&[parent, child]);
    assert_eq!(bench.pool.orphans(), (0, 0));
    assert_eq!(bench.retry(), None);
}

#[test]
fn goes_on_waiting_for_the_other_parent() {
    let mut bench = Bench::new();
    let (a, b) = (bench.payment(10_000), bench.payment(10_000));
    let child = bench.pay(&[out(&a, 0), out(&b, 0)], 1, 10_000);
    assert!(kept(&mut bench, &child, 1));
    bench.accept(&a).unwrap();
    let result = bench.retry().unwrap().result;
    assert_eq!(
        result,
        Err(MempoolError::MissingInputs {
            parents: vec![b.compute_txid()],
            kept: true
        })
    );
    assert_eq!(bench.retry(), None);
    bench.accept(&b).unwrap();
    assert!(bench.retry().unwrap().result.is_ok());
}

#[test]
fn a_chain_in_the_wrong_order_resolves() {
    let mut bench = Bench::new();
    let mut chain = vec![bench.payment(10_000)];
    for _ in 0..5 {
        let next = bench.pay(&[out(chain.last().unwrap(), 0)], 1, 10_000);
        chain.push(next);
    }
    for tx in chain.iter().skip(1).rev() {
        assert!(kept(&mut bench, tx, 3));
    }
    bench.accept(&chain[0]).unwrap();
    let mut looked = 0;
    while bench.retry().is_some() {
        looked += 1;
    }
    assert_eq!((looked, bench.pool.len()), (5, 6));
}

#[test]
fn a_bad_one_is_found_out_and_dropped() {
    let mut bench = Bench::new();
    let (parent, mut child) = family(&mut bench);
    child.input[0].witness = parent.input[0].witness.clone();
    assert!(kept(&mut bench, &child, 1));
    assert!(kept(&mut bench, &child, 2));
    bench.accept(&parent).unwrap();
    let retried = bench.retry().unwrap();
    assert_eq!(retried.peers, [1, 2]);
    assert!(retried.result.err().unwrap().is_peer_fault());
    assert_eq!(bench.pool.orphans(), (0, 0));
}

#[test]
fn a_spoilt_copy_keeps_no_good_one_out() {
    let mut bench = Bench::new();
    let (parent, child) = family(&mut bench);
    let mut spoilt = child.clone();
    spoilt.input[0].witness = parent.input[0].witness.clone();
    assert!(kept(&mut bench, &spoilt, 1));
    assert!(kept(&mut bench, &child, 2));
    bench.accept(&parent).unwrap();
    assert!(bench.retry().unwrap().result.is_err());
    assert!(bench.retry().unwrap().result.is_ok());
    assert!(bench.holds(&child));
}

#[test]
fn only_peers_and_only_standard_witnesses() {
    let mut bench = Bench::new();
    let (_, mut child) = family(&mut bench);
    assert!(matches!(
        bench.accept(&child),
        Err(MempoolError::MissingInputs { kept: false, .. })
    ));
    child.input[0].witness = Witness::from_slice(&vec![vec![]; 3_000]);
    assert!(!kept(&mut bench, &child, 1));
}

#[test]
fn goes_with_the_last_peer_that_sent_it() {
    let mut bench = Bench::new();
    let (_, child) = family(&mut bench);
    assert!(kept(&mut bench, &child, 1));
    assert!(kept(&mut bench, &child, 2));
    assert!(kept(&mut bench, &child, 2));
    assert_eq!(bench.pool.orphans(), (1, PAYMENT));
    bench.pool.peer_left(1);
    assert_eq!(bench.pool.orphans(), (1, PAYMENT));
    bench.pool.peer_left(3);
    bench.pool.peer_left(2);
    assert_eq!(bench.pool.orphans(), (0, 0));
}

#[test]
fn a_peer_has_ten_and_its_oldest_goes() {
    let mut bench = Bench::new();
    let txs: Vec<Transaction> = (0..11).map(|tag| fake(&bench, tag, 1)).collect();
    for tx in &txs[..10] {
        assert!(kept(&mut bench, tx, 1));
    }
    assert!(kept(&mut bench, &txs[0], 2));
    assert!(kept(&mut bench, &txs[10], 1));
    // The first is on another's account too.
    assert_eq!(bench.pool.orphans().0, 11);
    bench.pool.peer_left(2);
    assert_eq!(bench.pool.orphans().0, 10);
    assert!(!bench.pool.is_orphan(&txs[0].compute_wtxid()));
    assert!(bench.pool.is_orphan(&txs[10].compute_wtxid()));
}

#[test]
fn a_peer_has_400_kb() {
    let mut bench = Bench::new();
    let bytes = fake(&bench, 0, 26).total_size();
    assert!(bytes > 98_000);
    for tag in 0..4 {
        assert!(kept_fake(&mut bench, (tag, 26), 1));
    }
    assert_eq!(bench.pool.orphans(), (4, 4 * bytes));
    assert!(kept_fake(&mut bench, (4, 26), 1));
    assert_eq!(bench.pool.orphans(), (4, 4 * bytes));
}

#[test]
fn all_have_a_hundred_and_the_largest_account_pays() {
    let mut bench = Bench::new();
    let honest = fake(&bench, 1_000, 1);
    assert!(kept(&mut bench, &honest, 1_000));
    for peer in 0..30 {
        for tag in 0..10 {
            kept_fake(&mut bench, (peer * 10 + tag, 1), peer.into());
        }
    }
    assert_eq!(bench.pool.orphans().0, 100);
    assert!(bench.pool.is_orphan(&honest.compute_wtxid()));
    // A peer that comes late gets its place.
    let late = fake(&bench, 2_000, 1);
    assert!(kept(&mut bench, &late, 2_000));
    assert_eq!(bench.pool.orphans().0, 100);
}

#[test]
fn among_equals_nobody_gives_way() {
    let mut bench = Bench::with(Limits {
        orphans: 3,
        ..Limits::default()
    });
    for peer in 0..3 {
        assert!(kept_fake(&mut bench, (peer, 1), peer.into()));
    }
    for peer in [4, 9] {
        assert!(!kept_fake(&mut bench, (peer, 1), peer.into()));
    }
    for peer in 0..3 {
        assert!(bench.pool.is_orphan(&fake(&bench, peer, 1).compute_wtxid()));
    }
}

#[test]
fn all_have_4_mb() {
    let mut bench = Bench::new();
    let bytes = fake(&bench, 0, 26).total_size();
    let small = fake(&bench, 1_000, 1);
    assert!(kept(&mut bench, &small, 1_000));
    for peer in 0..12 {
        for tag in 0..4 {
            kept_fake(&mut bench, (peer * 4 + tag, 26), peer.into());
        }
    }
    assert!(bench.pool.orphans().1 > 4_000_000 - bytes);
    assert!(bench.pool.is_orphan(&small.compute_wtxid()));
}

#[test]
fn orphans_expire_after_20_minutes() {
    let mut bench = Bench::new();
    assert!(kept_fake(&mut bench, (0, 1), 1));
    bench.pool.expire(NOW + 20 * 60);
    assert_eq!(bench.pool.orphans().0, 1);
    bench.pool.expire(NOW + 20 * 60 + 1);
    assert_eq!(bench.pool.orphans(), (0, 0));
    // Its account is closed too: ten more fit.
    for tag in 1..=10 {
        assert!(kept_fake(&mut bench, (tag, 1), 1));
    }
    assert_eq!(bench.pool.orphans().0, 10);
}

#[derive(Debug, Clone)]
enum Step {
    Send {
        tag: u32,
        inputs: u8,
        peer: u64,
    },
    Leave {
        peer: u64,
    },
    /// Something that some wait for.
    Arrive {
        tag: u32,
        parent: u8,
    },
    Retry,
    Wait {
        minutes: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u32..12, 1_u8..4, 0_u64..5).prop_map(|(tag, inputs, peer)| Step::Send { tag, inputs, peer }),
        1 => (0_u64..5).prop_map(|peer| Step::Leave { peer }),
        2 => (0_u32..12, 0_u8..3).prop_map(|(tag, parent)| Step::Arrive { tag, parent }),
        2 => Just(Step::Retry),
        1 => (0_u64..30).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `Bench::check` runs after every step.
    #[test]
    fn accounts_add_up(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::with(Limits {
            orphans_per_peer: 4,
            orphan_bytes_per_peer: 30_000,
            orphans: 10,
            orphan_bytes: 70_000,
            ..Limits::default()
        });
        for step in steps {
            match step {
                Step::Send { tag, inputs, peer } => {
                    kept_fake(&mut bench, (tag, inputs), peer);
                }
                Step::Leave { peer } => bench.pool.peer_left(peer),
                // The coin stays unknown, so that what waits goes on waiting.
                Step::Arrive { tag, parent } => {
                    let parent = fake(&bench, tag, parent + 1).input[usize::from(parent)].previous_output;
                    bench.pool.orphans.parent_arrived(&parent.txid);
                }
                Step::Retry => {
                    if let Some(retried) = bench.retry() {
                        let waits = matches!(retried.result, Err(MempoolError::MissingInputs { kept: true, .. }));
                        prop_assert!(waits && bench.pool.is_orphan(&retried.wtxid));
                    }
                }
                Step::Wait { minutes } => {
                    bench.context.now += minutes * 60;
                    bench.pool.expire(bench.context.now);
                }
            }
            bench.check();
        }
    }
}
