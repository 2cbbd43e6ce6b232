//! How a node is doing, for people and programs.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::network::connections::Purpose;
use crate::network::discovery::SeedReport;
use crate::network::nat::{NatReport, Reachability};
use crate::network::security::events::SecurityEvent;
use crate::network::security::offence::Offence;
use crate::network::security::operator::OperatorBan;
use crate::network::security::standing::Ban;

/// A snapshot of a running [`super::NetworkManager`].
#[derive(Debug, Clone, Serialize)]
pub struct NetworkStatus {
    /// Network name, e.g. `mainnet`.
    pub network: String,
    /// Our identity, base64url.
    pub node_id: String,
    /// Where we listen.
    pub listen_addr: SocketAddr,
    /// Where others see us, when it is known.
    pub external: Option<ExternalAddress>,
    /// What is between us and the world.
    pub nat: NatStatus,
    /// Connections that we opened.
    pub outbound: usize,
    /// Connections that others opened.
    pub inbound: usize,
    /// Each peer.
    pub peers: Vec<PeerStatus>,
    /// Synchronisation.
    pub sync: SyncProgress,
    /// Addresses in the book.
    pub known_addresses: usize,
    /// Of these, ones that we have met.
    pub tried_addresses: usize,
    /// What the seeds answered in the last round.
    pub seeds: Vec<SeedReport>,
    /// What defence did.
    pub security: SecurityStatus,
}

/// What is between us and the world, and whether others can get in.
#[derive(Debug, Clone, Serialize)]
pub struct NatStatus {
    /// What STUN servers and the gateway say.
    #[serde(flatten)]
    pub report: NatReport,
    /// What peers have shown by dialling us.
    pub reachable: Reachability,
    /// Netgroups whose dial-backs have arrived lately.
    pub confirmed_by: usize,
    /// What is told to peers.
    pub advertised: Option<SocketAddr>,
    /// The same of the other family of addresses.
    pub also_advertised: Option<SocketAddr>,
}

/// Where others see us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExternalAddress {
    /// Address and port that we announce.
    pub addr: SocketAddr,
    /// Peers of ours that see this address; 0 when an operator set it.
    pub votes: usize,
    /// Whether it is an address of this machine's own listener, so that no translation is between.
    pub direct: bool,
}

/// How far the chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SyncProgress {
    /// Height of the best valid header.
    pub header_height: u32,
    /// Height of the best verified block.
    pub block_height: u32,
    /// Its hash.
    #[serde(serialize_with = "display")]
    pub tip: bitcoin::BlockHash,
    /// Blocks asked for and not received.
    pub in_flight: usize,
    /// Whether all peers have told their headers and every block of the best chain is verified.
    pub synced: bool,
    /// Distinct nodes that we are connected to.
    pub peers: usize,
    /// Whether a storage failure has stopped synchronisation; the log says which.
    pub failed: bool,
}

/// One peer.
#[derive(Debug, Clone, Serialize)]
pub struct PeerStatus {
    /// Number of the connection.
    pub id: u64,
    /// Its address.
    pub addr: SocketAddr,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// What we dialled it for, if we did: `full` or `block_only`.
    pub purpose: Option<Purpose>,
    /// Its identity, base64url.
    pub node_id: String,
    /// How it is encrypted.
    pub transport: &'static str,
    /// By which pattern, where that is Noise: `XXhfs`, or `XKhfs` when the one that dialled knew the other's key.
    pub pattern: Option<&'static str>,
    /// Its user agent.
    pub user_agent: String,
    /// Protocol version.
    pub protocol_version: u32,
    /// Service bits.
    pub services: u64,
    /// Its netgroup: an autonomous system where there is a map of them, or an IPv4 /16 or IPv6 /32.
    pub netgroup: String,
    /// Whether the operator wants it to be connected at all times.
    pub kept: bool,
    /// Height that it is known or claims to have.
    pub height: u32,
    /// Seconds that the connection stands.
    pub connected_seconds: u64,
    /// Round trip of the last ping in microseconds.
    pub ping_us: Option<u64>,
    /// Bytes received in messages.
    pub bytes_in: u64,
    /// Bytes sent in messages.
    pub bytes_out: u64,
}

/// What defence did since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SecurityStatus {
    /// Connections refused, by reason.
    pub refused: std::collections::BTreeMap<&'static str, u64>,
    /// Handshakes that failed, by kind, with direction: `inbound.transport`.
    pub failed_handshakes: std::collections::BTreeMap<String, u64>,
    /// Offences, by kind.
    pub offences: std::collections::BTreeMap<&'static str, u64>,
    /// Bans in force for offences.
    pub bans: Vec<BanStatus>,
    /// Networks that the operator keeps out.
    pub operator_bans: Vec<OperatorBan>,
    /// What the detectors found, by their names.
    pub detections: std::collections::BTreeMap<&'static str, u64>,
    /// The latest of it, the oldest first.
    pub events: Vec<SecurityEvent>,
    /// By how many seconds our clock seems to be slow, as far as peers of our choice can tell.
    pub clock_slow_by: Option<i64>,
}

/// A host that is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BanStatus {
    /// An IPv4 address, or an IPv6 /64.
    pub host: String,
    /// For what.
    pub offence: Offence,
    /// Since when, Unix seconds.
    pub since: u64,
    /// Until when, Unix seconds; for ever if there is none.
    pub until: Option<u64>,
}

impl From<(IpAddr, Ban)> for BanStatus {
    fn from((host, ban): (IpAddr, Ban)) -> Self {
        Self {
            host: match host {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("{ip}/64"),
            },
            offence: ban.offence,
            since: ban.since,
            until: ban.until,
        }
    }
}

fn display<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
