//! The rolling minimum fee rate: what a full pool asks beyond the relay minimum.
//!
//! When something is evicted for want of room, the floor rises above what it paid, so that the same room
//! can't be filled and emptied at one price for ever. Blocks make room: from the first one after the last
//! rise on, the floor halves every 12 hours.

use crate::chain::policy::MIN_RELAY_FEE_PER_KB;

/// Seconds in which the floor halves. Bitcoin Core's figure for a pool that stays at least half full; Core's
/// shorter ones for emptier pools are left out.
pub(super) const HALF_LIFE_SECONDS: u64 = 12 * 60 * 60;

/// How far the floor is above what was evicted, in base units for 1,000 bytes: Bitcoin Core's incremental
/// relay fee, which is the relay minimum here as there.
const STEP_PER_KB: u64 = MIN_RELAY_FEE_PER_KB;

/// The floor: its height at the last rise, and since when it falls.
#[derive(Debug, Default)]
pub(super) struct Floor {
    per_kb: u64,
    falls_since: Option<u64>,
}

impl Floor {
    /// The floor at time `now` in base units for 1,000 bytes; never below the relay minimum.
    pub(super) fn per_kb(&self, now: u64) -> u64 {
        let age = self
            .falls_since
            .map_or(0, |since| now.saturating_sub(since));
        let halvings = u32::try_from(age / HALF_LIFE_SECONDS).unwrap_or(u32::MAX);
        let rate = self.per_kb.checked_shr(halvings).unwrap_or(0);
        // Between two halvings in a straight line.
        let fallen = u128::from(rate) * u128::from(age % HALF_LIFE_SECONDS)
            / u128::from(2 * HALF_LIFE_SECONDS);
        let fallen = u64::try_from(fallen).unwrap_or(rate);
        rate.saturating_sub(fallen).max(MIN_RELAY_FEE_PER_KB)
    }

    /// Something that paid `per_kb` was evicted.
    pub(super) fn evicted(&mut self, per_kb: u64, now: u64) {
        let raised = per_kb.saturating_add(STEP_PER_KB);
        if raised > self.per_kb(now) {
            self.per_kb = raised;
            self.falls_since = None;
        }
    }

    /// A block was connected.
    pub(super) fn block(&mut self, now: u64) {
        self.falls_since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn starts_at_the_relay_minimum() {
        assert_eq!(Floor::default().per_kb(0), 1_000);
        assert_eq!(Floor::default().per_kb(u64::MAX), 1_000);
    }

    #[test]
    fn rises_above_what_was_evicted_and_not_for_less() {
        let mut floor = Floor::default();
        floor.evicted(7_000, 5);
        assert_eq!(floor.per_kb(5), 8_000);
        floor.evicted(6_999, 5);
        assert_eq!(floor.per_kb(5), 8_000);
        floor.evicted(u64::MAX, 5);
        assert_eq!(floor.per_kb(5), u64::MAX);
    }

    #[test]
    fn falls_only_after_a_block_and_halves_in_12_hours() {
        let mut floor = Floor::default();
        floor.evicted(7_000, 0);
        assert_eq!(floor.per_kb(100 * DAY), 8_000);
        floor.block(DAY);
        // Later blocks do not start it anew.
        floor.block(DAY + 600);
        assert_eq!(floor.per_kb(DAY), 8_000);
        assert_eq!(floor.per_kb(DAY + HALF_LIFE_SECONDS / 2), 6_000);
        assert_eq!(floor.per_kb(DAY + HALF_LIFE_SECONDS), 4_000);
        assert_eq!(floor.per_kb(2 * DAY), 2_000);
        assert_eq!(floor.per_kb(3 * DAY), 1_000);
        // A clock that went back is no reason to panic.
        assert_eq!(floor.per_kb(0), 8_000);
        // A rise stops the fall until the next block.
        floor.evicted(4_000, 2 * DAY);
        assert_eq!(floor.per_kb(9 * DAY), 5_000);
    }

    #[test]
    fn never_rises_with_time() {
        let mut floor = Floor::default();
        floor.evicted(123_457, 0);
        floor.block(0);
        let rates: Vec<u64> = (0..500).map(|n| floor.per_kb(n * 997)).collect();
        assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");
    }
}
