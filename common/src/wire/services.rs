//! Service bits: what a node says it offers, in `version`, `addr` and `addrv2`.

use bitcoin::p2p::ServiceFlags;

/// Serves the whole chain (Bitcoin's `NODE_NETWORK`, bit 0).
pub const NETWORK: ServiceFlags = ServiceFlags::NETWORK;

/// Serves blocks and transactions with witnesses (BIP 144, bit 3).
pub const WITNESS: ServiceFlags = ServiceFlags::WITNESS;

/// Serves the last 288 blocks at least (BIP 159, bit 10).
pub const NETWORK_LIMITED: ServiceFlags = ServiceFlags::NETWORK_LIMITED;

/// Accepts the hybrid post-quantum Noise handshake (`docs/transport.md`). Bit 24: the first of the bits
/// 24 to 31 that Bitcoin's protocol leaves to experiments.
pub const NOISE: u64 = 1 << 24;

/// Accepts TLS 1.3 with a post-quantum key exchange. Bit 25, from the same range.
pub const TLS: u64 = 1 << 25;

/// Whether `services` has every bit of `wanted`.
#[must_use]
pub fn has(services: u64, wanted: u64) -> bool {
    services & wanted == wanted
}
