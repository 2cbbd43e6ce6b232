//! Header synchronisation: which peer to ask, from where on, and when to ask another.
//!
//! Until the first outbound peer has told all that it knows, one peer of each direction is asked at a
//! time, so that a crowd can't make us download the same headers many times; each peer that does not
//! answer makes room for one more, so that a crowd of silent ones does not hold us up either. Then every
//! peer is asked once after it connects, so that each tells what it knows; those who have more than one
//! message to tell still tell it one at a time. Inbound peers choose us, so what they say never ends the
//! first pass.
//!
//! A *round* is all that one peer tells, message by message. Each question after the first begins at the
//! last header of the answer before it, not at our best header: so a chain that leaves ours further back
//! than one message can tell is read to its end, whatever work its first headers have. It goes on only
//! while each answer follows the one before it, so it ends at the height that a chain may have; and one
//! that takes long makes room for another peer. So nobody who feeds us headers without work keeps us from
//! hearing of those with work.
//!
//! Headers are checked beside the driver: [`HeaderSync::check_began`]. The next question to that peer waits
//! for the result, and the time is not held against the peer.
//!
//! A peer that does not answer in time is passed over, never punished: slow is not hostile. One that is
//! passed over twice without an answer in between is useless, and the driver is told so.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use crate::chain::BlockRef;

/// Headers in one `headers` message; fewer means that the peer has no more. Protocol constant of Bitcoin.
pub const HEADERS_PER_MESSAGE: usize = 2_000;

/// How long a peer may take to answer `getheaders`. 162 kB at 16 kB/s, the slowest link that we care for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer that did not answer is left alone while there are others. Long enough that a busy peer
/// has caught its breath, short enough that a silent one is found out within minutes.
const REST: Duration = Duration::from_secs(60);

/// How long a round may take before another peer is asked beside it. A million headers come in about 80 s
/// at 1 MB/s; the second peer tells only what is still missing then.
const ROUND_PATIENCE: Duration = Duration::from_secs(30);

/// Unanswered questions in a row after which a peer counts as silent.
const MISSES_TO_BE_SILENT: u32 = 2;

/// What the driver must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderAction<P> {
    /// Send `getheaders` with our locator, behind this hash where there is one: the last header that the
    /// peer told in this round.
    Ask(P, Option<BlockHash>),
    /// The peer did not answer in time.
    PassedOver(P),
    /// The peer did not answer in time, nor the time before: nothing is lost with it.
    Silent(P),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked yet.
    Waiting,
    /// Asked at this time.
    Asked(Instant),
    /// Told us all that it knows.
    Done,
    /// Did not answer in time, or with what we could not use, and rests since then.
    Resting(Instant),
}

#[derive(Debug)]
struct Peer {
    outbound: bool,
    state: State,
    /// The last header of the round, if one is under way.
    told: Option<BlockRef>,
    /// It announced something unknown while its answer was under way.
    news: bool,
    /// Unanswered questions in a row.
    misses: u32,
    /// Since when headers of this peer are being checked.
    checking: Option<Instant>,
    /// When the round under way began, …
    round: Option<Instant>,
    /// … and whether it takes longer than [`ROUND_PATIENCE`].
    slow: bool,
}

/// The state machine; `P` names a peer.
#[derive(Debug)]
pub struct HeaderSync<P> {
    peers: HashMap<P, Peer>,
    order: Vec<P>,
    /// Whether some outbound peer has told us all that it knows.
    first_pass_done: bool,
}

impl<P: Copy + Eq + Hash> Default for HeaderSync<P> {
    fn default() -> Self {
        Self {
            peers: HashMap::new(),
            order: Vec::new(),
            first_pass_done: false,
        }
    }
}

impl<P: Copy + Eq + Hash> HeaderSync<P> {
    /// A peer finished its handshake and may be asked; `outbound` when we chose it.
    pub fn peer_joined(&mut self, peer: P, outbound: bool) {
        let joined = Peer {
            outbound,
            state: State::Waiting,
            told: None,
            news: false,
            misses: 0,
            checking: None,
            round: None,
            slow: false,
        };
        if self.peers.insert(peer, joined).is_none() {
            self.order.push(peer);
        }
    }

    /// A peer is gone.
    pub fn peer_left(&mut self, peer: P) {
        self.peers.remove(&peer);
        self.order.retain(|p| *p != peer);
    }

    /// A peer announced something that we do not know: ask it again, after its answer if one is under way.
    pub fn peer_has_news(&mut self, peer: P) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            match peer.state {
                State::Done | State::Resting(_) => peer.state = State::Waiting,
                State::Asked(_) => peer.news = true,
                State::Waiting => {}
            }
        }
    }

    /// Headers of this peer are being checked from now on: one message at a time.
    pub fn check_began(&mut self, peer: P, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.checking = Some(now);
        }
    }

    /// The check is over. Call before what became of the headers is told; the time that it took is ours.
    pub fn check_ended(&mut self, peer: P, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(began) = peer.checking.take() else {
            return;
        };
        let took = now.saturating_duration_since(began);
        if let State::Asked(since) = &mut peer.state {
            *since += took;
        }
        if let Some(since) = &mut peer.round {
            *since += took;
        }
    }

    /// Headers of this peer were thrown away unread: an answer is asked for again after a rest, an
    /// announcement soon.
    pub fn on_dropped(&mut self, peer: P, now: Instant) {
        let asked = self.peers.get(&peer).map(|p| p.state);
        if matches!(asked, Some(State::Asked(_))) {
            self.on_unusable(peer, now);
        } else {
            self.peer_has_news(peer);
        }
    }

    /// A peer sent `count` headers, all of them valid; `last` is the last of them, `None` for an empty
    /// message. What was not asked for changes nothing here. True when it answers our question.
    ///
    /// A full message continues the round if all of it is above the one before it; else a peer could feed
    /// us headers for ever.
    pub fn on_answer(&mut self, peer: P, count: usize, last: Option<BlockRef>) -> bool {
        let Some(peer) = self.peers.get_mut(&peer) else {
            return false;
        };
        if !matches!(peer.state, State::Asked(_)) {
            return false;
        }
        peer.misses = 0;
        let least = |told: BlockRef| told.height as usize + HEADERS_PER_MESSAGE;
        let further = last.filter(|last| {
            peer.told
                .is_none_or(|told| last.height as usize >= least(told))
        });
        if count >= HEADERS_PER_MESSAGE && further.is_some() {
            peer.told = further;
            peer.state = State::Waiting;
            return true;
        }
        let news = peer.news;
        peer.end_round(if news { State::Waiting } else { State::Done });
        self.first_pass_done |= peer.outbound;
        true
    }

    /// A peer sent headers that could not be taken: if it was asked, it rests. Not for announcements whose
    /// parent is unknown; those are [`Self::peer_has_news`].
    pub fn on_unusable(&mut self, peer: P, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && matches!(peer.state, State::Asked(_))
        {
            peer.rest(now);
        }
    }

    /// What to do now. Call after each event and about once a second.
    pub fn poll(&mut self, now: Instant) -> Vec<HeaderAction<P>> {
        let mut actions = self.find_overdue(now);
        self.ask_some(true, now, &mut actions);
        self.ask_some(false, now, &mut actions);
        actions
    }

    fn find_overdue(&mut self, now: Instant) -> Vec<HeaderAction<P>> {
        let mut actions = Vec::new();
        for id in &self.order {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            let long = |since| now.saturating_duration_since(since) >= ROUND_PATIENCE;
            peer.slow = peer.round.is_some_and(long);
            if let State::Asked(since) = peer.state
                && peer.checking.is_none()
                && now.saturating_duration_since(since) >= ANSWER_TIMEOUT
            {
                peer.rest(now);
                peer.misses += 1;
                actions.push(if peer.misses >= MISSES_TO_BE_SILENT {
                    HeaderAction::Silent(*id)
                } else {
                    HeaderAction::PassedOver(*id)
                });
            }
        }
        actions
    }

    /// Asks peers of one direction, as many as there is room for.
    fn ask_some(&mut self, outbound: bool, now: Instant, actions: &mut Vec<HeaderAction<P>>) {
        let these = || self.peers.values().filter(|p| p.outbound == outbound);
        let asking = these()
            .filter(|p| matches!(p.state, State::Asked(_)))
            .count();
        let waiting = these().any(|p| p.state == State::Waiting);
        let unhelpful = these().filter(|p| p.misses > 0 || p.slow).count();
        let most = if self.first_pass_done {
            usize::MAX
        } else {
            1 + unhelpful
        };
        // For questions after a round's first.
        let telling = these().filter(|p| p.told.is_some() && p.is_busy());
        let mut places = (1 + unhelpful).saturating_sub(telling.count());
        // Nobody else is there to be asked: no reason to let anybody rest.
        let no_rest = !self.first_pass_done && asking == 0 && !waiting;
        for peer in self.peers.values_mut() {
            if let State::Resting(since) = peer.state
                && peer.outbound == outbound
                && (no_rest || now.saturating_duration_since(since) >= REST)
            {
                peer.state = State::Waiting;
            }
        }
        let mut room = most.saturating_sub(asking);
        for id in &self.order {
            if room == 0 {
                break;
            }
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            if peer.outbound != outbound || peer.state != State::Waiting || peer.is_busy() {
                continue;
            }
            if peer.told.is_some() {
                if places == 0 {
                    continue;
                }
                places -= 1;
            }
            peer.state = State::Asked(now);
            peer.round.get_or_insert(now);
            actions.push(HeaderAction::Ask(*id, peer.told.map(|told| told.hash)));
            room -= 1;
        }
    }

    /// Whether each of `peers` has told all that it knows, was passed over or takes too long, and at least
    /// one has told.
    pub fn all_told(&self, peers: impl Iterator<Item = P>) -> bool {
        let mut told = 0;
        for peer in peers.filter_map(|p| self.peers.get(&p)) {
            match peer.state {
                State::Done => told += 1,
                State::Resting(_) => {}
                State::Waiting | State::Asked(_) if peer.slow => {}
                State::Waiting | State::Asked(_) => return false,
            }
        }
        told > 0
    }
}

impl Peer {
    /// Whether it has a question to answer, or an answer of it is being checked.
    fn is_busy(&self) -> bool {
        matches!(self.state, State::Asked(_)) || self.checking.is_some()
    }

    /// Ends the round without an answer.
    fn rest(&mut self, now: Instant) {
        self.end_round(State::Resting(now));
    }

    fn end_round(&mut self, state: State) {
        self.state = state;
        self.told = None;
        self.news = false;
        self.round = None;
        self.slow = false;
    }
}

#[cfg(test)]
mod tests;
