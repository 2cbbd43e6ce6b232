//! What a configuration makes of a seeder, besides its sockets. It never changes; a reload makes a new one.

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    answer::Engine,
    config::{ConfigError, SeederConfig},
    dnssec::{keyfile::KeyFileError, keyring::Keyring},
    follow::FollowOptions,
    guard::{cookie::Cookies, rate::RateLimiter},
    server::counters::{Counters, ZoneCounters},
    zone::Zone,
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
    /// Directory of DNSSEC keys.
    keys: Option<PathBuf>,
    /// See [`Guards`].
    pub guards: Guards,
    /// Queries of each zone.
    pub(crate) queries: ZoneCounters,
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
        let engine = Engine::new(config.build_zones()?, config.identity.clone());
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
            keys: config.keys.clone(),
            queries: counters.of_zones(engine.zones()),
            guards: Guards {
                cookies,
                rate,
                nsid: config.identity.id.clone().map(String::into_bytes),
            },
            engine,
            rate_limit: config.rate_limit,
        })
    }
}

impl Setup {
    /// Reads the keys of the zones from disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub(crate) fn load_keyring(&self) -> Result<Keyring, KeyFileError> {
        let apexes = self.engine.zones().iter().map(Zone::apex_wire);
        match &self.keys {
            None => Ok(Keyring::default()),
            Some(dir) => Keyring::load(dir, apexes),
        }
    }

    /// Whether zones are meant to be signed.
    pub(crate) const fn has_keys(&self) -> bool {
        self.keys.is_some()
    }
}

/// What of a configuration is about following the store.
pub(crate) fn follow_options(config: &SeederConfig) -> FollowOptions {
    FollowOptions {
        store: config.store.clone(),
        network: config.spec.network.clone(),
        bootstrap: config.spec.discovery.bootstrap_nodes.clone(),
        policy: config.policy(),
        every: Duration::from_secs(config.refresh_seconds),
    }
}
