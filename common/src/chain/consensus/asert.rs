//! ASERT difficulty adjustment in the published integer form, aserti3-2d.
//!
//! Source: "ASERT Difficulty Adjustment Algorithm (aserti3-2d)", specification of 2020-11-15,
//! <https://upgradespecs.bitcoincashnode.org/2020-11-15-asert/>. The target of the next block is
//! `anchor_target * 2^((parent_time - anchor_parent_time - spacing * (parent_height - anchor_height + 1)) /
//! half_life)`: a schedule measured from the anchor, so errors never add up and each header can be checked
//! with its parent alone.
//!
//! The reference keeps `anchor_target * factor` in 256 bits, which holds for targets below 2^239. Here it
//! has 512 bits, so networks with an easier limit are exact too.

use bitcoin::CompactTarget;
use ruint::aliases::{U256, U512};

use crate::chain_spec::compact;

/// The schedule that targets follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asert {
    /// Height of the anchor block.
    pub anchor_height: u32,
    /// Unix time of the anchor's parent. For a genesis anchor: genesis time minus one spacing.
    pub anchor_parent_time: i64,
    /// The anchor's target.
    pub anchor_bits: CompactTarget,
    /// Easiest allowed target.
    pub limit_bits: CompactTarget,
    /// Seconds that a block should take.
    pub target_spacing: u64,
    /// Seconds behind or ahead of schedule that double or halve the target; `0` keeps the anchor's target
    /// for ever.
    pub half_life: u64,
}

impl Asert {
    /// The bits that a block must have whose parent has this height and time.
    #[must_use]
    pub fn next_bits(&self, parent_height: u32, parent_time: u32) -> CompactTarget {
        if self.half_life == 0 {
            return self.anchor_bits;
        }
        let (Some(anchor), Some(limit)) = (
            compact::target_of(self.anchor_bits),
            compact::target_of(self.limit_bits),
        ) else {
            return self.limit_bits;
        };
        let height_delta = i128::from(parent_height) - i128::from(self.anchor_height);
        let time_delta = i128::from(parent_time) - i128::from(self.anchor_parent_time);
        let late = time_delta - i128::from(self.target_spacing) * (height_delta + 1);
        // In units of 2^-16 half-lives, rounded towards zero as the reference's division does.
        let exponent = late * 65_536 / i128::from(self.half_life);
        let next = scale(anchor, exponent);
        if next > U512::from(limit) {
            return self.limit_bits;
        }
        compact::to_bits(U256::from(next).max(U256::from(1)))
    }
}

/// `target * 2^(exponent / 2^16)`, rounded down; saturates far above any target.
fn scale(target: U256, exponent: i128) -> U512 {
    // Whole doublings (rounded down) and the fraction that is left, from 0 to 65,535.
    let doublings = exponent >> 16;
    let fraction = (exponent & 0xffff) as u128;
    // 2^fraction by a cubic polynomial in 16-bit fixed point, from 65,536 to 131,071. The sum stays below
    // 2^64 (that is how the coefficients were chosen), so it can't overflow 128 bits.
    let factor = 65_536
        + ((195_766_423_245_049 * fraction
            + 971_821_376 * fraction * fraction
            + 5_127 * fraction * fraction * fraction
            + (1 << 47))
            >> 48);
    // At most 256 + 17 bits.
    let product = U512::from(target) * U512::from(factor);
    // The factor is scaled by 2^16.
    let shift = doublings - 16;
    if shift <= 0 {
        usize::try_from(-shift).map_or(U512::ZERO, |right| {
            if right >= 512 {
                U512::ZERO
            } else {
                product >> right
            }
        })
    } else {
        match usize::try_from(shift) {
            Ok(left) if left <= product.leading_zeros() && left < 512 => product << left,
            _ => U512::MAX,
        }
    }
}

#[cfg(test)]
#[path = "asert_tests.rs"]
mod tests;
