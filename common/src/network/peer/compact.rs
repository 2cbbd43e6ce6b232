//! Compact blocks on one connection: putting together what we asked for, and serving others.

use std::time::{Duration, Instant};

use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::consensus::deserialize;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn};
use bitcoin::{Block, BlockHash, Transaction};

use super::actor::{Actor, Gone};
use super::outbox::Outgoing;
use crate::network::hub::event::FromPeer;
use crate::network::protocol::compact_blocks::{
    CompactError, MAX_COMPACT_DEPTH, MAX_PREFILLED_BYTES, MAX_TRANSACTIONS_DEPTH, PartialBlock,
    PartialBlocks, VERSION,
};
use crate::network::security::offence::Offence;

/// Pause after an answer that is small for what it costs: to find one transaction, a block of up to 4 MB is read,
/// about 10 ms. So one connection can cause a tenth of a core of it; an honest one asks twice a block.
const PAUSE: Duration = Duration::from_millis(100);

impl Actor {
    /// Fills a compact block that was asked for from the pool. What is missing is asked for, and the block waits for
    /// it; a complete one goes on its way.
    pub(super) async fn take_compact(
        &self,
        compact: HeaderAndShortIds,
        waiting: &mut PartialBlocks,
    ) -> Result<(), Gone> {
        let hash = compact.header.block_hash();
        if waiting.contains(&hash) {
            // It was asked for twice.
            return Ok(());
        }
        let pool = self.pool.clone();
        let matched = tokio::task::spawn_blocking(move || pool.match_block(compact)).await;
        let partial = match matched.map_err(|_| Gone::because("the node stops"))? {
            Ok(partial) => partial,
            Err(error) if error.is_peer_fault() => return Err(malformed(error)),
            Err(_) => return self.ask_for_whole(hash).await,
        };
        let indexes = partial.missing();
        if indexes.is_empty() {
            return self.complete_block(partial, Vec::new()).await;
        }
        waiting.insert(partial, Instant::now());
        let txs_request = BlockTransactionsRequest {
            block_hash: hash,
            indexes,
        };
        self.reply(NetworkMessage::GetBlockTxn(GetBlockTxn { txs_request }))?;
        self.tell(FromPeer::BlockProgress).await
    }

    /// Completes a block that waited with the transactions that came. One that waits no more has been asked of others.
    pub(super) async fn take_missing(
        &self,
        answer: BlockTransactions,
        waiting: &mut PartialBlocks,
    ) -> Result<(), Gone> {
        match waiting.take(&answer.block_hash) {
            Some(partial) => self.complete_block(partial, answer.transactions).await,
            None => Ok(()),
        }
    }

    async fn complete_block(
        &self,
        partial: PartialBlock,
        missing: Vec<Transaction>,
    ) -> Result<(), Gone> {
        let hash = partial.hash();
        let Ok(block) = partial.complete(missing) else {
            return self.ask_for_whole(hash).await;
        };
        let checked = self.check_block(block).await?;
        match checked.verdict() {
            // A short id may have led to the wrong transaction: nobody's fault.
            Err(error) if error.is_peer_fault() && !error.condemns_header() => {
                self.ask_for_whole(hash).await
            }
            _ => {
                let event = self.with_room(checked).await?;
                self.tell(event).await
            }
        }
    }

    async fn ask_for_whole(&self, hash: BlockHash) -> Result<(), Gone> {
        self.reply(NetworkMessage::GetData(vec![Inventory::WitnessBlock(hash)]))?;
        self.tell(FromPeer::BlockProgress).await
    }

    /// Sends a stored block as `getdata` asks for it: in compact form where that is asked for and it is new.
    pub(super) async fn serve_block(
        &self,
        item: &Inventory,
        hash: BlockHash,
        block: Vec<u8>,
    ) -> Result<(), Gone> {
        if matches!(item, Inventory::CompactBlock(_))
            && self.is_within(&hash, MAX_COMPACT_DEPTH)
            && let Some(compact_block) = compact_form(&block)
        {
            let answer = NetworkMessage::CmpctBlock(CmpctBlock { compact_block });
            self.reply_bulk(answer).await?;
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        self.reply_bulk(Outgoing::StoredBlock(block)).await
    }

    pub(super) async fn serve_transactions(
        &self,
        request: BlockTransactionsRequest,
    ) -> Result<(), Gone> {
        let hash = request.block_hash;
        let Some(block) = self.stored_block(hash).await else {
            let missing = vec![Inventory::WitnessBlock(hash)];
            return self.reply_bulk(NetworkMessage::NotFound(missing)).await;
        };
        // What is stored was decoded before, so in truth only the depth decides.
        let decoded = self
            .is_within(&hash, MAX_TRANSACTIONS_DEPTH)
            .then(|| deserialize::<Block>(&block).ok());
        let Some(decoded) = decoded.flatten() else {
            return self.reply_bulk(Outgoing::StoredBlock(block)).await;
        };
        let transactions =
            BlockTransactions::from_request(&request, &decoded).map_err(|error| Gone {
                reason: error.to_string(),
                offence: Some(Offence::Protocol),
            })?;
        let answer = NetworkMessage::BlockTxn(BlockTxn { transactions });
        self.reply_bulk(answer).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Whether a block is at most so many below the tip.
    fn is_within(&self, hash: &BlockHash, depth: u32) -> bool {
        let chain = &self.local.chain;
        let header = chain.header(hash);
        header.is_some_and(|(height, _)| height.saturating_add(depth) >= chain.tip().height)
    }
}

/// The compact form of a block, unless its coinbase, which is sent along, is too large for one.
fn compact_form(block: &[u8]) -> Option<HeaderAndShortIds> {
    let block: Block = deserialize(block).ok()?;
    let coinbase = block.txdata.first().map_or(0, Transaction::total_size);
    if coinbase > MAX_PREFILLED_BYTES {
        return None;
    }
    HeaderAndShortIds::from_block(&block, rand::random(), VERSION as u32, &[]).ok()
}

fn malformed(error: CompactError) -> Gone {
    Gone {
        reason: error.to_string(),
        offence: Some(Offence::Protocol),
    }
}
