//! The hub's half of transaction relay: asks for what peers announce, passes on what the pool took.

use std::time::{Duration, Instant};

use bitcoin::Transaction;
use bitcoin::p2p::message::NetworkMessage;
use tracing::debug;

use super::event::ReceivedTransaction;
use super::{Hub, Peer, PeerId};
use crate::chain::mempool::{MempoolError, Remember};
use crate::chain::policy::MIN_RELAY_FEE_PER_KB;
use crate::network::connections::Purpose;
use crate::network::pool::{Job, PoolChecker, Reply, Report};
use crate::network::protocol::transactions::{Announcement, TransactionDownload, TxRef};
use crate::network::protocol::version::Direction;
use crate::network::security::offence::Offence;
use crate::recent::Recent;

/// With so many blocks still to be fetched the chain is too old to judge transactions by: they are not asked for.
const BLOCKS_BEHIND: usize = 16;

/// Ids remembered of transactions that were refused since the last block, in a generation of [`Recent`]: about 2.5 MB
/// in all.
const REMEMBERED: usize = 28_672;

/// How often the pool looks at the chain and the clock although nothing happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How often peers hear of a new fee filter at most (Bitcoin Core's average).
const FEE_FILTER_INTERVAL: Duration = Duration::from_secs(600);

/// Oldest protocol version that takes `feefilter` (BIP133).
const FEE_FILTER_VERSION: u32 = 70_013;

/// Of the mean wait of inbound peers, the share that outbound ones wait: Bitcoin Core's 2 s of 5 s.
const OUTBOUND_SHARE: f64 = 0.4;

/// The longest wait, in means: one in 22,000 would be longer.
const LONGEST_WAIT: f64 = 10.0;

/// What relay remembers.
pub(super) struct Relay {
    pub(super) checker: PoolChecker,
    download: TransactionDownload<PeerId>,
    /// Since the last block.
    refused: Recent<TxRef>,
    min_fee_rate: u64,
    fee_filter: u64,
    fee_filter_at: Instant,
    looked_at: Instant,
}

impl Relay {
    pub(super) fn new(checker: PoolChecker, now: Instant) -> Self {
        Self {
            checker,
            download: TransactionDownload::default(),
            refused: Recent::new(REMEMBERED),
            min_fee_rate: MIN_RELAY_FEE_PER_KB,
            fee_filter: MIN_RELAY_FEE_PER_KB,
            fee_filter_at: now,
            looked_at: now,
        }
    }
}

impl Peer {
    /// Whether transactions are told to it.
    fn relays_transactions(&self) -> bool {
        self.handle.version.relay && self.purpose != Some(Purpose::BlockOnly)
    }
}

impl Hub {
    /// The first words to a new peer about transactions. Those of this node's user that no peer of our choice is
    /// known to have are told to such: whoever comes to us could come to learn whose they are.
    pub(super) fn greet_relay(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.relays_transactions()
            && peer.handle.direction == Direction::Outbound
        {
            let known = self.pool.known();
            known.own().for_each(|own| peer.announcements.push(*own));
        }
        self.send_fee_filter(id);
    }

    /// Whether it need not be asked for.
    fn is_known(&self, name: &TxRef) -> bool {
        self.relay.refused.contains(name) || self.pool.known().contains(name)
    }

    /// Tells a peer which transactions it need not announce.
    fn send_fee_filter(&self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let version = &peer.handle.version;
        if peer.relays_transactions() && version.protocol_version >= FEE_FILTER_VERSION {
            let rate = i64::try_from(self.relay.fee_filter).unwrap_or(i64::MAX);
            self.send(id, NetworkMessage::FeeFilter(rate));
        }
    }

    pub(super) fn on_fee_filter(&mut self, id: PeerId, per_kb: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.announcements.set_fee_filter(per_kb);
        }
    }

    pub(super) fn on_transaction_inventory(&mut self, id: PeerId, names: &[TxRef]) {
        let behind = self.blocks.wanted().len() >= BLOCKS_BEHIND;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        // It was told to be silent about them.
        if peer.purpose == Some(Purpose::BlockOnly) {
            return;
        }
        let outbound = peer.handle.direction == Direction::Outbound;
        let now = Instant::now();
        let mut known = self.pool.known();
        for name in names {
            peer.announcements.peer_knows(*name);
            if outbound {
                known.spreads(name);
            }
            if !behind && !known.contains(name) && !self.relay.refused.contains(name) {
                self.relay.download.on_announced(id, *name, outbound, now);
            }
        }
    }

    pub(super) fn on_transactions_not_found(&mut self, id: PeerId, names: &[TxRef]) {
        for name in names {
            self.relay.download.on_not_found(id, *name);
        }
    }

    pub(super) fn on_transaction(&mut self, id: PeerId, received: ReceivedTransaction) {
        let ReceivedTransaction {
            txid,
            wtxid,
            tx,
            turn,
        } = received;
        let (txid, wtxid) = (TxRef::Txid(txid), TxRef::Wtxid(wtxid));
        let now = Instant::now();
        for name in [txid, wtxid] {
            self.relay.download.on_received(id, name, now);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.announcements.peer_knows(name);
            }
        }
        let Some(tx) = tx else {
            self.metrics.transaction("too_large");
            self.relay.refused.insert(wtxid);
            return self.close(&[(wtxid, true), (txid, false)]);
        };
        let behind = self.blocks.wanted().len() >= BLOCKS_BEHIND;
        // Who sends one over a connection for blocks alone may want to see where it comes out.
        let hidden = self.peers.get(&id);
        let hidden = hidden.is_some_and(|peer| peer.purpose == Some(Purpose::BlockOnly));
        if hidden || behind || self.is_known(&wtxid) {
            self.metrics.transaction("unwanted");
            return self.close(&[(wtxid, !hidden), (txid, behind)]);
        }
        let job = Job::FromPeer { from: id, tx, turn };
        if !self.relay.checker.submit(job) {
            self.metrics.transaction("dropped");
            self.close(&[(wtxid, false), (txid, false)]);
        }
    }

    /// What came under these names has been looked at: those of which it is settled need not be asked for again.
    fn close(&mut self, names: &[(TxRef, bool)]) {
        for (name, settled) in names {
            if *settled || self.is_known(name) {
                self.relay.download.on_settled(*name);
            } else {
                self.relay.download.on_unsettled(*name);
            }
        }
    }

    /// A transaction of this node's user. Where it can't be taken the reply is dropped.
    pub(super) fn on_submit(&self, tx: Transaction, reply: Reply) {
        self.relay.checker.submit(Job::Local(tx, reply));
    }

    pub(super) fn on_pool_report(&mut self, report: Report) {
        let Report {
            from,
            txid,
            wtxid,
            result,
            min_fee_rate,
            size,
            _turn,
        } = report;
        self.relay.min_fee_rate = min_fee_rate;
        self.metrics.pool(size.0, size.1);
        let names = (TxRef::Txid(txid), TxRef::Wtxid(wtxid));
        match result {
            Ok(accepted) => {
                self.metrics.transaction("accepted");
                let first = from.first().and_then(|id| self.peers.get_mut(id));
                if let Some(peer) = first {
                    peer.last_transaction = Some(Instant::now());
                }
                self.close(&[(names.0, true), (names.1, true)]);
                self.announce_transaction(Announcement {
                    txid,
                    wtxid,
                    fee_per_kb: accepted.fee_rate.per_kb(),
                });
            }
            Err(MempoolError::MissingInputs { parents, kept }) => {
                self.metrics.transaction("orphan");
                // The others who have it take it on their account as well: it stays when this peer goes.
                self.close(&[(names.0, false), (names.1, false)]);
                if kept {
                    self.ask_for_parents(&from, parents.into_iter().map(TxRef::Txid));
                }
            }
            Err(error) => {
                self.metrics.transaction("refused");
                debug!(%txid, %error, "transaction not taken");
                let remember = error.remember();
                if remember != Remember::Nothing {
                    self.relay.refused.insert(names.1);
                }
                if remember == Remember::Txid {
                    self.relay.refused.insert(names.0);
                }
                // What is in the pool or refused by its txid is known.
                self.close(&[(names.0, false), (names.1, true)]);
                if error.is_peer_fault() {
                    self.blame(&from, &error);
                }
            }
        }
    }

    /// Ends the connections to those who sent what no chain can hold.
    fn blame(&mut self, from: &[PeerId], error: &MempoolError) {
        for id in from {
            let origin = self.peers.get(id).map(|peer| peer.handle.origin());
            if let Some(origin) = origin {
                self.punish(origin, Offence::InvalidTransaction, &error.to_string());
            }
        }
    }

    /// Whoever sent an orphan has its parents, or knows that they are in a block.
    fn ask_for_parents(&mut self, from: &[PeerId], parents: impl Iterator<Item = TxRef> + Clone) {
        let now = Instant::now();
        for id in from {
            let Some(peer) = self.peers.get(id) else {
                continue;
            };
            let outbound = peer.handle.direction == Direction::Outbound;
            for parent in parents.clone() {
                if !self.is_known(&parent) {
                    self.relay.download.on_announced(*id, parent, outbound, now);
                }
            }
        }
    }

    fn announce_transaction(&mut self, announcement: Announcement) {
        for peer in self.peers.values_mut() {
            if peer.relays_transactions() {
                peer.announcements.push(announcement);
            }
        }
    }

    /// The verified tip moved: what was refused may be right now, and the pool must hear of it.
    pub(super) fn relay_tip_moved(&mut self) {
        self.relay.refused.clear();
        // When there is no room, the jobs that wait make the pool look at the chain as well.
        self.relay.checker.submit(Job::Follow);
    }

    pub(super) fn relay_peer_left(&mut self, id: PeerId) {
        self.relay.download.peer_left(id);
        // Should there be no room, its orphans go when their time is over.
        self.relay.checker.submit(Job::PeerLeft(id));
    }

    /// Asks for transactions and announces others, as far as it is time. Called on every tick.
    pub(super) fn drive_relay(&mut self) {
        let now = Instant::now();
        for (id, names) in self.relay.download.poll(now) {
            let items = names.into_iter().map(TxRef::request).collect();
            self.send(id, NetworkMessage::GetData(items));
        }
        let mean = self.config.relay_delay.as_secs_f64();
        let mut told = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.handle.outbox.is_behind() {
                // What it is to hear waits, and goes out together.
                continue;
            }
            let mean = match peer.handle.direction {
                Direction::Inbound => mean,
                Direction::Outbound => mean * OUTBOUND_SHARE,
            };
            let items = peer
                .announcements
                .poll(now, || pause(mean, rand::random::<f64>()));
            if !items.is_empty() {
                told.push((*id, items));
            }
        }
        for (id, items) in told {
            self.send(id, NetworkMessage::Inv(items));
        }
        self.tell_fee_filter(now);
        if now.saturating_duration_since(self.relay.looked_at) >= LOOK_INTERVAL {
            self.relay.looked_at = now;
            self.relay.checker.submit(Job::Follow);
        }
    }

    fn tell_fee_filter(&mut self, now: Instant) {
        let relay = &mut self.relay;
        let rested = now.saturating_duration_since(relay.fee_filter_at) >= FEE_FILTER_INTERVAL;
        if relay.fee_filter == relay.min_fee_rate || !rested {
            return;
        }
        relay.fee_filter = relay.min_fee_rate;
        relay.fee_filter_at = now;
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.send_fee_filter(id);
        }
    }
}

/// How long a peer hears nothing after an announcement: exponentially distributed, so that the moments of
/// announcements tell nothing of what came before. `random` is in 0..1, `mean` in seconds.
fn pause(mean: f64, random: f64) -> Duration {
    let means = (-(1.0 - random).ln()).min(LONGEST_WAIT);
    Duration::try_from_secs_f64(mean * means).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded_and_have_the_mean_that_was_asked_for() {
        let draws = 10_000;
        let pauses: Vec<f64> = (0..draws)
            .map(|n| pause(5.0, f64::from(n) / f64::from(draws)).as_secs_f64())
            .collect();
        let mean = pauses.iter().sum::<f64>() / f64::from(draws);
        assert!((mean - 5.0).abs() < 0.05, "{mean}");
        assert!(pauses.iter().all(|p| *p <= 50.0));
        assert_eq!(pause(5.0, 1.0), Duration::from_secs(50));
        assert_eq!(pause(f64::NAN, 0.5), Duration::ZERO);
    }
}
