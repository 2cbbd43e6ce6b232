//! Metrics of the network part. Labels come from closed lists: no address and no word of a peer.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::network::address_book::BookStats;
use crate::network::discovery::Found;
use crate::network::discovery::agreement::Standing;
use crate::network::nat::{MappingProtocol, NatKind, NatReport, Reachability};
use crate::network::peer::PeerHandle;
use crate::network::peer::session::unix_now;
use crate::network::protocol::dial_back::Outcome;
use crate::network::protocol::version::Direction;
use crate::network::security::events::Detector;
use crate::network::security::limits::Refusal;
use crate::network::security::offence::Offence;
use crate::network::session::SessionError;
use crate::network::status::SyncProgress;
use crate::service::metrics::{Metrics, MetricsError};
use crate::transport::{ALL_TRANSPORTS, TransportKind};

/// Handles of the network's metrics; cloning shares them.
#[derive(Debug, Clone)]
pub struct NetworkMetrics {
    peers: IntGaugeVec,
    connections: IntCounterVec,
    failed_handshakes: IntCounterVec,
    dialled_by: IntCounterVec,
    refused: IntCounterVec,
    offences: IntCounterVec,
    detections: IntCounterVec,
    evicted: IntCounter,
    header_height: IntGauge,
    block_height: IntGauge,
    synced: IntGauge,
    headers: IntCounter,
    dropped_headers: IntCounter,
    blocks: IntCounter,
    stalls: IntCounter,
    addresses: IntCounterVec,
    transactions: IntCounterVec,
    pool_transactions: IntGauge,
    pool_bytes: IntGauge,
    dns_addresses: IntGauge,
    nat_kind: IntGaugeVec,
    nat_mappings: IntCounterVec,
    nat_mapped: IntGaugeVec,
    address_changes: IntCounter,
    reachable: IntGaugeVec,
    dialled_back: IntCounterVec,
    bytes: IntCounterVec,
    bans: IntGaugeVec,
    tip_time: IntGauge,
    clock_slow: IntGauge,
    book: IntGaugeVec,
    book_netgroups: IntGaugeVec,
    dns_answers: IntGaugeVec,
    dns_round: IntGauge,
}

/// Direction, transport and family of a peer.
fn kind_of(peer: &PeerHandle) -> [&'static str; 3] {
    [
        peer.direction.as_str(),
        peer.remote.transport.as_str(),
        family(peer.addr.ip()),
    ]
}

/// The family of an address, as a label.
fn family(ip: std::net::IpAddr) -> &'static str {
    if ip.to_canonical().is_ipv4() {
        "ipv4"
    } else {
        "ipv6"
    }
}

impl NetworkMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let all = Self {
            peers: metrics.gauge_vec(
                "peers",
                "Connected peers",
                &["direction", "transport", "family"],
            )?,
            connections: metrics.counter_vec(
                "connections_total",
                "Connections that became peers",
                &["direction"],
            )?,
            failed_handshakes: metrics.counter_vec(
                "failed_handshakes_total",
                "Connections that did not become peers",
                &["direction", "kind"],
            )?,
            dialled_by: metrics.counter_vec(
                "outbound_transports_total",
                "Outbound connections that became peers, by transport",
                &["transport"],
            )?,
            refused: metrics.counter_vec(
                "refused_connections_total",
                "Inbound connections refused before the handshake",
                &["reason"],
            )?,
            offences: metrics.counter_vec("offences_total", "What peers did wrong", &["kind"])?,
            detections: metrics.counter_vec(
                "security_events_total",
                "What the detectors found",
                &["detector"],
            )?,
            evicted: metrics.counter(
                "evicted_peers_total",
                "Inbound peers that had to make room for others",
            )?,
            header_height: metrics.gauge("header_height_blocks", "Height of the best header")?,
            block_height: metrics
                .gauge("block_height_blocks", "Height of the best verified block")?,
            synced: metrics.gauge("synced", "1 when all peers' headers are known and verified")?,
            headers: metrics.counter("headers_accepted_total", "New headers accepted")?,
            dropped_headers: metrics.counter(
                "headers_dropped_total",
                "Headers dropped unread since too many waited to be checked",
            )?,
            blocks: metrics.counter("blocks_verified_total", "Blocks verified and stored")?,
            stalls: metrics.counter("block_stalls_total", "Peers that stalled a block download")?,
            addresses: metrics.counter_vec(
                "gossiped_addresses_total",
                "Addresses that peers told",
                &["result"],
            )?,
            transactions: metrics.counter_vec(
                "transactions_total",
                "Transactions received from peers",
                &["result"],
            )?,
            pool_transactions: metrics
                .gauge("mempool_transactions", "Transactions that wait for a block")?,
            pool_bytes: metrics.gauge("mempool_bytes", "Their serialized size")?,
            dns_addresses: metrics
                .gauge("dns_addresses", "Addresses that the last round of DNS gave")?,
            nat_kind: metrics.gauge_vec(
                "nat_kind",
                "1 for the kind of NAT that STUN servers see",
                &["family", "kind"],
            )?,
            nat_mappings: metrics.counter_vec(
                "nat_mappings_total",
                "Ports asked of the gateway, and renewals",
                &["protocol", "result"],
            )?,
            nat_mapped: metrics.gauge_vec(
                "nat_mapped",
                "1 while a port of the gateway leads to us",
                &["protocol"],
            )?,
            address_changes: metrics.counter(
                "external_address_changes_total",
                "How often our address has changed",
            )?,
            reachable: metrics.gauge_vec(
                "reachable",
                "1 for what peers have shown by dialling us",
                &["verdict"],
            )?,
            dialled_back: metrics.counter_vec(
                "dial_backs_total",
                "Peers that asked to be dialled, by what came of it",
                &["outcome"],
            )?,
            bytes: metrics.counter_vec(
                "peer_bytes_total",
                "Bytes of messages that went between us and peers",
                &["direction"],
            )?,
            bans: metrics.gauge_vec(
                "bans",
                "Hosts and networks that are kept out: for an offence, or by the operator",
                &["by"],
            )?,
            tip_time: metrics.gauge(
                "tip_timestamp_seconds",
                "Time in the header of the best verified block, Unix seconds",
            )?,
            clock_slow: metrics.gauge(
                "clock_slow_seconds",
                "By how much our clock seems to be behind that of our outbound peers",
            )?,
            book: metrics.gauge_vec(
                "address_book_addresses",
                "Addresses in the book: met (tried), or known by hearsay (new)",
                &["table", "family"],
            )?,
            book_netgroups: metrics.gauge_vec(
                "address_book_netgroups",
                "Netgroups with an address in a table of the book",
                &["table"],
            )?,
            dns_answers: metrics.gauge_vec(
                "dns_answers",
                "Answers of the last round of DNS, one for each seed and resolver, by how they stand to the others",
                &["standing"],
            )?,
            dns_round: metrics.gauge(
                "dns_round_timestamp_seconds",
                "When the last round of DNS ended, Unix seconds; 0 before the first",
            )?,
        };
        all.begin_at_zero();
        Ok(all)
    }

    /// Makes every series that can be, from the closed lists of their labels: alerts see a first event as an increase, and nothing that
    /// strangers do makes a new one.
    fn begin_at_zero(&self) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            for transport in ALL_TRANSPORTS {
                for family in ["ipv4", "ipv6"] {
                    let labels = [direction.as_str(), transport.as_str(), family];
                    self.peers.with_label_values(&labels).set(0);
                }
            }
            self.connections.with_label_values(&[direction.as_str()]);
            for kind in SessionError::KINDS {
                let labels = [direction.as_str(), kind];
                self.failed_handshakes.with_label_values(&labels);
            }
        }
        for detector in Detector::ALL {
            self.detections.with_label_values(&[detector.as_str()]);
        }
        for offence in Offence::ALL {
            self.offences.with_label_values(&[offence.as_str()]);
        }
        for result in ["accepted", "orphan", "refused"] {
            self.transactions.with_label_values(&[result]);
        }
        for transport in ALL_TRANSPORTS {
            self.dialled_by.with_label_values(&[transport.as_str()]);
        }
        for refusal in Refusal::ALL {
            self.refused.with_label_values(&[refusal.as_str()]);
        }
        for outcome in Outcome::ALL {
            self.dialled_back.with_label_values(&[outcome.as_str()]);
        }
        for protocol in MappingProtocol::ALL {
            for result in ["done", "failed"] {
                let labels = [protocol.as_str(), result];
                self.nat_mappings.with_label_values(&labels);
            }
        }
        self.addresses(0, 0);
        self.nat(&NatReport::default());
        self.reachability(Reachability::Unknown);
        self.moved(0, 0);
        self.bans(0, 0);
        self.book(&BookStats::default());
        self.dns_standings(&[]);
    }

    pub(crate) fn peer_connected(&self, peer: &PeerHandle) {
        self.peers.with_label_values(&kind_of(peer)).inc();
        self.connections
            .with_label_values(&[peer.direction.as_str()])
            .inc();
    }

    pub(crate) fn peer_gone(&self, peer: &PeerHandle) {
        self.peers.with_label_values(&kind_of(peer)).dec();
    }

    pub(crate) fn moved(&self, received: u64, sent: u64) {
        self.bytes.with_label_values(&["received"]).inc_by(received);
        self.bytes.with_label_values(&["sent"]).inc_by(sent);
    }

    pub(crate) fn bans(&self, for_offences: usize, by_operator: usize) {
        self.bans
            .with_label_values(&["offence"])
            .set(for_offences as i64);
        self.bans
            .with_label_values(&["operator"])
            .set(by_operator as i64);
    }

    pub(crate) fn tip_time(&self, unix: u32) {
        self.tip_time.set(unix.into());
    }

    pub(crate) fn clock_slow_by(&self, seconds: i64) {
        self.clock_slow.set(seconds);
    }

    pub(crate) fn book(&self, book: &BookStats) {
        for (name, table) in [("tried", &book.tried), ("new", &book.new)] {
            for (family, count) in [("ipv4", table.ipv4), ("ipv6", table.ipv6)] {
                self.book
                    .with_label_values(&[name, family])
                    .set(count as i64);
            }
            self.book_netgroups
                .with_label_values(&[name])
                .set(table.netgroups as i64);
        }
    }

    fn dns_standings(&self, standings: &[Standing]) {
        for standing in Standing::ALL {
            let count = standings.iter().filter(|one| **one == standing).count();
            self.dns_answers
                .with_label_values(&[standing.as_str()])
                .set(count as i64);
        }
    }

    pub(crate) fn handshake_failed(&self, direction: Direction, kind: &'static str) {
        self.failed_handshakes
            .with_label_values(&[direction.as_str(), kind])
            .inc();
    }

    pub(crate) fn dialled_by(&self, transport: TransportKind) {
        self.dialled_by
            .with_label_values(&[transport.as_str()])
            .inc();
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.as_str()]).inc();
    }

    pub(crate) fn offence(&self, offence: Offence) {
        self.offences.with_label_values(&[offence.as_str()]).inc();
    }

    pub(crate) fn detected(&self, detector: Detector) {
        self.detections
            .with_label_values(&[detector.as_str()])
            .inc();
    }

    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    pub(crate) fn headers_accepted(&self, count: usize) {
        self.headers.inc_by(count as u64);
    }

    pub(crate) fn headers_dropped(&self, count: usize) {
        self.dropped_headers.inc_by(count as u64);
    }

    pub(crate) fn block_connected(&self) {
        self.blocks.inc();
    }

    pub(crate) fn stall(&self) {
        self.stalls.inc();
    }

    pub(crate) fn addresses(&self, taken: usize, ignored: usize) {
        self.addresses
            .with_label_values(&["taken"])
            .inc_by(taken as u64);
        self.addresses
            .with_label_values(&["ignored"])
            .inc_by(ignored as u64);
    }

    /// `result` is one of a few words.
    pub(crate) fn transaction(&self, result: &'static str) {
        self.transactions.with_label_values(&[result]).inc();
    }

    pub(crate) fn pool(&self, transactions: usize, bytes: usize) {
        self.pool_transactions.set(transactions as i64);
        self.pool_bytes.set(bytes as i64);
    }

    pub(crate) fn discovery(&self, found: &Found) {
        self.dns_addresses.set(found.candidates.len() as i64);
        let standings: Vec<_> = found.seeds.iter().map(|seed| seed.standing).collect();
        self.dns_standings(&standings);
        self.dns_round
            .set(i64::try_from(unix_now()).unwrap_or(i64::MAX));
    }

    pub(crate) fn nat_mapping(&self, protocol: MappingProtocol, done: bool) {
        let result = if done { "done" } else { "failed" };
        self.nat_mappings
            .with_label_values(&[protocol.as_str(), result])
            .inc();
    }

    pub(crate) fn external_address_changed(&self) {
        self.address_changes.inc();
    }

    pub(crate) fn nat(&self, report: &NatReport) {
        for (family, probe) in [("v4", &report.v4), ("v6", &report.v6)] {
            for kind in NatKind::ALL {
                let is = probe.as_ref().is_some_and(|probe| probe.kind == kind);
                self.nat_kind
                    .with_label_values(&[family, kind.as_str()])
                    .set(i64::from(is));
            }
        }
        let mapped = report.mapping.as_ref().map(|mapping| mapping.protocol);
        for protocol in MappingProtocol::ALL {
            self.nat_mapped
                .with_label_values(&[protocol.as_str()])
                .set(i64::from(mapped == Some(protocol)));
        }
    }

    pub(crate) fn reachability(&self, now: Reachability) {
        for verdict in Reachability::ALL {
            self.reachable
                .with_label_values(&[verdict.as_str()])
                .set(i64::from(verdict == now));
        }
    }

    pub(crate) fn dialled_back(&self, outcome: Outcome) {
        self.dialled_back
            .with_label_values(&[outcome.as_str()])
            .inc();
    }

    pub(crate) fn progress(&self, progress: &SyncProgress) {
        self.header_height.set(i64::from(progress.header_height));
        self.block_height.set(i64::from(progress.block_height));
        self.synced.set(i64::from(progress.synced));
    }
}
