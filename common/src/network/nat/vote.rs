//! Whom to believe about our own address. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

/// What more than half of the voices say, and how many they are. With two that differ nobody is believed.
pub(super) fn majority(voices: impl IntoIterator<Item = IpAddr>) -> Option<(IpAddr, usize)> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    let mut all = 0;
    for ip in voices {
        *counts.entry(ip).or_default() += 1;
        all += 1;
    }
    counts.into_iter().find(|(_, count)| 2 * count > all)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ip(n: u8) -> IpAddr {
        [9, 9, 9, n].into()
    }

    #[test]
    fn half_is_no_majority() {
        let vote = |list: &[u8]| majority(list.iter().map(|n| ip(*n)));
        assert_eq!(vote(&[]), None);
        assert_eq!(vote(&[1]), Some((ip(1), 1)));
        assert_eq!(vote(&[1, 2]), None);
        assert_eq!(vote(&[1, 2, 1]), Some((ip(1), 2)));
        assert_eq!(vote(&[1, 2, 3]), None);
    }

    proptest! {
        #[test]
        fn fewer_liars_than_honest_change_nothing(honest in 1_usize..9, lies in vec(any::<u8>(), 0..9)) {
            let liars = lies.len().min(honest - 1);
            let voices = lies.iter().take(liars).map(|n| ip(*n));
            let voices = voices.chain(std::iter::repeat_n([8, 8, 8, 8].into(), honest));
            prop_assert_eq!(majority(voices).unwrap().0, IpAddr::from([8, 8, 8, 8]));
        }
    }
}
