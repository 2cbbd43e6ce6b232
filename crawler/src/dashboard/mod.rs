//! The dashboard: pages that read well without JavaScript, live updates for browsers that have it, and a
//! JSON API of the same figures.
//!
//! | part | what it does |
//! |---|---|
//! | this file | routes and what is common to all answers |
//! | `pages` | the HTML pages |
//! | `view` | figures as text, bars and addresses for the templates |
//! | `chart` | hourly bars as SVG coordinates |
//! | `api` | JSON |
//! | `visits` | anybody may ask for a visit, within an allowance |
//!
//! Everything comes from this server: no request goes elsewhere, and the content security policy forbids
//! inline scripts and styles, so a hostile user agent stays text even if escaping should ever fail.

mod api;
mod chart;
mod pages;
mod view;
mod visits;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::look;
use quantumcoin::store::StoreReader;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

pub(crate) use self::api::{peer_json, summary_json};
pub(crate) use self::visits::{Rules, Visits};
use crate::observer::Snapshot;

const SCRIPT: &str = include_str!("../../assets/live.js");

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) network: Arc<str>,
    pub(crate) reader: StoreReader,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) visits: Visits,
}

impl Site {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }
}

/// All pages, files and API routes.
pub(crate) fn router(
    spec: &ChainSpec,
    reader: StoreReader,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    visits: Visits,
) -> Router {
    let network = spec.network.as_str().into();
    Router::new()
        .route("/", get(pages::index))
        .route("/live", get(pages::live))
        .route("/peers", get(pages::peers))
        .route("/peers/{addr}", get(pages::peer))
        .route("/events", get(events))
        .route(
            "/assets/live.js",
            get(async || look::asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/api/v1/summary", get(api::summary))
        .route("/api/v1/peers", get(api::peers))
        .route("/api/v1/peers/{addr}", get(api::peer))
        .route("/api/v1/days", get(api::days))
        .route("/api/v1/shares/{by}", get(api::shares))
        .route("/visits", post(visits::form))
        .route("/api/v1/visits", post(visits::api))
        .merge(look::routes())
        .fallback(pages::not_found)
        .layer(axum::middleware::map_response(look::with_policy))
        .with_state(Site {
            network,
            reader,
            snapshot,
            visits,
        })
}

/// Tells browsers that there are new figures; they fetch what they show.
async fn events(State(site): State<Site>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = WatchStream::new(site.snapshot).map(|snapshot| {
        Ok(Event::default()
            .event("snapshot")
            .data(snapshot.generation.to_string()))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
