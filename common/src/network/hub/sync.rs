//! The hub's half of synchronisation: feeds the two download machines and does what they say.

use std::time::{Duration, Instant};

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::{Block, BlockHash};
use tracing::{debug, error, info};

use super::writer::Verified;
use super::{Hub, PeerId};
use crate::chain::{BlockError, HeaderError, MAX_LOCATOR_ENTRIES};
use crate::network::peer::session::unix_now;
use crate::network::protocol::blocks::{BlockAction, WINDOW};
use crate::network::protocol::headers::HeaderAction;
use crate::network::protocol::version::Direction;
use crate::network::security::bans::Offence;
use crate::network::status::SyncProgress;

/// New headers sent without being asked, at most (BIP130 and Bitcoin Core's figure).
const MAX_ANNOUNCED: usize = 8;

/// A node counts as synchronised when so many outbound peers have told what they know …
const QUORUM: usize = 4;

/// … or, when fewer can be had, those that stand after so long.
const QUORUM_PATIENCE: Duration = Duration::from_secs(5);

impl Hub {
    pub(super) fn on_headers(&mut self, id: PeerId, headers: &[Header]) {
        if headers.is_empty() {
            self.headers.on_answer(id, 0, None);
            return;
        }
        match self.local.chain.accept_headers(headers, unix_now() as u32) {
            Ok(accepted) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.height = peer.height.max(accepted.last.height);
                }
                self.blocks.peer_has(id, accepted.last.height);
                self.headers
                    .on_answer(id, headers.len(), Some(accepted.last));
                if accepted.new > 0 {
                    self.metrics.headers_accepted(accepted.new);
                    self.refresh_wanted();
                }
            }
            // An announcement. If an answer is under way as well, this has overtaken it.
            Err(HeaderError::UnknownParent { .. }) => self.headers.peer_has_news(id),
            Err(error) => {
                self.headers.on_unusable(id, Instant::now());
                if error.is_peer_fault() {
                    self.punish(id, Offence::InvalidHeader, &error.to_string());
                } else {
                    debug!(peer = id, %error, "headers not taken");
                }
            }
        }
    }

    pub(super) fn on_inventory(&mut self, id: PeerId, hashes: &[BlockHash]) {
        match hashes
            .iter()
            .filter_map(|h| self.local.chain.header(h))
            .map(|(height, _)| height)
            .max()
        {
            Some(height) => self.blocks.peer_has(id, height),
            None => self.headers.peer_has_news(id),
        }
    }

    pub(super) fn on_block(&mut self, id: PeerId, block: Block) {
        let hash = block.block_hash();
        if !self.blocks.wants(&hash) {
            debug!(peer = id, %hash, "block not wanted");
            return;
        }
        let bytes = block.total_size();
        self.blocks.on_block(id, hash, bytes, Instant::now());
        self.waiting.insert(hash, (id, block));
    }

    pub(super) fn on_verified(&mut self, verified: Verified) {
        let Verified {
            from,
            hash,
            result,
            storage,
        } = verified;
        self.submitted.remove(&hash);
        match result {
            Ok(_) => {
                self.metrics.block_connected();
                if !self.blocks.on_verified(&hash) {
                    self.refresh_wanted();
                }
            }
            Err(error) if error.is_peer_fault() => {
                self.blocks.on_unusable(from, hash);
                self.punish(from, Offence::InvalidBlock, &error.to_string());
                self.refresh_wanted();
            }
            // It came after a block that failed: nobody's fault, fetched again when its turn comes.
            Err(BlockError::UnknownHeader { .. } | BlockError::ParentNotConnected { .. }) => {
                self.blocks.on_discarded(hash);
            }
            Err(error) => {
                error!(%hash, %error, "a block could not be stored; synchronisation stops");
                self.failed = true;
            }
        }
        if let Some(error) = storage {
            error!(%error, "blocks could not be made durable; synchronisation stops");
            self.failed = true;
        }
    }

    /// Asks the chain which blocks are missing.
    pub(super) fn refresh_wanted(&mut self) {
        let wanted = self.local.chain.missing_blocks(WINDOW);
        self.blocks.set_wanted(wanted);
        let blocks = &self.blocks;
        let keep: std::collections::HashSet<_> = blocks.wanted().map(|b| b.hash).collect();
        self.waiting.retain(|hash, _| keep.contains(hash));
        self.submitted.retain(|hash| keep.contains(hash));
    }

    /// Lets the machines act, and hands received blocks to the chain writer in order.
    pub(super) fn drive_sync(&mut self) {
        if self.failed {
            return;
        }
        if self.blocks.wanted().count() < WINDOW / 2
            && self.local.chain.best_header().hash != self.local.chain.tip().hash
        {
            self.refresh_wanted();
        }
        self.submit_waiting();
        let now = Instant::now();
        for action in self.headers.poll(now) {
            match action {
                HeaderAction::Ask(id, from) => self.ask_headers(id, from),
                HeaderAction::PassedOver(id) => {
                    debug!(peer = id, "slow with headers; asking another");
                }
                HeaderAction::Silent(id) => self.drop_silent(id),
            }
        }
        for action in self.blocks.poll(now) {
            match action {
                BlockAction::Request(id, hashes) => {
                    let items = hashes.into_iter().map(Inventory::WitnessBlock).collect();
                    self.send(id, NetworkMessage::GetData(items));
                }
                BlockAction::Stalled(id) => {
                    self.metrics.stall();
                    info!(peer = id, "peer stalled; its blocks are asked of others");
                }
                BlockAction::GiveUp(id) => {
                    info!(peer = id, "peer stalled again and again; dropped");
                    if let Some(peer) = self.peers.get(&id) {
                        peer.handle.stop.cancel();
                    }
                }
            }
        }
    }

    fn submit_waiting(&mut self) {
        let next: Vec<BlockHash> = self
            .blocks
            .wanted()
            .map(|b| b.hash)
            .skip_while(|hash| self.submitted.contains(hash))
            .take_while(|hash| self.waiting.contains_key(hash))
            .collect();
        for hash in next {
            let Some((from, block)) = self.waiting.remove(&hash) else {
                break;
            };
            if let Err(block) = self.writer.submit(from, block) {
                self.waiting.insert(hash, (from, block));
                break;
            }
            self.submitted.insert(hash);
        }
    }

    /// Asks for the headers after `from`, or after what we share with the peer should it not know that.
    fn ask_headers(&self, id: PeerId, from: Option<BlockHash>) {
        let locator = from
            .into_iter()
            .chain(self.local.chain.locator())
            .take(MAX_LOCATOR_ENTRIES)
            .collect();
        let request = GetHeadersMessage::new(locator, BlockHash::all_zeros());
        self.send(id, NetworkMessage::GetHeaders(request));
    }

    /// A peer that never answers keeps a place that another could fill. Without a penalty: it may be our
    /// link. Inbound peers may be clients that have nothing to tell; they have places of their own.
    fn drop_silent(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        if peer.handle.direction == Direction::Outbound {
            info!(peer = id, addr = %peer.handle.addr, "peer does not answer getheaders; dropped");
            peer.handle.stop.cancel();
            self.book
                .failed(peer.handle.addr, unix_now(), &mut rand::rng());
        }
    }

    /// The verified tip moved: tells the peers, unless we are catching up.
    pub(super) fn on_new_tip(&mut self) {
        let chain = &self.local.chain;
        let tip = chain.tip();
        if tip.hash != chain.best_header().hash || tip.hash == self.announced {
            return;
        }
        let fresh = chain.headers_after(&[self.announced], tip.hash, MAX_ANNOUNCED + 1);
        self.announced = tip.hash;
        let by_headers = !fresh.is_empty() && fresh.len() <= MAX_ANNOUNCED;
        let uninformed: Vec<(PeerId, bool)> = self
            .peers
            .iter()
            .filter(|(_, p)| p.height < tip.height)
            .map(|(id, p)| (*id, p.send_headers))
            .collect();
        for (id, send_headers) in uninformed {
            let message = if by_headers && send_headers {
                NetworkMessage::Headers(fresh.clone())
            } else {
                NetworkMessage::Inv(vec![Inventory::Block(tip.hash)])
            };
            self.send(id, message);
        }
    }

    pub(super) fn sync_progress(&self) -> SyncProgress {
        let chain = &self.local.chain;
        let (tip, best) = (chain.tip(), chain.best_header());
        let outbound: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.handle.direction == Direction::Outbound)
            .map(|(id, _)| *id)
            .collect();
        let quorum = outbound.len() >= QUORUM
            || (!outbound.is_empty()
                && self
                    .first_peer_at
                    .is_some_and(|at| at.elapsed() >= QUORUM_PATIENCE));
        let nodes: std::collections::HashSet<_> = self
            .peers
            .values()
            .map(|p| p.handle.remote.node_id)
            .collect();
        SyncProgress {
            header_height: best.height,
            block_height: tip.height,
            tip: tip.hash,
            in_flight: self.blocks.in_flight(),
            synced: quorum && tip.hash == best.hash && self.headers.all_told(outbound.into_iter()),
            peers: nodes.len(),
            failed: self.failed,
        }
    }

    /// Publishes progress when it changed.
    pub(super) fn publish(&mut self) {
        let progress = self.sync_progress();
        self.metrics.progress(&progress);
        self.progress.send_if_modified(|old| {
            let changed = *old != progress;
            *old = progress;
            changed
        });
    }
}
