//! Metrics of the network part. Labels come from closed lists: no address and no word of a peer.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::network::discovery::Found;
use crate::network::nat::{MappingProtocol, NatKind, NatReport, Reachability};
use crate::network::protocol::dial_back::Outcome;
use crate::network::protocol::version::Direction;
use crate::network::security::events::Detector;
use crate::network::security::limits::Refusal;
use crate::network::security::offence::Offence;
use crate::network::status::SyncProgress;
use crate::service::metrics::{Metrics, MetricsError};
use crate::transport::TransportKind;

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
}

impl NetworkMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            peers: metrics.gauge_vec("peers", "Connected peers", &["direction"])?,
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
        })
    }

    pub(crate) fn peer_connected(&self, direction: Direction) {
        self.peers.with_label_values(&[direction.as_str()]).inc();
        self.connections
            .with_label_values(&[direction.as_str()])
            .inc();
    }

    pub(crate) fn peer_gone(&self, direction: Direction) {
        self.peers.with_label_values(&[direction.as_str()]).dec();
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
