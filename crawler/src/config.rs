//! What an operator may set, with the defaults and the reason for each.
//!
//! [`keys`] describes the settings; `quantumcoin::service::config` reads file, environment and flags by it. They come to
//! [`Start`], what belongs to one start, and [`Settings`], which may change while it crawls. [`CrawlerConfig`] is what a
//! crawler runs with: `plan` leads there, and finds all that is wrong on the way, for `run` and `config check` alike.

pub mod keys;
mod plan;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::Provider;
use quantumcoin::reachability::GoodPolicy;
use quantumcoin::reachability::exclusions::{Exclusions, ExclusionsError};
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::reachability::schedule::SchedulePolicy;
use quantumcoin::service::logging::LogFormat;
use quantumcoin::store::StoreOptions;
use serde::{Deserialize, Serialize};

use crate::geo::{Geo, GeoFiles};
use crate::probe::dial::Proxies;
use crate::seeders::SeederUrl;

pub use self::plan::defaults;

/// Where the dashboard listens by default: loopback, for a proxy to stand before it.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8380";

/// Settings that belong to one start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Built-in network.
    pub network: Option<String>,
    /// Chain spec file.
    pub chain_spec: Option<PathBuf>,
    /// Where the store lives.
    pub data_dir: Option<PathBuf>,
    /// Where the dashboard listens.
    pub http: SocketAddr,
    /// Addresses to start from.
    #[serde(default, with = "peers")]
    pub seed_addr: Vec<PeerAddress>,
    /// Resolvers for the DNS seeds, in the forms of [`Provider`].
    pub resolver: Vec<String>,
    /// Whether to ask them.
    pub dns: bool,
    /// Whether to start from the chain spec's bootstrap nodes.
    pub bootstrap: bool,
    /// Log level or filter.
    pub log: String,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
}

/// Peers as people write them.
mod peers {
    use quantumcoin::reachability::overlay::PeerAddress;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        peers: &[PeerAddress],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(peers.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PeerAddress>, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let read = |word: &String| {
            let peer = word.parse();
            peer.map_err(|_| de::Error::custom(format!("{word:?} is no address with port")))
        };
        words.iter().map(read).collect()
    }
}

/// Settings that a running crawler takes up when they are read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Settings {
    /// When a peer is visited again.
    pub schedule: SchedulePolicy,
    /// What a good peer is. Absent: the defaults with the chain spec's numbers.
    pub good: Option<GoodPolicy>,
    /// Time limits of one probe.
    pub limits: ProbeLimits,
    /// How hard the crawler works.
    pub pace: Pace,
    /// How many new addresses are believed.
    pub intake: IntakeLimits,
    /// SOCKS5 proxies to peers that have a name instead of an address; those of networks without one are not visited.
    pub proxies: Proxies,
    /// Databases that say where addresses are.
    pub geo: GeoFiles,
    /// File with addresses and networks that are not visited, one on each line.
    pub do_not_probe: Option<PathBuf>,
    /// Proxies in front of the dashboard: what they say of whom a request comes from (`X-Forwarded-For`) is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Seeders whose status the dashboard shows, at most [`crate::seeders::MOST`], as `http://ADDR:PORT`. Absent: one at
    /// 127.0.0.1:9353, if it answers there.
    pub seeders: Option<Vec<SeederUrl>>,
    /// Contact that the user agent carries, e.g. `https://example.org/crawler`.
    pub contact: Option<String>,
}

/// Time limits of one probe, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeLimits {
    /// TCP connect. Absent: the chain spec's connection timeout.
    pub connect_ms: Option<u64>,
    /// The secure handshake. Absent: the chain spec's connection timeout.
    pub secure_ms: Option<u64>,
    /// One answer of the conversation (version, headers, pong): a full `headers` message over a slow link.
    pub answer_ms: u64,
    /// An answer to `getaddr`: some nodes send none, and none is no failure.
    pub addresses_ms: u64,
    /// The whole chain proof, while the crawler itself downloads headers.
    pub chain_ms: u64,
    /// A block of some megabytes.
    pub block_ms: u64,
    /// A proxy's way to a peer: it may have to build a circuit first.
    pub proxy_ms: u64,
}

impl Default for ProbeLimits {
    fn default() -> Self {
        Self {
            connect_ms: None,
            secure_ms: None,
            answer_ms: 10_000,
            addresses_ms: 3_000,
            chain_ms: 120_000,
            block_ms: 30_000,
            proxy_ms: 30_000,
        }
    }
}

/// How hard the crawler works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Dials a second in all, so that no hoster takes us for a scanner.
    pub dials_per_second: u32,
    /// Dials a minute to one subnet (IPv4 /24, IPv6 /48); 0 for no limit.
    pub dials_per_subnet_minute: u32,
    /// Probes in progress at once; lowered at start when file descriptors are short.
    pub max_in_flight: usize,
    /// Visits of a peer between two in which it has to show an old block, on average; 0 for never. At the usual pace fifty are
    /// a day.
    pub block_every: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            dials_per_second: 100,
            dials_per_subnet_minute: 30,
            max_in_flight: 1_000,
            block_every: 50,
        }
    }
}

/// How many new addresses are believed. Guards against one peer, or one owner of many, filling the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeLimits {
    /// New addresses an hour from one peer, once some thousands are known; before, a full `addrv2` message. Of a thousand that
    /// an honest peer tells then, few are news.
    pub per_peer_hour: u32,
    /// New addresses an hour from one netgroup (IPv4 /16, IPv6 /32).
    pub per_netgroup_hour: u32,
    /// New addresses an hour in all.
    pub per_hour: u32,
    /// Addresses known at most; the worst makes room.
    pub max_addresses: usize,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            per_peer_hour: 100,
            per_netgroup_hour: 5_000,
            per_hour: 200_000,
            max_addresses: 2_000_000,
        }
    }
}

/// Everything that one start of the crawler needs.
#[derive(Debug, Clone)]
pub struct CrawlerConfig {
    /// The network to crawl.
    pub spec: Arc<ChainSpec>,
    /// Where the store lives; must exist.
    pub data_dir: PathBuf,
    /// Where the dashboard, API and metrics listen; `None` for none.
    pub http: Option<SocketAddr>,
    /// Addresses to start from, besides what the store knows.
    pub seed_addrs: Vec<PeerAddress>,
    /// Whether to start from the chain spec's bootstrap nodes.
    pub use_bootstrap: bool,
    /// Networks that are not visited: what the settings' file with them holds.
    pub excluded: Exclusions,
    /// Where addresses are: what the settings' databases say.
    pub geo: Geo,
    /// Resolvers to ask for the chain spec's DNS seeds; empty to ask none.
    pub resolvers: Vec<Provider>,
    /// The settings file.
    pub settings: Settings,
}

impl CrawlerConfig {
    /// Defaults: bootstrap nodes and the system's resolver, no HTTP.
    pub fn new(spec: Arc<ChainSpec>, data_dir: &Path) -> Self {
        let settings = Settings::for_network(&spec);
        Self {
            spec,
            data_dir: data_dir.to_owned(),
            http: None,
            seed_addrs: Vec::new(),
            use_bootstrap: true,
            excluded: Exclusions::default(),
            geo: Geo::default(),
            resolvers: vec![Provider::System],
            settings,
        }
    }

    /// The store's file.
    pub fn store_path(&self) -> PathBuf {
        store_path(&self.data_dir)
    }

    /// Whose crawl the store holds.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            network: self.spec.network.clone(),
            genesis: self.spec.genesis_hash().to_string(),
            policy: self.good_policy(),
        }
    }

    /// What a good peer is: the settings, else the defaults with the chain spec's numbers.
    pub fn good_policy(&self) -> GoodPolicy {
        let protocol = &self.spec.network_protocol;
        self.settings.good.unwrap_or_else(|| GoodPolicy {
            min_protocol_version: protocol.min_protocol_version,
            allow_private_addresses: protocol.allow_private_addresses,
            // A devnet's nodes are all in one.
            max_netgroup_percent: if protocol.allow_private_addresses {
                100
            } else {
                GoodPolicy::default().max_netgroup_percent
            },
            ..GoodPolicy::default()
        })
    }

    /// Time limit of TCP.
    pub fn connect_timeout(&self) -> Duration {
        self.timeout(self.settings.limits.connect_ms)
    }

    /// Time limit of the secure handshake.
    pub fn secure_timeout(&self) -> Duration {
        self.timeout(self.settings.limits.secure_ms)
    }

    fn timeout(&self, millis: Option<u64>) -> Duration {
        millis.map_or_else(
            || Duration::from_secs(self.spec.network_protocol.connection_timeout),
            Duration::from_millis,
        )
    }

    /// The user agent, with the operator's contact (BIP14 comment).
    pub fn user_agent(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match &self.settings.contact {
            Some(contact) => {
                // BIP14 reserves these characters.
                let contact: String = contact
                    .chars()
                    .filter(|c| !"();".contains(*c))
                    .take(100)
                    .collect();
                format!("/quantumcoin-crawler:{version}({contact})/")
            }
            None => format!("/quantumcoin-crawler:{version}/"),
        }
    }
}

/// The store's file inside a data directory.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join("crawl.sqlite")
}

impl Settings {
    /// The defaults for a network. A devnet lives for minutes on the operator's own machine, so its peers
    /// are visited every ten to fifteen seconds; everybody else's every twenty to thirty minutes.
    pub fn for_network(spec: &ChainSpec) -> Self {
        let mut settings = Self::default();
        if spec.network_protocol.allow_private_addresses {
            settings.schedule.good_min_secs = 10;
            settings.schedule.good_max_secs = 15;
            settings.schedule.backoff_first_secs = 10;
            settings.schedule.backoff_cap_secs = 300;
            // All nodes are in one.
            settings.pace.dials_per_subnet_minute = 0;
        }
        settings
    }

    /// Reads the list of those who are not to be visited, where there is one.
    ///
    /// # Errors
    /// Where it can't be read, or a line is no network.
    pub fn excluded(&self) -> Result<Exclusions, SettingsError> {
        let Some(path) = &self.do_not_probe else {
            return Ok(Exclusions::default());
        };
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|error| SettingsError::unread("the do-not-probe list", path, &error))?;
        Ok(Exclusions::parse(&text, &path.display().to_string())?)
    }
}

/// The list of those who are not to be visited can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A file can't be read.
    #[error("{what} {} can't be read: {reason}", path.display())]
    Unread {
        /// Which file.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The list holds something else.
    #[error(transparent)]
    Exclusions(#[from] ExclusionsError),
}

impl SettingsError {
    fn unread(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Unread {
            what,
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
