//! The signature hash, computed a second time by hand.

use bitcoin::hashes::sha256::Hash as Sha256;
use bitcoin::{
    Amount, BlockHash, OutPoint, Sequence, Transaction, TxIn, TxOut, Witness, absolute, transaction,
};
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::chain_spec::ChainSpec;

/// BIP341, "Common signature message", for hash type 0x00, written from its text with nothing but SHA-256.
fn by_hand(genesis: [u8; 32], tx: &Transaction, spent: &[TxOut], index: u32) -> [u8; 32] {
    let sha = |bytes: &[u8]| Sha256::hash(bytes).to_byte_array();
    // Lengths of our scripts: below 253 one byte, else 0xfd and two.
    let script = |script: &Script| {
        let length = script.len();
        let mut bytes = match length {
            0..=252 => vec![length as u8],
            _ => vec![0xfd, length as u8, (length >> 8) as u8],
        };
        bytes.extend_from_slice(script.as_bytes());
        bytes
    };
    let (mut prevouts, mut amounts, mut scripts) = (vec![], vec![], vec![]);
    let (mut sequences, mut outputs) = (vec![], vec![]);
    for input in &tx.input {
        prevouts.extend_from_slice(&input.previous_output.txid.to_byte_array());
        prevouts.extend_from_slice(&input.previous_output.vout.to_le_bytes());
        sequences.extend_from_slice(&input.sequence.0.to_le_bytes());
    }
    for output in spent {
        amounts.extend_from_slice(&output.value.to_sat().to_le_bytes());
        scripts.extend(script(&output.script_pubkey));
    }
    for output in &tx.output {
        outputs.extend_from_slice(&output.value.to_sat().to_le_bytes());
        outputs.extend(script(&output.script_pubkey));
    }
    let mut message = genesis.to_vec();
    message.push(0); // epoch
    message.push(0); // hash_type
    message.extend_from_slice(&tx.version.0.to_le_bytes());
    message.extend_from_slice(&tx.lock_time.to_consensus_u32().to_le_bytes());
    for part in [prevouts, amounts, scripts, sequences, outputs] {
        message.extend_from_slice(&sha(&part));
    }
    message.push(0); // spend_type: no annex, no script
    message.extend_from_slice(&index.to_le_bytes());
    let tag = sha(b"QTC/sighash");
    sha(&[tag.as_slice(), &tag, &message].concat())
}

fn any_output() -> impl Strategy<Value = TxOut> {
    // Values and scripts beyond what consensus allows: the hash is of the bytes, whatever they are.
    (any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(value, script)| TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::from_bytes(script),
    })
}

fn any_input() -> impl Strategy<Value = (TxIn, TxOut)> {
    (any::<[u8; 32]>(), any::<u32>(), any::<u32>(), any_output()).prop_map(
        |(txid, vout, sequence, spent)| {
            let input = TxIn {
                previous_output: OutPoint {
                    txid: bitcoin::Txid::from_byte_array(txid),
                    vout,
                },
                script_sig: ScriptBuf::new(),
                sequence: Sequence(sequence),
                witness: Witness::new(),
            };
            (input, spent)
        },
    )
}

prop_compose! {
    fn any_spend()(
        version: i32,
        lock_time: u32,
        inputs in prop::collection::vec(any_input(), 1..8),
        output in prop::collection::vec(any_output(), 0..8),
    ) -> (Transaction, Vec<TxOut>) {
        let (input, spent) = inputs.into_iter().unzip();
        let tx = Transaction {
            version: transaction::Version(version),
            lock_time: absolute::LockTime::from_consensus(lock_time),
            input,
            output,
        };
        (tx, spent)
    }
}

proptest! {
    #[test]
    fn agrees_with_bip341_by_hand((tx, spent) in any_spend(), genesis: [u8; 32]) {
        let hash = BlockHash::from_byte_array(genesis);
        let hasher = SignatureHasher::new(hash, &tx, &spent).unwrap();
        for index in 0..tx.input.len() {
            let expected = by_hand(genesis, &tx, &spent, index as u32);
            prop_assert_eq!(hasher.hash(index), Some(expected));
            prop_assert_eq!(signature_hash(hash, &tx, &spent, index), Some(expected));
        }
        prop_assert_eq!(hasher.hash(tx.input.len()), None);
    }

    /// Witnesses and input scripts are not signed: the former carry the signature, consensus wants the
    /// latter empty.
    #[test]
    fn covers_no_witness((mut tx, spent) in any_spend(), item in prop::collection::vec(any::<u8>(), 0..80)) {
        let genesis = BlockHash::all_zeros();
        let before = signature_hash(genesis, &tx, &spent, 0);
        tx.input[0].witness.push(&item);
        prop_assert_eq!(signature_hash(genesis, &tx, &spent, 0), before);
    }
}

/// The figures of docs/spending.md, computed by another program.
#[test]
fn golden_signature_hashes() {
    let key = SpendingKey::from_seed(&golden_seed()).unwrap();
    let input = |tag: u8, vout, sequence| TxIn {
        previous_output: OutPoint {
            txid: bitcoin::Txid::from_byte_array([tag; 32]),
            vout,
        },
        sequence: Sequence(sequence),
        ..TxIn::default()
    };
    let paying = |value, script_pubkey| TxOut {
        value: Amount::from_sat(value),
        script_pubkey,
    };
    let tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::from_consensus(123_456),
        input: vec![input(0x11, 0, 0xffff_fffd), input(0x22, 7, 0xffff_ffff)],
        output: vec![
            paying(9_000, script([0x33; 32])),
            paying(0, ScriptBuf::from_bytes(vec![0x6a, 2, b'h', b'i'])),
        ],
    };
    let spent = [paying(5_000, key.script()), paying(6_000, key.script())];
    let genesis = ChainSpec::mainnet().genesis_hash();
    for (index, expected) in [
        "92b1a06bc608107636a010a3ab0be2af58ef2487582c6422883ed0268114b92f",
        "8b7af44cdf7f630da0cf4d6c8b50874aa21e1b7710070c6a5026c9dace67555c",
    ]
    .iter()
    .enumerate()
    {
        let hash = signature_hash(genesis, &tx, &spent, index).unwrap();
        assert_eq!(HEXLOWER.encode(&hash), *expected);
    }
}

#[test]
fn needs_one_spent_output_an_input() {
    let input = TxIn::default();
    let tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![input.clone(), input],
        output: vec![],
    };
    let output = TxOut::NULL;
    for (count, fits) in [(0, false), (1, false), (2, true), (3, false)] {
        let spent = vec![output.clone(); count];
        let hasher = SignatureHasher::new(BlockHash::all_zeros(), &tx, &spent);
        assert_eq!(hasher.is_some(), fits, "{count}");
    }
}

#[test]
fn a_key_signs_its_input_or_says_why_not() {
    let key = SpendingKey::from_seed(&[1; SEED_BYTES]).unwrap();
    let mut tx = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn::default()],
        output: vec![TxOut::NULL],
    };
    let (genesis, spent) = (BlockHash::all_zeros(), [TxOut::NULL]);
    assert_eq!(
        key.sign_input(genesis, &mut tx, &[], 0),
        Err(KeyError::SpentOutputs {
            spent: 0,
            inputs: 1
        })
    );
    assert_eq!(
        key.sign_input(genesis, &mut tx, &spent, 1),
        Err(KeyError::NoInput {
            index: 1,
            inputs: 1
        })
    );
    assert!(tx.input[0].witness.is_empty());
    key.sign_input(genesis, &mut tx, &spent, 0).unwrap();
    let witness = &tx.input[0].witness;
    assert_eq!(witness.len(), WITNESS_ITEMS);
    assert_eq!(&witness[1], key.public_key());
    let hash = by_hand([0; 32], &tx, &spent, 0);
    assert!(verify(&witness[1], &hash, &witness[0]));
    // Hedged: a second signature of the same hash is another one.
    assert_ne!(key.sign(&hash).unwrap(), witness[0]);
}
