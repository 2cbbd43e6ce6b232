//! Figures that nobody counts as they come about: the hub looks at them from time to time, for metrics and for the API.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Hub, PeerId, lock};
use crate::network::address_book::BookStats;
use crate::network::metrics::NetworkMetrics;
use crate::network::peer::PeerHandle;
use crate::network::peer::session::unix_now;

/// How often. Prometheus asks every 15 s or so, so it misses nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How old what is said of the address book may be: to look at a full one takes some milliseconds.
const BOOK_AGE: Duration = Duration::from_secs(15);

/// What the hub remembers of it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    next: Option<Instant>,
    book: Option<(Instant, BookStats)>,
    /// Bytes of each connection, in and out, that metrics know of.
    counted: HashMap<PeerId, (u64, u64)>,
}

impl Figures {
    /// What the connection has moved until its end is counted.
    pub(super) fn peer_left(&mut self, handle: &PeerHandle, metrics: &NetworkMetrics) {
        self.count_bytes(handle, metrics);
        self.counted.remove(&handle.id);
    }

    fn count_bytes(&mut self, handle: &PeerHandle, metrics: &NetworkMetrics) {
        let moved = (
            handle.stats.bytes_in.load(Ordering::Relaxed),
            handle.stats.bytes_out.load(Ordering::Relaxed),
        );
        let before = self.counted.insert(handle.id, moved).unwrap_or_default();
        metrics.moved(
            moved.0.saturating_sub(before.0),
            moved.1.saturating_sub(before.1),
        );
    }
}

impl Hub {
    /// Looks, when it is time.
    pub(super) fn drive_figures(&mut self) {
        let now = Instant::now();
        if self.figures.next.is_some_and(|next| now < next) {
            return;
        }
        self.figures.next = Some(now + LOOK_EVERY);
        for peer in self.peers.values() {
            self.figures.count_bytes(&peer.handle, &self.metrics);
        }
        let book = self.book_stats();
        self.metrics.book(&book);
        let bans = {
            let (standing, unix) = (lock(&self.standing), unix_now());
            (
                standing.bans(unix).len(),
                standing.operator_bans(unix).len(),
            )
        };
        self.metrics.bans(bans.0, bans.1);
        self.metrics
            .clock_slow_by(self.clock_slow_by().unwrap_or(0));
        let chain = &self.local.chain;
        if let Some((_, header)) = chain.header(&chain.tip().hash) {
            self.metrics.tip_time(header.time);
        }
    }

    /// What is in the address book, as of the last seconds.
    pub(super) fn book_stats(&mut self) -> BookStats {
        let now = Instant::now();
        if let Some((at, stats)) = &self.figures.book
            && now.saturating_duration_since(*at) < BOOK_AGE
        {
            return stats.clone();
        }
        let stats = self.connections.book().stats(unix_now());
        self.figures.book = Some((now, stats.clone()));
        stats
    }
}
