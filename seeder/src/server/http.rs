//! Status of the seeder as JSON, at `/` and `/api/v1/status`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;

use crate::{follow::unix_now, respond::Responder, snapshot::Origin, state::State as Served};

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
    responder: Arc<Responder>,
}

pub(super) fn routes(network: String, responder: Arc<Responder>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/api/v1/status", get(status))
        .with_state(Source { network, responder })
}

async fn status(State(source): State<Source>) -> Json<Status> {
    let Source { network, responder } = source;
    let state = responder.state().load_full();
    let snapshot = &state.snapshot;
    Json(Status {
        network,
        zones: zone_names(&state),
        serial: snapshot.serial,
        origin: snapshot.origin,
        good_peers: snapshot.len(),
        newest_probe_at: snapshot.newest_probe_at,
        age_seconds: snapshot
            .newest_probe_at
            .map(|at| unix_now().saturating_sub(at).max(0)),
        stale: snapshot.stale,
        queries: state.setup.queries.by_type(),
        responses: responder.counters.by_code(),
    })
}

/// The zones that are served.
pub(super) fn zone_names(state: &Served) -> Vec<String> {
    let zones = state.setup.engine.zones().iter();
    zones.map(|zone| zone.apex().to_string()).collect()
}
