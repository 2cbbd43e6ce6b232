//! What is done about peers that are silent or slow: stalls, races for blocks near the head, a head that is
//! overdue.

use std::hash::Hash;
use std::time::{Duration, Instant};

use super::peer::{LACK_REST, Peer};
use super::{BlockAction, BlockDownload, IN_FLIGHT_PER_PEER, MAX_LACKS};

/// A peer with nothing to do looks for slow blocks among so many next to the head: what two peers may owe, twice.
const RACE_SPAN: usize = 4 * IN_FLIGHT_PER_PEER;

/// It races for those that others have had for so many times as long as it needs for one …
const RACE_PATIENCE: u32 = 4;

/// … and at least for so long: less would double what near peers send for a hiccup.
pub(super) const RACE_LEAST: Duration = Duration::from_millis(100);

/// Time-outs after which the head is overdue however it arrives, because all others wait for it.
pub(super) const MAX_HEAD_TIMEOUTS: u32 = 4;

/// Stalls without a single delivery between them after which a peer is given up.
const STALLS_TO_GIVE_UP: u32 = 3;

/// The time-out doubles up to this.
const MAX_STALL_TIMEOUT: Duration = Duration::from_secs(64);

impl<P: Copy + Eq + Hash + Ord> BlockDownload<P> {
    pub(super) fn find_stalls(&mut self, now: Instant) -> Vec<BlockAction<P>> {
        let timeout = self.stall_timeout;
        let mut stalled: Vec<P> = self
            .peers
            .iter()
            .filter(|(_, p)| p.in_flight > 0 && !p.stalled)
            .filter(|(_, p)| now.saturating_duration_since(p.last_progress) >= p.extended(timeout))
            .map(|(id, _)| *id)
            .collect();
        stalled.sort_unstable();
        if !stalled.is_empty() {
            self.stall_timeout = (timeout * 2).min(MAX_STALL_TIMEOUT);
        }
        let mut actions = Vec::new();
        for id in stalled {
            self.take_all_from(id);
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
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

    /// Counts each owner that had the head for too long. Each further owner is given twice the time, so
    /// that a slow link of ours is not filled with the same block.
    pub(super) fn find_overdue_head(&mut self, now: Instant) {
        let Some(head) = self.wanted.front().map(|head| head.hash) else {
            return;
        };
        let mut patience = self.stall_timeout;
        let mut failed = 0;
        for owner in self.in_flight.get_mut(&head).into_iter().flatten() {
            let extended = self
                .peers
                .get(&owner.peer)
                .map_or(patience, |peer| peer.extended(patience))
                .min(patience * MAX_HEAD_TIMEOUTS);
            if !owner.overdue && now.saturating_duration_since(owner.since) >= extended {
                owner.overdue = true;
                failed += 1;
            }
            patience = (patience * 2).min(MAX_STALL_TIMEOUT);
        }
        for _ in 0..failed {
            self.note_failure(head);
        }
    }

    /// A stalled peer serves again when its rest is over; what a peer lacked is asked of it again.
    pub(super) fn end_rests(&mut self, now: Instant) {
        let rest = self.stall_timeout;
        for peer in self.peers.values_mut() {
            if peer.stalled && now.saturating_duration_since(peer.last_progress) >= rest {
                peer.stalled = false;
            }
            if peer.lacks.len() >= MAX_LACKS {
                peer.lacks
                    .retain(|_, at| now.saturating_duration_since(*at) < LACK_REST);
            }
        }
    }

    /// Peers that have delivered and have nothing else to do take on slow blocks near the head.
    pub(super) fn race(&mut self, now: Instant, actions: &mut Vec<BlockAction<P>>) {
        let idle = |p: &Peer| p.in_flight == 0 && !p.stalled && p.not_founds == 0;
        let mut racers: Vec<(Duration, P)> = self
            .peers
            .iter()
            .filter(|(_, peer)| idle(peer))
            .filter_map(|(id, peer)| Some((peer.typical?, *id)))
            .collect();
        racers.sort_unstable();
        for (typical, id) in racers {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            let patience = (typical * RACE_PATIENCE).max(RACE_LEAST);
            let mut taken = Vec::new();
            for block in self.wanted.iter().take(RACE_SPAN) {
                if peer.in_flight >= peer.allowance {
                    break;
                }
                let Some(owners) = self.in_flight.get_mut(&block.hash) else {
                    continue;
                };
                // One race for a block at a time.
                let [owner] = owners.as_slice() else {
                    continue;
                };
                let slow = now.saturating_duration_since(owner.since) >= patience;
                if slow && owner.peer != id && peer.can_serve(block, now) {
                    owners.push(peer.take_on(id, now));
                    taken.push(block.hash);
                }
            }
            if !taken.is_empty() {
                actions.push(BlockAction::Request(id, taken));
            }
        }
    }

    /// When all that were asked for the head are overdue, asks one more peer that has nothing else to do.
    pub(super) fn rescue_head(&mut self, now: Instant, actions: &mut Vec<BlockAction<P>>) {
        let Some(head) = self.wanted.front() else {
            return;
        };
        let Some(owners) = self.in_flight.get_mut(&head.hash) else {
            return;
        };
        if !owners.iter().all(|owner| owner.overdue) {
            return;
        }
        let idle = self
            .peers
            .iter_mut()
            .filter(|(_, p)| p.in_flight == 0 && !p.stalled && p.can_serve(head, now))
            .min_by_key(|(id, p)| (p.not_founds, **id));
        if let Some((id, peer)) = idle {
            owners.push(peer.take_on(*id, now));
            actions.push(BlockAction::Request(*id, vec![head.hash]));
        }
    }
}
