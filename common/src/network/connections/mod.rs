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

mod extras;
mod fallback;
mod manual;
mod own;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use serde::Serialize;
use tracing::{debug, info};

use self::extras::Extras;
use self::fallback::{Fallback, Fresh};
use self::manual::ManualPeers;
use self::own::OwnAddresses;
use super::address_book::AddressBook;
use super::protocol::addresses::Gossip;
use crate::reachability::netgroup::canonical_socket;

/// Dials for one purpose in progress at most; more than the open places, because some addresses are always dead.
const MAX_DIALS: usize = 16;

/// Seconds for which the second address of a node that we have dialled is left alone.
const DUPLICATE_REST: u64 = 3_600;

/// Peers of the last session that are dialled first: with two of them that were honest, nobody who has filled the book
/// meanwhile has the node for himself (Bitcoin Core's number).
const ANCHORS: usize = 2;

/// A moment, by both clocks: the one that only goes forward, and the one that files and messages know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For pauses.
    pub at: Instant,
    /// Unix seconds.
    pub unix: u64,
}

/// What a connection that we open is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Blocks, transactions and addresses.
    Full,
    /// Blocks alone: whoever watches how transactions and addresses spread learns nothing of it, and so can't cut the node off
    /// by attacking the peers that he has found (Bitcoin Core's block-relay-only connections).
    BlockOnly,
    /// Only to see who is there.
    Feeler,
}

impl Purpose {
    /// As status says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::BlockOnly => "block_only",
            Self::Feeler => "feeler",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Dial this address; [`Connections::established`] or [`Connections::failed`] hears how it went.
    Dial(SocketAddr, Purpose),
    /// End the connection to this address.
    HangUp(SocketAddr, &'static str),
    /// Ask the DNS seeds; [`Connections::dns_answered`] hears when that is over.
    AskDns,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Our own identity was proven to us there.
    Ourselves,
    /// A connection to the same node stands.
    SameNode,
    /// By TLS, and the node there speaks Noise.
    Downgraded,
    /// It did not answer to the key that it had.
    KeyUnanswered,
    /// Anything else.
    Unreachable,
}

/// What the manager asks about others while it decides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Whether a host is not to be dialled.
    pub banned: &'a dyn Fn(SocketAddr) -> bool,
    /// Whether a peer is about to give us what we asked it for.
    pub busy: &'a dyn Fn(SocketAddr) -> bool,
}

/// The numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Full connections to keep, manual peers among them; with 0 nobody is dialled but manual peers.
    pub full: usize,
    /// Block-only connections to keep.
    pub block_only: usize,
    /// Pause between two feelers.
    pub feeler_every: Duration,
    /// Mean pause between looks for a better chain elsewhere, by one more block-only connection.
    pub look_around_every: Duration,
    /// With no new block for so long one more full connection is made.
    pub stale_after: Duration,
    /// How long DNS is given before the bootstrap nodes are tried.
    pub bootstrap_after: Duration,
    /// Dialled when DNS gives nothing.
    pub bootstrap_nodes: Vec<SocketAddr>,
    /// Whether there are seeds to ask.
    pub asks_dns: bool,
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
    dialing: BTreeMap<SocketAddr, Purpose>,
    outbound: BTreeMap<SocketAddr, Outbound>,
    fallback: Fallback,
    fresh: Fresh,
    extras: Extras,
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
            outbound: BTreeMap::new(),
            fallback: Fallback::default(),
            fresh: Fresh::default(),
            extras: Extras::new(now, settings.look_around_every),
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
            self.fresh.add(gossip.addr, rng);
        }
        // Each seed has its own share of the book: a poisoned one can't fill that of the others.
        self.heard(gossip, &format!("dns:{seed}"))
    }

    /// A round of DNS is over.
    pub fn dns_answered(&mut self, gave_addresses: bool) {
        self.fallback.answered(gave_addresses);
    }

    /// The dials of the start, to those that the last session ended with: as block-only connections, which is what they were.
    pub fn first_dials(&mut self, view: View<'_>) -> Vec<Action> {
        if self.settings.full == 0 {
            return Vec::new();
        }
        let purpose = if self.settings.block_only > 0 {
            Purpose::BlockOnly
        } else {
            Purpose::Full
        };
        let anchors = self.book.anchors().to_vec();
        let dials = anchors.into_iter().filter_map(|addr| {
            let unwanted = (view.banned)(addr) || self.is_own(addr);
            (!unwanted).then(|| self.dial(addr, purpose)).flatten()
        });
        dials.collect()
    }

    /// What it is time for.
    pub fn poll<R: Rng>(&mut self, now: Moment, view: View<'_>, rng: &mut R) -> Vec<Action> {
        let mut actions = self.dial_manual(now);
        if self.settings.full == 0 {
            return actions;
        }
        self.extras.poll(now.at, self.settings.stale_after, rng);
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
        let purpose = self.dialing.remove(&addr).unwrap_or(Purpose::Feeler);
        if purpose == Purpose::Feeler {
            return Err("it was a feeler");
        }
        if !self.is_manual(addr) && self.count(purpose) >= self.target(purpose) {
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
        let purpose = self.dialing.remove(&addr);
        match failure {
            Failure::Downgraded => {
                self.book.speaks_noise(addr, now);
                return self.dial(addr, purpose?);
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

    /// Whom the next session should dial first: those that have stood longest, the block-only ones before others, since nobody
    /// else knows of them. The book keeps them; with nobody connected it keeps those that it had.
    pub fn keep_anchors(&mut self) {
        let mut outbound: Vec<_> = self.outbound.iter().collect();
        outbound.sort_by_key(|(_, o)| (o.purpose != Purpose::BlockOnly, o.since));
        let anchors = outbound.into_iter().take(ANCHORS);
        let anchors: Vec<_> = anchors.map(|(addr, _)| *addr).collect();
        if !anchors.is_empty() {
            self.book.set_anchors(anchors);
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
            Purpose::BlockOnly if self.settings.block_only == 0 => 0,
            Purpose::BlockOnly => {
                self.settings.block_only + usize::from(self.extras.wants_block_only())
            }
            Purpose::Feeler => 0,
        }
    }

    fn dial(&mut self, addr: SocketAddr, purpose: Purpose) -> Option<Action> {
        let addr = canonical_socket(addr);
        if self.dialing.contains_key(&addr) || self.outbound.contains_key(&addr) {
            return None;
        }
        self.dialing.insert(addr, purpose);
        Some(Action::Dial(addr, purpose))
    }

    fn dial_manual(&mut self, now: Moment) -> Vec<Action> {
        let (dialing, outbound) = (&self.dialing, &self.outbound);
        let busy = |addr: &SocketAddr| dialing.contains_key(addr) || outbound.contains_key(addr);
        let due = self.manual.due(now.at, busy);
        let dials = due.into_iter();
        dials.filter_map(|a| self.dial(a, Purpose::Full)).collect()
    }

    /// Those whose netgroups are taken.
    fn taken(&self) -> HashSet<SocketAddr> {
        self.outbound
            .keys()
            .chain(self.dialing.keys())
            .copied()
            .collect()
    }

    /// Dials for the open places of one purpose.
    fn fill<R: Rng>(
        &mut self,
        purpose: Purpose,
        now: Moment,
        view: View<'_>,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) {
        let open = self.target(purpose).saturating_sub(self.count(purpose));
        let dialing = self.dialing.values().filter(|p| **p == purpose).count();
        let room = (open * 2).min(MAX_DIALS).saturating_sub(dialing);
        if open == 0 || room == 0 {
            return;
        }
        let mut taken = self.taken();
        let own = &self.own;
        let excluded = |addr: &SocketAddr| own.contains(*addr) || (view.banned)(*addr);
        let mut chosen = Vec::new();
        if purpose == Purpose::Full && self.outbound() < fallback::FEW_PEERS {
            // The book may be full of what leads nowhere: what DNS has just told has half of the dials.
            let fresh = self.fresh.draw(room.div_ceil(2), rng);
            chosen = self.book.choose_among(&fresh, &taken, excluded, now.unix);
            taken.extend(&chosen);
        }
        let left = room.saturating_sub(chosen.len());
        chosen.extend(self.book.choose(left, &taken, excluded, now.unix, rng));
        for addr in chosen {
            actions.extend(self.dial(addr, purpose));
        }
    }

    /// Dials somebody only to see who is there, so that we know whom to dial when we need somebody, and so that those whom
    /// we know by hearsay only don't stay that for ever. With places open, who is dialled for them tells as much.
    fn send_feeler<R: Rng>(&mut self, now: Moment, view: View<'_>, rng: &mut R) -> Option<Action> {
        let full = self.count(Purpose::Full) >= self.settings.full;
        // There is one place beyond the targets.
        let taken = self.extras.wants_any();
        if !full || taken || now.at < self.feeler_last + self.settings.feeler_every {
            return None;
        }
        self.feeler_last = now.at;
        let (dialing, outbound, own) = (&self.dialing, &self.outbound, &self.own);
        let excluded = |addr: &SocketAddr| {
            dialing.contains_key(addr)
                || outbound.contains_key(addr)
                || own.contains(*addr)
                || (view.banned)(*addr)
        };
        let addr = self.book.feeler(excluded, now.unix, rng)?;
        debug!(%addr, "a feeler");
        self.dial(addr, Purpose::Feeler)
    }

    /// Ends connections that were made beyond the targets, when it is known which are worth least.
    fn hang_up_surplus(&mut self, now: Moment, view: View<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        for purpose in [Purpose::Full, Purpose::BlockOnly] {
            let Some((addr, reason)) = self.surplus(purpose, now.at, view) else {
                continue;
            };
            if let Some(outbound) = self.outbound.get_mut(&addr) {
                outbound.leaving = true;
            }
            self.extras.was_settled(purpose);
            actions.push(Action::HangUp(addr, reason));
        }
        actions
    }

    fn fall_back(&mut self, now: Moment, view: View<'_>, actions: &mut Vec<Action>) {
        let outbound = self.outbound();
        let few = outbound < fallback::FEW_PEERS.min(self.settings.full);
        let running = now.at.saturating_duration_since(self.started);
        if !self.settings.asks_dns {
            self.fallback.answered(false);
        } else if few
            && self
                .fallback
                .asks_dns(now.at, running, self.book.counts().0 == 0)
        {
            actions.push(Action::AskDns);
        }
        // Inbound peers do not count: whoever dials us must not keep us from finding others.
        let nodes = &self.settings.bootstrap_nodes;
        let waited = running >= self.settings.bootstrap_after;
        if outbound == 0 && !nodes.is_empty() && self.fallback.bootstraps(now.at, waited) {
            info!("dialling the bootstrap nodes");
            for addr in nodes.clone() {
                if !self.is_own(addr) && !(view.banned)(addr) {
                    actions.extend(self.dial(addr, Purpose::Full));
                }
            }
        }
    }
}
