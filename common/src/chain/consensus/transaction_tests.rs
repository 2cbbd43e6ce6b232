//! A test for each rule with its edges. Tampering with signed transactions is in `tamper`.

use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, Txid, Witness, absolute, transaction};
use proptest::prelude::*;

use super::*;
use crate::chain::p2mldsa::SpendingKey;
use crate::chain_spec::ChainSpec;

#[path = "tamper_tests.rs"]
mod tamper;

/// Mainnet's cap, 22,000,000 coins.
const MAX_MONEY: u64 = 2_200_000_000_000_000;

fn rules() -> Rules {
    Rules::new(&ChainSpec::mainnet())
}

fn key(tag: u8) -> SpendingKey {
    SpendingKey::from_seed(&[tag; 32]).unwrap()
}

fn paying(value: u64, script: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: script,
    }
}

fn input(tag: u8) -> TxIn {
    TxIn {
        previous_output: OutPoint {
            txid: Txid::from_byte_array([tag; 32]),
            vout: tag.into(),
        },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
        witness: Witness::new(),
    }
}

fn coin(value: u64, script: ScriptBuf) -> Coin {
    Coin {
        output: paying(value, script),
        height: 5,
        coinbase: false,
    }
}

/// A transaction of two inputs and two outputs; it is not signed.
fn plain() -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![input(1), input(2)],
        output: vec![
            paying(600, p2mldsa::script([8; 32])),
            paying(300, p2mldsa::script([9; 32])),
        ],
    }
}

/// Coins worth 1,000 for [`plain`], paid to two keys.
fn coins() -> Vec<Coin> {
    vec![coin(700, key(1).script()), coin(300, key(2).script())]
}

fn check(tx: &Transaction) -> Result<(), TransactionError> {
    check_transaction(&rules(), tx)
}

fn changed(change: impl FnOnce(&mut Transaction)) -> Result<(), TransactionError> {
    let mut tx = plain();
    change(&mut tx);
    check(&tx)
}

fn future_witness() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x54, 2, 1, 1])
}

#[test]
fn a_plain_transaction_passes() {
    check(&plain()).unwrap();
    assert_eq!(check_spends(&rules(), &plain(), &coins(), 6), Ok(100));
}

#[test]
fn there_must_be_inputs_and_outputs() {
    assert_eq!(
        changed(|tx| tx.input.clear()),
        Err(TransactionError::NoInputs)
    );
    assert_eq!(
        changed(|tx| tx.output.clear()),
        Err(TransactionError::NoOutputs)
    );
    changed(|tx| tx.input.truncate(1)).unwrap();
    changed(|tx| tx.output.truncate(1)).unwrap();
}

#[test]
fn no_outpoint_may_be_null() {
    assert_eq!(
        changed(|tx| tx.input[1].previous_output = OutPoint::null()),
        Err(TransactionError::NullOutpoint { index: 1 })
    );
    // Half of a null outpoint is an outpoint like any other: it is not there to be spent.
    changed(|tx| tx.input[1].previous_output.txid = Txid::all_zeros()).unwrap();
    changed(|tx| tx.input[1].previous_output.vout = u32::MAX).unwrap();
}

#[test]
fn no_outpoint_may_be_repeated() {
    let first = input(1).previous_output;
    let repeated = |index| TransactionError::RepeatedOutpoint {
        index,
        outpoint: first,
    };
    assert_eq!(
        changed(|tx| tx.input[1].previous_output = first),
        Err(repeated(1))
    );
    assert_eq!(changed(|tx| tx.input.push(input(1))), Err(repeated(2)));
    // Another sequence makes it no other outpoint.
    assert_eq!(
        changed(|tx| {
            tx.input[1].previous_output = first;
            tx.input[1].sequence = Sequence::ZERO;
        }),
        Err(repeated(1))
    );
    // The other output of the same transaction is another outpoint.
    changed(|tx| tx.input[1].previous_output = OutPoint { vout: 0, ..first }).unwrap();
}

#[test]
fn input_scripts_must_be_empty() {
    for (index, bytes) in [(0, 1), (1, 1), (1, 10_000)] {
        assert_eq!(
            changed(|tx| tx.input[index].script_sig = ScriptBuf::from_bytes(vec![0; bytes])),
            Err(TransactionError::ScriptSig { index, bytes })
        );
    }
}

#[test]
fn outputs_must_be_of_an_allowed_kind() {
    let op_return = |length: usize| {
        let mut bytes = vec![0x6a];
        bytes.resize(length, 0);
        ScriptBuf::from_bytes(bytes)
    };
    let pay_to_key_hash = ScriptBuf::from_bytes([&[0x76, 0xa9, 0x14], [1; 20].as_slice()].concat());
    for (value, script, allowed) in [
        (0, p2mldsa::script([1; 32]), true),
        (0, op_return(1), true),
        (0, op_return(83), true),
        (0, op_return(84), false),
        (1, op_return(83), false),
        (1, future_witness(), true),
        (1, ScriptBuf::new(), false),
        (1, ScriptBuf::from_bytes(vec![0x51, 2, 1, 1]), false),
        (1, pay_to_key_hash, false),
    ] {
        let found = changed(|tx| tx.output[1] = paying(value, script.clone()));
        let expected = match allowed {
            true => Ok(()),
            false => Err(TransactionError::Output { index: 1 }),
        };
        assert_eq!(found, expected, "{value} to {script}");
    }
}

#[test]
fn output_values_stay_within_the_cap() {
    let with = |values: &[u64]| {
        changed(|tx| {
            tx.output = values
                .iter()
                .map(|value| paying(*value, p2mldsa::script([1; 32])))
                .collect();
        })
    };
    let limit = MAX_MONEY;
    with(&[limit]).unwrap();
    with(&[0, limit, 0]).unwrap();
    with(&[limit - 1, 1]).unwrap();
    for value in [limit + 1, u64::MAX] {
        let error = TransactionError::OutputValue {
            index: 1,
            value,
            limit,
        };
        assert_eq!(with(&[0, value]), Err(error));
    }
    let sum = |index| Err(TransactionError::OutputSum { index, limit });
    assert_eq!(with(&[limit, 1]), sum(1));
    assert_eq!(with(&[limit, 0, limit]), sum(2));
    // A sum that would wrap around to a small number.
    assert_eq!(with(&vec![limit; 9_000]), sum(1));
}

#[test]
fn a_transaction_must_fit_a_block() {
    let bytes = plain().total_size();
    let mut rules = rules();
    rules.max_block_bytes = bytes;
    check_transaction(&rules, &plain()).unwrap();
    rules.max_block_bytes -= 1;
    assert_eq!(
        check_transaction(&rules, &plain()),
        Err(TransactionError::TooLarge {
            bytes,
            limit: bytes - 1
        })
    );
    // Witnesses count in full: no discount.
    let mut tx = plain();
    tx.input[0].witness.push([0; 100]);
    rules.max_block_bytes = bytes + 100;
    assert!(matches!(
        check_transaction(&rules, &tx),
        Err(TransactionError::TooLarge { .. })
    ));
}

#[test]
fn a_coinbase_matures_after_100_blocks() {
    let rules = rules();
    assert_eq!(rules.coinbase_maturity, 100);
    let mut coins = coins();
    coins[1].coinbase = true;
    coins[1].height = 1_000;
    let at = |height| check_spends(&rules, &plain(), &coins, height);
    assert_eq!(at(1_100), Ok(100));
    for height in [0, 999, 1_000, 1_099] {
        let error = TransactionError::Immature {
            index: 1,
            created: 1_000,
            height,
            spendable: 1_100,
        };
        assert_eq!(at(height), Err(error));
    }
    // Near the last height that there can be, nothing wraps around.
    coins[1].height = u32::MAX - 50;
    assert!(check_spends(&rules, &plain(), &coins, u32::MAX).is_err());
    // Another output may be spent in the very block that created it.
    coins[1].coinbase = false;
    assert_eq!(
        check_spends(&rules, &plain(), &coins, u32::MAX - 50),
        Ok(100)
    );
}

#[test]
fn no_more_is_created_than_spent() {
    let with = |first: u64| {
        let mut coins = coins();
        coins[0].output.value = Amount::from_sat(first);
        check_spends(&rules(), &plain(), &coins, 6)
    };
    assert_eq!(with(700), Ok(100));
    assert_eq!(with(600), Ok(0));
    assert_eq!(
        with(599),
        Err(TransactionError::Overspent {
            input: 899,
            output: 900
        })
    );
}

#[test]
fn input_values_stay_within_the_cap() {
    let limit = MAX_MONEY;
    let with = |first: u64, second: u64| {
        let coins = [first, second].map(|value| coin(value, key(1).script()));
        check_spends(&rules(), &plain(), &coins, 6)
    };
    assert_eq!(with(limit - 300, 300), Ok(limit - 900));
    let sum = |index| Err(TransactionError::InputSum { index, limit });
    assert_eq!(with(limit - 300, 301), sum(1));
    assert_eq!(with(limit + 1, 0), sum(0));
    assert_eq!(with(1_000, u64::MAX), sum(1));
}

#[test]
fn every_input_needs_its_coin() {
    for count in [0, 1] {
        let coins = &coins()[..count];
        let missing = TransactionError::MissingCoin {
            index: count,
            outpoint: plain().input[count].previous_output,
        };
        assert_eq!(
            check_spends(&rules(), &plain(), coins, 6),
            Err(missing.clone())
        );
        assert_eq!(check_signatures(&rules(), &plain(), coins), Err(missing));
    }
}

#[test]
fn a_lock_by_height_ends_after_it() {
    let mut tx = plain();
    tx.lock_time = absolute::LockTime::from_consensus(1_000);
    for (height, end) in [
        (0, false),
        (999, false),
        (1_000, false),
        (1_001, true),
        (u32::MAX, true),
    ] {
        assert_eq!(is_final(&tx, height, u32::MAX), end, "height {height}");
    }
}

#[test]
fn a_lock_by_time_ends_after_it_by_the_median_time() {
    let mut tx = plain();
    for lock in [500_000_000, 1_800_000_000] {
        tx.lock_time = absolute::LockTime::from_consensus(lock);
        for (time, end) in [
            (0, false),
            (lock - 1, false),
            (lock, false),
            (lock + 1, true),
        ] {
            assert_eq!(is_final(&tx, u32::MAX, time), end, "time {time}");
        }
    }
    // The last number that is a height.
    tx.lock_time = absolute::LockTime::from_consensus(499_999_999);
    assert!(is_final(&tx, 500_000_000, 0) && !is_final(&tx, 499_999_999, u32::MAX));
}

#[test]
fn no_lock_without_a_lock_time_or_an_open_sequence() {
    let mut tx = plain();
    assert!(is_final(&tx, 0, 0));
    for lock in [1, 1_000, 500_000_000, u32::MAX] {
        tx.lock_time = absolute::LockTime::from_consensus(lock);
        for input in &mut tx.input {
            input.sequence = Sequence::MAX;
        }
        assert!(is_final(&tx, 0, 0));
        tx.input[1].sequence = Sequence(u32::MAX - 1);
        assert!(!is_final(&tx, 0, 0));
    }
}

#[test]
fn what_a_peer_may_not_know_is_no_fault() {
    let outpoint = OutPoint::null();
    assert!(!TransactionError::MissingCoin { index: 0, outpoint }.is_peer_fault());
    let locked = TransactionError::NotFinal {
        lock_time: 3,
        height: 2,
        median_time: 1,
    };
    assert!(!locked.is_peer_fault());
    assert!(TransactionError::Signature { index: 0 }.is_peer_fault());
    assert!(
        TransactionError::Overspent {
            input: 1,
            output: 2
        }
        .is_peer_fault()
    );
}

proptest! {
    /// Sums by 128-bit numbers.
    #[test]
    fn fees_agree_with_wide_arithmetic(
        inputs in prop::collection::vec(amount(), 1..6),
        outputs in prop::collection::vec(amount(), 1..6),
    ) {
        let mut tx = plain();
        tx.input = (0..inputs.len()).map(|tag| input(tag as u8)).collect();
        tx.output = outputs.iter().map(|v| paying(*v, p2mldsa::script([1; 32]))).collect();
        let coins: Vec<Coin> = inputs.iter().map(|v| coin(*v, key_script())).collect();
        let sum = |values: &[u64]| values.iter().map(|v| u128::from(*v)).sum::<u128>();
        let (input, output, cap) = (sum(&inputs), sum(&outputs), u128::from(MAX_MONEY));
        let expected = (input <= cap && output <= input).then(|| (input - output) as u64);
        prop_assert_eq!(check_spends(&rules(), &tx, &coins, 6).ok(), expected);
        prop_assert_eq!(check(&tx).is_ok(), output <= cap);
    }
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=1_000_u64,
        0..=MAX_MONEY,
        MAX_MONEY - 2..=MAX_MONEY + 2,
        any::<u64>(),
    ]
}

fn key_script() -> ScriptBuf {
    p2mldsa::script([1; 32])
}
