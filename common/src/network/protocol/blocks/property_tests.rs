//! Whatever happens in whatever order, no block is left aside while somebody is free to send it.

use std::time::{Duration, Instant};

use bitcoin::hashes::Hash as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const PEERS: u32 = 5;

#[derive(Debug, Clone)]
enum Step {
    /// The peer sends one of the blocks that anybody was asked for, of so many bytes.
    Deliver(u32, Index, usize),
    NotFound(u32, Index),
    VerifyHead,
    Discard(Index),
    Leave(u32),
    Join(u32),
    /// The chain goes on, or another one is wanted.
    Target(u32, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![9 => 1_usize..10_000, 1 => Just(MAX_BUFFERED_BYTES)];
    prop_oneof![
        8 => (0..PEERS, any::<Index>(), size).prop_map(|(p, i, s)| Step::Deliver(p, i, s)),
        2 => (0..PEERS, any::<Index>()).prop_map(|(p, i)| Step::NotFound(p, i)),
        4 => Just(Step::VerifyHead),
        1 => any::<Index>().prop_map(Step::Discard),
        1 => (0..PEERS).prop_map(Step::Leave),
        2 => (0..PEERS).prop_map(Step::Join),
        1 => (1_u32..120, any::<bool>()).prop_map(|(n, same)| Step::Target(n, same)),
        2 => (1_u64..5_000).prop_map(Step::Wait),
    ]
}

fn block(chain: u8, height: u32) -> BlockRef {
    let mut bytes = [chain; 32];
    bytes[..4].copy_from_slice(&height.to_le_bytes());
    let hash = BlockHash::from_byte_array(bytes);
    BlockRef { height, hash }
}

/// One of the keys, in an order that does not depend on the map's.
fn pick<V>(map: &HashMap<BlockHash, V>, index: Index) -> Option<BlockHash> {
    let mut keys: Vec<_> = map.keys().copied().collect();
    keys.sort_unstable();
    (!keys.is_empty()).then(|| keys[index.index(keys.len())])
}

struct Driver {
    download: BlockDownload<u32>,
    now: Instant,
    chain: u8,
}

impl Driver {
    fn new() -> Self {
        let mut driver = Self {
            download: BlockDownload::default(),
            now: Instant::now(),
            chain: 0,
        };
        for peer in 0..PEERS {
            driver.download.peer_joined(peer, driver.now);
        }
        driver.aim_at(100);
        driver
    }

    fn aim_at(&mut self, height: u32) {
        let first = self.download.wanted.front().map_or(1, |head| head.height);
        let wanted = (first..first + height).map(|h| block(self.chain, h));
        // Each peer has shown another part of the chain.
        self.download
            .set_wanted(wanted.collect(), |peer| first + peer * 40);
    }

    fn take(&mut self, step: &Step) {
        let (download, now) = (&mut self.download, self.now);
        match *step {
            Step::Deliver(peer, index, size) => {
                if let Some(hash) = pick(&download.in_flight, index) {
                    download.on_block(peer, hash, size, now);
                }
            }
            Step::NotFound(peer, index) => {
                if let Some(hash) = pick(&download.in_flight, index) {
                    download.on_not_found(peer, hash, now);
                }
            }
            Step::VerifyHead => {
                let head = download.wanted.front().map(|head| head.hash);
                if let Some(head) = head.filter(|head| download.received.contains_key(head)) {
                    assert!(download.on_verified(&head));
                }
            }
            Step::Discard(index) => {
                if let Some(hash) = pick(&download.received, index) {
                    download.on_discarded(hash);
                }
            }
            Step::Leave(peer) => download.peer_left(peer),
            Step::Join(peer) => {
                download.peer_joined(peer, now);
                let served = download.wanted.back().map_or(0, |last| last.height);
                if let Some(peer) = download.peers.get_mut(&peer) {
                    peer.serves = served;
                }
            }
            Step::Target(height, same) => {
                self.chain = self.chain.wrapping_add(u8::from(!same));
                self.aim_at(height);
            }
            Step::Wait(milliseconds) => self.now += Duration::from_millis(milliseconds),
        }
    }

    /// The first block that nobody was asked for although a peer could be.
    fn left_aside(&self) -> Option<BlockRef> {
        let d = &self.download;
        let free = MAX_BUFFERED_BYTES.saturating_sub(d.received_bytes) / d.recent_size.max(1);
        let room = free > d.in_flight.len();
        let someone_fit = d.peers.values().any(|p| !p.stalled && p.serves > 0);
        let could = |block: &BlockRef| {
            d.peers.values().any(|p| {
                (!p.stalled || !someone_fit)
                    && p.in_flight < p.allowance
                    && p.can_serve(block, self.now)
            })
        };
        let mut wanted = d.wanted.iter().take(if room { usize::MAX } else { 1 });
        wanted
            .find(|block| !d.is_taken(&block.hash) && could(block))
            .copied()
    }

    fn check(&self) {
        let d = &self.download;
        for (id, peer) in &d.peers {
            let owed = d
                .in_flight
                .values()
                .flatten()
                .filter(|owner| owner.peer == *id)
                .count();
            assert_eq!(peer.in_flight, owed, "what peer {id} owes");
        }
        assert_eq!(d.received_bytes, d.received.values().sum::<usize>());
        assert_eq!(self.left_aside(), None);
    }
}

proptest! {
    #[test]
    fn no_block_is_left_aside(steps in vec(step(), 1..300)) {
        let mut driver = Driver::new();
        for step in &steps {
            driver.take(step);
            driver.download.poll(driver.now);
            driver.check();
        }
    }
}
