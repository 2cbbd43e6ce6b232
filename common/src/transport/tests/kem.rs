//! A KEM whose parts a test gives, under our other primitives.

use std::sync::Arc;

use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Kem, Random};

use crate::transport::crypto::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, Primitives};

type Secret = [u8; 32];
/// From an encapsulation key to a ciphertext and its secret.
type Encapsulate = dyn Fn(&[u8]) -> Result<(Vec<u8>, Secret), Error> + Send + Sync;
/// From a ciphertext to its secret.
type Decapsulate = dyn Fn(&[u8]) -> Result<Secret, Error> + Send + Sync;

#[derive(Clone)]
pub(super) struct TestKem {
    public: Vec<u8>,
    encapsulate: Arc<Encapsulate>,
    decapsulate: Arc<Decapsulate>,
}

impl TestKem {
    /// Shows this public key and can do nothing else.
    pub(super) fn of(public: Vec<u8>) -> Self {
        Self {
            public,
            encapsulate: Arc::new(|_| Err(Error::Kem)),
            decapsulate: Arc::new(|_| Err(Error::Kem)),
        }
    }

    pub(super) fn encapsulating(
        self,
        with: impl Fn(&[u8]) -> Result<(Vec<u8>, Secret), Error> + Send + Sync + 'static,
    ) -> Self {
        let encapsulate = Arc::new(with);
        Self {
            encapsulate,
            ..self
        }
    }

    pub(super) fn decapsulating(
        self,
        with: impl Fn(&[u8]) -> Result<Secret, Error> + Send + Sync + 'static,
    ) -> Self {
        let decapsulate = Arc::new(with);
        Self {
            decapsulate,
            ..self
        }
    }
}

impl Kem for TestKem {
    fn name(&self) -> &'static str {
        "MLKEM768"
    }

    fn pub_len(&self) -> usize {
        KEM_PUBLIC_LEN
    }

    fn ciphertext_len(&self) -> usize {
        KEM_CIPHERTEXT_LEN
    }

    fn shared_secret_len(&self) -> usize {
        32
    }

    fn generate(&mut self, _rng: &mut dyn Random) {}

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn encapsulate(
        &self,
        public: &[u8],
        secret_out: &mut [u8],
        ciphertext_out: &mut [u8],
    ) -> Result<(usize, usize), Error> {
        let (ciphertext, secret) = (self.encapsulate)(&public[..KEM_PUBLIC_LEN])?;
        secret_out[..32].copy_from_slice(&secret);
        ciphertext_out[..ciphertext.len()].copy_from_slice(&ciphertext);
        Ok((32, ciphertext.len()))
    }

    fn decapsulate(&self, ciphertext: &[u8], secret_out: &mut [u8]) -> Result<usize, Error> {
        secret_out[..32].copy_from_slice(&(self.decapsulate)(ciphertext)?);
        Ok(32)
    }
}

/// Our primitives with that KEM.
impl CryptoResolver for TestKem {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Primitives.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Primitives.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        Primitives.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Primitives.resolve_cipher(choice)
    }

    fn resolve_kem(&self, _choice: &KemChoice) -> Option<Box<dyn Kem>> {
        Some(Box::new(self.clone()))
    }
}
