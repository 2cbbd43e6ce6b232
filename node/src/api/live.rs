//! Live updates: one task looks at the node while somebody listens, and all listeners share what it saw.
//!
//! ```text
//! hub ── status, once in 2 s while somebody listens ─> [look] ─ watch ─┬─> /api/v1/live (server-sent events)
//!                                                                     └─> /live (the page's changing part)
//! ```
//! So two hundred browsers cost the node little more than one. A stream tells a short summary as JSON, and that the page's changing
//! part is another than before.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use quantumcoin::chain::Blockchain;
use quantumcoin::network::NetworkManager;
use quantumcoin::service::health::Health;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::page;
use super::problem::Problem;

/// How often the node is looked at while somebody listens: as fast as people read figures.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Streams at the same time: half of the connections that the server takes, so that requests find places beside them.
pub(super) const MAX_STREAMS: usize = 256;

/// What was seen last.
#[derive(Debug)]
pub(super) struct Seen {
    at: Instant,
    /// The page's changing part.
    pub(super) html: String,
    /// A summary for programs.
    json: String,
}

/// The looks at the node, shared by all who listen. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Live {
    network: Arc<NetworkManager>,
    chain: Arc<Blockchain>,
    health: Health,
    seen: watch::Sender<Option<Arc<Seen>>>,
    places: Arc<Semaphore>,
    /// Ends the streams.
    stop: CancellationToken,
}

impl Live {
    pub(super) fn new(
        network: Arc<NetworkManager>,
        chain: Arc<Blockchain>,
        health: Health,
        stop: CancellationToken,
    ) -> Self {
        Self {
            network,
            chain,
            health,
            seen: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            stop,
        }
    }

    /// Looks while somebody listens, until the node stops.
    pub(super) async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.seen.receiver_count() > 0 {
                self.look().await;
            }
        }
    }

    /// What was seen at most [`LOOK_EVERY`] ago; `None` while the node does not run.
    pub(super) async fn fresh(&self) -> Option<Arc<Seen>> {
        let seen = self.seen.borrow().clone();
        match seen {
            Some(seen) if seen.at.elapsed() < LOOK_EVERY => Some(seen),
            _ => self.look().await,
        }
    }

    async fn look(&self) -> Option<Arc<Seen>> {
        let status = self.network.status().await?;
        let book = self.network.book().await.ok()?;
        let view = page::View::new(&status, &book, &self.chain, &self.health, &self.network);
        let json = json!({
            "height": status.sync.block_height,
            "header_height": status.sync.header_height,
            "synced": status.sync.synced,
            "outbound": status.outbound,
            "inbound": status.inbound,
            "events": status.security.events.last().map_or(0, |event| event.id),
            "worst": view.worst(),
        });
        let html = match view.render() {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "the page can't be made");
                return None;
            }
        };
        let seen = Arc::new(Seen {
            at: Instant::now(),
            html,
            json: json.to_string(),
        });
        self.seen.send_replace(Some(Arc::clone(&seen)));
        Some(seen)
    }

    /// Each look from now on, while `place` is held.
    fn listen(
        &self,
        place: OwnedSemaphorePermit,
    ) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        let seen = self.seen.subscribe();
        let stop = self.stop.clone();
        stream::unfold((seen, stop, place), |(mut seen, stop, place)| async move {
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = seen.changed() => changed.ok()?,
            }
            let json = seen.borrow_and_update().as_ref().map(|s| s.json.clone());
            let event = Event::default()
                .event("status")
                .data(json.unwrap_or_default());
            Some((Ok(event), (seen, stop, place)))
        })
    }
}

/// The summary now, and again with each look at the node.
pub(super) async fn stream(State(api): State<Api>) -> Response {
    let Ok(place) = Arc::clone(&api.live.places).try_acquire_owned() else {
        return Problem::busy("256 live streams are open already", 10).into_response();
    };
    let Some(seen) = api.live.fresh().await else {
        return Problem::stopping().into_response();
    };
    let first = Event::default().event("status").data(seen.json.clone());
    let events = stream::iter([Ok(first)]).chain(api.live.listen(place));
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}
