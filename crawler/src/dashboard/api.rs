//! The same figures as JSON, under `/api/v1/`. Times are Unix seconds, durations milliseconds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::census::{Latencies, Trait};
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::store::queries::{Hour, PeerDetail, Standard};
use quantumcoin::store::{Churn, Day, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Site;
use super::pages::peers::PeersQuery;
use super::view::escaped;
use crate::observer::Snapshot;
use crate::probe::unix_now;
use crate::roster::figures::{CONNECT_MS, LAGS, UPTIMES};
use crate::roster::{Line, Roster};
use crate::weather::Road;

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
    let hours: Vec<Value> = s.hours.iter().map(hour_json).collect();
    let figures = &s.figures;
    let families = Road::ALL.iter().zip(&figures.families);
    let families: BTreeMap<&str, Value> = families
        .map(|(road, f)| {
            (
                road.as_str(),
                json!({ "noise": f.noise, "tls": f.tls, "both": f.both, "unknown": f.unknown }),
            )
        })
        .collect();
    let seeds = s.seeds.iter().map(|(seed, good)| {
        json!({
            "seed": seed.seed, "at": seed.at, "addresses": seed.addrs.len(), "good": good,
            "resolvers": seed.resolvers, "answered": seed.answered, "error": seed.error,
            "validation": seed.validation,
        })
    });
    let seeds: Vec<Value> = seeds.collect();
    let p = &s.progress;
    json!({
        "network": network,
        "at": s.at,
        "good": s.good,
        "good_ipv4": s.families.0,
        "good_ipv6": s.families.1,
        "good_overlay": s.families.2,
        "reachable": s.counts.reachable,
        "known": s.counts.known,
        "probed": s.counts.probed,
        "median_height": s.standard.median,
        "newest_ok_at": s.standard.newest_ok_at,
        "stale": s.standard.stale,
        "probes_per_second": s.probes_per_second,
        "outcomes": outcomes,
        "user_agents": table(&s.top(Trait::UserAgent)),
        "protocol_versions": table(&s.top(Trait::ProtocolVersion)),
        "countries": table(&s.top(Trait::Country)),
        "systems": table(&s.systems),
        "latencies_ms": latencies_json(&s.census.latencies),
        "heights": table(&s.heights),
        "hours": hours,
        "alerts": s.alerts,
        "best_height": figures.best_height,
        "families": families,
        "lags_blocks": classes("at_most", &LAGS, &figures.lags),
        "connect_ms": classes("at_most", &CONNECT_MS, &figures.connects),
        "uptimes_percent": classes("at_least", &UPTIMES, &figures.uptimes),
        "clock_offset_seconds": figures.clock_offset,
        "oldest_probe_at": figures.oldest_probe_at,
        "churn": s.churn.iter().map(churn_json).collect::<Vec<_>>(),
        "dns_seeds": seeds,
        "crawl": {
            "known": p.known, "untried": p.untried, "due": p.due, "in_flight": p.in_flight,
            "oldest_due": p.oldest_due, "network_down": p.network_down,
        },
    })
}

/// Counts by classes with these ends; the class beyond the last has none.
fn classes<T: serde::Serialize>(end: &str, ends: &[T], counts: &[u64]) -> Vec<Value> {
    let counts = counts.iter().enumerate();
    counts
        .map(|(n, count)| json!({ end: ends.get(n), "count": count }))
        .collect()
}

fn hour_json(h: &Hour) -> Value {
    let probes: BTreeMap<&str, u64> = h.outcomes.iter().map(|(o, n)| (o.as_str(), *n)).collect();
    json!({ "hour": h.hour, "known": h.known, "reachable": h.reachable, "good": h.good, "probes": probes })
}

fn churn_json(day: &Churn) -> Value {
    json!({ "day": day.day, "came": day.came, "gone": day.gone })
}

/// What an operator should look at.
pub(super) async fn alerts(State(site): State<Site>) -> Json<Value> {
    let snapshot = site.snapshot();
    Json(json!({ "at": snapshot.at, "alerts": snapshot.alerts }))
}

/// The seeders, as they were asked last.
pub(super) async fn seeders(State(site): State<Site>) -> Json<Value> {
    let snapshot = site.snapshot();
    let seeders = snapshot.seeders.iter().map(|seeder| {
        let status = seeder.status.as_ref();
        json!({
            "url": seeder.url.to_string(),
            "asked_at": seeder.asked_at,
            "error": seeder.error,
            "told_at": status.map(|(_, at)| at),
            "good_peers": status.and_then(|(s, _)| s.good_peers),
            "age_seconds": status.and_then(|(s, _)| s.age_seconds),
            "stale": status.and_then(|(s, _)| s.stale),
        })
    });
    Json(seeders.collect())
}

/// Most peers in one answer: some 150 kB.
const MOST_PEERS: usize = 500;

/// A page of peers: by `offset` in any order, or `after` an address in the order of addresses, which stays right while peers
/// come and go.
pub(super) async fn peers(
    State(site): State<Site>,
    Query(query): Query<PeersQuery>,
) -> Json<Value> {
    let (filter, limit) = (query.filter(), query.limit(MOST_PEERS));
    let roster = site.roster.read();
    let row = |line: &&Line| peer_row(&roster, line);
    if let Some(after) = query.after() {
        let lines = roster.select_after(&filter, after, limit);
        let next = lines.last().filter(|_| lines.len() == limit);
        let next = next.map(|line| {
            let after = escaped(&line.peer.addr.to_string());
            format!(
                "/api/v1/peers?{}&limit={limit}&after={after}",
                query.words()
            )
        });
        let rows: Vec<Value> = lines.iter().map(row).collect();
        return Json(json!({ "peers": rows, "next": next }));
    }
    let (order, offset) = (query.order(), query.offset());
    let (lines, total) = roster.select(&filter, order, offset, limit);
    let end = offset.saturating_add(lines.len());
    let next = (end < total && !lines.is_empty()).then(|| {
        let direction = if order.descending {
            "descending"
        } else {
            "ascending"
        };
        let column = order.column.as_str();
        let words = query.words();
        format!(
            "/api/v1/peers?{words}&sort={column}&direction={direction}&limit={limit}&offset={end}"
        )
    });
    let rows: Vec<Value> = lines.iter().map(row).collect();
    Json(json!({ "total": total, "offset": offset, "peers": rows, "next": next }))
}

fn peer_row(roster: &Roster, line: &Line) -> Value {
    let peer = &line.peer;
    json!({
        "addr": roster.address(peer.addr).to_string(),
        "good": line.is_good,
        "last_outcome": peer.last_outcome.as_str(),
        "last_probe_at": peer.last_probe_at,
        "last_ok_at": peer.last_ok_at,
        "user_agent": peer.user_agent,
        "protocol_version": peer.protocol_version,
        "services": peer.services,
        "height": peer.height,
        "connect_ms": peer.connect_ms,
        "uptime_7d": peer.uptime,
        "transports": peer.transports.names().collect::<Vec<_>>(),
        "country": peer.place.country.map(|code| code.to_string()),
        "system": peer.place.system,
    })
}

/// One peer.
pub(super) async fn peer(State(site): State<Site>, Path(addr): Path<String>) -> Response {
    let Ok(addr) = addr.parse::<PeerAddress>() else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({ "error": "not an address with port" })),
        )
            .into_response();
    };
    match site.reader.peer(addr.key(), unix_now()).await {
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
        "addr": d.address.to_string(),
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
        "country": d.place.country.map(|code| code.to_string()),
        "system": d.place.system,
        "probes": d.facts.reliability.probes,
        "passed": d.facts.reliability.successes,
        "history": history,
    })
}

/// Since when.
#[derive(Debug, Deserialize, Default)]
pub(super) struct Since {
    /// Unix seconds; absent for a year ago.
    since: Option<i64>,
}

impl Since {
    fn start(&self) -> i64 {
        self.since.unwrap_or_else(|| unix_now() - 366 * 86_400)
    }
}

/// The network hour by hour, of the last week unless `since` says otherwise.
pub(super) async fn hours(State(site): State<Site>, Query(query): Query<Since>) -> Response {
    let since = query.since.unwrap_or_else(|| unix_now() - 7 * 86_400);
    match site.reader.hours(since).await {
        Err(error) => failed(&error),
        Ok(hours) => Json(hours.iter().map(hour_json).collect::<Vec<_>>()).into_response(),
    }
}

/// Who came and went, day by day.
pub(super) async fn churn(State(site): State<Site>, Query(query): Query<Since>) -> Response {
    match site.reader.churn(query.start()).await {
        Err(error) => failed(&error),
        Ok(days) => Json(days.iter().map(churn_json).collect::<Vec<_>>()).into_response(),
    }
}

/// The network day by day.
pub(super) async fn days(State(site): State<Site>, Query(query): Query<Since>) -> Response {
    match site.reader.days(query.start()).await {
        Err(error) => failed(&error),
        Ok(days) => Json(days.iter().map(day_json).collect::<Vec<_>>()).into_response(),
    }
}

fn day_json(d: &Day) -> Value {
    let probes: BTreeMap<&str, u64> = d.outcomes.iter().map(|(o, n)| (o.as_str(), *n)).collect();
    json!({
        "day": d.day,
        "known": d.known,
        "reachable": d.reachable,
        "good": d.good,
        "height": d.height,
        "latencies_ms": latencies_json(&d.latencies),
        "probes": probes,
    })
}

fn latencies_json(latencies: &Latencies) -> Value {
    let measured = latencies.named().into_iter();
    let measured: BTreeMap<&str, Value> = measured
        .filter_map(|(name, q)| Some((name, q?)))
        .map(|(name, q)| (name, json!({ "p50": q.p50, "p90": q.p90, "p99": q.p99 })))
        .collect();
    json!(measured)
}

/// Good peers by a trait, day by day.
pub(super) async fn shares(
    State(site): State<Site>,
    Path(by): Path<String>,
    Query(query): Query<Since>,
) -> Response {
    let Some(by) = Trait::named(&by) else {
        let names = Trait::ALL.map(Trait::as_str).join(", ");
        let error = format!("no such trait; there are {names}");
        return (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response();
    };
    match site.reader.daily_shares(by, query.start()).await {
        Err(error) => failed(&error),
        Ok(days) => {
            let days = days.into_iter().map(|(day, shares)| {
                let peers: serde_json::Map<String, Value> = shares
                    .into_iter()
                    .map(|(value, n)| (value, json!(n)))
                    .collect();
                json!({ "day": day, "peers": peers })
            });
            Json(days.collect::<Vec<_>>()).into_response()
        }
    }
}

fn failed(error: &StoreError) -> Response {
    tracing::warn!(%error, "the API could not read the store");
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({ "error": "the store could not be read" })),
    )
        .into_response()
}
