//! What an operator may set, and what a node makes of it.
//!
//! [`keys`] describes the settings; `quantumcoin::service::config` reads file, environment and flags by it. [`Settings`] is
//! what they come to, and [`NodeConfig`] what a node runs with: `plan` leads from one to the other, and finds all that is
//! wrong on the way, for `run` and `config check` alike.

pub mod keys;
pub mod nat;
mod plan;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkConfig;
use quantumcoin::network::discovery::{Dnssec, Provider};
use quantumcoin::service::dirs;
use quantumcoin::service::logging::LogFormat;
use quantumcoin::transport::{ALL_TRANSPORTS, TransportKind};
use serde::{Deserialize, Serialize};

use self::nat::{NatChoice, PortMappingChoice};
pub use self::plan::{defaults, layers};

/// Where the API listens by default. Loopback: it is for the operator.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8332";

/// Settings by the names of [`keys::PROGRAM`]; `None` and empty lists are those that nobody set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Built-in network.
    pub network: Option<String>,
    /// Chain spec file.
    pub chain_spec: Option<PathBuf>,
    /// Where chain, identity and address book are kept.
    pub data_dir: Option<PathBuf>,
    /// Where to listen for peers.
    pub listen: Option<SocketAddr>,
    /// Where the HTTP API listens.
    pub http: Option<SocketAddr>,
    /// Whether the HTTP API may listen beyond loopback.
    pub http_public: Option<bool>,
    /// Names by which it may be asked for.
    pub http_name: Vec<String>,
    /// Resolvers for seed names, in the forms of [`Provider`].
    pub resolver: Vec<String>,
    /// Certificates of authorities for these resolvers.
    pub resolver_ca: Option<PathBuf>,
    /// What is asked of the signatures of DNS answers.
    pub dnssec: Option<DnssecChoice>,
    /// DNSKEY records to trust.
    pub trust_anchor: Option<PathBuf>,
    /// DNS seeds.
    pub dns_seed: Vec<String>,
    /// Peers to be connected to at all times.
    pub connect: Vec<SocketAddr>,
    /// The address to announce.
    pub external_address: Option<SocketAddr>,
    /// Whether to find out our address.
    pub nat: Option<NatChoice>,
    /// STUN servers.
    pub stun_server: Vec<String>,
    /// How to ask the gateway for a port.
    pub port_mapping: Vec<PortMappingChoice>,
    /// How to speak with peers.
    pub transports: Option<TransportChoice>,
    /// Outbound connections to keep.
    pub outbound: Option<usize>,
    /// Map of autonomous systems.
    pub as_map: Option<PathBuf>,
    /// Seconds in which what is held against a host halves.
    pub penalty_half_life: Option<u64>,
    /// Seconds between mined blocks.
    pub mine_every: Option<f64>,
    /// Log level or filter.
    pub log: Option<String>,
    /// How log lines look.
    pub log_format: Option<LogFormat>,
}

/// The transports that a node speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportChoice {
    /// Noise and TLS: whoever can speak Noise is spoken to by Noise.
    #[default]
    All,
    /// Noise alone.
    Noise,
    /// TLS 1.3 alone.
    Tls,
}

impl TransportChoice {
    fn kinds(self) -> &'static [TransportKind] {
        match self {
            Self::All => &ALL_TRANSPORTS,
            Self::Noise => &[TransportKind::Noise],
            Self::Tls => &[TransportKind::Tls],
        }
    }
}

/// What is asked of the signatures of DNS answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnssecChoice {
    /// Nothing.
    Off,
    /// That they are good where the zone is signed.
    #[default]
    Signed,
    /// That they are there and good; nothing else is taken.
    Require,
}

impl From<DnssecChoice> for Dnssec {
    fn from(choice: DnssecChoice) -> Self {
        match choice {
            DnssecChoice::Off => Self::Off,
            DnssecChoice::Signed => Self::Signed,
            DnssecChoice::Require => Self::Require,
        }
    }
}

/// Settings after all layers, ready to be run.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The network.
    pub spec: ChainSpec,
    /// Exists and can be written.
    pub data_dir: PathBuf,
    /// The network part.
    pub network: NetworkConfig,
    /// Where the API listens.
    pub http: SocketAddr,
    /// Names, beside addresses and localhost, by which it may be asked for.
    pub http_names: Vec<String>,
    /// Pause between mined blocks; `None` does not mine.
    pub mine_every: Option<Duration>,
}

/// The data directory of a node of this network: `chosen`, or the network's own folder below the default
/// directory, since networks must not mix. With `create` it is made and can be written.
///
/// # Errors
/// Where there is no such place.
pub fn data_dir(
    spec: &ChainSpec,
    chosen: Option<&Path>,
    create: bool,
) -> Result<PathBuf, dirs::DirError> {
    let program = keys::PROGRAM.name;
    let place = dirs::locate(program, chosen)?;
    let place = match chosen {
        Some(_) => place,
        None => place.join(&spec.network),
    };
    if create {
        dirs::ensure(program, Some(&place))
    } else {
        Ok(place)
    }
}

/// Reads a resolver, in the forms of [`Provider`].
///
/// # Errors
/// When it is none.
pub fn provider(text: &str) -> anyhow::Result<Provider> {
    Ok(text.parse()?)
}
