//! Signed transactions: what unlocks a coin, and that nothing of a signed transaction can be changed.

use bitcoin::BlockHash;
use bitcoin::consensus::encode::{deserialize, serialize};
use fips204::ml_dsa_44;
use fips204::traits::{KeyGen, SerDes, Signer};

use super::*;

/// [`plain`], signed by the keys that [`coins`] pay to.
fn signed() -> Transaction {
    let mut tx = plain();
    sign(&mut tx, &coins(), rules().genesis_hash);
    tx
}

fn sign(tx: &mut Transaction, coins: &[Coin], genesis: BlockHash) {
    let spent: Vec<TxOut> = coins.iter().map(|coin| coin.output.clone()).collect();
    key(1).sign_input(genesis, tx, &spent, 0).unwrap();
    key(2).sign_input(genesis, tx, &spent, 1).unwrap();
}

fn verdict(tx: &Transaction, coins: &[Coin]) -> Result<(), TransactionError> {
    check_signatures(&rules(), tx, coins)
}

/// What a change to the signed transaction leads to.
fn tampered(change: impl FnOnce(&mut Transaction)) -> TransactionError {
    let mut tx = signed();
    change(&mut tx);
    verdict(&tx, &coins()).unwrap_err()
}

/// What other coins than those that were signed lead to.
fn with_coins(change: impl FnOnce(&mut Vec<Coin>)) -> TransactionError {
    let mut coins = coins();
    change(&mut coins);
    verdict(&signed(), &coins).unwrap_err()
}

fn items(tx: &Transaction, index: usize) -> Vec<Vec<u8>> {
    tx.input[index].witness.to_vec()
}

/// The first input's signature no longer fits.
const BROKEN: TransactionError = TransactionError::Signature { index: 0 };

#[test]
fn a_signed_transaction_passes() {
    verdict(&signed(), &coins()).unwrap();
    check(&signed()).unwrap();
    // After a trip over the wire too.
    let decoded: Transaction = deserialize(&serialize(&signed())).unwrap();
    verdict(&decoded, &coins()).unwrap();
}

#[test]
fn a_signature_by_the_other_implementation_passes() {
    let mut tx = plain();
    tx.input.truncate(1);
    let (public, secret) = ml_dsa_44::KG::keygen_from_seed(&[1; 32]);
    let coins = &coins()[..1];
    let hasher = SignatureHasher::new(rules().genesis_hash, &tx, [&coins[0].output]).unwrap();
    let signature = secret
        .try_sign_with_seed(&[0; 32], &hasher.hash(0).unwrap(), &[])
        .unwrap();
    tx.input[0].witness = Witness::from_slice(&[signature.as_slice(), &public.into_bytes()]);
    verdict(&tx, coins).unwrap();
}

#[test]
fn the_amounts_spent_are_signed() {
    // Of the input itself and of the other one.
    assert_eq!(
        with_coins(|coins| coins[0].output.value = Amount::from_sat(701)),
        BROKEN
    );
    assert_eq!(
        with_coins(|coins| coins[1].output.value = Amount::from_sat(299)),
        BROKEN
    );
}

#[test]
fn the_scripts_spent_are_signed() {
    assert_eq!(
        with_coins(|coins| coins[0].output.script_pubkey = key(3).script()),
        TransactionError::PublicKey { index: 0 }
    );
    // The other input's script is one that anyone can spend: its witness is not looked at, but the first
    // input's signature covers it.
    assert_eq!(
        with_coins(|coins| coins[1].output.script_pubkey = future_witness()),
        BROKEN
    );
}

#[test]
fn the_outputs_are_signed() {
    assert_eq!(
        tampered(|tx| tx.output[0].value = Amount::from_sat(601)),
        BROKEN
    );
    assert_eq!(tampered(|tx| tx.output[1].value = Amount::ZERO), BROKEN);
    assert_eq!(
        tampered(|tx| tx.output[1].script_pubkey = p2mldsa::script([7; 32])),
        BROKEN
    );
    assert_eq!(tampered(|tx| tx.output.truncate(1)), BROKEN);
    assert_eq!(
        tampered(|tx| tx.output.push(paying(1, p2mldsa::script([7; 32])))),
        BROKEN
    );
    assert_eq!(tampered(|tx| tx.output.swap(0, 1)), BROKEN);
}

#[test]
fn the_sequences_are_signed() {
    assert_eq!(tampered(|tx| tx.input[0].sequence = Sequence::MAX), BROKEN);
    assert_eq!(tampered(|tx| tx.input[1].sequence = Sequence::ZERO), BROKEN);
}

#[test]
fn the_outpoints_are_signed() {
    assert_eq!(tampered(|tx| tx.input[0].previous_output.vout += 1), BROKEN);
    assert_eq!(
        tampered(|tx| tx.input[1].previous_output.txid = Txid::all_zeros()),
        BROKEN
    );
}

#[test]
fn the_lock_time_is_signed() {
    assert_eq!(
        tampered(|tx| tx.lock_time = absolute::LockTime::from_consensus(1)),
        BROKEN
    );
}

#[test]
fn the_version_is_signed() {
    assert_eq!(
        tampered(|tx| tx.version = transaction::Version::ONE),
        BROKEN
    );
}

#[test]
fn the_chain_is_signed() {
    for other in [ChainSpec::testnet(), ChainSpec::devnet()] {
        let mut tx = plain();
        sign(&mut tx, &coins(), other.genesis_hash());
        check_signatures(&Rules::new(&other), &tx, &coins()).unwrap();
        assert_eq!(verdict(&tx, &coins()), Err(BROKEN));
    }
}

#[test]
fn the_inputs_place_is_signed() {
    // Both coins pay to one key: only the index tells the inputs' signatures apart.
    let coins = [coin(700, key(1).script()), coin(300, key(1).script())];
    let spent = [coins[0].output.clone(), coins[1].output.clone()];
    let mut tx = plain();
    for index in 0..2 {
        key(1)
            .sign_input(rules().genesis_hash, &mut tx, &spent, index)
            .unwrap();
    }
    verdict(&tx, &coins).unwrap();
    let [first, second] = [tx.input[0].witness.clone(), tx.input[1].witness.clone()];
    tx.input[0].witness = second;
    tx.input[1].witness = first;
    assert_eq!(verdict(&tx, &coins), Err(BROKEN));
    // And whole inputs with their coins in another order.
    let mut tx = signed();
    tx.input.swap(0, 1);
    let swapped = [self::coins().remove(1), self::coins().remove(0)];
    assert_eq!(verdict(&tx, &swapped), Err(BROKEN));
}

#[test]
fn a_witness_is_two_items() {
    let wrong = |found| TransactionError::WitnessItems { index: 1, found };
    for keep in [0, 1] {
        assert_eq!(
            tampered(|tx| {
                let items = items(tx, 1);
                tx.input[1].witness = Witness::from_slice(&items[..keep]);
            }),
            wrong(keep)
        );
    }
    // One more at the end, empty or not (BIP341's annex starts with 0x50), or at the front.
    for extra in [vec![], vec![0], vec![0x50], vec![0; 100]] {
        assert_eq!(tampered(|tx| tx.input[1].witness.push(&extra)), wrong(3));
        assert_eq!(
            tampered(|tx| {
                let mut items = items(tx, 1);
                items.insert(0, extra.clone());
                tx.input[1].witness = Witness::from_slice(&items);
            }),
            wrong(3)
        );
    }
}

#[test]
fn the_items_have_their_order_and_lengths() {
    assert_eq!(
        tampered(|tx| {
            let mut items = items(tx, 0);
            items.swap(0, 1);
            tx.input[0].witness = Witness::from_slice(&items);
        }),
        TransactionError::SignatureLength {
            index: 0,
            found: 1_312
        }
    );
    for (item, length) in [
        (0, 0),
        (0, 2_419),
        (0, 2_421),
        (1, 0),
        (1, 1_311),
        (1, 1_313),
    ] {
        let error = tampered(|tx| {
            let mut items = items(tx, 0);
            items[item].resize(length, 0);
            tx.input[0].witness = Witness::from_slice(&items);
        });
        let expected = match item {
            0 => TransactionError::SignatureLength {
                index: 0,
                found: length,
            },
            _ => TransactionError::PublicKeyLength {
                index: 0,
                found: length,
            },
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn another_key_does_not_unlock() {
    // A good signature by a key that was not paid.
    let error = tampered(|tx| {
        let spent: Vec<TxOut> = coins().into_iter().map(|coin| coin.output).collect();
        key(3)
            .sign_input(rules().genesis_hash, tx, &spent, 1)
            .unwrap();
    });
    assert_eq!(error, TransactionError::PublicKey { index: 1 });
    // The key that was paid beside that signature.
    let error = tampered(|tx| {
        let spent: Vec<TxOut> = coins().into_iter().map(|coin| coin.output).collect();
        let paid = items(tx, 1).remove(1);
        key(3)
            .sign_input(rules().genesis_hash, tx, &spent, 1)
            .unwrap();
        let signature = items(tx, 1).remove(0);
        tx.input[1].witness = Witness::from_slice(&[signature, paid]);
    });
    assert_eq!(error, TransactionError::Signature { index: 1 });
}

#[test]
fn no_hint_bit_of_a_signature_is_free() {
    // The hints are the last 84 bytes.
    let tx = signed();
    for bit in (2_336 * 8..2_420 * 8).step_by(7) {
        let mut tx = tx.clone();
        let mut items = items(&tx, 0);
        items[0][bit / 8] ^= 1 << (bit % 8);
        tx.input[0].witness = Witness::from_slice(&items);
        assert_eq!(verdict(&tx, &coins()), Err(BROKEN), "bit {bit}");
    }
}

#[test]
fn an_input_script_beside_a_good_signature_is_refused() {
    let mut tx = signed();
    tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
    // The signature does not cover it, the rule does.
    verdict(&tx, &coins()).unwrap();
    assert_eq!(
        check(&tx),
        Err(TransactionError::ScriptSig { index: 0, bytes: 1 })
    );
}

#[test]
fn later_witness_versions_are_open_to_anyone() {
    for version in 4..=16_u8 {
        for length in [2, 40] {
            let mut script = vec![0x50 + version, length];
            script.resize(2 + usize::from(length), 1);
            let mut tx = plain();
            tx.input.truncate(1);
            let coin = [coin(1_000, ScriptBuf::from_bytes(script))];
            verdict(&tx, &coin).unwrap();
            tx.input[0].witness = Witness::from_slice(&[[1; 9]; 5]);
            verdict(&tx, &coin).unwrap();
        }
    }
}

#[test]
fn what_nobody_can_spend_is_refused() {
    for script in [
        vec![],
        vec![0x6a],
        vec![0x51],
        vec![0x53, 2, 1, 1],
        vec![0x54, 1, 1],
    ] {
        let error = with_coins(|coins| {
            coins[1].output.script_pubkey = ScriptBuf::from_bytes(script.clone());
        });
        assert_eq!(
            error,
            TransactionError::Unspendable { index: 1 },
            "{script:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Flips one bit anywhere in the transaction as it is serialized: it no longer decodes, it is another
    /// transaction that some rule refuses, or only a witness's form (lengths, items) is broken.
    #[test]
    fn no_bit_of_a_signed_transaction_is_free(bits in prop::collection::vec(any::<prop::sample::Index>(), 64)) {
        let bytes = serialize(&signed());
        // Everything but the signatures and keys: version to the outputs, the lock time at the end.
        let front = serialize(&plain()).len() - 4;
        let places: Vec<usize> = (0..front + 2).chain(bytes.len() - 4..bytes.len()).collect();
        for bit in bits {
            let bit = bit.index(places.len() * 8);
            prop_assert!(!survives(&bytes, places[bit / 8], bit % 8), "byte {} bit {}", places[bit / 8], bit % 8);
            let anywhere = (bit * 7_919) % (bytes.len() * 8);
            prop_assert!(!survives(&bytes, anywhere / 8, anywhere % 8), "byte {} bit {}", anywhere / 8, anywhere % 8);
        }
    }

    /// The same for what is signed but not in the transaction: the coins and the chain.
    #[test]
    fn no_bit_of_the_coins_or_the_chain_is_free(index in 0..2_usize, value_bit in 0..64_u32, script_bit in 0..34_usize * 8, chain_bit in 0..256_usize) {
        let tx = signed();
        let mut other = coins();
        other[index].output.value = Amount::from_sat(other[index].output.value.to_sat() ^ 1 << value_bit);
        prop_assert!(verdict(&tx, &other).is_err());
        let mut other = coins();
        let mut script = other[index].output.script_pubkey.to_bytes();
        script[script_bit / 8] ^= 1 << (script_bit % 8);
        other[index].output.script_pubkey = ScriptBuf::from_bytes(script);
        prop_assert!(verdict(&tx, &other).is_err());
        let mut rules = rules();
        let mut genesis = rules.genesis_hash.to_byte_array();
        genesis[chain_bit / 8] ^= 1 << (chain_bit % 8);
        rules.genesis_hash = BlockHash::from_byte_array(genesis);
        prop_assert_eq!(check_signatures(&rules, &tx, &coins()), Err(BROKEN));
    }
}

/// Every byte before the witnesses and after them, by turns one bit of it.
#[test]
fn no_byte_of_what_is_signed_is_free() {
    let bytes = serialize(&signed());
    let front = serialize(&plain()).len() - 4;
    for at in (0..front + 2).chain(bytes.len() - 4..bytes.len()) {
        assert!(!survives(&bytes, at, at % 8), "byte {at}");
    }
}

/// Whether a transaction with one flipped bit still passes all that needs no chain.
fn survives(bytes: &[u8], at: usize, bit: usize) -> bool {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    deserialize::<Transaction>(&bytes).is_ok_and(|tx| {
        check(&tx).is_ok()
            && check_spends(&rules(), &tx, &coins(), 6).is_ok()
            && verdict(&tx, &coins()).is_ok()
    })
}
