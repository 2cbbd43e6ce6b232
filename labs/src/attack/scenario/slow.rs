//! Peers that do too little: they hold what they were given, and give nothing.

use std::sync::atomic::Ordering;

use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, Txid};

use super::peer::Hostile;

/// Names in the message that is begun and not ended: at a byte a second it would take ten hours.
const LONG: usize = 1_000;

/// Asks for all blocks again and again and reads none. When the sockets between are full the victim reads no more
/// questions, so the last of them waits until it ends the connection.
pub(super) async fn reader(peer: &mut Hostile, blocks: &[Block]) -> anyhow::Result<()> {
    let all = blocks
        .iter()
        .map(|block| Inventory::WitnessBlock(block.block_hash()));
    let ask = NetworkMessage::GetData(all.collect());
    loop {
        peer.act(&ask).await?;
    }
}

/// Begins a message and goes on with it a byte a second.
pub(super) async fn writer(peer: &mut Hostile) -> anyhow::Result<()> {
    peer.drips.store(true, Ordering::Relaxed);
    let name = Inventory::WitnessTransaction(Txid::all_zeros());
    let message = NetworkMessage::Inv(vec![name; LONG]);
    peer.act(&message).await
}
