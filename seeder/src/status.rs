//! What a seeder tells its operator over HTTP: one [`Report`], as JSON for programs and as a page for people.
//!
//! | part | what it does |
//! |---|---|
//! | this file | the report, and where each figure comes from |
//! | `alerts` | what an operator should look at, with the remedy; pure |
//! | `page` | the report as HTML, in the look of all programs |
//!
//! A report is made at each request from what answers are made of at that moment. Nothing in it names a client: a seeder keeps no
//! record of who asked.

pub(crate) mod alerts;
mod page;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use axum::{Json, Router, extract::State as Given, response::Response, routing::get};
use prometheus::IntGauge;
use quantumcoin::service::{
    health::{CheckReport, Health},
    look,
};
use serde::Serialize;

use self::alerts::{Ahead, Alert, alerts};
use crate::{
    dnssec::keyring::Current,
    follow::unix_now,
    respond::Responder,
    snapshot::{Diversity, Origin},
    state::State,
};

/// What the seeder is doing.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Unix seconds of this report.
    pub(crate) at: i64,
    pub(crate) version: &'static str,
    pub(crate) network: String,
    /// SOA serial.
    pub(crate) serial: u32,
    /// Where the peers come from.
    pub(crate) origin: Origin,
    pub(crate) good_peers: usize,
    /// Unix seconds of the newest passed probe.
    pub(crate) newest_probe_at: Option<i64>,
    /// Seconds since then.
    pub(crate) age_seconds: Option<i64>,
    pub(crate) stale: bool,
    pub(crate) diversity: Diversity,
    pub(crate) zones: Vec<ZoneReport>,
    /// Well-formed queries since the start by type, over all zones.
    pub(crate) queries: BTreeMap<&'static str, u64>,
    /// Responses since the start by code.
    pub(crate) responses: BTreeMap<&'static str, u64>,
    /// What was held back since the start, and why.
    pub(crate) held_back: BTreeMap<&'static str, u64>,
    /// The last look of the seeder at itself.
    pub(crate) audit: Option<AuditReport>,
    /// Unix seconds at which the certificate of DNS over TLS ends.
    pub(crate) tls_expires_at: Option<i64>,
    pub(crate) checks: Vec<CheckReport>,
    pub(crate) alerts: Vec<Alert>,
}

/// One zone.
#[derive(Debug, Serialize)]
pub(crate) struct ZoneReport {
    pub(crate) name: String,
    pub(crate) name_servers: Vec<String>,
    /// Seconds that resolvers may keep peer records.
    pub(crate) ttl: u32,
    pub(crate) signed: bool,
    pub(crate) keys: Vec<KeyReport>,
    /// Well-formed queries since the start by type.
    pub(crate) queries: BTreeMap<&'static str, u64>,
}

/// One published key.
#[derive(Debug, Serialize)]
pub(crate) struct KeyReport {
    /// RFC 4034, appendix B.
    pub(crate) tag: u16,
    /// `KSK` or `ZSK`.
    pub(crate) role: &'static str,
    pub(crate) algorithm: &'static str,
    /// What it does now (RFC 7583).
    pub(crate) phase: String,
    /// Unix seconds at which that changes.
    pub(crate) next_change_at: Option<i64>,
}

/// What a look of the seeder at itself has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AuditReport {
    /// Unix seconds.
    pub(crate) at: i64,
    /// Addresses times transports at which it asked itself.
    pub(crate) ways: usize,
    /// Those where an answer was missing or wrong.
    pub(crate) failed_ways: usize,
    /// Served peers that were dialled.
    pub(crate) dialled: usize,
    /// Those that answered with the network's handshake.
    pub(crate) answered: usize,
    /// What is wrong, in words.
    pub(crate) failures: Vec<String>,
}

/// The last audit, shared between the auditor and whoever reports; `None` before the first.
pub(crate) type LastAudit = Arc<ArcSwapOption<AuditReport>>;

/// Where the figures come from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) network: String,
    pub(crate) responder: Arc<Responder>,
    pub(crate) health: Health,
    pub(crate) audit: LastAudit,
    /// Unix seconds at which the certificate of DNS over TLS ends.
    pub(crate) tls_expires: Option<IntGauge>,
}

/// `/`, `/api/v1/status` and the style sheet.
pub(crate) fn routes(source: Source) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/v1/status", get(status))
        .merge(look::routes())
        .layer(axum::middleware::map_response(look::with_policy))
        .with_state(source)
}

async fn page(Given(source): Given<Source>) -> Response {
    page::render(&source.report(unix_now()))
}

async fn status(Given(source): Given<Source>) -> Json<Report> {
    Json(source.report(unix_now()))
}

impl Source {
    fn report(&self, now: i64) -> Report {
        let state = self.responder.state().load_full();
        let snapshot = &state.snapshot;
        let counters = &self.responder.counters;
        let checks = self.health.ready().checks;
        let ahead = Ahead {
            origin: snapshot.origin,
            good_peers: snapshot.len(),
            unsigned: unsigned(&state),
            ending: state.ending(now).iter().map(ToString::to_string).collect(),
        };
        Report {
            at: now,
            version: env!("CARGO_PKG_VERSION"),
            network: self.network.clone(),
            serial: snapshot.serial,
            origin: snapshot.origin,
            good_peers: snapshot.len(),
            newest_probe_at: snapshot.newest_probe_at,
            age_seconds: snapshot
                .newest_probe_at
                .map(|at| now.saturating_sub(at).max(0)),
            stale: snapshot.stale,
            diversity: snapshot.diversity(),
            zones: zones(&state, now),
            queries: state.setup.queries.by_type(),
            responses: counters.by_code(),
            held_back: counters.held_back(),
            audit: self.audit.load().as_deref().cloned(),
            tls_expires_at: self.tls_expires.as_ref().map(IntGauge::get),
            alerts: alerts(&checks, &ahead),
            checks,
        }
    }
}

fn zones(state: &State, now: i64) -> Vec<ZoneReport> {
    let zones = state.setup.engine.zones().iter().enumerate();
    let report = zones.map(|(index, zone)| ZoneReport {
        name: zone.apex().to_string(),
        name_servers: zone
            .servers()
            .iter()
            .map(|name| format!("{name:?}"))
            .collect(),
        ttl: zone.ttl(),
        signed: state.keys_of(index).is_some(),
        keys: state
            .keys_of(index)
            .map_or_else(Vec::new, |keys| key_reports(keys, now)),
        queries: state.setup.queries.of_zone(index),
    });
    report.collect()
}

fn key_reports(keys: &Current, now: i64) -> Vec<KeyReport> {
    let reports = keys.published.iter().map(|key| KeyReport {
        tag: key.tag(),
        role: if key.is_entry_point() { "KSK" } else { "ZSK" },
        algorithm: key.algorithm().name(),
        phase: key.times.phase(now).to_string(),
        next_change_at: key.times.next_change(now),
    });
    reports.collect()
}

/// Zones that are meant to be signed and are not.
fn unsigned(state: &State) -> Vec<String> {
    let zones = state.setup.engine.zones().iter().enumerate();
    zones
        .filter(|(index, _)| state.setup.has_keys(*index) && state.keys_of(*index).is_none())
        .map(|(_, zone)| zone.apex().to_string())
        .collect()
}
