//! How many connections a host and its subnet may open, whatever becomes of them. One that is refused for this costs an
//! `accept` and a `close`, a third of what it costs to listen to it until it turns out to be junk.
//!
//! What a host opens beyond its own share is not charged to its subnet, so none can use up what its neighbours have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Rate};

/// Keys of each kind that are counted at a time. With more of them at once, new ones are let through.
const MAX_COUNTED: usize = 16_384;

/// Between two looks for what need not be counted any more: a look costs a fraction of a millisecond.
const SWEEP: Duration = Duration::from_secs(1);

/// The counts of one node.
#[derive(Debug)]
pub(super) struct Arrivals {
    hosts: Counts,
    subnets: Counts,
}

/// Counts of one kind.
#[derive(Debug)]
struct Counts {
    each: Rate,
    counted: HashMap<IpAddr, Bucket>,
    swept: Instant,
}

impl Arrivals {
    /// A host that may have `per_ip` connections may open twice as many at once, and three in each ten seconds then. A
    /// subnet that may have `per_subnet` may open twice as many, and as many again in twenty seconds: its hosts may all
    /// start anew, and dial again when they are turned away.
    pub(super) fn new(per_ip: usize, per_subnet: usize, now: Instant) -> Self {
        let (host, subnet) = ((2 * per_ip) as f64, (2 * per_subnet) as f64);
        Self {
            hosts: Counts::new(host / 20.0, host, now),
            subnets: Counts::new(subnet / 20.0, subnet, now),
        }
    }

    /// Counts a connection. False if its host or its subnet opens too many.
    pub(super) fn admit(&mut self, host: IpAddr, subnet: IpAddr, now: Instant) -> bool {
        self.hosts.admit(host, now) && self.subnets.admit(subnet, now)
    }
}

impl Counts {
    fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        Self {
            each: Rate { per_second, burst },
            counted: HashMap::new(),
            swept: now,
        }
    }

    fn admit(&mut self, key: IpAddr, now: Instant) -> bool {
        if let Some(share) = self.counted.get_mut(&key) {
            *share = share.filled(self.each, now);
            return share.take();
        }
        if self.counted.len() >= MAX_COUNTED && now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            let each = self.each;
            self.counted.retain(|_, share| !share.is_full(each, now));
        }
        if self.counted.len() < MAX_COUNTED {
            let mut share = Bucket::full(self.each, now);
            share.take();
            self.counted.insert(key, share);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(subnet: u32, host: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0b00_0000 + (subnet << 8) + host).into()
    }

    fn subnet(n: u32) -> IpAddr {
        host(n, 0)
    }

    #[test]
    fn a_subnet_that_opens_too_many_has_to_wait_and_others_have_not() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(3, 10, start);
        let mut many = |now| {
            (0..100)
                .filter(|n| arrivals.admit(host(1, *n), subnet(1), now))
                .count()
        };
        assert_eq!(many(start), 20);
        assert_eq!(many(start + Duration::from_secs(10)), 10);
        assert!(arrivals.admit(host(2, 1), subnet(2), start));
    }

    #[test]
    fn a_host_that_opens_too_many_takes_nothing_from_its_neighbours() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(3, 10, start);
        let (mut busy, mut neighbour) = (0, 0);
        for ms in (0..60_000).step_by(20) {
            let now = start + Duration::from_millis(ms);
            busy += u32::from(arrivals.admit(host(1, 1), subnet(1), now));
            if ms % 10_000 == 0 {
                neighbour += u32::from(arrivals.admit(host(1, 2), subnet(1), now));
            }
        }
        assert_eq!((busy, neighbour), (6 + 17, 6));
    }

    #[test]
    fn what_is_counted_is_bounded_and_forgotten() {
        let mut now = Instant::now();
        let mut arrivals = Arrivals::new(3, 10, now);
        let counted = |arrivals: &Arrivals| arrivals.subnets.counted.len();
        for n in 0..60_000 {
            now += Duration::from_micros(100);
            assert!(
                arrivals.admit(host(n, 1), subnet(n), now),
                "none comes twice"
            );
            assert!(counted(&arrivals) <= MAX_COUNTED);
        }
        now += Duration::from_secs(20);
        let new = || 100_000..100_000 + MAX_COUNTED as u32;
        for n in new() {
            arrivals.admit(host(n, 1), subnet(n), now);
        }
        assert_eq!(counted(&arrivals), MAX_COUNTED);
        let all_new = new().all(|n| arrivals.subnets.counted.contains_key(&subnet(n)));
        assert!(all_new, "the old ones had to go");
    }
}
