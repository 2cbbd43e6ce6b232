//! Two implementations of ML-DSA-44 that share no code: aws-lc, which checks blocks, and fips204.

use fips204::ml_dsa_44::{KG, PrivateKey, PublicKey};
use fips204::traits::{KeyGen, SerDes, Signer, Verifier};
use proptest::prelude::*;

use super::*;

fn theirs(seed: &[u8; 32]) -> (PublicKey, PrivateKey) {
    KG::keygen_from_seed(seed)
}

/// What both say about a signature; they must say the same.
fn both_verify(key: &[u8; PUBLIC_KEY_BYTES], message: &[u8], signature: &[u8]) -> bool {
    let ours = verify(key, message, signature);
    let theirs = PublicKey::try_from_bytes(*key)
        .is_ok_and(|key| key.verify(message, signature.try_into().unwrap(), &[]));
    assert_eq!(
        ours, theirs,
        "key {key:02x?}\nmessage {message:02x?}\nsignature {signature:02x?}"
    );
    ours
}

fn key_bytes(key: &SpendingKey) -> [u8; PUBLIC_KEY_BYTES] {
    key.public_key().try_into().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_seed_gives_both_the_same_key(seed: [u8; 32]) {
        let ours = SpendingKey::from_seed(&seed).unwrap();
        prop_assert_eq!(theirs(&seed).0.into_bytes(), key_bytes(&ours));
    }

    #[test]
    fn each_verifies_what_the_other_signs(seed: [u8; 32], rnd: [u8; 32], message: [u8; 32]) {
        let ours = SpendingKey::from_seed(&seed).unwrap();
        let key = key_bytes(&ours);
        prop_assert!(both_verify(&key, &message, &ours.sign(&message).unwrap()));
        let signature = theirs(&seed).1.try_sign_with_seed(&rnd, &message, &[]).unwrap();
        prop_assert!(both_verify(&key, &message, &signature));
        // Another context is another message.
        let signature = theirs(&seed).1.try_sign_with_seed(&rnd, &message, b"c").unwrap();
        prop_assert!(!both_verify(&key, &message, &signature));
    }

    #[test]
    fn no_flipped_bit_passes_either(
        seed: [u8; 32],
        message: [u8; 32],
        signature_bits in prop::collection::vec(0..SIGNATURE_BYTES * 8, 8),
        hint_bits in prop::collection::vec((SIGNATURE_BYTES - 84) * 8..SIGNATURE_BYTES * 8, 8),
        key_bit in 0..PUBLIC_KEY_BYTES * 8,
        message_bit in 0..256_usize,
    ) {
        let ours = SpendingKey::from_seed(&seed).unwrap();
        let key = key_bytes(&ours);
        let signature = ours.sign(&message).unwrap();
        for bit in signature_bits.into_iter().chain(hint_bits) {
            prop_assert!(!both_verify(&key, &message, &flipped(&signature, bit)));
        }
        let other_key = flipped(&key, key_bit).try_into().unwrap();
        prop_assert!(!both_verify(&other_key, &message, &signature));
        prop_assert!(!both_verify(&key, &flipped(&message, message_bit), &signature));
    }

    /// Bytes that are no signature by far: both refuse, and neither panics.
    #[test]
    fn noise_passes_neither(
        seed: [u8; 32],
        noise in prop::collection::vec(any::<u8>(), SIGNATURE_BYTES),
    ) {
        let key = key_bytes(&SpendingKey::from_seed(&seed).unwrap());
        prop_assert!(!both_verify(&key, b"message", &noise));
        // With hints that decode (none), so that the rest is looked at.
        let mut noise = noise;
        noise[SIGNATURE_BYTES - 84..].fill(0);
        prop_assert!(!both_verify(&key, b"message", &noise));
    }
}

/// All bits of the 84 bytes of hints: order, padding and limits are encoded there, and a lax reader would
/// let a signature be changed without the key.
#[test]
fn no_bit_of_the_hints_is_free() {
    let ours = SpendingKey::from_seed(&[6; 32]).unwrap();
    let (key, message) = (key_bytes(&ours), [7; 32]);
    let signature = theirs(&[6; 32])
        .1
        .try_sign_with_seed(&[8; 32], &message, &[])
        .unwrap();
    assert!(both_verify(&key, &message, &signature));
    for bit in (SIGNATURE_BYTES - 84) * 8..SIGNATURE_BYTES * 8 {
        assert!(
            !both_verify(&key, &message, &flipped(&signature, bit)),
            "bit {bit}"
        );
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
