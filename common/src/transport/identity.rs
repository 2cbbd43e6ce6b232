//! Who a node is: its long-term keys, the id made from them, and what it signs in a handshake.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;

use super::crypto::{X25519_LEN, x25519_public};
use super::error::HandshakeError;
use super::identity_file::{self, IdentityError};

/// Bytes of the ML-DSA-44 seed ξ from which the key pair follows (FIPS 204, algorithm 1).
pub(crate) const SEED_LEN: usize = 32;

/// Bytes of an ML-DSA-44 public key (FIPS 204, table 2).
pub(crate) const PUBLIC_KEY_LEN: usize = 1_312;

/// Bytes of an ML-DSA-44 signature (FIPS 204, table 2).
pub(crate) const SIGNATURE_LEN: usize = 2_420;

/// Bytes of the identity payload: public key and signature.
pub(crate) const IDENTITY_PAYLOAD: usize = PUBLIC_KEY_LEN + SIGNATURE_LEN;

/// Keeps these signatures apart from any other use of the key. Ends in a zero byte.
const DOMAIN: &[u8] = b"QuantumCoin transport identity v1\0";

/// The side of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Dialled.
    Initiator,
    /// Was dialled.
    Responder,
}

/// The long-term keys of one node: an ML-DSA-44 key pair, which is its identity, and an X25519 static
/// key for Noise.
pub struct Identity {
    seed: [u8; SEED_LEN],
    signing: PqdsaKeyPair,
    static_private: [u8; X25519_LEN],
    static_public: [u8; X25519_LEN],
    node_id: NodeId,
}

/// A node's name: the SHA-256 of its ML-DSA-44 public key. Written as base64url without padding, 43
/// characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 32]);

/// Why a text is no [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a node id is 43 characters of base64url without padding (32 bytes)")]
pub struct NodeIdError;

impl Identity {
    /// Makes new keys that nothing stores; for tests, one-off clients and [`Self::load_or_create`].
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] when the system gives no random numbers.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = [0; SEED_LEN];
        let mut static_private = [0; X25519_LEN];
        rand::fill(&mut seed).map_err(|_| IdentityError::Unusable("no random numbers"))?;
        rand::fill(&mut static_private)
            .map_err(|_| IdentityError::Unusable("no random numbers"))?;
        Self::from_secrets(seed, static_private)
    }

    /// Reads the keys from `path`, or makes them and stores them there (mode 0600) when there is no
    /// such file. The directory must exist. Blocks on the disk.
    ///
    /// # Errors
    /// [`IdentityError`] says what is wrong with the file and how to mend it. An existing file is never
    /// replaced.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        if let Some(secrets) = identity_file::load(path)? {
            return Self::from_secrets(secrets.seed, secrets.static_private);
        }
        let identity = Self::generate()?;
        identity_file::create(
            path,
            &identity_file::Secrets {
                seed: identity.seed,
                static_private: identity.static_private,
            },
        )?;
        Ok(identity)
    }

    /// The node's name.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The X25519 static public key.
    #[must_use]
    pub fn static_public_key(&self) -> [u8; 32] {
        self.static_public
    }

    /// The ML-DSA-44 public key, 1,312 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.signing.public_key().as_ref()
    }

    /// By which a port mapping of ours is known to a gateway (RFC 6887, 11.2): secret, and the same after a restart.
    pub(crate) fn pcp_nonce(&self) -> [u32; 3] {
        let mut context = Context::new(&SHA256);
        context.update(b"quantumcoin pcp nonce");
        context.update(self.static_private());
        let hash = context.finish();
        let mut words = hash.as_ref().chunks_exact(4).map(|word| {
            let word: [u8; 4] = word.try_into().unwrap_or_default();
            u32::from_be_bytes(word)
        });
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }

    pub(crate) fn static_private(&self) -> &[u8; X25519_LEN] {
        &self.static_private
    }

    /// The identity payload: public key and signature for this very handshake.
    pub(crate) fn prove(
        &self,
        role: Role,
        handshake_hash: &[u8; 32],
    ) -> Result<Vec<u8>, HandshakeError> {
        let message = signed_message(role, handshake_hash, &self.static_public);
        let signature = self.sign(&message);
        let signature = signature.ok_or(HandshakeError::Local("the identity key cannot sign"))?;
        Ok([self.public_key(), &signature].concat())
    }

    /// An ML-DSA-44 signature, pure and without context. `None` if the key cannot sign.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; SIGNATURE_LEN];
        let signed = self.signing.sign(message, &mut signature).ok()?;
        (signed == SIGNATURE_LEN).then_some(signature)
    }

    fn from_secrets(
        seed: [u8; SEED_LEN],
        static_private: [u8; X25519_LEN],
    ) -> Result<Self, IdentityError> {
        let signing = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed)
            .map_err(|_| IdentityError::Unusable("the ML-DSA-44 seed gives no key"))?;
        let static_public = x25519_public(&static_private).ok_or(IdentityError::Unusable(
            "the X25519 key gives no public key",
        ))?;
        let node_id = NodeId::of(signing.public_key().as_ref());
        Ok(Self {
            seed,
            signing,
            static_private,
            static_public,
            node_id,
        })
    }
}

/// Shows the public part only.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

/// Checks the peer's identity payload for this handshake and gives its name.
pub(crate) fn verify_identity(
    payload: &[u8],
    role: Role,
    handshake_hash: &[u8; 32],
    static_key: &[u8; X25519_LEN],
) -> Result<NodeId, HandshakeError> {
    let (public_key, signature) = payload
        .split_at_checked(PUBLIC_KEY_LEN)
        .filter(|(_, signature)| signature.len() == SIGNATURE_LEN)
        .ok_or(HandshakeError::IdentityForged)?;
    UnparsedPublicKey::new(&ML_DSA_44, public_key)
        .verify(&signed_message(role, handshake_hash, static_key), signature)
        .map_err(|_| HandshakeError::IdentityForged)?;
    Ok(NodeId::of(public_key))
}

/// Domain ‖ role (1 initiator, 2 responder) ‖ handshake hash (32) ‖ the signer's X25519 static (32).
pub(super) fn signed_message(
    role: Role,
    handshake_hash: &[u8; 32],
    static_key: &[u8; X25519_LEN],
) -> Vec<u8> {
    let role = match role {
        Role::Initiator => 1,
        Role::Responder => 2,
    };
    [DOMAIN, &[role], handshake_hash, static_key].concat()
}

impl NodeId {
    /// The name of the node with this ML-DSA-44 public key.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, public_key).as_ref());
        Self(id)
    }

    /// A name from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the name.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| NodeIdError)?;
        bytes.try_into().map(Self).map_err(|_| NodeIdError)
    }
}
