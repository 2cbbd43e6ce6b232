//! Published vectors: NIST's ACVP and Project Wycheproof. Each file names its source.

use data_encoding::{BASE64, HEXLOWER};
use fips204::ml_dsa_44::PublicKey;
use fips204::traits::{SerDes, Verifier};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Wycheproof {
    keys: Vec<String>,
    tests: Vec<WycheproofCase>,
}

#[derive(Deserialize)]
struct WycheproofCase {
    #[serde(rename = "tcId")]
    id: u32,
    comment: String,
    result: String,
    key: usize,
    msg: String,
    sig: String,
    #[serde(default)]
    ctx: String,
}

#[derive(Deserialize)]
struct Nist<T> {
    #[serde(default)]
    pk: String,
    tests: Vec<T>,
}

#[derive(Deserialize)]
struct KeyGen {
    seed: String,
    pk_sha256: String,
}

#[derive(Deserialize)]
struct SigVer {
    #[serde(rename = "tcId")]
    id: u32,
    reason: String,
    passed: bool,
    message: String,
    signature: String,
}

fn bytes(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).unwrap()
}

/// Lengths, hint encodings, norms, boundary cases of decomposition and sampling: what implementations get
/// wrong.
#[test]
fn wycheproof_verify_vectors() {
    let file: Wycheproof =
        serde_json::from_str(include_str!("../testdata/wycheproof_mldsa44_verify.json")).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for case in &file.tests {
        let (key, message) = (bytes(&file.keys[case.key]), bytes(&case.msg));
        let (signature, context) = (bytes(&case.sig), bytes(&case.ctx));
        // The oracle, contexts included.
        let oracle = <[u8; PUBLIC_KEY_BYTES]>::try_from(key.as_slice())
            .ok()
            .and_then(|key| PublicKey::try_from_bytes(key).ok())
            .zip(<[u8; SIGNATURE_BYTES]>::try_from(signature.as_slice()).ok())
            .is_some_and(|(key, signature)| key.verify(&message, &signature, &context));
        assert_eq!(
            oracle,
            case.result == "valid",
            "{}: {}",
            case.id,
            case.comment
        );
        // Ours has no contexts: a signature under one must not pass.
        let expected = case.result == "valid" && context.is_empty();
        assert_eq!(
            verify(&key, &message, &signature),
            expected,
            "{}: {}",
            case.id,
            case.comment
        );
        *(if expected { &mut valid } else { &mut invalid }) += 1;
    }
    assert_eq!((valid, invalid), (44, 35), "cases in the file");
}

#[test]
fn nist_key_generation_vectors() {
    let file: Nist<KeyGen> =
        serde_json::from_str(include_str!("../testdata/nist_mldsa44_keygen.json")).unwrap();
    for case in &file.tests {
        let seed = HEXLOWER.decode(case.seed.as_bytes()).unwrap();
        let key = SpendingKey::from_seed(&seed.try_into().unwrap()).unwrap();
        let found = sha256::Hash::hash(key.public_key()).to_byte_array();
        assert_eq!(HEXLOWER.encode(&found), case.pk_sha256, "{}", case.seed);
    }
    assert_eq!(file.tests.len(), 25);
}

/// These sign the message without the two bytes that FIPS 204's outer interface puts before it, which only
/// the oracle can check. They prove the oracle that the others are compared with.
#[test]
#[expect(
    deprecated,
    reason = "the name that fips204 gives to what is for tests alone"
)]
fn nist_signature_vectors_prove_the_oracle() {
    let file: Nist<SigVer> =
        serde_json::from_str(include_str!("../testdata/nist_mldsa44_sigver.json")).unwrap();
    let key: [u8; PUBLIC_KEY_BYTES] = bytes(&file.pk).try_into().unwrap();
    let oracle = PublicKey::try_from_bytes(key).unwrap();
    for case in &file.tests {
        let signature = bytes(&case.signature).try_into().unwrap();
        let message = bytes(&case.message);
        assert_eq!(
            oracle.verify_internal(&message, &signature),
            case.passed,
            "{}: {}",
            case.id,
            case.reason
        );
        // Through the outer interface none of them is a signature.
        assert!(!verify(&key, &message, &signature));
    }
    assert_eq!(file.tests.iter().filter(|case| case.passed).count(), 3);
    assert_eq!(file.tests.len(), 15);
}
