//! The connection manager: which connections we open and keep, when DNS is asked, when to fall back.
//!
//! Pure: what happened, the time and randomness come in as arguments, and [`Action`]s come out, so that one and the same
//! code runs in the node and in simulations of whole networks. The address book is part of it.
//!
//! ```text
//! told, met, failed, gone, block, tip ──> [Connections] ── poll ──> dial, hang up, ask DNS
//!                                          book · manual · own · fallback · extras
//! ```
//! Known addresses first, the last session's anchors among them. DNS is asked at once when the book is empty, and otherwise
//! when few peers stand after a while; the chain spec's bootstrap nodes are dialled when DNS gave nothing, or did not help in
//! time. A full but useless book blocks neither.

mod by_hand;
mod dialling;
mod extras;
mod fallback;
mod manual;
mod own;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use tracing::info;

use self::extras::Extras;
use self::fallback::{Fallback, Fresh};
use self::manual::ManualPeers;
use self::own::OwnAddresses;
pub use self::terms::{Action, Failure, Moment, Purpose, Settings, View};
use super::address_book::AddressBook;
use super::protocol::addresses::Gossip;
use crate::reachability::netgroup::canonical_socket;

/// Seconds for which the second address of a node that we have dialled is left alone.
const DUPLICATE_REST: u64 = 3_600;

/// Peers of the last session that are dialled first: with two of them that were honest, nobody who has filled the book
/// meanwhile has the node for himself (Bitcoin Core's number).
const ANCHORS: usize = 2;

/// How long block-only peers stand with no full one before one of them becomes it: longer than dials in a working network take.
const WITHOUT_FULL: Duration = Duration::from_secs(30);

/// A dial in progress.
#[derive(Debug, Clone, Copy)]
struct Dial {
    purpose: Purpose,
    since: Instant,
}

/// A connection of ours that stands.
#[derive(Debug, Clone, Copy)]
struct Outbound {
    purpose: Purpose,
    since: Instant,
    /// When it last was first to give us a block.
    last_block: Option<Instant>,
    /// We have ended it, which is nothing against its address.
    leaving: bool,
}

/// The connection manager.
#[derive(Debug)]
pub struct Connections {
    settings: Settings,
    started: Instant,
    book: AddressBook,
    manual: ManualPeers,
    own: OwnAddresses,
    dialing: BTreeMap<SocketAddr, Dial>,
    /// Of those, whom the operator wants this once.
    once: BTreeSet<SocketAddr>,
    outbound: BTreeMap<SocketAddr, Outbound>,
    fallback: Fallback,
    fresh: Fresh,
    extras: Extras,
    /// Since when block-only connections stand and no full one.
    without_full: Option<Instant>,
    /// When the last feeler was sent, or when we started.
    feeler_last: Instant,
}

impl Connections {
    /// Nobody is connected yet; the anchors of `book` are dialled first.
    #[must_use]
    pub fn new(settings: Settings, book: AddressBook, now: Instant) -> Self {
        Self {
            started: now,
            manual: ManualPeers::default(),
            own: OwnAddresses::default(),
            dialing: BTreeMap::new(),
            once: BTreeSet::new(),
            outbound: BTreeMap::new(),
            fallback: Fallback::default(),
            fresh: Fresh::default(),
            extras: Extras::new(now, &settings),
            without_full: None,
            feeler_last: now,
            settings,
            book,
        }
    }

    /// Peers to be connected to at all times.
    pub fn add_manual(&mut self, addr: SocketAddr, now: Instant) {
        self.manual.add(canonical_socket(addr), now);
    }

    /// An address of ours: told by the operator, or proven. Never hearsay.
    pub fn add_own(&mut self, addr: SocketAddr) {
        let addr = canonical_socket(addr);
        self.manual.remove(addr);
        self.own.add(addr);
        self.book.forget(addr);
    }

    /// Whether it is the operator's choice.
    #[must_use]
    pub fn is_manual(&self, addr: SocketAddr) -> bool {
        self.manual.contains(addr)
    }

    /// Whether it is ours.
    #[must_use]
    pub fn is_own(&self, addr: SocketAddr) -> bool {
        self.own.contains(addr)
    }

    /// The address book, for the next session.
    #[must_use]
    pub fn into_book(mut self) -> AddressBook {
        self.keep_anchors();
        self.book
    }

    /// The address book.
    #[must_use]
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// The address book, to note what a peer has shown.
    pub fn book_mut(&mut self) -> &mut AddressBook {
        &mut self.book
    }

    /// Somebody told of an address. True when it is new.
    pub fn heard(&mut self, gossip: Gossip, source: &str) -> bool {
        !self.is_own(gossip.addr) && self.book.add(gossip, source)
    }

    /// A DNS seed told of an address.
    pub fn heard_from_dns<R: Rng>(&mut self, gossip: Gossip, seed: &str, rng: &mut R) -> bool {
        if !self.is_own(gossip.addr) {
            self.fresh.add(canonical_socket(gossip.addr), seed, rng);
        }
        // Each seed has its own share of the book: a poisoned one can't fill that of the others.
        self.heard(gossip, &format!("dns:{seed}"))
    }

    /// A round of DNS is over.
    pub fn dns_answered(&mut self, gave_addresses: bool) {
        self.fallback.answered(gave_addresses);
    }

    /// What it is time for.
    pub fn poll<R: Rng>(&mut self, now: Moment, view: View<'_>, rng: &mut R) -> Vec<Action> {
        let mut actions = self.dial_manual(now);
        if self.settings.full == 0 {
            return actions;
        }
        self.extras.poll(now.at, rng);
        actions.extend(self.make_one_full(now.at));
        actions.extend(self.hang_up_surplus(now, view));
        for purpose in [Purpose::Full, Purpose::BlockOnly] {
            self.fill(purpose, now, view, rng, &mut actions);
        }
        actions.extend(self.send_feeler(now, view, rng));
        self.fall_back(now, view, &mut actions);
        actions
    }

    /// Both handshakes with `addr` are over.
    ///
    /// # Errors
    /// With the reason, where the connection is not to be kept.
    pub fn established(&mut self, addr: SocketAddr, now: Instant) -> Result<Purpose, &'static str> {
        let purpose = self.dialing.remove(&addr).map(|dial| dial.purpose);
        let purpose = purpose.unwrap_or(Purpose::Feeler);
        if purpose == Purpose::Feeler {
            return Err("it was a feeler");
        }
        let chosen = self.once.remove(&addr) || self.is_manual(addr);
        if !chosen && self.count(purpose) >= self.target(purpose) {
            return Err("enough outbound peers");
        }
        let outbound = Outbound {
            purpose,
            since: now,
            last_block: None,
            leaving: false,
        };
        self.outbound.insert(addr, outbound);
        Ok(purpose)
    }

    /// A dial was given up by us.
    pub fn given_up(&mut self, addr: SocketAddr) {
        self.once.remove(&addr);
        self.dialing.remove(&addr);
    }

    /// A dial came to nothing. It may be tried in another way at once.
    pub fn failed<R: Rng>(
        &mut self,
        addr: SocketAddr,
        failure: Failure,
        now: u64,
        rng: &mut R,
    ) -> Option<Action> {
        let dial = self.dialing.remove(&addr);
        if failure != Failure::Downgraded {
            self.once.remove(&addr);
        }
        match failure {
            Failure::Downgraded => {
                self.book.speaks_noise(addr, now);
                return dial.and_then(|dial| self.dial(addr, dial.purpose, dial.since));
            }
            Failure::Ourselves => self.add_own(addr),
            Failure::SameNode => self.book.rest(addr, now + DUPLICATE_REST),
            Failure::KeyUnanswered => {
                self.book.doubt_key(addr);
                self.book.failed(addr, now, rng);
            }
            Failure::Unreachable => self.book.failed(addr, now, rng),
        }
        None
    }

    /// A connection of ours that stood is over.
    pub fn gone<R: Rng>(&mut self, addr: SocketAddr, now: Moment, rng: &mut R) {
        let Some(outbound) = self.outbound.remove(&addr) else {
            return;
        };
        let stood = now.at.saturating_duration_since(outbound.since);
        self.manual.gone(addr, stood, now.at);
        if !outbound.leaving {
            self.book.failed(addr, now.unix, rng);
        }
    }

    /// A peer of ours was the first to give us a block.
    pub fn gave_block(&mut self, addr: SocketAddr, now: Instant) {
        if let Some(outbound) = self.outbound.get_mut(&addr) {
            outbound.last_block = Some(now);
        }
    }

    /// The verified tip moved.
    pub fn tip_moved(&mut self, now: Instant) {
        self.extras.tip_moved(now);
    }

    /// Whether we have what all our peers have; until then nobody looks around for more.
    pub fn set_synced(&mut self, synced: bool) {
        self.extras.set_synced(synced);
    }

    /// Whom the next session should dial first: the block-only peers that have stood longest, since nobody else knows of them;
    /// where none are kept, full ones. The book keeps them; while none stand it keeps those that it had.
    pub fn keep_anchors(&mut self) {
        let purpose = self.anchors_are();
        let outbound = self.outbound.iter();
        let mut outbound: Vec<_> = outbound.filter(|(_, o)| o.purpose == purpose).collect();
        outbound.sort_by_key(|(_, o)| o.since);
        let anchors = outbound.into_iter().take(ANCHORS);
        let anchors: Vec<_> = anchors.map(|(addr, _)| *addr).collect();
        if !anchors.is_empty() {
            self.book.set_anchors(anchors);
        }
    }

    fn anchors_are(&self) -> Purpose {
        if self.settings.block_only > 0 {
            Purpose::BlockOnly
        } else {
            Purpose::Full
        }
    }

    /// Connections of ours that stand.
    #[must_use]
    pub fn outbound(&self) -> usize {
        self.outbound.len()
    }

    fn count(&self, purpose: Purpose) -> usize {
        let standing = self.outbound.values();
        standing.filter(|o| o.purpose == purpose).count()
    }

    fn target(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Full => self.settings.full + usize::from(self.extras.wants_full()),
            Purpose::BlockOnly => {
                self.settings.block_only + usize::from(self.extras.wants_block_only())
            }
            Purpose::Feeler => 0,
        }
    }

    fn dial(&mut self, addr: SocketAddr, purpose: Purpose, since: Instant) -> Option<Action> {
        let addr = canonical_socket(addr);
        if self.dialing.contains_key(&addr) || self.outbound.contains_key(&addr) {
            return None;
        }
        self.dialing.insert(addr, Dial { purpose, since });
        Some(Action::Dial(addr, purpose))
    }

    /// Ends connections that were made beyond the targets, when it is known which are worth least.
    fn hang_up_surplus(&mut self, now: Moment, view: View<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        for purpose in [Purpose::Full, Purpose::BlockOnly] {
            let Some((addr, reason)) = self.surplus(purpose, now.at, view) else {
                continue;
            };
            self.extras.was_settled(purpose);
            actions.extend(self.hang_up(addr, reason));
        }
        actions
    }

    fn hang_up(&mut self, addr: SocketAddr, reason: &'static str) -> Option<Action> {
        let outbound = self.outbound.get_mut(&addr)?;
        outbound.leaving = true;
        Some(Action::HangUp(addr, reason))
    }

    /// In a network of two or three nodes all may be peers for blocks alone, left from the last session. Then one of them is
    /// given up, and found again for everything.
    fn make_one_full(&mut self, now: Instant) -> Option<Action> {
        if self.count(Purpose::Full) > 0 || self.count(Purpose::BlockOnly) == 0 {
            self.without_full = None;
            return None;
        }
        let since = *self.without_full.get_or_insert(now);
        if now.saturating_duration_since(since) < WITHOUT_FULL {
            return None;
        }
        self.without_full = None;
        let youngest = self.outbound.iter().max_by_key(|(_, o)| o.since);
        let addr = *youngest?.0;
        self.hang_up(addr, "it is wanted for more than blocks")
    }

    fn fall_back(&mut self, now: Moment, view: View<'_>, actions: &mut Vec<Action>) {
        // Block-only peers tell of nobody, and whoever dials us must not keep us from finding others.
        let full = self.count(Purpose::Full);
        let few = full < fallback::FEW_PEERS.min(self.settings.full);
        let running = now.at.saturating_duration_since(self.started);
        if !self.settings.asks_dns {
            self.fallback.answered(false);
        } else if few
            && self
                .fallback
                .asks_dns(now.at, running, self.book.counts().0 == 0)
        {
            self.fresh.clear();
            actions.push(Action::AskDns);
        }
        let nodes = &self.settings.bootstrap_nodes;
        let waited = running >= self.settings.bootstrap_after;
        if full == 0 && !nodes.is_empty() && self.fallback.bootstraps(now.at, waited) {
            info!("dialling the bootstrap nodes");
            for addr in nodes.clone() {
                if !self.is_own(addr) && !(view.banned)(addr) {
                    actions.extend(self.dial(addr, Purpose::Full, now.at));
                }
            }
        }
    }
}
