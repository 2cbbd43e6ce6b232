//! The height that most peers have shown lately.
//!
//! The best header alone is no measure of who is behind: one peer that mines some headers ahead of everybody
//! and keeps the blocks would put the whole network behind itself.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// Peers that are remembered: enough for a steady median, and soon replaced on a network of any size.
const REMEMBERED: usize = 101;

/// Heights shown by the last peers visited, one for each.
#[derive(Debug, Default)]
pub(super) struct Heights(Mutex<VecDeque<(SocketAddr, u32)>>);

impl Heights {
    /// Notes what a peer has shown; returns the median of all, the higher of the middle two: while only one
    /// other peer is known, the one with more work is believed.
    pub(super) fn note(&self, peer: SocketAddr, height: u32) -> u32 {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(known, _)| *known != peer);
        recent.push_back((peer, height));
        while recent.len() > REMEMBERED {
            recent.pop_front();
        }
        let mut heights: Vec<u32> = recent.iter().map(|(_, height)| *height).collect();
        let middle = heights.len() / 2;
        // In range: there is at least the height just noted.
        *heights.select_nth_unstable(middle).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_ahead_of_all_does_not_move_the_median_however_often_it_shows() {
        let heights = Heights::default();
        let peer = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        heights.note(peer(1), 30);
        heights.note(peer(2), 30);
        for _ in 0..50 {
            assert_eq!(heights.note(peer(3), 90), 30);
        }
        assert_eq!(heights.note(peer(4), 31), 31);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let heights = Heights::default();
        for n in 1..=1_000 {
            heights.note(SocketAddr::from(([127, 0, 0, 1], n)), u32::from(n));
        }
        assert_eq!(heights.0.lock().unwrap().len(), REMEMBERED);
        let last = SocketAddr::from(([127, 0, 0, 1], 1_000));
        assert_eq!(heights.note(last, 1_000), 950);
    }
}
