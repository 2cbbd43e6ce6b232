//! The address book: where other nodes are said to be, and which of them we have met.
//!
//! Bounded in all and for each source netgroup, so that no single teller can fill it. An address that was
//! met (`tried`) is never pushed out by gossip. Failures back off exponentially with jitter. [`mod@file`] keeps
//! the book across restarts.

pub mod file;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::{IteratorRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use crate::network::protocol::addresses::Gossip;
use crate::reachability::netgroup::{Netgroup, canonical_socket, is_dialable};
use crate::transport::DialBy;
use crate::wire::services::{NOISE, TLS};

/// Most addresses kept: Bitcoin Core's 1,024 × 64 places, about 10 MB here at the worst.
pub const MAX_ADDRESSES: usize = 65_536;

/// Most addresses kept that one source netgroup told us and that nobody has met.
pub const MAX_PER_SOURCE: usize = 4_096;

/// Addresses pushed out at once when the book is full: finding the worst looks at all of them, so it must
/// not be done for each newcomer.
const EVICTED_AT_ONCE: usize = MAX_ADDRESSES / 64;

/// Seconds before the first retry after a failure; it doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: u64 = 10;

/// Longest back-off in seconds: an hour, so that a network that comes back is found again soon.
const MAX_BACKOFF: u64 = 3_600;

/// Failures in a row after which an address that was never met is forgotten.
const FORGET_AFTER: u32 = 8;

/// Share of the book that one `getaddr` answer may show, in percent (Bitcoin Core): scraping it all takes
/// time. Books of a private network's size are told whole up to [`ANSWER_FLOOR`].
const ANSWER_PERCENT: usize = 23;

/// Fewest addresses of an answer when the book has that many: below it there is nothing to hide, and
/// newcomers of a small network must hear of everybody.
const ANSWER_FLOOR: usize = 64;

/// Seconds since somebody saw an address after which it is not told any more (Bitcoin Core's horizon).
const HORIZON: u32 = 30 * 24 * 3_600;

/// Seconds for which an address that has spoken Noise is dialled by nothing else, whatever is said of it: long enough
/// that cutting Noise off for a while gains nothing, and not for ever, since an address may get another node.
pub const NOISE_REMEMBERED: u64 = 30 * 24 * 3_600;

/// What we know of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Service bits, as last claimed.
    pub services: u64,
    /// Unix seconds when it was last seen, by us or by hearsay.
    pub last_seen: u32,
    /// Whether we have completed a handshake there.
    pub tried: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Unix seconds before which it is not dialled again.
    pub not_before: u64,
    /// Netgroup of who told us first, as text.
    pub source: String,
    /// Unix seconds when it last spoke Noise with us or said so itself; 0 for never.
    #[serde(default)]
    pub noise_at: u64,
    /// The X25519 static key that the node there had when it last spoke Noise with us.
    #[serde(default, with = "static_key", skip_serializing_if = "Option::is_none")]
    pub static_key: Option<[u8; 32]>,
    /// It did not answer to [`Self::static_key`] when it was last asked to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_doubted: bool,
}

/// The book. Time and randomness come in as arguments.
#[derive(Debug)]
pub struct AddressBook {
    entries: HashMap<SocketAddr, Entry>,
    untried_of_source: HashMap<String, usize>,
    allow_private: bool,
}

impl AddressBook {
    /// An empty book; `allow_private` as in the chain spec.
    pub fn new(allow_private: bool) -> Self {
        Self {
            entries: HashMap::new(),
            untried_of_source: HashMap::new(),
            allow_private,
        }
    }

    /// Takes an address that `source` told us. True when it is new.
    pub fn add(&mut self, gossip: Gossip, source: &str) -> bool {
        let addr = canonical_socket(gossip.addr);
        if !is_dialable(addr, self.allow_private) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.last_seen = entry.last_seen.max(gossip.time);
            if !entry.tried {
                entry.services |= gossip.services;
            }
            return false;
        }
        let of_source = self.untried_of_source.get(source).copied().unwrap_or(0);
        if of_source >= MAX_PER_SOURCE || (self.entries.len() >= MAX_ADDRESSES && !self.make_room())
        {
            return false;
        }
        *self.untried_of_source.entry(source.to_owned()).or_default() += 1;
        let entry = Entry {
            services: gossip.services,
            last_seen: gossip.time,
            tried: false,
            failures: 0,
            not_before: 0,
            source: source.to_owned(),
            noise_at: 0,
            static_key: None,
            key_doubted: false,
        };
        self.entries.insert(addr, entry);
        true
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
        self.add(
            Gossip {
                addr,
                services,
                time: now as u32,
            },
            "own",
        );
        if let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) {
            if !std::mem::replace(&mut entry.tried, true) {
                decrement(&mut self.untried_of_source, &entry.source);
            }
            entry.services = services;
            entry.last_seen = now as u32;
            entry.failures = 0;
            entry.not_before = now;
        }
    }

    /// Dialling `addr`, or a handshake there, failed.
    pub fn failed<R: Rng>(&mut self, addr: SocketAddr, now: u64, rng: &mut R) {
        let addr = canonical_socket(addr);
        let Some(entry) = self.entries.get_mut(&addr) else {
            return;
        };
        entry.failures = entry.failures.saturating_add(1);
        if !entry.tried && entry.failures >= FORGET_AFTER {
            self.forget(addr);
            return;
        }
        let backoff = FIRST_BACKOFF.saturating_mul(1 << (entry.failures - 1).min(16));
        let backoff = backoff.min(MAX_BACKOFF);
        entry.not_before = now + backoff / 2 + rng.random_range(0..=backoff / 2);
    }

    /// Leaves `addr` alone until `until`, Unix seconds; nothing is held against it.
    pub fn rest(&mut self, addr: SocketAddr, until: u64) {
        if let Some(entry) = self.entries.get_mut(&canonical_socket(addr)) {
            entry.not_before = entry.not_before.max(until);
        }
    }

    /// Removes an address, e.g. our own.
    pub fn forget(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.entries.remove(&canonical_socket(addr))
            && !entry.tried
        {
            decrement(&mut self.untried_of_source, &entry.source);
        }
    }

    /// Up to `count` addresses to dial now, met and unmet ones in equal shares, chosen at random, at most
    /// one of each netgroup and none of the netgroups of `taken`. An `excluded` address is left out without
    /// taking its netgroup's place. On devnets, where all share one netgroup, an address is its own group.
    pub fn choose<R: Rng>(
        &self,
        count: usize,
        taken: &HashSet<SocketAddr>,
        excluded: impl Fn(&SocketAddr) -> bool,
        now: u64,
        rng: &mut R,
    ) -> Vec<SocketAddr> {
        let mut groups: HashSet<String> = taken.iter().map(|a| self.group(*a)).collect();
        let mut chosen = Vec::new();
        let (mut tried, mut new): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.not_before <= now)
            .filter(|(addr, _)| !taken.contains(*addr) && !excluded(addr))
            .map(|(addr, entry)| (*addr, entry.tried))
            .partition(|(_, tried)| *tried);
        tried.shuffle(rng);
        new.shuffle(rng);
        while chosen.len() < count {
            let first = if rng.random() { &mut tried } else { &mut new };
            let next = if let Some(next) = first.pop() {
                Some(next)
            } else {
                tried.pop().or(new.pop())
            };
            let Some((addr, _)) = next else { break };
            if groups.insert(self.group(addr)) {
                chosen.push(addr);
            }
        }
        chosen
    }

    /// What to answer to `getaddr`: at most 1,000 and at most 23 % of the book, recently seen, at random.
    pub fn answer<R: Rng>(&self, now: u32, rng: &mut R) -> Vec<Gossip> {
        let share = (self.entries.len() * ANSWER_PERCENT / 100).max(ANSWER_FLOOR);
        let most = share.min(crate::network::protocol::addresses::MAX_ADDRESSES);
        self.entries
            .iter()
            .filter(|(_, e)| e.tried || e.failures == 0)
            .filter(|(_, e)| now.saturating_sub(e.last_seen) < HORIZON)
            .map(|(addr, e)| Gossip {
                addr: *addr,
                services: e.services,
                time: e.last_seen,
            })
            .choose_multiple(rng, most)
    }

    /// Number of addresses, and how many of them were met.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.entries.len(),
            self.entries.values().filter(|e| e.tried).count(),
        )
    }

    fn group(&self, addr: SocketAddr) -> String {
        if self.allow_private {
            addr.to_string()
        } else {
            Netgroup::of(addr.ip()).to_string()
        }
    }

    /// Pushes out the worst unmet addresses, those that failed most and then the longest unseen; met ones
    /// stay. False when there are none.
    fn make_room(&mut self) -> bool {
        let mut unmet: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, e)| !e.tried)
            .map(|(addr, e)| (std::cmp::Reverse(e.failures), e.last_seen, *addr))
            .collect();
        if unmet.len() > EVICTED_AT_ONCE {
            unmet.select_nth_unstable(EVICTED_AT_ONCE);
            unmet.truncate(EVICTED_AT_ONCE);
        }
        for (_, _, addr) in &unmet {
            self.forget(*addr);
        }
        !unmet.is_empty()
    }
}

/// Static keys in the file: base64url without padding.
mod static_key {
    use data_encoding::BASE64URL_NOPAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        key: &Option<[u8; 32]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.map(|key| BASE64URL_NOPAD.encode(&key)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        let key = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Some)
            .ok_or_else(|| D::Error::custom("a static key is 43 characters of base64url"))
    }
}

fn decrement(counts: &mut HashMap<String, usize>, source: &str) {
    if let Some(count) = counts.get_mut(source) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn gossip(n: u32) -> Gossip {
        let ip = std::net::Ipv4Addr::from(0x0b00_0000 + n);
        Gossip {
            addr: SocketAddr::new(ip.into(), 8333),
            services: 9,
            time: 1_000,
        }
    }

    /// A time long after the start of Unix time.
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn only_who_is_said_to_speak_tls_alone_is_dialled_by_it_and_only_until_it_speaks_noise() {
        let addr = gossip(1).addr;
        let told = |services: &[u64]| {
            let mut book = AddressBook::new(false);
            for (n, services) in services.iter().enumerate() {
                let gossip = Gossip {
                    services: *services,
                    ..gossip(1)
                };
                book.add(gossip, &format!("source {n}"));
            }
            book
        };
        for noise in [&[][..], &[0], &[9], &[NOISE], &[NOISE | TLS], &[TLS, NOISE]] {
            assert_eq!(told(noise).dial_by(addr, NOW), DialBy::Noise, "{noise:?}");
        }
        let mut book = told(&[9 | TLS]);
        assert_eq!(book.dial_by(addr, NOW), DialBy::Tls);
        book.failed(addr, 5, &mut StdRng::seed_from_u64(1));
        assert_eq!(book.dial_by(addr, NOW), DialBy::Tls);
        book.speaks_noise(addr, NOW);
        book.met(addr, 9 | TLS, 10);
        assert_eq!(
            book.dial_by(addr, NOW),
            DialBy::Noise,
            "shown, and not forgotten soon"
        );
        let later = NOW + NOISE_REMEMBERED;
        assert_eq!(book.dial_by(addr, later - 1), DialBy::Noise);
        assert_eq!(book.dial_by(addr, later), DialBy::Tls);
    }

    #[test]
    fn a_node_is_dialled_with_the_key_that_it_had_until_it_does_not_answer_to_it() {
        let addr = gossip(1).addr;
        let mut book = AddressBook::new(false);
        book.met(addr, 9 | NOISE, NOW);
        assert_eq!(book.dial_by(addr, NOW), DialBy::Noise);
        assert!(
            !book.spoke_noise(addr, [1; 32], NOW),
            "the first is no change"
        );
        assert_eq!(book.dial_by(addr, NOW), DialBy::NoiseKnowing([1; 32]));
        book.doubt_key(addr);
        assert_eq!(book.dial_by(addr, NOW), DialBy::Noise);
        assert!(
            !book.spoke_noise(addr, [1; 32], NOW),
            "it was there after all"
        );
        assert_eq!(book.dial_by(addr, NOW), DialBy::NoiseKnowing([1; 32]));
        book.doubt_key(addr);
        assert!(book.spoke_noise(addr, [2; 32], NOW), "another");
        assert_eq!(book.dial_by(addr, NOW), DialBy::NoiseKnowing([2; 32]));
        let text = serde_json::to_string(&book.entries[&addr]).unwrap();
        assert!(text.contains(r#""static_key":"AgIC"#), "{text}");
        assert_eq!(
            serde_json::from_str::<Entry>(&text).unwrap(),
            book.entries[&addr]
        );
        let short = text.replace("AgIC", "");
        let error = serde_json::from_str::<Entry>(&short).unwrap_err();
        assert!(error.to_string().contains("43 characters"), "{error}");
    }

    #[test]
    fn one_source_cannot_fill_the_book() {
        let mut book = AddressBook::new(false);
        for n in 0..10_000 {
            book.add(gossip(n), "evil");
        }
        assert_eq!(book.counts().0, MAX_PER_SOURCE);
        assert!(book.add(gossip(10_001), "honest"));
    }

    #[test]
    fn a_full_book_keeps_the_ones_it_has_met() {
        let mut book = AddressBook::new(false);
        book.met(gossip(0).addr, 9, 1_000);
        for n in 1..(MAX_ADDRESSES as u32 + 100) {
            book.add(gossip(n), &format!("source{}", n % 100));
        }
        assert_eq!(book.counts(), (MAX_ADDRESSES - EVICTED_AT_ONCE + 100, 1));
        assert_eq!(
            book.untried_of_source.values().sum::<usize>(),
            book.counts().0 - 1
        );
    }

    #[test]
    fn the_worst_go_first() {
        let mut book = AddressBook::new(false);
        let mut rng = StdRng::seed_from_u64(1);
        for n in 0..MAX_ADDRESSES as u32 {
            book.add(gossip(n), &format!("source{}", n % 100));
        }
        let bad: Vec<_> = (0..100).map(|n| gossip(n * 7).addr).collect();
        for addr in &bad {
            book.failed(*addr, 1_000, &mut rng);
        }
        assert!(book.add(gossip(MAX_ADDRESSES as u32), "another"));
        assert!(bad.iter().all(|addr| !book.entries.contains_key(addr)));
    }

    #[test]
    fn junk_is_not_taken() {
        let mut book = AddressBook::new(false);
        for addr in [
            "127.0.0.1:8333",
            "10.0.0.1:8333",
            "0.0.0.0:1",
            "9.9.9.9:0",
            "[::1]:8333",
        ] {
            let addr = addr.parse().unwrap();
            assert!(
                !book.add(
                    Gossip {
                        addr,
                        services: 0,
                        time: 1
                    },
                    "x"
                ),
                "{addr}"
            );
        }
    }

    #[test]
    fn one_of_each_netgroup_is_chosen() {
        let mut book = AddressBook::new(false);
        for n in 0..500 {
            book.add(gossip(n), "x");
        }
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(
            book.choose(8, &HashSet::new(), |_| false, 2_000, &mut rng)
                .len(),
            1
        );
        let taken = HashSet::from([gossip(7).addr]);
        assert!(
            book.choose(8, &taken, |_| false, 2_000, &mut rng)
                .is_empty()
        );
    }

    #[test]
    fn an_excluded_address_takes_no_netgroup() {
        let mut book = AddressBook::new(false);
        book.add(gossip(1), "x");
        book.add(gossip(2), "x");
        let mut rng = StdRng::seed_from_u64(1);
        let own = |addr: &SocketAddr| *addr == gossip(1).addr;
        let chosen = book.choose(8, &HashSet::new(), own, 2_000, &mut rng);
        assert_eq!(chosen, [gossip(2).addr]);
    }

    #[test]
    fn a_rest_is_no_failure() {
        let mut book = AddressBook::new(true);
        let mut rng = StdRng::seed_from_u64(1);
        let addr = gossip(1).addr;
        book.add(gossip(1), "x");
        for _ in 0..2 * FORGET_AFTER {
            book.rest(addr, 5_000);
        }
        let none = HashSet::new();
        assert!(book.choose(1, &none, |_| false, 4_999, &mut rng).is_empty());
        assert_eq!(book.choose(1, &none, |_| false, 5_000, &mut rng), [addr]);
    }

    #[test]
    fn failures_back_off_and_are_forgotten_in_the_end() {
        let mut book = AddressBook::new(true);
        let mut rng = StdRng::seed_from_u64(1);
        let addr = gossip(1).addr;
        book.add(gossip(1), "x");
        book.failed(addr, 1_000, &mut rng);
        assert!(
            book.choose(1, &HashSet::new(), |_| false, 1_001, &mut rng)
                .is_empty()
        );
        assert_eq!(
            book.choose(
                1,
                &HashSet::new(),
                |_| false,
                1_000 + FIRST_BACKOFF,
                &mut rng
            ),
            [addr]
        );
        for _ in 0..FORGET_AFTER {
            book.failed(addr, 1_000, &mut rng);
        }
        assert_eq!(book.counts(), (0, 0));

        book.met(addr, 9, 1_000);
        for _ in 0..100 {
            book.failed(addr, 1_000, &mut rng);
        }
        assert_eq!(
            book.counts(),
            (1, 1),
            "a node that we have met may come back"
        );
        let chosen = book.choose(1, &HashSet::new(), |_| false, 1_000 + MAX_BACKOFF, &mut rng);
        assert_eq!(chosen, [addr]);
    }

    #[test]
    fn answers_show_a_share_of_a_large_book() {
        let mut book = AddressBook::new(false);
        for n in 0..2_000 {
            book.add(gossip(n), "x");
        }
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(book.answer(2_000, &mut rng).len(), 460);
        assert!(book.answer(2_000 + HORIZON, &mut rng).is_empty());
    }
}
