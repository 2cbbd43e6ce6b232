//! Is it them or is it us? The world is not dead when our own network is down.
//!
//! Pure. A failure that may be local (no route, no answer to the dial) of a peer that was good is held back
//! until something else connects: then the network was up and the failure counts. When [`SUSPECTS`] such
//! failures pile up within a minute without a single connection to anybody, our own network is taken to be
//! down: the failures held back, and all that follow, become `local_network_down`, which touches no
//! statistics, until anything connects again.
//!
//! On a small network eight good peers do not fail within a minute by themselves. So when a failure has been held back for
//! some seconds, other good peers are asked to be visited at once ([`Weathers::wants_canaries`]): one that connects says that the
//! network is up, and when all good peers there are have failed it is down.
//!
//! Each [`Road`] has a weather of its own ([`Weathers`]), for one of them can be down alone. One that is, while others connect,
//! is doubted after [`ALONE_SECS`]: perhaps its few peers are gone. Only when nothing connects by any is the crawl frozen.

use std::collections::VecDeque;
use std::net::IpAddr;

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::overlay::{OverlayKind, kind_of};

/// Failures of good peers in a row, without one connection, that mean that we are down. If each of the good
/// peers fails one visit in ten on its own, eight in a row happen once in 10^8 visits.
pub const SUSPECTS: usize = 8;

/// Longest time that a failure is held back, in seconds: the minute within which a collapse is looked for.
pub const HOLD_SECS: i64 = 60;

/// So long a failure is held back before canaries are visited, in seconds: where many peers are visited somebody has connected by
/// then.
pub const CANARIES_AFTER_SECS: i64 = 5;

/// So long one road may be down while others connect, in seconds: the usual time between two visits of a good peer.
pub const ALONE_SECS: i64 = 1_800;

/// The ways to peers: what goes by one says nothing of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// The proxy to onion services.
    Onion,
    /// The proxy to I2P.
    I2p,
}

impl Road {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V4, Self::V6, Self::Onion, Self::I2p];

    /// The way to an address, or to the name that it stands for.
    pub fn to(ip: IpAddr) -> Self {
        match (kind_of(ip), ip) {
            (Some(OverlayKind::Onion), _) => Self::Onion,
            (Some(OverlayKind::I2p), _) => Self::I2p,
            (None, IpAddr::V4(_)) => Self::V4,
            (None, IpAddr::V6(_)) => Self::V6,
        }
    }

    /// Its name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            Self::Onion => "onion services",
            Self::I2p => "I2P",
        }
    }

    /// Whether a proxy leads there.
    pub const fn is_proxy(self) -> bool {
        matches!(self, Self::Onion | Self::I2p)
    }
}

/// What to do with finished probes.
#[derive(Debug, PartialEq, Eq)]
pub struct Ruling<T> {
    /// These count as they are.
    pub count: Vec<T>,
    /// These are `local_network_down`.
    pub void: Vec<T>,
    /// Whether the road just went down (`Some(true)`) or came back (`Some(false)`).
    pub change: Option<bool>,
}

impl<T> Ruling<T> {
    fn counts(count: Vec<T>) -> Self {
        Self {
            count,
            void: Vec::new(),
            change: None,
        }
    }
}

/// Watches finished probes of one road; `T` is a probe.
#[derive(Debug)]
struct Weather<T> {
    held: VecDeque<(i64, T)>,
    /// So many failures that are held back mean that we are down.
    enough: usize,
    canaries_sent: bool,
    down_since: Option<i64>,
    connected_at: Option<i64>,
    /// It was down for long while others were not: failures count until something connects.
    distrusted: bool,
}

impl<T> Default for Weather<T> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            enough: SUSPECTS,
            canaries_sent: false,
            down_since: None,
            connected_at: None,
            distrusted: false,
        }
    }
}

impl<T> Weather<T> {
    fn is_down(&self) -> bool {
        self.down_since.is_some()
    }

    fn observe(&mut self, probe: T, outcome: Outcome, was_good: bool, now: i64) -> Ruling<T> {
        if outcome.was_connected() || outcome == Outcome::Refused {
            return self.connected(probe, now);
        }
        // It counts for nothing as it is, and says the same of all others.
        if outcome == Outcome::ProxyDown {
            let mut ruling = self.collapse(now);
            ruling.count.push(probe);
            return ruling;
        }
        if self.is_down() {
            return Ruling {
                void: vec![probe],
                ..Ruling::counts(Vec::new())
            };
        }
        let mut count = self.release(now);
        if self.distrusted || !was_good || !outcome.may_be_local() {
            count.push(probe);
            return Ruling::counts(count);
        }
        self.held.push_back((now, probe));
        if self.held.len() < self.enough {
            return Ruling::counts(count);
        }
        Ruling {
            count,
            ..self.collapse(now)
        }
    }

    /// All that is held back is void.
    fn collapse(&mut self, now: i64) -> Ruling<T> {
        let change = (!self.is_down()).then_some(true);
        self.down_since.get_or_insert(now);
        self.calm();
        Ruling {
            count: Vec::new(),
            void: self.drain(),
            change,
        }
    }

    /// Something answered: the network is up, and what was held back counts.
    fn connected(&mut self, probe: T, now: i64) -> Ruling<T> {
        let mut count = self.drain();
        count.push(probe);
        let change = self.is_down().then_some(false);
        self.down_since = None;
        self.connected_at = Some(now);
        self.distrusted = false;
        self.calm();
        Ruling {
            change,
            ..Ruling::counts(count)
        }
    }

    /// It has been down for so long alone that it may be its peers after all.
    fn distrust(&mut self) {
        self.down_since = None;
        self.distrusted = true;
    }

    fn release(&mut self, now: i64) -> Vec<T> {
        let mut released = Vec::new();
        while self
            .held
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > HOLD_SECS)
        {
            released.extend(self.held.pop_front().map(|(_, probe)| probe));
        }
        if self.held.is_empty() {
            self.calm();
        }
        released
    }

    fn wants_canaries(&self, now: i64) -> bool {
        let oldest = self.held.front().map(|(at, _)| now.saturating_sub(*at));
        !self.canaries_sent && oldest.is_some_and(|age| age >= CANARIES_AFTER_SECS)
    }

    fn canaries_sent(&mut self, outstanding: usize, now: i64) -> Option<Ruling<T>> {
        self.canaries_sent = true;
        let all = self.held.len() + outstanding;
        // One peer alone may well be gone.
        if all < 2 {
            return None;
        }
        self.enough = SUSPECTS.min(all);
        (self.held.len() >= self.enough).then(|| self.collapse(now))
    }

    fn calm(&mut self) {
        (self.enough, self.canaries_sent) = (SUSPECTS, false);
    }

    fn drain(&mut self) -> Vec<T> {
        self.held.drain(..).map(|(_, probe)| probe).collect()
    }
}

/// The weather of all roads.
#[derive(Debug)]
pub struct Weathers<T> {
    v4: Weather<T>,
    v6: Weather<T>,
    onion: Weather<T>,
    i2p: Weather<T>,
}

impl<T> Default for Weathers<T> {
    fn default() -> Self {
        Self {
            v4: Weather::default(),
            v6: Weather::default(),
            onion: Weather::default(),
            i2p: Weather::default(),
        }
    }
}

impl<T> Weathers<T> {
    /// A probe by this road finished at `now` (Unix seconds). `was_good` says whether its peer's probe before passed.
    pub fn observe(
        &mut self,
        road: Road,
        probe: T,
        outcome: Outcome,
        was_good: bool,
        now: i64,
    ) -> Ruling<T> {
        let was_down = self.of(road).is_down();
        if let Some(since) = self.of(road).down_since
            && now.saturating_sub(since) > ALONE_SECS
            && self.others(road).any(|w| w.connected_at > Some(since))
        {
            self.of_mut(road).distrust();
        }
        let mut ruling = self.of_mut(road).observe(probe, outcome, was_good, now);
        let is_down = self.of(road).is_down();
        ruling.change = (was_down != is_down).then_some(is_down);
        ruling
    }

    /// Whether nothing goes by any road: one is down, and by no other has anything connected within the last minute before
    /// that, or since.
    pub fn is_frozen(&self, now: i64) -> bool {
        let Some(since) = self.all().filter_map(|w| w.down_since).max() else {
            return false;
        };
        // For a minute others are given the benefit of what they did before.
        let fresh = now.saturating_sub(since) <= HOLD_SECS;
        let from = if fresh { since - HOLD_SECS } else { since };
        let mut up = self.all().filter(|w| !w.is_down());
        !up.any(|w| w.connected_at.is_some_and(|at| at >= from))
    }

    /// Whether a road is down.
    pub fn is_down(&self, road: Road) -> bool {
        self.of(road).is_down()
    }

    /// The roads by which failures have been held back for so long that canaries should say whose they are.
    pub fn wants_canaries(&self, now: i64) -> Vec<Road> {
        let all = Road::ALL.into_iter();
        all.filter(|road| self.of(*road).wants_canaries(now))
            .collect()
    }

    /// Besides those whose failures are held back, so many good peers of this road are being visited, canaries among them. When
    /// all of them fail as well, or there are none, we are down.
    pub fn canaries_sent(&mut self, road: Road, outstanding: usize, now: i64) -> Option<Ruling<T>> {
        self.of_mut(road).canaries_sent(outstanding, now)
    }

    /// How many failures of a road are held back.
    pub fn held(&self, road: Road) -> usize {
        self.of(road).held.len()
    }

    /// Takes out what was held back for too long without a collapse.
    pub fn release(&mut self, now: i64) -> Vec<T> {
        let all = Road::ALL.into_iter();
        all.flat_map(|road| self.of_mut(road).release(now))
            .collect()
    }

    /// Takes out all that is held back, at the end of a run.
    pub fn drain(&mut self) -> Vec<T> {
        let all = Road::ALL.into_iter();
        all.flat_map(|road| self.of_mut(road).drain()).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Weather<T>> {
        Road::ALL.into_iter().map(|road| self.of(road))
    }

    fn others(&self, road: Road) -> impl Iterator<Item = &Weather<T>> {
        let others = Road::ALL.into_iter().filter(move |other| *other != road);
        others.map(|other| self.of(other))
    }

    fn of(&self, road: Road) -> &Weather<T> {
        match road {
            Road::V4 => &self.v4,
            Road::V6 => &self.v6,
            Road::Onion => &self.onion,
            Road::I2p => &self.i2p,
        }
    }

    fn of_mut(&mut self, road: Road) -> &mut Weather<T> {
        match road {
            Road::V4 => &mut self.v4,
            Road::V6 => &mut self.v6,
            Road::Onion => &mut self.onion,
            Road::I2p => &mut self.i2p,
        }
    }
}

#[cfg(test)]
mod tests;
