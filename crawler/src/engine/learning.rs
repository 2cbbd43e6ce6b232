//! Addresses that peers, the operator, DNS and the chain spec tell.

use std::net::SocketAddr;

use quantumcoin::reachability::netgroup::{canonical_socket, is_dialable};
use quantumcoin::store::model::teller_bit;
use quantumcoin::store::{Sighting, StoreError, Write};

use super::{Engine, Tip};
use crate::frontier::Entry;
use crate::probe::unix_now;

impl Engine {
    /// Takes in what a peer told.
    pub(super) async fn learn(
        &mut self,
        peer: SocketAddr,
        told: &[SocketAddr],
        now: i64,
    ) -> Result<(), StoreError> {
        let teller = teller_bit(self.intake.netgroup(peer.ip()));
        let mut refused = 0;
        for &addr in told {
            if self.frontier.hear(addr, now, teller) {
                continue;
            }
            let believed = self.may_dial(addr)
                && !self.is_excluded(addr.ip())
                && self.intake.admit(peer, self.frontier.len(), now);
            if believed && self.make_room().await? {
                let source = format!("peer:{peer}");
                self.sight(addr, source, teller, now).await?;
            } else {
                refused += 1;
            }
        }
        self.metrics.refused_addresses.inc_by(refused);
        Ok(())
    }

    /// Takes in what the operator, DNS or the chain spec told.
    pub(super) async fn take_tip(&mut self, tip: Tip) -> Result<(), StoreError> {
        let now = unix_now();
        for addr in tip.addrs.into_iter().map(canonical_socket) {
            let known = self.frontier.get(addr).is_some();
            if self.may_dial(addr) && (known || self.make_room().await?) {
                self.sight(addr, tip.source.clone(), 0, now).await?;
            } else {
                self.metrics.refused_addresses.inc();
                tracing::warn!(%addr, source = tip.source,
                    "address left out: reserved or private ranges are dialled on devnets only");
            }
        }
        Ok(())
    }

    /// Notes that somebody told of an address now.
    pub(super) async fn sight(
        &mut self,
        addr: SocketAddr,
        source: String,
        told_by: u32,
        now: i64,
    ) -> Result<(), StoreError> {
        self.frontier.add(addr, Entry::new(now));
        let sighting = Sighting {
            addr,
            at: now,
            source,
            times: 1,
            told_by,
            next_due: now,
        };
        self.store.write(Write::Sighting(sighting)).await
    }

    /// Writes down what was heard of addresses since each was visited last.
    pub(super) async fn write_heard(&mut self) -> Result<(), StoreError> {
        for (addr, heard) in self.frontier.take_all_heard() {
            let sighting = Sighting {
                addr,
                at: heard.at,
                source: String::new(),
                times: heard.times,
                told_by: heard.told_by,
                next_due: heard.at,
            };
            self.store.write(Write::Sighting(sighting)).await?;
        }
        Ok(())
    }

    /// Whether one more address fits; gives the worst one up if need be.
    async fn make_room(&mut self) -> Result<bool, StoreError> {
        if self.frontier.len() < self.config.settings.intake.max_addresses {
            return Ok(true);
        }
        let Some(worst) = self.frontier.worst() else {
            return Ok(false);
        };
        self.frontier.forget(worst);
        self.store.write(Write::Forget(worst)).await?;
        Ok(true)
    }

    pub(super) fn may_dial(&self, addr: SocketAddr) -> bool {
        is_dialable(
            addr,
            self.config.spec.network_protocol.allow_private_addresses,
        )
    }
}
