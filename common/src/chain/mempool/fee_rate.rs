//! What a transaction or a package pays for its size.

use std::cmp::Ordering;
use std::fmt;

/// A fee for a number of bytes. Compared exactly, as a fraction: half a unit a byte is the same rate for any
/// size.
#[derive(Debug, Clone, Copy)]
pub struct FeeRate {
    fee: u64,
    bytes: u64,
}

impl FeeRate {
    /// The rate of `fee` base units for `bytes` serialized bytes; no bytes count as one.
    #[must_use]
    pub fn new(fee: u64, bytes: usize) -> Self {
        Self {
            fee,
            bytes: (bytes as u64).max(1),
        }
    }

    /// Base units for 1,000 bytes, rounded down.
    #[must_use]
    pub fn per_kb(self) -> u64 {
        let rate = u128::from(self.fee) * 1_000 / u128::from(self.bytes);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

impl Ord for FeeRate {
    fn cmp(&self, other: &Self) -> Ordering {
        let own = u128::from(self.fee) * u128::from(other.bytes);
        own.cmp(&(u128::from(other.fee) * u128::from(self.bytes)))
    }
}

impl PartialOrd for FeeRate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FeeRate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FeeRate {}

/// As base units for 1,000 bytes.
impl fmt::Display for FeeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/kB", self.per_kb())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_compare_as_fractions() {
        assert_eq!(FeeRate::new(1, 3), FeeRate::new(2, 6));
        assert!(FeeRate::new(333, 1_000) < FeeRate::new(1, 3));
        assert!(FeeRate::new(334, 1_000) > FeeRate::new(1, 3));
        // No overflow at the largest numbers.
        assert!(FeeRate::new(u64::MAX, 1) > FeeRate::new(u64::MAX - 1, 1));
    }

    #[test]
    fn per_kb_rounds_down() {
        assert_eq!(FeeRate::new(1, 3).per_kb(), 333);
        assert_eq!(FeeRate::new(3_878, 3_878).per_kb(), 1_000);
        assert_eq!(FeeRate::new(u64::MAX, 0).per_kb(), u64::MAX);
        assert_eq!(FeeRate::new(5_000, 2_000).to_string(), "2500/kB");
    }
}
