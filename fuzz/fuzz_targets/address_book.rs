//! The address book. Any bytes as its file: it is read or set aside, and what was read is consistent. And any sequence of
//! what happens to a book: tables and entries agree, nobody has more than 8 places, what is chosen was asked for, and
//! what is saved is read back as it was.
#![no_main]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quantumcoin::network::address_book::file::FILE_NAME;
use quantumcoin::network::address_book::{AddressBook, invariants};
use quantumcoin::network::protocol::addresses::{Gossip, MAX_ADDRESSES};
use quantumcoin_fuzz::{Script, scratch};
use rand::SeedableRng;
use rand::rngs::StdRng;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| scratch("address_book"));

/// Anchors that a file gives back, as the library has it.
const ANCHORS: usize = 8;

/// Happenings of one script; more find nothing new, and drawing from a large book is slow.
const MOST: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let Some(flags) = script.u8() else { return };
    let allow_private = flags & 1 == 1;
    let book = if flags & 2 == 0 {
        any_file(script, allow_private)
    } else {
        happenings(script, allow_private)
    };
    let Some(book) = book else { return };
    invariants::check(&book);
    book.save(&DIR).expect("a book can be saved");
    let read = AddressBook::load(&DIR, allow_private);
    invariants::check(&read);
    invariants::check_equal(&book, &read);
});

/// The rest of the script is the file.
fn any_file(script: Script<'_>, allow_private: bool) -> Option<AddressBook> {
    std::fs::write(DIR.join(FILE_NAME), script.0).expect("a file");
    let mut book = AddressBook::load(&DIR, allow_private);
    invariants::check(&book);
    // It goes on from there, with whatever numbers the file held.
    let now = 1_800_000_000;
    let mut rng = StdRng::seed_from_u64(7);
    let answer = book.answer(address(9), now, &mut rng);
    assert!(answer.len() <= MAX_ADDRESSES);
    for addr in book.choose(16, &HashSet::new(), |_| false, now, &mut rng) {
        let _ = book.dial_by(addr, now);
        book.failed(addr, now, &mut rng);
    }
    for n in 0..8 {
        book.met(address(n), 9, now + u64::from(n));
        book.feeler(|_| false, now + u64::from(n), &mut rng);
    }
    Some(book)
}

fn happenings(mut script: Script<'_>, allow_private: bool) -> Option<AddressBook> {
    let mut book = AddressBook::with_key(allow_private, [script.u64()?, 7]);
    let mut rng = StdRng::seed_from_u64(script.u64()?);
    let mut now: u64 = 1_800_000_000;
    for _ in 0..MOST {
        let (Some([what, source]), Some(n)) = (script.bytes(), script.u16()) else {
            break;
        };
        let Some(pause) = script.u16() else { break };
        now += u64::from(pause);
        let addr = address(n);
        // Several at once, so that few bytes fill buckets.
        let run = u16::from(what >> 4) * 2;
        for n in n..=n.saturating_add(run) {
            happens(&mut book, what % 10, address(n), source, now, &mut rng);
        }
        // Anchors that can't be dialled are not read back.
        if what % 10 == 9 && book.knows(addr) {
            book.set_anchors(vec![addr; usize::from(source) % (ANCHORS + 1)]);
        }
        // It costs as much as hundreds of the others.
        if source.is_multiple_of(64) {
            invariants::check(&book);
        }
    }
    Some(book)
}

fn happens(
    book: &mut AddressBook,
    what: u8,
    addr: SocketAddr,
    source: u8,
    now: u64,
    rng: &mut StdRng,
) {
    match what {
        0 | 1 => {
            let gossip = Gossip {
                addr,
                services: u64::from(source),
                time: now as u32,
            };
            let known = book.knows(addr);
            let new = book.add(gossip, &format!("s{source}"));
            assert!(!new || !known && book.knows(addr));
        }
        2 | 3 => book.met(addr, u64::from(source), now),
        4 => book.failed(addr, now, rng),
        5 => book.forget(addr),
        6 => {
            if let Some(chosen) = book.feeler(|excluded| *excluded == addr, now, rng) {
                assert!(chosen != addr && book.knows(chosen));
            }
        }
        7 => choose(book, addr, usize::from(source % 4), now, rng),
        8 => {
            book.spoke_noise(addr, [source; 32], now);
            book.rest(addr, now + u64::from(source));
            if source % 2 == 0 {
                book.doubt_key(addr);
            }
            let _ = book.dial_by(addr, now);
        }
        _ => {}
    }
}

fn choose(book: &AddressBook, taken: SocketAddr, count: usize, now: u64, rng: &mut StdRng) {
    let excluded = |addr: &SocketAddr| addr.port() % 2 == 1;
    let chosen = book.choose(count, &HashSet::from([taken]), excluded, now, rng);
    assert!(chosen.len() <= count);
    let distinct: HashSet<_> = chosen.iter().collect();
    assert_eq!(distinct.len(), chosen.len());
    for addr in chosen {
        assert!(addr != taken && !excluded(&addr) && book.knows(addr));
    }
}

/// Few netgroups, so that places are fought for; some addresses are mapped, some can't be dialled.
fn address(n: u16) -> SocketAddr {
    let [host, rest] = n.to_be_bytes();
    let ip = Ipv4Addr::new(9 + (rest & 1), rest >> 6, host, rest);
    let port = 8333 + u16::from(rest >> 1 & 1);
    match rest >> 2 & 15 {
        0 => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), port),
        1 => SocketAddr::from(([0x2a00, u16::from(host & 3), n, 0, 0, 0, 0, 1], port)),
        2 => SocketAddr::from(([127, 0, 0, rest], port)),
        3 => SocketAddr::new(ip.into(), 0),
        _ => SocketAddr::new(ip.into(), port),
    }
}
