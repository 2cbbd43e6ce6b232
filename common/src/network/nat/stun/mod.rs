//! What the world sees of us, by STUN: messages, exchanges over a socket, and what follows from the answers.

mod exchange;
pub(super) mod message;
pub(super) mod probe;
mod typing;

pub use typing::NatKind;
