//! Block download: which block to ask of which peer, and when to ask another.
//!
//! Blocks on the best header chain are fetched in parallel from all peers that have them, in a window
//! ahead of the verified tip. A peer that sends nothing for the stall time-out loses its blocks to the
//! others and gets no new ones until it delivers again; each stall doubles the time-out (to 64 s) and each
//! block shrinks it back, so that a slow link of ours does not churn through peers (bitcoin#25880). Slow
//! is replaced, not punished; only a peer that stalls again and again is given up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use crate::chain::BlockRef;

/// Blocks ahead of the verified tip that may be asked for. Bitcoin Core's window; at 4 MB a block the
/// byte bound below is what holds.
pub const WINDOW: usize = 1_024;

/// Most bytes of received blocks that wait for their parents. With it memory stays bounded whatever the
/// size of blocks is.
pub const MAX_BUFFERED_BYTES: usize = 256 * 1024 * 1024;

/// Blocks in flight at one peer (Bitcoin Core's figure): enough to fill a long pipe, few enough that a
/// stalling peer holds up little.
pub const IN_FLIGHT_PER_PEER: usize = 16;

/// First stall time-out. Below it healthy peers on slow links would be churned (bitcoin#9213).
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The time-out doubles up to this.
const MAX_STALL_TIMEOUT: Duration = Duration::from_secs(64);

/// Each delivered block takes the time-out this share of the way back.
const STALL_SHRINK: f64 = 0.85;

/// Stalls without a single delivery between them after which a peer is given up.
const STALLS_TO_GIVE_UP: u32 = 3;

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAction<P> {
    /// Ask this peer for these blocks.
    Request(P, Vec<BlockHash>),
    /// The peer stalled; its blocks go elsewhere.
    Stalled(P),
    /// The peer stalled too often: drop the connection, without a penalty.
    GiveUp(P),
}

#[derive(Debug)]
struct Peer {
    /// Highest block that it is thought to have; a hint, never trusted.
    height: u32,
    in_flight: usize,
    last_progress: Instant,
    stalls: u32,
    stalled: bool,
    /// Blocks that it said it does not have.
    lacks: HashSet<BlockHash>,
}

/// The state machine; `P` names a peer.
#[derive(Debug)]
pub struct BlockDownload<P> {
    wanted: VecDeque<BlockRef>,
    wanted_set: HashSet<BlockHash>,
    in_flight: HashMap<BlockHash, P>,
    received: HashMap<BlockHash, usize>,
    received_bytes: usize,
    peers: HashMap<P, Peer>,
    stall_timeout: Duration,
}

impl<P: Copy + Eq + Hash + Ord> Default for BlockDownload<P> {
    fn default() -> Self {
        Self {
            wanted: VecDeque::new(),
            wanted_set: HashSet::new(),
            in_flight: HashMap::new(),
            received: HashMap::new(),
            received_bytes: 0,
            peers: HashMap::new(),
            stall_timeout: STALL_TIMEOUT,
        }
    }
}

impl<P: Copy + Eq + Hash + Ord> BlockDownload<P> {
    /// A peer may be asked from now on.
    pub fn peer_joined(&mut self, peer: P, height: u32, now: Instant) {
        self.peers.entry(peer).or_insert(Peer {
            height,
            in_flight: 0,
            last_progress: now,
            stalls: 0,
            stalled: false,
            lacks: HashSet::new(),
        });
    }

    /// A peer showed that it has a chain up to `height`.
    pub fn peer_has(&mut self, peer: P, height: u32) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.height = peer.height.max(height);
            peer.lacks.clear();
        }
    }

    /// A peer is gone; what it owed goes elsewhere.
    pub fn peer_left(&mut self, peer: P) {
        self.peers.remove(&peer);
        self.in_flight.retain(|_, p| *p != peer);
    }

    /// The blocks to fetch: those after the verified tip on the best header chain, in order, at most
    /// [`WINDOW`]. Call when the tip or the best header moved.
    pub fn set_wanted(&mut self, wanted: Vec<BlockRef>) {
        let set: HashSet<_> = wanted.iter().map(|b| b.hash).collect();
        self.in_flight.retain(|hash, peer| {
            let keep = set.contains(hash);
            if !keep && let Some(peer) = self.peers.get_mut(peer) {
                peer.in_flight = peer.in_flight.saturating_sub(1);
            }
            keep
        });
        let bytes = &mut self.received_bytes;
        self.received.retain(|hash, size| {
            let keep = set.contains(hash);
            if !keep {
                *bytes = bytes.saturating_sub(*size);
            }
            keep
        });
        self.wanted = wanted.into();
        self.wanted_set = set;
    }

    /// The next blocks to hand on for verification, in order.
    pub fn wanted(&self) -> impl Iterator<Item = &BlockRef> {
        self.wanted.iter()
    }

    /// The first wanted block was verified. False when `hash` is not the first: the caller then asks the
    /// chain anew by [`Self::set_wanted`].
    pub fn on_verified(&mut self, hash: &BlockHash) -> bool {
        if self.wanted.front().is_none_or(|first| first.hash != *hash) {
            return false;
        }
        self.wanted.pop_front();
        self.wanted_set.remove(hash);
        self.release(hash);
        if let Some(size) = self.received.remove(hash) {
            self.received_bytes = self.received_bytes.saturating_sub(size);
        }
        true
    }

    /// Number of blocks asked for and not received.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether this block is still to be received.
    pub fn wants(&self, hash: &BlockHash) -> bool {
        !self.received.contains_key(hash) && self.wanted_set.contains(hash)
    }

    /// A wanted block arrived, from whomever.
    pub fn on_block(&mut self, peer: P, hash: BlockHash, bytes: usize, now: Instant) {
        self.release(&hash);
        if self.received.insert(hash, bytes).is_none() {
            self.received_bytes += bytes;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.last_progress = now;
            peer.stalls = 0;
            peer.stalled = false;
        }
        self.stall_timeout = self.stall_timeout.mul_f64(STALL_SHRINK).max(STALL_TIMEOUT);
    }

    /// A received block turned out to be unusable: fetch it again, from another.
    pub fn on_unusable(&mut self, peer: P, hash: BlockHash) {
        self.on_discarded(hash);
        self.on_not_found(peer, hash);
    }

    /// A received block was thrown away through no fault of its sender: fetch it again.
    pub fn on_discarded(&mut self, hash: BlockHash) {
        if let Some(size) = self.received.remove(&hash) {
            self.received_bytes = self.received_bytes.saturating_sub(size);
        }
    }

    /// The peer does not have the block: ask elsewhere at once.
    pub fn on_not_found(&mut self, peer: P, hash: BlockHash) {
        if self.in_flight.get(&hash) == Some(&peer) {
            self.release(&hash);
        }
        if let Some(peer) = self.peers.get_mut(&peer)
            && peer.lacks.len() < WINDOW
        {
            peer.lacks.insert(hash);
        }
    }

    /// What to do now. Call after each event and several times a second.
    pub fn poll(&mut self, now: Instant) -> Vec<BlockAction<P>> {
        let mut actions = self.find_stalls(now);
        self.assign(now, &mut actions);
        actions
    }

    fn find_stalls(&mut self, now: Instant) -> Vec<BlockAction<P>> {
        let timeout = self.stall_timeout;
        let mut stalled: Vec<P> = self
            .peers
            .iter()
            .filter(|(_, p)| p.in_flight > 0 && !p.stalled)
            .filter(|(_, p)| now.saturating_duration_since(p.last_progress) >= timeout)
            .map(|(id, _)| *id)
            .collect();
        stalled.sort_unstable();
        if !stalled.is_empty() {
            self.stall_timeout = (timeout * 2).min(MAX_STALL_TIMEOUT);
        }
        let mut actions = Vec::new();
        for id in stalled {
            self.in_flight.retain(|_, p| *p != id);
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.in_flight = 0;
            peer.stalled = true;
            peer.stalls += 1;
            peer.last_progress = now;
            if peer.stalls >= STALLS_TO_GIVE_UP {
                self.peers.remove(&id);
                actions.push(BlockAction::GiveUp(id));
            } else {
                actions.push(BlockAction::Stalled(id));
            }
        }
        actions
    }

    fn assign(&mut self, now: Instant, actions: &mut Vec<BlockAction<P>>) {
        if self.received_bytes >= MAX_BUFFERED_BYTES {
            // Only the block that unblocks the queue is worth more memory.
            self.assign_range(1, now, actions);
        } else {
            self.assign_range(WINDOW, now, actions);
        }
    }

    fn assign_range(&mut self, most: usize, now: Instant, actions: &mut Vec<BlockAction<P>>) {
        // A stalled peer serves again when its rest is over, or when there is nobody else.
        let rest = self.stall_timeout;
        for peer in self.peers.values_mut() {
            if peer.stalled && now.saturating_duration_since(peer.last_progress) >= rest {
                peer.stalled = false;
            }
        }
        let someone_fit = self.peers.values().any(|p| !p.stalled);
        let mut requests: HashMap<P, Vec<BlockHash>> = HashMap::new();
        for block in self.wanted.iter().take(most) {
            if self.in_flight.contains_key(&block.hash) || self.received.contains_key(&block.hash) {
                continue;
            }
            let best = self
                .peers
                .iter_mut()
                .filter(|(_, p)| !p.stalled || !someone_fit)
                .filter(|(_, p)| p.in_flight < IN_FLIGHT_PER_PEER && p.height >= block.height)
                .filter(|(_, p)| !p.lacks.contains(&block.hash))
                .min_by_key(|(id, p)| (p.in_flight, **id));
            let Some((id, peer)) = best else { continue };
            if peer.in_flight == 0 {
                peer.last_progress = now;
                peer.stalled = false;
            }
            peer.in_flight += 1;
            self.in_flight.insert(block.hash, *id);
            requests.entry(*id).or_default().push(block.hash);
        }
        let mut requests: Vec<_> = requests.into_iter().collect();
        requests.sort_unstable_by_key(|(id, _)| *id);
        actions.extend(
            requests
                .into_iter()
                .map(|(id, hashes)| BlockAction::Request(id, hashes)),
        );
    }

    fn release(&mut self, hash: &BlockHash) {
        if let Some(owner) = self.in_flight.remove(hash)
            && let Some(owner) = self.peers.get_mut(&owner)
        {
            owner.in_flight = owner.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash as _;

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
            download.peer_joined(*peer, blocks, now);
        }
        download.set_wanted((1..=blocks).map(block).collect());
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
    fn a_silent_peer_loses_its_blocks_and_is_given_up_in_the_end() {
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
    fn a_block_that_arrives_is_progress() {
        let start = Instant::now();
        let mut download = download(&[1, 2], 64, start);
        download.poll(start);
        // Peer 1 sends one block each 1.5 s: slow, but never silent.
        let mine: Vec<_> = download
            .in_flight
            .iter()
            .filter(|(_, p)| **p == 1)
            .map(|(h, _)| *h)
            .collect();
        let mut now = start;
        for hash in mine {
            now += Duration::from_millis(1_500);
            download.on_block(1, hash, 100, now);
            assert!(!download.poll(now).contains(&BlockAction::Stalled(1)));
        }
    }

    #[test]
    fn not_found_is_asked_elsewhere_at_once() {
        let now = Instant::now();
        let mut download = download(&[1, 2], 1, now);
        assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 1)]));
        download.on_not_found(1, block(1).hash);
        assert_eq!(requests(&download.poll(now)), HashMap::from([(2, 1)]));
        download.on_not_found(2, block(1).hash);
        assert!(download.poll(now).is_empty(), "nobody is left to ask");
        download.peer_has(1, 1);
        assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 1)]));
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
        download.peer_joined(1, 3, now);
        download.set_wanted((1..=10).map(block).collect());
        assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 3)]));
    }

    #[test]
    fn a_full_buffer_lets_only_the_next_block_through() {
        let now = Instant::now();
        let mut download = download(&[1, 2, 3], 40, now);
        download.on_block(1, block(40).hash, MAX_BUFFERED_BYTES, now);
        assert_eq!(requests(&download.poll(now)), HashMap::from([(1, 1)]));
        download.set_wanted((1..=39).map(block).collect());
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
}
