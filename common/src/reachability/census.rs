//! What good peers are like, counted. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use super::GoodPeer;

/// What peers are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trait {
    /// User agent, chosen by the peer.
    UserAgent,
    /// Protocol version.
    ProtocolVersion,
    /// Country of the address.
    Country,
    /// Autonomous system of the address, by its number.
    System,
}

impl Trait {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::UserAgent,
        Self::ProtocolVersion,
        Self::Country,
        Self::System,
    ];

    /// Stable name, for storage and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserAgent => "user_agent",
            Self::ProtocolVersion => "protocol_version",
            Self::Country => "country",
            Self::System => "system",
        }
    }

    /// The trait of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Name of what was added up since it is not among the most frequent.
pub const OTHER: &str = "other";

/// So many peers have this value.
pub type Share = (String, u64);

/// Good peers by one trait: the most frequent values with their counts, at most `most`, and the rest as [`OTHER`]. Peers of
/// which the trait is not known are left out.
pub fn shares(peers: &[GoodPeer], by: Trait, most: usize) -> Vec<Share> {
    match by {
        Trait::UserAgent => count(peers.iter().map(|p| &*p.user_agent), most),
        Trait::ProtocolVersion => count(peers.iter().map(|p| p.protocol_version), most),
        Trait::Country => count(peers.iter().filter_map(|p| p.place.country), most),
        Trait::System => count(peers.iter().filter_map(|p| p.place.system), most),
    }
}

/// The most frequent values with their counts, at most `most`, and the rest as [`OTHER`].
pub fn count<K: Hash + Ord + ToString>(values: impl Iterator<Item = K>, most: usize) -> Vec<Share> {
    let mut counts: HashMap<K, u64> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let others: u64 = counts.iter().skip(most).map(|(_, n)| n).sum();
    counts.truncate(most);
    let mut shares: Vec<Share> = Vec::with_capacity(counts.len() + 1);
    // A peer may call itself "other".
    let (mut other, mut is_told) = (others, others > 0);
    for (value, n) in counts {
        let value = value.to_string();
        if value == OTHER {
            (other, is_told) = (other + n, true);
        } else {
            shares.push((value, n));
        }
    }
    if is_told {
        shares.push((OTHER.to_owned(), other));
    }
    shares
}

/// The same with fewer values: at most `most` and the rest as [`OTHER`].
pub fn fewer(shares: &[Share], most: usize) -> Vec<Share> {
    let named = shares.iter().filter(|(value, _)| value != OTHER);
    let mut fewer: Vec<Share> = named.take(most).cloned().collect();
    let all: u64 = shares.iter().map(|(_, n)| n).sum();
    let told: u64 = fewer.iter().map(|(_, n)| n).sum();
    if all > told {
        fewer.push((OTHER.to_owned(), all - told));
    }
    fewer
}

/// Durations that half, 9 of 10 and 99 of 100 stay within, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// Half.
    pub p50: u32,
    /// Nine of ten.
    pub p90: u32,
    /// Ninety-nine of a hundred.
    pub p99: u32,
}

impl Quantiles {
    /// By nearest rank: each is a duration that was measured. `None` of none.
    pub fn of(mut durations: Vec<u32>) -> Option<Self> {
        durations.sort_unstable();
        let rank = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations.get(rank - 1).copied()
        };
        Some(Self {
            p50: rank(50)?,
            p90: rank(90)?,
            p99: rank(99)?,
        })
    }
}

/// How long good peers let one wait; `None` where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// TCP connect.
    pub connect: Option<Quantiles>,
    /// Secure handshake.
    pub secure: Option<Quantiles>,
    /// Ping round trip.
    pub ping: Option<Quantiles>,
}

impl Latencies {
    /// Of these peers.
    pub fn of(peers: &[GoodPeer]) -> Self {
        let of = |which: fn(&GoodPeer) -> Option<u32>| {
            Quantiles::of(peers.iter().filter_map(which).collect())
        };
        Self {
            connect: of(|p| p.latency.connect_ms),
            secure: of(|p| p.latency.secure_ms),
            ping: of(|p| p.latency.ping_ms),
        }
    }

    /// Each with its stable name.
    pub const fn named(&self) -> [(&'static str, Option<Quantiles>); 3] {
        [
            ("connect", self.connect),
            ("secure", self.secure),
            ("ping", self.ping),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(agent: &str) -> GoodPeer {
        GoodPeer {
            user_agent: agent.into(),
            ..GoodPeer::unknown("1.2.3.4:1".parse().unwrap())
        }
    }

    #[test]
    fn the_most_frequent_are_told_and_the_rest_added_up() {
        let peers: Vec<GoodPeer> = ["a", "b", "b", "c", "c", "c", "d"].map(named).into();
        let told = |most| shares(&peers, Trait::UserAgent, most);
        let share = |value: &str, n| (value.to_owned(), n);
        assert_eq!(told(2), [share("c", 3), share("b", 2), share("other", 2)]);
        assert_eq!(told(4).len(), 4, "nothing is left to add up");
        assert!(shares(&peers, Trait::Country, 4).is_empty());
        assert_eq!(fewer(&told(3), 1), [share("c", 3), share("other", 4)]);
        assert_eq!(fewer(&told(3), 9), told(3));
    }

    #[test]
    fn a_peer_that_calls_itself_other_is_one_of_the_others() {
        let peers: Vec<GoodPeer> = ["other", "other", "a", "b"].map(named).into();
        let share = |value: &str, n| (value.to_owned(), n);
        let told = shares(&peers, Trait::UserAgent, 2);
        assert_eq!(told, [share("a", 1), share("other", 3)]);
    }

    #[test]
    fn traits_are_found_by_their_names() {
        for kind in Trait::ALL {
            assert_eq!(Trait::named(kind.as_str()), Some(kind));
        }
        assert_eq!(Trait::named("x"), None);
    }

    #[test]
    fn quantiles_are_measured_values() {
        let q = Quantiles::of((1..=200).rev().collect()).unwrap();
        assert_eq!((q.p50, q.p90, q.p99), (100, 180, 198));
        let one = Quantiles::of(vec![7]).unwrap();
        assert_eq!((one.p50, one.p99), (7, 7));
        assert_eq!(Quantiles::of(Vec::new()), None);
    }

    proptest! {
        #[test]
        fn nobody_is_lost_or_counted_twice(values in prop::collection::vec(0u8..40, 0..300), most in 0usize..50) {
            let counted = count(values.iter(), most);
            prop_assert!(counted.len() <= most + 1);
            prop_assert_eq!(counted.iter().map(|(_, n)| n).sum::<u64>(), values.len() as u64);
        }
    }
}
