//! What the operator does to connections while the node runs.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Action, Connections, Purpose};
use crate::network::security::operator::Network;
use crate::reachability::netgroup::canonical_socket;

/// Seconds for which an address that the operator hung up on is not dialled by itself.
const DROPPED_REST: u64 = 3_600;

impl Connections {
    /// How many peers are to be connected to at all times.
    #[must_use]
    pub fn manual_count(&self) -> usize {
        self.manual.len()
    }

    /// Dials an address now, once, and keeps the connection even if all places are taken; later it is one like any other.
    /// `None` if it is being dialled, or connected.
    pub fn dial_once(&mut self, addr: SocketAddr, now: Instant) -> Option<Action> {
        let addr = canonical_socket(addr);
        let action = self.dial(addr, Purpose::Full, now);
        if action.is_some() {
            self.once.insert(addr);
        }
        action
    }

    /// Nobody is to be connected to at this address for now: it is no manual peer any more, and left alone for an hour; that
    /// the connection ends is nothing against it. Whether it was a manual peer.
    pub fn leave(&mut self, addr: SocketAddr, now: u64) -> bool {
        let addr = canonical_socket(addr);
        if let Some(outbound) = self.outbound.get_mut(&addr) {
            outbound.leaving = true;
        }
        self.book.rest(addr, now + DROPPED_REST);
        self.manual.remove(addr)
    }

    /// No peer of this network is to be connected to at all times. How many were.
    pub fn forget_manual(&mut self, network: Network) -> usize {
        self.manual.remove_all(|addr| network.contains(addr.ip()))
    }
}
