//! The node's HTTP API: JSON, read-only in this release, on loopback.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use quantumcoin::chain::Blockchain;
use quantumcoin::network::NetworkManager;
use serde_json::json;

#[derive(Clone)]
struct Api {
    network: Arc<NetworkManager>,
    chain: Arc<Blockchain>,
}

/// The routes: `/`, `/api/v1/status`, `/api/v1/peers`, `/api/v1/nat`, `/api/v1/tip`.
pub fn router(network: Arc<NetworkManager>, chain: Arc<Blockchain>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/api/v1/status", get(status))
        .route("/api/v1/peers", get(peers))
        .route("/api/v1/nat", get(nat))
        .route("/api/v1/tip", get(tip))
        .with_state(Api { network, chain })
}

async fn index() -> &'static str {
    "QuantumCoin node\n\n/api/v1/status\n/api/v1/peers\n/api/v1/nat\n/api/v1/tip\n/metrics\n/health/live\n/health/ready\n"
}

async fn status(State(api): State<Api>) -> Response {
    match api.network.status().await {
        Some(status) => Json(status).into_response(),
        None => stopping(),
    }
}

async fn peers(State(api): State<Api>) -> Response {
    match api.network.status().await {
        Some(status) => Json(status.peers).into_response(),
        None => stopping(),
    }
}

async fn nat(State(api): State<Api>) -> Response {
    match api.network.status().await {
        Some(status) => Json(status.nat).into_response(),
        None => stopping(),
    }
}

async fn tip(State(api): State<Api>) -> Response {
    let (tip, best) = (api.chain.tip(), api.chain.best_header());
    Json(json!({
        "height": tip.height,
        "hash": tip.hash.to_string(),
        "header_height": best.height,
        "header_hash": best.hash.to_string(),
    }))
    .into_response()
}

fn stopping() -> Response {
    let body = json!({ "error": "the node is starting or stopping" });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
