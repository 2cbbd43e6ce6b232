//! The hybrid Noise handshake as a state machine over bytes: prologue, frames, steps. No I/O.
//!
//! `Noise_XXhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s`, all payloads empty:
//!
//! ```text
//! -> e, e1                    32 + 1184                            = 1216 bytes
//! <- e, ee, ekem1, s, es      32 + (1088 + 16) + (32 + 16) + 16    = 1200 bytes
//! -> s, se                    (32 + 16) + 16                       =   64 bytes
//! ```
//!
//! and, when the initiator knows the responder's static key, `Noise_XKhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s`:
//!
//! ```text
//! <- s                        known before
//! -> e, es, e1                32 + (1184 + 16) + 16                = 1248 bytes
//! <- e, ee, ekem1             32 + (1088 + 16) + 16                = 1152 bytes
//! -> s, se                    (32 + 16) + 16                       =   64 bytes
//! ```
//!
//! The length of the first message tells which of them it is.

use snow::params::{BaseChoice, CipherChoice, DHChoice, HashChoice, KemChoice, NoiseParams};
use snow::{Builder, HandshakeState};

use super::cipher::{KEY_LEN, TAG_LEN};
use super::crypto::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, Primitives, X25519_LEN};
use super::endpoint::TransportKind;
use super::error::{HandshakeError, HandshakeStep};

/// Version of everything that `docs/transport.md` describes; part of the prologue.
const TRANSPORT_VERSION: u16 = 1;

/// Bytes of the length before each handshake message.
pub(crate) const FRAME_HEADER: usize = 2;

/// Room for any message: snow demands a tag's room even where none is written.
const SCRATCH: usize = NoisePattern::Xk.message_length(HandshakeStep::Message1) + 256;

/// A handshake pattern of Noise with the hybrid forward secrecy extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoisePattern {
    /// XXhfs: both sides say their static keys.
    Xx,
    /// XKhfs: the initiator knows the responder's static key, and says its own.
    Xk,
}

impl NoisePattern {
    /// Every pattern.
    pub(crate) const ALL: [Self; 2] = [Self::Xx, Self::Xk];

    /// The pattern whose first message has this length, if there is one.
    pub(crate) fn of_first_message(length: usize) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|pattern| pattern.message_length(HandshakeStep::Message1) == length)
    }

    /// Its name in Noise.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xx => "XXhfs",
            Self::Xk => "XKhfs",
        }
    }

    /// The protocol's name: hashed at the start, so both sides must agree on every part of it.
    pub(crate) const fn protocol_name(self) -> &'static str {
        match self {
            Self::Xx => "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s",
            Self::Xk => "Noise_XKhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s",
        }
    }

    /// Bytes that a message of `step` has; the steps after these are no Noise messages.
    pub(crate) const fn message_length(self, step: HandshakeStep) -> usize {
        const KEM_CIPHERTEXT: usize = KEM_CIPHERTEXT_LEN + TAG_LEN;
        const STATIC: usize = X25519_LEN + TAG_LEN;
        match (step, self) {
            (HandshakeStep::Message1, Self::Xx) => X25519_LEN + KEM_PUBLIC_LEN,
            (HandshakeStep::Message1, Self::Xk) => {
                X25519_LEN + (KEM_PUBLIC_LEN + TAG_LEN) + TAG_LEN
            }
            (HandshakeStep::Message2, Self::Xx) => X25519_LEN + KEM_CIPHERTEXT + STATIC + TAG_LEN,
            (HandshakeStep::Message2, Self::Xk) => X25519_LEN + KEM_CIPHERTEXT + TAG_LEN,
            (HandshakeStep::Message3, _) => STATIC + TAG_LEN,
            (HandshakeStep::Identity | HandshakeStep::Tls | HandshakeStep::Binding, _) => 0,
        }
    }

    /// snow cannot parse the name (its only KEM is called Kyber1024), so the parts are given one by one.
    /// Only the name is hashed; the KEM is whatever our resolver gives for the placeholder.
    pub(super) fn params(self) -> Result<NoiseParams, snow::Error> {
        Ok(NoiseParams::new(
            self.protocol_name().to_owned(),
            BaseChoice::Noise,
            self.as_str().parse()?,
            DHChoice::Curve25519,
            Some(KemChoice::Kyber1024),
            CipherChoice::ChaChaPoly,
            HashChoice::Blake2s,
        ))
    }
}

/// The handshake under way on one side.
pub(crate) struct Noise {
    state: Box<HandshakeState>,
    pattern: NoisePattern,
}

/// What a finished handshake gives.
pub(crate) struct Established {
    /// Key for what the initiator sends.
    pub(crate) initiator_key: [u8; KEY_LEN],
    /// Key for what the responder sends.
    pub(crate) responder_key: [u8; KEY_LEN],
    /// The hash of everything both sides said; unique to this connection.
    pub(crate) handshake_hash: [u8; 32],
    /// The peer's X25519 static key.
    pub(crate) remote_static: [u8; X25519_LEN],
}

impl Noise {
    /// Starts the side that dials with its X25519 static key: XK when it knows the other's, else XX.
    pub(crate) fn initiator(
        static_key: &[u8; X25519_LEN],
        known: Option<&[u8; X25519_LEN]>,
        prologue: &[u8],
    ) -> Result<Self, HandshakeError> {
        let pattern = known.map_or(NoisePattern::Xx, |_| NoisePattern::Xk);
        Self::set_up(pattern, static_key, prologue, |mut builder| {
            if let Some(key) = known {
                builder = builder.remote_public_key(key)?;
            }
            builder.build_initiator()
        })
    }

    /// Starts the side that was dialled with its X25519 static key.
    pub(crate) fn responder(
        pattern: NoisePattern,
        static_key: &[u8; X25519_LEN],
        prologue: &[u8],
    ) -> Result<Self, HandshakeError> {
        Self::set_up(pattern, static_key, prologue, Builder::build_responder)
    }

    fn set_up<'a>(
        pattern: NoisePattern,
        static_key: &'a [u8; X25519_LEN],
        prologue: &'a [u8],
        build: impl FnOnce(Builder<'a>) -> Result<HandshakeState, snow::Error>,
    ) -> Result<Self, HandshakeError> {
        let state = pattern.params().and_then(|params| {
            let builder = Builder::with_resolver(params, Box::new(Primitives));
            build(builder.local_private_key(static_key)?.prologue(prologue)?)
        });
        let state = state.map_err(|_| HandshakeError::Local("the Noise state cannot be set up"))?;
        Ok(Self {
            state: Box::new(state),
            pattern,
        })
    }

    /// The pattern of this handshake.
    pub(crate) fn pattern(&self) -> NoisePattern {
        self.pattern
    }

    /// The next message of ours as a frame: its length and itself.
    pub(crate) fn write(&mut self, step: HandshakeStep) -> Result<Vec<u8>, HandshakeError> {
        let mut frame = vec![0; FRAME_HEADER + SCRATCH];
        let (header, message) = frame.split_at_mut(FRAME_HEADER);
        let length = self
            .state
            .write_message(&[], message)
            .map_err(|e| refusal(&e, step.answered_here()))?;
        let wire_length = u16::try_from(length)
            .map_err(|_| HandshakeError::Local("a handshake message is too long"))?;
        header.copy_from_slice(&wire_length.to_be_bytes());
        frame.truncate(FRAME_HEADER + length);
        Ok(frame)
    }

    /// Takes the peer's next message (without its length).
    pub(crate) fn read(
        &mut self,
        step: HandshakeStep,
        message: &[u8],
    ) -> Result<(), HandshakeError> {
        let mut payload = [0; SCRATCH];
        self.state
            .read_message(message, &mut payload)
            .map_err(|e| refusal(&e, step))?;
        Ok(())
    }

    /// Ends the handshake after its last message.
    pub(crate) fn finish(mut self) -> Result<Established, HandshakeError> {
        let unfinished = HandshakeError::Local("the handshake is not finished");
        if !self.state.is_handshake_finished() {
            return Err(unfinished);
        }
        let (initiator_key, responder_key) = self.state.dangerously_get_raw_split();
        let remote_static = self
            .state
            .get_remote_static()
            .and_then(|key| key.try_into().ok());
        let (Some(remote_static), Ok(handshake_hash)) =
            (remote_static, self.state.get_handshake_hash().try_into())
        else {
            return Err(unfinished);
        };
        Ok(Established {
            initiator_key,
            responder_key,
            handshake_hash,
            remote_static,
        })
    }

    #[cfg(test)]
    pub(crate) fn into_state(self) -> HandshakeState {
        *self.state
    }
}

/// What both sides must agree on before the first byte: magic (4) ‖ length of the network name (u64) ‖
/// network name ‖ transport version (u16) ‖ number of offered transports (u8) ‖ their codes (u8 each),
/// in big endian.
pub(crate) fn prologue(magic: [u8; 4], network: &str, offered: &[TransportKind]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&(network.len() as u64).to_be_bytes());
    bytes.extend_from_slice(network.as_bytes());
    bytes.extend_from_slice(&TRANSPORT_VERSION.to_be_bytes());
    // Each kind is offered at most once and there are fewer than 256 kinds.
    bytes.push(u8::try_from(offered.len()).unwrap_or(u8::MAX));
    bytes.extend(offered.iter().map(|kind| kind.code()));
    bytes
}

fn refusal(error: &snow::Error, step: HandshakeStep) -> HandshakeError {
    match error {
        snow::Error::Dh | snow::Error::Kem => HandshakeError::InvalidKey { step },
        snow::Error::Decrypt if step == HandshakeStep::Message1 => HandshakeError::NotForUs,
        snow::Error::Decrypt | snow::Error::Input => {
            HandshakeError::WrongNetworkOrTampering { step }
        }
        snow::Error::Rng => HandshakeError::Local("no random numbers"),
        _ => HandshakeError::Local("the Noise state is out of order"),
    }
}
