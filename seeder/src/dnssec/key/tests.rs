use data_encoding::{BASE64, HEXLOWER};
use hickory_proto::rr::Name;

use super::*;

fn zone(name: &str) -> WireName {
    WireName::of(&Name::from_ascii(name).unwrap())
}

/// The examples of RFC 8080, 6.1, and RFC 6605, 6.1: private keys, DNSKEY, key tag and DS.
#[test]
fn the_examples_of_the_standards() {
    for (owner, algorithm, private, public, tag, ds) in [
        (
            "example.com.",
            Algorithm::Ed25519,
            "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            3613,
            "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        ),
        (
            "example.net.",
            Algorithm::EcdsaP256,
            "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
            55648,
            "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        ),
    ] {
        let secret = BASE64.decode(private.as_bytes()).unwrap();
        let public = BASE64.decode(public.as_bytes()).unwrap();
        let key = Key::from_parts(
            zone(owner),
            algorithm,
            257,
            secret.try_into().unwrap(),
            public,
            Times::default(),
        )
        .unwrap();
        assert_eq!(key.tag(), tag, "{algorithm:?}");
        let digest = HEXLOWER.encode(&key.ds()[4..]);
        assert_eq!(digest, ds, "{algorithm:?}");
        assert_eq!(
            key.ds()[..4],
            [tag.to_be_bytes().as_slice(), &[algorithm.number(), 2]].concat()
        );
    }
}

#[test]
fn halves_of_different_keys_are_no_pair() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let make =
            || Key::generate(zone("a."), algorithm, Role::ZoneSigning, Times::default()).unwrap();
        let (one, other) = (make(), make());
        let mixed = |public: &[u8]| {
            Key::from_parts(
                zone("a."),
                algorithm,
                256,
                *one.secret(),
                public.to_vec(),
                Times::default(),
            )
        };
        assert!(mixed(one.public()).is_ok());
        for public in [other.public(), &[], &one.public()[1..]] {
            assert_eq!(
                mixed(public).unwrap_err(),
                KeyError::NoPair(algorithm.name())
            );
        }
        assert_ne!(one.public(), other.public());
    }
}

#[test]
fn signatures_verify() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let key = Key::generate(zone("a."), algorithm, Role::KeySigning, Times::default()).unwrap();
        assert_eq!((key.flags, key.is_entry_point()), (257, true));
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature.len(), 64);
        let held = match algorithm {
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, key.public()).verify(b"message", &signature)
            }
            Algorithm::EcdsaP256 => {
                let point = [&[4], key.public()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(b"message", &signature)
            }
        };
        assert!(held.is_ok(), "{algorithm:?}");
    }
}
