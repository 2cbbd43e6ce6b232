//! Any crowd of inbound peers, and who has to go: one of them, the same in whatever order they stand, never one who is the
//! best in something, and nobody only when merit protects all.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use quantumcoin::network::security::eviction::{Candidate, choose};
use quantumcoin_fuzz::Script;

/// Places of all merits together: 4 by netgroup, 8 by ping, 4 by transactions, 12 by blocks.
const BY_MERIT: usize = 28;

/// Peers of a crowd: more than inbound places on any network of ours would only make it slow.
const MOST: u32 = 128;

/// Seconds after the beginning at which somebody has to go; some candidates' times are later.
const NOW: u64 = 200;

fuzz_target!(|bytes: &[u8]| {
    let start = Instant::now();
    let mut crowd = read(Script(bytes), start);
    // All who have to go, one after the other.
    while let Some(id) = evicted(&crowd, start) {
        let place = crowd.iter().position(|peer| peer.id == id);
        let goes = crowd.remove(place.expect("one of the candidates goes"));
        check(&crowd, &goes, start);
    }
    assert!(crowd.len() <= BY_MERIT, "{} are protected", crowd.len());
    assert!(crowd.iter().all(|peer| !peer.penalised));
});

fn evicted(crowd: &[Candidate<u32>], start: Instant) -> Option<u32> {
    let now = start + Duration::from_secs(NOW);
    let id = choose(crowd.to_vec(), now);
    // Once in a while, for it doubles the work.
    if crowd.len().is_multiple_of(8) {
        let backwards = crowd.iter().rev().copied().collect();
        assert_eq!(choose(backwards, now), id, "the order does not matter");
    }
    id
}

/// What holds of him who goes, beside those who stay.
fn check(others: &[Candidate<u32>], goes: &Candidate<u32>, start: Instant) {
    if goes.penalised {
        return;
    }
    assert!(others.iter().all(|peer| !peer.penalised), "they go first");
    let best = |better: &dyn Fn(&Candidate<u32>) -> bool| others.iter().any(better);
    assert!(best(&|peer| peer.netgroup <= goes.netgroup), "netgroup");
    if goes.ping.is_some() {
        assert!(best(&|peer| peer.ping.is_some() && peer.ping <= goes.ping));
    }
    assert!(goes.last_block.is_none() || best(&|peer| peer.last_block.is_some()));
    let transaction = goes.last_transaction;
    assert!(transaction.is_none() || best(&|peer| peer.last_transaction.is_some()));
    // What is later than now counts as now.
    let since = |peer: &Candidate<u32>| peer.since.min(start + Duration::from_secs(NOW));
    let older = others.iter().filter(|peer| since(peer) <= since(goes));
    assert!(older.count() >= (others.len() + 1).saturating_sub(BY_MERIT) / 2);
}

fn read(mut script: Script<'_>, start: Instant) -> Vec<Candidate<u32>> {
    let at = |second: u8| start + Duration::from_secs(u64::from(second));
    let mut crowd = Vec::new();
    for id in 0..MOST {
        let Some([flags, group, since, ping, transaction, block]) = script.bytes() else {
            break;
        };
        let told = |bit: u8| flags >> bit & 1 == 1;
        crowd.push(Candidate {
            id,
            netgroup: u64::from(group),
            since: at(since),
            ping: told(0).then(|| Duration::from_millis(u64::from(ping))),
            last_transaction: told(1).then(|| at(transaction)),
            last_block: told(2).then(|| at(block)),
            penalised: flags >> 3 == 31,
        });
    }
    crowd
}
