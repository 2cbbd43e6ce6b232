//! [`StoreReader`]: the read-only side, for the seeder, the dashboard and the command line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::Mutex;

use super::StoreError;
use super::candidates::Candidates;
use super::schema;
use crate::reachability::crowding::thin_out;
use crate::reachability::overlay::OverlayName;
use crate::reachability::verdict::is_good;
use crate::reachability::{GoodPeer, GoodPolicy, Place, Transports};

/// Connections of one reader: enough for a dashboard page's few queries at a time.
const CONNECTIONS: u32 = 4;

/// Reads a store that somebody else writes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreReader {
    pub(super) pool: SqlitePool,
    /// Shared by all clones.
    pub(super) candidates: Arc<Mutex<Candidates>>,
}

/// The good peers at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GoodSet {
    /// In no particular order; draw with [`crate::reachability::selection`].
    pub peers: Vec<GoodPeer>,
    /// Names of those that have one instead of an address, by what stands for it.
    pub names: HashMap<IpAddr, OverlayName>,
    /// Good peers that are not in it, since their netgroups hold too much of it ([`crate::reachability::crowding`]).
    pub left_out: usize,
    /// Grows with every change that a reader may see; compare with [`StoreReader::generation`].
    pub generation: u64,
    /// When a probe last passed, Unix seconds; `None` if none ever did.
    pub newest_probe_at: Option<i64>,
    /// Whether the newest passed probe is older than the policy's `max_age`, or the crawler's own network is
    /// down: then this is the last known good set.
    pub stale: bool,
}

impl StoreReader {
    /// Opens an existing store for reading.
    ///
    /// # Errors
    /// A missing, damaged, foreign, older or newer file; see [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = schema::open_reader(path).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|e| StoreError::at_open(path, e))?;
        Ok(Self {
            pool,
            candidates: Arc::default(),
        })
    }

    /// Number of the newest committed change: a cheap way to see whether to ask again.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn generation(&self) -> Result<u64, StoreError> {
        Ok(self
            .number("generation")
            .await?
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0))
    }

    /// The peers that are good at `now` (Unix seconds).
    ///
    /// Freshness is measured against the newest passed probe, not against the clock alone: when the crawler
    /// stops or its own network is down, the last known good set stays, marked [`GoodSet::stale`].
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn good_peers(&self, now: i64) -> Result<GoodSet, StoreError> {
        // Read first: a commit in between makes the next comparison differ, never hides a change.
        let generation = self.generation().await?;
        let policy = self.policy().await?;
        let moment = self.moment(now, &policy).await?;
        let since = moment.since(&policy);
        let banned = self.banned(now).await?;
        let mut candidates = self.candidates.lock().await;
        candidates.renew(self, generation, since).await?;
        let median = candidates.median(since, &banned);
        let mut peers = candidates.good(since, |facts| {
            banned.find(facts.addr.ip()).is_none() && is_good(&policy, facts, median, moment.as_of)
        });
        drop(candidates);
        let left_out = thin_out(&mut peers, policy.max_netgroup_percent);
        let named = self.named(peers.iter().map(|peer| peer.addr)).await?;
        let names = named.into_values().filter_map(|peer| peer.name());
        Ok(GoodSet {
            names: names.map(|name| (name.stand_in().into(), name)).collect(),
            peers,
            left_out,
            generation,
            newest_probe_at: moment.newest_ok_at,
            stale: moment.stale,
        })
    }

    /// The thresholds that the crawler was configured with.
    ///
    /// # Errors
    /// The file can't be read, or holds a policy of another version.
    pub async fn policy(&self) -> Result<GoodPolicy, StoreError> {
        let Some(text) = self.meta("good_policy").await? else {
            return Ok(GoodPolicy::default());
        };
        serde_json::from_str(&text).map_err(|e| StoreError::Value {
            column: "good_policy",
            reason: e.to_string(),
        })
    }

    /// Name of the crawled network.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn network(&self) -> Result<String, StoreError> {
        Ok(self.meta("network").await?.unwrap_or_default())
    }

    /// The time against which freshness is measured.
    pub(super) async fn moment(&self, now: i64, policy: &GoodPolicy) -> Result<Moment, StoreError> {
        let newest_ok_at = self.number("newest_ok_at").await?;
        let frozen_since = self.number("frozen_since").await?;
        let late = newest_ok_at.is_none_or(|at| now.saturating_sub(at) > policy.max_age_secs);
        Ok(Moment {
            as_of: newest_ok_at.map_or(now, |at| at.min(now)),
            newest_ok_at,
            stale: late || frozen_since.is_some(),
        })
    }

    pub(super) async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM meta WHERE key = $1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await?)
    }

    pub(super) async fn number(&self, key: &'static str) -> Result<Option<i64>, StoreError> {
        let Some(text) = self.meta(key).await? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| StoreError::Value {
            column: key,
            reason: format!("{text:?} is no number"),
        })
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// When a judgement is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) as_of: i64,
    pub(super) newest_ok_at: Option<i64>,
    pub(super) stale: bool,
}

/// Columns of where an address is; what no country code is was written by somebody else.
pub(super) fn place(country: Option<&str>, system: Option<i64>) -> Place {
    Place {
        country: country.and_then(|text| text.parse().ok()),
        system: small(system),
    }
}

/// A stored number that fits 32 bits unless somebody else wrote it.
pub(super) fn small(n: Option<i64>) -> Option<u32> {
    n.and_then(|n| u32::try_from(n).ok())
}

pub(super) fn transports(bits: Option<i64>) -> Transports {
    Transports::from_bits(bits.and_then(|b| u8::try_from(b).ok()).unwrap_or(0))
}
