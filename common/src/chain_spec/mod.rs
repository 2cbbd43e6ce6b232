//! The chain specification: every number that a whole network must agree on, in one file.
//!
//! A [`ChainSpec`] is either built in ([`ChainSpec::mainnet`], [`ChainSpec::testnet`],
//! [`ChainSpec::devnet`]) or read from a TOML file of the same shape. Loading parses *and* proves: the
//! genesis header's proof of work, merkle root and hash are computed and compared, so a spec that was
//! loaded is a spec that holds.
//!
//! `parse` turns text into a spec and knows the line of each key; `check` holds the rules about values and
//! `immutable` those about mainnet;
//! `genesis` rebuilds the first block; `compact` is the arithmetic of targets; `load` reads files;
//! `render` writes a spec as TOML.

mod check;
pub(crate) mod compact;
mod error;
mod genesis;
mod immutable;
mod load;
mod parse;
mod render;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::LazyLock;

use bitcoin::p2p::Magic;
use bitcoin::{Block, BlockHash};
use serde::{Deserialize, Serialize};

pub(crate) use self::check::is_address_prefix;
pub use self::error::{ChainSpecError, SpecFault};
pub use self::load::MAX_SPEC_BYTES;

/// Everything that the nodes of one network must agree on, and where newcomers find them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// Lower-case network name, e.g. `mainnet`; part of the transport prologue.
    #[serde(default = "defaults::network")]
    pub network: String,
    /// Human name of the coin.
    #[serde(default = "defaults::name")]
    pub name: String,
    /// Ticker symbol.
    #[serde(default = "defaults::symbol")]
    pub symbol: String,
    /// Decimal places of one coin.
    #[serde(default = "defaults::decimals")]
    pub decimals: u8,
    /// What addresses start with, before the digit 1 (BIP350's human-readable part).
    #[serde(default = "defaults::address_prefix")]
    pub address_prefix: String,
    /// Peer-to-peer parameters.
    #[serde(default = "defaults::network_protocol")]
    pub network_protocol: NetworkProtocol,
    /// Where a node that knows nobody starts.
    #[serde(default = "defaults::discovery")]
    pub discovery: DiscoverySpec,
    /// Consensus rules' numbers.
    #[serde(default = "defaults::consensus")]
    pub consensus: ConsensusSpec,
    /// The first block.
    #[serde(default = "defaults::genesis")]
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
    #[serde(default = "defaults::min_protocol_version")]
    pub min_protocol_version: u32,
    /// TCP port of a node that names no other.
    pub default_port: u16,
    /// Most connections of one node, inbound and outbound together.
    pub max_connections: usize,
    /// Seconds to establish TCP, and again to finish the handshakes.
    pub connection_timeout: u64,
    /// Most inbound connections from one IPv4 address or IPv6 /64.
    #[serde(default = "defaults::max_connections_per_ip")]
    pub max_connections_per_ip: usize,
    /// Most inbound connections from one IPv4 /24 or IPv6 /48.
    #[serde(default = "defaults::max_connections_per_subnet")]
    pub max_connections_per_subnet: usize,
    /// Unsolicited messages a minute that one peer may send.
    #[serde(default = "defaults::max_messages_per_minute")]
    pub max_messages_per_minute: u32,
    /// Unsolicited bytes a minute that one peer may send.
    #[serde(default = "defaults::max_bytes_per_minute")]
    pub max_bytes_per_minute: u64,
    /// Whether loopback and private addresses are valid peers (devnets only).
    #[serde(default)]
    pub allow_private_addresses: bool,
}

/// Where a node that knows nobody starts (`[discovery]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverySpec {
    /// DNS seed names, as `name` or `name:port`.
    #[serde(default)]
    pub dns_seeds: Vec<String>,
    /// Nodes to try when DNS gives nothing.
    #[serde(default)]
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

/// Most characters of an address prefix: an address has 60 characters besides and at most 90 in all (BIP173).
pub const MAX_ADDRESS_PREFIX_BYTES: usize = 30;

/// The text of mainnet's specification: the file at the root of the repository.
const MAINNET_TOML: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../chain_spec.toml"));
/// The text of the testnet's specification.
const TESTNET_TOML: &str = include_str!("testnet.toml");
/// The text of the devnet's specification.
const DEVNET_TOML: &str = include_str!("devnet.toml");

static MAINNET: LazyLock<ChainSpec> = LazyLock::new(|| built_in(MAINNET_TOML, "mainnet"));
static TESTNET: LazyLock<ChainSpec> = LazyLock::new(|| built_in(TESTNET_TOML, "testnet"));
static DEVNET: LazyLock<ChainSpec> = LazyLock::new(|| built_in(DEVNET_TOML, "devnet"));

#[expect(
    clippy::expect_used,
    reason = "the texts are part of this program, and the test `built_in_specs_hold` loads each of them"
)]
fn built_in(text: &str, name: &str) -> ChainSpec {
    parse::parse_built_in(text, name).expect("a built-in chain spec holds")
}

impl ChainSpec {
    /// The main network, compiled in from `chain_spec.toml`.
    #[must_use]
    pub fn mainnet() -> Self {
        MAINNET.clone()
    }

    /// The public test network, compiled in.
    #[must_use]
    pub fn testnet() -> Self {
        TESTNET.clone()
    }

    /// The private network of demos and tests, compiled in: constant lowest difficulty, private addresses
    /// allowed.
    #[must_use]
    pub fn devnet() -> Self {
        DEVNET.clone()
    }

    /// The built-in specification called `name`: `mainnet`, `testnet` or `devnet`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "mainnet" => Some(Self::mainnet()),
            "testnet" => Some(Self::testnet()),
            "devnet" => Some(Self::devnet()),
            _ => None,
        }
    }

    /// Reads a specification from TOML text and proves it.
    ///
    /// `origin` is what messages call the text, usually the file's path. Keys that are left out have
    /// mainnet's values where the root `chain_spec.toml` says that they may be left out.
    ///
    /// # Errors
    /// [`ChainSpecError::Invalid`] with line, column, key, fault and remedy: of the first fault found.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ChainSpecError> {
        parse::parse(text, origin)
    }

    /// The specification as TOML text, which [`ChainSpec::from_toml`] reads back to an equal value.
    #[must_use]
    pub fn to_toml(&self) -> String {
        render::to_toml(self)
    }

    /// The first block, rebuilt from `[genesis]`.
    ///
    /// One transaction: version 1, a null input whose script is `push(bits) push(extra_nonce)
    /// push(message)` (both numbers as four little-endian bytes), sequence `0xffffffff`, one output of
    /// value 0 with the script `OP_RETURN`, lock time 0, no witness. The header has a zero parent and the
    /// transaction's id as its merkle root.
    #[must_use]
    pub fn genesis_block(&self) -> Block {
        genesis::block(&self.genesis)
    }

    /// The first block's hash, which names the network: computed, not read.
    #[must_use]
    pub fn genesis_hash(&self) -> BlockHash {
        self.genesis_block().block_hash()
    }

    /// The four bytes that start each message of this network.
    #[must_use]
    pub fn magic(&self) -> Magic {
        Magic::from_bytes(self.network_protocol.magic_bytes)
    }
}

/// What a key that is left out means: mainnet's value.
mod defaults {
    use super::{ConsensusSpec, DiscoverySpec, GenesisSpec, MAINNET, NetworkProtocol};

    // mainnet's own text gives every key (the test `mainnet_text_is_complete`), so reading it never calls
    // these functions and never waits for itself.
    pub(super) fn network() -> String {
        MAINNET.network.clone()
    }
    pub(super) fn name() -> String {
        MAINNET.name.clone()
    }
    pub(super) fn symbol() -> String {
        MAINNET.symbol.clone()
    }
    pub(super) fn decimals() -> u8 {
        MAINNET.decimals
    }
    pub(super) fn address_prefix() -> String {
        MAINNET.address_prefix.clone()
    }
    pub(super) fn network_protocol() -> NetworkProtocol {
        MAINNET.network_protocol.clone()
    }
    pub(super) fn discovery() -> DiscoverySpec {
        MAINNET.discovery.clone()
    }
    pub(super) fn consensus() -> ConsensusSpec {
        MAINNET.consensus.clone()
    }
    pub(super) fn genesis() -> GenesisSpec {
        MAINNET.genesis.clone()
    }
    pub(super) fn min_protocol_version() -> u32 {
        MAINNET.network_protocol.min_protocol_version
    }
    pub(super) fn max_connections_per_ip() -> usize {
        MAINNET.network_protocol.max_connections_per_ip
    }
    pub(super) fn max_connections_per_subnet() -> usize {
        MAINNET.network_protocol.max_connections_per_subnet
    }
    pub(super) fn max_messages_per_minute() -> u32 {
        MAINNET.network_protocol.max_messages_per_minute
    }
    pub(super) fn max_bytes_per_minute() -> u64 {
        MAINNET.network_protocol.max_bytes_per_minute
    }
}
