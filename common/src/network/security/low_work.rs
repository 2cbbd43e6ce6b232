//! Headers with far less work than ours, which cost next to nothing to make.

/// New headers of such chains that a peer may tell: one message full. A peer that is behind, or on a chain that split from
/// ours some days ago, tells fewer.
const LIMIT: usize = 2_000;

/// The same while it has not told all, since what comes last may have most work: a chain that left ours half a year of
/// blocks ago and has more work all the same.
const LIMIT_UNDER_WAY: usize = 26_000;

/// Blocks of our tip's difficulty by which a chain may be behind: a day of them.
const MAX_BEHIND: u128 = 144;

/// Whether a chain of this work has no chance to become ours soon; `tip` is our chain's work, `block` that of its last
/// block.
#[must_use]
pub fn is_far_below(work: u128, tip: u128, block: u128) -> bool {
    work.saturating_add(block.saturating_mul(MAX_BEHIND)) < tip
}

/// What one peer told of such chains since it last told something of another.
#[derive(Debug, Default)]
pub struct LowWork {
    told: usize,
}

impl LowWork {
    /// The peer told headers, of which `new` were not known; `far_below` the work of the last one is, and `more` will come.
    /// True when that is too much.
    pub fn told(&mut self, far_below: bool, new: usize, more: bool) -> bool {
        if !far_below {
            self.told = 0;
            return false;
        }
        self.told += new;
        let limit = if more { LIMIT_UNDER_WAY } else { LIMIT };
        let too_much = self.told > limit;
        if too_much {
            self.told = 0;
        }
        too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_blocks_is_the_edge() {
        let (block, tip) = (1_000, 1_000_000);
        assert!(!is_far_below(tip - 144 * block, tip, block));
        assert!(is_far_below(tip - 144 * block - 1, tip, block));
        assert!(!is_far_below(0, u128::MAX, u128::MAX));
    }

    #[test]
    fn thousands_in_all_are_too_much() {
        let mut peer = LowWork::default();
        assert!(!peer.told(true, 2_000, false));
        assert!(!peer.told(true, 0, false), "known ones are free");
        assert!(peer.told(true, 1, false));
        assert!(!peer.told(true, 2_000, false), "it begins anew");
    }

    #[test]
    fn a_long_chain_is_heard_to_its_end() {
        let mut peer = LowWork::default();
        for _ in 0..13 {
            assert!(!peer.told(true, 2_000, true));
        }
        assert!(!peer.told(false, 2_000, true), "it has more work after all");
        for _ in 0..13 {
            assert!(!peer.told(true, 2_000, true));
        }
        assert!(peer.told(true, 1, true));
    }
}
