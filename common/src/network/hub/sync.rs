//! The hub's half of synchronisation: feeds the two download machines and does what they say.
//!
//! Blocks are fetched towards one target: of the chains that connected peers have shown and that have more
//! work than ours, the one whose first missing block has failed to come least often; of equals, the one of
//! most work. So headers without blocks can delay the others' chain by a time-out or two, not for ever, and
//! are tried again when there is nothing else to do.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, error, info};

use super::checker::{Checked, Told};
use super::writer::{Received, Verified};
use super::{Hub, PeerId};
use crate::chain::consensus::work_of;
use crate::chain::{
    BlockError, BlockRef, Branch, CheckedBlock, HeaderError, HeadersAccepted, MAX_LOCATOR_ENTRIES,
};
use crate::network::peer::Origin;
use crate::network::protocol::blocks::{BlockAction, WINDOW};
use crate::network::protocol::headers::{HEADERS_PER_MESSAGE, HeaderAction};
use crate::network::protocol::version::Direction;
use crate::network::security::low_work::is_far_below;
use crate::network::security::offence::Offence;
use crate::network::status::SyncProgress;

/// New headers sent without being asked, at most (BIP130 and Bitcoin Core's figure).
const MAX_ANNOUNCED: usize = 8;

/// A node counts as synchronised when so many outbound peers have told what they know …
const QUORUM: usize = 4;

/// … or, when fewer can be had, those that stand after so long.
const QUORUM_PATIENCE: Duration = Duration::from_secs(5);

/// How long a peer has to tell its headers before we count as behind because it does not.
const NEWCOMER: Duration = Duration::from_secs(30);

/// Shortest pause between announcements: with addresses and pings it keeps well below the hundred
/// messages a minute that a peer takes unasked. The newest tip is told when it is over.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);

/// With no more blocks than these to fetch they are new, and asked for in compact form: one, or two that were found
/// shortly after each other.
const COMPACT_BLOCKS: usize = 2;

/// A header in a `headers` message: 80 bytes and an empty count of transactions.
const HEADER_ENTRY_BYTES: usize = 81;

/// What synchronisation remembers besides the two machines.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    /// Something changed that the choice of the target depends on.
    pub(super) retarget: bool,
    /// The target is further away than what is wanted now.
    beyond: bool,
    announced_at: Option<Instant>,
}

impl Hub {
    /// Passes headers on to be checked; [`Self::on_headers_checked`] hears what became of them.
    pub(super) fn on_headers(
        &mut self,
        id: PeerId,
        headers: Vec<Header>,
        turn: OwnedSemaphorePermit,
    ) {
        if headers.is_empty() {
            self.headers.on_answer(id, 0, None);
            return;
        }
        let Some(from) = self.peers.get(&id).map(|peer| peer.handle.origin()) else {
            return;
        };
        let count = headers.len();
        let told = Told {
            from,
            headers,
            turn,
        };
        let now = Instant::now();
        if self.checker.submit(told) {
            self.headers.check_began(id, now);
        } else {
            self.metrics.headers_dropped(count);
            self.headers.on_dropped(id, now);
        }
    }

    /// The peer may be gone by now.
    pub(super) fn on_headers_checked(&mut self, checked: Checked) {
        let Checked {
            from,
            count,
            result,
            _turn,
        } = checked;
        let now = Instant::now();
        self.headers.check_ended(from.id, now);
        match result {
            Ok(accepted) => self.on_headers_accepted(from.id, count, accepted),
            // An announcement. If an answer is under way as well, this has overtaken it.
            Err(HeaderError::UnknownParent { .. }) => self.headers.peer_has_news(from.id),
            Err(HeaderError::Store(error)) => {
                error!(%error, "headers could not be stored; synchronisation stops");
                self.failed = true;
            }
            Err(error) => {
                self.headers.on_unusable(from.id, now);
                if error.is_peer_fault() {
                    self.punish(from, Offence::InvalidHeader, &error.to_string());
                } else {
                    debug!(peer = from.id, %error, "headers not taken");
                }
            }
        }
    }

    fn on_headers_accepted(&mut self, id: PeerId, count: usize, accepted: HeadersAccepted) {
        self.metrics.headers_accepted(accepted.new);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.height = peer.height.max(accepted.last.height);
        }
        self.peer_showed(id, accepted.last.hash);
        self.note_work(id, count, &accepted);
        let answered = self.headers.on_answer(id, count, Some(accepted.last));
        if accepted.new > 0 && !answered {
            self.refund_announcement(id, count);
            if count >= HEADERS_PER_MESSAGE {
                // The answer to a question that something else seemed to answer: there is more.
                self.headers.peer_has_news(id);
            }
        }
    }

    /// Who tells thousands of headers with far less work than ours, and nothing else, is told off.
    fn note_work(&mut self, id: PeerId, count: usize, accepted: &HeadersAccepted) {
        let chain = &self.local.chain;
        let tip = chain.tip_context();
        let block = chain.header(&tip.hash());
        let block = block.map_or(0, |(_, header)| work_of(header.bits));
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let work = chain.header_work(&accepted.last.hash).unwrap_or(0);
        let far_below = is_far_below(work, tip.work(), block);
        let more = count >= HEADERS_PER_MESSAGE;
        if peer.low_work.told(far_below, accepted.new, more) {
            let origin = peer.handle.origin();
            let reason = "thousands of headers with far less work than our chain";
            self.punish(origin, Offence::LowWorkHeaders, reason);
        }
    }

    /// New valid headers cost work to make: telling them unasked is a service, not a flood.
    fn refund_announcement(&self, id: PeerId, headers: usize) {
        if let Some(peer) = self.peers.get(&id) {
            let outbox = &peer.handle.outbox;
            outbox.with_ledger(|ledger| ledger.refund(headers * HEADER_ENTRY_BYTES));
        }
    }

    pub(super) fn on_inventory(&mut self, id: PeerId, hashes: &[BlockHash]) {
        for hash in hashes {
            if self.local.chain.header(hash).is_some() {
                self.peer_showed(id, *hash);
            } else {
                self.headers.peer_has_news(id);
            }
        }
    }

    /// A peer showed that it has the chain that ends in this header, which is known.
    fn peer_showed(&mut self, id: PeerId, hash: BlockHash) {
        let chain = &self.local.chain;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let before = peer.best.and_then(|best| chain.header_work(&best));
        if chain.header_work(&hash) > before {
            peer.best = Some(hash);
            self.sync.retarget = true;
        }
    }

    pub(super) fn on_block(&mut self, id: PeerId, block: CheckedBlock) {
        let hash = block.hash();
        let now = Instant::now();
        if !self.blocks.wants(&hash) {
            debug!(peer = id, %hash, "block not wanted");
            if self.local.chain.header(&hash).is_some() {
                self.blocks.on_progress(id, now);
            }
            return;
        }
        let Some(from) = self.peers.get(&id).map(|peer| peer.handle.origin()) else {
            return;
        };
        if self.blocks.on_block(id, hash, block.size(), now) {
            self.waiting.insert(hash, Received { from, block });
        }
    }

    pub(super) fn on_verified(&mut self, verified: Verified) {
        for (from, hash, result) in verified.blocks {
            self.on_block_verified(from, hash, result);
        }
        if let Some(error) = verified.storage {
            error!(%error, "blocks could not be made durable; synchronisation stops");
            self.failed = true;
        }
    }

    /// The peer may be gone by now.
    fn on_block_verified(
        &mut self,
        from: Origin,
        hash: BlockHash,
        result: Result<BlockRef, BlockError>,
    ) {
        self.submitted.remove(&hash);
        match result {
            Ok(_) => {
                self.metrics.block_connected();
                let now = Instant::now();
                if let Some(peer) = self.peers.get_mut(&from.id) {
                    peer.last_block = Some(now);
                    if peer.handle.direction == Direction::Outbound {
                        self.connections.gave_block(from.addr, now);
                    }
                }
                let in_order = self.blocks.on_verified(&hash);
                self.sync.retarget |= !in_order || self.blocks.wanted().len() == 0;
            }
            Err(error) if error.is_peer_fault() => {
                self.blocks.on_discarded(hash);
                self.blocks.peer_left(from.id);
                self.punish(from, Offence::InvalidBlock, &error.to_string());
                self.sync.retarget = true;
            }
            // It came after a block that failed: nobody's fault, fetched again when its turn comes.
            Err(
                error @ (BlockError::UnknownHeader { .. } | BlockError::ParentNotConnected { .. }),
            ) => {
                self.blocks.on_discarded(hash);
                // Its header was dropped to make room: it is wanted no more until it is told again.
                self.sync.retarget |= matches!(error, BlockError::UnknownHeader { .. });
            }
            Err(error) => {
                error!(%hash, %error, "a block could not be stored; synchronisation stops");
                self.failed = true;
            }
        }
    }

    /// A thread that works for the hub ended by itself, so by a panic: nothing can be verified any more, and
    /// that must be seen. Gives whether to go on listening to it.
    pub(super) fn thread_ended(&mut self, name: &'static str) -> bool {
        error!(
            thread = name,
            "a thread failed; synchronisation stops; restart the node"
        );
        self.failed = true;
        false
    }

    /// Chooses the target, and asks the chain which blocks are missing.
    pub(super) fn refresh_wanted(&mut self) {
        self.sync.retarget = false;
        let chain = &self.local.chain;
        let target = self.choose_target().map(|branch| branch.tip);
        let wanted = target.map(|target| chain.missing_blocks(&target.hash, WINDOW));
        let wanted = wanted.unwrap_or_default();
        self.sync.beyond = wanted.last().is_some_and(|last| target != Some(*last));
        let peers = &self.peers;
        self.blocks.set_wanted(wanted, |id| {
            let shown = peers.get(&id).and_then(|peer| peer.best);
            shown
                .zip(target)
                .and_then(|(shown, target)| chain.fork_height(&shown, &target.hash))
                .unwrap_or(0)
        });
        let blocks = &self.blocks;
        let keep: HashSet<_> = blocks.wanted().map(|b| b.hash).collect();
        self.waiting.retain(|hash, _| keep.contains(hash));
    }

    fn choose_target(&self) -> Option<Branch> {
        let shown: HashSet<BlockHash> = self.peers.values().filter_map(|p| p.best).collect();
        shown
            .iter()
            .filter_map(|hash| self.local.chain.branch(hash))
            .min_by_key(|branch| {
                let failures = self.blocks.failures(&branch.first_missing.hash);
                (failures, Reverse(branch.work), branch.tip.hash)
            })
    }

    /// Lets the machines act, and hands received blocks to the chain writer in order.
    pub(super) fn drive_sync(&mut self) {
        self.announce();
        if self.failed {
            return;
        }
        let running_low = self.sync.beyond && self.blocks.wanted().len() < WINDOW / 2;
        if self.sync.retarget || self.blocks.take_head_failed() || running_low {
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
        for (id, peer) in &self.peers {
            let arrived = peer.handle.arriving.load(Ordering::Relaxed);
            self.blocks.on_arriving(*id, arrived);
        }
        for action in self.blocks.poll(now) {
            match action {
                BlockAction::Request(id, hashes) => {
                    let items = self.block_items(id, &hashes);
                    self.send(id, NetworkMessage::GetData(items));
                }
                BlockAction::Stalled(id) => {
                    self.metrics.stall();
                    info!(peer = id, "peer stalled; its blocks are asked of others");
                }
                BlockAction::GiveUp(id) => self.on_withholding(id),
            }
        }
    }

    /// How to ask a peer for blocks: for a new one in compact form, since its transactions may be in the pool.
    fn block_items(&self, id: PeerId, hashes: &[BlockHash]) -> Vec<Inventory> {
        let compact = self.blocks.wanted().len() <= COMPACT_BLOCKS
            && self.peers.get(&id).is_some_and(|peer| peer.compact_blocks);
        let item = if compact {
            Inventory::CompactBlock
        } else {
            Inventory::WitnessBlock
        };
        hashes.iter().copied().map(item).collect()
    }

    fn submit_waiting(&mut self) {
        let next: Vec<BlockHash> = self
            .blocks
            .wanted()
            .skip(self.with_the_writer())
            .map(|b| b.hash)
            .take_while(|hash| self.waiting.contains_key(hash))
            .collect();
        for hash in next {
            let Some(received) = self.waiting.remove(&hash) else {
                break;
            };
            if let Some(received) = self.writer.submit(received) {
                self.waiting.insert(hash, received);
                break;
            }
            self.submitted.insert(hash);
        }
    }

    /// How many of the first wanted blocks are with the writer. Blocks go there in order, so nearly always those are all
    /// that were submitted, and need not be looked up one by one. Where a change of the target has left others with the
    /// writer this may be too many, until it has answered for those.
    fn with_the_writer(&self) -> usize {
        let submitted = |block: &BlockRef| self.submitted.contains(&block.hash);
        let at = |place| self.blocks.wanted().nth(place).is_some_and(submitted);
        let all = self.submitted.len();
        if all.checked_sub(1).is_none_or(at) && !at(all) {
            return all;
        }
        self.blocks.wanted().take_while(|b| submitted(b)).count()
    }

    /// Asks for the headers after `from`, or after what we share with the peer should it not know that.
    ///
    /// The locator begins at the parent of our best header (Bitcoin Core's way), so that a peer on the same
    /// chain answers with its last header, and we know that it has it. `from` stands before all that is
    /// lower, and before all of a chain that it is not on: the answer never begins below it.
    fn ask_headers(&self, id: PeerId, from: Option<BlockHash>) {
        let chain = &self.local.chain;
        let ours = chain.locator();
        let first = usize::from(ours.len() > 1);
        let mut locator: Vec<_> = ours.into_iter().skip(first).collect();
        if let Some(from) = from {
            let height = |hash: &BlockHash| chain.header(hash).map_or(0, |(height, _)| height);
            let told = height(&from);
            let on_best = chain.fork_height(&from, &chain.best_header().hash) == Some(told);
            let above = locator.partition_point(|hash| on_best && height(hash) > told);
            locator.insert(above, from);
        }
        locator.truncate(MAX_LOCATOR_ENTRIES);
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
            // The address book hears of it when the connection has ended, like of every other end.
            peer.handle.stop.cancel();
        }
    }

    /// Tells the peers when the verified tip has moved, at most once in [`ANNOUNCE_INTERVAL`].
    fn announce(&mut self) {
        let chain = &self.local.chain;
        let tip = chain.tip();
        let now = Instant::now();
        let rested = self
            .sync
            .announced_at
            .is_none_or(|at| now.saturating_duration_since(at) >= ANNOUNCE_INTERVAL);
        if tip.hash == self.announced || !rested {
            return;
        }
        let fresh = chain.headers_after(&[self.announced], tip.hash, MAX_ANNOUNCED + 1);
        self.announced = tip.hash;
        self.sync.announced_at = Some(now);
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
        let was_synced = self.progress.borrow().synced;
        let outbound: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.handle.direction == Direction::Outbound)
            // Who comes later may know more, but that we have caught up is not undone by somebody who has not spoken yet.
            .filter(|(_, p)| !was_synced || p.handle.since.elapsed() >= NEWCOMER)
            .map(|(id, _)| *id)
            .collect();
        let quorum = outbound.len() >= QUORUM
            || (!outbound.is_empty()
                && self
                    .first_peer_at
                    .is_some_and(|at| at.elapsed() >= QUORUM_PATIENCE));
        // Nobody who is connected has shown more; headers that nobody has blocks for don't count.
        let at_end = self.blocks.wanted().len() == 0
            && (tip.hash == best.hash || chain.tip_context().work() >= chain.rules().minimum_work);
        let nodes: HashSet<_> = self
            .peers
            .values()
            .map(|p| p.handle.remote.node_id)
            .collect();
        SyncProgress {
            header_height: best.height,
            block_height: tip.height,
            tip: tip.hash,
            in_flight: self.blocks.in_flight(),
            synced: quorum && at_end && self.headers.all_told(outbound.into_iter()),
            peers: nodes.len(),
            failed: self.failed,
        }
    }

    /// Publishes progress when it changed.
    pub(super) fn publish(&mut self) {
        let progress = self.sync_progress();
        self.connections.set_synced(progress.synced);
        self.metrics.progress(&progress);
        self.progress.send_if_modified(|old| {
            let changed = *old != progress;
            *old = progress;
            changed
        });
    }
}
