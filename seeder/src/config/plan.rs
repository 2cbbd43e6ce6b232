//! From the layers to a [`SeederConfig`], and everything that is wrong on the way.

use std::{net::SocketAddr, path::PathBuf};

use quantumcoin::{
    chain_spec::ChainSpec,
    service::{
        bind,
        config::{Fault, Loaded, Mistakes},
        dirs, spec,
    },
};
use toml::{Table, Value};

use super::{
    ConfigError, DEFAULT_HTTP, Layers, SeederConfig, SettingsError, ZoneSettings, cookie_secret,
    same_name,
};
use crate::{
    answer::Identity,
    dnssec::keyring::Keyring,
    tls::{Certificate, TlsError},
    zone::{Zone, ZoneError},
};

impl SeederConfig {
    /// What the layers come to. Whether zones can be made of it shows itself when they are.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub async fn of(loaded: &Loaded) -> Result<Self, Mistakes> {
        if let Some(fault) = half_tls(loaded) {
            return Err(Mistakes(vec![loaded.locate(fault)]));
        }
        let layers: Layers = loaded.to(Table::new())?;
        let spec = spec::choose(layers.network.as_deref(), layers.chain_spec.as_deref()).await;
        let spec =
            spec.map_err(|error| Mistakes(vec![loaded.locate(Fault::of(error.key(), &error))]))?;
        Ok(put_together(loaded, layers, spec))
    }

    /// Everything that would keep a seeder with these settings from starting, or from signing. Nothing is made for it.
    #[must_use]
    pub fn examine(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.listen.is_empty() {
            faults.push(Fault::new("listen", ConfigError::NoListen));
        }
        match self.build_zones() {
            Ok(zones) => faults.extend(self.keys_faults(&zones)),
            Err(error) => faults.push(Fault::new(self.key_of(&error), &error)),
        }
        let tls = self.tls.as_ref();
        if let Some(tls) = tls {
            if tls.listen.is_empty() {
                faults.push(Fault::new("tls.listen", ConfigError::NoTlsListen));
            }
            if let Err(error) = Certificate::load(tls) {
                faults.push(Fault::of(tls_key(&error), &error));
            }
        }
        let own = |key: &'static str, addrs: &[SocketAddr]| {
            let wrong = addrs
                .iter()
                .filter_map(|addr| bind::is_ours(addr.ip()).err());
            wrong
                .map(|error| Fault::new(key, error))
                .collect::<Vec<_>>()
        };
        faults.extend(own("listen", &self.listen));
        faults.extend(own(
            "tls.listen",
            tls.map_or(&[][..], |tls| tls.listen.as_slice()),
        ));
        faults.extend(own("http", self.http.as_slice()));
        faults
    }

    /// Of the directories of keys those that can't be used.
    fn keys_faults(&self, zones: &[Zone]) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for zone in zones {
            let Some(dir) = self.keys_of(zone) else {
                continue;
            };
            if let Err(error) = Keyring::load(dir, [zone.apex_wire()]) {
                let key = self.zone_key(&zone.apex().to_ascii(), "keys", |own| own.keys.is_some());
                let fault = Fault::of(key, &error).with_help(
                    "make keys there by `quantumcoin-seeder keys generate`, or check the path, its owner and permissions",
                );
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        faults
    }

    /// The key of a zone's own setting where it has one, else of that for all.
    fn zone_key(&self, zone: &str, key: &str, has: impl Fn(&ZoneSettings) -> bool) -> String {
        let mut settings = self.zone_settings.iter();
        match settings.position(|own| same_name(&own.name, zone) && has(own)) {
            Some(index) => format!("zone[{index}].{key}"),
            None => key.to_owned(),
        }
    }

    /// The setting that an error is about.
    fn key_of(&self, error: &ConfigError) -> String {
        let key = match error {
            ConfigError::Zone(error) => match error {
                ZoneError::Name { .. } | ZoneError::Root => "zones",
                ZoneError::OwnNameServer(_) | ZoneError::ReservedServer(_) => "name_servers",
                ZoneError::Contact(_) => "contact",
                ZoneError::Ttl(_) => "ttl",
            },
            ConfigError::NoZones(_) => "zones",
            ConfigError::TwiceZone(name) => {
                let mut settings = self.zone_settings.iter();
                return match settings.rposition(|own| same_name(&own.name, name)) {
                    Some(index) => format!("zone[{index}].name"),
                    None => "zones".to_owned(),
                };
            }
            ConfigError::Settings { zone, source } => {
                let key = match source {
                    SettingsError::Slice(_) => "slice",
                    SettingsError::Filter(_) => "services",
                    SettingsError::Filters(_) => "filters",
                };
                return self.zone_key(zone, key, |_| true);
            }
            ConfigError::NoSuchServer { zone, .. } => {
                let has = |own: &ZoneSettings| own.name_server_addresses.is_some();
                return self.zone_key(zone, "name_server_addresses", has);
            }
            ConfigError::NoListen => "listen",
            ConfigError::NoTlsListen => "tls.listen",
            ConfigError::Audit(_) => "audit_seconds",
            ConfigError::AuditAddresses(_) => "audit_addresses",
            ConfigError::Refresh(_) => "refresh_seconds",
            ConfigError::Identity => "id",
            ConfigError::CookieSecret => "cookie_secret",
        };
        key.to_owned()
    }
}

fn tls_key(error: &TlsError) -> &'static str {
    if error.is_of_key() {
        "tls.key"
    } else {
        "tls.certificate"
    }
}

/// [tls] that lacks one of the two files.
fn half_tls(loaded: &Loaded) -> Option<Fault> {
    if !loaded.has_section("tls") {
        return None;
    }
    let mut needed = ["certificate", "key"].into_iter();
    let missing = needed.find(|key| loaded.get(&format!("tls.{key}")).is_none())?;
    Some(Fault::new(
        format!("tls.{missing}"),
        format!(
            "[tls] needs certificate and key, and has no {missing}\n  help: name the file, or leave the section out to \
             offer no DNS over TLS"
        ),
    ))
}

fn put_together(loaded: &Loaded, layers: Layers, spec: ChainSpec) -> SeederConfig {
    let mut zones = layers.zones.unwrap_or_default();
    if !loaded.is_overridden("zones") {
        let listed = zones.clone();
        let is_listed = |name: &String| listed.iter().any(|other| same_name(other, name));
        let named = layers.zone.iter().map(|settings| &settings.name);
        zones.extend(named.filter(|name| !is_listed(name)).cloned());
    }
    let zone_settings = layers.zone.into_iter();
    let defaults = SeederConfig::new(spec);
    let store = layers
        .store
        .or_else(|| default_store(&defaults.spec.network));
    SeederConfig {
        store,
        listen: layers.listen.unwrap_or(defaults.listen),
        zones,
        zone_settings: zone_settings.map(|own| overridden(own, loaded)).collect(),
        name_servers: layers.name_servers.unwrap_or(defaults.name_servers),
        name_server_addresses: layers
            .name_server_addresses
            .unwrap_or(defaults.name_server_addresses),
        contact: layers.contact.unwrap_or(defaults.contact),
        http: Some(layers.http.unwrap_or(DEFAULT_HTTP)),
        ttl: layers.ttl.unwrap_or(defaults.ttl),
        refresh_seconds: layers.refresh_seconds.unwrap_or(defaults.refresh_seconds),
        keys: layers.keys,
        udp_workers: layers.udp_workers.unwrap_or(defaults.udp_workers),
        rate_limit: layers.rate_limit.unwrap_or(defaults.rate_limit),
        // Its form was checked with all other values'.
        cookie_secret: layers
            .cookie_secret
            .and_then(|text| cookie_secret(&text).ok()),
        audit_seconds: layers.audit_seconds.unwrap_or(defaults.audit_seconds),
        audit_addresses: layers.audit_addresses.unwrap_or_default(),
        identity: Identity {
            version: layers.version,
            id: layers.id,
        },
        tls: layers.tls,
        spec: defaults.spec,
    }
}

/// What flags and the environment say counts for all zones, whatever the file says of one.
fn overridden(own: ZoneSettings, loaded: &Loaded) -> ZoneSettings {
    let stays = |key| !loaded.is_overridden(key);
    ZoneSettings {
        name_servers: own.name_servers.filter(|_| stays("name_servers")),
        name_server_addresses: own
            .name_server_addresses
            .filter(|_| stays("name_server_addresses")),
        contact: own.contact.filter(|_| stays("contact")),
        ttl: own.ttl.filter(|_| stays("ttl")),
        keys: own.keys.filter(|_| stays("keys")),
        ..own
    }
}

/// Where the crawler keeps its store unless told otherwise.
pub(crate) fn default_store(network: &str) -> Option<PathBuf> {
    let dir = dirs::locate("quantumcoin-crawler", None).ok()?;
    Some(dir.join(network).join("crawl.sqlite"))
}

/// What a seeder uses where nobody sets it, as far as the network or this machine decide it.
#[must_use]
pub fn defaults(spec: &ChainSpec) -> Table {
    let mut table = Table::new();
    if let Some(store) = default_store(&spec.network) {
        table.insert(
            "store".to_owned(),
            Value::String(store.display().to_string()),
        );
    }
    let zones = spec.discovery.dns_seeds.iter();
    let zones = zones.map(|seed| Value::String(super::without_port(seed).to_owned()));
    table.insert("zones".to_owned(), Value::Array(zones.collect()));
    table
}
