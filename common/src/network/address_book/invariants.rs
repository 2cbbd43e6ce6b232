//! What holds of a book whatever happened to it; tests and the fuzz target `address_book` ask for it.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{AddressBook, MAX_ADDRESSES, MAX_CONTESTS, MAX_PLACES};

/// Entries and tables agree, and nothing is larger than it may be.
///
/// # Panics
/// If that is not so.
pub fn check(book: &AddressBook) {
    assert!(book.entries.len() <= MAX_ADDRESSES);
    let mut seen: HashMap<SocketAddr, usize> = HashMap::new();
    for (table, tried) in [(&book.new, false), (&book.tried, true)] {
        for addr in table
            .buckets()
            .into_iter()
            .flat_map(|bucket| table.bucket(bucket))
        {
            let entry = &book.entries[&addr];
            assert_eq!(entry.tried, tried, "{addr}");
            *seen.entry(addr).or_default() += 1;
        }
    }
    for (addr, entry) in &book.entries {
        let group = book.group(*addr);
        let places = if entry.tried {
            assert!(entry.sources.is_empty());
            assert_eq!(book.tried.get(book.places.met(*addr, &group)), Some(*addr));
            1
        } else {
            for source in &entry.sources {
                let place = book.places.unmet(*addr, &group, source);
                assert_eq!(book.new.get(place), Some(*addr));
            }
            entry.sources.len()
        };
        assert_eq!(seen.remove(addr), Some(places), "{addr}");
        assert!((1..=MAX_PLACES).contains(&places));
    }
    assert!(seen.is_empty());
    assert!(book.contests.len() <= MAX_CONTESTS);
    for contest in &book.contests {
        let newcomer = &book.entries[&contest.newcomer];
        assert!(!newcomer.tried && newcomer.last_success > 0);
    }
}

/// Both hold the same, at the same places.
///
/// # Panics
/// If they do not.
pub fn check_equal(one: &AddressBook, other: &AddressBook) {
    assert_eq!(one.entries, other.entries);
    assert_eq!(one.anchors, other.anchors);
    assert_eq!(one.places, other.places);
    assert!(
        one.new == other.new && one.tried == other.tried,
        "other places"
    );
}
