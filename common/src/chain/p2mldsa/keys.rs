//! A key pair that spends P2MLDSA outputs.

use std::fmt;

use aws_lc_rs::signature::{KeyPair, ML_DSA_44_SIGNING, PqdsaKeyPair};
use bitcoin::{BlockHash, ScriptBuf, Transaction, TxOut, Witness};
use thiserror::Error;

use super::{PROGRAM_BYTES, SIGNATURE_BYTES, program, script, signature_hash};

/// Bytes of the seed ξ from which a key pair follows (FIPS 204, algorithm 1).
pub const SEED_BYTES: usize = 32;

/// An ML-DSA-44 key pair. [`fmt::Debug`] shows the program only.
pub struct SpendingKey {
    pair: PqdsaKeyPair,
    program: [u8; PROGRAM_BYTES],
}

/// Why a key was not made or did not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The library refused the seed.
    #[error("the ML-DSA-44 seed gives no key")]
    Seed,
    /// The library did not sign, for want of random numbers.
    #[error("the ML-DSA-44 key did not sign")]
    Sign,
    /// Not as many spent outputs as inputs.
    #[error("{spent} spent outputs were given for {inputs} inputs")]
    SpentOutputs {
        /// Outputs given.
        spent: usize,
        /// Inputs of the transaction.
        inputs: usize,
    },
    /// No such input.
    #[error("there is no input {index}, the transaction has {inputs}")]
    NoInput {
        /// The index asked for.
        index: usize,
        /// Inputs of the transaction.
        inputs: usize,
    },
}

impl SpendingKey {
    /// The key pair that follows from 32 secret random bytes (FIPS 204, algorithm 6).
    ///
    /// # Errors
    /// [`KeyError::Seed`] if the library gives no key, as when memory is out.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed).map_err(|_| KeyError::Seed)?;
        let program = program(pair.public_key().as_ref());
        Ok(Self { pair, program })
    }

    /// The public key, [`PUBLIC_KEY_BYTES`](super::PUBLIC_KEY_BYTES) long.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// What outputs to this key hold.
    #[must_use]
    pub fn program(&self) -> [u8; PROGRAM_BYTES] {
        self.program
    }

    /// The output script that pays to this key.
    #[must_use]
    pub fn script(&self) -> ScriptBuf {
        script(self.program)
    }

    /// Signs a signature hash. Two signatures of one hash differ: each takes fresh random numbers (FIPS
    /// 204, "hedged").
    ///
    /// # Errors
    /// [`KeyError::Sign`] if the library does not sign.
    pub fn sign(&self, hash: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; SIGNATURE_BYTES];
        match self.pair.sign(hash, &mut signature) {
            Ok(SIGNATURE_BYTES) => Ok(signature),
            _ => Err(KeyError::Sign),
        }
    }

    /// Signs a signature hash and gives the witness: signature and public key.
    ///
    /// # Errors
    /// [`KeyError::Sign`] if the library does not sign.
    pub fn witness(&self, hash: &[u8; 32]) -> Result<Witness, KeyError> {
        let signature = self.sign(hash)?;
        Ok(Witness::from_slice(&[
            signature.as_slice(),
            self.public_key(),
        ]))
    }

    /// Fills the witness of input `index`. All of the transaction but its witnesses must be final: a later
    /// change voids the signature. `spent` are the outputs that its inputs spend, in their order.
    ///
    /// # Errors
    /// [`KeyError::SpentOutputs`], [`KeyError::NoInput`] or [`KeyError::Sign`]; the transaction is then
    /// as it was.
    pub fn sign_input(
        &self,
        genesis: BlockHash,
        tx: &mut Transaction,
        spent: &[TxOut],
        index: usize,
    ) -> Result<(), KeyError> {
        let inputs = tx.input.len();
        if spent.len() != inputs {
            return Err(KeyError::SpentOutputs {
                spent: spent.len(),
                inputs,
            });
        }
        let missing = KeyError::NoInput { index, inputs };
        let hash = signature_hash(genesis, tx, spent, index).ok_or(missing)?;
        let input = tx.input.get_mut(index).ok_or(missing)?;
        input.witness = self.witness(&hash)?;
        Ok(())
    }
}

/// Shows the public part only.
impl fmt::Debug for SpendingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpendingKey")
            .field("script", &self.script())
            .finish_non_exhaustive()
    }
}
