//! Header synchronisation: which peer to ask, from where on, and when to ask another.
//!
//! Until the first outbound peer has told all that it knows, one peer of each direction is asked at a
//! time, so that a crowd can't make us download the same headers many times; each peer that does not
//! answer makes room for one more, so that a crowd of silent ones does not hold us up either. Then every
//! peer is asked once after it connects, so that each tells what it knows. Inbound peers choose us, so
//! what they say never ends the first pass.
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
            if let Some(peer) = self.peers.get_mut(id)
                && peer.outbound == outbound
                && peer.state == State::Waiting
                && peer.checking.is_none()
            {
                peer.state = State::Asked(now);
                peer.round.get_or_insert(now);
                actions.push(HeaderAction::Ask(*id, peer.told.map(|told| told.hash)));
                room -= 1;
            }
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
mod tests {
    use bitcoin::hashes::Hash as _;

    use super::*;
    use HeaderAction::{Ask, PassedOver, Silent};

    fn header(height: u32) -> Option<BlockRef> {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&height.to_le_bytes());
        Some(BlockRef {
            height,
            hash: BlockHash::from_byte_array(bytes),
        })
    }

    fn hash(height: u32) -> Option<BlockHash> {
        header(height).map(|h| h.hash)
    }

    fn outbound(peers: &[u32]) -> HeaderSync<u32> {
        let mut sync = HeaderSync::default();
        for peer in peers {
            sync.peer_joined(*peer, true);
        }
        sync
    }

    #[test]
    fn one_peer_at_a_time_until_the_first_has_told_all() {
        let now = Instant::now();
        let mut sync = outbound(&[1, 2]);
        assert_eq!(sync.poll(now), [Ask(1, None)]);
        assert_eq!(sync.poll(now), []);
        assert!(sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000)));
        assert_eq!(
            sync.poll(now),
            [Ask(1, hash(2_000))],
            "a full message means that there is more, from its end on"
        );
        sync.on_answer(1, 7, header(2_007));
        assert_eq!(sync.poll(now), [Ask(2, None)]);
        assert!(!sync.all_told([1, 2].into_iter()));
        sync.on_answer(2, 0, None);
        assert!(sync.all_told([1, 2].into_iter()));
    }

    #[test]
    fn a_silent_peer_is_passed_over_and_tried_again_when_alone() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        assert_eq!(sync.poll(now), [Ask(1, None)]);
        sync.peer_joined(2, true);
        let later = now + ANSWER_TIMEOUT;
        assert_eq!(sync.poll(later), [PassedOver(1), Ask(2, None)]);
        sync.peer_left(2);
        assert_eq!(sync.poll(later), [Ask(1, None)]);
    }

    #[test]
    fn a_peer_that_misses_twice_in_a_row_is_silent() {
        let mut now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        now += ANSWER_TIMEOUT;
        assert_eq!(sync.poll(now), [PassedOver(1), Ask(1, None)]);
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
        sync.poll(now);
        now += ANSWER_TIMEOUT;
        assert_eq!(
            sync.poll(now)[0],
            PassedOver(1),
            "an answer wipes the slate"
        );
        now += ANSWER_TIMEOUT;
        assert_eq!(sync.poll(now)[0], Silent(1));
    }

    #[test]
    fn a_peer_that_missed_is_asked_again_after_a_rest() {
        let now = Instant::now();
        let mut sync = outbound(&[1, 2]);
        sync.poll(now);
        let later = now + ANSWER_TIMEOUT;
        assert_eq!(sync.poll(later), [PassedOver(1), Ask(2, None)]);
        sync.on_answer(2, 0, None);
        assert!(
            sync.all_told([1, 2].into_iter()),
            "the passed over are not waited for"
        );
        assert_eq!(sync.poll(later + REST - Duration::from_secs(1)), []);
        assert_eq!(sync.poll(later + REST), [Ask(1, None)]);
    }

    #[test]
    fn a_crowd_of_silent_peers_does_not_hold_up_the_one_that_answers() {
        let start = Instant::now();
        let mut sync = outbound(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let mut asked_at = None;
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            if sync.poll(now).contains(&Ask(8, None)) {
                asked_at.get_or_insert(second);
            }
        }
        assert!(asked_at.is_some_and(|at| at <= 30), "{asked_at:?}");
    }

    #[test]
    fn inbound_peers_neither_delay_outbound_ones_nor_end_the_first_pass() {
        let now = Instant::now();
        let mut sync = HeaderSync::default();
        for peer in 1..=3 {
            sync.peer_joined(peer, false);
        }
        sync.peer_joined(4, true);
        sync.peer_joined(5, true);
        assert_eq!(sync.poll(now), [Ask(4, None), Ask(1, None)]);
        sync.on_answer(1, 0, None);
        assert_eq!(sync.poll(now), [Ask(2, None)]);
        sync.on_answer(4, 0, None);
        assert_eq!(sync.poll(now), [Ask(5, None), Ask(3, None)]);
    }

    #[test]
    fn what_was_not_asked_for_is_no_answer() {
        let now = Instant::now();
        let mut sync = outbound(&[1, 2]);
        sync.poll(now);
        assert!(!sync.on_answer(2, 0, None));
        assert_eq!(sync.poll(now), [], "the first pass goes on");
        assert!(!sync.all_told([1, 2].into_iter()));
        assert!(!sync.all_told([2].into_iter()));
    }

    #[test]
    fn silence_is_not_knowledge() {
        let now = Instant::now();
        let mut sync = outbound(&[1, 2]);
        sync.poll(now);
        sync.on_unusable(1, now);
        sync.poll(now);
        sync.on_unusable(2, now);
        assert!(
            !sync.all_told([1, 2].into_iter()),
            "nobody has told anything"
        );
    }

    #[test]
    fn a_round_goes_on_through_known_headers_as_long_as_it_rises() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        for height in [2_000, 4_000, 6_000] {
            sync.poll(now);
            sync.on_answer(1, HEADERS_PER_MESSAGE, header(height));
        }
        assert_eq!(sync.poll(now), [Ask(1, hash(6_000))]);
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(6_000));
        assert_eq!(sync.poll(now), [], "the same headers again end the round");
        sync.peer_has_news(1);
        assert_eq!(sync.poll(now), [Ask(1, None)], "a new round starts anew");
    }

    #[test]
    fn a_round_that_makes_no_headway_ends() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
        assert_eq!(sync.poll(now), [Ask(1, hash(2_000))]);
        // Another chain, one header higher: that could go on for ever.
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_001));
        assert_eq!(sync.poll(now), []);
        assert!(sync.all_told([1].into_iter()));
    }

    #[test]
    fn a_peer_that_feeds_us_slowly_does_not_keep_the_others_from_being_heard() {
        let start = Instant::now();
        let mut sync = outbound(&[1, 2, 3]);
        let mut asked = None;
        let mut height = 0;
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            for action in sync.poll(now) {
                match action {
                    Ask(1, _) => {
                        height += 2_000;
                        sync.on_answer(1, HEADERS_PER_MESSAGE, header(height));
                    }
                    Ask(2, _) => {
                        asked.get_or_insert(second);
                        sync.on_answer(2, 0, None);
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(asked, Some(ROUND_PATIENCE.as_secs()));
        sync.on_answer(3, 0, None);
        assert!(
            sync.all_told([2, 1].into_iter()),
            "its round is not waited for"
        );
    }

    #[test]
    fn the_time_of_a_check_is_not_the_peers() {
        let start = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(start);
        let arrived = start + ANSWER_TIMEOUT - Duration::from_secs(1);
        sync.check_began(1, arrived);
        let late = arrived + 10 * ANSWER_TIMEOUT;
        assert_eq!(sync.poll(late), [], "our disk is slow, not the peer");
        // What arrived was an announcement; the answer is still to come.
        sync.check_ended(1, late);
        sync.peer_has_news(1);
        assert_eq!(sync.poll(late), []);
        let overdue = late + Duration::from_secs(1);
        assert_eq!(sync.poll(overdue)[0], PassedOver(1));
    }

    #[test]
    fn the_next_question_waits_for_the_check() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        sync.on_answer(1, 0, None);
        // An announcement is being checked when it tells of something unknown as well.
        sync.check_began(1, now);
        sync.peer_has_news(1);
        assert_eq!(sync.poll(now), []);
        sync.check_ended(1, now);
        assert!(!sync.on_answer(1, 1, header(1)), "nobody had asked");
        assert_eq!(sync.poll(now), [Ask(1, None)]);
    }

    #[test]
    fn what_was_dropped_unread_is_asked_for_again() {
        let now = Instant::now();
        let mut sync = outbound(&[1, 2]);
        sync.poll(now);
        sync.on_dropped(1, now);
        assert_eq!(sync.poll(now), [Ask(2, None)], "an answer after a rest");
        sync.on_answer(2, 0, None);
        sync.on_dropped(2, now);
        assert_eq!(sync.poll(now), [Ask(2, None)], "an announcement at once");
        sync.on_answer(2, 0, None);
        assert_eq!(sync.poll(now + REST), [Ask(1, None)]);
    }

    #[test]
    fn a_time_out_ends_the_round() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        sync.on_answer(1, HEADERS_PER_MESSAGE, header(2_000));
        sync.poll(now);
        let later = now + ANSWER_TIMEOUT;
        assert_eq!(sync.poll(later), [PassedOver(1), Ask(1, None)]);
    }

    #[test]
    fn an_announcement_that_overtakes_the_answer_is_asked_about_after_it() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        sync.peer_has_news(1);
        assert_eq!(sync.poll(now), [], "the question stands");
        assert!(sync.on_answer(1, 5, header(5)));
        assert!(!sync.all_told([1].into_iter()));
        assert_eq!(sync.poll(now), [Ask(1, None)]);
        sync.on_answer(1, 1, header(6));
        assert!(sync.all_told([1].into_iter()));
    }

    #[test]
    fn news_reopen_the_conversation() {
        let now = Instant::now();
        let mut sync = outbound(&[1]);
        sync.poll(now);
        sync.on_answer(1, 0, None);
        assert_eq!(sync.poll(now), []);
        sync.peer_has_news(1);
        assert_eq!(sync.poll(now), [Ask(1, None)]);
    }
}
