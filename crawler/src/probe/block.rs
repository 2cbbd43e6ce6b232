//! Proof that a peer has the blocks of its headers: once in a while it has to show an old one.

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, BlockHash};
use quantumcoin::network::protocol::version::PeerVersion;
use quantumcoin::reachability::Outcome;
use quantumcoin::transport::Stream;
use quantumcoin::wire::services;
use rand::Rng;

use super::Prober;
use super::chain::PROOF_DEPTH;
use super::conversation::Conversation;
use super::failure::Failure;

/// Blocks below the top of the question that a pruned node has to have: 288 (BIP159), less those above it and two that may
/// come meanwhile.
const KEPT_BY_PRUNED: u32 = 288 - PROOF_DEPTH - 2;

impl Prober {
    /// Asks for a block by chance, of those that the peer's services say it has; checks that it is that block, whole.
    pub(super) async fn show_block<S: Stream>(
        &self,
        talk: &mut Conversation<S>,
        peer: &PeerVersion,
        proved: u32,
    ) -> Result<(), Failure> {
        let claimed = u32::try_from(peer.start_height).unwrap_or(0).min(proved);
        // Honest peers may differ about the last blocks.
        let top = claimed.saturating_sub(PROOF_DEPTH);
        let height = choose(peer.services, top, &mut rand::rng());
        let Some(hash) = height.and_then(|height| self.chain.best_header_at(height)) else {
            return Ok(());
        };
        let question = NetworkMessage::GetData(vec![Inventory::WitnessBlock(hash)]);
        let block = talk
            .ask(&question, self.limits.block, "the block", |message| {
                block(message, hash)
            })
            .await?;
        let lacks = |what: String| Err(Failure::new(Outcome::NoBlock, what));
        match block {
            None => lacks(format!("has not block {hash}")),
            Some(block) if !(block.check_merkle_root() && block.check_witness_commitment()) => {
                lacks(format!("block {hash} holds other transactions"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The height of the block to ask for; `None` where the peer need not have any.
fn choose(services: u64, top: u32, rng: &mut impl Rng) -> Option<u32> {
    let has = |flag: u64| services & flag == flag;
    let lowest = if has(services::NETWORK.to_u64()) {
        1
    } else if has(services::NETWORK_LIMITED.to_u64()) {
        top.saturating_sub(KEPT_BY_PRUNED).max(1)
    } else {
        return None;
    };
    (lowest <= top).then(|| rng.random_range(lowest..=top))
}

/// The answer, `Some(None)` where the peer says that it has not the block.
fn block(message: NetworkMessage, hash: BlockHash) -> Option<Option<Block>> {
    match message {
        NetworkMessage::Block(block) if block.block_hash() == hash => Some(Some(block)),
        NetworkMessage::NotFound(items) if items.contains(&Inventory::WitnessBlock(hash)) => {
            Some(None)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn only_blocks_that_a_peer_must_have_are_asked_for() {
        let mut rng = StdRng::seed_from_u64(1);
        let full = services::NETWORK.to_u64();
        let pruned = services::NETWORK_LIMITED.to_u64();
        let all = |services, top, rng: &mut StdRng| {
            let heights = (0..10_000).filter_map(|_| choose(services, top, rng));
            let heights: Vec<u32> = heights.collect();
            (heights.iter().min().copied(), heights.iter().max().copied())
        };
        assert_eq!(all(full, 100, &mut rng), (Some(1), Some(100)));
        assert_eq!(all(pruned, 1_000, &mut rng), (Some(722), Some(1_000)));
        assert_eq!(all(pruned, 3, &mut rng), (Some(1), Some(3)));
        assert_eq!(all(full, 0, &mut rng), (None, None));
        assert_eq!(all(0, 100, &mut rng), (None, None));
    }
}
