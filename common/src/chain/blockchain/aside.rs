//! How many bytes of side chains are kept that nobody has verified, and which of these chains is to be verified
//! before more is kept.
//!
//! A side chain is verified for good when it has more work than the tip's, and so only after all of it is kept: whoever
//! has the work for headers could have any number of worthless blocks stored until then. So when enough has gathered,
//! the chain that has most of it is verified on trial. If it is right, it may grow by as much again as has been proven
//! before the next trial: all its trials together cost no more than a few times what the whole chain does.

use std::collections::HashMap;

use bitcoin::BlockHash;

/// Side chains by their last block; bytes of common parts are counted in one of them.
#[derive(Debug)]
pub(super) struct Aside {
    limit: u64,
    branches: HashMap<BlockHash, Bytes>,
    /// The sum over all branches of what exceeds their credit.
    excess: u64,
}

/// Serialized bytes of a side chain.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    proven: u64,
    unproven: u64,
}

impl Bytes {
    fn excess(self) -> u64 {
        self.unproven.saturating_sub(self.proven)
    }
}

impl Aside {
    /// At most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            branches: HashMap::new(),
            excess: 0,
        }
    }

    /// `block` was kept, beside the verified chain.
    pub(super) fn keep(&mut self, parent: &BlockHash, block: BlockHash, bytes: u64) {
        let mut branch = self.take(parent);
        branch.unproven = branch.unproven.saturating_add(bytes);
        self.put(block, branch);
    }

    /// The end of the side chain that must be verified now.
    pub(super) fn due(&self) -> Option<BlockHash> {
        if self.excess < self.limit {
            return None;
        }
        let largest = self
            .branches
            .iter()
            .max_by_key(|(tip, bytes)| (bytes.excess(), **tip));
        largest.map(|(tip, _)| *tip)
    }

    /// The side chain that ends here is valid.
    pub(super) fn prove(&mut self, tip: &BlockHash) {
        let mut branch = self.take(tip);
        branch.proven = branch.proven.saturating_add(branch.unproven);
        branch.unproven = 0;
        self.put(*tip, branch);
    }

    /// What ends here is no side chain any more, or is invalid and will not grow.
    pub(super) fn forget(&mut self, tip: &BlockHash) {
        self.take(tip);
    }

    fn take(&mut self, tip: &BlockHash) -> Bytes {
        let branch = self.branches.remove(tip).unwrap_or_default();
        self.excess = self.excess.saturating_sub(branch.excess());
        branch
    }

    fn put(&mut self, tip: BlockHash, branch: Bytes) {
        self.excess = self.excess.saturating_add(branch.excess());
        self.branches.insert(tip, branch);
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hash(number: u32) -> BlockHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        BlockHash::from_byte_array(bytes)
    }

    #[test]
    fn the_largest_is_due_and_not_the_one_that_grows() {
        let mut aside = Aside::new(100);
        aside.keep(&hash(0), hash(1), 40);
        aside.keep(&hash(1), hash(2), 40);
        aside.keep(&hash(0), hash(10), 19);
        assert_eq!(aside.due(), None);
        aside.keep(&hash(10), hash(11), 1);
        assert_eq!(aside.due(), Some(hash(2)));
        aside.prove(&hash(2));
        assert_eq!(aside.due(), None);
        // It may grow by the 80 that it has proven, and then counts again.
        aside.keep(&hash(2), hash(3), 80);
        assert_eq!((aside.due(), aside.excess), (None, 20));
        aside.keep(&hash(3), hash(4), 80);
        assert_eq!((aside.due(), aside.excess), (Some(hash(4)), 100));
        aside.forget(&hash(4));
        assert_eq!((aside.due(), aside.excess), (None, 20));
    }

    #[test]
    fn a_long_chain_is_not_verified_over_and_over() {
        let mut aside = Aside::new(1_000);
        let (mut trials, mut verified) = (0, 0);
        for block in 0..100_000 {
            aside.keep(&hash(block), hash(block + 1), 10);
            if let Some(tip) = aside.due() {
                assert_eq!(tip, hash(block + 1));
                trials += 1;
                verified += (block + 1) * 10;
                aside.prove(&tip);
            }
        }
        assert_eq!(trials, 9);
        assert!(verified <= 2 * 1_000_000, "{verified}");
    }

    proptest! {
        /// Chains grow at random, fork, prove themselves or go: what they have unproven stays below the limit and what
        /// they have proven, and the sum is right.
        #[test]
        fn what_is_not_verified_stays_bounded(
            steps in vec((any::<prop::sample::Index>(), 1_u64..300, any::<bool>()), 1..200)
        ) {
            let mut aside = Aside::new(1_000);
            let mut blocks = vec![hash(0)];
            for (number, (parent, bytes, valid)) in (1..).zip(steps) {
                let parent = blocks[parent.index(blocks.len())];
                aside.keep(&parent, hash(number), bytes);
                blocks.push(hash(number));
                while let Some(tip) = aside.due() {
                    if valid { aside.prove(&tip) } else { aside.forget(&tip) }
                }
                let sum: u64 = aside.branches.values().map(|b| b.excess()).sum();
                prop_assert_eq!(sum, aside.excess);
                prop_assert!(sum < 1_000);
            }
        }
    }
}
