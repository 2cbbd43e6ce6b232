//! Ports of the gateway that lead to ours: by PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP (IGD:1 and 2).
//!
//! The first that works is used: the two small protocols in turn, while UPnP searches. What a gateway says is believed in one
//! thing alone, that this port of its leads to us; whether that is true, peers find out by dialling it.

mod pmp;
mod upnp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

pub(super) use crab_nat::pcp::Nonce;
pub(super) use upnp::Pinhole;

/// How long a mapping is asked for, in seconds: what a node leaves behind that was killed. Renewed at a quarter of it, so that
/// three renewals may fail, and a gateway that has lost it in a restart has it again in five minutes.
const LEASE: u32 = 1_200;

/// How often mappings are renewed, where the gateway grants what was asked for.
pub(super) const RENEW: Duration = Duration::from_secs(LEASE as u64 / 4);

/// Shortest lease that is of use, in seconds: it would have to be renewed every half minute.
const LEAST_LEASE: u32 = 60;

/// How often this one has to be renewed.
pub(super) fn renew_every(mapping: &Mapping) -> Duration {
    match mapping.lifetime_seconds {
        0 => RENEW,
        seconds => RENEW.min(Duration::from_secs(u64::from(seconds) / 2)),
    }
}

/// Characters of an error kept: gateways put whole pages into theirs.
const MAX_ERROR: usize = 200;

/// How to ask a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingProtocol {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl MappingProtocol {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// Bounded label for metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat_pmp",
            Self::Upnp => "upnp",
        }
    }
}

/// A port of the gateway that leads to ours, or a hole in its firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// How it was asked for.
    pub protocol: MappingProtocol,
    /// As the gateway has it; its own word.
    pub external: SocketAddr,
    /// Our socket.
    pub internal: SocketAddr,
    /// Who does it.
    pub gateway: IpAddr,
    /// For how long without a renewal; 0 where the gateway knows no end.
    pub lifetime_seconds: u32,
}

/// A protocol that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Which.
    pub protocol: MappingProtocol,
    /// Why.
    pub error: String,
}

/// Why there is no mapping.
#[derive(Debug, Error)]
pub(in crate::network::nat) enum MappingError {
    #[error("no default gateway is known")]
    NoGateway,
    #[error("it is not known on which interface our address is")]
    NoInterface,
    #[error("port 0 can't be mapped")]
    NoPort,
    #[error("{0}")]
    Pcp(#[from] crab_nat::pcp::Failure),
    #[error("{0}")]
    NatPmp(#[from] crab_nat::natpmp::Failure),
    #[error("no gateway found: {0}")]
    Search(#[from] igd_next::SearchError),
    #[error("{0}")]
    Upnp(String),
    #[error("the gateway did not answer in time")]
    Late,
    #[error("the gateway gives the port for {0} s only")]
    Short(u32),
    #[error("other hosts have all ports that were tried")]
    Taken,
}

impl MappingError {
    pub(super) fn attempt(&self, protocol: MappingProtocol) -> Attempt {
        let error = self.to_string();
        Attempt {
            protocol,
            // On its way to a terminal.
            error: error
                .chars()
                .take(MAX_ERROR)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        }
    }
}

/// A mapping and what is needed to renew and to remove it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) mapping: Mapping,
    lease: Lease,
}

#[derive(Debug)]
enum Lease {
    Pmp(pmp::Lease),
    Upnp(upnp::Lease),
}

impl Held {
    /// Asks for it anew; the external address may be another afterwards.
    pub(super) async fn renew(&mut self) -> Result<(), MappingError> {
        self.mapping = match &mut self.lease {
            Lease::Pmp(lease) => lease.renew().await?,
            Lease::Upnp(lease) => lease.renew().await?,
        };
        Ok(())
    }

    /// Gives it back.
    pub(super) async fn remove(&self) -> Result<(), MappingError> {
        match &self.lease {
            Lease::Pmp(lease) => lease.remove().await,
            Lease::Upnp(lease) => lease.remove().await,
        }
    }
}

/// What came of asking the gateway.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) held: Option<Held>,
    /// What did not work.
    pub(super) attempts: Vec<Attempt>,
    /// What the gateway says that its address is, where it gives no port.
    pub(super) external: Option<IpAddr>,
}

/// Maps a port of the gateway to `internal`, by the first of these protocols that works.
pub(super) async fn open(
    protocols: Vec<MappingProtocol>,
    internal: SocketAddrV4,
    gateway: Option<Ipv4Addr>,
    nonce: Nonce,
) -> Opened {
    let small = async {
        let mut attempts = Vec::new();
        for protocol in [MappingProtocol::Pcp, MappingProtocol::NatPmp] {
            if !protocols.contains(&protocol) {
                continue;
            }
            match pmp::open(protocol, internal, gateway, nonce).await {
                Ok((mapping, lease)) => {
                    let lease = Lease::Pmp(lease);
                    return (Some(Held { mapping, lease }), attempts);
                }
                Err(error) => attempts.push(error.attempt(protocol)),
            }
        }
        (None, attempts)
    };
    let asks_upnp = protocols.contains(&MappingProtocol::Upnp);
    let searching = async {
        match asks_upnp {
            true => Some(upnp::search(*internal.ip()).await),
            false => None,
        }
    };
    let ((mut held, mut attempts), found) = tokio::join!(small, searching);
    let mut external = None;
    if let (None, Some(found)) = (&held, found) {
        let mapped = match found {
            Ok(gateway) => {
                external = upnp::external(&gateway).await;
                upnp::open(gateway, internal, external).await
            }
            Err(error) => Err(error),
        };
        match mapped {
            Ok((mapping, lease)) => {
                let lease = Lease::Upnp(lease);
                held = Some(Held { mapping, lease });
            }
            Err(error) => attempts.push(error.attempt(MappingProtocol::Upnp)),
        }
    }
    Opened {
        held,
        attempts,
        external,
    }
}

/// A hole in the gateway's IPv6 firewall for `internal`.
pub(super) async fn open_pinhole(
    internal: SocketAddrV6,
    interface: Option<u32>,
) -> Result<Pinhole, Attempt> {
    let opened = match interface {
        Some(interface) => upnp::open_pinhole(internal, interface).await,
        None => Err(MappingError::NoInterface),
    };
    opened.map_err(|error| error.attempt(MappingProtocol::Upnp))
}
