//! The crawler's metrics. Labels come from closed lists only.

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use quantumcoin::reachability::Outcome;
use quantumcoin::service::metrics::{Metrics, MetricsError};

use crate::alerts::Kind;
use crate::observer::Snapshot;
use crate::weather::Road;

/// Seconds; from a loopback probe to the sum of all time limits.
const DURATION_BUCKETS: [f64; 10] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Handles to everything that is counted.
#[derive(Debug, Clone)]
pub struct CrawlMetrics {
    /// The registry behind `/metrics`.
    pub registry: Metrics,
    pub(crate) probes: IntCounterVec,
    pub(crate) duration: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) addresses: IntGaugeVec,
    pub(crate) refused_addresses: IntCounter,
    pub(crate) height: IntGauge,
    pub(crate) network_down: IntGauge,
    pub(crate) stale: IntGauge,
    pub(crate) store_held: IntGauge,
    pub(crate) store_dropped: IntGauge,
    /// By kind, all of them from the start.
    pub(crate) alerts: IntGaugeVec,
    /// By the road to them, all of them from the start.
    pub(crate) good: IntGaugeVec,
    pub(crate) due: IntGauge,
    pub(crate) late_seconds: IntGauge,
    pub(crate) seeds_answering: IntGauge,
    pub(crate) seeders_answering: IntGauge,
    pub(crate) streams: IntGauge,
    pub(crate) snapshot_seconds: Gauge,
}

impl CrawlMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is taken twice: a fault of this program.
    pub fn new() -> Result<Self, MetricsError> {
        let m = Metrics::new("qtc_crawler");
        m.describe_process(env!("CARGO_PKG_VERSION"))?;
        let metrics = Self {
            probes: m.counter_vec("probes_total", "Finished probes by outcome.", &["outcome"])?,
            duration: m.histogram(
                "probe_duration_seconds",
                "Time from dial to the end of a probe.",
                &DURATION_BUCKETS,
            )?,
            in_flight: m.gauge("probes_in_flight", "Probes in progress.")?,
            addresses: m.gauge_vec("addresses", "Addresses by state.", &["state"])?,
            refused_addresses: m.counter(
                "refused_addresses_total",
                "Told addresses that were not taken: reserved ranges, caps, or no room.",
            )?,
            height: m.gauge(
                "best_header_height",
                "Height of the best header shown by any peer.",
            )?,
            network_down: m.gauge(
                "local_network_down",
                "1 while our own network is taken to be down.",
            )?,
            stale: m.gauge(
                "good_set_stale",
                "1 while the good set is the last known one only.",
            )?,
            store_held: m.gauge(
                "store_held_writes",
                "Writes that wait in memory for the disk.",
            )?,
            store_dropped: m.gauge(
                "store_dropped_writes",
                "Writes dropped since memory for them ran out.",
            )?,
            alerts: m.gauge_vec(
                "alerts",
                "Things that an operator should look at, by kind (docs/crawler.md).",
                &["kind"],
            )?,
            good: m.gauge_vec("good_peers", "Good peers by network.", &["network"])?,
            due: m.gauge("visits_due", "Visits that are due and have not begun.")?,
            late_seconds: m.gauge(
                "visits_late_seconds",
                "Time for which the visit has been due that waits longest.",
            )?,
            seeds_answering: m.gauge(
                "dns_seeds_answering",
                "DNS seeds of the chain spec that answered when they were asked last.",
            )?,
            seeders_answering: m.gauge(
                "seeders_answering",
                "Seeders on the dashboard that tell their status.",
            )?,
            streams: m.gauge("event_streams", "Browsers that follow the dashboard live.")?,
            snapshot_seconds: m.float_gauge(
                "snapshot_duration_seconds",
                "Time that the last picture of the network took to make.",
            )?,
            registry: m,
        };
        for kind in Kind::ALL {
            metrics.alerts.with_label_values(&[kind.as_str()]);
        }
        for road in Road::ALL {
            metrics.good.with_label_values(&[road.as_str()]);
        }
        for state in ["known", "probed", "reachable", "good"] {
            metrics.addresses.with_label_values(&[state]);
        }
        for outcome in Outcome::ALL {
            metrics.probes.with_label_values(&[outcome.as_str()]);
        }
        Ok(metrics)
    }

    /// One line for a person who waits.
    pub fn progress(&self) -> String {
        format!(
            "{} probes, {} in flight, {} passed, height {}",
            self.probes_total(),
            self.in_flight.get(),
            self.probes.with_label_values(&[Outcome::Ok.as_str()]).get(),
            self.height.get()
        )
    }

    /// Finished probes.
    pub fn probes_total(&self) -> u64 {
        Outcome::ALL
            .iter()
            .map(|o| self.probes.with_label_values(&[o.as_str()]).get())
            .sum()
    }

    /// Shows what a snapshot tells, besides sizes.
    pub(crate) fn show(&self, snapshot: &Snapshot) {
        let set = |gauge: &IntGauge, n: usize| gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        for kind in Kind::ALL {
            let alerts = snapshot.alerts.iter().filter(|alert| alert.kind == *kind);
            set(
                &self.alerts.with_label_values(&[kind.as_str()]),
                alerts.count(),
            );
        }
        for (road, family) in Road::ALL.iter().zip(&snapshot.figures.families) {
            let gauge = self.good.with_label_values(&[road.as_str()]);
            gauge.set(i64::try_from(family.total()).unwrap_or(i64::MAX));
        }
        let progress = &snapshot.progress;
        set(&self.due, progress.due);
        let late = progress
            .oldest_due
            .map_or(0, |at| snapshot.at.saturating_sub(at));
        self.late_seconds.set(late.max(0));
        let seeds = snapshot.seeds.iter().filter(|(seed, _)| seed.answered > 0);
        set(&self.seeds_answering, seeds.count());
        let seeders = snapshot
            .seeders
            .iter()
            .filter(|seeder| seeder.error.is_none());
        set(&self.seeders_answering, seeders.count());
    }

    pub(crate) fn size(&self, state: &str, n: u64) {
        self.addresses
            .with_label_values(&[state])
            .set(i64::try_from(n).unwrap_or(i64::MAX));
    }
}
