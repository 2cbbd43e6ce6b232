//! What the seeder counts. Every label comes from a closed list, so hostile queries can't grow it.

use std::collections::BTreeMap;

use hickory_proto::{op::ResponseCode, rr::RecordType};
use prometheus::{IntCounter, IntCounterVec};
use quantumcoin::service::metrics::{Metrics, MetricsError};

use crate::{follow::Gauges, zone::Zone};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram.
    Udp,
    /// A connection.
    Tcp,
}

impl Transport {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Counters of the DNS side.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    zones: Vec<String>,
    queries: IntCounterVec,
    responses: IntCounterVec,
    pub(crate) truncated: IntCounter,
    pub(crate) silent: IntCounter,
    pub(crate) send_failures: IntCounter,
    pub(crate) tcp_refused: IntCounter,
    pub(crate) response_bytes: IntCounterVec,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics, zones: &[Zone]) -> Result<Self, MetricsError> {
        Ok(Self {
            zones: zones.iter().map(|zone| zone.apex().to_string()).collect(),
            queries: metrics.counter_vec(
                "queries_total",
                "Well-formed queries by zone, type and transport.",
                &["zone", "type", "transport"],
            )?,
            responses: metrics.counter_vec(
                "responses_total",
                "Responses by response code.",
                &["rcode"],
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
            tcp_refused: metrics.counter(
                "tcp_refused_total",
                "TCP connections closed at once because a limit was reached.",
            )?,
            response_bytes: metrics.counter_vec(
                "response_bytes_total",
                "Bytes of responses by transport.",
                &["transport"],
            )?,
        })
    }

    pub(crate) fn query(&self, zone: Option<usize>, kind: RecordType, transport: Transport) {
        let zone = zone
            .and_then(|index| self.zones.get(index))
            .map_or("none", String::as_str);
        self.queries
            .with_label_values(&[zone, type_label(kind), transport.as_str()])
            .inc();
    }

    pub(crate) fn response(&self, code: ResponseCode) {
        self.responses.with_label_values(&[code_label(code)]).inc();
    }

    /// Queries by type, summed over zones and transports.
    pub(crate) fn by_type(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        let none = "none".to_owned();
        for zone in self.zones.iter().chain([&none]) {
            for kind in TYPES {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let labels = [zone, type_label(kind), transport.as_str()];
                    *sums.entry(type_label(kind)).or_default() +=
                        self.queries.with_label_values(&labels).get();
                }
            }
        }
        sums
    }

    /// Responses by code.
    pub(crate) fn by_code(&self) -> BTreeMap<&'static str, u64> {
        CODES
            .iter()
            .map(|code| code_label(*code))
            .map(|label| (label, self.responses.with_label_values(&[label]).get()))
            .collect()
    }
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
        failures: metrics.counter(
            "store_read_failures_total",
            "Readings of the store that failed.",
        )?,
    })
}

/// One of each label of [`type_label`].
const TYPES: [RecordType; 8] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::TXT,
    RecordType::NS,
    RecordType::SOA,
    RecordType::ANY,
    RecordType::ZERO,
];

const fn type_label(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::SRV => "SRV",
        RecordType::TXT => "TXT",
        RecordType::NS => "NS",
        RecordType::SOA => "SOA",
        RecordType::ANY => "ANY",
        _ => "other",
    }
}

/// One of each label of [`code_label`].
const CODES: [ResponseCode; 8] = [
    ResponseCode::NoError,
    ResponseCode::FormErr,
    ResponseCode::ServFail,
    ResponseCode::NXDomain,
    ResponseCode::NotImp,
    ResponseCode::Refused,
    ResponseCode::NotAuth,
    ResponseCode::BADVERS,
];

const fn code_label(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
        _ => "other",
    }
}
