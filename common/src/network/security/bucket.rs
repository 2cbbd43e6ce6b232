//! A share that is used up and fills again with time.

use std::time::Instant;

/// How fast a share fills, and how far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

/// A share, counted in whole things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, at: Instant) -> Self {
        let level = rate.burst;
        Self { level, at }
    }

    /// What it holds by now.
    pub(super) fn filled(mut self, rate: Rate, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * rate.per_second).min(rate.burst);
        self.at = self.at.max(now);
        self
    }

    pub(super) fn is_full(self, rate: Rate, now: Instant) -> bool {
        self.filled(rate, now).level >= rate.burst
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}
