//! The chain specification: every number that a whole network must agree on, in one file.
//!
//! A [`ChainSpec`] is either built in ([`ChainSpec::mainnet`], [`ChainSpec::testnet`],
//! [`ChainSpec::devnet`]) or read from a TOML file of the same shape. Loading parses *and* proves: the
//! genesis header's proof of work, merkle root and hash are computed and compared, so a spec that exists
//! in memory is a spec that holds.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Everything that the nodes of one network must agree on, and where newcomers find them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// Lower-case network name, e.g. `mainnet`; part of the transport prologue.
    pub network: String,
    /// Human name of the coin.
    pub name: String,
    /// Ticker symbol.
    pub symbol: String,
    /// Decimal places of one coin.
    pub decimals: u8,
    /// Peer-to-peer parameters.
    pub network_protocol: NetworkProtocol,
    /// Where a node that knows nobody starts.
    pub discovery: DiscoverySpec,
    /// Consensus rules' numbers.
    pub consensus: ConsensusSpec,
    /// The first block.
    pub genesis: GenesisSpec,
}

/// Peer-to-peer parameters (`[network_protocol]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkProtocol {
    /// The four bytes that start each message.
    pub magic_bytes: [u8; 4],
    /// Protocol version that we announce.
    pub protocol_version: u32,
    /// Oldest protocol version that we talk to.
    pub min_protocol_version: u32,
    /// TCP port of a node that names no other.
    pub default_port: u16,
    /// Most connections of one node, inbound and outbound together.
    pub max_connections: usize,
    /// Seconds to establish TCP, and again to finish the handshakes.
    pub connection_timeout: u64,
    /// Most inbound connections from one IPv4 address or IPv6 /64.
    pub max_connections_per_ip: usize,
    /// Most inbound connections from one IPv4 /24 or IPv6 /48.
    pub max_connections_per_subnet: usize,
    /// Unsolicited messages a minute that one peer may send.
    pub max_messages_per_minute: u32,
    /// Unsolicited bytes a minute that one peer may send.
    pub max_bytes_per_minute: u64,
    /// Whether loopback and private addresses are valid peers (devnets only).
    pub allow_private_addresses: bool,
}

/// Where a node that knows nobody starts (`[discovery]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverySpec {
    /// DNS seed names, as `name` or `name:port`.
    pub dns_seeds: Vec<String>,
    /// Nodes to try when DNS gives nothing.
    pub bootstrap_nodes: Vec<SocketAddr>,
}

/// Consensus numbers (`[consensus]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsensusSpec {
    /// Seconds that a block should take.
    pub target_spacing: u64,
    /// ASERT half-life in seconds; `0` means that the difficulty never changes (regtest).
    pub asert_half_life: u64,
    /// Easiest allowed target, in compact form.
    pub pow_limit_bits: u32,
    /// Subsidy of the first era in base units.
    pub initial_subsidy: u64,
    /// Blocks between halvings.
    pub halving_interval: u32,
    /// Most base units that may ever exist.
    pub max_money: u64,
    /// Most serialized bytes of a block.
    pub max_block_bytes: usize,
    /// Blocks before a coinbase may be spent.
    pub coinbase_maturity: u32,
    /// Seconds that a header's time may lie ahead of our clock.
    pub max_future_seconds: u64,
    /// Least total work of a chain that we follow, 64 hex digits, big-endian.
    pub minimum_chain_work: String,
}

/// The first block (`[genesis]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSpec {
    /// Header version.
    pub version: i32,
    /// Unix seconds.
    pub time: u32,
    /// Compact target.
    pub bits: u32,
    /// Header nonce.
    pub nonce: u32,
    /// Extra nonce inside the coinbase script.
    pub extra_nonce: u32,
    /// Text inside the coinbase script.
    pub message: String,
    /// Expected merkle root, 64 hex digits as displayed (reversed).
    pub merkle_root: String,
    /// Expected block hash, 64 hex digits as displayed (reversed).
    pub hash: String,
}
