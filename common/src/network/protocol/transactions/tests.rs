use bitcoin::hashes::Hash;
use proptest::prelude::*;

use super::*;

fn tx(n: u32) -> TxRef {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    TxRef::Wtxid(Wtxid::from_byte_array(bytes))
}

fn announcement(n: u8, fee_per_kb: u64) -> Announcement {
    Announcement {
        txid: Txid::from_byte_array([n; 32]),
        wtxid: Wtxid::from_byte_array([n; 32]),
        fee_per_kb,
    }
}

fn asked(download: &mut TransactionDownload<u8>, now: Instant) -> Vec<(u8, usize)> {
    let requests = download.poll(now).into_iter();
    requests.map(|(peer, ids)| (peer, ids.len())).collect()
}

#[test]
fn one_peer_at_a_time_is_asked_and_outbound_ones_first() {
    let start = Instant::now();
    let mut download = TransactionDownload::default();
    assert!(download.on_announced(1, tx(1), false, start));
    assert_eq!(asked(&mut download, start), [], "an inbound peer waits");
    assert!(download.on_announced(2, tx(1), true, start));
    assert_eq!(asked(&mut download, start), [(2, 1)]);
    let later = start + INBOUND_DELAY;
    assert_eq!(asked(&mut download, later), [], "it was asked of another");
    let timeout = start + ANSWER_TIMEOUT;
    assert_eq!(asked(&mut download, timeout), [(1, 1)], "the other is late");
    download.on_received(1, tx(1), timeout);
    download.on_settled(tx(1));
    assert!(download.is_empty());
    assert!(
        download
            .peers
            .values()
            .all(|c| c.announced == 0 && c.in_flight == 0)
    );
}

#[test]
fn what_came_is_looked_at_before_the_others_who_have_it_are_forgotten() {
    let now = Instant::now();
    let mut download = TransactionDownload::default();
    for peer in 1..=3 {
        download.on_announced(peer, tx(1), true, now);
    }
    assert_eq!(asked(&mut download, now), [(1, 1)]);
    download.on_received(1, tx(1), now);
    assert_eq!(asked(&mut download, now), [], "it is being looked at");
    download.on_unsettled(tx(1));
    assert_eq!(asked(&mut download, now), [(2, 1)], "that was not it");
    // Somebody who was not asked sends it: whoever was asked still owes it.
    download.on_received(3, tx(1), now);
    download.on_unsettled(tx(1));
    assert_eq!(asked(&mut download, now), []);
    download.on_received(2, tx(1), now);
    download.on_unsettled(tx(1));
    assert!(download.is_empty(), "nobody is left");
    // A check that is never over holds up nothing for ever.
    download.on_announced(1, tx(1), true, now);
    download.on_announced(2, tx(1), true, now);
    assert_eq!(asked(&mut download, now), [(1, 1)]);
    download.on_received(1, tx(1), now);
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(asked(&mut download, later), [(2, 1)]);
    download.on_received(2, tx(1), later);
    download.on_settled(tx(1));
    assert!(download.is_empty());
}

#[test]
fn outbound_peers_go_first_also_when_inbound_ones_have_waited_long() {
    let start = Instant::now();
    let mut download = TransactionDownload::default();
    for peer in 1..=20 {
        download.on_announced(peer, tx(1), false, start);
    }
    let first = start + INBOUND_DELAY;
    assert_eq!(asked(&mut download, first), [(1, 1)]);
    download.on_announced(21, tx(1), true, first);
    let second = first + ANSWER_TIMEOUT;
    assert_eq!(asked(&mut download, second), [(21, 1)]);
}

#[test]
fn whoever_was_asked_owes_an_answer_also_when_it_is_not_wanted_any_more() {
    let now = Instant::now();
    let mut download = TransactionDownload::default();
    for n in 0..2 * MAX_IN_FLIGHT as u32 {
        download.on_announced(1, tx(n), true, now);
    }
    assert_eq!(asked(&mut download, now), [(1, MAX_IN_FLIGHT)]);
    download.on_settled(tx(0));
    download.on_announced(2, tx(0), true, now);
    assert_eq!(asked(&mut download, now), [], "it has not answered yet");
    download.on_received(1, tx(0), now);
    assert_eq!(asked(&mut download, now), [(1, 1)], "now it has");
    download.on_settled(tx(1));
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(asked(&mut download, later), [(1, MAX_IN_FLIGHT - 1)]);
}

#[test]
fn what_a_peer_lacks_or_takes_with_it_is_asked_of_another() {
    let now = Instant::now();
    let mut download = TransactionDownload::default();
    for peer in 1..=3 {
        download.on_announced(peer, tx(1), true, now);
    }
    assert_eq!(asked(&mut download, now), [(1, 1)]);
    download.on_not_found(2, tx(1));
    assert_eq!(asked(&mut download, now), [], "it was not asked");
    download.on_not_found(1, tx(1));
    assert_eq!(asked(&mut download, now), [(2, 1)]);
    download.peer_left(2);
    assert_eq!(asked(&mut download, now), [(3, 1)]);
    download.on_not_found(3, tx(1));
    assert!(download.is_empty(), "nobody is left");
}

#[test]
fn a_peer_can_announce_and_owe_so_much_and_no_more() {
    let now = Instant::now();
    let mut download = TransactionDownload::default();
    for n in 0..MAX_ANNOUNCED as u32 {
        assert!(download.on_announced(1, tx(n), true, now));
    }
    assert!(!download.on_announced(1, tx(u32::MAX), true, now));
    assert_eq!(asked(&mut download, now), [(1, MAX_IN_FLIGHT)]);
    assert_eq!(asked(&mut download, now), []);
    assert!(download.on_announced(2, tx(500), true, now));
    assert_eq!(
        asked(&mut download, now),
        [(2, 1)],
        "others are not held up"
    );
    // Silence ends: after the time-out its other announcements get their turn.
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(asked(&mut download, later), [(1, MAX_IN_FLIGHT)]);
}

#[test]
fn a_peer_hears_once_and_not_what_it_told_us_or_does_not_want() {
    let start = Instant::now();
    let mut announcements = Announcements::new(true, start);
    announcements.peer_knows(TxRef::Wtxid(Wtxid::from_byte_array([1; 32])));
    announcements.set_fee_filter(2_000);
    for (n, fee) in [(1, 5_000), (2, 1_999), (3, 2_000), (3, 2_000)] {
        announcements.push(announcement(n, fee));
    }
    let pause = Duration::from_secs(5);
    let third = Inventory::WTx(Wtxid::from_byte_array([3; 32]));
    assert_eq!(announcements.poll(start, || pause), [third]);
    announcements.push(announcement(4, 9_000));
    assert!(announcements.poll(start, || pause).is_empty(), "not yet");
    assert_eq!(announcements.poll(start + pause, || pause).len(), 1);
}

#[test]
fn without_wtxidrelay_the_txid_is_told() {
    let now = Instant::now();
    let mut announcements = Announcements::new(false, now);
    announcements.push(announcement(1, 1_000));
    let told = announcements.poll(now, || Duration::ZERO);
    assert_eq!(
        told,
        [Inventory::Transaction(Txid::from_byte_array([1; 32]))]
    );
}

#[test]
fn announcements_are_bounded_in_a_message_and_in_waiting() {
    let now = Instant::now();
    let mut announcements = Announcements::new(true, now);
    for n in 0..MAX_QUEUED as u32 + 1 {
        let TxRef::Wtxid(wtxid) = tx(n) else { return };
        announcements.push(Announcement {
            wtxid,
            ..announcement(1, 1_000)
        });
    }
    assert_eq!(announcements.queue.len(), MAX_QUEUED);
    let told = announcements.poll(now, || Duration::ZERO);
    assert_eq!(told.len(), MAX_ANNOUNCED_AT_ONCE);
    assert!(!told.contains(&tx(0).announcement()), "the oldest gave way");
}

#[derive(Debug, Clone)]
enum Step {
    Announce(u8, u32, bool),
    Receive(u8, u32),
    Settle(u32, bool),
    NotFound(u8, u32),
    Leave(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..8_u32, any::<bool>()).prop_map(|(p, t, o)| Step::Announce(p, t, o)),
        1 => (0..4_u8, 0..8_u32).prop_map(|(p, t)| Step::Receive(p, t)),
        1 => (0..8_u32, any::<bool>()).prop_map(|(t, right)| Step::Settle(t, right)),
        1 => (0..4_u8, 0..8_u32).prop_map(|(p, t)| Step::NotFound(p, t)),
        1 => (0..4_u8).prop_map(Step::Leave),
        2 => (0..40_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, counts are those of the entries, and everything announced is asked for in the end.
    #[test]
    fn counts_fit_and_nothing_is_forgotten(steps in prop::collection::vec(step(), 1..80)) {
        let mut now = Instant::now();
        let mut download = TransactionDownload::default();
        for step in steps {
            match step {
                Step::Announce(peer, n, outbound) => {
                    download.on_announced(peer, tx(n), outbound, now);
                }
                Step::Receive(peer, n) => download.on_received(peer, tx(n), now),
                Step::Settle(n, true) => download.on_settled(tx(n)),
                Step::Settle(n, false) => download.on_unsettled(tx(n)),
                Step::NotFound(peer, n) => download.on_not_found(peer, tx(n)),
                Step::Leave(peer) => download.peer_left(peer),
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            download.poll(now);
            for (peer, counts) in &download.peers {
                let asked = |w: &&Wanted<u8>| w.asked.is_some_and(|(p, _)| p == *peer);
                let waits = |w: &&Wanted<u8>| w.others.iter().any(|other| other.peer == *peer);
                let in_flight = download.wanted.values().filter(asked).count();
                let waiting = download.wanted.values().filter(waits).count();
                prop_assert_eq!(counts.in_flight, in_flight);
                prop_assert_eq!(counts.announced, in_flight + waiting);
            }
        }
        // Everybody is silent: each peer has its turn, then nothing is left.
        for _ in 0..6 {
            now += ANSWER_TIMEOUT;
            download.poll(now);
        }
        prop_assert!(download.is_empty());
        prop_assert!(download.peers.values().all(|c| c.announced == 0 && c.in_flight == 0));
    }
}
