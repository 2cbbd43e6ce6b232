//! A test for each rule of policy with its edges.

use bitcoin::{Amount, ScriptBuf, TxIn, TxOut, Witness, absolute, transaction};
use proptest::prelude::*;

use super::*;
use crate::chain::consensus::{MAX_OP_RETURN_BYTES, Rules, check_transaction};
use crate::chain::p2mldsa::{self, PUBLIC_KEY_BYTES, SIGNATURE_BYTES};
use crate::chain_spec::ChainSpec;

fn paying(value: u64, script: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: script,
    }
}

fn to_key(value: u64) -> TxOut {
    paying(value, p2mldsa::script([1; 32]))
}

fn future_witness() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x60, 2, 1, 1])
}

/// A transaction with witnesses of the true size, and its coins.
fn spend(inputs: usize, outputs: usize) -> (Transaction, Vec<Coin>) {
    let input = TxIn {
        witness: Witness::from_slice(&[vec![0; SIGNATURE_BYTES], vec![0; PUBLIC_KEY_BYTES]]),
        ..TxIn::default()
    };
    let tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![input; inputs],
        output: vec![to_key(DUST); outputs],
    };
    let coin = Coin {
        output: to_key(1_000_000),
        height: 1,
        coinbase: false,
    };
    (tx, vec![coin; inputs])
}

/// As [`spend`], without witnesses, so that 33 inputs fit.
fn slim(inputs: usize, outputs: usize) -> Transaction {
    let mut tx = spend(inputs, outputs).0;
    for input in &mut tx.input {
        input.witness.clear();
    }
    tx
}

#[test]
fn an_ordinary_payment_is_relayed() {
    let (tx, coins) = spend(1, 2);
    // The figures that docs and fee estimates use: about 3.9 kB.
    assert_eq!(tx.total_size(), 3_878);
    check_standard(&tx, &coins, 3_878).unwrap();
    assert_eq!(
        check_standard(&tx, &coins, 3_877),
        Err(PolicyError::Fee {
            fee: 3_877,
            required: 3_878
        })
    );
}

#[test]
fn at_most_100_000_bytes() {
    let mut tx = slim(1, 1);
    tx.input[0].witness.push(vec![0; 99_000]);
    let missing = MAX_STANDARD_BYTES - tx.total_size();
    let sized = |extra: usize| {
        let mut tx = tx.clone();
        tx.input[0].witness = Witness::from_slice(&[vec![0; 99_000 + extra]]);
        tx
    };
    assert_eq!(sized(missing).total_size(), 100_000);
    check_form(&sized(missing)).unwrap();
    assert_eq!(
        check_form(&sized(missing + 1)),
        Err(PolicyError::TooLarge { bytes: 100_001 })
    );
}

#[test]
fn twenty_six_inputs_fill_the_size() {
    check_form(&spend(26, 1).0).unwrap();
    assert!(matches!(
        check_form(&spend(27, 1).0),
        Err(PolicyError::TooLarge { .. })
    ));
}

#[test]
fn at_most_32_inputs() {
    check_form(&slim(32, 1)).unwrap();
    assert_eq!(
        check_form(&slim(33, 1)),
        Err(PolicyError::TooManyInputs { count: 33 })
    );
}

#[test]
fn at_most_32_outputs() {
    check_form(&slim(1, 32)).unwrap();
    assert_eq!(
        check_form(&slim(1, 33)),
        Err(PolicyError::TooManyOutputs { count: 33 })
    );
}

#[test]
fn the_fee_is_rounded_up() {
    assert_eq!(MIN_RELAY_FEE_PER_KB, 1_000);
    for (bytes, fee) in [(0, 0), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_001)] {
        assert_eq!(required_fee(bytes), fee);
    }
    for (rate, bytes, fee) in [
        (1, 1, 1),
        (1, 1_000, 1),
        (1, 1_001, 2),
        (250, 3_999, 1_000),
        (250, 4_000, 1_000),
        (250, 4_001, 1_001),
        (0, 4_001, 0),
        (u64::MAX, 1_000, u64::MAX),
        (u64::MAX, usize::MAX, u64::MAX),
    ] {
        assert_eq!(fee_at(rate, bytes), fee, "{bytes} bytes at {rate}");
    }
}

#[test]
fn dust_starts_below_546() {
    let with = |output: TxOut| {
        let (mut tx, _) = spend(1, 2);
        tx.output[1] = output;
        check_form(&tx)
    };
    with(to_key(546)).unwrap();
    assert_eq!(
        with(to_key(545)),
        Err(PolicyError::Dust {
            index: 1,
            value: 545
        })
    );
    assert_eq!(
        with(to_key(0)),
        Err(PolicyError::Dust { index: 1, value: 0 })
    );
    // What nobody can spend is no dust.
    let mut data = vec![0x6a];
    data.resize(MAX_OP_RETURN_BYTES, 0);
    with(paying(0, ScriptBuf::from_bytes(data))).unwrap();
}

#[test]
fn later_witness_versions_are_not_relayed() {
    let (mut tx, mut coins) = spend(2, 2);
    tx.output[1] = paying(1_000, future_witness());
    assert_eq!(check_form(&tx), Err(PolicyError::OutputKind { index: 1 }));
    coins[1].output = paying(1_000, future_witness());
    assert_eq!(
        check_spent(&coins),
        Err(PolicyError::InputKind { index: 1 })
    );
    let (tx, _) = spend(2, 2);
    assert_eq!(
        check_standard(&tx, &coins, 1_000_000),
        Err(PolicyError::InputKind { index: 1 })
    );
    // Consensus allows the output: policy is narrower.
    let rules = Rules::new(&ChainSpec::mainnet());
    let mut tx = spend(1, 1).0;
    tx.input[0].previous_output.vout = 0;
    tx.output[0] = paying(1_000, future_witness());
    check_transaction(&rules, &tx).unwrap();
}

#[test]
fn what_consensus_refuses_is_not_relayed_either() {
    let (mut tx, _) = spend(1, 1);
    tx.output[0] = paying(1_000, ScriptBuf::from_bytes(vec![0x51]));
    assert_eq!(check_form(&tx), Err(PolicyError::OutputKind { index: 0 }));
}

proptest! {
    /// More bytes never cost less, and the rate is met exactly.
    #[test]
    fn the_fee_meets_the_rate(rate in 0..1_000_000_u64, bytes in 0..4_000_000_usize) {
        let fee = u128::from(fee_at(rate, bytes));
        let exact = u128::from(rate) * bytes as u128;
        prop_assert!(fee * 1_000 >= exact && fee * 1_000 < exact + 1_000);
    }
}
