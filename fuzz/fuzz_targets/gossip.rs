//! What a peer tells of addresses, from its bytes to what we pass on: the rate holds, no lie about the time is believed,
//! the book stays in bounds, and what we tell others of it they can read.
#![no_main]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quantumcoin::network::address_book::{AddressBook, invariants};
use quantumcoin::network::protocol::addresses::{
    AddressBucket, Gossip, MAX_ADDRESSES, read, write,
};
use quantumcoin::reachability::netgroup::{canonical_socket, is_dialable};
use quantumcoin_fuzz::{Script, envelope, framed};
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let (Some(flags), Some(now)) = (script.u8(), script.u32()) else {
        return;
    };
    let allow_private = flags & 1 == 1;
    let mut book = AddressBook::with_key(allow_private, [u64::from(now), 7]);
    let mut peer = Peer::new();
    while let Some([command, source]) = script.bytes() {
        let (Some(pause), Some(length)) = (script.u16(), script.u16()) else {
            break;
        };
        peer.now += Duration::from_millis(u64::from(pause));
        if command & 2 == 2 {
            peer.bucket.asked();
            peer.allowed += MAX_ADDRESSES as f64;
        }
        let (payload, rest) = script.0.split_at(usize::from(length).min(script.0.len()));
        script = Script(rest);
        let name = if command & 1 == 0 { "addr" } else { "addrv2" };
        let Ok(message) = envelope().decode(&framed(name, payload)) else {
            continue;
        };
        let told = read(&message, now);
        assert!(told.len() <= MAX_ADDRESSES);
        assert!(told.iter().all(|gossip| is_sound(gossip, now)));
        let taken = peer.takes(told.len());
        for gossip in told.iter().take(taken) {
            let new = book.add(*gossip, &format!("s{source}"));
            assert!(!new || is_dialable(gossip.addr, allow_private));
        }
    }
    invariants::check(&book);
    pass_on(&mut book, now);
});

/// One peer's share, and the most that it may have taken of it.
struct Peer {
    bucket: AddressBucket,
    start: Instant,
    now: Instant,
    allowed: f64,
    taken: usize,
}

impl Peer {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            bucket: AddressBucket::new(start),
            start,
            now: start,
            allowed: 1.0,
            taken: 0,
        }
    }

    fn takes(&mut self, offered: usize) -> usize {
        let taken = self.bucket.take(offered, self.now);
        assert!(taken <= offered);
        self.taken += taken;
        let passed = (self.now - self.start).as_secs_f64();
        assert!(self.taken as f64 <= self.allowed + passed / 10.0 + 1e-6);
        taken
    }
}

fn is_sound(gossip: &Gossip, now: u32) -> bool {
    gossip.time <= now.saturating_add(600) && gossip.addr == canonical_socket(gossip.addr)
}

/// A full answer, in both forms.
fn pass_on(book: &mut AddressBook, now: u32) {
    let asker = SocketAddr::from(([9, 9, 9, 9], 8333));
    let answer = book.answer(asker, now.into(), &mut StdRng::seed_from_u64(7));
    assert!(answer.len() <= MAX_ADDRESSES);
    for addrv2 in [false, true] {
        let bytes = envelope().encode(&write(&answer, addrv2));
        let message = envelope().decode(&bytes.expect("it can be said"));
        let heard = read(&message.expect("it can be understood"), now);
        let addresses = |list: &[Gossip]| -> HashSet<SocketAddr> {
            list.iter().map(|gossip| gossip.addr).collect()
        };
        assert_eq!(addresses(&heard), addresses(&answer));
    }
}
