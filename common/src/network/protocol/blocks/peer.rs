//! What the block download knows of one peer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use super::{IN_FLIGHT_PER_PEER, MAX_LACKS, Owner};
use crate::chain::BlockRef;

/// Bytes of the message under way that extend the time-out by one more: 16 kB/s at the first time-out, the
/// slowest link that we care for, and less when our own link is so slow that the time-out has grown. A
/// largest message extends it by 128, so one that drips holds its blocks for four minutes at most.
const BYTES_PER_TIMEOUT: u64 = 32 * 1024;

/// How long a peer that said that it lacks a block is not asked for it: it may get it meanwhile.
pub(super) const LACK_REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Peer {
    /// Height up to which it has shown the wanted chain.
    pub(super) serves: u32,
    pub(super) in_flight: usize,
    /// Most blocks in flight: fewer after each race that it lost, more after each block that it delivered.
    pub(super) allowance: usize,
    /// From request to delivery, smoothed; `None` until it has delivered.
    pub(super) typical: Option<Duration>,
    pub(super) last_progress: Instant,
    /// Bytes that have arrived of the message under way.
    pub(super) arriving: u64,
    pub(super) stalls: u32,
    pub(super) stalled: bool,
    /// Blocks that it said it does not have, and when.
    pub(super) lacks: HashMap<BlockHash, Instant>,
    /// Such answers, less the blocks that it delivered.
    pub(super) not_founds: u32,
}

impl Peer {
    /// The time-out with what has arrived of the message under way.
    pub(super) fn extended(&self, timeout: Duration) -> Duration {
        // A message has 4 MiB at most: no overflow.
        let more = self.arriving as f64 / BYTES_PER_TIMEOUT as f64;
        timeout + timeout.mul_f64(more)
    }

    /// It delivered a block so long after it was asked.
    pub(super) fn delivered(&mut self, after: Duration) {
        self.allowance = (self.allowance + 1).min(IN_FLIGHT_PER_PEER);
        let typical = self.typical.unwrap_or(after);
        self.typical = Some((typical * 7 + after) / 8);
    }

    /// How full it is, in sixteenths of what it may have in flight.
    pub(super) fn load(&self) -> usize {
        self.in_flight * IN_FLIGHT_PER_PEER / self.allowance.max(1)
    }

    pub(super) fn can_serve(&self, block: &BlockRef, now: Instant) -> bool {
        let lacks = |at: &Instant| now.saturating_duration_since(*at) < LACK_REST;
        self.serves >= block.height
            && self.lacks.len() < MAX_LACKS
            && !self.lacks.get(&block.hash).is_some_and(lacks)
    }

    pub(super) fn take_on<P>(&mut self, peer: P, now: Instant) -> Owner<P> {
        if self.in_flight == 0 {
            self.last_progress = now;
            self.stalled = false;
        }
        self.in_flight += 1;
        Owner {
            peer,
            since: now,
            overdue: false,
        }
    }
}
