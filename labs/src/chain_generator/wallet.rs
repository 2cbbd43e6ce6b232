//! The keys of a generated chain. They are made from its seed, so anyone can spend its coins.

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{BlockHash, ScriptBuf, Transaction, Witness};
use fips204::ml_dsa_44::{KG, PrivateKey};
use fips204::traits::{KeyGen, SerDes, Signer};
use quantumcoin::chain::p2mldsa::{self, SignatureHasher};

use super::GenerateError;
use super::coins::PlannedTransaction;

/// Keys of a chain. Fewer than coins, since each takes 40 kB once it is ready to sign; enough that a
/// verifier can't live on one key in its cache.
const KEYS: u32 = 128;

/// What makes an ML-DSA signature the same each time: the variant without randomness (FIPS 204, algorithm
/// 2, line 5).
const NO_RANDOMNESS: [u8; 32] = [0; 32];

/// Keys that sign for the outputs that pay to them.
pub(super) struct Wallet {
    genesis: BlockHash,
    keys: Vec<Key>,
}

struct Key {
    private: PrivateKey,
    public: Vec<u8>,
    script: ScriptBuf,
}

impl Wallet {
    /// The keys that follow from `seed`, for the chain of this genesis block.
    pub(super) fn new(genesis: BlockHash, seed: u64) -> Self {
        let keys = (0..KEYS).map(|number| Key::new(seed, number)).collect();
        Self { genesis, keys }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What pays to a key of this wallet; an empty script for numbers from [`Self::len`].
    pub(super) fn script(&self, key: usize) -> ScriptBuf {
        self.keys
            .get(key)
            .map(|key| key.script.clone())
            .unwrap_or_default()
    }

    /// Puts in the witnesses.
    pub(super) fn sign(&self, planned: PlannedTransaction) -> Result<Transaction, GenerateError> {
        let PlannedTransaction { unsigned, spent } = planned;
        let outputs = spent.iter().map(|coin| &coin.output);
        let hasher = SignatureHasher::new(self.genesis, &unsigned, outputs);
        let mut signed = unsigned;
        for ((index, input), coin) in signed.input.iter_mut().enumerate().zip(&spent) {
            let key = self.keys.get(coin.key).ok_or(GenerateError::Key)?;
            let hash = hasher
                .as_ref()
                .and_then(|hasher| hasher.hash(index))
                .ok_or(GenerateError::Key)?;
            let signature = key
                .private
                .try_sign_with_seed(&NO_RANDOMNESS, &hash, &[])
                .map_err(GenerateError::Sign)?;
            input.witness = Witness::from_slice(&[signature.as_slice(), key.public.as_slice()]);
        }
        Ok(signed)
    }
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wallet")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Key {
    fn new(seed: u64, number: u32) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(b"quantumcoin labs chain key");
        engine.input(&seed.to_le_bytes());
        engine.input(&number.to_le_bytes());
        let xi = sha256::Hash::from_engine(engine).to_byte_array();
        let (public, private) = KG::keygen_from_seed(&xi);
        let public = public.into_bytes().to_vec();
        Self {
            script: p2mldsa::script(p2mldsa::program(&public)),
            private,
            public,
        }
    }
}
