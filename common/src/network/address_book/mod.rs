//! The address book: where other nodes are said to be, and which of them we have met.
//!
//! Addresses stand in two tables of buckets, those that were met (`tried`) and the others (`new`), at places that a secret
//! key chooses (module `tables`): who tells of many addresses, or has many in few netgroups, fills his share of the buckets and
//! no more. An address that was met is never pushed out by gossip, and by another that was met only after it was dialled
//! again and did not answer. Whom to dial is drawn bucket by bucket. Failures back off exponentially with jitter.
//! [`mod@file`] keeps the book across restarts. Time and randomness come in as arguments.

mod answers;
mod draw;
mod entry;
pub mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod invariants;
mod stats;
mod tables;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;

use rand::Rng;
use siphasher::sip::SipHasher24;

use self::answers::Answers;
pub use self::draw::Draw;
pub use self::entry::Entry;
pub use self::stats::{BookStats, LargestNetgroup, SeenStats, TableStats};
pub use self::tables::MAX_ADDRESSES;
use self::tables::{Places, Table};
use crate::network::protocol::addresses::Gossip;
use crate::reachability::Netgroups;
use crate::reachability::netgroup::{canonical_socket, is_dialable};
use crate::transport::DialBy;
use crate::wire::services::{NOISE, TLS};

/// Places that an address has at most while it was not met.
const MAX_PLACES: usize = 8;

/// Newcomers that wait for the place of another that was met, at most.
const MAX_CONTESTS: usize = 10;

/// Who answered so lately, in seconds, keeps its place without being asked (Bitcoin Core's figure).
const ANSWERED_LATELY: u64 = 4 * 3_600;

/// Seconds after which a contest is over for the newcomer, should nobody have been asked (Bitcoin Core's figure).
const CONTEST_ENDS: u64 = 40 * 60;

/// Seconds before the first retry after a failure; it doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: u64 = 10;

/// Longest back-off in seconds: an hour, so that a network that comes back is found again soon.
const MAX_BACKOFF: u64 = 3_600;

/// Failures in a row after which an address that was never met is forgotten.
const FORGET_AFTER: u32 = 8;

/// Seconds for which an address that has spoken Noise is dialled by nothing else, whatever is said of it: long enough
/// that cutting Noise off for a while gains nothing, and not for ever, since an address may get another node.
pub const NOISE_REMEMBERED: u64 = 30 * 24 * 3_600;

/// Seconds of a day.
const DAY: u64 = 24 * 3_600;

/// The source of what we have found out by ourselves.
const OWN: &str = "own";

/// Somebody whom we have met, and whose place is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contest {
    newcomer: SocketAddr,
    since: u64,
}

/// The book.
#[derive(Debug)]
pub struct AddressBook {
    entries: HashMap<SocketAddr, Entry, Keyed>,
    places: Places,
    new: Table,
    tried: Table,
    contests: Vec<Contest>,
    /// Whom the last session ended with.
    anchors: Vec<SocketAddr>,
    draw: Draw,
    answers: Answers,
    netgroups: Netgroups,
    allow_private: bool,
}

/// Hashes by the book's secret key: nobody can choose addresses that collide, and the same key and the same story always
/// give the same book.
#[derive(Debug, Clone, Copy)]
struct Keyed([u64; 2]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher24;

    fn build_hasher(&self) -> SipHasher24 {
        SipHasher24::new_with_keys(self.0[0], self.0[1])
    }
}

impl AddressBook {
    /// An empty book with a secret key; `allow_private` as in the chain spec.
    pub fn new(allow_private: bool) -> Self {
        Self::with_key(allow_private, rand::random())
    }

    /// An empty book whose places follow from `key`.
    pub fn with_key(allow_private: bool, key: [u64; 2]) -> Self {
        Self {
            entries: HashMap::with_hasher(Keyed(key)),
            places: Places::new(key),
            new: Table::of_unmet(),
            tried: Table::of_met(),
            contests: Vec::new(),
            anchors: Vec::new(),
            draw: Draw::ByNetgroup,
            answers: Answers::default(),
            netgroups: Netgroups::default(),
            allow_private,
        }
    }

    /// An empty book that groups addresses by these netgroups.
    #[must_use]
    pub fn grouping(self, netgroups: Netgroups) -> Self {
        Self { netgroups, ..self }
    }

    /// A book that draws in another way.
    #[must_use]
    pub fn drawing(self, draw: Draw) -> Self {
        Self { draw, ..self }
    }

    /// Takes an address that `source` told us. True when it is new and has found a place.
    pub fn add(&mut self, gossip: Gossip, source: &str) -> bool {
        let addr = canonical_socket(gossip.addr);
        if !is_dialable(addr, self.allow_private) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.last_seen = entry.last_seen.max(gossip.time);
            if entry.tried {
                return false;
            }
            entry.services |= gossip.services;
            let places = entry.sources.len();
            if places < MAX_PLACES && self.places.is_lucky(addr, source, places) {
                self.place(addr, source);
            }
            return false;
        }
        let entry = Entry::told(gossip.services, gossip.time, source);
        self.entries.insert(addr, entry);
        let placed = self.place(addr, source);
        if !placed {
            self.entries.remove(&addr);
        }
        placed
    }

    /// The node at `addr` speaks Noise, as it has shown or said over a secured connection.
    pub fn speaks_noise(&mut self, addr: SocketAddr, now: u64) {
        if let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) {
            entry.noise_at = now;
            entry.services |= NOISE;
        }
    }

    /// The node at `addr` spoke Noise with us and has proven that this is its static key. True if it had another before.
    pub fn spoke_noise(&mut self, addr: SocketAddr, key: [u8; 32], now: u64) -> bool {
        self.speaks_noise(addr, now);
        let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) else {
            return false;
        };
        entry.key_doubted = false;
        entry.static_key.replace(key).is_some_and(|old| old != key)
    }

    /// The node at `addr` did not answer to the key that it had: it is not asked to until it has shown which it has.
    pub fn doubt_key(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) {
            entry.key_doubted = true;
        }
    }

    /// How to dial `addr`: by Noise, unless it is said to speak TLS and not Noise, and has not shown otherwise within
    /// [`NOISE_REMEMBERED`]. That a dial by Noise fails changes nothing, so nobody on the path can choose.
    #[must_use]
    pub fn dial_by(&self, addr: SocketAddr, now: u64) -> DialBy {
        let Some(entry) = self.entries.get(&canonical_socket(addr)) else {
            return DialBy::Noise;
        };
        let only_tls = entry.services & TLS != 0 && entry.services & NOISE == 0;
        if only_tls && now >= entry.noise_at.saturating_add(NOISE_REMEMBERED) {
            return DialBy::Tls;
        }
        match entry.static_key {
            Some(key) if !entry.key_doubted => DialBy::NoiseKnowing(key),
            _ => DialBy::Noise,
        }
    }

    /// A handshake with `addr` succeeded.
    pub fn met(&mut self, addr: SocketAddr, services: u64, now: u64) {
        let addr = canonical_socket(addr);
        if !is_dialable(addr, self.allow_private) {
            return;
        }
        // By the day: others are told of it, and need not learn when we were connected to whom.
        let seen = (now - now % DAY) as u32;
        let entry = self.entries.entry(addr);
        let entry = entry.or_insert_with(|| Entry::told(services, seen, OWN));
        entry.services = services;
        entry.last_seen = entry.last_seen.max(seen);
        entry.last_success = now;
        entry.failures = 0;
        entry.not_before = now;
        if entry.tried {
            return;
        }
        match self.tried.get(self.met_place(addr)) {
            None => self.promote(addr),
            Some(_) => self.contest(addr, now),
        }
    }

    /// Dialling `addr`, or a handshake there, failed.
    pub fn failed<R: Rng>(&mut self, addr: SocketAddr, now: u64, rng: &mut R) {
        let addr = canonical_socket(addr);
        let Some(entry) = self.entries.get_mut(&addr) else {
            return;
        };
        entry.failures = entry.failures.saturating_add(1);
        entry.last_failure = now;
        let backoff = FIRST_BACKOFF.saturating_mul(1 << (entry.failures - 1).min(16));
        let backoff = backoff.min(MAX_BACKOFF);
        entry.not_before = now + backoff / 2 + rng.random_range(0..=backoff / 2);
        if entry.last_success == 0 && entry.failures >= FORGET_AFTER {
            self.forget(addr);
        }
    }

    /// Whom the next session is to dial first.
    pub fn set_anchors(&mut self, anchors: Vec<SocketAddr>) {
        self.anchors = anchors;
    }

    /// Whom the last session that had peers ended with.
    pub fn anchors(&self) -> &[SocketAddr] {
        &self.anchors
    }

    /// Leaves `addr` alone until `until`, Unix seconds; nothing is held against it.
    pub fn rest(&mut self, addr: SocketAddr, until: u64) {
        if let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) {
            entry.not_before = entry.not_before.max(until);
        }
    }

    /// Removes an address, e.g. our own.
    pub fn forget(&mut self, addr: SocketAddr) {
        let addr = canonical_socket(addr);
        let Some(entry) = self.entries.remove(&addr) else {
            return;
        };
        self.contests.retain(|contest| contest.newcomer != addr);
        let group = self.group(addr);
        if entry.tried {
            self.tried.clear(self.places.met(addr, &group), &group);
        }
        for source in &entry.sources {
            self.new
                .clear(self.places.unmet(addr, &group, source), &group);
        }
    }

    /// Whether it is in the book.
    pub fn knows(&self, addr: SocketAddr) -> bool {
        self.entries.contains_key(&canonical_socket(addr))
    }

    /// Number of addresses, and how many of them were met.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.entries.len(),
            self.entries.values().filter(|e| e.tried).count(),
        )
    }

    /// Puts an address that was not met where `source` lets it stand. Another that stands there gives way if it has
    /// failed, or stands elsewhere too and the newcomer stands nowhere.
    fn place(&mut self, addr: SocketAddr, source: &str) -> bool {
        let group = self.group(addr);
        let place = self.places.unmet(addr, &group, source);
        let homeless = self
            .entries
            .get(&addr)
            .is_some_and(|e| e.sources.is_empty());
        if let Some(other) = self.new.get(place) {
            let gives_way = other != addr
                && self.entries.get(&other).is_none_or(|other| {
                    other.is_hopeless() || (homeless && other.sources.len() > 1)
                });
            if !gives_way {
                return false;
            }
            self.displace(other, place);
        }
        self.new.put(place, addr, &group);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.sources.push(source.to_owned());
        }
        true
    }

    /// Takes one place from an address that was not met; with its last one it is forgotten.
    fn displace(&mut self, addr: SocketAddr, place: usize) {
        let (group, places) = (self.group(addr), self.places);
        self.new.clear(place, &group);
        if let Some(entry) = self.entries.get_mut(&addr) {
            let stands = |source: &String| places.unmet(addr, &group, source) != place;
            entry.sources.retain(stands);
            if entry.sources.is_empty() && !entry.tried {
                self.forget(addr);
            }
        }
    }

    /// Moves an address to its place among the met, which is free.
    fn promote(&mut self, addr: SocketAddr) {
        let group = self.group(addr);
        let Some(entry) = self.entries.get_mut(&addr) else {
            return;
        };
        entry.tried = true;
        for source in std::mem::take(&mut entry.sources) {
            self.new
                .clear(self.places.unmet(addr, &group, &source), &group);
        }
        self.tried.put(self.places.met(addr, &group), addr, &group);
        self.contests.retain(|contest| contest.newcomer != addr);
    }

    /// Moves an address from the met back to the others, or forgets it where it finds no place.
    fn demote(&mut self, addr: SocketAddr) {
        let group = self.group(addr);
        self.tried.clear(self.places.met(addr, &group), &group);
        let Some(entry) = self.entries.get_mut(&addr) else {
            return;
        };
        entry.tried = false;
        let source = entry.first_source.clone();
        if !self.place(addr, &source) {
            self.entries.remove(&addr);
        }
    }

    /// `addr` was met, and another stands in its place: that one is to be asked first.
    fn contest(&mut self, addr: SocketAddr, now: u64) {
        let homeless = self
            .entries
            .get(&addr)
            .is_some_and(|e| e.sources.is_empty());
        if homeless && !self.place(addr, OWN) {
            self.entries.remove(&addr);
            return;
        }
        let known = |contest: &Contest| contest.newcomer == addr;
        if self.contests.len() < MAX_CONTESTS && !self.contests.iter().any(known) {
            self.contests.push(Contest {
                newcomer: addr,
                since: now,
            });
        }
    }

    /// Ends the contests that can be decided.
    fn settle(&mut self, now: u64) {
        for contest in std::mem::take(&mut self.contests) {
            let newcomer = contest.newcomer;
            let holder = self.tried.get(self.met_place(newcomer));
            let stands = holder.and_then(|holder| self.entries.get(&holder));
            match (holder, stands) {
                (Some(_), Some(entry))
                    if now < entry.last_success.saturating_add(ANSWERED_LATELY) => {}
                (Some(_), Some(entry))
                    if entry.last_failure <= entry.last_success
                        && now < contest.since.saturating_add(CONTEST_ENDS) =>
                {
                    self.contests.push(contest);
                }
                (Some(holder), _) => {
                    self.demote(holder);
                    if self.entries.contains_key(&newcomer) {
                        self.promote(newcomer);
                    }
                }
                (None, _) => self.promote(newcomer),
            }
        }
    }

    fn met_place(&self, addr: SocketAddr) -> usize {
        self.places.met(addr, &self.group(addr))
    }

    fn group(&self, addr: SocketAddr) -> String {
        if self.allow_private {
            addr.to_string()
        } else {
            self.netgroups.of(addr.ip()).to_string()
        }
    }
}
