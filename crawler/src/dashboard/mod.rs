//! The dashboard: pages that read well without JavaScript, live updates for browsers that have it, and a
//! JSON API of the same figures.
//!
//! | part | what it does |
//! |---|---|
//! | this file | routes and what is common to all answers |
//! | `pages` | the HTML pages: overview, peers, one peer |
//! | `history` | the page of the network over time |
//! | `view` | figures as text, bars and addresses for the templates |
//! | `chart` | time series as SVG coordinates |
//! | `events` | tells browsers that there is something new |
//! | `api` | JSON |
//! | `export` | comma-separated values |
//! | `visits` | anybody may ask for a visit, within an allowance |
//!
//! A request's way is short: the overview is rendered once for each snapshot and shared; peers are searched in memory
//! ([`crate::roster`]); only history and a single peer ask the store, by indices.
//!
//! Everything comes from this server: no request goes elsewhere, and the content security policy forbids
//! inline scripts and styles, so a hostile user agent stays text even if escaping should ever fail. The one thing that anybody
//! can change is to ask for a visit; that is refused when another site's page makes a browser ask.

mod api;
mod chart;
mod events;
mod export;
mod history;
mod pages;
mod view;
mod visits;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use quantumcoin::service::look;
use quantumcoin::store::StoreReader;
use tokio::sync::watch;

pub(crate) use self::api::{peer_json, summary_json};
use self::events::Streams;
use self::pages::overview::{self, Rendered};
use self::pages::{peer, peers};
pub(crate) use self::visits::{Rules, Visits};
use crate::metrics::CrawlMetrics;
use crate::observer::Snapshot;
use crate::roster::SharedRoster;

/// Live updates, and zoom by pointer.
const SCRIPT: &str = include_str!("../../assets/dashboard.js");

/// What the pages need besides the look of all programs.
const STYLE: &str = include_str!("../../assets/dashboard.css");

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) network: Arc<str>,
    pub(crate) reader: StoreReader,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) roster: SharedRoster,
    pub(crate) visits: Visits,
    rendered: Rendered,
    streams: Streams,
}

impl Site {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }
}

/// What the dashboard shows, and what it may ask for.
pub(crate) struct Parts {
    pub(crate) network: Arc<str>,
    /// With connections of its own, so that visitors never make the crawl wait.
    pub(crate) reader: StoreReader,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) roster: SharedRoster,
    pub(crate) visits: Visits,
    pub(crate) metrics: CrawlMetrics,
}

/// All pages, files and API routes.
pub(crate) fn router(parts: Parts) -> Router {
    let pages = Router::new()
        .route("/", get(overview::index))
        .route("/live", get(overview::live))
        .route("/history", get(history::page))
        .route("/peers", get(peers::peers))
        .route("/peers/{addr}", get(peer::peer))
        .route("/events", get(events::stream))
        .route("/export/peers.csv", get(export::peers))
        .route("/export/history.csv", get(export::history))
        .route(
            "/assets/dashboard.js",
            get(async || look::asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/assets/dashboard.css",
            get(async || look::asset("text/css; charset=utf-8", STYLE)),
        )
        .route("/visits", post(visits::form));
    let api = Router::new()
        .route("/summary", get(api::summary))
        .route("/alerts", get(api::alerts))
        .route("/seeders", get(api::seeders))
        .route("/peers", get(api::peers))
        .route("/peers/{addr}", get(api::peer))
        .route("/hours", get(api::hours))
        .route("/days", get(api::days))
        .route("/churn", get(api::churn))
        .route("/shares/{by}", get(api::shares))
        .route("/visits", post(visits::api));
    pages
        .nest("/api/v1", api)
        .merge(look::routes())
        .fallback(pages::not_found)
        .layer(axum::middleware::map_response(look::with_policy))
        .with_state(Site {
            network: parts.network,
            reader: parts.reader,
            snapshot: parts.snapshot,
            roster: parts.roster,
            visits: parts.visits,
            rendered: Rendered::new(rand::random()),
            streams: Streams::new(parts.metrics.streams),
        })
}
