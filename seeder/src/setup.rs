//! What a configuration makes of a seeder, besides its sockets. It never changes; a reload makes a new one.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    answer::Engine,
    audit::AuditOptions,
    config::{ConfigError, SeederConfig},
    dnssec::{keyfile::KeyFileError, keyring::Keyring},
    follow::FollowOptions,
    guard::{cookie::Cookies, rate::RateLimiter},
    server::counters::{Counters, ZoneCounters},
    wire::name::WireName,
};

/// How a server guards itself, and what it tells of itself.
#[derive(Debug)]
pub struct Guards {
    /// Makes cookies.
    pub cookies: Cookies,
    /// Bounds UDP responses; `None` bounds nothing.
    pub rate: Option<Arc<RateLimiter>>,
    /// The server's name for NSID (RFC 5001), when it tells one.
    pub nsid: Option<Vec<u8>>,
}

/// What answers are made by.
#[derive(Debug)]
pub struct Setup {
    /// Decides.
    pub engine: Engine,
    /// Directories of DNSSEC keys, in the order of the engine's zones.
    keys: Vec<Option<PathBuf>>,
    /// See [`Guards`].
    pub guards: Guards,
    /// Queries of each zone.
    pub(crate) queries: ZoneCounters,
    /// How the seeder looks at itself.
    pub(crate) audit: AuditOptions,
    rate_limit: u32,
}

impl Setup {
    /// For a configuration. What clients have learnt of `previous` stays good: cookies whose secret is not configured, and
    /// allowances when the limit is the same.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn new(
        config: &SeederConfig,
        counters: &Counters,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let zones = config.build_zones()?;
        let keys = zones
            .iter()
            .map(|zone| config.keys_of(zone).map(Path::to_owned));
        let keys = keys.collect();
        let engine = Engine::new(zones, config.identity.clone());
        let cookies = match (config.cookie_secret, previous) {
            (Some(secret), _) => Cookies::new(&secret),
            (None, Some(previous)) => previous.guards.cookies.clone(),
            (None, None) => Cookies::new(&rand::random()),
        };
        let limiter = |limit| Arc::new(RateLimiter::new(limit, &rand::random()));
        let rate = match previous.filter(|previous| previous.rate_limit == config.rate_limit) {
            Some(previous) => previous.guards.rate.clone(),
            None => NonZeroU32::new(config.rate_limit).map(limiter),
        };
        Ok(Self {
            keys,
            queries: counters.of_zones(engine.zones()),
            guards: Guards {
                cookies,
                rate,
                nsid: config.identity.id.clone().map(String::into_bytes),
            },
            audit: AuditOptions {
                every: Duration::from_secs(config.audit_seconds),
                addresses: config.audit_addresses.clone(),
                spec: Arc::new(config.spec.clone()),
            },
            engine,
            rate_limit: config.rate_limit,
        })
    }
}

impl Setup {
    /// Reads the keys of the zones from disk: of each directory what it holds, and whose.
    pub(crate) fn load_keyrings(&self) -> Vec<(Vec<WireName>, Result<Keyring, KeyFileError>)> {
        let mut dirs: BTreeMap<&Path, Vec<WireName>> = BTreeMap::new();
        for (zone, dir) in self.engine.zones().iter().zip(&self.keys) {
            if let Some(dir) = dir {
                dirs.entry(dir).or_default().push(*zone.apex_wire());
            }
        }
        let load = |(dir, apexes): (&Path, Vec<WireName>)| {
            let ring = Keyring::load(dir, &apexes);
            (apexes, ring)
        };
        dirs.into_iter().map(load).collect()
    }

    /// Whether the zone of that index is meant to be signed.
    pub(crate) fn has_keys(&self, zone: usize) -> bool {
        self.keys.get(zone).is_some_and(Option::is_some)
    }
}

/// What of a configuration is about following the store.
///
/// # Errors
/// [`ConfigError`].
pub(crate) fn follow_options(config: &SeederConfig) -> Result<FollowOptions, ConfigError> {
    let zones = config.build_zones()?;
    Ok(FollowOptions {
        store: config.store.clone(),
        network: config.spec.network.clone(),
        bootstrap: config.spec.discovery.bootstrap_nodes.clone(),
        policy: config.policy(&zones),
        every: Duration::from_secs(config.refresh_seconds),
    })
}
