//! The hub's half of address exchange: greeting, answering `getaddr`, believing and passing on gossip.

use std::net::SocketAddr;
use std::time::Instant;

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_compact_blocks::SendCmpct;
use rand::seq::IteratorRandom;

use super::{Hub, PeerId};
use crate::network::peer::session::unix_now;
use crate::network::protocol::addresses::{self, Gossip};
use crate::network::protocol::compact_blocks;
use crate::network::protocol::version::Direction;
use crate::network::security::offence::Offence;
use crate::reachability::Netgroup;

/// Announcements of at most so many addresses are passed on (Bitcoin Core's rule): larger ones are answers.
const MAX_RELAYED: usize = 10;

/// Lists of more addresses than this are answers, and nobody asked for this one: Bitcoin Core collects what it passes on for
/// half a minute, which are a few.
const LONG_LIST: usize = 100;

/// Such lists that a connection may bring all the same: left to what we don't know.
const MAX_LONG_LISTS: u32 = 2;

/// Peers that hear of a new address from us (Bitcoin Core's figure).
const RELAY_FANOUT: usize = 2;

impl Hub {
    /// The first words to a new peer.
    pub(super) fn greet(&mut self, id: PeerId) {
        self.send(id, NetworkMessage::SendHeaders);
        // Low bandwidth: nothing comes unasked.
        self.send(
            id,
            NetworkMessage::SendCmpct(SendCmpct {
                send_compact: false,
                version: compact_blocks::VERSION,
            }),
        );
        self.greet_relay(id);
        let now = unix_now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let (addr, direction) = (peer.handle.addr, peer.handle.direction);
        let (services, addrv2) = (
            peer.handle.version.services,
            peer.handle.version.wants_addrv2,
        );
        let seen = peer.handle.version.our_addr_seen;
        if direction == Direction::Outbound {
            peer.bucket.asked();
            let remote = peer.handle.remote.clone();
            self.note_met(addr, &remote, services);
            self.send(id, NetworkMessage::GetAddr);
            if let Some(seen) = seen {
                self.external.vote(addr, seen.ip());
            }
        }
        if let Some(own) = self.external_address() {
            let own = Gossip {
                addr: own.addr,
                services: self.local.services,
                time: now as u32,
            };
            self.send(id, addresses::write(&[own], addrv2));
        }
    }

    pub(super) fn on_get_addr(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        // Once a connection and only to those who dialled us: asking again would map the book, and our own
        // outbound peers could fingerprint it.
        if std::mem::replace(&mut peer.told_addresses, true)
            || peer.handle.direction == Direction::Outbound
        {
            return;
        }
        let addrv2 = peer.handle.version.wants_addrv2;
        let answer = self.book.answer(unix_now() as u32, &mut rand::rng());
        self.send(id, addresses::write(&answer, addrv2));
    }

    pub(super) fn on_addresses(&mut self, id: PeerId, list: Vec<Gossip>, solicited: bool) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let taken = peer.bucket.take(list.len(), Instant::now());
        if !solicited && list.len() > LONG_LIST {
            peer.long_lists += 1;
            if peer.long_lists > MAX_LONG_LISTS {
                let origin = peer.handle.origin();
                let reason = "long lists of addresses that nobody asked for";
                return self.punish(origin, Offence::AddressSpam, reason);
            }
        }
        let source = self.source_group(id);
        let mut fresh = Vec::new();
        for gossip in list.iter().take(taken) {
            if !self.dials.is_own(&gossip.addr) && self.book.add(*gossip, &source) {
                fresh.push(*gossip);
            }
        }
        self.metrics.addresses(taken, list.len() - taken);
        if !solicited && !fresh.is_empty() && list.len() <= MAX_RELAYED {
            self.relay(id, &fresh);
        }
        if !fresh.is_empty() {
            self.dial_more();
        }
    }

    fn relay(&self, from: PeerId, fresh: &[Gossip]) {
        let targets = self
            .peers
            .iter()
            .filter(|(id, _)| **id != from)
            .map(|(id, p)| (*id, p.handle.version.wants_addrv2))
            .choose_multiple(&mut rand::rng(), RELAY_FANOUT);
        for (id, addrv2) in targets {
            self.send(id, addresses::write(fresh, addrv2));
        }
    }

    /// The source under which a peer's gossip is counted: its netgroup, or itself on a devnet.
    fn source_group(&self, id: PeerId) -> String {
        let addr = self.peers.get(&id).map(|p| p.handle.addr);
        addr.map_or_else(String::new, |addr: SocketAddr| {
            if self.local.spec.network_protocol.allow_private_addresses {
                addr.ip().to_string()
            } else {
                Netgroup::of(addr.ip()).to_string()
            }
        })
    }
}
