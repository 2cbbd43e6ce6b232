//! Block download: which block to ask of which peer, and when to ask another.
//!
//! Blocks towards one target header are fetched in parallel from all peers that have shown that they have
//! them, in a window ahead of the verified tip. The driver chooses the target, and is told by
//! [`BlockDownload::failures`] how often the first missing block of a target was not delivered, so that
//! headers without blocks do not hold it for ever.
//!
//! A peer that delivers nothing for the stall time-out loses its blocks to the others and gets no new ones
//! until it delivers again; each stall doubles the time-out (to 64 s) and each block shrinks it back, so
//! that a slow link of ours does not churn through peers (bitcoin#25880). Slow is replaced, not punished;
//! only a peer that stalls again and again is given up. A message that is arriving is no stall: its bytes
//! extend the time-out, as long as they come fast enough (`BYTES_PER_TIMEOUT`).
//!
//! The *head*, the first block that is wanted, holds up all others. When it is overdue although its peer
//! sends other blocks, or sends slowly, a peer that has nothing else to do is asked for it as well. Before
//! that, the peers race: one that has delivered and has nothing else to do takes on blocks near the head that
//! others have had for several times as long as it needs itself. Whoever loses a race rests and is asked for
//! less at a time, so that slow peers get little, far ahead of the head, and do not set the pace.

mod peer;
mod slow;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use self::peer::Peer;
use crate::chain::BlockRef;

/// Blocks ahead of the verified tip that may be asked for. Bitcoin Core's window; at 4 MB a block the
/// byte bound below is what holds.
pub const WINDOW: usize = 1_024;

/// Most bytes of received blocks that wait for their parents, the head excepted. With it memory stays
/// bounded whatever the size of blocks is.
pub const MAX_BUFFERED_BYTES: usize = 256 * 1024 * 1024;

/// Blocks in flight at one peer (Bitcoin Core's figure): enough to fill a long pipe, few enough that a
/// stalling peer holds up little.
pub const IN_FLIGHT_PER_PEER: usize = 16;

/// First stall time-out. Below it healthy peers on slow links would be churned (bitcoin#9213).
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Each delivered block takes the time-out this share of the way back.
const STALL_SHRINK: f64 = 0.85;

/// Lacking blocks that are remembered of one peer; one that lacks more is not asked at all meanwhile.
const MAX_LACKS: usize = WINDOW;

/// Heads whose failures are remembered. Each belongs to a chain with more work than ours that some peer
/// has shown; far fewer ever exist. When there are more, all are forgotten.
const MAX_FAILURES: usize = 1_024;

/// Size that a block is taken for before the first has come: a block's largest, in bytes.
const FIRST_SIZE: usize = 4_000_000;

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAction<P> {
    /// Ask this peer for these blocks.
    Request(P, Vec<BlockHash>),
    /// The peer stalled; its blocks go elsewhere.
    Stalled(P),
    /// The peer stalled too often: drop the connection; it counts as withholding, which alone leads to no ban.
    GiveUp(P),
}

/// Who was asked for a block.
#[derive(Debug)]
struct Owner<P> {
    peer: P,
    since: Instant,
    /// It had time enough for the head; counted as a failure.
    overdue: bool,
}

/// The state machine; `P` names a peer.
#[derive(Debug)]
pub struct BlockDownload<P> {
    wanted: VecDeque<BlockRef>,
    wanted_set: HashSet<BlockHash>,
    /// So many of the first wanted blocks, at least, are in flight or received: nobody need look for the next to
    /// ask for among them, and hundreds are, most of the time.
    taken: usize,
    /// One owner each; more for a head that is overdue.
    in_flight: HashMap<BlockHash, Vec<Owner<P>>>,
    received: HashMap<BlockHash, usize>,
    received_bytes: usize,
    /// Decaying maximum of block sizes: what one more block in flight may bring.
    recent_size: usize,
    peers: HashMap<P, Peer>,
    stall_timeout: Duration,
    failures: HashMap<BlockHash, u32>,
    head_failed: bool,
}

impl<P: Copy + Eq + Hash + Ord> Default for BlockDownload<P> {
    fn default() -> Self {
        Self {
            wanted: VecDeque::new(),
            wanted_set: HashSet::new(),
            taken: 0,
            in_flight: HashMap::new(),
            received: HashMap::new(),
            received_bytes: 0,
            recent_size: FIRST_SIZE,
            peers: HashMap::new(),
            stall_timeout: STALL_TIMEOUT,
            failures: HashMap::new(),
            head_failed: false,
        }
    }
}

impl<P: Copy + Eq + Hash + Ord> BlockDownload<P> {
    /// A peer connected. It is asked once it has shown something: [`Self::set_wanted`].
    pub fn peer_joined(&mut self, peer: P, now: Instant) {
        self.peers.entry(peer).or_insert(Peer {
            serves: 0,
            in_flight: 0,
            allowance: IN_FLIGHT_PER_PEER,
            typical: None,
            last_progress: now,
            arriving: 0,
            stalls: 0,
            stalled: false,
            lacks: HashMap::new(),
            not_founds: 0,
        });
    }

    /// A peer is gone; what it owed goes elsewhere.
    pub fn peer_left(&mut self, peer: P) {
        self.take_all_from(peer);
        self.peers.remove(&peer);
    }

    /// The blocks to fetch: those after the verified tip towards the target, in order, at most [`WINDOW`];
    /// and up to which height each peer has shown the target's chain. Call when one of them changed.
    pub fn set_wanted(&mut self, wanted: Vec<BlockRef>, serves: impl Fn(P) -> u32) {
        let set: HashSet<_> = wanted.iter().map(|b| b.hash).collect();
        let dropped: Vec<_> = self
            .in_flight
            .keys()
            .filter(|hash| !set.contains(*hash))
            .copied()
            .collect();
        for hash in dropped {
            self.release(&hash);
        }
        let bytes = &mut self.received_bytes;
        self.received.retain(|hash, size| {
            let keep = set.contains(hash);
            if !keep {
                *bytes = bytes.saturating_sub(*size);
            }
            keep
        });
        for (id, peer) in &mut self.peers {
            peer.serves = serves(*id);
        }
        self.wanted = wanted.into();
        self.wanted_set = set;
        self.taken = 0;
    }

    /// The next blocks to hand on for verification, in order.
    pub fn wanted(&self) -> impl ExactSizeIterator<Item = &BlockRef> {
        self.wanted.iter()
    }

    /// The first wanted block was verified. False when `hash` is not the first: the caller then asks the
    /// chain anew by [`Self::set_wanted`].
    pub fn on_verified(&mut self, hash: &BlockHash) -> bool {
        self.failures.remove(hash);
        if self.wanted.front().is_none_or(|first| first.hash != *hash) {
            return false;
        }
        self.wanted.pop_front();
        self.wanted_set.remove(hash);
        self.release(hash);
        self.forget(hash);
        self.taken = self.taken.saturating_sub(1);
        true
    }

    /// Number of blocks asked for and not received.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether this peer was asked for a block that it has not given yet.
    pub fn is_asked(&self, peer: P) -> bool {
        self.peers.get(&peer).is_some_and(|p| p.in_flight > 0)
    }

    /// Whether this block is still to be received.
    pub fn wants(&self, hash: &BlockHash) -> bool {
        !self.received.contains_key(hash) && self.wanted_set.contains(hash)
    }

    /// How often this block, while it was the head, was not delivered in time by a peer that was asked.
    pub fn failures(&self, hash: &BlockHash) -> u32 {
        self.failures.get(hash).copied().unwrap_or(0)
    }

    /// Whether the head failed since the last call: another target may be the better one.
    pub fn take_head_failed(&mut self) -> bool {
        std::mem::take(&mut self.head_failed)
    }

    /// A wanted block arrived, from whomever. False when there is no room for it: it is to be thrown away,
    /// and is asked for again later.
    pub fn on_block(&mut self, peer: P, hash: BlockHash, bytes: usize, now: Instant) -> bool {
        self.settle(peer, &hash, now);
        self.recent_size = bytes.max(self.recent_size - self.recent_size / 16);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.last_progress = now;
            peer.stalls = 0;
            peer.stalled = false;
            peer.not_founds = peer.not_founds.saturating_sub(1);
        }
        self.stall_timeout = self.stall_timeout.mul_f64(STALL_SHRINK).max(STALL_TIMEOUT);
        let is_head = self.wanted.front().is_some_and(|head| head.hash == hash);
        if !is_head && self.received_bytes + bytes > MAX_BUFFERED_BYTES {
            self.taken = 0;
            return false;
        }
        if self.received.insert(hash, bytes).is_none() {
            self.received_bytes += bytes;
        }
        true
    }

    /// Something of use arrived that is no wanted block: one that another peer has delivered meanwhile, or the compact
    /// form of one. Its sender is slow, but not silent.
    pub fn on_progress(&mut self, peer: P, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.last_progress = now;
        }
    }

    /// A received block was thrown away through no fault of its sender, or turned out to be unusable: fetch
    /// it again.
    pub fn on_discarded(&mut self, hash: BlockHash) {
        self.forget(&hash);
        self.taken = 0;
    }

    fn forget(&mut self, hash: &BlockHash) {
        if let Some(size) = self.received.remove(hash) {
            self.received_bytes = self.received_bytes.saturating_sub(size);
        }
    }

    /// The peer does not have the block: ask elsewhere at once. Ignored unless the peer was asked for it.
    pub fn on_not_found(&mut self, peer: P, hash: BlockHash, now: Instant) {
        if !self.take_from(peer, &hash) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.not_founds = peer.not_founds.saturating_add(1);
            if peer.lacks.len() < MAX_LACKS {
                peer.lacks.insert(hash, now);
            }
        }
    }

    /// How many bytes have arrived of the message that the peer is sending; 0 between messages. Call before
    /// [`Self::poll`].
    pub fn on_arriving(&mut self, peer: P, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.arriving = bytes;
        }
    }

    /// What to do now. Call after each event and several times a second.
    pub fn poll(&mut self, now: Instant) -> Vec<BlockAction<P>> {
        let mut actions = self.find_stalls(now);
        self.find_overdue_head(now);
        self.end_rests(now);
        self.assign(now, &mut actions);
        self.race(now, &mut actions);
        self.rescue_head(now, &mut actions);
        actions
    }

    fn assign(&mut self, now: Instant, actions: &mut Vec<BlockAction<P>>) {
        // What is in flight will need room as well. The head is always worth its memory.
        let room = MAX_BUFFERED_BYTES.saturating_sub(self.received_bytes);
        let mut room = (room / self.recent_size.max(1)).saturating_sub(self.in_flight.len());
        // Those that stalled are asked only when there is nobody else.
        let someone_fit = self.peers.values().any(|p| !p.stalled && p.serves > 0);
        let mut requests: HashMap<P, Vec<BlockHash>> = HashMap::new();
        debug_assert!(
            self.wanted
                .iter()
                .take(self.taken)
                .all(|block| self.is_taken(&block.hash))
        );
        // Nobody may be free; places that the block's own height or a lack rules out are found one by one.
        let mut places: usize = self
            .peers
            .values()
            .filter(|p| !p.stalled || !someone_fit)
            .map(|p| p.allowance.saturating_sub(p.in_flight))
            .sum();
        for (index, block) in self.wanted.iter().enumerate().skip(self.taken) {
            if places == 0 || (index > 0 && room == 0) {
                break;
            }
            if self.is_taken(&block.hash) {
                if index == self.taken {
                    self.taken += 1;
                }
                continue;
            }
            let best = self
                .peers
                .iter_mut()
                .filter(|(_, p)| !p.stalled || !someone_fit)
                .filter(|(_, p)| p.in_flight < p.allowance && p.can_serve(block, now))
                .min_by_key(|(id, p)| (p.not_founds, p.load(), **id));
            let Some((id, peer)) = best else { continue };
            self.in_flight
                .insert(block.hash, vec![peer.take_on(*id, now)]);
            requests.entry(*id).or_default().push(block.hash);
            room = room.saturating_sub(1);
            places = places.saturating_sub(1);
            if index == self.taken {
                self.taken += 1;
            }
        }
        let mut requests: Vec<_> = requests.into_iter().collect();
        requests.sort_unstable_by_key(|(id, _)| *id);
        actions.extend(
            requests
                .into_iter()
                .map(|(id, hashes)| BlockAction::Request(id, hashes)),
        );
    }

    /// Whether somebody was asked for the block and may still send it, or it has come.
    fn is_taken(&self, hash: &BlockHash) -> bool {
        self.in_flight.contains_key(hash) || self.received.contains_key(hash)
    }

    /// `winner` delivered the block, and nobody owes it any more. Whoever was asked earlier and is later
    /// rests, and is asked for less from now on.
    fn settle(&mut self, winner: P, hash: &BlockHash, now: Instant) {
        let owners = self.in_flight.remove(hash).unwrap_or_default();
        let asked = owners.iter().find(|owner| owner.peer == winner);
        let asked = asked.map(|owner| owner.since);
        for owner in owners {
            let Some(peer) = self.peers.get_mut(&owner.peer) else {
                continue;
            };
            peer.in_flight = peer.in_flight.saturating_sub(1);
            if owner.peer == winner {
                peer.delivered(now.saturating_duration_since(owner.since));
            } else if asked.is_some_and(|asked| asked > owner.since) {
                peer.allowance = (peer.allowance / 2).max(1);
                peer.stalled = true;
            }
        }
    }

    /// Nobody owes the block any more.
    fn release(&mut self, hash: &BlockHash) {
        for owner in self.in_flight.remove(hash).into_iter().flatten() {
            if let Some(peer) = self.peers.get_mut(&owner.peer) {
                peer.in_flight = peer.in_flight.saturating_sub(1);
            }
        }
    }

    /// The peer will not deliver the block. False when it was not asked for it.
    fn take_from(&mut self, peer: P, hash: &BlockHash) -> bool {
        let Some(owners) = self.in_flight.get_mut(hash) else {
            return false;
        };
        let Some(place) = owners.iter().position(|owner| owner.peer == peer) else {
            return false;
        };
        let owner = owners.swap_remove(place);
        if owners.is_empty() {
            self.in_flight.remove(hash);
            self.taken = 0;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
        }
        if !owner.overdue && self.wanted.front().is_some_and(|head| head.hash == *hash) {
            self.note_failure(*hash);
        }
        true
    }

    fn take_all_from(&mut self, peer: P) {
        let owed: Vec<_> = self
            .in_flight
            .iter()
            .filter(|(_, owners)| owners.iter().any(|owner| owner.peer == peer))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in owed {
            self.take_from(peer, &hash);
        }
    }

    fn note_failure(&mut self, head: BlockHash) {
        if self.failures.len() >= MAX_FAILURES {
            self.failures.clear();
        }
        let count = self.failures.entry(head).or_default();
        *count = count.saturating_add(1);
        self.head_failed = true;
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
