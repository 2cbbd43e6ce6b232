//! Rules of the book, and what an attacker can make of it.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::invariants::check as consistent;
use super::*;
use crate::reachability::asmap::AsMap;

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
    let mut book = AddressBook::with_key(false, [1, 2]);
    let group = |n: u32| gossip(n << 16 | n);
    for n in 0..50_000 {
        book.add(group(n), "evil");
    }
    let (evil, _) = book.counts();
    assert!(evil > 3_000 && evil <= 64 * 64, "{evil}");
    let honest = (0..1_000).filter(|n| {
        let elsewhere = gossip(n << 16 | 0x8000);
        book.add(elsewhere, &format!("honest {n}"))
    });
    assert!(honest.count() > 900);
}

/// One netgroup with many addresses that all answer.
#[test]
fn one_netgroup_cannot_fill_the_places_of_those_that_we_have_met() {
    let mut book = AddressBook::with_key(false, [1, 2]);
    for n in 0..60_000 {
        book.met(gossip(n % 50_000).addr, 9, NOW + u64::from(n));
    }
    let (_, tried) = book.counts();
    assert!(tried > 400 && tried <= 8 * 64, "{tried}");
    consistent(&book);
}

/// Two addresses of one netgroup that want the same place, and somebody who was met lately.
fn rivals(book: &AddressBook) -> [SocketAddr; 2] {
    let mut at: HashMap<usize, SocketAddr> = HashMap::new();
    for n in 0.. {
        let addr = gossip(n).addr;
        if let Some(other) = at.insert(book.met_place(addr), addr) {
            return [other, addr];
        }
    }
    unreachable!("there are more addresses than places")
}

#[test]
fn who_answers_keeps_its_place_and_who_does_not_loses_it() {
    let mut rng = StdRng::seed_from_u64(1);
    for answers in [true, false] {
        let mut book = AddressBook::with_key(false, [1, 2]);
        let [holder, newcomer] = rivals(&book);
        book.met(holder, 9, NOW);
        let later = NOW + ANSWERED_LATELY;
        book.met(newcomer, 9, later);
        consistent(&book);
        assert_eq!(book.counts(), (2, 1), "the newcomer waits");
        assert_eq!(book.feeler(|_| false, later, &mut rng), Some(holder));
        let elsewhere = |addr: &SocketAddr| *addr == holder;
        assert_eq!(book.feeler(elsewhere, later, &mut rng), Some(newcomer));
        let asked = later + 5;
        if answers {
            book.met(holder, 9, asked);
        } else {
            book.failed(holder, asked, &mut rng);
        }
        book.feeler(|_| false, asked, &mut rng);
        consistent(&book);
        assert_eq!(book.entries[&holder].tried, answers);
        assert_eq!(book.entries[&newcomer].tried, !answers);
        assert!(book.contests.is_empty());
    }
}

#[test]
fn a_contest_ends_for_the_newcomer_when_nobody_asks_and_for_the_other_when_it_was_met_lately() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut book = AddressBook::with_key(false, [1, 2]);
    let [holder, newcomer] = rivals(&book);
    book.met(holder, 9, NOW);
    book.met(newcomer, 9, NOW + ANSWERED_LATELY - 1);
    book.feeler(|_| false, NOW + ANSWERED_LATELY - 1, &mut rng);
    assert!(book.contests.is_empty() && book.entries[&holder].tried);
    let start = NOW + ANSWERED_LATELY;
    book.met(newcomer, 9, start);
    book.feeler(|_| false, start + CONTEST_ENDS - 1, &mut rng);
    assert!(book.entries[&holder].tried && book.contests.len() == 1);
    book.feeler(|_| false, start + CONTEST_ENDS, &mut rng);
    assert!(book.entries[&newcomer].tried && !book.entries[&holder].tried);
    consistent(&book);
}

#[test]
fn an_address_has_more_places_the_more_tell_of_it_and_eight_at_most() {
    let mut book = AddressBook::with_key(false, [1, 2]);
    let mut places = Vec::new();
    for n in 0..20_000_u32 {
        book.add(gossip(1), &format!("source {n}"));
        book.add(gossip(1), &format!("source {n}"));
        if n.is_power_of_two() {
            places.push(book.entries[&gossip(1).addr].sources.len());
        }
    }
    assert_eq!(book.entries[&gossip(1).addr].sources.len(), MAX_PLACES);
    assert!(places.is_sorted() && places[3] < MAX_PLACES, "{places:?}");
    consistent(&book);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_tables_and_the_entries_always_agree(
        seed in any::<u64>(),
        steps in vec((0_u8..6, 0_u32..3_000, 0_u32..40, 0_u64..20_000), 1..600),
    ) {
        // A small space, so that places are fought for.
        let mut rng = StdRng::seed_from_u64(seed);
        let mut book = AddressBook::with_key(false, [seed, 7]);
        let mut now = NOW;
        for (what, n, source, pause) in steps {
            now += pause;
            let addr = gossip(n).addr;
            match what {
                0 => { book.add(gossip(n), &format!("s{source}")); }
                1 | 2 => book.met(addr, 9, now),
                3 => for _ in 0..source { book.failed(addr, now, &mut rng); },
                4 => book.forget(addr),
                _ => { book.feeler(|_| false, now, &mut rng); }
            }
        }
        consistent(&book);
    }
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
fn with_a_map_all_addresses_of_one_system_are_one_netgroup() {
    // All of the internet is AS 5.
    let map = AsMap::from_bytes(vec![0, 0x40, 0]).unwrap();
    let netgroups = Netgroups::by_as(map);
    let mut book = AddressBook::new(false).grouping(netgroups.clone());
    for n in 0..100 {
        book.add(gossip(n << 16), &format!("source {n}"));
    }
    let mut rng = StdRng::seed_from_u64(1);
    let none = HashSet::new();
    let chosen = book.choose(8, &none, |_| false, 2_000, &mut rng);
    assert_eq!(chosen.len(), 1);
    // The file is the same with and without a map.
    let dir = tempfile::tempdir().unwrap();
    book.save(dir.path()).unwrap();
    let without = AddressBook::load(dir.path(), false);
    let chosen = without.choose(8, &none, |_| false, 2_000, &mut rng);
    assert_eq!(chosen.len(), 8);
    let with = AddressBook::load_grouping(dir.path(), false, netgroups);
    let taken = HashSet::from([chosen[0]]);
    let excluded = |addr: &SocketAddr| taken.contains(addr);
    assert!(with.choose(8, &taken, excluded, 2_000, &mut rng).is_empty());
    let among: Vec<_> = (0..100).map(|n| gossip(n << 16).addr).collect();
    assert_eq!(with.choose_among(&among, &none, |_| false, 2_000).len(), 1);
    assert_eq!(
        without.choose_among(&among, &none, |_| false, 2_000).len(),
        100
    );
}

#[test]
fn answers_show_a_share_of_a_large_book() {
    let mut book = AddressBook::new(false);
    for n in 0..2_000 {
        book.add(gossip(n << 16), &format!("source {n}"));
    }
    let (known, _) = book.counts();
    assert!(known > 1_900);
    let mut rng = StdRng::seed_from_u64(1);
    let asker = gossip(1).addr;
    assert_eq!(book.answer(asker, 2_000, &mut rng).len(), known * 23 / 100);
    // A month later nobody has seen any of them.
    let later = 2_000 + 30 * 24 * 3_600;
    assert!(book.answer(asker, later, &mut rng).is_empty());
}
