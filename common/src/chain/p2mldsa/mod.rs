//! Pay-to-ML-DSA (P2MLDSA): what an output pays to, and what unlocks it.
//!
//! An output holds `OP_3` and a 32-byte *program*, the tagged hash of an ML-DSA-44 public key. The input
//! that spends it has an empty `scriptSig` and a witness of exactly two items: the signature and the key.
//! Witness version 3, since BIP360 takes 2.
//!
//! | part | what it is for |
//! |---|---|
//! | [`program`], [`script`], [`program_of`] | key → program → script, and back to the program |
//! | `sighash` | what a signature signs: all of the transaction, the spent outputs and the chain |
//! | `keys` | [`SpendingKey`]: a key pair that fills witnesses |
//! | `address` | [`Address`]: a program as people write it |
//!
//! The rules that use these are in [`consensus`](super::consensus).

mod address;
mod keys;
mod sighash;
#[cfg(test)]
mod tests;

use aws_lc_rs::signature::{ML_DSA_44, UnparsedPublicKey};
use bitcoin::hashes::sha256::{HashEngine as Sha256Engine, Midstate};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::opcodes::all::{OP_PUSHBYTES_32, OP_PUSHNUM_3};
use bitcoin::{Script, ScriptBuf};

pub use self::address::{Address, AddressError, MAX_ADDRESS_BYTES};
pub use self::keys::{KeyError, SEED_BYTES, SpendingKey};
pub use self::sighash::{SignatureHasher, signature_hash};

/// Bytes of an ML-DSA-44 public key (FIPS 204, table 2).
pub const PUBLIC_KEY_BYTES: usize = 1_312;
/// Bytes of an ML-DSA-44 signature (FIPS 204, table 2).
pub const SIGNATURE_BYTES: usize = 2_420;
/// Bytes of the program in an output, a SHA-256.
pub const PROGRAM_BYTES: usize = 32;
/// The witness version of these outputs.
pub const WITNESS_VERSION: u8 = 3;
/// Witness items that unlock an output: signature and public key.
pub const WITNESS_ITEMS: usize = 2;

/// Keeps these hashes apart from any other use of SHA-256 on a key (BIP340's tagged hash).
const PROGRAM_TAG: Midstate = Midstate::hash_tag(b"QTC/P2MLDSA44");

/// The program that pays to `public_key`: `SHA256(t ‖ t ‖ key)` where `t = SHA256("QTC/P2MLDSA44")`.
///
/// Any bytes have a program; only a key of [`PUBLIC_KEY_BYTES`] can spend from it.
#[must_use]
pub fn program(public_key: &[u8]) -> [u8; PROGRAM_BYTES] {
    let mut engine = tagged(PROGRAM_TAG);
    engine.input(public_key);
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// The output script that pays to `program`: `OP_3 <32 bytes>`.
#[must_use]
pub fn script(program: [u8; PROGRAM_BYTES]) -> ScriptBuf {
    let mut bytes = vec![OP_PUSHNUM_3.to_u8(), OP_PUSHBYTES_32.to_u8()];
    bytes.extend_from_slice(&program);
    ScriptBuf::from_bytes(bytes)
}

/// The program of an output script, if the script is exactly `OP_3 <32 bytes>`.
#[must_use]
pub fn program_of(script: &Script) -> Option<[u8; PROGRAM_BYTES]> {
    match script.as_bytes() {
        [version, push, program @ ..]
            if *version == OP_PUSHNUM_3.to_u8() && *push == OP_PUSHBYTES_32.to_u8() =>
        {
            program.try_into().ok()
        }
        _ => None,
    }
}

/// Whether `signature` is `public_key`'s ML-DSA-44 signature of `message` (FIPS 204, algorithm 3, with an
/// empty context). False for lengths that no key or signature has.
#[must_use]
pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    // The library also reads keys in DER, of other lengths: consensus knows the raw form only.
    public_key.len() == PUBLIC_KEY_BYTES
        && signature.len() == SIGNATURE_BYTES
        && UnparsedPublicKey::new(&ML_DSA_44, public_key)
            .verify(message, signature)
            .is_ok()
}

/// A SHA-256 that has taken the 64 bytes `SHA256(tag) ‖ SHA256(tag)`.
fn tagged(tag: Midstate) -> Sha256Engine {
    Sha256Engine::from_midstate(tag, 64)
}
