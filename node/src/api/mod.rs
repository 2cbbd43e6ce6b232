//! The node's HTTP API and its page: JSON below `/api/v1`, the page at `/`, both for the operator.
//!
//! ```text
//! request ─> guard: Host, pace, deadline; for what changes something: cross-site?, token ─> handler ─> JSON, or a Problem
//!                                                                                            │
//!                                    network manager (hub) <── reads and commands ───────────┤
//!                                    chain, pool (read in memory or from disk, beside) <─────┘
//! ```
//! | part | what it does |
//! |---|---|
//! | this file | the routes, in one table |
//! | `guard` | what holds for every request; `pace` counts them (pure), `origin` judges where they come from (pure) |
//! | [`token`] | the secret that changing calls need, and its file |
//! | `problem` | every refusal, as JSON with a code, words and a remedy |
//! | `network`, `chain`, `control` | the handlers: reading the network part, reading the chain, changing |
//! | `live` | server-sent events, one look at the node for all who listen |
//! | `page`, `view` | the page, and figures as people read them |
//!
//! The document `openapi.json` describes all of it; a test asks every route and holds the answers against it.
//! Reading needs no token: who is on this machine may know how the node is doing. Nothing here can be reached from other
//! machines unless the operator says so (`--http-public`).

mod chain;
mod control;
mod guard;
mod live;
mod network;
mod origin;
mod pace;
mod page;
mod problem;
pub mod token;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use prometheus::IntCounterVec;
use quantumcoin::chain::Blockchain;
use quantumcoin::network::NetworkManager;
use quantumcoin::service::health::Health;
use quantumcoin::service::look;
use quantumcoin::service::metrics::{Metrics, MetricsError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use self::live::Live;
use self::problem::Problem;
use self::token::ApiToken;

/// What describes the API.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// What changes the page of browsers that run scripts.
const SCRIPT: &str = include_str!("../../assets/live.js");

/// Blocks read and answered at the same time. One of the largest is 4 MB, as hexadecimal digits 8 MB: 64 MB in all, however many
/// ask and however slowly they read.
const BLOCKS_AT_ONCE: usize = 8;

/// Most bytes of a submitted transaction's request: the digits of the largest that is relayed, and JSON around them.
const MAX_SUBMIT_BYTES: usize = 2 * quantumcoin::chain::policy::MAX_STANDARD_BYTES + 1_024;

/// What the API is made of.
#[derive(Debug)]
pub struct ApiParts {
    /// The network part.
    pub network: Arc<NetworkManager>,
    /// The chain.
    pub chain: Arc<Blockchain>,
    /// The node's health.
    pub health: Health,
    /// What changing calls need.
    pub token: ApiToken,
    /// Host names, beside addresses and `localhost`, by which the API may be asked for.
    pub names: Vec<String>,
    /// Counts answers by the class of their status (see [`request_counter`]).
    pub requests: IntCounterVec,
    /// Ends the live streams.
    pub stop: CancellationToken,
}

/// What every handler has.
#[derive(Debug, Clone)]
struct Api {
    network: Arc<NetworkManager>,
    chain: Arc<Blockchain>,
    health: Health,
    live: Live,
    blocks: Arc<Semaphore>,
}

/// Registers the counter of answers.
///
/// # Errors
/// When the registry holds its name already.
pub fn request_counter(metrics: &Metrics) -> Result<IntCounterVec, MetricsError> {
    let requests = metrics.counter_vec(
        "http_requests_total",
        "Requests to the API and the page, by the class of the answer's status",
        &["status"],
    )?;
    for class in ["2xx", "3xx", "4xx", "5xx"] {
        requests.with_label_values(&[class]);
    }
    Ok(requests)
}

/// The API's paths, with the methods that each takes.
#[must_use]
pub fn paths() -> Vec<(&'static str, &'static [Method])> {
    let routes = routes().into_iter();
    routes.map(|(path, methods, _)| (path, methods)).collect()
}

type Route = (&'static str, &'static [Method], MethodRouter<Api>);

/// Every route below `/api/v1`, relative to it.
fn routes() -> Vec<Route> {
    const READ: &[Method] = &[Method::GET];
    const BOTH: &[Method] = &[Method::GET, Method::POST];
    const ONE: &[Method] = &[Method::GET, Method::DELETE];
    const ALL: &[Method] = &[Method::GET, Method::POST, Method::DELETE];
    const SUBMIT: &[Method] = &[Method::POST];
    let large = DefaultBodyLimit::max(MAX_SUBMIT_BYTES);
    vec![
        ("/status", READ, get(network::status)),
        ("/network", READ, get(network::network)),
        ("/health", READ, get(network::health)),
        ("/peers", BOTH, get(network::peers).post(control::add_peer)),
        (
            "/peers/{peer}",
            ONE,
            get(network::peer).delete(control::drop_peer),
        ),
        (
            "/bans",
            ALL,
            get(network::bans)
                .merge(post(control::ban))
                .merge(delete(control::unban)),
        ),
        ("/book", READ, get(network::book)),
        ("/seeds", READ, get(network::seeds)),
        ("/events", READ, get(network::events)),
        (
            "/nat",
            BOTH,
            get(network::nat).post(control::look_at_nat_again),
        ),
        ("/tip", READ, get(chain::tip)),
        ("/blocks/{block}", READ, get(chain::block)),
        ("/headers/{block}", READ, get(chain::header)),
        ("/mempool", READ, get(chain::mempool)),
        ("/transactions", SUBMIT, post(control::submit).layer(large)),
        ("/transactions/{txid}", READ, get(chain::transaction)),
        ("/live", READ, get(live::stream)),
        ("/openapi.json", READ, get(openapi)),
    ]
}

/// All of it, with its guard.
pub fn router(parts: ApiParts) -> Router {
    let guard = Arc::new(Guard::new(parts.token, parts.names, parts.requests));
    let live = Live::new(
        Arc::clone(&parts.network),
        Arc::clone(&parts.chain),
        parts.health.clone(),
        parts.stop,
    );
    tokio::spawn(live.clone().run());
    let api = Api {
        network: parts.network,
        chain: parts.chain,
        health: parts.health,
        live,
        blocks: Arc::new(Semaphore::new(BLOCKS_AT_ONCE)),
    };
    let script = async || look::asset("text/javascript; charset=utf-8", SCRIPT);
    let mut router = Router::new()
        .route("/", get(page::index))
        .route("/live", get(page::fragment))
        .route("/assets/live.js", get(script));
    for (path, _, handlers) in routes() {
        router = router.route(&format!("/api/v1{path}"), handlers);
    }
    router
        .merge(look::routes())
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .layer(axum::middleware::from_fn_with_state(guard, guard::watch))
        .layer(axum::middleware::map_response(look::with_policy))
        .with_state(api)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
