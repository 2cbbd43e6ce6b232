//! The hub's half of address exchange: greeting, answering `getaddr`, believing and passing on gossip.

use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_compact_blocks::SendCmpct;
use rand::seq::IteratorRandom;

use super::{Hub, Peer, PeerId};
use crate::network::connections::Purpose;
use crate::network::peer::session::unix_now;
use crate::network::protocol::addresses::{self, Gossip, MAX_RELAYED, RELAY_FANOUT};
use crate::network::protocol::compact_blocks;
use crate::network::protocol::version::Direction;
use crate::network::security::offence::Offence;

/// Lists of more addresses than this are answers, and nobody asked for this one: Bitcoin Core collects what it passes on for
/// half a minute, which are a few.
const LONG_LIST: usize = 100;

/// Such lists that a connection may bring all the same: left to what we don't know.
const MAX_LONG_LISTS: u32 = 2;

/// Mean pause between two announcements of our own address to one peer (Bitcoin Core's figure): often enough that nobody
/// takes us for gone, whose horizon is thirty days.
const ADVERTISE_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// The longest pause, in means.
const LONGEST_PAUSE: f64 = 5.0;

impl Peer {
    /// Whether addresses are exchanged with it: not over block-only connections, whose place in the network nobody is to see, and
    /// with those who dialled us from when they have shown that they do (Bitcoin Core's rule).
    fn exchanges_addresses(&self) -> bool {
        self.advertise.is_some()
    }
}

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
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(purpose) = peer.purpose else {
            return;
        };
        let (addr, services) = (peer.handle.addr, peer.handle.version.services);
        let (remote, seen) = (
            peer.handle.remote.clone(),
            peer.handle.version.our_addr_seen,
        );
        if purpose == Purpose::Full {
            peer.bucket.asked();
            peer.advertise = Some(Instant::now());
            self.send(id, NetworkMessage::GetAddr);
        }
        self.note_met(addr, &remote, services);
        if let Some(seen) = seen {
            self.on_seen_at(addr, seen.ip());
        }
        self.advertise();
    }

    /// Tells those peers where we are to be found for which it is time.
    pub(super) fn advertise(&mut self) {
        let now = Instant::now();
        let is_due = |peer: &Peer| peer.advertise.is_some_and(|at| at <= now);
        if !self.peers.values().any(is_due) {
            return;
        }
        // Until we know where that is, it stays due.
        let own = self.external_addresses();
        if !own.is_empty() {
            let own: Vec<_> = own
                .iter()
                .map(|own| Gossip {
                    addr: own.addr,
                    services: self.local.services,
                    time: unix_now() as u32,
                })
                .collect();
            let mut due = Vec::new();
            for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| is_due(peer)) {
                peer.advertise = Some(now + next_advertisement());
                due.push((*id, peer.handle.version.wants_addrv2));
            }
            for (id, addrv2) in due {
                self.send(id, addresses::write(&own, addrv2));
            }
        }
    }

    /// A peer that dialled us exchanges addresses.
    fn note_exchange(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.purpose.is_none()
            && peer.advertise.is_none()
        {
            peer.advertise = Some(Instant::now());
        }
    }

    pub(super) fn on_get_addr(&mut self, id: PeerId) {
        self.note_exchange(id);
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
        let asker = peer.handle.addr;
        let book = self.connections.book_mut();
        let answer = book.answer(asker, unix_now(), &mut rand::rng());
        self.send(id, addresses::write(&answer, addrv2));
        self.advertise();
    }

    pub(super) fn on_addresses(&mut self, id: PeerId, list: Vec<Gossip>, solicited: bool) {
        self.note_exchange(id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.exchanges_addresses() {
            self.metrics.addresses(0, list.len());
            return;
        }
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
            if self.connections.heard(*gossip, &source) {
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
            .filter(|(id, peer)| **id != from && peer.exchanges_addresses())
            .map(|(id, p)| (*id, p.handle.version.wants_addrv2))
            .choose_multiple(&mut rand::rng(), RELAY_FANOUT);
        for (id, addrv2) in targets {
            self.send(id, addresses::write(fresh, addrv2));
        }
    }

    /// The source under which a peer's gossip is counted: its netgroup, or itself on a devnet.
    pub(super) fn source_group(&self, id: PeerId) -> String {
        let addr = self.peers.get(&id).map(|p| p.handle.addr);
        addr.map_or_else(String::new, |addr| {
            if self.local.spec.network_protocol.allow_private_addresses {
                addr.ip().to_string()
            } else {
                self.config.netgroups.of(addr.ip()).to_string()
            }
        })
    }
}

/// Exponentially distributed, so that announcements can't be followed from peer to peer.
fn next_advertisement() -> Duration {
    let means = -(1.0 - rand::random::<f64>()).ln();
    ADVERTISE_EVERY.mul_f64(means.min(LONGEST_PAUSE))
}
