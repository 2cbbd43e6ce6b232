//! Metrics: one explicit Prometheus registry a program, and helpers that create and register at once.
//!
//! There is no global registry, so that several programs can live in one process (the demo, tests). Each
//! name gets the program's prefix; counters end in `_total` and every unit is a base unit in the name
//! (`_seconds`, `_bytes`). Labels must come from closed lists: never an address, a name or a text that a
//! peer chose.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

/// Why a metric could not be made or encoded (a name used twice, or not a valid name).
pub type MetricsError = prometheus::Error;

/// The registry of one program. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The registry itself, for collectors that the helpers don't cover.
    pub registry: Registry,
    prefix: String,
}

impl Metrics {
    /// An empty registry whose helpers put `prefix` and an underscore before each name, e.g. `qtc_seeder`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            registry: Registry::new(),
            prefix: prefix.to_owned(),
        }
    }

    /// Registers `build_info` (constant 1, the version as label) and `start_time_seconds` (Unix time).
    ///
    /// # Errors
    /// When the names are taken already.
    pub fn describe_process(&self, version: &str) -> Result<(), MetricsError> {
        self.gauge_vec(
            "build_info",
            "Constant 1; the label tells the version.",
            &["version"],
        )?
        .with_label_values(&[version])
        .set(1);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        self.gauge(
            "start_time_seconds",
            "Unix time at which the process started.",
        )?
        .set(i64::try_from(now).unwrap_or(i64::MAX));
        Ok(())
    }

    /// A counter; `name` ends in `_total`.
    ///
    /// # Errors
    /// When the name is taken or not valid (as for each helper below).
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.register(IntCounter::with_opts(self.opts(name, help))?)
    }

    /// Counters by labels; `name` ends in `_total`.
    ///
    /// # Errors
    /// When the name is taken or not valid.
    pub fn counter_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        self.register(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    /// A whole number that goes up and down.
    ///
    /// # Errors
    /// When the name is taken or not valid.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.register(IntGauge::with_opts(self.opts(name, help))?)
    }

    /// Whole numbers by labels.
    ///
    /// # Errors
    /// When the name is taken or not valid.
    pub fn gauge_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        self.register(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    /// A fractional number that goes up and down.
    ///
    /// # Errors
    /// When the name is taken or not valid.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.register(Gauge::with_opts(self.opts(name, help))?)
    }

    /// Fractional numbers by labels.
    ///
    /// # Errors
    /// When the name is taken or not valid.
    pub fn float_gauge_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, MetricsError> {
        self.register(GaugeVec::new(self.opts(name, help), labels)?)
    }

    /// A histogram with the given upper bounds, ascending, in the unit of `name`.
    ///
    /// # Errors
    /// When the name is taken or not valid, or the bounds don't ascend.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricsError> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts)?)
    }

    /// Histograms by labels.
    ///
    /// # Errors
    /// When the name is taken or not valid, or the bounds don't ascend.
    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    /// Everything in the Prometheus text format 0.0.4 ([`CONTENT_TYPE`]).
    ///
    /// # Errors
    /// When a collector gives a family that can't be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.prefix), help)
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricsError> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_encoded_under_the_prefix() {
        let metrics = Metrics::new("qtc_test");
        metrics.describe_process("1.2.3").unwrap();
        let asked = metrics
            .counter_vec("queries_total", "Queries.", &["type"])
            .unwrap();
        asked.with_label_values(&["A"]).inc_by(3);
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(
            text.contains("qtc_test_queries_total{type=\"A\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("qtc_test_build_info{version=\"1.2.3\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_name_used_twice_is_an_error() {
        let metrics = Metrics::new("qtc_test");
        metrics.gauge("peers", "Peers.").unwrap();
        assert!(metrics.gauge("peers", "Peers.").is_err());
    }
}
