//! Addresses that peers, the operator, DNS and the chain spec tell.

use std::net::SocketAddr;

use quantumcoin::reachability::netgroup::is_dialable;
use quantumcoin::reachability::overlay::{PeerAddress, is_stand_in};
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
        told: &[PeerAddress],
        now: i64,
    ) -> Result<(), StoreError> {
        let teller = teller_bit(self.intake.netgroup(peer.ip()));
        let mut refused = 0;
        for &address in told {
            let addr = address.key();
            // A name that is told as the address that stands for it.
            if address.name().is_none() && is_stand_in(addr.ip()) {
                refused += 1;
                continue;
            }
            if self.frontier.hear(addr, now, teller) {
                continue;
            }
            let believed = self.may_dial(&address)
                && !self.is_excluded(addr.ip())
                && self.intake.admit(peer, self.frontier.len(), now);
            if believed && self.make_room().await? {
                let peer = self.names.address(peer).unwrap_or(peer.into());
                let source = format!("peer:{peer}");
                self.sight(address, source, teller, now).await?;
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
        for address in tip.addrs {
            let known = self.frontier.get(address.key()).is_some();
            if self.may_dial(&address) && (known || self.make_room().await?) {
                self.sight(address, tip.source.clone(), 0, now).await?;
            } else {
                self.metrics.refused_addresses.inc();
                tracing::warn!(%address, source = tip.source,
                    "address left out: reserved and private ranges are dialled on devnets only, names by a proxy only");
            }
        }
        Ok(())
    }

    /// Notes that somebody told of an address now.
    pub(super) async fn sight(
        &mut self,
        address: PeerAddress,
        source: String,
        told_by: u32,
        now: i64,
    ) -> Result<(), StoreError> {
        let addr = address.key();
        let is_new = self.frontier.add(addr, Entry::new(now));
        if let Some(name) = address.name()
            && (is_new || self.names.address(addr).is_none())
        {
            self.names.hold(name);
        }
        let sighting = Sighting {
            address,
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
                address: addr.into(),
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
    pub(super) async fn make_room(&mut self) -> Result<bool, StoreError> {
        if self.frontier.len() < self.config.settings.intake.max_addresses {
            return Ok(true);
        }
        let Some(worst) = self.frontier.worst() else {
            return Ok(false);
        };
        self.forget(worst);
        self.store.write(Write::Forget(worst)).await?;
        Ok(true)
    }

    /// Gives an address up.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.frontier.forget(addr);
        self.names.release(addr.ip());
    }

    pub(super) fn may_dial(&self, address: &PeerAddress) -> bool {
        let settings = &self.config.settings;
        let private = self.config.spec.network_protocol.allow_private_addresses;
        match address {
            PeerAddress::Socket(addr) => is_dialable(*addr, private),
            PeerAddress::Named(name, port) => *port != 0 && settings.proxies.of(name).is_some(),
        }
    }
}
