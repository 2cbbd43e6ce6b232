//! snow's primitives: X25519, ChaCha20-Poly1305, ML-KEM-768 and random numbers from aws-lc-rs, BLAKE2s
//! from blake2.
//!
//! snow's traits have infallible methods where a key may fail to load. Such a failure leaves the object
//! without a key, and the operation that needs it reports the error, so a handshake ends rather than
//! going on with a wrong key.

use aws_lc_rs::aead::{Aad, LessSafeKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::constant_time;
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::rand;
use blake2::{Blake2s256, Digest};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice, KemChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Kem, Random};

use super::cipher::{TAG_LEN, aead_key, noise_nonce};

/// Bytes of an X25519 key, private, public or shared (RFC 7748).
pub(crate) const X25519_LEN: usize = 32;

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203, table 3).
pub(crate) const KEM_PUBLIC_LEN: usize = 1_184;

/// Bytes of an ML-KEM-768 ciphertext (FIPS 203, table 3).
pub(crate) const KEM_CIPHERTEXT_LEN: usize = 1_088;

/// Bytes of an ML-KEM-768 shared secret (FIPS 203, table 3).
const KEM_SECRET_LEN: usize = 32;

/// Bytes of a BLAKE2s-256 digest, and of its block.
const HASH_LEN: usize = 32;
const HASH_BLOCK_LEN: usize = 64;

/// Offers the primitives to snow.
///
/// Its X25519 refuses keys of low order. What it gives for snow's KEM `Kyber1024` is ML-KEM-768: with it a protocol has
/// to be named by its parts, and its name must say so.
#[derive(Debug)]
pub struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(DhX25519::default()) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| Box::new(HashBlake2s::default()) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::default()) as _)
    }

    /// snow knows no name for ML-KEM-768; its only choice stands for it (see `noise`).
    fn resolve_kem(&self, choice: &KemChoice) -> Option<Box<dyn Kem>> {
        matches!(choice, KemChoice::Kyber1024).then(|| Box::new(MlKem768::default()) as _)
    }
}

/// The operating system's random numbers.
struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        rand::fill(out).map_err(|_| Error::Rng)
    }
}

/// X25519 that refuses an all-zero shared secret (RFC 7748, section 6.1).
#[derive(Default)]
pub(crate) struct DhX25519 {
    key: Option<PrivateKey>,
    private: [u8; X25519_LEN],
    public: [u8; X25519_LEN],
}

impl Dh for DhX25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        X25519_LEN
    }

    fn priv_len(&self) -> usize {
        X25519_LEN
    }

    fn set(&mut self, private: &[u8]) {
        *self = x25519_from_private(private).unwrap_or_default();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = [0; X25519_LEN];
        rng.try_fill_bytes(&mut private)?;
        *self = x25519_from_private(&private).ok_or(Error::Dh)?;
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let key = self.key.as_ref().ok_or(Error::Dh)?;
        // snow hands over its longest key buffer; only the first 32 bytes are the key.
        let public = public.get(..X25519_LEN).ok_or(Error::Dh)?;
        let out = out.get_mut(..X25519_LEN).ok_or(Error::Dh)?;
        agreement::agree(
            key,
            UnparsedPublicKey::new(&X25519, public),
            Error::Dh,
            |secret| {
                if secret.len() != out.len() || is_all_zero(secret) {
                    return Err(Error::Dh);
                }
                out.copy_from_slice(secret);
                Ok(())
            },
        )
    }
}

/// The X25519 public key for a private one; `None` if it is no key.
pub(crate) fn x25519_public(private: &[u8; X25519_LEN]) -> Option<[u8; X25519_LEN]> {
    x25519_from_private(private).map(|dh| dh.public)
}

fn x25519_from_private(private: &[u8]) -> Option<DhX25519> {
    let key = PrivateKey::from_private_key(&X25519, private).ok()?;
    let public = key.compute_public_key().ok()?.as_ref().try_into().ok()?;
    Some(DhX25519 {
        key: Some(key),
        private: private.try_into().ok()?,
        public,
    })
}

fn is_all_zero(secret: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(secret, &[0; X25519_LEN]).is_ok()
}

/// ML-KEM-768 of FIPS 203.
pub(crate) struct MlKem768 {
    key: Option<DecapsulationKey>,
    public: [u8; KEM_PUBLIC_LEN],
}

impl Default for MlKem768 {
    fn default() -> Self {
        Self {
            key: None,
            public: [0; KEM_PUBLIC_LEN],
        }
    }
}

impl Kem for MlKem768 {
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
        KEM_SECRET_LEN
    }

    /// aws-lc-rs draws its own random numbers, so `rng` is not used. On failure there is no key, and
    /// decapsulation fails.
    fn generate(&mut self, _rng: &mut dyn Random) {
        *self = kem_pair().unwrap_or_default();
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn encapsulate(
        &self,
        public: &[u8],
        secret_out: &mut [u8],
        ciphertext_out: &mut [u8],
    ) -> Result<(usize, usize), Error> {
        let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| Error::Kem)?;
        let (ciphertext, secret) = key.encapsulate().map_err(|_| Error::Kem)?;
        let secret = copy(secret.as_ref(), secret_out)?;
        Ok((secret, copy(ciphertext.as_ref(), ciphertext_out)?))
    }

    fn decapsulate(&self, ciphertext: &[u8], secret_out: &mut [u8]) -> Result<usize, Error> {
        let key = self.key.as_ref().ok_or(Error::Kem)?;
        let secret = key
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| Error::Kem)?;
        copy(secret.as_ref(), secret_out)
    }
}

#[cfg(test)]
impl MlKem768 {
    /// A key that can decapsulate but does not know its public part.
    pub(crate) fn from_decapsulation_key(bytes: &[u8]) -> Self {
        let key = DecapsulationKey::new(&ML_KEM_768, bytes).unwrap();
        Self {
            key: Some(key),
            public: [0; KEM_PUBLIC_LEN],
        }
    }
}

fn kem_pair() -> Option<MlKem768> {
    let key = DecapsulationKey::generate(&ML_KEM_768).ok()?;
    let public = key
        .encapsulation_key()
        .ok()?
        .key_bytes()
        .ok()?
        .as_ref()
        .try_into()
        .ok()?;
    Some(MlKem768 {
        key: Some(key),
        public,
    })
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<usize, Error> {
    to.get_mut(..from.len())
        .ok_or(Error::Kem)?
        .copy_from_slice(from);
    Ok(from.len())
}

/// ChaCha20-Poly1305 of RFC 8439 with Noise's nonces.
#[derive(Default)]
struct ChaChaPoly {
    key: Option<LessSafeKey>,
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = Some(aead_key(key));
    }

    #[expect(
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "snow sets a key before it encrypts; `noise` gives it buffers that hold the whole \
                  message; sealing fails on 2^38 bytes and more only. Going on without encryption \
                  would be worse than a panic"
    )]
    fn encrypt(&self, nonce: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self
            .key
            .as_ref()
            .expect("snow sets the key before it encrypts");
        let (body, tail) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let tag = key
            .seal_in_place_separate_tag(noise_nonce(nonce), Aad::from(ad), body)
            .expect("handshake messages are below the AEAD's limit");
        tail[..TAG_LEN].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.key.as_ref().ok_or(Error::Decrypt)?;
        let (body, tag) = ciphertext
            .split_last_chunk::<TAG_LEN>()
            .ok_or(Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        key.open_separate_gather(noise_nonce(nonce), Aad::from(ad), body, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(body.len())
    }
}

/// BLAKE2s-256 of RFC 7693.
#[derive(Default)]
struct HashBlake2s {
    state: Blake2s256,
}

impl Hash for HashBlake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        HASH_BLOCK_LEN
    }

    fn hash_len(&self) -> usize {
        HASH_LEN
    }

    fn reset(&mut self) {
        self.state = Blake2s256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.state.update(data);
    }

    #[expect(clippy::indexing_slicing, reason = "snow's hash buffers hold 64 bytes")]
    fn result(&mut self, out: &mut [u8]) {
        out[..HASH_LEN].copy_from_slice(&self.state.finalize_reset());
    }
}
