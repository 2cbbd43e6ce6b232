//! ASERT against published figures and against a second implementation with plain long arithmetic.

use proptest::prelude::*;

use super::*;

/// Bitcoin Cash's parameters, for which the figures were published: 600 s and a half-life of two days.
fn published(anchor_height: u32, anchor_parent_time: i64, anchor_bits: u32) -> Asert {
    Asert {
        anchor_height,
        anchor_parent_time,
        anchor_bits: CompactTarget::from_consensus(anchor_bits),
        limit_bits: CompactTarget::from_consensus(0x1d00_ffff),
        target_spacing: 600,
        half_life: 172_800,
    }
}

fn check(asert: &Asert, rows: &[(u32, u32, u32)]) {
    for (height, time, bits) in rows {
        let found = asert.next_bits(*height, *time).to_consensus();
        assert_eq!(
            found, *bits,
            "height {height}, time {time}: {found:#x}, not {bits:#x}"
        );
    }
}

// Figures of the test vectors that the specification of 2020-11-15 links to (run01 to run09): height and time
// of a block, bits of the next one. Each row stands for itself.

#[test]
fn published_steady_blocks() {
    let rows = |bits| {
        (2..12)
            .map(|height| (height, height * 600, bits))
            .collect::<Vec<_>>()
    };
    check(&published(1, 0, 0x1d00_ffff), &rows(0x1d00_ffff));
    check(&published(1, 0, 0x1a2b_3c4d), &rows(0x1a2b_3c4d));
}

#[test]
fn published_halvings_down_to_target_one() {
    let rows = [
        (2, 0, 0x1d00_fec5),
        (290, 0, 0x1c7f_62c0),
        (578, 0, 0x1c3f_b160),
        (866, 0, 0x1c1f_d8b0),
        (2018, 0, 0x1c01_fd8b),
        (2306, 0, 0x1c00_fec5),
        (2594, 0, 0x1b7f_62c0),
        (30_530, 0, 0x0f3f_b160),
        (57_314, 0, 0x0401_fd8b),
        (57_602, 0, 0x0400_fec5),
        (59_906, 0, 0x0300_fec5),
        (60_194, 0, 0x027f_6200),
        (61_922, 0, 0x0201_fd00),
        (62_210, 0, 0x0200_fe00),
        (62_498, 0, 0x017f_0000),
        (63_938, 0, 0x0103_0000),
        (64_226, 0, 0x0101_0000),
        (64_514, 0, 0x0101_0000),
    ];
    check(&published(1, 0, 0x1d00_ffff), &rows);
}

#[test]
fn published_random_solve_times() {
    let rows = [
        (2, 1_200, 0x1802_aee8),
        (3, 1_310, 0x1802_ad91),
        (4, 1_327, 0x1802_abf8),
        (5, 1_739, 0x1802_ab73),
        (9, 7_099, 0x1802_b39c),
        (10, 7_099, 0x1802_b1f2),
        (45, 33_944, 0x1802_c25c),
        (126, 77_005, 0x1802_b2cb),
        (313, 200_183, 0x1802_d1f4),
        (430, 261_956, 0x1802_b9ec),
        (552, 338_121, 0x1802_c249),
        (620, 378_438, 0x1802_c0ec),
    ];
    check(&published(1, 0, 0x1802_aee8), &rows);
}

#[test]
fn published_heights_across_31_bits() {
    let rows = [
        (2_147_483_643, 1_234_568_190, 0x1802_ae16),
        (2_147_483_644, 1_234_568_490, 0x1802_ad44),
        (2_147_483_647, 1_234_569_390, 0x1802_aacd),
        (2_147_483_648, 1_234_569_690, 0x1802_a9fa),
        (2_147_483_652, 1_234_570_890, 0x1802_a6b7),
    ];
    check(&published(2_147_483_642, 1_234_567_290, 0x1802_aee8), &rows);
}

#[test]
fn mainnet_starts_on_schedule_and_halves_in_thirty_days_of_blocks() {
    let spec = crate::chain_spec::ChainSpec::mainnet();
    let asert = crate::chain::consensus::Rules::new(&spec).asert;
    let genesis = spec.genesis.time;
    assert_eq!(asert.next_bits(0, genesis).to_consensus(), 0x1d00_ffff);
    assert_eq!(
        asert.next_bits(1_000, genesis + 600_000).to_consensus(),
        0x1d00_ffff
    );
    // 4,320 blocks (30 days' worth) at one instant: half the target. The limit's mantissa has two bytes.
    assert_eq!(asert.next_bits(4_320, genesis).to_consensus(), 0x1c7f_ff80);
    // Late is never easier than the limit.
    assert_eq!(
        asert.next_bits(0, genesis + 1_000_000).to_consensus(),
        0x1d00_ffff
    );
}

#[test]
fn zero_half_life_never_changes() {
    let mut asert = published(0, 0, 0x1b00_ffff);
    asert.half_life = 0;
    check(
        &asert,
        &[
            (0, 0, 0x1b00_ffff),
            (1_000_000, 0, 0x1b00_ffff),
            (0, u32::MAX, 0x1b00_ffff),
        ],
    );
}

#[test]
fn extremes_clamp() {
    let mut asert = published(0, 0, 0x1b00_ffff);
    asert.half_life = 1;
    check(
        &asert,
        &[(u32::MAX, 0, 0x0101_0000), (0, u32::MAX, 0x1d00_ffff)],
    );
}

/// Long arithmetic on little-endian bits, as slow and plain as can be: the oracle shares nothing with the
/// code under test but the published formula.
mod oracle {
    /// The target of compact `bits`, as bits.
    fn decode(bits: u32) -> Vec<bool> {
        let (size, mantissa) = ((bits >> 24) as usize, bits & 0x7f_ffff);
        let digits: Vec<bool> = (0..24).map(|n| mantissa >> n & 1 == 1).collect();
        if size >= 3 {
            [vec![false; 8 * (size - 3)], digits].concat()
        } else {
            digits[8 * (3 - size)..].to_vec()
        }
    }

    fn encode(number: &[bool]) -> u32 {
        let bytes: Vec<u8> = number
            .chunks(8)
            .map(|bits| {
                bits.iter()
                    .rev()
                    .fold(0, |byte, bit| byte << 1 | u8::from(*bit))
            })
            .collect();
        let mut size = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let byte = |index: Option<usize>| {
            index
                .and_then(|i| bytes.get(i))
                .map_or(0, |byte| u32::from(*byte))
        };
        let at = |back: usize| byte(size.checked_sub(back));
        let mut mantissa = at(1) << 16 | at(2) << 8 | at(3);
        if mantissa >= 0x80_0000 {
            mantissa >>= 8;
            size += 1;
        }
        (size as u32) << 24 | mantissa
    }

    fn multiply(number: &[bool], factor: u64) -> Vec<bool> {
        let mut result = Vec::new();
        let mut carry = 0_u128;
        // Bit by bit of the sum of shifted copies: column n holds sum(number[n - k] * factor bit k).
        for column in 0..number.len() + 64 {
            carry += (0..64)
                .filter(|k| factor >> k & 1 == 1)
                .filter(|k| column >= *k && number.get(column - k) == Some(&true))
                .count() as u128;
            result.push(carry & 1 == 1);
            carry >>= 1;
        }
        assert_eq!(carry, 0);
        result
    }

    fn greater(a: &[bool], b: &[bool]) -> bool {
        let bit = |n: &[bool], i: usize| n.get(i).copied().unwrap_or(false);
        for i in (0..a.len().max(b.len())).rev() {
            if bit(a, i) != bit(b, i) {
                return bit(a, i);
            }
        }
        false
    }

    pub(super) fn next(anchor: u32, limit: u32, late: i64, half_life: u64) -> u32 {
        let magnitude = (u128::from(late.unsigned_abs()) * 65_536 / u128::from(half_life)) as i128;
        let exponent = if late < 0 { -magnitude } else { magnitude };
        let (shift, fraction) = (
            exponent.div_euclid(65_536),
            exponent.rem_euclid(65_536) as u128,
        );
        let cube = 195_766_423_245_049 * fraction
            + 971_821_376 * fraction.pow(2)
            + 5_127 * fraction.pow(3)
            + 2_u128.pow(47);
        let factor = 65_536 + (cube / 2_u128.pow(48)) as u64;
        let mut target = multiply(&decode(anchor), factor);
        let shift = shift - 16;
        if shift > 2_000 {
            return limit;
        } else if shift >= 0 {
            target = [vec![false; shift as usize], target].concat();
        } else {
            target = target
                .get((-shift).min(4_000) as usize..)
                .unwrap_or_default()
                .to_vec();
        }
        if !target.contains(&true) {
            0x0101_0000
        } else if greater(&target, &decode(limit)) {
            limit
        } else {
            encode(&target)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]
    #[test]
    fn agrees_with_long_arithmetic(
        anchor in prop::sample::select(&[0x1d00_ffff_u32, 0x1a2b_3c4d, 0x1802_aee8, 0x207f_ffff, 0x0101_0000, 0x0312_3456]),
        easy_limit: bool,
        half_life in prop_oneof![Just(172_800_u64), Just(2_592_000), 1_u64..10_000_000],
        spacing in 1_u64..1_000,
        anchor_height in 0_u32..1_000_000,
        blocks in prop_oneof![0_u32..100, 0_u32..3_000_000],
        drift in prop_oneof![-100_000_i64..100_000, -2_000_000_000_i64..2_000_000_000],
    ) {
        let limit = if easy_limit || anchor == 0x207f_ffff { 0x207f_ffff } else { 0x1d00_ffff };
        let anchor_parent_time = 1_000_i64;
        let ideal = spacing as i64 * (i64::from(blocks) + 1);
        let time = (anchor_parent_time + ideal + drift).clamp(0, i64::from(u32::MAX));
        let late = time - anchor_parent_time - ideal;
        let asert = Asert {
            anchor_height,
            anchor_parent_time,
            anchor_bits: CompactTarget::from_consensus(anchor),
            limit_bits: CompactTarget::from_consensus(limit),
            target_spacing: spacing,
            half_life,
        };
        let expected = oracle::next(anchor, limit, late, half_life);
        let found = asert.next_bits(anchor_height + blocks, time as u32).to_consensus();
        prop_assert_eq!(found, expected, "{:#x} and {:#x}", found, expected);
    }
}
