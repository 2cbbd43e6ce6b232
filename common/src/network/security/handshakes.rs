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

/// Subnets of which something is remembered: more than can begin a handshake within [`QUIET_AFTER`].
const MAX_SUBNETS: usize = 16_384;

const _: () = assert!(
    (HANDSHAKES_PER_SECOND * QUIET_AFTER.as_secs() as f64 + ANYBODY.burst + QUIET.burst)
        < MAX_SUBNETS as f64
);

/// A subnet that has begun a handshake lately.
#[derive(Debug, Clone, Copy)]
struct Subnet {
    share: Bucket,
    last: Instant,
}

/// What became of the wish to begin a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// It may begin.
    Now,
    /// All is used up for the moment, and its subnet has been quiet: worth waiting a little.
    Soon,
    /// Its subnet has had its share, or all is used up.
    No,
}

/// The budget of one node: for all, and for each subnet.
#[derive(Debug)]
pub struct HandshakeBudget {
    anybody: Bucket,
    quiet: Bucket,
    subnets: HashMap<IpAddr, Subnet>,
    each: Rate,
}

impl HandshakeBudget {
    /// Full. A subnet that may have `per_subnet` connections may begin twice as many at once, and as many again every ten
    /// seconds: all of its hosts may start anew.
    #[must_use]
    pub fn new(per_subnet: usize, now: Instant) -> Self {
        let burst = (2 * per_subnet) as f64;
        Self {
            anybody: Bucket::full(ANYBODY, now),
            quiet: Bucket::full(QUIET, now),
            subnets: HashMap::new(),
            each: Rate {
                per_second: burst / 10.0,
                burst,
            },
        }
    }

    /// Takes one handshake of a subnet out of the budget, if there is one left. What the subnet does not get does not
    /// count against the others, and what is not taken leaves no trace.
    pub fn take(&mut self, subnet: IpAddr, now: Instant) -> Grant {
        self.anybody = self.anybody.filled(ANYBODY, now);
        self.quiet = self.quiet.filled(QUIET, now);
        let known = self.subnets.get(&subnet);
        let quiet = known.is_none_or(|known| is_quiet(known.last, now));
        let mut share = match known {
            Some(known) => known.share.filled(self.each, now),
            None => Bucket::full(self.each, now),
        };
        if !share.take() {
            return Grant::No;
        }
        if !(self.anybody.take() || quiet && self.quiet.take()) {
            return if quiet { Grant::Soon } else { Grant::No };
        }
        if self.subnets.len() >= MAX_SUBNETS {
            // A share that has been left alone for so long is full again.
            self.subnets.retain(|_, known| !is_quiet(known.last, now));
        }
        self.subnets.insert(subnet, Subnet { share, last: now });
        Grant::Now
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
    fn a_subnet_has_its_share_and_gets_it_again() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(10, start);
        let begun = (0..50)
            .filter(|_| take(&mut budget, subnet(1), start))
            .count();
        assert_eq!(begun, 20);
        assert!(
            take(&mut budget, subnet(2), start),
            "others are not touched"
        );
        let half = start + Duration::from_millis(500);
        assert!(take(&mut budget, subnet(1), half) && !take(&mut budget, subnet(1), half));
        let later = start + Duration::from_secs(60);
        let begun = (0..50)
            .filter(|_| take(&mut budget, subnet(1), later))
            .count();
        assert_eq!(begun, 20, "no more than at once");
    }

    #[test]
    fn many_subnets_together_have_the_budget_of_all() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(10, start);
        let begun = (0..1_000)
            .filter(|n| take(&mut budget, subnet(*n), start))
            .count();
        assert_eq!(begun, 600);
        let second = start + Duration::from_secs(1);
        let begun = (0..1_000)
            .filter(|n| take(&mut budget, subnet(*n), second))
            .count();
        assert_eq!(begun, 200);
    }

    #[test]
    fn who_comes_for_the_first_time_finds_room_while_a_hundred_subnets_take_all_they_can() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(10, start);
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
        let mut budget = HandshakeBudget::new(10, start);
        assert_eq!(budget.take(subnet(0), start), Grant::Now);
        for n in 1..600 {
            assert_eq!(budget.take(subnet(n), start), Grant::Now);
        }
        assert_eq!(budget.take(subnet(600), start), Grant::Soon);
        assert_eq!(budget.take(subnet(0), start), Grant::No);
        let soon = start + Duration::from_millis(20);
        assert_eq!(budget.take(subnet(600), soon), Grant::Now);
        assert_eq!(
            budget.take(subnet(600), soon),
            Grant::Now,
            "of what all share"
        );
        assert_eq!(budget.take(subnet(600), soon), Grant::Now);
        assert_eq!(budget.take(subnet(600), soon), Grant::No);
        assert_eq!(
            budget.take(subnet(601), soon),
            Grant::Now,
            "of what is kept"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut now = Instant::now();
        let mut budget = HandshakeBudget::new(10, now);
        for n in 0..100_000 {
            now += Duration::from_millis(1);
            take(&mut budget, subnet(n), now);
            assert!(budget.subnets.len() <= MAX_SUBNETS);
        }
        now += Duration::from_secs(60);
        assert!(take(&mut budget, subnet(200_000), now), "it recovers");
    }

    proptest! {
        /// In no stretch of time more than the burst and what has filled up since.
        #[test]
        fn never_more_than_the_rate(steps in vec((0_u32..5, 0_u64..200), 1..500)) {
            let start = Instant::now();
            let mut budget = HandshakeBudget::new(10, start);
            let (mut now, mut begun) = (start, [0_u32; 5]);
            for (net, pause) in steps {
                now += Duration::from_millis(pause);
                if take(&mut budget, subnet(net), now) {
                    begun[net as usize] += 1;
                }
                let seconds = (now - start).as_secs_f64();
                for count in begun {
                    prop_assert!(f64::from(count) <= 20.0 + 2.0 * seconds + 1e-6);
                }
            }
        }
    }
}
