//! What is done once a second.

use std::net::SocketAddr;

use quantumcoin::store::{StoreError, Write};

use super::{Engine, Mode, REQUESTS};
use crate::probe::unix_now;
use crate::progress::Progress;
use crate::weather::{Road, SUSPECTS};

/// With more addresses than this, what is due is counted each [`COUNT_EVERY`] seconds only.
const MANY: usize = 100_000;

/// Seconds.
const COUNT_EVERY: i64 = 5;

impl Engine {
    /// Tells how the crawl is going.
    fn show_progress(&self, now: i64) {
        if self.frontier.len() > MANY && now % COUNT_EVERY > 0 {
            return;
        }
        let (due, oldest_due) = self.frontier.waiting(now);
        let mut roads = Road::ALL.into_iter();
        self.progress.send_replace(Progress {
            known: self.frontier.len(),
            untried: self.frontier.untried(),
            due,
            in_flight: self.visits.len(),
            oldest_due,
            network_down: roads.any(|road| self.weather.is_down(road)),
            is_known: true,
        });
    }

    /// Once a second: failures that were held back, canaries, bans, requests for visits.
    pub(super) async fn tick(&mut self) -> Result<(), StoreError> {
        for finished in self.weather.release(unix_now()) {
            self.settle(finished).await?;
        }
        self.send_canaries().await?;
        self.freeze_or_thaw(unix_now()).await?;
        self.show_progress(unix_now());
        // Visits need no reading: a store that is busy or on a failing disk does not end the crawl.
        match self.reader.banned(unix_now()).await {
            Ok(banned) => self.banned = banned,
            Err(error) => tracing::warn!(%error, "bans could not be read"),
        }
        match self.reader.visit_requests(REQUESTS).await {
            Ok(requests) => self.take_requests(requests).await,
            Err(error) => {
                tracing::warn!(%error, "requests for visits could not be read");
                Ok(())
            }
        }
    }

    async fn take_requests(&mut self, requests: Vec<SocketAddr>) -> Result<(), StoreError> {
        let before = std::mem::take(&mut self.taken);
        for addr in requests {
            self.taken.insert(addr);
            self.store.write(Write::VisitTaken(addr)).await?;
            let peer = match self.reader.address(addr).await {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(%addr, %error, "a request for a visit could not be read");
                    continue;
                }
            };
            if before.contains(&addr) || !self.may_dial(&peer) {
                continue;
            }
            let known = self.frontier.get(addr).is_some();
            if known || self.make_room().await? {
                self.sight(peer, "manual".to_owned(), 0, unix_now()).await?;
                self.frontier.visit_now(addr, unix_now());
            }
        }
        Ok(())
    }

    /// Where failures of good peers wait to be understood, other good peers are visited at once.
    async fn send_canaries(&mut self) -> Result<(), StoreError> {
        // A crawl that visits everybody once has others under way.
        if self.mode == Mode::Once {
            return Ok(());
        }
        let now = unix_now();
        for road in self.weather.wants_canaries(now) {
            let on_road = |addr: SocketAddr| Road::to(addr.ip()) == road;
            let may_be_dialled = |addr: SocketAddr| {
                on_road(addr) && !self.is_excluded(addr.ip()) && self.has_way_to(addr)
            };
            let canaries = self.frontier.good(may_be_dialled, SUSPECTS - 1);
            // Those whose failures are held back are still in flight for the frontier.
            let in_flight = self.frontier.good_in_flight(on_road);
            let under_way = in_flight.saturating_sub(self.weather.held(road));
            for canary in &canaries {
                self.frontier.visit_now(*canary, now);
            }
            let outstanding = canaries.len() + under_way;
            if let Some(ruling) = self.weather.canaries_sent(road, outstanding, now) {
                self.obey(road, ruling, now).await?;
            }
        }
        Ok(())
    }
}
