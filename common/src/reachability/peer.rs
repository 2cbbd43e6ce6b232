//! [`GoodPeer`]: what the rest of the system is told about a peer that is good now.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Netgroup, Place};

/// Which transports a peer was seen to speak, as a bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Transports(u8);

impl Transports {
    /// None seen.
    pub const NONE: Self = Self(0);
    /// Hybrid post-quantum Noise.
    pub const NOISE: Self = Self(1);
    /// TLS 1.3 with a hybrid key exchange.
    pub const TLS: Self = Self(2);

    /// The set as its bits, for storage.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// A set from its bits; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::NOISE.0 | Self::TLS.0))
    }

    /// Whether every member of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Short names of the members, in a fixed order: `noise`, `tls`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(Self::NOISE, "noise"), (Self::TLS, "tls")]
            .into_iter()
            .filter_map(move |(member, name)| self.contains(member).then_some(name))
    }
}

/// How long a peer lets one wait, each as last measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// TCP connect, milliseconds.
    pub connect_ms: Option<u32>,
    /// Secure handshake, milliseconds.
    pub secure_ms: Option<u32>,
    /// Ping round trip, milliseconds.
    pub ping_ms: Option<u32>,
}

/// A peer whose verdict is good.
#[derive(Debug, Clone, PartialEq)]
pub struct GoodPeer {
    /// Where it listens; never IPv4-mapped IPv6.
    pub addr: SocketAddr,
    /// Service bits of its `version` message.
    pub services: u64,
    /// Protocol version of its `version` message.
    pub protocol_version: u32,
    /// User agent, at most 256 characters. Chosen by the peer: escape it wherever it is shown.
    pub user_agent: Arc<str>,
    /// Height that it showed headers for.
    pub height: u32,
    /// Transports it was seen to speak.
    pub transports: Transports,
    /// Its node id, when the transport proved one.
    pub node_id: Option<[u8; 32]>,
    /// Figure for drawing among good peers, 0 to 1; see [`super::Reliability::quality`].
    pub quality: f64,
    /// When a probe last passed, Unix seconds.
    pub last_ok_at: i64,
    /// Where its address is, if the crawler's operator has databases.
    pub place: Place,
    /// How long it lets one wait.
    pub latency: Latency,
}

impl GoodPeer {
    /// Somebody at this address, of whom nothing else is known.
    pub fn unknown(addr: SocketAddr) -> Self {
        Self {
            addr,
            services: 0,
            protocol_version: 0,
            user_agent: Arc::default(),
            height: 0,
            transports: Transports::NONE,
            node_id: None,
            quality: 0.0,
            last_ok_at: 0,
            place: Place::default(),
            latency: Latency::default(),
        }
    }

    /// The peers that it is counted with: its autonomous system where that is known, else [`Netgroup::of`].
    pub fn netgroup(&self) -> Netgroup {
        let system = self.place.system.map(Netgroup::As);
        system.unwrap_or_else(|| Netgroup::of(self.addr.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_a_set() {
        let both = Transports::NOISE.union(Transports::TLS);
        assert!(both.contains(Transports::TLS) && both.contains(Transports::NONE));
        assert!(!Transports::NOISE.contains(both));
        assert_eq!(Transports::from_bits(0xff), both);
        assert_eq!(both.names().collect::<Vec<_>>(), ["noise", "tls"]);
        assert_eq!(Transports::NONE.names().count(), 0);
    }
}
