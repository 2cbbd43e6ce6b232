//! How many handshakes are worked on in a second: each costs us a key exchange, two signatures' worth of arithmetic
//! and a signature, which strangers must not be able to order at will.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Rate};

/// Handshakes that are begun in a second, in all: at about 0.25 ms each (docs/benchmarks.md) a twentieth of a core.
pub const HANDSHAKES_PER_SECOND: f64 = QUIET.per_second + ANYBODY.per_second;

/// What all subnets share.
const ANYBODY: Rate = Rate {
    per_second: 150.0,
    burst: 300.0,
};

/// What is kept for subnets that have been quiet, when the rest is used up: who wants to take this as well needs a new
/// subnet for each handshake, some thousands of them.
const QUIET: Rate = Rate {
    per_second: 50.0,
    burst: 300.0,
};

/// A subnet that has begun no handshake for so long is quiet.
const QUIET_AFTER: Duration = Duration::from_secs(60);

/// Subnets that are remembered: more than can begin a handshake within [`QUIET_AFTER`].
const MAX_SUBNETS: usize = 16_384;

const _: () = assert!(
    (HANDSHAKES_PER_SECOND * QUIET_AFTER.as_secs() as f64 + ANYBODY.burst + QUIET.burst)
        < MAX_SUBNETS as f64
);

/// What became of the wish to begin a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// It may begin.
    Now,
    /// All is used up for the moment, and its subnet has been quiet: worth waiting a little.
    Soon,
    /// All is used up.
    No,
}

/// The budget of one node. How many connections a subnet may open is for [`super::limits`] to say.
#[derive(Debug)]
pub struct HandshakeBudget {
    anybody: Bucket,
    quiet: Bucket,
    /// When those that were not quiet last began a handshake.
    subnets: HashMap<IpAddr, Instant>,
}

impl HandshakeBudget {
    /// Full.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            anybody: Bucket::full(ANYBODY, now),
            quiet: Bucket::full(QUIET, now),
            subnets: HashMap::new(),
        }
    }

    /// Takes one handshake for an address out of the budget, if there is one left.
    pub fn take(&mut self, ip: IpAddr, now: Instant) -> Grant {
        let subnet = allocation(ip);
        self.anybody = self.anybody.filled(ANYBODY, now);
        self.quiet = self.quiet.filled(QUIET, now);
        let last = self.subnets.get(&subnet);
        let quiet = last.is_none_or(|last| is_quiet(*last, now));
        if !(self.anybody.take() || quiet && self.quiet.take()) {
            return if quiet { Grant::Soon } else { Grant::No };
        }
        if self.subnets.len() >= MAX_SUBNETS {
            self.subnets.retain(|_, last| !is_quiet(*last, now));
        }
        self.subnets.insert(subnet, now);
        Grant::Now
    }
}

/// What is quiet or not: an IPv4 /24, and all that an IPv6 registry gives to one, a /32: its owner has 65,536 networks of a
/// /48 at no cost.
fn allocation(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & (u32::MAX << 8)).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 96)).into()),
    }
}

fn is_quiet(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) >= QUIET_AFTER
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn take(budget: &mut HandshakeBudget, subnet: IpAddr, now: Instant) -> bool {
        budget.take(subnet, now) == Grant::Now
    }

    fn subnet(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n << 8).into()
    }

    #[test]
    fn many_subnets_together_have_the_budget_of_all() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(start);
        let begun = (0..1_000).filter(|n| take(&mut budget, subnet(*n), start));
        assert_eq!(begun.count(), 600);
        let second = start + Duration::from_secs(1);
        let begun = (1_000..2_000).filter(|n| take(&mut budget, subnet(*n), second));
        assert_eq!(begun.count(), 200);
    }

    #[test]
    fn who_comes_for_the_first_time_finds_room_while_a_hundred_subnets_take_all_they_can() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(start);
        let mut refused = 0;
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            for n in 0..2 {
                refused += u32::from(!take(&mut budget, subnet((2 * ms as u32 + n) % 100), now));
            }
            if ms % 100 == 99 {
                let newcomer = subnet(1_000 + ms as u32);
                assert!(take(&mut budget, newcomer, now), "after {ms} ms");
                if ms > 8_000 {
                    let twice = budget.take(newcomer, now);
                    assert_eq!(twice, Grant::No, "{ms}: it is quiet no more");
                }
            }
        }
        assert!(refused > 100_000, "{refused} of 120,000");
    }

    #[test]
    fn who_is_quiet_may_wait_and_who_is_not_is_refused() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(start);
        for n in 0..600 {
            assert_eq!(budget.take(subnet(n), start), Grant::Now);
        }
        assert_eq!(budget.take(subnet(600), start), Grant::Soon);
        assert_eq!(budget.take(subnet(0), start), Grant::No);
        let soon = start + Duration::from_millis(20);
        for _ in 0..3 {
            assert_eq!(
                budget.take(subnet(600), soon),
                Grant::Now,
                "of what all share"
            );
        }
        assert_eq!(budget.take(subnet(600), soon), Grant::No);
        assert_eq!(
            budget.take(subnet(601), soon),
            Grant::Now,
            "of what is kept"
        );
    }

    #[test]
    fn the_networks_of_one_ipv6_allocation_are_quiet_together() {
        let now = Instant::now();
        let mut budget = HandshakeBudget::new(now);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..300 {
            assert!(take(&mut budget, subnet(n), now));
        }
        assert!(take(&mut budget, address("2a01:4f8:1::1"), now));
        assert!(!take(&mut budget, address("2a01:4f8:2::1"), now));
        assert!(take(&mut budget, address("2a01:4f9:2::1"), now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut now = Instant::now();
        let mut budget = HandshakeBudget::new(now);
        for n in 0..100_000 {
            now += Duration::from_millis(1);
            budget.take(subnet(n), now);
            assert!(budget.subnets.len() <= MAX_SUBNETS);
        }
        now += Duration::from_secs(60);
        assert!(take(&mut budget, subnet(200_000), now), "it recovers");
    }

    proptest! {
        /// In no stretch of time more than the bursts and what has filled up since.
        #[test]
        fn never_more_than_the_rate(steps in vec((0_u32..2_000, 0_u64..20), 1..3_000)) {
            let start = Instant::now();
            let mut budget = HandshakeBudget::new(start);
            let (mut now, mut begun) = (start, 0_u32);
            for (net, pause) in steps {
                now += Duration::from_millis(pause);
                begun += u32::from(take(&mut budget, subnet(net), now));
                let seconds = (now - start).as_secs_f64();
                prop_assert!(f64::from(begun) <= 600.0 + 200.0 * seconds + 1e-6);
            }
        }
    }
}
