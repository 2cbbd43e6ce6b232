//! How fast the crawler dials: one token bucket for all dials. Pure: time comes in as an argument.

use std::time::{Duration, Instant};

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

    /// How long until the next token.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
