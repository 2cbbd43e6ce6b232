//! What an operator may set: defaults, then the TOML file, then environment and flags.

pub mod nat;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkConfig;
use quantumcoin::network::discovery::{DnsTrust, Dnssec, Provider};
use quantumcoin::reachability::Netgroups;
use quantumcoin::reachability::asmap::AsMap;
use quantumcoin::service::{dirs, spec};
use quantumcoin::transport::{ALL_TRANSPORTS, TransportKind};
use serde::Deserialize;

use self::nat::{NatChoice, PortMappingChoice};

/// Where the API listens by default. Loopback: it is for the operator.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8332";

/// Shortest and longest half-life of penalties, in seconds. In less than a minute everything is forgotten as it happens; in
/// more than a week a host's score is that of whoever had the address before.
const PENALTY_HALF_LIFE: std::ops::RangeInclusive<u64> = 60..=7 * 24 * 3_600;

/// Name of the data directory below the user's.
const PROGRAM: &str = "quantumcoin-node";

/// Settings as flags, environment (`QTC_NODE_…`) and, with the same names, as keys of the config file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Built-in network: mainnet, testnet or devnet [default: mainnet]
    #[arg(long, env = "QTC_NETWORK")]
    pub network: Option<String>,
    /// Chain spec file, in place of a built-in network
    #[arg(long, env = "QTC_CHAIN_SPEC", value_name = "FILE")]
    pub chain_spec: Option<PathBuf>,
    /// Where chain, identity and address book are kept [default: by XDG]
    #[arg(long, env = "QTC_NODE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen for peers; the unspecified address of IPv6, ::, takes IPv4 too [default: 0.0.0.0 and the network's port;
    /// devnet: 127.0.0.1]
    #[arg(long, env = "QTC_NODE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where the HTTP API listens [default: 127.0.0.1:8332]
    #[arg(long, env = "QTC_NODE_HTTP", value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// Let the HTTP API listen beyond loopback, in the clear: whoever can reach it reads what the node knows, and whoever is on
    /// the way reads the token
    #[arg(
        long,
        env = "QTC_NODE_HTTP_PUBLIC",
        value_name = "WHETHER",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub http_public: Option<bool>,
    /// Name, beside addresses and localhost, by which the HTTP API may be asked for (repeatable)
    #[arg(
        long,
        env = "QTC_NODE_HTTP_NAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub http_name: Vec<String>,
    /// Resolver for seed names, in place of the system's and the public ones (repeatable): `system`, `ADDR`,
    /// `ADDR:PORT`, `tls://ADDR#NAME` or `https://ADDR/PATH#NAME`
    #[arg(
        long,
        env = "QTC_NODE_RESOLVER",
        value_name = "RESOLVER",
        value_delimiter = ','
    )]
    pub resolver: Vec<String>,
    /// Certificates (PEM) of authorities that certify resolvers of yours, beside the public ones
    #[arg(long, env = "QTC_NODE_RESOLVER_CA", value_name = "FILE")]
    pub resolver_ca: Option<PathBuf>,
    /// What is asked of the signatures of DNS answers: off, signed or require [default: signed]
    #[arg(long, env = "QTC_NODE_DNSSEC", value_name = "WHICH")]
    pub dnssec: Option<DnssecChoice>,
    /// DNSKEY records to trust in place of the root zone's
    #[arg(long, env = "QTC_NODE_TRUST_ANCHOR", value_name = "FILE")]
    pub trust_anchor: Option<PathBuf>,
    /// DNS seed, in place of the chain spec's (repeatable)
    #[arg(
        long,
        env = "QTC_NODE_DNS_SEED",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub dns_seed: Vec<String>,
    /// Peer to be connected to at all times (repeatable)
    #[arg(
        long,
        env = "QTC_NODE_CONNECT",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    pub connect: Vec<SocketAddr>,
    /// The address to announce to others, when it is not the one listened on
    #[arg(long, env = "QTC_NODE_EXTERNAL_ADDRESS", value_name = "ADDR:PORT")]
    pub external_address: Option<SocketAddr>,
    /// Whether to find out our address by STUN, and to ask the gateway for a port that leads here: auto does so on networks of
    /// public addresses, unless it listens on loopback [default: auto]
    #[arg(long, env = "QTC_NODE_NAT", value_name = "WHICH")]
    pub nat: Option<NatChoice>,
    /// STUN server, in place of the public ones (repeatable); `none` asks none
    #[arg(
        long,
        env = "QTC_NODE_STUN_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub stun_server: Vec<String>,
    /// How to ask the gateway for a port (repeatable) [default: pcp, nat-pmp and upnp]
    #[arg(
        long,
        env = "QTC_NODE_PORT_MAPPING",
        value_name = "WHICH",
        value_delimiter = ','
    )]
    pub port_mapping: Vec<PortMappingChoice>,
    /// How to speak with peers: noise and tls both, or one of them where the network lets nothing else through [default: all]
    #[arg(long, env = "QTC_NODE_TRANSPORTS", value_name = "WHICH")]
    pub transports: Option<TransportChoice>,
    /// Outbound connections to keep [default: 8]
    #[arg(long, env = "QTC_NODE_OUTBOUND", value_name = "N")]
    pub outbound: Option<usize>,
    /// Map of autonomous systems, as Bitcoin Core's -asmap: peers are spread over systems instead of /16 and /32
    #[arg(long, env = "QTC_NODE_AS_MAP", value_name = "FILE")]
    pub as_map: Option<PathBuf>,
    /// Seconds in which what is held against a host halves [default: 3600]
    #[arg(
        long,
        env = "QTC_NODE_PENALTY_HALF_LIFE",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(PENALTY_HALF_LIFE)
    )]
    pub penalty_half_life: Option<u64>,
    /// Mine a block so often, in seconds (devnets only)
    #[arg(long, env = "QTC_NODE_MINE_EVERY", value_name = "SECONDS")]
    pub mine_every: Option<f64>,
    /// Log level or filter, e.g. `debug` or `info,quantumcoin::network=debug` [default: info]
    #[arg(long, env = "QTC_NODE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

impl Settings {
    /// These settings, and those of `file` where these say nothing.
    ///
    /// # Errors
    /// When the file can't be read, or has unknown keys or wrong values (with line and remedy).
    pub fn with_file(self, file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("config file {} can't be read", path.display()))?;
        let file: Self = toml::from_str(&text).map_err(|error| {
            anyhow::anyhow!(
                "config file {}:\n{error}keys are named as the flags of `quantumcoin-node run --help`, \
                 with _ for -",
                path.display()
            )
        })?;
        Ok(self.or(file))
    }

    fn or(self, other: Self) -> Self {
        let list = |a: Vec<_>, b| if a.is_empty() { b } else { a };
        Self {
            network: self.network.or(other.network),
            chain_spec: self.chain_spec.or(other.chain_spec),
            data_dir: self.data_dir.or(other.data_dir),
            listen: self.listen.or(other.listen),
            http: self.http.or(other.http),
            http_public: self.http_public.or(other.http_public),
            http_name: list(self.http_name, other.http_name),
            resolver: list(self.resolver, other.resolver),
            resolver_ca: self.resolver_ca.or(other.resolver_ca),
            dnssec: self.dnssec.or(other.dnssec),
            trust_anchor: self.trust_anchor.or(other.trust_anchor),
            dns_seed: list(self.dns_seed, other.dns_seed),
            connect: if self.connect.is_empty() {
                other.connect
            } else {
                self.connect
            },
            external_address: self.external_address.or(other.external_address),
            nat: self.nat.or(other.nat),
            stun_server: list(self.stun_server, other.stun_server),
            port_mapping: if self.port_mapping.is_empty() {
                other.port_mapping
            } else {
                self.port_mapping
            },
            transports: self.transports.or(other.transports),
            outbound: self.outbound.or(other.outbound),
            as_map: self.as_map.or(other.as_map),
            penalty_half_life: self.penalty_half_life.or(other.penalty_half_life),
            mine_every: self.mine_every.or(other.mine_every),
            log: self.log.or(other.log),
        }
    }
}

/// The transports that a node speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
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
    let place = dirs::locate(PROGRAM, chosen)?;
    let place = match chosen {
        Some(_) => place,
        None => place.join(&spec.network),
    };
    if create {
        dirs::ensure(PROGRAM, Some(&place))
    } else {
        Ok(place)
    }
}

impl NodeConfig {
    /// Chooses the network, makes the data directory and checks what belongs together.
    ///
    /// # Errors
    /// With what is wrong and how to mend it.
    pub async fn resolve(settings: Settings) -> anyhow::Result<Self> {
        let spec =
            spec::choose(settings.network.as_deref(), settings.chain_spec.as_deref()).await?;
        let data_dir = data_dir(&spec, settings.data_dir.as_deref(), true)?;
        let host = if spec.network_protocol.allow_private_addresses {
            [127, 0, 0, 1]
        } else {
            [0; 4]
        };
        let default_listen = SocketAddr::from((host, spec.network_protocol.default_port));
        let mut network = NetworkConfig::new(settings.listen.unwrap_or(default_listen));
        network.data_dir = Some(data_dir.clone());
        if !settings.resolver.is_empty() {
            network.providers = settings
                .resolver
                .iter()
                .map(|text| provider(text))
                .collect::<Result<_, _>>()?;
        }
        network.dns_trust = dns_trust(&settings)?;
        if !settings.dns_seed.is_empty() {
            network.dns_seeds = Some(settings.dns_seed);
        }
        network.manual_peers = settings.connect;
        network.external_address = settings.external_address;
        network.nat = nat::settings(&settings.stun_server, &settings.port_mapping, settings.nat)?;
        network.transports = settings.transports.unwrap_or_default().kinds();
        if let Some(outbound) = settings.outbound {
            network.outbound_target = outbound;
        }
        let places = network.outbound_places();
        if places > spec.network_protocol.max_connections {
            bail!(
                "{} outbound connections, those for blocks alone, a feeler and {} manual peers would be {places}: \
                 more than the network allows in all ({}); choose fewer by --outbound or --connect",
                network.outbound_target,
                network.manual_peers.len(),
                spec.network_protocol.max_connections
            );
        }
        if let Some(path) = settings.as_map {
            network.netgroups = Netgroups::by_as(AsMap::load(&path)?);
        }
        if let Some(seconds) = settings.penalty_half_life {
            if !PENALTY_HALF_LIFE.contains(&seconds) {
                bail!(
                    "penalty_half_life is {seconds} s: it must be from {} to {}",
                    PENALTY_HALF_LIFE.start(),
                    PENALTY_HALF_LIFE.end()
                );
            }
            network.penalty_half_life = Duration::from_secs(seconds);
        }
        let mine_every = settings
            .mine_every
            .map(|s| mining_pause(s, &spec))
            .transpose()?;
        let http = match settings.http {
            Some(addr) => addr,
            None => DEFAULT_HTTP.parse().context("the default API address")?,
        };
        if !http.ip().is_loopback() && !settings.http_public.unwrap_or_default() {
            bail!(
                "the HTTP API would listen on {http}, reachable from outside, and it has no TLS: \
                 choose a loopback address such as {DEFAULT_HTTP} and put a TLS proxy before it, or say --http-public \
                 where the network is trusted"
            );
        }
        Ok(Self {
            spec,
            data_dir,
            network,
            http,
            http_names: settings.http_name,
            mine_every,
        })
    }
}

/// Reads a resolver, in the forms of [`Provider`].
///
/// # Errors
/// When it is none.
pub fn provider(text: &str) -> anyhow::Result<Provider> {
    Ok(text.parse()?)
}

fn dns_trust(settings: &Settings) -> anyhow::Result<DnsTrust> {
    let dnssec = settings.dnssec.unwrap_or_default();
    if dnssec == DnssecChoice::Off && settings.trust_anchor.is_some() {
        bail!("dnssec is off, so nothing is done with trust_anchor: leave one of them out");
    }
    let mut trust = DnsTrust::new(dnssec.into());
    if let Some(file) = &settings.trust_anchor {
        trust = trust.with_anchors(file)?;
    }
    if let Some(file) = &settings.resolver_ca {
        trust = trust.with_authorities(file)?;
    }
    Ok(trust)
}

fn mining_pause(seconds: f64, spec: &ChainSpec) -> anyhow::Result<Duration> {
    if spec.consensus.asert_half_life != 0 {
        bail!(
            "--mine-every is for devnets; {} has a difficulty that no CPU meets",
            spec.network
        );
    }
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|pause| !pause.is_zero())
        .with_context(|| format!("--mine-every {seconds} must be more than 0 seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path) -> Settings {
        Settings {
            network: Some("devnet".to_owned()),
            data_dir: Some(dir.to_owned()),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n").unwrap();
        let mut flags = settings(dir.path());
        flags.listen = Some("127.0.0.1:3".parse().unwrap());
        let merged = flags.with_file(Some(&file)).unwrap();
        let config = NodeConfig::resolve(merged).await.unwrap();
        assert_eq!(config.network.listen_addr.port(), 3);
        assert_eq!(config.http.port(), 2);
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, "network = \"devnet\"\nlisen = \"127.0.0.1:1\"\n").unwrap();
        let error = Settings::default()
            .with_file(Some(&file))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2") && error.contains("lisen"),
            "{error}"
        );
        assert!(error.contains("node.toml"), "{error}");
    }

    #[tokio::test]
    async fn what_does_not_belong_together_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut outside = settings(dir.path());
        outside.http = Some("0.0.0.0:8332".parse().unwrap());
        let error = NodeConfig::resolve(outside).await.unwrap_err().to_string();
        assert!(
            error.contains("loopback") && error.contains("--http-public"),
            "{error}"
        );
        let mut outside = settings(dir.path());
        outside.http = Some("0.0.0.0:8332".parse().unwrap());
        outside.http_public = Some(true);
        let config = NodeConfig::resolve(outside).await.unwrap();
        assert!(config.http.ip().is_unspecified());

        let mut miner = settings(dir.path());
        miner.network = Some("mainnet".to_owned());
        miner.mine_every = Some(1.0);
        let error = NodeConfig::resolve(miner).await.unwrap_err().to_string();
        assert!(error.contains("devnets"), "{error}");
    }

    #[tokio::test]
    async fn more_outbound_connections_than_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut many = settings(dir.path());
        many.outbound = Some(123);
        let error = NodeConfig::resolve(many.clone()).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("126") && error.contains("--outbound"),
            "{error}"
        );
        many.outbound = Some(122);
        NodeConfig::resolve(many).await.unwrap();
    }

    #[tokio::test]
    async fn a_map_and_a_half_life_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let map = dir.path().join("as.dat");
        let resolve = |map: Option<&Path>, half_life| {
            let mut settings = settings(dir.path());
            settings.as_map = map.map(Path::to_owned);
            settings.penalty_half_life = half_life;
            NodeConfig::resolve(settings)
        };
        let error = resolve(Some(&map), None).await.unwrap_err().to_string();
        assert!(error.contains("as.dat"), "{error}");
        std::fs::write(&map, [0xff; 10]).unwrap();
        let error = resolve(Some(&map), None).await.unwrap_err().to_string();
        assert!(error.contains("as.dat"), "{error}");
        // All of the internet is AS 5.
        std::fs::write(&map, [0, 0x40, 0]).unwrap();
        let config = resolve(Some(&map), Some(60)).await.unwrap();
        let group = config.network.netgroups.of([8, 8, 8, 8].into());
        assert_eq!(group.to_string(), "AS5");
        assert_eq!(config.network.penalty_half_life, Duration::from_secs(60));
        let error = resolve(None, Some(59)).await.unwrap_err().to_string();
        assert!(error.contains("59") && error.contains("60 to"), "{error}");
    }

    #[tokio::test]
    async fn what_is_asked_of_dns_comes_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        let anchor = dir.path().join("anchor");
        let key = "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";
        std::fs::write(&anchor, format!("test. IN DNSKEY 257 3 13 {key}\n")).unwrap();
        let text = format!(
            "resolver = [\"system\", \"tls://9.9.9.9#dns.quad9.net\"]\ndnssec = \"require\"\n\
             trust_anchor = {anchor:?}\n"
        );
        std::fs::write(&file, text).unwrap();
        let merged = settings(dir.path()).with_file(Some(&file)).unwrap();
        let config = NodeConfig::resolve(merged).await.unwrap();
        assert_eq!(config.network.dns_trust.dnssec, Dnssec::Require);
        let providers: Vec<_> = config
            .network
            .providers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(providers, ["system", "tls://9.9.9.9:853#dns.quad9.net"]);

        let mut wrong = settings(dir.path());
        wrong.trust_anchor = Some(anchor);
        wrong.dnssec = Some(DnssecChoice::Off);
        let error = NodeConfig::resolve(wrong).await.unwrap_err().to_string();
        assert!(error.contains("dnssec is off"), "{error}");

        let mut missing = settings(dir.path());
        missing.resolver_ca = Some(dir.path().join("none.pem"));
        let error = NodeConfig::resolve(missing).await.unwrap_err().to_string();
        assert!(error.contains("none.pem"), "{error}");

        let mut unknown = settings(dir.path());
        unknown.resolver = vec!["tls://dns.quad9.net".to_owned()];
        let error = NodeConfig::resolve(unknown).await.unwrap_err().to_string();
        assert!(error.contains("is no address"), "{error}");
    }

    #[test]
    fn resolvers_may_leave_the_port_out() {
        assert_eq!(
            provider("9.9.9.9").unwrap(),
            Provider::Server("9.9.9.9:53".parse().unwrap())
        );
        assert_eq!(
            provider("[::1]:5353").unwrap(),
            Provider::Server("[::1]:5353".parse().unwrap())
        );
        assert!(provider("nonsense").is_err());
    }
}
