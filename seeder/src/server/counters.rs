//! What the seeder counts. Every label comes from a closed list, so hostile queries can't grow it.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntCounterVec};
use quantumcoin::service::metrics::{Metrics, MetricsError};

use crate::{
    follow::Gauges,
    respond::Transport,
    wire::{code, kind},
    zone::Zone,
};

/// Counters of the DNS side. Each label's counter is looked up once, so that counting is an addition.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    queries: IntCounterVec,
    /// As in [`CODES`].
    responses: [IntCounter; CODES.len()],
    /// By transport.
    bytes: [IntCounter; TRANSPORTS.len()],
    pub(crate) limited: IntCounter,
    pub(crate) slipped: IntCounter,
    pub(crate) truncated: IntCounter,
    pub(crate) silent: IntCounter,
    pub(crate) send_failures: IntCounter,
    pub(crate) tcp_refused: IntCounter,
    pub(crate) tcp_evicted: IntCounter,
    /// As in [`Handshake`].
    handshakes: [IntCounter; HANDSHAKES.len()],
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Well.
    Done,
    /// The client left, or said what is no TLS or none of ours.
    Failed,
    /// It took too long.
    Late,
    /// The client's network was over its rate, or all together were.
    Limited,
}

/// In the order of [`Handshake`].
const HANDSHAKES: [&str; 4] = ["done", "failed", "late", "limited"];

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let queries = metrics.counter_vec(
            "queries_total",
            "Well-formed queries by zone, type and transport.",
            &["zone", "type", "transport"],
        )?;
        let responses =
            metrics.counter_vec("responses_total", "Responses by response code.", &["rcode"])?;
        let bytes = metrics.counter_vec(
            "response_bytes_total",
            "Bytes of responses by transport.",
            &["transport"],
        )?;
        let handshakes = metrics.counter_vec(
            "tls_handshakes_total",
            "TLS handshakes that ended well (done), by an error or the client's leaving (failed), at their time limit \
             (late), or at once because the client's network, or all together, were over their rate (limited).",
            &["result"],
        )?;
        Ok(Self {
            queries,
            handshakes: HANDSHAKES.map(|result| handshakes.with_label_values(&[result])),
            responses: CODES.map(|(_, code)| responses.with_label_values(&[code])),
            bytes: TRANSPORTS.map(|transport| bytes.with_label_values(&[transport])),
            slipped: metrics.counter(
                "slipped_queries_total",
                "UDP queries answered by a TC bit alone because their network was over its rate.",
            )?,
            limited: metrics.counter(
                "limited_queries_total",
                "UDP queries without a response because their network was over its rate.",
            )?,
            truncated: metrics.counter(
                "truncated_total",
                "UDP responses cut to a TC bit because the client's limit was too small.",
            )?,
            silent: metrics.counter(
                "ignored_packets_total",
                "Packets without an answer: responses and fragments shorter than a header.",
            )?,
            send_failures: metrics.counter(
                "send_failures_total",
                "UDP responses that the system did not take.",
            )?,
            tcp_evicted: metrics.counter(
                "tcp_evicted_total",
                "TCP and TLS connections closed for a newcomer because they had waited longest, without a query or to take an answer.",
            )?,
            tcp_refused: metrics.counter(
                "tcp_refused_total",
                "TCP and TLS connections closed at once because a limit was reached.",
            )?,
        })
    }

    /// The counters of these zones' queries. They go on when the same zone comes again.
    pub(crate) fn of_zones(&self, zones: &[Zone]) -> ZoneCounters {
        let names = zones.iter().map(|zone| zone.apex().to_string());
        let of_zone = |name: String| {
            let count =
                |kind, transport| self.queries.with_label_values(&[&*name, kind, transport]);
            TRANSPORTS.map(|transport| TYPES.map(|(_, kind)| count(kind, transport)))
        };
        ZoneCounters(names.chain([NO_ZONE.to_owned()]).map(of_zone).collect())
    }

    pub(crate) fn response(&self, code: u16) {
        if let Some(counter) = self.responses.get(position(&CODES, code)) {
            counter.inc();
        }
    }

    pub(crate) fn handshake(&self, result: Handshake) {
        let [done, failed, late, limited] = &self.handshakes;
        let counter = match result {
            Handshake::Done => done,
            Handshake::Failed => failed,
            Handshake::Late => late,
            Handshake::Limited => limited,
        };
        counter.inc();
    }

    /// A response of that many bytes.
    pub(crate) fn sent(&self, transport: Transport, bytes: usize) {
        of(transport, &self.bytes).inc_by(bytes as u64);
    }

    /// What was not answered, or in part, and why.
    pub(crate) fn held_back(&self) -> BTreeMap<&'static str, u64> {
        let all = [
            ("limited", &self.limited),
            ("slipped", &self.slipped),
            ("truncated", &self.truncated),
            ("ignored", &self.silent),
            ("unsent", &self.send_failures),
            ("tcp_refused", &self.tcp_refused),
            ("tcp_evicted", &self.tcp_evicted),
        ];
        all.map(|(why, counter)| (why, counter.get())).into()
    }

    /// Responses by code.
    pub(crate) fn by_code(&self) -> BTreeMap<&'static str, u64> {
        let labels = CODES.iter().map(|(_, label)| *label);
        labels
            .zip(self.responses.iter().map(IntCounter::get))
            .collect()
    }
}

/// Counters of queries by zone (the last is "none"), transport, and type as in [`TYPES`].
#[derive(Debug)]
pub(crate) struct ZoneCounters(Vec<[[IntCounter; TYPES.len()]; TRANSPORTS.len()]>);

impl ZoneCounters {
    /// A query to the zone of that index, or to none of ours.
    pub(crate) fn count(&self, zone: Option<usize>, kind: u16, transport: Transport) {
        let none = self.0.len().saturating_sub(1);
        let column = position(&TYPES, kind);
        if let Some(zone) = self.0.get(zone.unwrap_or(none))
            && let Some(counter) = of(transport, zone).get(column)
        {
            counter.inc();
        }
    }

    /// Queries by type, summed over zones and transports.
    pub(crate) fn by_type(&self) -> BTreeMap<&'static str, u64> {
        sums(self.0.iter().flatten())
    }

    /// Queries to the zone of that index by type, summed over transports.
    pub(crate) fn of_zone(&self, zone: usize) -> BTreeMap<&'static str, u64> {
        sums(self.0.get(zone).into_iter().flatten())
    }
}

fn sums<'a>(
    counters: impl Iterator<Item = &'a [IntCounter; TYPES.len()]>,
) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for counters in counters {
        for ((_, label), counter) in TYPES.iter().zip(counters) {
            *sums.entry(*label).or_default() += counter.get();
        }
    }
    sums
}

/// The zone label of queries for names outside our zones.
const NO_ZONE: &str = "none";

/// In the order of [`of`].
const TRANSPORTS: [&str; 3] = ["udp", "tcp", "tls"];

const fn of<T>(transport: Transport, all: &[T; TRANSPORTS.len()]) -> &T {
    let [udp, tcp, tls] = all;
    match transport {
        Transport::Udp => udp,
        Transport::Tcp => tcp,
        Transport::Tls => tls,
    }
}

/// Types by number; what is not in it counts as the last.
const TYPES: [(u16, &str); 8] = [
    (kind::A, "A"),
    (kind::AAAA, "AAAA"),
    (kind::SRV, "SRV"),
    (kind::TXT, "TXT"),
    (kind::NS, "NS"),
    (kind::SOA, "SOA"),
    (kind::ANY, "ANY"),
    (0, "other"),
];

/// Response codes; what is not in it counts as the last.
const CODES: [(u16, &str); 9] = [
    (code::NOERROR, "NOERROR"),
    (code::FORMERR, "FORMERR"),
    (code::SERVFAIL, "SERVFAIL"),
    (code::NXDOMAIN, "NXDOMAIN"),
    (code::NOTIMP, "NOTIMP"),
    (code::REFUSED, "REFUSED"),
    (code::NOTAUTH, "NOTAUTH"),
    (code::BADVERS, "BADVERS"),
    (u16::MAX, "other"),
];

fn position(labels: &[(u16, &str)], number: u16) -> usize {
    let found = labels.iter().position(|(own, _)| *own == number);
    found.unwrap_or(labels.len().saturating_sub(1))
}

/// The gauges that the follower sets.
pub(crate) fn gauges(metrics: &Metrics) -> Result<Gauges, MetricsError> {
    Ok(Gauges {
        good_peers: metrics.gauge("good_peers", "Peers that answers are drawn from.")?,
        stale: metrics.gauge(
            "stale",
            "1 when the served set is old or the store can't be read.",
        )?,
        newest_probe: metrics.gauge(
            "newest_probe_timestamp_seconds",
            "Unix time of the newest passed probe in the served set; 0 for none.",
        )?,
        last_read: metrics.gauge(
            "store_last_read_timestamp_seconds",
            "Unix time of the last successful reading of the store; 0 for none.",
        )?,
        serial: metrics.gauge("zone_serial", "SOA serial of the zones.")?,
        old_keys: metrics.gauge(
            "signing_with_old_keys",
            "1 while the keys on disk can't be used and zones are signed with those of before.",
        )?,
        keys_ending: metrics.gauge(
            "zones_without_next_keys",
            "Signed zones that have no key to sign with in seven days.",
        )?,
        failures: metrics.counter(
            "store_read_failures_total",
            "Readings of the store that failed.",
        )?,
    })
}
