//! The merkle root of a block's transactions, with the mutation of CVE-2012-2459 seen.
//!
//! Where a level of the tree has an odd number of nodes the last one is paired with itself. So a list that
//! ends in a repeated pair has the same root as the list without the repetition: a body can be mutated
//! under an honest header. Such a body is invalid, but it says nothing about the header.

use bitcoin::TxMerkleNode;
use bitcoin::hashes::{Hash, HashEngine, sha256d};

/// A merkle root and whether the list that it was made from may be a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerkleRoot {
    /// The root; all zero for an empty list.
    pub root: TxMerkleNode,
    /// Whether two different nodes of one pair were equal, which no honest list has.
    pub mutated: bool,
}

/// Computes the root over `leaves`, the transactions' ids in block order.
#[must_use]
pub fn merkle_root(leaves: impl IntoIterator<Item = sha256d::Hash>) -> MerkleRoot {
    let mut level: Vec<sha256d::Hash> = leaves.into_iter().collect();
    let mut mutated = false;
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => {
                    mutated |= left == right;
                    join(left, right)
                }
                // `chunks` gives one or two.
                [single, ..] => join(single, single),
                [] => sha256d::Hash::all_zeros(),
            })
            .collect();
    }
    let root = level
        .first()
        .copied()
        .unwrap_or_else(sha256d::Hash::all_zeros);
    MerkleRoot {
        root: root.into(),
        mutated,
    }
}

fn join(left: &sha256d::Hash, right: &sha256d::Hash) -> sha256d::Hash {
    let mut engine = sha256d::Hash::engine();
    engine.input(left.as_byte_array());
    engine.input(right.as_byte_array());
    sha256d::Hash::from_engine(engine)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: u32) -> Vec<sha256d::Hash> {
        (0..count)
            .map(|n| sha256d::Hash::hash(&n.to_le_bytes()))
            .collect()
    }

    #[test]
    fn empty_and_single() {
        assert_eq!(merkle_root([]).root, TxMerkleNode::all_zeros());
        let one = leaves(1);
        assert_eq!(
            merkle_root(one.clone()),
            MerkleRoot {
                root: one[0].into(),
                mutated: false
            }
        );
    }

    #[test]
    fn repetition_keeps_the_root_and_is_seen() {
        // CVE-2012-2459: [1 2 3] and [1 2 3 3]; [1..6] and [1..6 5 6].
        for (count, repeated) in [(3, 1), (5, 1), (6, 2), (7, 1), (10, 2), (12, 4)] {
            let honest = leaves(count);
            let mut mutated = honest.clone();
            mutated.extend_from_slice(&honest[(count as usize - repeated)..]);
            let (honest, mutated) = (merkle_root(honest), merkle_root(mutated));
            assert_eq!(honest.root, mutated.root);
            assert!(!honest.mutated && mutated.mutated);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(count in 1u32..200) {
            let list = leaves(count);
            let theirs = bitcoin::merkle_tree::calculate_root(list.iter().copied()).unwrap();
            prop_assert_eq!(merkle_root(list), MerkleRoot { root: theirs.into(), mutated: false });
        }
    }
}
