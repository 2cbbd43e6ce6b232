//! Which transactions had their signatures checked and are not in the pool any more.
//!
//! A wtxid stands for all that the signatures depend on: it commits to the witnesses and, through the ids in
//! the inputs, to the values and scripts of the outputs that they spend. So where those coins exist, a wtxid
//! that passed once passes again, in a block too.

use std::collections::HashSet;
use std::mem;

use bitcoin::Wtxid;

/// Wtxids in a generation. There are two, so between this many and twice as many of the last ones are
/// known: more than a full pool holds. Whole ids are kept, so that a wrong answer takes a collision of
/// SHA-256, and the sets' hashes are keyed, so that nobody can aim at a bucket. A set of 28,672 has 2^15
/// buckets of 33 bytes: 2.2 MB for both.
pub(super) const GENERATION: usize = 28_672;

/// A bounded set that forgets the oldest.
#[derive(Debug, Default)]
pub(super) struct Verified {
    young: HashSet<Wtxid>,
    old: HashSet<Wtxid>,
}

impl Verified {
    pub(super) fn insert(&mut self, wtxid: Wtxid) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(wtxid);
    }

    pub(super) fn contains(&self, wtxid: &Wtxid) -> bool {
        self.young.contains(wtxid) || self.old.contains(wtxid)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    fn wtxid(number: usize) -> Wtxid {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Wtxid::from_byte_array(bytes)
    }

    #[test]
    fn knows_the_last_ones_and_stays_small() {
        let mut verified = Verified::default();
        for number in 0..3 * GENERATION {
            assert!(!verified.contains(&wtxid(number)));
            verified.insert(wtxid(number));
        }
        assert!((GENERATION..3 * GENERATION).all(|number| verified.contains(&wtxid(number))));
        verified.insert(wtxid(3 * GENERATION));
        assert!((2 * GENERATION..=3 * GENERATION).all(|number| verified.contains(&wtxid(number))));
        assert!((0..2 * GENERATION).all(|number| !verified.contains(&wtxid(number))));
        assert!(verified.young.capacity() + verified.old.capacity() <= 2 * GENERATION);
    }
}
