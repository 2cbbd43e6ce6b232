//! Header synchronisation: which peer to ask, and when to ask another.
//!
//! Until the first full answer chain is read, one peer at a time is asked, so that a crowd can't make us
//! download the same headers many times; then every peer is asked once after it connects, so that each
//! tells what it knows. A peer that does not answer in time is passed over, never punished: slow is not
//! hostile.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Headers in one `headers` message; fewer means that the peer has no more. Protocol constant of Bitcoin.
pub const HEADERS_PER_MESSAGE: usize = 2_000;

/// How long a peer may take to answer `getheaders`. 162 kB at 16 kB/s, the slowest link that we care for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the driver must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderAction<P> {
    /// Send `getheaders` with our locator.
    Ask(P),
    /// The peer did not answer in time; another was asked.
    PassedOver(P),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked yet.
    Waiting,
    /// Asked at this time.
    Asked(Instant),
    /// Told us all that it knows.
    Done,
    /// Did not answer in time; asked again only when nobody else is left.
    Slow,
}

/// The state machine; `P` names a peer.
#[derive(Debug)]
pub struct HeaderSync<P> {
    peers: HashMap<P, State>,
    order: Vec<P>,
    /// Whether some peer has told us all that it knows.
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
    /// A peer finished its handshake and may be asked.
    pub fn peer_joined(&mut self, peer: P) {
        if self.peers.insert(peer, State::Waiting).is_none() {
            self.order.push(peer);
        }
    }

    /// A peer is gone.
    pub fn peer_left(&mut self, peer: P) {
        self.peers.remove(&peer);
        self.order.retain(|p| *p != peer);
    }

    /// A peer announced something that we do not know: ask it again.
    pub fn peer_has_news(&mut self, peer: P) {
        if let Some(state @ (State::Done | State::Slow)) = self.peers.get_mut(&peer) {
            *state = State::Waiting;
        }
    }

    /// Whether a `headers` message of this peer answers our question.
    pub fn is_asked(&self, peer: P) -> bool {
        matches!(self.peers.get(&peer), Some(State::Asked(_)))
    }

    /// A peer answered with `count` headers, all of them valid; `progressed` says whether the last of
    /// them was one that we could not have asked past before. Without progress a full message ends the
    /// round as well, or a peer could feed us the same headers for ever.
    pub fn on_answer(&mut self, peer: P, count: usize, progressed: bool) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        if count >= HEADERS_PER_MESSAGE && progressed {
            *state = State::Waiting;
        } else {
            *state = State::Done;
            self.first_pass_done = true;
        }
    }

    /// What to do now. Call after each event and about once a second.
    pub fn poll(&mut self, now: Instant) -> Vec<HeaderAction<P>> {
        let mut actions = Vec::new();
        for peer in &self.order {
            if let Some(state) = self.peers.get_mut(peer)
                && let State::Asked(since) = *state
                && now.saturating_duration_since(since) >= ANSWER_TIMEOUT
            {
                *state = State::Slow;
                actions.push(HeaderAction::PassedOver(*peer));
            }
        }
        let asking = self
            .peers
            .values()
            .filter(|s| matches!(s, State::Asked(_)))
            .count();
        let most = if self.first_pass_done { usize::MAX } else { 1 };
        let mut room = most.saturating_sub(asking);
        for wanted in [State::Waiting, State::Slow] {
            // The slow are asked again only while nobody has ever answered.
            if wanted == State::Slow && (self.first_pass_done || asking > 0 || !actions.is_empty())
            {
                continue;
            }
            for peer in &self.order {
                if room == 0 {
                    break;
                }
                if let Some(state) = self.peers.get_mut(peer)
                    && *state == wanted
                {
                    *state = State::Asked(now);
                    actions.push(HeaderAction::Ask(*peer));
                    room -= 1;
                }
            }
        }
        actions
    }

    /// Whether each of `peers` has told all that it knows, or was passed over.
    pub fn all_told(&self, mut peers: impl Iterator<Item = P>) -> bool {
        self.first_pass_done
            && peers.all(|p| matches!(self.peers.get(&p), Some(State::Done | State::Slow) | None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HeaderAction::{Ask, PassedOver};

    #[test]
    fn one_peer_at_a_time_until_the_first_has_told_all() {
        let now = Instant::now();
        let mut sync = HeaderSync::default();
        sync.peer_joined(1);
        sync.peer_joined(2);
        assert_eq!(sync.poll(now), [Ask(1)]);
        assert_eq!(sync.poll(now), []);
        sync.on_answer(1, HEADERS_PER_MESSAGE, true);
        assert_eq!(
            sync.poll(now),
            [Ask(1)],
            "a full message means that there is more"
        );
        sync.on_answer(1, 7, true);
        assert_eq!(sync.poll(now), [Ask(2)]);
        assert!(!sync.all_told([1, 2].into_iter()));
        sync.on_answer(2, 0, false);
        assert!(sync.all_told([1, 2].into_iter()));
    }

    #[test]
    fn a_silent_peer_is_passed_over_and_tried_again_when_alone() {
        let now = Instant::now();
        let mut sync = HeaderSync::default();
        sync.peer_joined(1);
        assert_eq!(sync.poll(now), [Ask(1)]);
        sync.peer_joined(2);
        let later = now + ANSWER_TIMEOUT;
        assert_eq!(sync.poll(later), [PassedOver(1), Ask(2)]);
        sync.peer_left(2);
        assert_eq!(sync.poll(later), [Ask(1)]);
    }

    #[test]
    fn the_same_full_message_again_and_again_ends_the_round() {
        let now = Instant::now();
        let mut sync = HeaderSync::default();
        sync.peer_joined(1);
        assert_eq!(sync.poll(now), [Ask(1)]);
        sync.on_answer(1, HEADERS_PER_MESSAGE, false);
        assert_eq!(sync.poll(now), []);
    }

    #[test]
    fn news_reopen_the_conversation() {
        let now = Instant::now();
        let mut sync = HeaderSync::default();
        sync.peer_joined(1);
        sync.poll(now);
        sync.on_answer(1, 0, false);
        assert_eq!(sync.poll(now), []);
        sync.peer_has_news(1);
        assert_eq!(sync.poll(now), [Ask(1)]);
        assert!(sync.is_asked(1));
    }
}
