//! Peers that tell of headers and blocks what is not so.

use std::collections::HashMap;

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::network::security::ledger::block_hash;

use super::chain::{Known, SHORT};
use super::peer::Hostile;

/// Headers of chains without a chance that a peer may tell before that is too much (`network::security::low_work`), and a
/// message more.
const FORKS: u64 = 2_000 / SHORT as u64 + 1;

/// Tells fork after fork with far less work than the victim's chain: too many of them.
pub(super) async fn low_work(peer: &mut Hostile, known: &Known, number: u64) -> anyhow::Result<()> {
    for fork in 0..FORKS {
        let headers = known.short_fork(number * FORKS + fork)?;
        peer.act(&NetworkMessage::Headers(headers)).await?;
    }
    peer.hold().await
}

/// Tells a header without the work that it claims.
pub(super) async fn unworked(peer: &mut Hostile, known: &Known, number: u64) -> anyhow::Result<()> {
    let header = known.unworked(number);
    peer.act(&NetworkMessage::Headers(vec![header])).await?;
    peer.hold().await
}

/// Tells headers of the best chain there is, and gives its blocks: the first breaks a rule, which shows when the victim has
/// so many of them that they have more work than its own.
pub(super) async fn invalid_block(
    peer: &mut Hostile,
    known: &Known,
    number: u64,
) -> anyhow::Result<()> {
    let blocks = known.overpaid(number)?;
    let headers = blocks.iter().map(|block| block.header).collect();
    peer.act(&NetworkMessage::Headers(headers)).await?;
    let blocks: HashMap<_, _> = blocks.into_iter().map(|b| (b.block_hash(), b)).collect();
    peer.answer(|message| match message {
        NetworkMessage::GetData(items) => {
            let asked = items.iter().filter_map(block_hash);
            let given = asked.filter_map(|hash| blocks.get(&hash).cloned());
            given.map(NetworkMessage::Block).collect()
        }
        _ => Vec::new(),
    })
    .await
}

/// Tells headers of the best chain there is, and gives none of its blocks.
pub(super) async fn withheld_block(
    peer: &mut Hostile,
    known: &Known,
    number: u64,
) -> anyhow::Result<()> {
    let headers = known.long_fork(number)?;
    peer.act(&NetworkMessage::Headers(headers)).await?;
    peer.hold().await
}
