//! Tests of the transport as a whole, over in-memory streams.

pub(crate) mod handshake;
mod identity;
mod kem;
mod known_answers;
mod noise;
mod recorder;
mod records;
mod streams;
mod tls;
mod vectors;

use std::sync::Arc;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use crate::chain_spec::ChainSpec;

use super::{Endpoint, HandshakeError, Identity, Secured};

/// A devnet endpoint with a new identity.
pub(super) fn endpoint() -> Endpoint {
    endpoint_of(&spec("devnet"))
}

pub(super) fn endpoint_of(spec: &ChainSpec) -> Endpoint {
    Endpoint::new(spec, Arc::new(Identity::generate().unwrap()))
}

/// A spec of which only the parts that the transport looks at have a meaning.
pub(super) fn spec(network: &str) -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    spec.network = network.to_owned();
    spec
}

pub(super) type Outcome = Result<Secured<DuplexStream>, HandshakeError>;

/// Handshakes two endpoints over a pipe of `capacity` bytes.
pub(super) async fn shake(
    dials: &Endpoint,
    accepts: &Endpoint,
    capacity: usize,
) -> (Outcome, Outcome) {
    let (near, far) = duplex(capacity);
    tokio::join!(dials.connect(near), accepts.accept(far))
}

/// What a responder says of somebody who sends these bytes and closes.
pub(super) async fn accept_bytes(bytes: &[u8]) -> HandshakeError {
    let (mut near, far) = duplex(64 * 1024);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    endpoint().accept(far).await.unwrap_err()
}

/// Two connected ends.
pub(in crate::transport) async fn connected() -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let (dialled, accepted) = shake(&endpoint(), &endpoint(), 64 * 1024).await;
    (dialled.unwrap(), accepted.unwrap())
}
