//! The live stream: tells browsers that there is a new picture of the network, and they fetch what they show.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::WatchStream;

use super::Site;

/// Streams at once: half of the connections that the HTTP server takes, so that pages can still be had.
pub(super) const MOST_STREAMS: usize = 256;

/// Seconds after which somebody who found no place may try again.
const TRY_AGAIN: u32 = 30;

/// Places for streams.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    taken: IntGauge,
}

/// A place that is taken, until it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    taken: IntGauge,
}

impl Streams {
    /// All places are free; `taken` counts those that are not.
    pub(super) fn new(taken: IntGauge) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST_STREAMS)),
            taken,
        }
    }

    fn take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.taken.inc();
        Some(Place {
            _permit: permit,
            taken: self.taken.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.dec();
    }
}

/// An event for each new snapshot, the present one first.
pub(super) async fn stream(State(site): State<Site>) -> Response {
    let Some(place) = site.streams.take() else {
        let text = format!(
            "All {MOST_STREAMS} live streams are taken. The page can be read and reloaded without one.\n"
        );
        let wait = [(header::RETRY_AFTER, TRY_AGAIN.to_string())];
        return (StatusCode::SERVICE_UNAVAILABLE, wait, text).into_response();
    };
    let stream = WatchStream::new(site.snapshot).map(move |snapshot| {
        // The place is given back when the stream is dropped.
        let _ = &place;
        let number = format!("{}.{}", snapshot.at, snapshot.generation);
        Ok::<_, Infallible>(Event::default().event("snapshot").data(number))
    });
    let no_buffer = [(header::HeaderName::from_static("x-accel-buffering"), "no")];
    (no_buffer, Sse::new(stream).keep_alive(KeepAlive::default())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let gauge = IntGauge::new("streams", "Streams.").unwrap();
        let streams = Streams::new(gauge.clone());
        let mut places: Vec<Place> = (0..MOST_STREAMS).filter_map(|_| streams.take()).collect();
        assert_eq!(places.len(), MOST_STREAMS);
        assert!(streams.take().is_none());
        places.pop();
        assert_eq!(gauge.get(), MOST_STREAMS as i64 - 1);
        assert!(streams.take().is_some());
    }
}
