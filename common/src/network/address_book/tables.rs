//! Where in the book an address may stand: buckets of 64 places, chosen by a secret key from what an attacker can't
//! choose freely. All addresses that one netgroup tells of lie in 64 of the 1,024 buckets of addresses that nobody has met,
//! and those of one netgroup that we have met in 8 of the 256 others. The numbers are Bitcoin Core's, after "Eclipse
//! Attacks on Bitcoin's Peer-to-Peer Network" (Heilman and others, 2015).

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

/// Buckets of addresses that nobody has met.
const NEW_BUCKETS: usize = 1_024;

/// Buckets of addresses that we have met.
const TRIED_BUCKETS: usize = 256;

/// Places of a bucket.
const BUCKET: usize = 64;

/// Buckets over which the addresses that one source tells of are spread.
const BUCKETS_PER_SOURCE: u64 = 64;

/// Buckets over which the addresses of one netgroup that we have met are spread.
const BUCKETS_PER_GROUP: u64 = 8;

/// Most addresses that a book holds.
pub const MAX_ADDRESSES: usize = (NEW_BUCKETS + TRIED_BUCKETS) * BUCKET;

/// Chooses places. Who does not know the key can't tell which addresses push each other out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    key: [u64; 2],
}

/// What a hash is for, so that none says anything about another.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Use {
    SourceSpread = 1,
    NewBucket,
    NewPlace,
    GroupSpread,
    TriedBucket,
    TriedPlace,
    Luck,
}

impl Places {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    pub(super) fn key(self) -> [u64; 2] {
        self.key
    }

    /// The place in the table of the unmet for an address of `group` that `source` told.
    pub(super) fn unmet(self, addr: SocketAddr, group: &str, source: &str) -> usize {
        let (group, source) = (group.as_bytes(), source.as_bytes());
        let spread = self.hash(Use::SourceSpread, &[group, source]) % BUCKETS_PER_SOURCE;
        let bucket = self.hash(Use::NewBucket, &[source, &spread.to_be_bytes()]);
        self.place(Use::NewPlace, bucket, NEW_BUCKETS, addr)
    }

    /// The place in the table of the met for an address of `group`.
    pub(super) fn met(self, addr: SocketAddr, group: &str) -> usize {
        let spread = self.hash(Use::GroupSpread, &[&bytes(addr)]) % BUCKETS_PER_GROUP;
        let bucket = self.hash(Use::TriedBucket, &[group.as_bytes(), &spread.to_be_bytes()]);
        self.place(Use::TriedPlace, bucket, TRIED_BUCKETS, addr)
    }

    /// Whether an address that stands at `places` gets one more because `source` tells of it too: each is half as likely
    /// as the one before. To say it again does not help.
    pub(super) fn is_lucky(self, addr: SocketAddr, source: &str, places: usize) -> bool {
        let hash = self.hash(Use::Luck, &[&bytes(addr), source.as_bytes()]);
        hash.trailing_zeros() as usize >= places
    }

    fn place(self, what: Use, bucket: u64, buckets: usize, addr: SocketAddr) -> usize {
        let bucket = bucket % buckets as u64;
        let place = self.hash(what, &[&bucket.to_be_bytes(), &bytes(addr)]) % BUCKET as u64;
        // Both are small: the sum is a place of the table.
        (bucket * BUCKET as u64 + place) as usize
    }

    fn hash(self, what: Use, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u8(what as u8);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish()
    }
}

/// 16 bytes of address and 2 of port.
fn bytes(addr: SocketAddr) -> [u8; 18] {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&addr.port().to_be_bytes());
    bytes
}

/// A table of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    places: Vec<Option<SocketAddr>>,
    /// How many places of each bucket are taken.
    taken: Vec<u8>,
    /// How many places each netgroup has.
    groups: HashMap<String, u32>,
}

impl Table {
    pub(super) fn of_unmet() -> Self {
        Self::with(NEW_BUCKETS)
    }

    pub(super) fn of_met() -> Self {
        Self::with(TRIED_BUCKETS)
    }

    fn with(buckets: usize) -> Self {
        Self {
            places: vec![None; buckets * BUCKET],
            taken: vec![0; buckets],
            groups: HashMap::new(),
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<SocketAddr> {
        self.places.get(place).copied().flatten()
    }

    /// Puts an address of `group` in a place that is free.
    pub(super) fn put(&mut self, place: usize, addr: SocketAddr, group: &str) {
        if self.set(place, Some(addr)).is_none()
            && let Some(taken) = self.taken.get_mut(place / BUCKET)
        {
            *taken += 1;
            *self.groups.entry(group.to_owned()).or_default() += 1;
        }
    }

    /// Takes an address of `group` from its place.
    pub(super) fn clear(&mut self, place: usize, group: &str) {
        if self.set(place, None).is_some()
            && let Some(taken) = self.taken.get_mut(place / BUCKET)
        {
            *taken -= 1;
            let left = self.groups.get_mut(group).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                self.groups.remove(group);
            }
        }
    }

    /// How many places a netgroup has.
    pub(super) fn places_of(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }

    /// How many netgroups have a place.
    pub(super) fn netgroups(&self) -> usize {
        self.groups.len()
    }

    /// Who has most places; of equals, one by its name, so that the same book always says the same.
    pub(super) fn largest_netgroup(&self) -> Option<(&str, u32)> {
        let groups = self.groups.iter();
        let groups = groups.map(|(group, places)| (group.as_str(), *places));
        groups.max_by_key(|(group, places)| (*places, *group))
    }

    fn set(&mut self, place: usize, to: Option<SocketAddr>) -> Option<SocketAddr> {
        let place = self.places.get_mut(place)?;
        std::mem::replace(place, to)
    }

    /// The buckets that are not empty.
    pub(super) fn buckets(&self) -> Vec<usize> {
        let taken = self.taken.iter().enumerate();
        taken
            .filter(|(_, taken)| **taken > 0)
            .map(|(bucket, _)| bucket)
            .collect()
    }

    /// The addresses of a bucket.
    pub(super) fn bucket(&self, bucket: usize) -> impl Iterator<Item = SocketAddr> {
        let places = self.places.get(bucket * BUCKET..(bucket + 1) * BUCKET);
        places.unwrap_or_default().iter().copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn addr(n: u32) -> SocketAddr {
        let ip = std::net::Ipv4Addr::from(0x0b00_0000 + n);
        SocketAddr::new(ip.into(), 8333)
    }

    const PLACES: Places = Places { key: [1, 2] };

    #[test]
    fn a_source_reaches_64_buckets_and_a_group_8_and_both_reach_them_all() {
        let buckets = |of: &dyn Fn(u32) -> usize| -> HashSet<usize> {
            (0..20_000).map(|n| of(n) / BUCKET).collect()
        };
        let group = |n: u32| format!("{n}");
        let of_source = buckets(&|n| PLACES.unmet(addr(n), &group(n), "one source"));
        assert!(of_source.len() > 50 && of_source.len() <= 64);
        let of_group = buckets(&|n| PLACES.met(addr(n), "one group"));
        assert_eq!(of_group.len(), 8);
        let all = buckets(&|n| PLACES.unmet(addr(n), &group(n), &group(n + 7)));
        assert!(all.len() > 1_000);
        assert_eq!(buckets(&|n| PLACES.met(addr(n), &group(n))).len(), 256);
    }

    #[test]
    fn another_key_chooses_other_places() {
        let other = Places::new([1, 3]);
        let same = (0..10_000)
            .filter(|n| PLACES.met(addr(*n), "x") == other.met(addr(*n), "x"))
            .count();
        assert!(same < 20, "{same} of 10,000 by chance");
    }

    #[test]
    fn luck_halves_with_each_place() {
        for places in 1..=4 {
            let lucky = (0..16_000).filter(|n| PLACES.is_lucky(addr(*n), "x", places));
            let expected = 16_000 >> places;
            let lucky = lucky.count();
            assert!(lucky.abs_diff(expected) < expected / 4, "{places}: {lucky}");
        }
    }

    #[test]
    fn a_table_knows_which_buckets_are_not_empty() {
        let mut table = Table::of_met();
        assert!(table.buckets().is_empty());
        table.put(5 * BUCKET, addr(1), "a");
        table.put(5 * BUCKET + 1, addr(3), "a");
        assert_eq!((table.places_of("a"), table.places_of("b")), (2, 0));
        assert_eq!(table.buckets(), [5]);
        assert_eq!(table.bucket(5).collect::<Vec<_>>(), [addr(1), addr(3)]);
        for place in [5 * BUCKET, 5 * BUCKET + 1, 5 * BUCKET + 1] {
            table.clear(place, "a");
        }
        assert_eq!(table, Table::of_met());
    }
}
