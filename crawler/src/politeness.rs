//! How fast the crawler dials: one token bucket for all dials, and a share of each minute for each subnet. Pure: time comes
//! in as an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use quantumcoin::network::security::limits::subnet_key;

/// Tokens for dials; holds at most a quarter of a second's worth, so that a pause is not followed by a
/// burst.
#[derive(Debug)]
pub struct DialRate {
    per_second: f64,
    tokens: f64,
    updated: Instant,
}

impl DialRate {
    /// A rate of at least one dial a second.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            tokens: 1.0,
            updated: now,
        }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        let most = (self.per_second / 4.0).max(1.0);
        self.tokens = (self.tokens + elapsed * self.per_second).min(most);
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }

    /// Puts a token back that was not used.
    pub fn give_back(&mut self) {
        self.tokens += 1.0;
    }

    /// How long until the next token.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0))
    }
}

/// Dials to each subnet (IPv4 /24, IPv6 /48) in a minute: a small network must not take us for a flood. Holds no more than
/// the subnets dialled in a minute.
#[derive(Debug)]
pub struct SubnetPace {
    per_minute: u32,
    minute: i64,
    dials: HashMap<IpAddr, u32>,
}

impl SubnetPace {
    /// So many dials a minute; 0 for as many as there are.
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            minute: i64::MIN,
            dials: HashMap::new(),
        }
    }

    /// Counts a dial at `now` (Unix seconds).
    ///
    /// # Errors
    /// The subnet had its share of this minute: when the next one begins.
    pub fn take(&mut self, ip: IpAddr, now: i64) -> Result<(), i64> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let minute = now.div_euclid(60);
        if minute != self.minute {
            self.minute = minute;
            self.dials.clear();
        }
        let dials = self.dials.entry(subnet_key(ip)).or_default();
        if *dials >= self.per_minute {
            return Err(minute.saturating_add(1).saturating_mul(60));
        }
        *dials += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_its_share_of_a_minute_and_others_theirs() {
        let mut pace = SubnetPace::new(3);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for host in 1..=3 {
            assert_eq!(pace.take(ip(&format!("192.0.2.{host}")), 119), Ok(()));
        }
        assert_eq!(pace.take(ip("192.0.2.4"), 119), Err(120));
        assert_eq!(pace.take(ip("::ffff:192.0.2.4"), 119), Err(120));
        assert_eq!(pace.take(ip("192.0.3.4"), 119), Ok(()));
        for site in 1..=3 {
            let ip = ip(&format!("2001:db8:1:{site}::1"));
            assert_eq!(pace.take(ip, 119), Ok(()));
        }
        assert_eq!(pace.take(ip("2001:db8:1:4::1"), 119), Err(120));
        assert_eq!(pace.take(ip("192.0.2.4"), 120), Ok(()));
        let mut free = SubnetPace::new(0);
        assert!((0..1_000).all(|_| free.take(ip("192.0.2.4"), 1).is_ok()));
    }

    #[test]
    fn holds_the_rate_and_never_bursts() {
        let start = Instant::now();
        let mut rate = DialRate::new(100, start);
        let mut dialled = 0;
        for ms in 0..10_000u64 {
            while rate.take(start + Duration::from_millis(ms)) {
                dialled += 1;
            }
        }
        assert!((990..=1_001).contains(&dialled), "{dialled}");
        let later = start + Duration::from_secs(1_000);
        let burst = (0..1_000).filter(|_| rate.take(later)).count();
        assert_eq!(burst, 25);
        assert!(rate.wait() <= Duration::from_millis(10));
    }
}
