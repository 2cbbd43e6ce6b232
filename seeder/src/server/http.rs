//! Status of the seeder as JSON, at `/` and `/api/v1/status`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;

use super::handler::Handler;
use crate::{follow::unix_now, snapshot::Origin};

/// What the seeder is doing.
#[derive(Debug, Serialize)]
struct Status {
    network: String,
    zones: Vec<String>,
    /// SOA serial.
    serial: u32,
    /// Where the peers come from.
    origin: Origin,
    good_peers: usize,
    /// Unix seconds of the newest passed probe.
    newest_probe_at: Option<i64>,
    /// Seconds since then.
    age_seconds: Option<i64>,
    stale: bool,
    queries: BTreeMap<&'static str, u64>,
    responses: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone)]
struct Source {
    network: String,
    handler: Arc<Handler>,
}

pub(super) fn routes(network: String, handler: Arc<Handler>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/api/v1/status", get(status))
        .with_state(Source { network, handler })
}

async fn status(State(source): State<Source>) -> Json<Status> {
    let Source { network, handler } = source;
    let snapshot = handler.snapshot().load_full();
    Json(Status {
        network,
        zones: handler.zone_names(),
        serial: snapshot.serial,
        origin: snapshot.origin,
        good_peers: snapshot.len(),
        newest_probe_at: snapshot.newest_probe_at,
        age_seconds: snapshot
            .newest_probe_at
            .map(|at| unix_now().saturating_sub(at).max(0)),
        stale: snapshot.stale,
        queries: handler.counters.by_type(),
        responses: handler.counters.by_code(),
    })
}
