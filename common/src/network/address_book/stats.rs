//! What is in the book, in figures.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{AddressBook, DAY, Entry, MAX_ADDRESSES};
use crate::wire::services::NOISE;

/// What a book holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BookStats {
    /// Addresses in all.
    pub addresses: usize,
    /// Most that fit.
    pub capacity: usize,
    /// Addresses that were met.
    pub tried: TableStats,
    /// The others, known by hearsay.
    pub new: TableStats,
    /// When they were last seen, by us or by hearsay.
    pub seen: SeenStats,
    /// Addresses that did not answer when they were dialled last.
    pub failing: usize,
    /// Addresses that are known to speak Noise.
    pub noise: usize,
    /// Addresses that the next session dials first.
    pub anchors: usize,
}

/// One of its two tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableStats {
    /// IPv4 addresses.
    pub ipv4: usize,
    /// IPv6 addresses.
    pub ipv6: usize,
    /// Netgroups with an address in it.
    pub netgroups: usize,
    /// The netgroup with most places, and how many it has.
    pub largest_netgroup: Option<LargestNetgroup>,
}

/// The netgroup that has most places of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LargestNetgroup {
    /// Its name, e.g. `192.0.0.0/16` or `AS64500`; on devnets an address.
    pub netgroup: String,
    /// Its places; an address by hearsay may have several.
    pub places: u32,
}

/// How fresh addresses are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SeenStats {
    /// Within a day.
    pub day: usize,
    /// Within a week, and not within a day.
    pub week: usize,
    /// Within 30 days, and not within a week.
    pub month: usize,
    /// Longer ago.
    pub older: usize,
}

impl SeenStats {
    fn count(&mut self, age: u64) {
        *match age / DAY {
            0 => &mut self.day,
            1..7 => &mut self.week,
            7..30 => &mut self.month,
            _ => &mut self.older,
        } += 1;
    }
}

impl TableStats {
    fn count(&mut self, addr: SocketAddr) {
        match addr.ip() {
            IpAddr::V4(_) => self.ipv4 += 1,
            IpAddr::V6(_) => self.ipv6 += 1,
        }
    }
}

impl BookStats {
    fn count(&mut self, addr: SocketAddr, entry: &Entry, now: u64) {
        self.addresses += 1;
        if entry.tried {
            self.tried.count(addr);
        } else {
            self.new.count(addr);
        }
        self.seen.count(now.saturating_sub(entry.last_seen.into()));
        self.failing += usize::from(entry.failures > 0);
        self.noise += usize::from(entry.services & NOISE != 0);
    }
}

impl AddressBook {
    /// What the book holds at `now`, Unix seconds. Looks at every address: a few milliseconds when it is full.
    #[must_use]
    pub fn stats(&self, now: u64) -> BookStats {
        let mut stats = BookStats {
            capacity: MAX_ADDRESSES,
            anchors: self.anchors.len(),
            ..BookStats::default()
        };
        for (addr, entry) in &self.entries {
            stats.count(*addr, entry, now);
        }
        for (table, of) in [(&self.tried, &mut stats.tried), (&self.new, &mut stats.new)] {
            of.netgroups = table.netgroups();
            of.largest_netgroup = table.largest_netgroup().map(|(netgroup, places)| {
                let netgroup = netgroup.to_owned();
                LargestNetgroup { netgroup, places }
            });
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::protocol::addresses::Gossip;

    #[test]
    fn addresses_are_counted_by_table_family_and_age() {
        let now = 1_800_000_000;
        let mut book = AddressBook::with_key(false, [1, 2]);
        let told = |addr: &str, days: u64, services| Gossip {
            addr: addr.parse().unwrap(),
            services,
            time: (now - days * DAY) as u32,
        };
        for (addr, days, services) in [
            ("9.8.7.6:8333", 0, NOISE),
            ("9.8.7.7:8333", 3, 0),
            ("11.8.7.7:8333", 10, 0),
            ("[2a01:db9::1]:8333", 100, 0),
        ] {
            assert!(book.add(told(addr, days, services), "dns:test"), "{addr}");
        }
        book.met("9.8.7.6:8333".parse().unwrap(), NOISE, now);
        book.failed("11.8.7.7:8333".parse().unwrap(), now, &mut rand::rng());
        let stats = book.stats(now);
        assert_eq!((stats.addresses, stats.capacity), (4, MAX_ADDRESSES));
        assert_eq!((stats.tried.ipv4, stats.tried.ipv6), (1, 0));
        assert_eq!((stats.new.ipv4, stats.new.ipv6), (2, 1));
        assert_eq!((stats.tried.netgroups, stats.new.netgroups), (1, 3));
        assert_eq!(stats.tried.largest_netgroup.unwrap().netgroup, "9.8.0.0/16");
        let seen = stats.seen;
        assert_eq!((seen.day, seen.week, seen.month, seen.older), (1, 1, 1, 1));
        assert_eq!((stats.failing, stats.noise), (1, 1));
        assert_eq!(AddressBook::new(true).stats(now).addresses, 0);
    }
}
