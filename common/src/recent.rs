//! A set of the last things seen, bounded in memory.

use std::collections::HashSet;
use std::hash::Hash;
use std::mem;

/// Remembers between `generation` and twice as many of the things that were inserted last.
///
/// Whole values are kept, so there are no false answers but forgotten ones, and the sets' hashes are keyed, so
/// that nobody can aim at a bucket.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    generation: usize,
    young: HashSet<T>,
    old: HashSet<T>,
}

impl<T: Eq + Hash> Recent<T> {
    pub(crate) fn new(generation: usize) -> Self {
        Self {
            generation,
            young: HashSet::new(),
            old: HashSet::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) {
        if self.young.len() >= self.generation {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(value);
    }

    pub(crate) fn contains(&self, value: &T) -> bool {
        self.young.contains(value) || self.old.contains(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.young = HashSet::new();
        self.old = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_last_ones_and_stays_small() {
        const GENERATION: usize = 28_672;
        let mut recent = Recent::new(GENERATION);
        for number in 0..3 * GENERATION {
            assert!(!recent.contains(&number));
            recent.insert(number);
        }
        assert!((GENERATION..3 * GENERATION).all(|number| recent.contains(&number)));
        recent.insert(3 * GENERATION);
        assert!((2 * GENERATION..=3 * GENERATION).all(|number| recent.contains(&number)));
        assert!((0..2 * GENERATION).all(|number| !recent.contains(&number)));
        assert!(recent.young.capacity() + recent.old.capacity() <= 2 * GENERATION);
        recent.clear();
        assert!(recent.is_empty() && !recent.contains(&(3 * GENERATION)));
    }
}
