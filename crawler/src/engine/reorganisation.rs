//! A verdict rests on the chain that we knew when we visited. A crawler that has just started knows none: whoever comes first
//! may show it another. When a chain with more work is found, those who showed what is left behind are visited again.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bitcoin::BlockHash;
use quantumcoin::chain::BlockRef;

use super::Engine;
use crate::probe::unix_now;

/// Peers of which it is remembered what they showed, the latest: as many as a crawler visits before it has met an honest one,
/// and many more.
const REMEMBERED: usize = 10_000;

/// What peers have shown since they were visited last.
#[derive(Debug)]
pub(super) struct Proofs {
    /// The best header when they were looked at last; `None` where they have to be looked at again.
    best: Option<BlockRef>,
    shown: VecDeque<(SocketAddr, BlockHash)>,
}

impl Proofs {
    pub(super) fn new(best: BlockRef) -> Self {
        Self {
            best: Some(best),
            shown: VecDeque::new(),
        }
    }

    /// A peer has passed and shown this. Another chain may have been found while its visit came to its end: then it
    /// `is_left` behind already.
    pub(super) fn note(&mut self, peer: SocketAddr, tip: BlockHash, is_left: bool) {
        if is_left {
            self.best = None;
        }
        if self.shown.len() >= REMEMBERED {
            self.shown.pop_front();
        }
        self.shown.push_back((peer, tip));
    }

    /// Those whose proofs are worth nothing any more, now that the best chain is another one.
    fn left_behind(
        &mut self,
        best: BlockRef,
        is_left: impl Fn(&BlockHash) -> bool,
    ) -> Vec<SocketAddr> {
        if self.best.replace(best) == Some(best) {
            return Vec::new();
        }
        let mut left = Vec::new();
        self.shown.retain(|(peer, tip)| {
            let gone = is_left(tip);
            if gone {
                left.push(*peer);
            }
            !gone
        });
        left
    }
}

impl Engine {
    /// Visits those again who have shown what the best chain has left behind.
    pub(super) fn doubt_what_was_left_behind(&mut self) {
        let prober = &self.prober;
        let left = self
            .proofs
            .left_behind(prober.best(), |tip| prober.is_left_behind(tip));
        for peer in left {
            tracing::info!(%peer, "it showed a chain that is none of ours any more; visiting it again");
            self.frontier.visit_now(peer, unix_now());
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    fn block(n: u8) -> BlockRef {
        BlockRef {
            height: u32::from(n),
            hash: BlockHash::from_byte_array([n; 32]),
        }
    }

    #[test]
    fn those_left_behind_are_told_once_and_only_when_the_best_chain_moves() {
        let peer = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        let mut proofs = Proofs::new(block(1));
        proofs.note(peer(1), block(1).hash, false);
        proofs.note(peer(2), block(2).hash, false);
        let is_left = |tip: &BlockHash| *tip == block(1).hash;
        assert!(proofs.left_behind(block(1), is_left).is_empty());
        assert_eq!(proofs.left_behind(block(3), is_left), [peer(1)]);
        assert!(proofs.left_behind(block(4), is_left).is_empty());
        // Its visit ended after the best chain had moved.
        proofs.note(peer(4), block(1).hash, true);
        assert_eq!(proofs.left_behind(block(4), is_left), [peer(4)]);
        for n in 0..20_000 {
            proofs.note(peer(3), block(n as u8).hash, false);
        }
        assert_eq!(proofs.shown.len(), REMEMBERED);
    }
}
