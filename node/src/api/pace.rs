//! How many requests a second the API answers: of one client, and in all. Pure: time comes in as an argument.
//!
//! A request for status costs the hub about a millisecond, so all together may take a third of its time at most, whatever asks; a
//! browser with the page open asks once in two seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use quantumcoin::network::security::limits::host_key;

/// Requests a second of one client (an IPv4 address, an IPv6 /64), and how many at once.
pub(super) const PER_CLIENT: Pace = Pace {
    per_second: 100.0,
    burst: 300.0,
};

/// Requests a second of all clients, and how many at once.
pub(super) const IN_ALL: Pace = Pace {
    per_second: 300.0,
    burst: 900.0,
};

/// Clients remembered, of 100 bytes or so; those who were quiet long enough to start anew are forgotten first. When all places
/// are taken by clients that are not quiet, only the limit for all holds for others.
const MAX_CLIENTS: usize = 4_096;

/// Pause between two looks for clients that were quiet.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(pace: Pace, now: Instant) -> Self {
        Self {
            left: pace.burst,
            at: now,
        }
    }

    fn fill(&mut self, pace: Pace, now: Instant) {
        let waited = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + waited * pace.per_second).min(pace.burst);
        self.at = now;
    }

    /// Seconds until there is one, if there is none.
    fn lacks(&self, pace: Pace) -> Option<u64> {
        let missing = (1.0 - self.left) / pace.per_second;
        (missing > 0.0).then(|| (missing.ceil() as u64).max(1))
    }
}

/// Counts requests.
#[derive(Debug)]
pub(super) struct Counter {
    all: Bucket,
    clients: HashMap<IpAddr, Bucket>,
    /// When the quiet ones were last forgotten.
    swept: Instant,
}

impl Counter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            all: Bucket::full(IN_ALL, now),
            clients: HashMap::new(),
            swept: now,
        }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// It is one too many: seconds after which to come again. Such a request does not count against the others.
    pub(super) fn take(&mut self, client: IpAddr, now: Instant) -> Result<(), u64> {
        let client = host_key(client);
        self.all.fill(IN_ALL, now);
        let known = self.clients.contains_key(&client);
        // Once a second at most: looking at all of them for each newcomer would be work that others can make us do.
        let due = now.saturating_duration_since(self.swept) >= SWEEP_EVERY;
        if !known && due && self.clients.len() >= MAX_CLIENTS {
            self.swept = now;
            let quiet = Duration::from_secs_f64(PER_CLIENT.burst / PER_CLIENT.per_second);
            self.clients
                .retain(|_, bucket| now.saturating_duration_since(bucket.at) < quiet);
        }
        if !known && self.clients.len() >= MAX_CLIENTS {
            return self.take_of_all();
        }
        let bucket = self.clients.entry(client);
        let bucket = bucket.or_insert_with(|| Bucket::full(PER_CLIENT, now));
        bucket.fill(PER_CLIENT, now);
        if let Some(seconds) = bucket.lacks(PER_CLIENT) {
            return Err(seconds);
        }
        bucket.left -= 1.0;
        self.take_of_all()
    }

    fn take_of_all(&mut self) -> Result<(), u64> {
        match self.all.lacks(IN_ALL) {
            Some(seconds) => Err(seconds),
            None => {
                self.all.left -= 1.0;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn passed(counter: &mut Counter, client: IpAddr, n: u32, now: Instant) -> usize {
        (0..n).filter(|_| counter.take(client, now).is_ok()).count()
    }

    #[test]
    fn a_client_has_its_pace_and_leaves_others_theirs() {
        let start = Instant::now();
        let mut counter = Counter::new(start);
        assert_eq!(passed(&mut counter, client(1), 10_000, start), 300);
        assert_eq!(counter.take(client(1), start), Err(1));
        assert_eq!(passed(&mut counter, client(2), 10, start), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!(passed(&mut counter, client(1), 10_000, later), 50);
    }

    #[test]
    fn all_together_have_an_end_and_are_not_remembered_for_ever() {
        let start = Instant::now();
        let mut counter = Counter::new(start);
        let answered = (0..1_000_000)
            .filter(|n| counter.take(client(*n), start).is_ok())
            .count();
        assert_eq!(answered, 900);
        assert!(counter.clients.len() <= MAX_CLIENTS);
        let later = start + Duration::from_secs(10);
        assert_eq!(counter.take(client(7_000_000), later), Ok(()));
        assert_eq!(counter.clients.len(), 1);
    }

    #[test]
    fn a_whole_subnet_of_ipv6_is_one_client() {
        let now = Instant::now();
        let mut counter = Counter::new(now);
        let answered = (0..1_000_u128).filter(|n| {
            let ip = IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
            counter.take(ip, now).is_ok()
        });
        assert_eq!(answered.count(), 300);
    }
}
