//! The hybrid Noise handshake as a state machine over bytes: prologue, frames, steps. No I/O.
//!
//! `Noise_XXhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s`, all payloads empty:
//!
//! ```text
//! -> e, e1                    32 + 1184                            = 1216 bytes
//! <- e, ee, ekem1, s, es      32 + (1088 + 16) + (32 + 16) + 16    = 1200 bytes
//! -> s, se                    (32 + 16) + 16                       =   64 bytes
//! ```

use snow::params::{BaseChoice, CipherChoice, DHChoice, HashChoice, KemChoice, NoiseParams};
use snow::{Builder, HandshakeState};

use super::cipher::{KEY_LEN, TAG_LEN};
use super::crypto::{KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, Primitives, X25519_LEN};
use super::endpoint::TransportKind;
use super::error::{HandshakeError, HandshakeStep};
use super::identity::Role;

/// The protocol's name: hashed at the start, so both sides must agree on every part of it.
pub(crate) const PROTOCOL_NAME: &str = "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s";

/// Version of everything that `docs/transport.md` describes; part of the prologue.
const TRANSPORT_VERSION: u16 = 1;

/// Bytes of the length before each handshake message.
pub(crate) const FRAME_HEADER: usize = 2;

/// Bytes of message 1: `e, e1`.
pub(crate) const MESSAGE_1: usize = X25519_LEN + KEM_PUBLIC_LEN;

/// Bytes of message 2: `e, ekem1, s` and an empty payload; the last three are encrypted.
pub(crate) const MESSAGE_2: usize =
    X25519_LEN + (KEM_CIPHERTEXT_LEN + TAG_LEN) + (X25519_LEN + TAG_LEN) + TAG_LEN;

/// Bytes of message 3: `s` and an empty payload, both encrypted.
pub(crate) const MESSAGE_3: usize = (X25519_LEN + TAG_LEN) + TAG_LEN;

/// Room for any message: snow demands a tag's room even where none is written.
const SCRATCH: usize = MESSAGE_1 + 256;

/// The handshake under way on one side.
pub(crate) struct Noise {
    state: Box<HandshakeState>,
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
    /// Starts one side with its X25519 static key.
    pub(crate) fn new(
        role: Role,
        static_key: &[u8; X25519_LEN],
        prologue: &[u8],
    ) -> Result<Self, HandshakeError> {
        let local = |_| HandshakeError::Local("the Noise state cannot be set up");
        let builder = Builder::with_resolver(params().map_err(local)?, Box::new(Primitives))
            .local_private_key(static_key)
            .and_then(|builder| builder.prologue(prologue))
            .map_err(local)?;
        let state = match role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        };
        Ok(Self {
            state: Box::new(state.map_err(local)?),
        })
    }

    /// The next message of ours as a frame: its length and itself.
    pub(crate) fn write(&mut self, step: HandshakeStep) -> Result<Vec<u8>, HandshakeError> {
        let mut frame = vec![0; FRAME_HEADER + SCRATCH];
        let (header, message) = frame.split_at_mut(FRAME_HEADER);
        let length = self
            .state
            .write_message(&[], message)
            .map_err(|e| refusal(&e, step))?;
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

/// Bytes that a message of `step` has; the others are no Noise messages.
pub(crate) const fn message_length(step: HandshakeStep) -> usize {
    match step {
        HandshakeStep::Message1 => MESSAGE_1,
        HandshakeStep::Message2 => MESSAGE_2,
        HandshakeStep::Message3 => MESSAGE_3,
        HandshakeStep::Identity | HandshakeStep::Tls | HandshakeStep::Binding => 0,
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

/// snow cannot parse the name (its only KEM is called Kyber1024), so the parts are given one by one.
/// Only the name is hashed; the KEM is whatever our resolver gives for the placeholder.
fn params() -> Result<NoiseParams, snow::Error> {
    Ok(NoiseParams::new(
        PROTOCOL_NAME.to_owned(),
        BaseChoice::Noise,
        "XXhfs".parse()?,
        DHChoice::Curve25519,
        Some(KemChoice::Kyber1024),
        CipherChoice::ChaChaPoly,
        HashChoice::Blake2s,
    ))
}

fn refusal(error: &snow::Error, step: HandshakeStep) -> HandshakeError {
    match error {
        snow::Error::Dh | snow::Error::Kem => HandshakeError::InvalidKey { step },
        snow::Error::Decrypt | snow::Error::Input => {
            HandshakeError::WrongNetworkOrTampering { step }
        }
        snow::Error::Rng => HandshakeError::Local("no random numbers"),
        _ => HandshakeError::Local("the Noise state is out of order"),
    }
}
