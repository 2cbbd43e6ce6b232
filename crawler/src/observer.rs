//! Watches the store and keeps one picture of the network for everybody who asks.
//!
//! The dashboard, its live stream, the metrics and the hourly samples all read the same [`Snapshot`], so a
//! thousand visitors cost the store no more than one. It is renewed when the store changes, at most once a
//! second, and less often when that takes long.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::census::{self, Latencies, Share, Trait};
use quantumcoin::service::health::Check;
use quantumcoin::store::queries::{Counts, Hour, PastEvent, Standard};
use quantumcoin::store::{
    Census, Churn, GoodSet, NetworkSample, Store, StoreError, StoreReader, Write,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::alerts::{self, Alert};
use crate::disk;
use crate::metrics::CrawlMetrics;
use crate::probe::unix_now;
use crate::progress::{Progress, SeedAnswer};
use crate::roster::SharedRoster;
use crate::roster::figures::Figures;
use crate::seeders::Seeder;
use crate::weather::Road;

/// Rows of each breakdown; the rest is added up, so that peers can't make a page long.
const TOP: usize = 10;

/// Values of each trait that are kept for each day.
const KEPT: usize = 50;

/// Seconds between two words of what the day's peers are like, some 200 rows; the last of a day stays.
const CENSUS_EVERY: i64 = 60;

/// Hours in the charts: three days.
const HOURS: i64 = 72;

/// Days of which the overview tells who came and went: two weeks.
const CHURN_SECS: i64 = 14 * 86_400;

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
    /// Who came and went in the last days, oldest first.
    pub churn: Vec<Churn>,
    /// Distributions over all probed peers; empty in a snapshot of somebody who does not keep them all in memory.
    pub figures: Figures,
    /// How the crawl is going.
    pub progress: Progress,
    /// What the DNS seeds answered, each with how many of its addresses are good.
    pub seeds: Vec<(SeedAnswer, usize)>,
    /// What the seeders said.
    pub seeders: Arc<Vec<Seeder>>,
    /// What an operator should look at.
    pub alerts: Vec<Alert>,
}

impl Snapshot {
    /// Reads the store.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn take(reader: &StoreReader, now: i64) -> Result<Self, StoreError> {
        let good = reader.good_peers(now).await?;
        Self::of(reader, &good, now).await
    }

    /// The same where the good set is known already.
    async fn of(reader: &StoreReader, good: &GoodSet, now: i64) -> Result<Self, StoreError> {
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
            churn: reader.churn(now - CHURN_SECS).await?,
            figures: Figures::default(),
            progress: Progress::default(),
            seeds: Vec::new(),
            seeders: Arc::default(),
            alerts: Vec::new(),
        })
    }

    /// Good peers by a trait: the most frequent values.
    pub fn top(&self, by: Trait) -> Vec<Share> {
        census::fewer(of_census(&self.census, by), TOP)
    }

    /// Good peers a day ago, where an hour of then is known.
    fn good_a_day_ago(&self) -> Option<u64> {
        let then = self.at - 86_400;
        let hours = self.hours.iter().filter(|h| h.known > 0);
        let mut near = hours.filter(|h| (then - 3 * 3_600..=then).contains(&h.hour));
        near.next_back().map(|h| h.good)
    }

    /// Last probes that found somebody there, and how many of those are on another chain or far behind.
    fn answered(&self) -> (u64, u64) {
        let sum = |takes: fn(Outcome) -> bool| {
            let taken = self.outcomes.iter().filter(|(o, _)| takes(*o));
            taken.map(|(_, n)| n).sum()
        };
        let elsewhere = |o| matches!(o, Outcome::WrongChain | Outcome::Behind);
        (sum(Outcome::was_connected), sum(elsewhere))
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
    pub(crate) roster: SharedRoster,
    pub(crate) around: Around,
    /// Where the store is, whose disk may fill up.
    pub(crate) data_dir: PathBuf,
}

/// What others tell the observer.
pub(crate) struct Around {
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) seeds: watch::Receiver<Arc<Vec<SeedAnswer>>>,
    pub(crate) seeders: watch::Receiver<Arc<Vec<Seeder>>>,
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
            match self.look(unix_now()).await {
                Ok(mut snapshot) => {
                    let probes = self.metrics.probes_total();
                    let seconds = last.elapsed().as_secs_f64().max(0.001);
                    snapshot.probes_per_second = (probes - last_probes) as f64 / seconds;
                    (last, last_probes) = (Instant::now(), probes);
                    snapshot.alerts = self.judge(&snapshot);
                    self.keep(&snapshot, &mut counted_at).await;
                    self.publish(snapshot).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the dashboard's figures could not be renewed");
                }
            }
            let took = started.elapsed();
            self.metrics.snapshot_seconds.set(took.as_secs_f64());
            let pause = PAUSE.max(took * DUTY);
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

    /// Brings the roster up to date, and makes a snapshot of everything.
    async fn look(&self, now: i64) -> Result<Snapshot, StoreError> {
        let good = self.reader.good_peers(now).await?;
        self.roster.renew(&self.reader, &good).await?;
        let mut snapshot = Snapshot::of(&self.reader, &good, now).await?;
        snapshot.figures = Figures::of(&self.roster.read(), snapshot.standard.as_of);
        let told = &snapshot.figures.churn;
        let first = told.first().map_or(i64::MAX, |day| day.day);
        snapshot.churn.retain(|day| day.day < first);
        snapshot.churn.extend_from_slice(told);
        snapshot.progress = *self.around.progress.borrow();
        snapshot.seeders = self.around.seeders.borrow().clone();
        let seeds = self.around.seeds.borrow().clone();
        if !seeds.is_empty() {
            let good: HashSet<SocketAddr> = good.peers.iter().map(|peer| peer.addr).collect();
            let seeds = seeds.iter().map(|seed| {
                let good = seed.addrs.iter().filter(|addr| good.contains(addr)).count();
                (seed.clone(), good)
            });
            snapshot.seeds = seeds.collect();
        }
        Ok(snapshot)
    }

    /// What an operator should look at.
    fn judge(&self, snapshot: &Snapshot) -> Vec<Alert> {
        let writer = self.store.health().borrow().clone();
        let (answered, elsewhere) = snapshot.answered();
        let figures = &snapshot.figures;
        alerts::judge(&alerts::Facts {
            now: snapshot.at,
            stale: snapshot.standard.stale,
            newest_ok_at: snapshot.standard.newest_ok_at,
            good: snapshot.good,
            good_a_day_ago: snapshot.good_a_day_ago(),
            probed: snapshot.counts.probed,
            answered,
            elsewhere,
            writer: writer.error.as_deref().map(|error| (error, writer.dropped)),
            disk: disk::space(&self.data_dir),
            clock: figures.clock_offset.map(|offset| (offset, figures.clocks)),
            progress: snapshot.progress,
            seeds: &snapshot.seeds,
            seeders: &snapshot.seeders,
        })
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
            for day in &snapshot.figures.churn {
                let _ = self.store.write(Write::Churn(*day)).await;
            }
        }
    }

    async fn publish(&self, snapshot: Snapshot) {
        let m = &self.metrics;
        m.size("known", snapshot.counts.known);
        m.size("probed", snapshot.counts.probed);
        m.size("reachable", snapshot.counts.reachable);
        m.size("good", snapshot.good);
        m.stale.set(i64::from(snapshot.standard.stale));
        m.show(&snapshot);
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
