//! What is done once a second.

use std::net::SocketAddr;

use quantumcoin::store::{StoreError, Write};

use super::{Engine, Mode, REQUESTS};
use crate::probe::unix_now;
use crate::weather::{Road, SUSPECTS};

impl Engine {
    /// Once a second: requests for visits, failures that were held back, totals.
    pub(super) async fn tick(&mut self) -> Result<(), StoreError> {
        for finished in self.weather.release(unix_now()) {
            self.settle(finished).await?;
        }
        self.send_canaries().await?;
        self.freeze_or_thaw(unix_now()).await?;
        let read = async {
            let banned = self.reader.banned(unix_now()).await?;
            let mut requests = Vec::new();
            for addr in self.reader.visit_requests(REQUESTS).await? {
                requests.push(self.reader.address(addr).await?);
            }
            Ok::<_, StoreError>((banned, requests))
        };
        let requests = match read.await {
            Ok((banned, requests)) => {
                self.banned = banned;
                requests
            }
            // Visits need no reading: a store that is busy or on a failing disk does not end the crawl.
            Err(error) => {
                tracing::warn!(%error, "bans and requests for visits could not be read");
                return Ok(());
            }
        };
        let before = std::mem::take(&mut self.taken);
        for peer in requests {
            let addr = peer.key();
            self.taken.insert(addr);
            self.store.write(Write::VisitTaken(addr)).await?;
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
