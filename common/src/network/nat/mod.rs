//! How a node behind a router becomes reachable, and knows the truth about it.
//!
//! ```text
//! STUN servers ──> stun ──────┐ kind of NAT, our address by a vote
//! gateway ──────> mapping ────┤ a port of its own that leads to ours
//!                             v
//!                 service (one task) ──watch──> hub ──> what is advertised, status, metrics
//! peers ──dial-backs──────────────────────────> hub (verdict)
//! ```
//! The service asks the STUN servers and the gateway at the start and whenever one of them, or peers, tell of another address
//! than before; it renews the mapping and removes it at the end. Whether the address that follows is reachable, peers of
//! different netgroups show by dialling it ([`verdict`], and the messages in [`crate::network::protocol::dial_back`]).
//!
//! | room | what it does |
//! |---|---|
//! | `stun` | messages, exchanges, kinds of NAT, the vote over servers |
//! | `mapping` | PCP, NAT-PMP, UPnP; holes in IPv6 firewalls |
//! | `gateway` | where the default gateway is |
//! | `vote`, `verdict` | whom to believe (pure) |
//! | `service`, `keeping` | the task; what it holds at the gateway |
//!
//! Whom to trust: no single STUN server (a majority), no gateway (its word on the external address is only shown, never
//! advertised), no single peer (two netgroups). All that is silent, slow or talks nonsense costs time in this task alone.

mod gateway;
mod keeping;
mod mapping;
pub(crate) mod service;
mod stun;
pub mod verdict;
mod vote;

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

pub use mapping::{Attempt, Mapping, MappingProtocol};
pub use stun::NatKind;
pub use stun::probe::{Probe, ServerReport};
pub use verdict::Reachability;

use stun::probe::{self, Family};

/// STUN servers asked where none are configured, of different operators. Which of them have two addresses, as RFC 5780 needs them,
/// turns out when they are asked.
pub const PUBLIC_STUN_SERVERS: [&str; 5] = [
    "stunserver2025.stunprotocol.org:3478",
    "stun.nextcloud.com:3478",
    "stun.cloudflare.com:3478",
    "stun.l.google.com:19302",
    "stun.sipgate.net:3478",
];

/// Whether the node looks for its own address and asks gateways for ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NatMode {
    /// On networks of public addresses, when it does not listen on loopback.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What an operator may set of it.
#[derive(Debug, Clone)]
pub struct NatSettings {
    /// Whether to.
    pub mode: NatMode,
    /// STUN servers, `host:port`; empty asks none.
    pub stun_servers: Vec<String>,
    /// How to ask gateways; empty asks none.
    pub protocols: Vec<MappingProtocol>,
}

impl NatSettings {
    /// Whether a node that listens there is to look for its own address.
    pub(in crate::network) fn is_on(&self, listen: IpAddr, allow_private: bool) -> bool {
        match self.mode {
            NatMode::Auto => !allow_private && !listen.is_loopback(),
            NatMode::On => true,
            NatMode::Off => false,
        }
    }
}

impl Default for NatSettings {
    fn default() -> Self {
        Self {
            mode: NatMode::Auto,
            stun_servers: PUBLIC_STUN_SERVERS.map(str::to_owned).to_vec(),
            protocols: MappingProtocol::ALL.to_vec(),
        }
    }
}

/// What the service knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NatReport {
    /// Whether it runs.
    pub enabled: bool,
    /// Whether it has had a first look.
    #[serde(skip)]
    pub looked: bool,
    /// What STUN says of IPv4; `None` before the first answer, or without IPv4.
    pub v4: Option<Probe>,
    /// The same of IPv6.
    pub v6: Option<Probe>,
    /// The port of the gateway that leads to us.
    pub mapping: Option<Mapping>,
    /// The hole in its IPv6 firewall.
    pub pinhole: Option<Mapping>,
    /// What the gateway says that its address is.
    pub gateway_external: Option<IpAddr>,
    /// Whether there is another translation behind the gateway: of a second router, or the provider's (CGNAT).
    pub double_nat: bool,
    /// What did not work when the gateway was asked last.
    pub attempts: Vec<Attempt>,
    /// How often our address has changed.
    pub changes: u64,
    /// What has happened, the latest last.
    pub events: VecDeque<NatEvent>,
}

/// Something that happened to our address or to the way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NatEvent {
    /// When, Unix seconds.
    pub at: u64,
    /// In words.
    pub what: String,
}

/// Latest events kept: with a gateway that fails at each renewal, the last hours.
const KEPT_EVENTS: usize = 32;

impl NatReport {
    fn note(&mut self, at: u64, what: String) {
        if self.events.len() >= KEPT_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(NatEvent { at, what });
    }

    /// How the world sees us, in each family.
    fn externals(&self) -> [Option<IpAddr>; 2] {
        [true, false].map(|v4| self.probe(v4)?.external)
    }

    /// What was found for this family.
    pub(in crate::network) fn probe(&self, v4: bool) -> Option<&Probe> {
        if v4 {
            self.v4.as_ref()
        } else {
            self.v6.as_ref()
        }
    }
}

/// The address of ours that packets to the world leave from; `None` without a way there.
pub(in crate::network) fn local_address(v4: bool) -> Option<IpAddr> {
    probe::local_address(if v4 { Family::V4 } else { Family::V6 })
}

/// What the fuzz targets in `fuzz/` need of the inside.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use std::net::SocketAddr;

    /// Reads bytes as the answer to the request that they name: our address and the server's other one.
    #[must_use]
    pub fn stun_answer(bytes: &[u8]) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let named = super::stun::message::transaction(bytes)?;
        let answer = super::stun::message::read(bytes, &named).ok()?;
        Some((answer.mapped, answer.other))
    }
}

/// Asks the STUN servers once, for both families; without a node.
///
/// # Errors
/// When no socket can be had.
pub async fn probe_now(
    servers: &[String],
    bind: Option<IpAddr>,
) -> std::io::Result<(Option<Probe>, Option<Probe>)> {
    let one = async |family: Family| {
        let local = match bind {
            Some(ip) => family.has(ip).then_some(ip),
            None => probe::local_address(family),
        };
        match local {
            Some(local) => probe::probe(servers, local).await.map(Some),
            None => Ok(None),
        }
    };
    let (v4, v6) = tokio::join!(one(Family::V4), one(Family::V6));
    Ok((v4?, v6?))
}
