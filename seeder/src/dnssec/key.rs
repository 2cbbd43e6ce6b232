//! One key.

use aws_lc_rs::{
    digest,
    encoding::AsBigEndian as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};

use super::times::Times;
use crate::wire::name::WireName;

/// Bytes of a private key of either algorithm.
pub const SECRET: usize = 32;

/// The only protocol number (RFC 4034, 2.1.2).
const PROTOCOL: u8 = 3;

/// Flags of DNSKEY (RFC 4034, 2.1.1): a zone's key, and a secure entry point.
const ZONE_KEY: u16 = 256;
const ENTRY_POINT: u16 = 1;

/// SHA-256 as a DS digest (RFC 4509); the one that RFC 8624 demands.
const SHA256: u8 = 2;

/// The algorithms that we sign with; both are recommended by RFC 8624.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 6605): what all validators know.
    EcdsaP256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    /// The number that records carry.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// By that number.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            13 => Some(Self::EcdsaP256),
            15 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// As BIND's key files and tools name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The DNSKEY records; the parent's DS points to it.
    KeySigning,
    /// Everything else.
    ZoneSigning,
}

/// A key that can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The bytes are no key of that algorithm, or the two halves do not belong together.
    #[error("the private and the public part are no pair of {0}")]
    NoPair(&'static str),
    /// The system gives no random numbers, or the like.
    #[error("the cryptographic library failed")]
    Library,
}

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// One key of a zone.
pub struct Key {
    /// The zone.
    pub zone: WireName,
    /// DNSKEY flags: 257 for an entry point, 256 for others.
    pub flags: u16,
    /// When it does what.
    pub times: Times,
    secret: [u8; SECRET],
    public: Vec<u8>,
    pair: Pair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("zone", &self.zone)
            .field("tag", &self.tag())
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate(
        zone: WireName,
        algorithm: Algorithm,
        role: Role,
        times: Times,
    ) -> Result<Self, KeyError> {
        let (secret, public) = match algorithm {
            Algorithm::EcdsaP256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                    .map_err(|_| KeyError::Library)?;
                let scalar = pair
                    .private_key()
                    .as_be_bytes()
                    .map_err(|_| KeyError::Library)?;
                let secret = scalar.as_ref().try_into().map_err(|_| KeyError::Library)?;
                (secret, point(pair.public_key().as_ref())?)
            }
            Algorithm::Ed25519 => {
                let secret: [u8; SECRET] = random()?;
                let pair =
                    Ed25519KeyPair::from_seed_unchecked(&secret).map_err(|_| KeyError::Library)?;
                (secret, pair.public_key().as_ref().to_vec())
            }
        };
        let flags = match role {
            Role::KeySigning => ZONE_KEY | ENTRY_POINT,
            Role::ZoneSigning => ZONE_KEY,
        };
        Self::from_parts(zone, algorithm, flags, secret, public, times)
    }

    /// From its two halves, which must belong together.
    ///
    /// # Errors
    /// [`KeyError::NoPair`].
    pub fn from_parts(
        zone: WireName,
        algorithm: Algorithm,
        flags: u16,
        secret: [u8; SECRET],
        public: Vec<u8>,
        times: Times,
    ) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::NoPair(algorithm.name());
        let pair = match algorithm {
            Algorithm::EcdsaP256 => {
                // RFC 6605 leaves out the byte that says "uncompressed".
                let point = [&[4], public.as_slice()].concat();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, &point);
                Pair::EcdsaP256(pair.map_err(wrong)?)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&secret, &public);
                Pair::Ed25519(pair.map_err(wrong)?)
            }
        };
        Ok(Self {
            zone,
            flags,
            times,
            secret,
            public,
            pair,
        })
    }

    /// The same key with other times.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn with_times(&self, times: Times) -> Result<Self, KeyError> {
        let public = self.public.clone();
        let algorithm = self.algorithm();
        Self::from_parts(self.zone, algorithm, self.flags, self.secret, public, times)
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::EcdsaP256(_) => Algorithm::EcdsaP256,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Whether the parent's DS may point to it.
    #[must_use]
    pub const fn is_entry_point(&self) -> bool {
        self.flags & ENTRY_POINT != 0
    }

    /// The private part, for key files.
    #[must_use]
    pub const fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// The public part, as DNSKEY carries it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// RDATA of DNSKEY (RFC 4034, 2.1).
    #[must_use]
    pub fn dnskey(&self) -> Vec<u8> {
        let mut rdata = self.flags.to_be_bytes().to_vec();
        rdata.extend([PROTOCOL, self.algorithm().number()]);
        rdata.extend_from_slice(&self.public);
        rdata
    }

    /// The number that tells keys of a zone apart, mostly (RFC 4034, appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        tag(&self.dnskey())
    }

    /// RDATA of DS with SHA-256 (RFC 4034, 5.1; RFC 4509).
    #[must_use]
    pub fn ds(&self) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.zone.as_bytes());
        context.update(&self.dnskey());
        let mut rdata = self.tag().to_be_bytes().to_vec();
        rdata.extend([self.algorithm().number(), SHA256]);
        rdata.extend_from_slice(context.finish().as_ref());
        rdata
    }

    /// The signature of `message` in the form of RRSIG.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.pair {
            Pair::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::Ed25519(pair) => pair.try_sign(message),
        };
        Ok(signature.map_err(|_| KeyError::Library)?.as_ref().to_vec())
    }
}

/// The key tag of a DNSKEY's RDATA: its 16-bit words added up, the carry once.
#[must_use]
pub fn tag(dnskey: &[u8]) -> u16 {
    let sum = dnskey.iter().enumerate().fold(0_u32, |sum, (index, byte)| {
        let word = u32::from(*byte);
        // A DNSKEY has at most 64 KiB: no overflow.
        sum + if index % 2 == 0 { word << 8 } else { word }
    });
    // The low half is meant.
    (sum + (sum >> 16)) as u16
}

/// x and y without the byte before them.
fn point(public: &[u8]) -> Result<Vec<u8>, KeyError> {
    match public {
        [4, point @ ..] => Ok(point.to_vec()),
        _ => Err(KeyError::Library),
    }
}

fn random() -> Result<[u8; SECRET], KeyError> {
    let mut bytes = [0; SECRET];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Library)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
