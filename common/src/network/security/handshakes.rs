//! How many handshakes are worked on in a second: each costs us a key exchange, two signatures' worth of arithmetic
//! and a signature, which strangers must not be able to order at will.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Handshakes that are begun in a second, in all: at about 0.25 ms each (docs/benchmarks.md) a twentieth of a core.
pub const HANDSHAKES_PER_SECOND: f64 = 200.0;

/// Of them at once, after a pause.
const BURST: f64 = 400.0;

/// Subnets whose share is remembered; one that has its full share again is forgotten first. More than the global budget
/// lets use theirs up within the time that it takes to fill again.
const MAX_SUBNETS: usize = 8_192;

/// A share that fills with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: f64, most: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * rate).min(most);
        self.at = self.at.max(now);
    }
}

/// The budget of one node: for all, and for each subnet.
#[derive(Debug)]
pub struct HandshakeBudget {
    all: Bucket,
    subnets: HashMap<IpAddr, Bucket>,
    /// What a subnet may begin at once; it gets as much again in ten seconds.
    subnet_burst: f64,
}

impl HandshakeBudget {
    /// Full. A subnet that may have `per_subnet` connections may begin twice as many at once, and as many again every ten
    /// seconds: all of its hosts may start anew.
    #[must_use]
    pub fn new(per_subnet: usize, now: Instant) -> Self {
        let level = BURST;
        Self {
            all: Bucket { level, at: now },
            subnets: HashMap::new(),
            subnet_burst: (2 * per_subnet) as f64,
        }
    }

    /// Takes one handshake of a subnet out of the budget; false if there is none left. What the subnet does not get does not
    /// count against the others.
    pub fn take(&mut self, subnet: IpAddr, now: Instant) -> bool {
        let most = self.subnet_burst;
        let rate = most / 10.0;
        if self.subnets.len() >= MAX_SUBNETS && !self.subnets.contains_key(&subnet) {
            self.subnets.retain(|_, bucket| {
                bucket.refill(rate, most, now);
                bucket.level < most
            });
            if self.subnets.len() >= MAX_SUBNETS {
                return false;
            }
        }
        let full = Bucket {
            level: most,
            at: now,
        };
        let own = self.subnets.entry(subnet).or_insert(full);
        own.refill(rate, most, now);
        self.all.refill(HANDSHAKES_PER_SECOND, BURST, now);
        if own.level < 1.0 || self.all.level < 1.0 {
            return false;
        }
        own.level -= 1.0;
        self.all.level -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn subnet(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n << 8).into()
    }

    #[test]
    fn a_subnet_has_its_share_and_gets_it_again() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(10, start);
        let begun = (0..50).filter(|_| budget.take(subnet(1), start)).count();
        assert_eq!(begun, 20);
        assert!(budget.take(subnet(2), start), "others are not touched");
        let half = start + Duration::from_millis(500);
        assert!(budget.take(subnet(1), half) && !budget.take(subnet(1), half));
        let later = start + Duration::from_secs(60);
        let begun = (0..50).filter(|_| budget.take(subnet(1), later)).count();
        assert_eq!(begun, 20, "no more than at once");
    }

    #[test]
    fn many_subnets_together_have_the_budget_of_all() {
        let start = Instant::now();
        let mut budget = HandshakeBudget::new(10, start);
        let begun = (0..1_000)
            .filter(|n| budget.take(subnet(*n), start))
            .count();
        assert_eq!(begun, 400);
        let second = start + Duration::from_secs(1);
        let begun = (0..1_000)
            .filter(|n| budget.take(subnet(*n), second))
            .count();
        assert_eq!(begun, 200);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut now = Instant::now();
        let mut budget = HandshakeBudget::new(10, now);
        for n in 0..100_000 {
            now += Duration::from_millis(1);
            budget.take(subnet(n), now);
            assert!(budget.subnets.len() <= MAX_SUBNETS);
        }
        now += Duration::from_secs(60);
        assert!(budget.take(subnet(200_000), now), "it recovers");
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
                if budget.take(subnet(net), now) {
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
