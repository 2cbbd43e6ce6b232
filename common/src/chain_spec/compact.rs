//! Compact targets ("bits") and 256-bit arithmetic on them.
//!
//! Only the canonical form of a target counts as valid here: the form that [`to_bits`] writes. Bitcoin's
//! decoder also takes negative, zero and needlessly shifted forms; consensus compares bits exactly, so no
//! block can carry one, and a chain spec must not either.

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, CompactTarget};
use ruint::aliases::U256;

/// The target that `bits` stands for, or `None` unless `bits` is the canonical form of a positive target.
pub(crate) fn target_of(bits: CompactTarget) -> Option<U256> {
    let bits = bits.to_consensus();
    let size = (bits >> 24) as usize;
    let mantissa = bits & 0x00ff_ffff;
    if size > 32 {
        return None;
    }
    let target = if size <= 3 {
        U256::from(mantissa >> (8 * (3 - size)))
    } else {
        U256::from(mantissa) << (8 * (size - 3))
    };
    let canonical = !target.is_zero() && to_bits(target).to_consensus() == bits;
    canonical.then_some(target)
}

/// The compact form of `target`, rounded down to the three leading bytes that it can hold.
pub(crate) fn to_bits(target: U256) -> CompactTarget {
    let mut size = target.bit_len().div_ceil(8);
    let mut mantissa = if size <= 3 {
        low_u32(target) << (8 * (3 - size))
    } else {
        low_u32(target >> (8 * (size - 3)))
    };
    // The mantissa's top bit is the sign in this format: move it out of the way.
    if mantissa & 0x0080_0000 != 0 {
        mantissa >>= 8;
        size += 1;
    }
    // At most 33, since the target has at most 32 bytes.
    CompactTarget::from_consensus(mantissa | ((size as u32) << 24))
}

/// A block hash as the number that is compared with the target.
pub(crate) fn hash_number(hash: &BlockHash) -> U256 {
    U256::from_le_bytes(hash.to_byte_array())
}

fn low_u32(n: U256) -> u32 {
    (n.as_limbs()[0] & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use bitcoin::Target;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_forms() {
        let target = |bits| target_of(CompactTarget::from_consensus(bits));
        assert_eq!(target(0x1d00_ffff), Some(U256::from(0xffff_u32) << 208));
        assert_eq!(target(0x207f_ffff), Some(U256::from(0x7f_ffff_u32) << 232));
        assert_eq!(target(0x0101_0000), Some(U256::from(1)));
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for bits in [
            0,
            0x1d00_0000,
            0x1d80_ffff,
            0x1e00_00ff,
            0x2100_ffff,
            0x0400_0001,
            0x0101_0001,
            u32::MAX,
        ] {
            assert_eq!(
                target_of(CompactTarget::from_consensus(bits)),
                None,
                "{bits:#x}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(bits: u32) {
            let compact = CompactTarget::from_consensus(bits);
            if let Some(target) = target_of(compact) {
                prop_assert_eq!(Target::from_compact(compact).to_be_bytes(), target.to_be_bytes::<32>());
                prop_assert_eq!(to_bits(target), compact);
            }
        }

        #[test]
        fn writes_as_the_library_does(bytes: [u8; 32], shift in 0usize..256) {
            let target = U256::from_be_bytes(bytes) >> shift;
            let theirs = Target::from_be_bytes(target.to_be_bytes()).to_compact_lossy();
            prop_assert_eq!(to_bits(target), theirs);
        }
    }
}
