//! How many connections a subnet may open, whatever becomes of them. One that is refused for this costs an `accept` and a
//! `close`, a third of what it costs to listen to it until it turns out to be junk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Rate};

/// Subnets that are counted at a time. With more of them, those that are not counted are let through: then no subnet opens
/// many.
const MAX_SUBNETS: usize = 16_384;

/// Between two looks for subnets that need not be counted any more: a look costs a fraction of a millisecond.
const SWEEP: Duration = Duration::from_secs(1);

/// The counts of one node.
#[derive(Debug)]
pub(super) struct Arrivals {
    each: Rate,
    subnets: HashMap<IpAddr, Bucket>,
    swept: Instant,
}

impl Arrivals {
    /// A subnet that may have `per_subnet` connections may open twice as many at once, and as many again in twenty seconds:
    /// its hosts may all start anew, and dial again when they are turned away.
    pub(super) fn new(per_subnet: usize, now: Instant) -> Self {
        let burst = (2 * per_subnet) as f64;
        Self {
            each: Rate {
                per_second: burst / 20.0,
                burst,
            },
            subnets: HashMap::new(),
            swept: now,
        }
    }

    /// Counts a connection. False if its subnet opens too many.
    pub(super) fn admit(&mut self, subnet: IpAddr, now: Instant) -> bool {
        if let Some(share) = self.subnets.get_mut(&subnet) {
            *share = share.filled(self.each, now);
            return share.take();
        }
        if self.subnets.len() >= MAX_SUBNETS && now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            let each = self.each;
            self.subnets.retain(|_, share| !share.is_full(each, now));
        }
        if self.subnets.len() < MAX_SUBNETS {
            let mut share = Bucket::full(self.each, now);
            share.take();
            self.subnets.insert(subnet, share);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n << 8).into()
    }

    #[test]
    fn a_subnet_that_opens_too_many_has_to_wait_and_others_have_not() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(10, start);
        let admitted = (0..100).filter(|_| arrivals.admit(subnet(1), start));
        assert_eq!(admitted.count(), 20);
        assert!(arrivals.admit(subnet(2), start));
        let later = start + Duration::from_secs(10);
        let admitted = (0..100).filter(|_| arrivals.admit(subnet(1), later));
        assert_eq!(admitted.count(), 10);
    }

    #[test]
    fn what_is_counted_is_bounded_and_forgotten() {
        let mut now = Instant::now();
        let mut arrivals = Arrivals::new(10, now);
        for n in 0..100_000 {
            now += Duration::from_micros(100);
            assert!(arrivals.admit(subnet(n), now), "no subnet comes twice");
            assert!(arrivals.subnets.len() <= MAX_SUBNETS);
        }
        now += Duration::from_secs(20);
        for n in 0..MAX_SUBNETS as u32 {
            arrivals.admit(subnet(200_000 + n), now);
        }
        assert_eq!(arrivals.subnets.len(), MAX_SUBNETS);
        let all_new =
            (0..MAX_SUBNETS as u32).all(|n| arrivals.subnets.contains_key(&subnet(200_000 + n)));
        assert!(all_new, "the old ones had to go");
    }
}
