//! Known answers for the post-quantum primitives: that aws-lc-rs computes FIPS 203 and FIPS 204, and
//! that our adapters hand it the right bytes. Where the vectors come from stands in their files.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};
use data_encoding::HEXLOWER;
use snow::types::{Dh, Kem};

use crate::transport::crypto::{DhX25519, KEM_PUBLIC_LEN, MlKem768};

/// The lines of a vector file that start with `name`, as lists of byte strings.
fn vectors(text: &str, name: &str) -> Vec<Vec<Vec<u8>>> {
    let fields = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let matches = words.next() == Some(name);
        matches.then(|| {
            words
                .map(|word| HEXLOWER.decode(word.as_bytes()).unwrap())
                .collect()
        })
    };
    text.lines().filter_map(fields).collect()
}

const ML_DSA: &str = include_str!("vectors/ml_dsa_44.txt");
const ML_KEM: &str = include_str!("vectors/ml_kem_768.txt");

#[test]
fn ml_dsa_44_makes_nists_keys() {
    let cases = vectors(ML_DSA, "keygen");
    assert_eq!(cases.len(), 25);
    for case in cases {
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &case[0]).unwrap();
        assert_eq!(
            digest(&SHA256, pair.public_key().as_ref()).as_ref(),
            case[1]
        );
    }
}

#[test]
fn ml_dsa_44_verifies_a_foreign_signature_and_no_changed_one() {
    let cases = vectors(ML_DSA, "verify");
    assert_eq!(cases.len(), 1);
    let [key, message, signature] = cases[0].as_slice() else {
        panic!("three fields")
    };
    let key = UnparsedPublicKey::new(&ML_DSA_44, key);
    key.verify(message, signature).unwrap();
    for at in (0..signature.len()).step_by(101) {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert!(key.verify(message, &changed).is_err(), "byte {at}");
    }
    let mut changed = message.clone();
    changed[0] ^= 1;
    assert!(key.verify(&changed, signature).is_err());
}

#[test]
fn ml_kem_768_decapsulates_to_nists_secrets() {
    let dk = vectors(ML_KEM, "dk").remove(0).remove(0);
    let cases = vectors(ML_KEM, "decaps");
    assert_eq!(cases.len(), 10);
    let kem = MlKem768::from_decapsulation_key(&dk);
    for case in cases {
        let mut secret = [0; 32];
        assert_eq!(kem.decapsulate(&case[0], &mut secret).unwrap(), 32);
        assert_eq!(secret.as_slice(), case[1]);
    }
}

#[test]
fn ml_kem_768_refuses_keys_that_are_not_reduced() {
    // FIPS 203, section 7.2: every coefficient must be below q = 3329; 0xfff is not.
    let (mut secret, mut ciphertext) = ([0; 32], [0; 1_088]);
    let kem = MlKem768::default();
    let refused = kem.encapsulate(&[0xff; KEM_PUBLIC_LEN], &mut secret, &mut ciphertext);
    assert!(refused.is_err());
    let wrong_length = kem.encapsulate(&[0; KEM_PUBLIC_LEN - 1], &mut secret, &mut ciphertext);
    assert!(wrong_length.is_err());
}

#[test]
fn ml_kem_768_without_a_key_fails_rather_than_guesses() {
    assert!(
        MlKem768::default()
            .decapsulate(&[0; 1_088], &mut [0; 32])
            .is_err()
    );
}

/// RFC 7748, section 5.2: the first vector, and one step of the iteration.
#[test]
fn x25519_agrees_with_rfc_7748() {
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let vectors = [
        [
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ],
        [
            "0900000000000000000000000000000000000000000000000000000000000000",
            "0900000000000000000000000000000000000000000000000000000000000000",
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
        ],
    ];
    for [private, public, expected] in vectors {
        let mut key = DhX25519::default();
        key.set(&hex(private));
        let mut shared = [0; 32];
        key.dh(&hex(public), &mut shared).unwrap();
        assert_eq!(shared.as_slice(), hex(expected));
    }
}

/// The points of small order on Curve25519 and its twist, in all their encodings below 2^255: every one
/// gives an all-zero secret, so a peer could fix the key.
#[test]
fn x25519_refuses_points_of_low_order() {
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let low_order = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut key = DhX25519::default();
    key.set(&[7; 32]);
    for point in low_order {
        assert!(key.dh(&hex(point), &mut [0; 32]).is_err(), "{point}");
    }
}
