//! How far the clocks of others are from ours. One that is far off is its owner's trouble; when most are, it is ours, and
//! blocks that are right will seem to come from the future.

use std::collections::HashMap;
use std::hash::Hash;

/// Seconds by which a clock may differ before that is worth a word. Blocks may be two hours ahead of our clock, so this is
/// told long before it hurts; Bitcoin Core's figure for a warning.
pub const MAX_SKEW: i64 = 600;

/// Peers of our choice whose clocks must be known before ours is judged by them.
const QUORUM: usize = 5;

/// The clocks of the peers that we have chosen; whoever chose us has no say.
#[derive(Debug)]
pub struct Clocks<P> {
    /// Seconds that each is ahead of ours.
    offsets: HashMap<P, i64>,
    warned: bool,
}

impl<P> Default for Clocks<P> {
    fn default() -> Self {
        Self {
            offsets: HashMap::new(),
            warned: false,
        }
    }
}

impl<P: Copy + Eq + Hash> Clocks<P> {
    /// A peer of our choice told the time.
    pub fn joined(&mut self, peer: P, offset: i64) {
        self.offsets.insert(peer, offset);
    }

    /// A peer is gone, and its vote with it.
    pub fn left(&mut self, peer: P) {
        self.offsets.remove(&peer);
    }

    /// By how many seconds our clock seems to be slow: the median of the others', once there are enough.
    #[must_use]
    pub fn ours_is_slow_by(&self) -> Option<i64> {
        let mut offsets: Vec<i64> = self.offsets.values().copied().collect();
        offsets.sort_unstable();
        let median = offsets.get(offsets.len() / 2).copied();
        median.filter(|_| offsets.len() >= QUORUM)
    }

    /// The same if it is more than it should be, and that has not been said since it last was not.
    pub fn warning(&mut self) -> Option<i64> {
        let off = self.ours_is_slow_by().filter(|offset| is_skewed(*offset));
        let said = std::mem::replace(&mut self.warned, off.is_some());
        off.filter(|_| !said)
    }
}

/// Whether a clock that is ahead by so many seconds is worth a word.
#[must_use]
pub fn is_skewed(offset: i64) -> bool {
    offset.saturating_abs() > MAX_SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clock_is_its_owners_trouble_and_most_are_ours() {
        let mut clocks = Clocks::default();
        for peer in 0..4 {
            clocks.joined(peer, 4_000);
            assert_eq!(clocks.warning(), None, "too few to judge");
        }
        clocks.joined(4, 0);
        assert_eq!(clocks.ours_is_slow_by(), Some(4_000));
        assert_eq!((clocks.warning(), clocks.warning()), (Some(4_000), None));
        for peer in 5..10 {
            clocks.joined(peer, -1);
        }
        assert_eq!(clocks.warning(), None);
        for peer in 4..10 {
            clocks.left(peer);
        }
        clocks.joined(11, i64::MIN);
        assert_eq!(clocks.warning(), Some(4_000), "said again");
    }

    #[test]
    fn ten_minutes_are_the_edge() {
        assert!(!is_skewed(MAX_SKEW) && !is_skewed(-MAX_SKEW));
        assert!(is_skewed(MAX_SKEW + 1) && is_skewed(-MAX_SKEW - 1));
        assert!(is_skewed(i64::MIN) && is_skewed(i64::MAX));
    }
}
