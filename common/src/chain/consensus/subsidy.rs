//! The money supply: what a block's coinbase may create.

use super::Rules;

/// What the coinbase of the block at `height` may pay, in base units. The genesis block pays nothing.
#[must_use]
pub fn subsidy(rules: &Rules, height: u32) -> u64 {
    let Some(mined) = height.checked_sub(1) else {
        return 0;
    };
    let era = mined
        .checked_div(rules.halving_interval)
        .unwrap_or(u32::MAX);
    rules.initial_subsidy.checked_shr(era).unwrap_or(0)
}

/// All subsidies together, in base units: what exists once every block that pays has been mined.
#[must_use]
pub fn subsidy_sum(rules: &Rules) -> u128 {
    (0..u64::BITS)
        .map(|era| u128::from(rules.initial_subsidy >> era) * u128::from(rules.halving_interval))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain_spec::ChainSpec;

    #[test]
    fn mainnet_sums_to_just_under_the_cap() {
        let rules = Rules::new(&ChainSpec::mainnet());
        assert_eq!(subsidy_sum(&rules), 2_199_999_999_970_080);
        assert_eq!(u128::from(rules.max_money) - subsidy_sum(&rules), 29_920);
        // Block by block, as the chain pays it.
        let mut sum = 0_u128;
        let mut height = 0;
        while height == 0 || subsidy(&rules, height) > 0 {
            sum += u128::from(subsidy(&rules, height));
            height += 1;
        }
        assert_eq!(sum, subsidy_sum(&rules));
    }

    #[test]
    fn one_more_base_unit_would_overshoot() {
        let mut rules = Rules::new(&ChainSpec::mainnet());
        rules.initial_subsidy += 1;
        assert!(subsidy_sum(&rules) > u128::from(rules.max_money));
    }

    #[test]
    fn eras_turn_at_the_published_heights() {
        let rules = Rules::new(&ChainSpec::mainnet());
        assert_eq!(subsidy(&rules, 0), 0);
        assert_eq!(subsidy(&rules, 1), 10_464_231_367);
        assert_eq!(subsidy(&rules, 105_120), 10_464_231_367);
        assert_eq!(subsidy(&rules, 105_121), 5_232_115_683);
        assert_eq!(subsidy(&rules, u32::MAX), 0);
    }
}
