//! Response rate limiting: how many UDP responses a network gets that has not shown that it asked.
//!
//! Sources of UDP can be forged, and an answer is larger than its question; so each client network (/24 or /56) has an
//! allowance of responses. What goes beyond is answered in part by TC alone ("slip"), which is no larger than the question and
//! brings real resolvers to TCP, and not at all for the rest. Clients with a cookie of ours are outside of this.
//!
//! The allowances are in a table of fixed size, addressed by a keyed hash: no flood makes it grow or can aim at a victim's
//! place. Networks that meet in a place share its allowance; with 65,536 places and the default limit they together get
//! 13 million responses a second, more than a machine sends.
//!
//! Each place is a [`Pace`].

use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

use super::Network;

/// Places; half a megabyte.
const PLACES: usize = 1 << 16;

/// Seconds of allowance that may be used at once: bursts of a resolver that starts.
const BURST_SECONDS: u64 = 2;

/// Responses a second that a network gets by default. The answers of four zones with all usual filters, A and AAAA, are 120 in a
/// minute for each cache; a hundred caches in one network need 200 in a second.
pub const DEFAULT_LIMIT: u32 = 200;

/// Of the queries beyond the limit, one of this many is answered by TC: a resolver that asks three times gets through with
/// seven of eight.
const SLIP: u64 = 2;

/// What to do with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Answer.
    Full,
    /// Answer by TC.
    Slip,
    /// Be silent.
    Nothing,
}

/// So much of something in a time: the "theoretical arrival time" of the generic cell rate algorithm (ITU-T I.371), which
/// needs no more than one number and a compare-and-swap.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// Whether one more fits, which then counts. `now` are microseconds of a clock that never goes back, `interval` those
    /// between two at the limit, and what `burst` is worth may come at once.
    #[must_use]
    pub fn take(&self, now: u64, interval: u64, burst: u64) -> bool {
        let step = |arrival: u64| {
            let arrival = arrival.max(now);
            (arrival - now <= burst).then_some(arrival + interval)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .is_ok()
    }
}

/// Allowances of all networks.
pub struct RateLimiter {
    places: Box<[Pace]>,
    hasher: SipHasher13,
    /// Microseconds between two responses at the limit.
    interval: u64,
    over: AtomicU64,
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// With `limit` responses a second for each network; the key must not be known to others.
    #[must_use]
    pub fn new(limit: std::num::NonZeroU32, key: &[u8; 16]) -> Self {
        Self {
            places: (0..PLACES).map(|_| Pace::default()).collect(),
            hasher: SipHasher13::new_with_key(key),
            interval: (1_000_000 / u64::from(limit.get())).max(1),
            over: AtomicU64::new(0),
        }
    }

    /// Takes one response from the allowance of `network`. `now` are microseconds of a clock that never goes back.
    #[must_use]
    pub fn take(&self, network: Network, now: u64) -> Allowance {
        let index = self.hasher.hash(network.as_bytes()) as usize % PLACES;
        let Some(place) = self.places.get(index) else {
            return Allowance::Full;
        };
        if place.take(now, self.interval, BURST_SECONDS * 1_000_000) {
            return Allowance::Full;
        }
        if self
            .over
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SLIP)
        {
            Allowance::Slip
        } else {
            Allowance::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn limiter(limit: u32) -> RateLimiter {
        RateLimiter::new(limit.try_into().unwrap(), &[3; 16])
    }

    fn network(n: u8) -> Network {
        Network::of(IpAddr::from([10, 0, n, 1]))
    }

    #[test]
    fn a_network_gets_a_burst_then_its_rate_then_every_second_a_slip() {
        let limiter = limiter(100);
        let full = |at: u64| {
            (0..1000)
                .filter(|_| limiter.take(network(1), at) == Allowance::Full)
                .count()
        };
        assert_eq!(full(0), 201, "two seconds at once");
        assert_eq!(full(0), 0);
        assert_eq!(full(1_000_000), 100, "then its rate");
        let over: Vec<_> = (0..4)
            .map(|_| limiter.take(network(1), 1_000_000))
            .collect();
        let slips = over.iter().filter(|a| **a == Allowance::Slip).count();
        assert_eq!((slips, over.len()), (2, 4));
        assert_eq!(
            limiter.take(network(2), 1_000_000),
            Allowance::Full,
            "others are not touched"
        );
        assert_eq!(full(100_000_000), 201, "rest fills it up, to the burst");
    }

    /// The pair of A and AAAA of each of a hundred stub resolvers behind one address.
    #[test]
    fn a_hundred_pairs_at_once_all_get_answers() {
        let limiter = limiter(DEFAULT_LIMIT);
        assert!((0..200).all(|_| limiter.take(network(1), 5) == Allowance::Full));
    }

    #[test]
    fn a_million_forged_networks_take_nothing_from_an_honest_one() {
        let limiter = limiter(DEFAULT_LIMIT);
        let mut lost = 0;
        for second in 0..10_u64 {
            for n in 0..100_000_u32 {
                let [_, a, b, c] = n.to_be_bytes();
                let forged = Network::of(IpAddr::from([100 + a, b, c, 1]));
                let now = second * 1_000_000 + u64::from(n) * 10;
                let _ = limiter.take(forged, now);
            }
            let now = (second + 1) * 1_000_000;
            lost += usize::from(limiter.take(network(9), now) != Allowance::Full);
        }
        assert_eq!(lost, 0);
    }
}
