//! Watches the store and keeps one picture of the network for everybody who asks.
//!
//! The dashboard, its live stream, the metrics and the hourly samples all read the same [`Snapshot`], so a
//! thousand visitors cost the store no more than one. It is renewed when the store changes, at most once a
//! second, and less often when that takes long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::census::{self, Latencies, Share, Trait};
use quantumcoin::service::health::Check;
use quantumcoin::store::queries::{Counts, Hour, PastEvent, Standard};
use quantumcoin::store::{Census, NetworkSample, Store, StoreError, StoreReader, Write};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::CrawlMetrics;
use crate::probe::unix_now;
use crate::weather::Road;

/// Rows of each breakdown; the rest is added up, so that peers can't make a page long.
const TOP: usize = 10;

/// Values of each trait that are kept for each day.
const KEPT: usize = 50;

/// Seconds between two words of what the day's peers are like, some 200 rows; the last of a day stays.
const CENSUS_EVERY: i64 = 60;

/// Hours in the charts: three days.
const HOURS: i64 = 72;

/// Shortest time between two snapshots.
const PAUSE: Duration = Duration::from_secs(1);

/// Share of the time that may go into snapshots: one in this many.
const DUTY: u32 = 20;

/// Longest time without a new snapshot: ages change even when the store does not.
const RENEW: Duration = Duration::from_secs(15);

/// The network at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When it was made, Unix seconds.
    pub at: i64,
    /// Change of the store that it shows.
    pub generation: u64,
    /// What "good" rests on.
    pub standard: Standard,
    /// The network's size.
    pub counts: Counts,
    /// Good peers.
    pub good: u64,
    /// Good peers on IPv4, on IPv6, and of overlay networks.
    pub families: (u64, u64, u64),
    /// How the last probes ended.
    pub outcomes: Vec<(Outcome, u64)>,
    /// What the good peers are like.
    pub census: Census,
    /// The most frequent autonomous systems with their names.
    pub systems: Vec<Share>,
    /// Good peers by height.
    pub heights: Vec<Share>,
    /// Recent hours.
    pub hours: Vec<Hour>,
    /// Recent events.
    pub events: Vec<PastEvent>,
    /// Finished probes a second, over the time since the snapshot before.
    pub probes_per_second: f64,
}

impl Snapshot {
    /// Reads the store.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn take(reader: &StoreReader, now: i64) -> Result<Self, StoreError> {
        let good = reader.good_peers(now).await?;
        let standard = reader.standard(now).await?;
        let by = |road| {
            good.peers
                .iter()
                .filter(|p| Road::to(p.addr.ip()) == road)
                .count() as u64
        };
        let all = good.peers.len() as u64;
        let shares = Trait::ALL.map(|by| (by, census::shares(&good.peers, by, KEPT)));
        let census = Census {
            at: now,
            shares: shares.into(),
            latencies: Latencies::of(&good.peers),
        };
        Ok(Self {
            at: now,
            generation: good.generation,
            counts: reader.counts(&standard).await?,
            standard,
            good: all,
            families: (by(Road::V4), by(Road::V6), by(Road::Onion) + by(Road::I2p)),
            outcomes: reader.outcomes().await?,
            systems: named_systems(reader, &census).await?,
            census,
            heights: tallest(census::count(good.peers.iter().map(|p| p.height), TOP)),
            hours: reader.hours(now - HOURS * 3600).await?,
            events: reader.events(TOP as u32).await?,
            probes_per_second: 0.0,
        })
    }

    /// Good peers by a trait: the most frequent values.
    pub fn top(&self, by: Trait) -> Vec<Share> {
        census::fewer(of_census(&self.census, by), TOP)
    }
}

/// The most frequent systems, as number and name.
async fn named_systems(reader: &StoreReader, census: &Census) -> Result<Vec<Share>, StoreError> {
    let shares = census::fewer(of_census(census, Trait::System), TOP);
    let numbers: Vec<u32> = shares.iter().filter_map(|(n, _)| n.parse().ok()).collect();
    let names = reader.system_names(&numbers).await?;
    let named = shares.into_iter().map(|(value, n)| {
        let Ok(number) = value.parse::<u32>() else {
            return (value, n);
        };
        let name = names.get(&number).map_or("", String::as_str);
        (format!("AS{number} {name}").trim_end().to_owned(), n)
    });
    Ok(named.collect())
}

fn of_census(census: &Census, by: Trait) -> &[Share] {
    let shares = census.shares.iter().find(|(kind, _)| *kind == by);
    shares.map_or(&[], |(_, shares)| shares)
}

/// Heights, the highest first.
fn tallest(mut rows: Vec<Share>) -> Vec<Share> {
    // The rest that was added up has no number and goes last.
    rows.sort_by_key(|(height, _)| std::cmp::Reverse(height.parse::<u32>().ok()));
    rows
}

/// Renews the snapshot until it is told to stop.
pub(crate) struct Observer {
    pub(crate) reader: StoreReader,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: CrawlMetrics,
    pub(crate) check: Check,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
}

impl Observer {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut writer = self.store.health();
        let mut last = Instant::now();
        let mut last_probes = self.metrics.probes_total();
        let mut counted_at = i64::MIN;
        loop {
            let started = Instant::now();
            self.report_writer();
            match Snapshot::take(&self.reader, unix_now()).await {
                Ok(mut snapshot) => {
                    let probes = self.metrics.probes_total();
                    let seconds = last.elapsed().as_secs_f64().max(0.001);
                    snapshot.probes_per_second = (probes - last_probes) as f64 / seconds;
                    (last, last_probes) = (Instant::now(), probes);
                    self.keep(&snapshot, &mut counted_at).await;
                    self.publish(snapshot).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the dashboard's figures could not be renewed");
                }
            }
            let pause = PAUSE.max(started.elapsed() * DUTY);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RENEW) => {}
                changed = writer.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Writes down what the good peers are like, once in a while and at the turn of a day.
    async fn keep(&self, snapshot: &Snapshot, counted_at: &mut i64) {
        let next = counted_at.saturating_add(CENSUS_EVERY);
        let is_next_day = snapshot.at.div_euclid(86_400) > counted_at.div_euclid(86_400);
        // At the start of a first crawl there is nobody to tell of.
        if snapshot.good > 0 && (snapshot.at >= next || is_next_day) {
            *counted_at = snapshot.at;
            let census = Box::new(snapshot.census.clone());
            // Closed only at the end of the program; the last census is written there.
            let _ = self.store.write(Write::Census(census)).await;
        }
    }

    async fn publish(&self, snapshot: Snapshot) {
        let m = &self.metrics;
        m.size("known", snapshot.counts.known);
        m.size("probed", snapshot.counts.probed);
        m.size("reachable", snapshot.counts.reachable);
        m.size("good", snapshot.good);
        m.stale.set(i64::from(snapshot.standard.stale));
        let before = self.snapshot.borrow().clone();
        if sample_of(&before) != sample_of(&snapshot) || before.at / 3600 != snapshot.at / 3600 {
            // Closed only at the end of the program; the last sample is written there.
            let _ = self.store.write(Write::Network(sample(&snapshot))).await;
        }
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    fn report_writer(&self) {
        let writer = self.store.health().borrow().clone();
        self.metrics
            .store_held
            .set(i64::try_from(writer.held).unwrap_or(i64::MAX));
        self.metrics
            .store_dropped
            .set(i64::try_from(writer.dropped).unwrap_or(i64::MAX));
        match writer.error {
            None => self.check.ok(),
            Some(error) => self.check.failing(error),
        }
    }
}

/// The snapshot's size of the network as a row of the hourly roll-up.
pub(crate) fn sample(snapshot: &Snapshot) -> NetworkSample {
    NetworkSample {
        at: snapshot.at,
        known: snapshot.counts.known,
        reachable: snapshot.counts.reachable,
        good: snapshot.good,
        height: snapshot.standard.median,
    }
}

/// What makes a new sample worth writing.
fn sample_of(snapshot: &Snapshot) -> (u64, u64, u64, Option<u32>) {
    let s = sample(snapshot);
    (s.known, s.reachable, s.good, s.height)
}
