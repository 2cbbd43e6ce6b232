//! One direction of an established connection: AEAD key, length mask, record counter, rekey. No I/O.
//!
//! The AEAD is the Noise transport cipher state (Noise revision 34, section 5.1): ChaCha20-Poly1305,
//! nonce = four zero bytes and the counter in little endian, no associated data. `REKEY` is section
//! 4.2's; the counter goes on across it. The length mask comes from a key of its own, derived from each
//! AEAD key with a nonce that no record ever uses.

use aws_lc_rs::aead::quic::{CHACHA20, HeaderProtectionKey};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::error::RecordError;
use super::record::REKEY_INTERVAL;

/// Bytes of a ChaCha20-Poly1305 key.
pub(crate) const KEY_LEN: usize = 32;

/// Bytes of a Poly1305 tag.
pub(crate) const TAG_LEN: usize = 16;

/// The nonce that Noise reserves for `REKEY` (revision 34, section 4.2).
const REKEY_NONCE: u64 = u64::MAX;

/// The nonce from which the length-mask key is derived; like [`REKEY_NONCE`] no record ever uses it.
const MASK_NONCE: u64 = u64::MAX - 1;

/// Records in one direction after which the connection ends, far below the reserved nonces. At a
/// million records a second it is nine years away.
const MAX_RECORDS: u64 = 1 << 48;

/// The keys and the counter of one direction.
pub(crate) struct DirectionCipher {
    aead: LessSafeKey,
    mask: HeaderProtectionKey,
    counter: u64,
}

impl DirectionCipher {
    /// Starts a direction with the key that the Noise split gave for it.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let aead = aead_key(key);
        Self {
            mask: mask_key(&aead),
            aead,
            counter: 0,
        }
    }

    /// The two bytes that hide the length of the next record: the first bytes of the ChaCha20 block
    /// with the mask key, block counter 0 and the record's own nonce.
    pub(crate) fn length_mask(&self) -> Result<[u8; 2], RecordError> {
        let mut sample = [0_u8; 16];
        sample[8..].copy_from_slice(&self.counter.to_le_bytes());
        let mask = self
            .mask
            .new_mask(&sample)
            .map_err(|_| RecordError::Exhausted)?;
        Ok([mask[0], mask[1]])
    }

    /// Encrypts `data` in place and returns its tag; counts the record and rekeys when it is due.
    pub(crate) fn seal(&mut self, data: &mut [u8]) -> Result<[u8; TAG_LEN], RecordError> {
        let nonce = self.next_nonce()?;
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::empty(), data)
            .map_err(|_| RecordError::Exhausted)?;
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        self.rekey_when_due();
        Ok(bytes)
    }

    /// Checks and decrypts `sealed` (ciphertext and tag) to the end of `out`; counts the record and rekeys when it is
    /// due. Decrypting to where the bytes belong saves moving them.
    pub(crate) fn open(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let nonce = self.next_nonce()?;
        let Some((body, tag)) = sealed.split_last_chunk::<TAG_LEN>() else {
            return Err(RecordError::Decrypt);
        };
        let start = out.len();
        out.resize(start + body.len(), 0);
        let plaintext = out.get_mut(start..).unwrap_or_default();
        let opened = self
            .aead
            .open_separate_gather(nonce, Aad::empty(), body, tag, plaintext);
        self.rekey_when_due();
        opened.map_err(|_| {
            out.truncate(start);
            RecordError::Decrypt
        })
    }

    fn next_nonce(&mut self) -> Result<Nonce, RecordError> {
        if self.counter >= MAX_RECORDS {
            return Err(RecordError::Exhausted);
        }
        let nonce = noise_nonce(self.counter);
        self.counter += 1;
        Ok(nonce)
    }

    fn rekey_when_due(&mut self) {
        if self.counter.is_multiple_of(REKEY_INTERVAL) {
            self.aead = aead_key(&derive(&self.aead, REKEY_NONCE));
            self.mask = mask_key(&self.aead);
        }
    }
}

/// Makes an AEAD key.
#[expect(
    clippy::expect_used,
    reason = "UnboundKey::new fails on a wrong length only"
)]
pub(crate) fn aead_key(key: &[u8; KEY_LEN]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
    LessSafeKey::new(key)
}

/// Noise's ChaChaPoly nonce: 32 zero bits and the counter in little endian (revision 34, section 12.3).
pub(crate) fn noise_nonce(counter: u64) -> Nonce {
    let mut nonce = [0_u8; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[expect(
    clippy::expect_used,
    reason = "HeaderProtectionKey::new fails on a wrong length only"
)]
fn mask_key(aead: &LessSafeKey) -> HeaderProtectionKey {
    HeaderProtectionKey::new(&CHACHA20, &derive(aead, MASK_NONCE)).expect("the key has 32 bytes")
}

/// The first 32 bytes of the encryption of 32 zero bytes under `nonce` without associated data.
#[expect(
    clippy::expect_used,
    reason = "sealing fails on 2^38 bytes and more only"
)]
fn derive(aead: &LessSafeKey, nonce: u64) -> [u8; KEY_LEN] {
    let mut key = [0_u8; KEY_LEN];
    let _tag = aead
        .seal_in_place_separate_tag(noise_nonce(nonce), Aad::empty(), &mut key)
        .expect("32 bytes are below the AEAD's limit");
    key
}
