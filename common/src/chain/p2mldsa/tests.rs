//! Programs, signature hashes, keys and addresses, against published vectors and a second implementation.

mod address;
mod oracle;
mod sighash;
mod vectors;

use data_encoding::HEXLOWER;

use super::*;

#[test]
fn the_program_is_the_tagged_hash_of_the_key() {
    let key = [7; PUBLIC_KEY_BYTES];
    let tag = sha256::Hash::hash(b"QTC/P2MLDSA44");
    let bytes = [tag.as_byte_array().as_slice(), tag.as_byte_array(), &key].concat();
    assert_eq!(program(&key), sha256::Hash::hash(&bytes).to_byte_array());
    assert_ne!(program(&key), program(&[8; PUBLIC_KEY_BYTES]));
}

/// The seed of NIST's first key generation vector for ML-DSA-44.
fn golden_seed() -> [u8; SEED_BYTES] {
    let seed = b"93ef2e6ef1fb08999d142abe0295482370d3f43bdb254a78e2b0d5168eca065f";
    HEXLOWER.decode(seed).unwrap().try_into().unwrap()
}

/// The figures of docs/spending.md, computed by another program.
#[test]
fn golden_key_program_and_address() {
    let key = SpendingKey::from_seed(&golden_seed()).unwrap();
    assert_eq!(
        HEXLOWER.encode(&key.program()),
        "8752ede55d7de0fc3bb2f06941da67738f710d3d217a14108c3316ebbd4ec825"
    );
    assert_eq!(
        Address::new("qtc", key.program()).unwrap().to_string(),
        "qtc1rsafwme2a0hs0cwaj7p55rkn8ww8hzrfay9apgyyvxvtwh02weqjs09n33w"
    );
}

#[test]
fn a_script_gives_its_program_back_and_nothing_else_does() {
    let bytes = script([9; 32]).into_bytes();
    assert_eq!(bytes.len(), 34);
    assert_eq!(&bytes[..3], [0x53, 0x20, 9]);
    assert_eq!(program_of(Script::from_bytes(&bytes)), Some([9; 32]));
    let mut other_version = bytes.clone();
    other_version[0] = 0x54;
    let mut other_push = bytes.clone();
    other_push[1] = 0x1f;
    for wrong in [
        &bytes[..33],
        &[bytes.as_slice(), &[0]].concat(),
        &other_version,
        &other_push,
        &[],
    ] {
        assert_eq!(program_of(Script::from_bytes(wrong)), None, "{wrong:?}");
    }
}

#[test]
fn verify_takes_raw_keys_and_signatures_of_exact_length_only() {
    let key = SpendingKey::from_seed(&[1; SEED_BYTES]).unwrap();
    let signature = key.sign(&[2; 32]).unwrap();
    assert!(verify(key.public_key(), &[2; 32], &signature));
    // The library by itself reads this form of the same key.
    let header = HEXLOWER
        .decode(b"30820532300b06096086480165030403110382052100")
        .unwrap();
    let der = [&header, key.public_key()].concat();
    assert!(
        UnparsedPublicKey::new(&ML_DSA_44, &der)
            .verify(&[2; 32], &signature)
            .is_ok()
    );
    assert!(!verify(&der, &[2; 32], &signature));
    for wrong in [&signature[1..], &[signature.as_slice(), &[0]].concat(), &[]] {
        assert!(!verify(key.public_key(), &[2; 32], wrong));
    }
    let longer = [key.public_key(), &[0]].concat();
    for wrong in [&key.public_key()[1..], &longer, &[]] {
        assert!(!verify(wrong, &[2; 32], &signature));
    }
}

#[test]
fn debug_shows_no_secret() {
    let seed = [0xa5; SEED_BYTES];
    let shown = format!("{:?}", SpendingKey::from_seed(&seed).unwrap());
    assert!(
        shown.starts_with("SpendingKey { script: Script(OP_PUSHNUM_3"),
        "{shown}"
    );
    assert!(
        shown.len() < 200 && !shown.contains("a5a5") && !shown.contains("165, 165"),
        "{shown}"
    );
}
