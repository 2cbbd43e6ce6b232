//! Which of the good peers a zone serves, and what is drawn ahead of it.

use std::{
    fmt,
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use quantumcoin::reachability::{Netgroup, overlay::is_stand_in};
use siphasher::sip::SipHasher24;

use super::USUAL_FILTERS;

/// What an operator says of the peers of a zone. Zones with equal selections share what is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The zone's share of all peers.
    pub slice: Slice,
    /// Service bits that every peer of the zone has, 0 for none.
    pub services: u64,
    /// Filters whose answers are drawn and written ahead; any other is answered when it is asked for.
    pub filters: Vec<u64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            slice: Slice::default(),
            services: 0,
            filters: USUAL_FILTERS.to_vec(),
        }
    }
}

impl Selection {
    /// Whether a peer with this address and these service bits is one of the zone's.
    #[must_use]
    pub fn holds(&self, addr: SocketAddr, services: u64) -> bool {
        services & self.services == self.services && self.slice.holds(addr.ip())
    }
}

/// One of several disjoint shares of all netgroups (/16 and /32). Which one a netgroup is in depends on nothing else, so that
/// seeders that know nothing of each other serve disjoint shares as well; and whoever has many addresses in one is in one slice alone.
/// (A devnet on loopback is a single netgroup: slices are not for it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    index: u16,
    count: u16,
}

/// The text is no slice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no slice: write which of how many, from 1/1 to 1000/1000, as in 2/4")]
pub struct NoSlice(String);

/// Most slices: a zone with less than a thousandth of a network has too few peers to be a seed.
const MAX_SLICES: u16 = 1000;

impl Default for Slice {
    /// All.
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

impl Slice {
    /// Whether an address is in it. The hash is SipHash-2-4 with a key of zeros over the first two bytes of an IPv4 address, the first four
    /// of an IPv6 address, and all of what stands for a name.
    #[must_use]
    pub fn holds(self, ip: IpAddr) -> bool {
        if self.count == 1 {
            return true;
        }
        let mut hasher = SipHasher24::new();
        match (ip, Netgroup::of(ip)) {
            (IpAddr::V6(name), _) if is_stand_in(ip) => hasher.write(&name.octets()),
            (_, Netgroup::V4(group)) => hasher.write(&group),
            (_, Netgroup::V6(group)) => hasher.write(&group),
            // No map is asked here.
            (_, Netgroup::As(number)) => hasher.write(&number.to_be_bytes()),
        }
        hasher.finish() % u64::from(self.count) == u64::from(self.index) - 1
    }
}

impl FromStr for Slice {
    type Err = NoSlice;

    fn from_str(text: &str) -> Result<Self, NoSlice> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.trim().parse().ok()?, count.trim().parse().ok()?);
            ((1..=count).contains(&index) && count <= MAX_SLICES).then_some(Self { index, count })
        });
        numbers.ok_or_else(|| NoSlice(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slices_are_read_and_shown() {
        assert_eq!("2/4".parse::<Slice>().unwrap().to_string(), "2/4");
        assert_eq!("1/1".parse(), Ok(Slice::default()));
        for wrong in [
            "", "0/4", "5/4", "1", "1/0", "-1/4", "1/1001", "1/4/4", "a/b",
        ] {
            let error = wrong.parse::<Slice>().unwrap_err().to_string();
            assert!(error.contains("as in 2/4"), "{error}");
        }
    }

    #[test]
    fn slices_are_of_about_one_size() {
        let slices: Vec<Slice> = (1..=4).map(|n| format!("{n}/4").parse().unwrap()).collect();
        let sizes = slices.iter().map(|slice| {
            let held = (0..40_000_u32).filter(|n| slice.holds(Ipv4Addr::from(n << 16).into()));
            held.count()
        });
        for size in sizes {
            assert!((9_600..=10_400).contains(&size), "{size} of 40,000");
        }
    }

    /// Other seeders count on it. (The numbers were computed by another implementation of SipHash.)
    #[test]
    fn which_slice_an_address_is_in_never_changes() {
        let slice_of = |ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            let slices = (1..=7).map(|n| format!("{n}/7").parse::<Slice>().unwrap());
            slices
                .filter(|slice| slice.holds(ip))
                .map(|slice| slice.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(slice_of("192.0.2.7"), [3]);
        assert_eq!(slice_of("2001:db8::7"), [5]);
    }

    proptest! {
        #[test]
        fn every_address_is_in_exactly_one_slice(ip in any::<IpAddr>(), count in 1_u16..50) {
            let holders = (1..=count).filter(|index| Slice { index: *index, count }.holds(ip));
            prop_assert_eq!(holders.count(), 1);
        }
    }
}
