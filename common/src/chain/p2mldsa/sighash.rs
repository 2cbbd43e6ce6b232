//! What a signature signs.
//!
//! The tagged hash "QTC/sighash" of the chain's genesis hash and of BIP341's signing data for
//! `SIGHASH_DEFAULT` (key path: no annex, no script): version, lock time, all outpoints, all spent amounts
//! and scripts, all sequences, all outputs, and which input this is. There are no other modes, so a
//! signature fits one transaction on one chain and nothing else.

use std::fmt;

use bitcoin::hashes::sha256::{HashEngine as Sha256Engine, Midstate};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{BlockHash, Transaction, TxOut};

use super::tagged;

/// Keeps these hashes apart from Bitcoin's and from any other use of the key.
const SIGHASH_TAG: Midstate = Midstate::hash_tag(b"QTC/sighash");

/// Bytes of the signing data before the input's index (BIP341, "Common signature message"): epoch 1, hash
/// type 1, version 4, lock time 4, five hashes of 32, spend type 1.
const SHARED_BYTES: usize = 1 + 1 + 4 + 4 + 5 * 32 + 1;

/// A transaction's signature hashes, with the parts that all its inputs share hashed once.
///
/// The input's index comes last in what is hashed, so each further input costs one SHA-256 block. Can be
/// shared between threads.
#[derive(Clone)]
pub struct SignatureHasher {
    shared: Sha256Engine,
    inputs: usize,
}

impl fmt::Debug for SignatureHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureHasher")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl SignatureHasher {
    /// Hashes what the inputs share. `spent` are the outputs that they spend, in the order of the inputs;
    /// `None` if these are not as many as the inputs.
    #[must_use]
    pub fn new<'a>(
        genesis: BlockHash,
        tx: &Transaction,
        spent: impl IntoIterator<Item = &'a TxOut>,
    ) -> Option<Self> {
        let spent: Vec<&TxOut> = spent.into_iter().collect();
        let mut data = Vec::with_capacity(SHARED_BYTES + 4);
        SighashCache::new(tx)
            .taproot_encode_signing_data_to(
                &mut data,
                0,
                &Prevouts::All(&spent),
                None,
                None,
                TapSighashType::Default,
            )
            .ok()?;
        // What follows is the index, of input 0 here.
        let data = data.get(..SHARED_BYTES)?;
        let mut shared = tagged(SIGHASH_TAG);
        shared.input(genesis.as_byte_array());
        shared.input(data);
        Some(Self {
            shared,
            inputs: tx.input.len(),
        })
    }

    /// The 32 bytes that input `index` signs; `None` if there is no such input.
    #[must_use]
    pub fn hash(&self, index: usize) -> Option<[u8; 32]> {
        let number = u32::try_from(index).ok().filter(|_| index < self.inputs)?;
        let mut engine = self.shared.clone();
        engine.input(&number.to_le_bytes());
        Some(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

/// The 32 bytes that input `index` of `tx` signs on the chain that starts with `genesis`; `None` if `spent`
/// are not as many as the inputs or there is no such input. For more than one input use
/// [`SignatureHasher`].
#[must_use]
pub fn signature_hash<'a>(
    genesis: BlockHash,
    tx: &Transaction,
    spent: impl IntoIterator<Item = &'a TxOut>,
    index: usize,
) -> Option<[u8; 32]> {
    SignatureHasher::new(genesis, tx, spent)?.hash(index)
}
