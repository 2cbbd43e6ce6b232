//! Answers to `getheaders` and `getdata`: headers, blocks and transactions that others ask us for.

use std::collections::VecDeque;
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use tokio::task::spawn_blocking;

use super::actor::{Actor, Gone};
use crate::chain::Blockchain;
use crate::network::protocol::headers::HEADERS_PER_MESSAGE;
use crate::network::protocol::transactions::TxRef;
use crate::network::protocol::version::Direction;
use crate::network::security::ledger::block_hash;

/// Blocks are read from disk until they have so many bytes together: a change of thread for each small block would
/// cost more than reading it. What a peer makes us hold in this way grows by this and one block.
const READ_AT_ONCE: usize = 256 * 1024;

/// Inventory entries that are looked at for more blocks to read: what a peer is asked for at a time.
const LOOK_AHEAD: usize = 16;

/// Blocks that were read before their turn; `None` for those that we don't have.
type ReadAhead = VecDeque<(BlockHash, Option<Vec<u8>>)>;

impl Actor {
    pub(super) async fn serve_headers(&self, request: &GetHeadersMessage) -> Result<(), Gone> {
        let headers = self.local.chain.headers_after(
            &request.locator_hashes,
            request.stop_hash,
            HEADERS_PER_MESSAGE,
        );
        self.reply_bulk(NetworkMessage::Headers(headers)).await
    }

    pub(super) async fn serve_data(&self, items: Vec<Inventory>) -> Result<(), Gone> {
        let mut missing = Vec::new();
        let mut ahead = ReadAhead::new();
        for (place, item) in items.iter().enumerate() {
            let served = if let Some(name) = TxRef::of(item) {
                self.serve_transaction(name).await?
            } else if let Some(hash) = block_hash(item) {
                if ahead.front().is_none_or(|(next, _)| *next != hash) {
                    let asked = items.iter().skip(place).take(LOOK_AHEAD);
                    ahead = self
                        .read_blocks(asked.map_while(block_hash).collect())
                        .await;
                }
                match ahead.pop_front() {
                    Some((_, Some(block))) => {
                        self.serve_block(item, hash, block).await?;
                        true
                    }
                    _ => false,
                }
            } else {
                false
            };
            if !served {
                missing.push(*item);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.reply_bulk(NetworkMessage::NotFound(missing)).await
    }

    /// False where we don't have it.
    async fn serve_transaction(&self, name: TxRef) -> Result<bool, Gone> {
        if !self.transactions {
            return Ok(false);
        }
        let (pool, direction) = (self.pool.clone(), self.direction);
        let find = move || match direction {
            Direction::Outbound => pool.give(name),
            Direction::Inbound => pool.find(name),
        };
        let Some(tx) = spawn_blocking(find).await.ok().flatten() else {
            return Ok(false);
        };
        let tx = Arc::unwrap_or_clone(tx);
        self.reply_bulk(NetworkMessage::Tx(tx)).await?;
        Ok(true)
    }

    /// The first of these blocks, and those after it that there is room for.
    async fn read_blocks(&self, hashes: Vec<BlockHash>) -> ReadAhead {
        let chain = Arc::clone(&self.local.chain);
        let read = move || {
            let mut bytes = 0;
            let mut blocks = ReadAhead::new();
            for hash in hashes {
                let block = stored_block(&chain, hash);
                bytes += block.as_ref().map_or(0, Vec::len);
                blocks.push_back((hash, block));
                if bytes >= READ_AT_ONCE {
                    break;
                }
            }
            blocks
        };
        spawn_blocking(read).await.unwrap_or_default()
    }

    /// A block of the verified chain, serialized.
    pub(super) async fn stored_block(&self, hash: BlockHash) -> Option<Vec<u8>> {
        let (_, block) = self.read_blocks(vec![hash]).await.pop_front()?;
        block
    }
}

fn stored_block(chain: &Blockchain, hash: BlockHash) -> Option<Vec<u8>> {
    chain.block(&hash).unwrap_or_else(|error| {
        tracing::error!(%hash, %error, "a stored block can't be read");
        None
    })
}
