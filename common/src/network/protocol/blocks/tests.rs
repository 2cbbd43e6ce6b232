//! Cases of the block download machine.

use bitcoin::hashes::Hash as _;

use super::peer::LACK_REST;
use super::slow::{MAX_HEAD_TIMEOUTS, RACE_LEAST};
use super::*;

fn block(height: u32) -> BlockRef {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&height.to_le_bytes());
    BlockRef {
        height,
        hash: BlockHash::from_byte_array(bytes),
    }
}

fn download(peers: &[u32], blocks: u32, now: Instant) -> BlockDownload<u32> {
    let mut download = BlockDownload::default();
    for peer in peers {
        download.peer_joined(*peer, now);
    }
    download.set_wanted((1..=blocks).map(block).collect(), |_| blocks);
    download
}

fn requests(actions: &[BlockAction<u32>]) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    for action in actions {
        if let BlockAction::Request(peer, hashes) = action {
            *counts.entry(*peer).or_default() += hashes.len();
        }
    }
    counts
}

#[test]
fn work_is_shared_and_bounded_per_peer() {
    let now = Instant::now();
    let mut download = download(&[1, 2, 3], 100, now);
    let counts = requests(&download.poll(now));
    assert_eq!(counts, HashMap::from([(1, 16), (2, 16), (3, 16)]));
    assert!(download.poll(now).is_empty());
    assert_eq!(download.in_flight(), 48);
}

#[test]
fn a_silent_peer_loses_its_blocks_to_the_others() {
    let start = Instant::now();
    let mut download = download(&[1, 2], 8, start);
    assert_eq!(
        requests(&download.poll(start)),
        HashMap::from([(1, 4), (2, 4)])
    );
    for height in [2, 4, 6, 8] {
        download.on_block(2, block(height).hash, 100, start + Duration::from_secs(1));
    }
    let later = start + STALL_TIMEOUT;
    let actions = download.poll(later);
    assert_eq!(actions[0], BlockAction::Stalled(1));
    assert_eq!(
        requests(&actions),
        HashMap::from([(2, 4)]),
        "peer 2 takes over"
    );
}

#[test]
fn a_peer_that_never_delivers_is_given_up() {
    let mut now = Instant::now();
    let mut download = download(&[1], 8, now);
    let mut given_up = false;
    for _ in 0..400 {
        now += Duration::from_secs(1);
        given_up |= download.poll(now).contains(&BlockAction::GiveUp(1));
    }
    assert!(given_up);
}

#[test]
fn a_slow_peer_is_not_stalled_but_its_head_is_asked_of_an_idle_one() {
    let start = Instant::now();
    let mut download = download(&[1, 2], 8, start);
    download.poll(start);
    for height in [2, 4, 6, 8] {
        download.on_block(2, block(height).hash, 100, start);
    }
    // Peer 1 sends what is not urgent, and keeps the head.
    let second = start + Duration::from_secs(1);
    download.on_block(1, block(7).hash, 100, second);
    let open = vec![block(1).hash, block(3).hash, block(5).hash];
    assert_eq!(download.poll(second), [BlockAction::Request(2, open)]);
    let late = start + STALL_TIMEOUT;
    assert!(download.poll(late).is_empty(), "once");
    assert_eq!(download.failures(&block(1).hash), 1);
    // Whoever is first: then nobody owes it any more.
    download.on_block(2, block(1).hash, 100, late);
    assert!(!download.wants(&block(1).hash));
    assert_eq!(download.peers[&1].in_flight, 2);
    assert_eq!(download.peers[&2].in_flight, 2);
}

#[test]
fn not_found_is_asked_elsewhere_at_once() {
    let now = Instant::now();
    let mut download = download(&[1, 2], 1, now);
    assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 1)]));
    download.on_not_found(1, block(1).hash, now);
    assert_eq!(requests(&download.poll(now)), HashMap::from([(2, 1)]));
    download.on_not_found(2, block(1).hash, now);
    assert!(download.poll(now).is_empty(), "nobody is left to ask");
    assert_eq!(
        requests(&download.poll(now + LACK_REST)),
        HashMap::from([(1, 1)]),
        "it may have got it meanwhile"
    );
}

#[test]
fn a_leaving_peer_gives_its_blocks_back() {
    let now = Instant::now();
    let mut download = download(&[1, 2], 4, now);
    download.poll(now);
    download.peer_left(1);
    assert_eq!(requests(&download.poll(now)), HashMap::from([(2, 2)]));
}

#[test]
fn peers_are_not_asked_beyond_their_height() {
    let now = Instant::now();
    let mut download = BlockDownload::default();
    download.peer_joined(1, now);
    download.set_wanted((1..=10).map(block).collect(), |_| 3);
    assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 3)]));
}

#[test]
fn a_full_buffer_lets_only_the_next_block_through() {
    let now = Instant::now();
    let mut download = download(&[1, 2, 3], 40, now);
    assert!(download.on_block(1, block(40).hash, MAX_BUFFERED_BYTES, now));
    assert!(!download.on_block(1, block(39).hash, 1, now), "no room");
    assert!(download.wants(&block(39).hash), "fetched again later");
    assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 1)]));
    download.set_wanted((1..=39).map(block).collect(), |_| 39);
    download.recent_size = 100;
    assert_eq!(requests(&download.poll(now)).values().sum::<usize>(), 38);
}

#[test]
fn verified_blocks_leave_the_window_in_order() {
    let now = Instant::now();
    let mut download = download(&[1], 3, now);
    download.poll(now);
    download.on_block(1, block(2).hash, 100, now);
    assert!(!download.on_verified(&block(2).hash), "block 1 comes first");
    download.on_block(1, block(1).hash, 100, now);
    assert!(download.on_verified(&block(1).hash));
    assert!(download.on_verified(&block(2).hash));
    assert_eq!((download.received_bytes, download.wanted().count()), (0, 1));
    assert!(download.wants(&block(3).hash) && !download.wants(&block(1).hash));
}

#[test]
fn the_stall_timeout_grows_and_shrinks_back() {
    let mut now = Instant::now();
    let mut download = download(&[1, 2], 200, now);
    download.poll(now);
    now += STALL_TIMEOUT;
    download.poll(now);
    assert_eq!(download.stall_timeout, STALL_TIMEOUT * 2);
    for height in 1..=20 {
        download.on_block(2, block(height).hash, 1, now);
    }
    assert_eq!(download.stall_timeout, STALL_TIMEOUT);
}

#[test]
fn what_is_in_flight_needs_room_too() {
    let now = Instant::now();
    let peers: Vec<u32> = (1..=40).collect();
    let mut download = download(&peers, 1_000, now);
    let first: usize = requests(&download.poll(now)).values().sum();
    assert_eq!(first, MAX_BUFFERED_BYTES / FIRST_SIZE);
    // Blocks turn out to be small: more may be under way.
    for height in 1..=67 {
        download.on_block(1, block(height).hash, 300, now);
    }
    let then: usize = requests(&download.poll(now)).values().sum();
    assert!(then > 600, "{then}");
}

#[test]
fn a_not_found_that_nobody_asked_for_changes_nothing() {
    let now = Instant::now();
    let mut download = download(&[1, 2], 2, now);
    download.poll(now);
    let before = download.in_flight();
    // Block 1 is in flight at peer 1.
    download.on_not_found(2, block(1).hash, now);
    download.on_not_found(2, block(77).hash, now);
    assert_eq!(download.in_flight(), before);
    assert!(download.peers[&2].lacks.is_empty());
    assert_eq!(download.failures(&block(1).hash), 0);
}

#[test]
fn a_peer_that_finds_nothing_does_not_hold_up_the_others() {
    let mut now = Instant::now();
    let mut download = download(&[1, 2, 3], 500, now);
    for junk in 0..WINDOW as u32 {
        download.on_not_found(1, block(1_000_000 + junk).hash, now);
    }
    let mut next = 1;
    for _ in 0..200 {
        now += Duration::from_millis(50);
        for action in download.poll(now) {
            match action {
                BlockAction::Request(1, hashes) => {
                    for hash in hashes {
                        download.on_not_found(1, hash, now);
                    }
                }
                BlockAction::Request(peer, hashes) => {
                    for hash in hashes {
                        download.on_block(peer, hash, 300, now);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        while download.received.contains_key(&block(next).hash) {
            assert!(download.on_verified(&block(next).hash));
            next += 1;
        }
    }
    assert_eq!(next, 501);
}

/// How long it takes to fetch 2,500 blocks from peers that send a block each so many milliseconds, or never.
fn time_from(paces: &[Option<u64>]) -> Duration {
    const BLOCKS: u32 = 2_500;
    const TICK: Duration = Duration::from_millis(1);
    let start = Instant::now();
    let mut now = start;
    let mut download = BlockDownload::default();
    let peers: Vec<u32> = (1..=paces.len() as u32).collect();
    for peer in &peers {
        download.peer_joined(*peer, now);
    }
    let window = |base: u32| (base..BLOCKS.min(base + 1_023) + 1).map(block).collect();
    let mut base = 1;
    let mut queues: HashMap<u32, VecDeque<BlockHash>> = HashMap::new();
    let mut sent: HashMap<u32, Instant> = HashMap::new();
    download.set_wanted(window(base), |_| BLOCKS);
    while base <= BLOCKS && now - start < Duration::from_secs(600) {
        now += TICK;
        for action in download.poll(now) {
            if let BlockAction::Request(peer, hashes) = action {
                let queue = queues.entry(peer).or_default();
                if queue.is_empty() {
                    sent.insert(peer, now);
                }
                queue.extend(hashes);
            }
        }
        for (peer, pace) in peers.iter().zip(paces) {
            let Some(pace) = pace.map(Duration::from_millis) else {
                continue;
            };
            if now - *sent.entry(*peer).or_insert(now) < pace {
                continue;
            }
            if let Some(hash) = queues.entry(*peer).or_default().pop_front() {
                sent.insert(*peer, now);
                if download.wants(&hash) {
                    download.on_block(*peer, hash, 300, now);
                } else {
                    download.on_progress(*peer, now);
                }
            }
        }
        let before = base;
        while download.on_received_head() {
            base += 1;
        }
        if base > before {
            download.set_wanted(window(base), |_| BLOCKS);
        }
    }
    now - start
}

#[test]
fn slow_and_silent_peers_do_not_set_the_pace() {
    let good = time_from(&[Some(2), Some(2)]);
    assert!(good < Duration::from_secs(3), "{good:?}");
    for bad in [
        [Some(160), None],
        [Some(1_900), None],
        [Some(20), Some(400)],
        [None, None],
    ] {
        let took = time_from(&[Some(2), Some(2), bad[0], bad[1]]);
        assert!(
            took < good.mul_f64(1.3),
            "{bad:?}: {took:?}, {good:?} without them"
        );
    }
}

#[test]
fn who_loses_a_race_is_asked_for_less_until_it_delivers() {
    let start = Instant::now();
    let mut download = download(&[1, 2], 8, start);
    download.poll(start);
    let soon = start + Duration::from_millis(20);
    for height in [2, 4, 6, 8] {
        download.on_block(2, block(height).hash, 100, soon);
    }
    assert!(download.poll(soon).is_empty(), "not slow yet");
    let slow = start + RACE_LEAST;
    let raced = vec![block(1).hash, block(3).hash, block(5).hash, block(7).hash];
    assert_eq!(download.poll(slow), [BlockAction::Request(2, raced)]);
    assert!(download.poll(slow).is_empty(), "once");
    download.on_block(2, block(1).hash, 100, slow);
    download.on_block(2, block(3).hash, 100, slow);
    assert_eq!(download.peers[&1].allowance, 4);
    assert!(download.peers[&1].stalled && !download.peers[&2].stalled);
    // The other way round: the first was faster after all, and nobody is the worse for it.
    download.on_block(1, block(5).hash, 100, slow);
    assert_eq!(download.peers[&1].allowance, 5);
    assert_eq!(download.peers[&2].allowance, IN_FLIGHT_PER_PEER);
    assert!(!download.peers[&1].stalled);
}

impl BlockDownload<u32> {
    /// Verifies the head if it is there.
    fn on_received_head(&mut self) -> bool {
        let head = self.wanted.front().map(|head| head.hash);
        head.is_some_and(|head| self.received.contains_key(&head) && self.on_verified(&head))
    }
}

#[test]
fn a_head_that_is_not_delivered_counts_against_its_chain_until_it_comes() {
    let mut now = Instant::now();
    let mut download = download(&[1, 2, 3], 2, now);
    let head = block(1).hash;
    download.poll(now);
    assert!(!download.take_head_failed());
    download.on_not_found(1, head, now);
    assert!(download.take_head_failed() && !download.take_head_failed());
    download.poll(now);
    download.peer_left(3);
    assert_eq!(download.failures(&head), 2, "it left and owed it");
    download.poll(now);
    now += STALL_TIMEOUT;
    assert!(download.poll(now).contains(&BlockAction::Stalled(2)));
    assert_eq!(download.failures(&head), 3);
    download.on_block(2, head, 100, now);
    download.on_verified(&head);
    assert_eq!(download.failures(&head), 0);
}

/// Polls each quarter of a second while one block of `size` bytes arrives from peer 1 at `rate` bytes a
/// second, as the only one; gives how long it took, or when the peer stalled.
fn arrives(size: u64, rate: u64) -> Result<Duration, Duration> {
    let start = Instant::now();
    let mut download = download(&[1], 1, start);
    download.poll(start);
    for quarter in 1_u32.. {
        let passed = Duration::from_millis(250) * quarter;
        let bytes = (rate as f64 * passed.as_secs_f64()) as u64;
        if bytes >= size {
            return Ok(passed);
        }
        download.on_arriving(1, bytes);
        if !download.poll(start + passed).is_empty() {
            return Err(passed);
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_large_block_over_a_slow_link_is_no_stall() {
    assert_eq!(arrives(4_000_000, 100_000), Ok(Duration::from_secs(40)));
    assert_eq!(arrives(4_000_000, 20_000), Ok(Duration::from_secs(200)));
}

#[test]
fn a_block_that_drips_is_a_stall_at_once() {
    assert_eq!(arrives(4_000_000, 1), Err(Duration::from_millis(2_250)));
    assert!(arrives(4_000_000, 10_000).is_err_and(|at| at < Duration::from_secs(6)));
}

#[test]
fn no_message_holds_blocks_for_ever() {
    let start = Instant::now();
    let mut download = download(&[1], 1, start);
    download.poll(start);
    // All of the largest message but its last byte.
    download.on_arriving(1, 4 * 1024 * 1024 - 1);
    let end = start + STALL_TIMEOUT * 129;
    assert!(download.poll(end - Duration::from_secs(1)).is_empty());
    assert_eq!(download.poll(end)[0], BlockAction::Stalled(1));
}

#[test]
fn many_small_messages_are_no_progress() {
    let start = Instant::now();
    let mut download = download(&[1], 4, start);
    download.poll(start);
    let mut stalled_at = None;
    for tenth in 0..100_u32 {
        let passed = Duration::from_millis(100) * tenth;
        // Addresses, inventories, pings: each arrives, none is a block.
        download.on_arriving(1, u64::from(tenth % 5) * 1_000);
        if download
            .poll(start + passed)
            .contains(&BlockAction::Stalled(1))
        {
            stalled_at.get_or_insert(passed);
        }
    }
    assert!(
        stalled_at.is_some_and(|at| at < STALL_TIMEOUT * 2),
        "{stalled_at:?}"
    );
}

#[test]
fn a_slowly_arriving_head_is_asked_of_an_idle_peer_within_bounds() {
    let start = Instant::now();
    let mut download = download(&[1, 2], 1, start);
    assert_eq!(requests(&download.poll(start)), HashMap::from([(1, 1)]));
    let (after, actions) = (1..200_u32)
        .find_map(|tenth| {
            let passed = Duration::from_millis(100) * tenth;
            // 40 kB/s: not a stall.
            download.on_arriving(1, u64::from(tenth) * 4_000);
            let actions = download.poll(start + passed);
            (!actions.is_empty()).then_some((passed, actions))
        })
        .unwrap();
    assert_eq!(after, STALL_TIMEOUT * MAX_HEAD_TIMEOUTS);
    assert_eq!(
        actions,
        [BlockAction::Request(2, vec![block(1).hash])],
        "peer 1 goes on"
    );
    assert_eq!(download.failures(&block(1).hash), 1);
}
