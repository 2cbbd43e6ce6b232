//! Is it them or is it us? The world is not dead when our own network is down.
//!
//! Pure. A failure that may be local (no route, no answer to the dial) of a peer that was good is held back
//! until something else connects: then the network was up and the failure counts. When [`SUSPECTS`] such
//! failures pile up within a minute without a single connection to anybody, our own network is taken to be
//! down: the failures held back, and all that follow, become `local_network_down`, which touches no
//! statistics, until anything connects again.
//!
//! IPv4, IPv6 and what is reached by a proxy have a weather each ([`Weathers`]): one of them can be down alone.

use std::collections::VecDeque;
use std::net::IpAddr;

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::overlay::is_stand_in;

/// Failures of good peers in a row, without one connection, that mean that we are down. If each of the good
/// peers fails one visit in ten on its own, eight in a row happen once in 10^8 visits.
pub const SUSPECTS: usize = 8;

/// Longest time that a failure is held back, in seconds: the minute within which a collapse is looked for.
pub const HOLD_SECS: i64 = 60;

/// The ways to peers: what goes by one says nothing of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// A proxy.
    Proxy,
}

impl Road {
    /// The way to an address, or to the name that it stands for.
    pub fn to(ip: IpAddr) -> Self {
        match ip {
            _ if is_stand_in(ip) => Self::Proxy,
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What to do with finished probes.
#[derive(Debug, PartialEq, Eq)]
pub struct Ruling<T> {
    /// These count as they are.
    pub count: Vec<T>,
    /// These are `local_network_down`.
    pub void: Vec<T>,
    /// Whether our network just went down (`Some(true)`) or came back (`Some(false)`).
    pub change: Option<bool>,
}

/// Watches finished probes; `T` is a probe.
#[derive(Debug)]
pub struct Weather<T> {
    held: VecDeque<(i64, T)>,
    down: bool,
}

impl<T> Default for Weather<T> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            down: false,
        }
    }
}

impl<T> Weather<T> {
    /// Whether our own network is taken to be down.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// A probe finished at `now` (Unix seconds). `was_good` says whether its peer's probe before passed.
    pub fn observe(&mut self, probe: T, outcome: Outcome, was_good: bool, now: i64) -> Ruling<T> {
        if outcome.was_connected() || outcome == Outcome::Refused {
            return self.connected(probe);
        }
        if self.down {
            return Ruling {
                count: Vec::new(),
                void: vec![probe],
                change: None,
            };
        }
        let mut count = self.release(now);
        if was_good && outcome.may_be_local() {
            self.held.push_back((now, probe));
        } else {
            count.push(probe);
        }
        if self.held.len() < SUSPECTS {
            return Ruling {
                count,
                void: Vec::new(),
                change: None,
            };
        }
        self.down = true;
        let void = self.held.drain(..).map(|(_, probe)| probe).collect();
        Ruling {
            count,
            void,
            change: Some(true),
        }
    }

    /// Something answered: the network is up, and what was held back counts.
    fn connected(&mut self, probe: T) -> Ruling<T> {
        let mut count: Vec<T> = self.held.drain(..).map(|(_, probe)| probe).collect();
        count.push(probe);
        let change = self.down.then_some(false);
        self.down = false;
        Ruling {
            count,
            void: Vec::new(),
            change,
        }
    }

    /// Takes out what was held back for too long without a collapse.
    pub fn release(&mut self, now: i64) -> Vec<T> {
        let mut released = Vec::new();
        while self
            .held
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > HOLD_SECS)
        {
            released.extend(self.held.pop_front().map(|(_, probe)| probe));
        }
        released
    }

    /// Takes out all that is held back, at the end of a run.
    pub fn drain(&mut self) -> Vec<T> {
        self.held.drain(..).map(|(_, probe)| probe).collect()
    }
}

/// The weather of both families of addresses, and of those that are reached by a proxy.
#[derive(Debug)]
pub struct Weathers<T> {
    v4: Weather<T>,
    v6: Weather<T>,
    overlay: Weather<T>,
    was_down: bool,
}

impl<T> Default for Weathers<T> {
    fn default() -> Self {
        Self {
            v4: Weather::default(),
            v6: Weather::default(),
            overlay: Weather::default(),
            was_down: false,
        }
    }
}

impl<T> Weathers<T> {
    /// As [`Weather::observe`], in the family of the peer; the change that it tells is one of [`Self::is_down`].
    pub fn observe(
        &mut self,
        ip: IpAddr,
        probe: T,
        outcome: Outcome,
        was_good: bool,
        now: i64,
    ) -> Ruling<T> {
        let mut ruling = self.family(ip).observe(probe, outcome, was_good, now);
        let down = self.is_down();
        ruling.change = (down != self.was_down).then_some(down);
        self.was_down = down;
        ruling
    }

    /// Whether our own network is down for one of the families: a proxy that is down leaves the rest as it is.
    pub fn is_down(&self) -> bool {
        self.v4.is_down() || self.v6.is_down()
    }

    /// Whether it is down for peers like this one.
    pub fn is_down_for(&self, ip: IpAddr) -> bool {
        match Road::to(ip) {
            Road::V4 => self.v4.is_down(),
            Road::V6 => self.v6.is_down(),
            Road::Proxy => self.overlay.is_down(),
        }
    }

    /// As [`Weather::release`], of all.
    pub fn release(&mut self, now: i64) -> Vec<T> {
        let mut released = self.v4.release(now);
        released.extend(self.v6.release(now));
        released.extend(self.overlay.release(now));
        released
    }

    /// As [`Weather::drain`], of all.
    pub fn drain(&mut self) -> Vec<T> {
        let mut held = self.v4.drain();
        held.extend(self.v6.drain());
        held.extend(self.overlay.drain());
        held
    }

    fn family(&mut self, ip: IpAddr) -> &mut Weather<T> {
        match Road::to(ip) {
            Road::V4 => &mut self.v4,
            Road::V6 => &mut self.v6,
            Road::Proxy => &mut self.overlay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_can_be_down_alone() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut w = Weathers::default();
        for i in 1..SUSPECTS {
            assert_eq!(w.observe(v6, i, Outcome::Unreachable, true, 0).change, None);
            assert_eq!(w.observe(v4, i, Outcome::Ok, true, 0).count, [i]);
        }
        let ruling = w.observe(v6, SUSPECTS, Outcome::Unreachable, true, 1);
        assert_eq!((ruling.void.len(), ruling.change), (SUSPECTS, Some(true)));
        assert!(w.is_down() && w.is_down_for(v6) && !w.is_down_for(v4));
        // A failure by IPv4 counts, and what connects by it says nothing of IPv6.
        assert_eq!(w.observe(v4, 98, Outcome::Refused, true, 2).count, [98]);
        assert_eq!(w.observe(v6, 99, Outcome::Unreachable, true, 2).void, [99]);
        let ruling = w.observe(v6, 100, Outcome::Ok, true, 3);
        assert_eq!((ruling.count, ruling.change), (vec![100], Some(false)));
    }

    #[test]
    fn a_single_dead_peer_counts_as_soon_as_anything_connects() {
        let mut w = Weather::default();
        assert_eq!(
            w.observe(1, Outcome::TimeoutConnect, true, 0).count.len(),
            0
        );
        let ruling = w.observe(2, Outcome::Ok, true, 1);
        assert_eq!((ruling.count, ruling.change), (vec![1, 2], None));
    }

    #[test]
    fn a_collapse_freezes_and_a_connection_thaws() {
        let mut w = Weather::default();
        for i in 1..SUSPECTS {
            assert_eq!(w.observe(i, Outcome::TimeoutConnect, true, 0).void.len(), 0);
        }
        let ruling = w.observe(SUSPECTS, Outcome::Unreachable, true, 1);
        assert_eq!((ruling.void.len(), ruling.change), (SUSPECTS, Some(true)));
        assert!(w.is_down());
        assert_eq!(w.observe(99, Outcome::TimeoutConnect, false, 2).void, [99]);
        // A refusal comes from the other side as well.
        let ruling = w.observe(100, Outcome::Refused, false, 3);
        assert_eq!((ruling.count, ruling.change), (vec![100], Some(false)));
        assert!(!w.is_down());
    }

    #[test]
    fn dead_strangers_are_no_sign() {
        let mut w = Weather::default();
        for i in 0..1_000 {
            assert_eq!(w.observe(i, Outcome::TimeoutConnect, false, 0).count, [i]);
        }
        assert!(!w.is_down());
    }

    #[test]
    fn slow_deaths_are_no_collapse() {
        let mut w = Weather::default();
        let mut counted = 0;
        for i in 0..100i64 {
            counted += w
                .observe(i, Outcome::TimeoutConnect, true, i * 20)
                .count
                .len();
        }
        assert!(!w.is_down());
        assert_eq!(counted + w.drain().len(), 100);
    }

    #[test]
    fn killed_peers_on_a_living_host_refuse_and_count() {
        let mut w = Weather::default();
        for i in 0..50 {
            assert_eq!(w.observe(i, Outcome::Refused, true, 0).count, [i]);
        }
        assert!(!w.is_down());
    }
}
