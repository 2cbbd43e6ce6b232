//! Security events: what the detectors found and what was done about it, as structured log lines (JSON where the log is),
//! counters, and a short list for status. Each detector may speak so often; what it found meanwhile is counted and told
//! with its next event, so that an attack can't fill the disk.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tracing::warn;

use super::bucket::{Bucket, Rate};
use crate::network::metrics::NetworkMetrics;

/// How much one detector tells: ten events at once, and then one in ten seconds.
const TOLD: Rate = Rate {
    per_second: 0.1,
    burst: 10.0,
};

/// Latest events kept for status; about 300 bytes each.
const KEPT: usize = 128;

/// Characters of a detail: more than any reason of ours has, and a bound for what a peer's words bring into it.
const MAX_DETAIL: usize = 200;

/// What looks for one kind of attack. A closed list: these words are labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// One host opens connection after connection, or many at a time.
    ConnectionFlood,
    /// One subnet wants more places than it may have.
    SubnetSybil,
    /// More handshakes are asked for than are worked on.
    HandshakeFlood,
    /// A peer does not take what is sent to it.
    SlowReader,
    /// A peer begins messages and does not end them.
    SlowWriter,
    /// Pings beyond the limits.
    PingFlood,
    /// Addresses beyond the limits.
    AddressSpam,
    /// Inventories beyond the limits.
    InventorySpam,
    /// Other messages beyond the limits.
    MessageFlood,
    /// Headers of chains with far less work than ours.
    LowWorkHeaders,
    /// Blocks, headers, transactions or messages that break the rules.
    InvalidData,
    /// Identities that could not be proven.
    ForgedIdentity,
    /// Blocks that were shown and not given.
    BlockWithholding,
    /// Clocks that differ from ours.
    ClockSkew,
    /// Somebody says that a peer speaks no Noise, and it does.
    Downgrade,
    /// A peer was dialled by TLS.
    TransportFallback,
    /// Another node than before, or one with new keys.
    IdentityChanged,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ConnectionFlood,
        Self::SubnetSybil,
        Self::HandshakeFlood,
        Self::SlowReader,
        Self::SlowWriter,
        Self::PingFlood,
        Self::AddressSpam,
        Self::InventorySpam,
        Self::MessageFlood,
        Self::LowWorkHeaders,
        Self::InvalidData,
        Self::ForgedIdentity,
        Self::BlockWithholding,
        Self::ClockSkew,
        Self::Downgrade,
        Self::TransportFallback,
        Self::IdentityChanged,
    ];

    /// Bounded label for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionFlood => "connection_flood",
            Self::SubnetSybil => "subnet_sybil",
            Self::HandshakeFlood => "handshake_flood",
            Self::SlowReader => "slow_reader",
            Self::SlowWriter => "slow_writer",
            Self::PingFlood => "ping_flood",
            Self::AddressSpam => "address_spam",
            Self::InventorySpam => "inventory_spam",
            Self::MessageFlood => "message_flood",
            Self::LowWorkHeaders => "low_work_headers",
            Self::InvalidData => "invalid_data",
            Self::ForgedIdentity => "forged_identity",
            Self::BlockWithholding => "block_withholding",
            Self::ClockSkew => "clock_skew",
            Self::Downgrade => "downgrade",
            Self::TransportFallback => "transport_fallback",
            Self::IdentityChanged => "identity_changed",
        }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The connection was not let in.
    Refused,
    /// The peer is read more slowly.
    Throttled,
    /// The connection was closed.
    Disconnected,
    /// The host is kept out for a while.
    Banned,
    /// The host is kept out until somebody lifts that.
    BannedForever,
    /// The peer was dialled by Noise.
    DialledByNoise,
    /// Nothing: somebody should know.
    Told,
}

impl Response {
    /// Bounded label for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Disconnected => "disconnected",
            Self::Banned => "banned",
            Self::BannedForever => "banned_forever",
            Self::DialledByNoise => "dialled_by_noise",
            Self::Told => "told",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecurityEvent {
    /// Counted from 1 since the start, without gaps.
    pub id: u64,
    /// When, Unix seconds.
    pub at: u64,
    /// Who found it.
    pub detector: Detector,
    /// Whose doing it is; as far as that can be known.
    pub addr: SocketAddr,
    /// What was done.
    pub response: Response,
    /// In words.
    pub detail: String,
    /// Events of the detector since its last one that were counted and not told.
    pub suppressed: u64,
}

/// Where events go. Clones share it.
#[derive(Debug, Clone)]
pub struct SecurityLog {
    metrics: NetworkMetrics,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    latest: VecDeque<SecurityEvent>,
    /// Events told since the start.
    told: u64,
    detectors: BTreeMap<Detector, Heard>,
}

/// How much a detector has found.
#[derive(Debug)]
struct Heard {
    all: u64,
    suppressed: u64,
    bucket: Bucket,
}

impl SecurityLog {
    /// Nothing was found yet.
    #[must_use]
    pub fn new(metrics: NetworkMetrics) -> Self {
        Self {
            metrics,
            kept: Arc::default(),
        }
    }

    /// `detector` found something at `unix`, which is `now`.
    pub fn raise(
        &self,
        detector: Detector,
        addr: SocketAddr,
        response: Response,
        detail: &str,
        (unix, now): (u64, Instant),
    ) {
        self.metrics.detected(detector);
        let event = {
            let mut kept = self.lock();
            let heard = kept.detectors.entry(detector).or_insert_with(|| Heard {
                all: 0,
                suppressed: 0,
                bucket: Bucket::full(TOLD, now),
            });
            heard.all += 1;
            heard.bucket = heard.bucket.filled(TOLD, now);
            if !heard.bucket.take() {
                heard.suppressed += 1;
                return;
            }
            let suppressed = std::mem::take(&mut heard.suppressed);
            kept.told += 1;
            let event = SecurityEvent {
                id: kept.told,
                at: unix,
                detector,
                addr,
                response,
                detail: detail.chars().take(MAX_DETAIL).collect(),
                suppressed,
            };
            if kept.latest.len() >= KEPT {
                kept.latest.pop_front();
            }
            kept.latest.push_back(event.clone());
            event
        };
        warn!(
            target: "security", event = detector.as_str(), %addr, response = response.as_str(),
            suppressed = event.suppressed, "{}", event.detail
        );
    }

    /// The latest events, the oldest first.
    #[must_use]
    pub fn latest(&self) -> Vec<SecurityEvent> {
        self.lock().latest.iter().cloned().collect()
    }

    /// How often each detector found something.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let kept = self.lock();
        let counts = kept.detectors.iter();
        counts
            .map(|(detector, heard)| (detector.as_str(), heard.all))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whole after every step, so a poisoned lock still holds a good value.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::metrics::Metrics;

    #[test]
    fn a_storm_is_counted_and_told_a_few_times() {
        let metrics = NetworkMetrics::register(&Metrics::new("test")).unwrap();
        let log = SecurityLog::new(metrics);
        let addr = SocketAddr::from(([9, 9, 9, 9], 1));
        let (start, long) = (Instant::now(), "x".repeat(10_000));
        for n in 0..100_000_u64 {
            let now = start + Duration::from_millis(n);
            let at = (n / 1_000, now);
            log.raise(Detector::PingFlood, addr, Response::Throttled, &long, at);
        }
        let events = log.latest();
        // Ten at once, and ten in a hundred seconds.
        assert!((18..=20).contains(&events.len()), "{}", events.len());
        assert!(events.iter().all(|event| event.detail.len() == MAX_DETAIL));
        let suppressed: u64 = events.iter().map(|event| event.suppressed).sum();
        assert!((80_000..100_000).contains(&suppressed), "{suppressed}");
        assert_eq!(log.counts(), [("ping_flood", 100_000)].into());
        // Another detector is not held up by it.
        let at = (200, start);
        log.raise(Detector::Downgrade, addr, Response::Told, "once", at);
        assert_eq!(log.latest().last().unwrap().detail, "once");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let metrics = NetworkMetrics::register(&Metrics::new("test")).unwrap();
        let log = SecurityLog::new(metrics);
        let addr = SocketAddr::from(([9, 9, 9, 9], 1));
        let start = Instant::now();
        for n in 0..1_000_u64 {
            let at = (n, start + Duration::from_secs(10 * n));
            log.raise(Detector::ClockSkew, addr, Response::Told, "", at);
        }
        let events = log.latest();
        assert_eq!(events.len(), KEPT);
        assert_eq!(events.last().unwrap().at, 999);
        // Whoever asks for what is new can tell whether he has missed some.
        assert_eq!((events[0].id, events.last().unwrap().id), (873, 1_000));
    }
}
