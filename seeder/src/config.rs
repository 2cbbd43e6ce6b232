//! What an operator may set.
//!
//! [`keys`] describes the settings; `quantumcoin::service::config` reads file, environment and flags by it. They come to
//! [`Layers`], and those to a [`SeederConfig`], of which zones are made; `plan` leads there and knows which setting each error
//! is about.

pub mod keys;
mod plan;
#[cfg(test)]
mod tests;
mod zone_settings;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use hickory_proto::rr::Name;
use quantumcoin::{chain_spec::ChainSpec, service::logging::LogFormat};
use serde::Deserialize;

pub(crate) use self::plan::default_store;
pub use self::plan::defaults;
pub use self::zone_settings::{SettingsError, ZoneSettings};
use crate::{
    answer::Identity,
    audit::{AUDIT_SECONDS, DEFAULT_AUDIT_SECONDS, MAX_SERVERS},
    guard::rate::DEFAULT_LIMIT,
    snapshot::{Policy, Selection, VARIANTS},
    tls::TlsOptions,
    wire::name::WireName,
    zone::{ServerAddress, Zone, ZoneError, ZoneOptions},
};

/// Seconds between two looks at the store, by default and at most. A second is the least that makes sense;
/// a minute is the TTL, so more would serve older peers than caches do.
pub const REFRESH_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;

/// Default of [`SeederConfig::refresh_seconds`].
pub const DEFAULT_REFRESH_SECONDS: u64 = 15;

/// Where metrics, health and status are served by default: loopback only.
pub const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9353);

/// Most bytes of a text that the server tells of itself: one string of TXT, and little in an OPT record.
const MAX_IDENTITY: usize = 255;

/// Most threads for one UDP address: more than machines have cores.
const MAX_WORKERS: usize = 1024;

/// Everything that a seeder needs to know.
#[derive(Debug, Clone)]
pub struct SeederConfig {
    /// The network that is seeded.
    pub spec: ChainSpec,
    /// The crawler's store; it need not exist yet. `None` serves the spec's bootstrap nodes only.
    pub store: Option<PathBuf>,
    /// Addresses for UDP and TCP. Port 0 picks one free port for both.
    pub listen: Vec<SocketAddr>,
    /// Zone names; empty means the spec's DNS seeds.
    pub zones: Vec<String>,
    /// What is different for some of them.
    pub zone_settings: Vec<ZoneSettings>,
    /// Names of the name servers; empty means `ns1.<zone>` for each zone.
    pub name_servers: Vec<String>,
    /// Their addresses, for glue; empty means the listen addresses that are not wildcards.
    pub name_server_addresses: Vec<ServerAddress>,
    /// Mail address of the operator for the SOA.
    pub contact: String,
    /// Where metrics, health and status are served.
    pub http: Option<SocketAddr>,
    /// Seconds that resolvers may keep peer records.
    pub ttl: u32,
    /// Seconds between two looks at the store.
    pub refresh_seconds: u64,
    /// Directory of DNSSEC keys; zones that have keys there are signed.
    pub keys: Option<PathBuf>,
    /// Threads for each UDP address; 0 takes one for each core that the process may use.
    pub udp_workers: usize,
    /// UDP responses a second for a client network (/24 or /56) that has not shown a cookie; 0 sets no limit.
    pub rate_limit: u32,
    /// Secret of DNS cookies, which servers of one anycast address share; `None` takes a new one at each start.
    pub cookie_secret: Option<[u8; 16]>,
    /// Seconds between two audits of itself; 0 for none.
    pub audit_seconds: u64,
    /// Where it asks itself; empty means the addresses of the name servers, or those that are listened on.
    pub audit_addresses: Vec<SocketAddr>,
    /// Answers to CHAOS questions; the second is also the answer to NSID.
    pub identity: Identity,
    /// DNS over TLS; `None` offers none.
    pub tls: Option<TlsOptions>,
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A zone is wrong.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// There is nothing to serve.
    #[error(
        "the network {0:?} names no DNS seeds, so there is no zone to serve: name one with --zone NAME"
    )]
    NoZones(String),
    /// There is nowhere to serve.
    #[error("no address to listen on: name one with --listen, as in 0.0.0.0:53")]
    NoListen,
    /// Likewise, over TLS.
    #[error(
        "listen in [tls] is empty: name an address, as in 0.0.0.0:853, or leave it out, or the table"
    )]
    NoTlsListen,
    /// An address of nobody.
    #[error(
        "{server} has an address, but is no name server inside the zone {zone}: name it with --ns, or see whether it is misspelt"
    )]
    NoSuchServer {
        /// Who has it.
        server: String,
        /// Where.
        zone: String,
    },
    /// The same zone twice.
    #[error("the zone {0} is named twice")]
    TwiceZone(String),
    /// What is different for a zone.
    #[error("the zone {zone}: {source}")]
    Settings {
        /// The zone.
        zone: String,
        /// What is wrong.
        source: SettingsError,
    },
    /// The audit's interval.
    #[error(
        "auditing each {0} s is out of range: choose {least} to {most} s, or 0 for no audit",
        least = AUDIT_SECONDS.start(), most = AUDIT_SECONDS.end()
    )]
    Audit(u64),
    /// More addresses for the audit than it asks.
    #[error("audit_addresses names {0} addresses, at most {MAX_SERVERS} are asked")]
    AuditAddresses(usize),
    /// Interval out of range.
    #[error(
        "refreshing each {0} s is out of range: choose {least} to {most} s",
        least = REFRESH_SECONDS.start(), most = REFRESH_SECONDS.end()
    )]
    Refresh(u64),
    /// The server's name is too long for NSID and TXT.
    #[error("id and version have at most {MAX_IDENTITY} bytes")]
    Identity,
    /// The secret of cookies has another form.
    #[error(
        "cookie_secret is wrong: write 32 hexadecimal digits, as `openssl rand -hex 16` prints them"
    )]
    CookieSecret,
}

/// What the layers come to, by the names of [`keys::PROGRAM`]; `None` is what nobody set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// See [`SeederConfig::listen`].
    pub listen: Option<Vec<SocketAddr>>,
    /// See [`SeederConfig::store`].
    pub store: Option<PathBuf>,
    /// Name of a built-in network.
    pub network: Option<String>,
    /// Chain spec file.
    pub chain_spec: Option<PathBuf>,
    /// See [`SeederConfig::zones`].
    pub zones: Option<Vec<String>>,
    /// See [`SeederConfig::zone_settings`]; these zones are served as well.
    #[serde(default)]
    pub zone: Vec<ZoneSettings>,
    /// See [`SeederConfig::name_servers`].
    pub name_servers: Option<Vec<String>>,
    /// See [`SeederConfig::name_server_addresses`].
    pub name_server_addresses: Option<Vec<ServerAddress>>,
    /// See [`SeederConfig::contact`].
    pub contact: Option<String>,
    /// See [`SeederConfig::http`].
    pub http: Option<SocketAddr>,
    /// See [`SeederConfig::ttl`].
    pub ttl: Option<u32>,
    /// See [`SeederConfig::refresh_seconds`].
    pub refresh_seconds: Option<u64>,
    /// See [`SeederConfig::keys`].
    pub keys: Option<PathBuf>,
    /// See [`SeederConfig::udp_workers`].
    pub udp_workers: Option<usize>,
    /// See [`SeederConfig::rate_limit`].
    pub rate_limit: Option<u32>,
    /// See [`SeederConfig::cookie_secret`]; 32 hexadecimal digits.
    pub cookie_secret: Option<String>,
    /// See [`SeederConfig::audit_seconds`].
    pub audit_seconds: Option<u64>,
    /// See [`SeederConfig::audit_addresses`].
    pub audit_addresses: Option<Vec<SocketAddr>>,
    /// Answer to CHAOS `version.bind`.
    pub version: Option<String>,
    /// Answer to CHAOS `id.server`, and to NSID (RFC 5001).
    pub id: Option<String>,
    /// See [`SeederConfig::tls`].
    pub tls: Option<TlsOptions>,
    /// Log level or filter.
    pub log: Option<String>,
    /// How log lines look.
    pub log_format: Option<LogFormat>,
}

impl SeederConfig {
    /// The defaults for a network: its seeds' names, port 53 on every address, no store.
    #[must_use]
    pub fn new(spec: ChainSpec) -> Self {
        Self {
            spec,
            store: None,
            listen: vec![
                (Ipv4Addr::UNSPECIFIED, 53).into(),
                (Ipv6Addr::UNSPECIFIED, 53).into(),
            ],
            zones: Vec::new(),
            zone_settings: Vec::new(),
            name_servers: Vec::new(),
            name_server_addresses: Vec::new(),
            contact: String::new(),
            http: None,
            ttl: 0,
            refresh_seconds: DEFAULT_REFRESH_SECONDS,
            keys: None,
            udp_workers: 0,
            rate_limit: DEFAULT_LIMIT,
            cookie_secret: None,
            audit_seconds: DEFAULT_AUDIT_SECONDS,
            audit_addresses: Vec::new(),
            identity: Identity::default(),
            tls: None,
        }
    }

    /// The zones to serve, checked.
    ///
    /// # Errors
    /// [`ConfigError`] when a name or a number can't be, or there is no zone at all.
    pub fn build_zones(&self) -> Result<Vec<Zone>, ConfigError> {
        if !REFRESH_SECONDS.contains(&self.refresh_seconds) {
            return Err(ConfigError::Refresh(self.refresh_seconds));
        }
        if self.audit_seconds != 0 && !AUDIT_SECONDS.contains(&self.audit_seconds) {
            return Err(ConfigError::Audit(self.audit_seconds));
        }
        if self.audit_addresses.len() > MAX_SERVERS {
            return Err(ConfigError::AuditAddresses(self.audit_addresses.len()));
        }
        self.check_settings()?;
        let Identity { version, id } = &self.identity;
        let mut texts = [version, id].into_iter().flatten();
        if texts.any(|text| text.len() > MAX_IDENTITY) {
            return Err(ConfigError::Identity);
        }
        let names: Vec<&str> = if self.zones.is_empty() {
            // The spec may add the port at which a resolver asks: that is the client's matter.
            self.spec
                .discovery
                .dns_seeds
                .iter()
                .map(|seed| without_port(seed))
                .collect()
        } else {
            self.zones.iter().map(String::as_str).collect()
        };
        if names.is_empty() {
            return Err(ConfigError::NoZones(self.spec.network.clone()));
        }
        let mut zones: Vec<Zone> = Vec::new();
        for name in names {
            let zone = self.build_zone(name)?;
            if zones.iter().any(|other| other.apex() == zone.apex()) {
                return Err(ConfigError::TwiceZone(zone.apex().to_string()));
            }
            self.check_servers(&zone)?;
            zones.push(zone);
        }
        Ok(zones)
    }

    fn build_zone(&self, name: &str) -> Result<Zone, ConfigError> {
        let none = ZoneSettings::default();
        let own = self.settings_of(name).unwrap_or(&none);
        let addresses = match &own.name_server_addresses {
            Some(addresses) => addresses.clone(),
            None => self.glue_addresses(),
        };
        Ok(Zone::new(
            name,
            &ZoneOptions {
                name_servers: own.name_servers.as_deref().unwrap_or(&self.name_servers),
                name_server_addresses: &addresses,
                contact: own.contact.as_deref().unwrap_or(&self.contact),
                ttl: own.ttl.unwrap_or(self.ttl),
                selection: own.selection().map_err(|source| ConfigError::Settings {
                    zone: name.to_owned(),
                    source,
                })?,
            },
        )?)
    }

    /// Whoever has an address within a zone must be one of its name servers. Of other zones nothing is said here.
    fn check_servers(&self, zone: &Zone) -> Result<(), ConfigError> {
        let own = self.settings_of(&zone.apex().to_ascii());
        let own = own.and_then(|own| own.name_server_addresses.as_ref());
        let inside = |name: &&Name| WireName::of(name).below(zone.apex_wire()).is_some();
        let all = self.name_server_addresses.iter().filter(|_| own.is_none());
        let all = all.filter_map(|one| one.server.as_ref()).filter(inside);
        let own = own
            .into_iter()
            .flatten()
            .filter_map(|one| one.server.as_ref());
        for name in all.chain(own) {
            if !zone.own_servers().contains(&WireName::of(name)) {
                return Err(ConfigError::NoSuchServer {
                    server: name.to_string(),
                    zone: zone.apex().to_string(),
                });
            }
        }
        Ok(())
    }

    /// Each zone's settings once.
    fn check_settings(&self) -> Result<(), ConfigError> {
        for (index, own) in self.zone_settings.iter().enumerate() {
            let before = self.zone_settings.iter().take(index);
            if before
                .into_iter()
                .any(|other| same_name(&other.name, &own.name))
            {
                return Err(ConfigError::TwiceZone(own.name.clone()));
            }
        }
        Ok(())
    }

    fn settings_of(&self, name: &str) -> Option<&ZoneSettings> {
        let mut settings = self.zone_settings.iter();
        settings.find(|settings| same_name(&settings.name, name))
    }

    /// The directory of a zone's keys.
    #[must_use]
    pub fn keys_of(&self, zone: &Zone) -> Option<&Path> {
        let own = self.settings_of(&zone.apex().to_ascii());
        own.and_then(|own| own.keys.as_deref())
            .or(self.keys.as_deref())
    }

    /// Threads for each UDP address.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.udp_workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers.min(MAX_WORKERS),
        }
    }

    /// How snapshots are drawn for these zones of this network.
    #[must_use]
    pub fn policy(&self, zones: &[Zone]) -> Policy {
        let protocol = &self.spec.network_protocol;
        let ttl = zones
            .iter()
            .map(|zone| i64::from(zone.ttl()))
            .max()
            .unwrap_or(0);
        let mut selections: Vec<Selection> = Vec::new();
        for zone in zones {
            if !selections.contains(zone.selection()) {
                selections.push(zone.selection().clone());
            }
        }
        Policy {
            network: self.spec.network.clone(),
            default_port: protocol.default_port,
            one_per_netgroup: !protocol.allow_private_addresses,
            variants: VARIANTS,
            // The record may leave us just before the peer does, and live one TTL in a cache.
            host_memory: ttl + 2 * i64::try_from(self.refresh_seconds).unwrap_or(0),
            selections,
        }
    }

    fn glue_addresses(&self) -> Vec<ServerAddress> {
        if !self.name_server_addresses.is_empty() {
            return self.name_server_addresses.clone();
        }
        let specific = self
            .listen
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| !ip.is_unspecified());
        specific.map(ServerAddress::from).collect()
    }
}

/// Whether two texts are the same domain name: in any case, with or without the dot at the end.
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|name| name.trim_end_matches('.'));
    one.eq_ignore_ascii_case(other)
}

/// Reads [`Layers::cookie_secret`].
pub(crate) fn cookie_secret(text: &str) -> Result<[u8; 16], ConfigError> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ConfigError::CookieSecret)
}

fn without_port(seed: &str) -> &str {
    match seed.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => seed,
    }
}
