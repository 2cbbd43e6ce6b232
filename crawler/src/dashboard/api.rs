//! The same figures as JSON, under `/api/v1/`. Times are Unix seconds, durations milliseconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::verdict::is_good;
use quantumcoin::store::StoreError;
use quantumcoin::store::queries::{PeerDetail, Standard};
use serde_json::{Value, json};

use super::Site;
use super::pages::{PAGE_ROWS, PeersQuery};
use crate::observer::Snapshot;
use crate::probe::unix_now;

/// The network now.
pub(super) async fn summary(State(site): State<Site>) -> Json<Value> {
    Json(summary_json(&site.network, &site.snapshot()))
}

/// The network now, also for `status --json`.
pub(crate) fn summary_json(network: &str, s: &Snapshot) -> Value {
    let outcomes: BTreeMap<&str, u64> = s.outcomes.iter().map(|(o, n)| (o.as_str(), *n)).collect();
    let table = |rows: &[(String, u64)]| -> Vec<Value> {
        rows.iter()
            .map(|(value, n)| json!({ "value": value, "count": n }))
            .collect()
    };
    let hours: Vec<Value> = s
        .hours
        .iter()
        .map(|h| {
            let probes: BTreeMap<&str, u64> = h.outcomes.iter().map(|(o, n)| (o.as_str(), *n)).collect();
            json!({ "hour": h.hour, "known": h.known, "reachable": h.reachable, "good": h.good, "probes": probes })
        })
        .collect();
    json!({
        "network": network,
        "at": s.at,
        "good": s.good,
        "good_ipv4": s.families.0,
        "good_ipv6": s.families.1,
        "reachable": s.counts.reachable,
        "known": s.counts.known,
        "probed": s.counts.probed,
        "median_height": s.standard.median,
        "newest_ok_at": s.standard.newest_ok_at,
        "stale": s.standard.stale,
        "probes_per_second": s.probes_per_second,
        "outcomes": outcomes,
        "user_agents": table(&s.agents),
        "protocol_versions": table(&s.versions),
        "heights": table(&s.heights),
        "hours": hours,
    })
}

/// A page of peers.
pub(super) async fn peers(State(site): State<Site>, Query(query): Query<PeersQuery>) -> Response {
    let standard = &site.snapshot().standard;
    match site
        .reader
        .peers(&query.filter(), unix_now(), query.offset(), PAGE_ROWS)
        .await
    {
        Err(error) => failed(&error),
        Ok((lines, total)) => {
            let rows: Vec<Value> = lines
                .iter()
                .map(|line| {
                    let f = &line.facts;
                    json!({
                        "addr": f.addr.to_string(),
                        "good": is_good(&standard.policy, f, standard.median, standard.as_of),
                        "last_outcome": f.last_outcome.map(Outcome::as_str),
                        "last_probe_at": line.last_probe_at,
                        "last_ok_at": f.last_ok_at,
                        "user_agent": line.user_agent,
                        "protocol_version": f.protocol_version,
                        "services": line.services,
                        "height": f.proved_height,
                        "connect_ms": line.connect_ms,
                    })
                })
                .collect();
            Json(json!({ "total": total, "offset": query.offset(), "peers": rows })).into_response()
        }
    }
}

/// One peer.
pub(super) async fn peer(State(site): State<Site>, Path(addr): Path<String>) -> Response {
    let Ok(addr) = addr.parse::<SocketAddr>() else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({ "error": "not an address with port" })),
        )
            .into_response();
    };
    match site.reader.peer(addr, unix_now()).await {
        Ok(Some(detail)) => Json(peer_json(&detail, &site.snapshot().standard)).into_response(),
        Ok(None) => (
            StatusCode::NOT_FOUND,
            Json(json!({ "error": "unknown address" })),
        )
            .into_response(),
        Err(error) => failed(&error),
    }
}

/// One peer with the verdict of each rule, also for `explain --json`.
pub(crate) fn peer_json(d: &PeerDetail, standard: &Standard) -> Value {
    let verdict = d.verdict(standard);
    let rules: Vec<Value> = verdict
        .rules
        .iter()
        .map(|r| json!({ "rule": r.rule.as_str(), "passed": r.passed, "detail": r.detail }))
        .collect();
    let history: Vec<Value> = d
        .history
        .iter()
        .map(|p| {
            json!({ "at": p.at, "outcome": p.outcome.as_str(), "stage": p.stage.as_str(), "duration_ms": p.duration_ms })
        })
        .collect();
    json!({
        "addr": d.facts.addr.to_string(),
        "good": verdict.is_good(),
        "rules": rules,
        "last_outcome": d.facts.last_outcome.map(Outcome::as_str),
        "last_ok_at": d.facts.last_ok_at,
        "next_due": d.next_due,
        "failures": d.failures,
        "source": d.source,
        "first_seen": d.first_seen,
        "last_seen": d.last_seen,
        "user_agent": d.user_agent,
        "protocol_version": d.facts.protocol_version,
        "services": d.services,
        "start_height": d.start_height,
        "proved_height": d.facts.proved_height,
        "clock_offset_seconds": d.clock_offset_secs,
        "transports": d.transports.names().collect::<Vec<_>>(),
        "node_id": d.node_id.map(|id| quantumcoin::transport::NodeId::from_bytes(id).to_string()),
        "connect_ms": d.connect_ms,
        "secure_ms": d.secure_ms,
        "ping_ms": d.ping_ms,
        "probes": d.facts.reliability.probes,
        "passed": d.facts.reliability.successes,
        "history": history,
    })
}

fn failed(error: &StoreError) -> Response {
    tracing::warn!(%error, "the API could not read the store");
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({ "error": "the store could not be read" })),
    )
        .into_response()
}
