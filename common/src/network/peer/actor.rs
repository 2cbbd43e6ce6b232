//! Runs one established connection: the reader, which answers or passes on what comes, and beside it the writer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, BlockHash, Transaction};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::outbox::{Inbox, Outbox, Outgoing, outbox};
use super::pace::Pace;
use super::session::{Call, Local, unix_now};
use super::writer::{WRITE_TIMEOUT, write_loop};
use super::{PeerId, PeerStats};
use crate::chain::CheckedBlock;
use crate::chain::policy::MAX_STANDARD_BYTES;
use crate::network::channel::MessageReader;
use crate::network::hub::event::{FromPeer, HubEvent, ReceivedTransaction};
use crate::network::pool::{TransactionPool, TransactionTurn};
use crate::network::protocol::addresses;
use crate::network::protocol::compact_blocks::{self, PartialBlocks};
use crate::network::protocol::dial_back::DialBack;
use crate::network::protocol::transactions::{MAX_ANNOUNCED_AT_ONCE, TxRef};
use crate::network::protocol::version::Direction;
use crate::network::security::events::{Response, SecurityLog};
use crate::network::security::ledger::{Charge, Ledger, PushLimits, block_hash};
use crate::network::security::offence::Offence;
use crate::network::session::Session;

/// A ping this often keeps NAT bindings open and measures the round trip (Bitcoin Core's interval).
const PING_INTERVAL: Duration = Duration::from_secs(120);

/// A peer that says nothing, or answers no ping, for so long is dead (Bitcoin Core's limit).
const DEAD_AFTER: Duration = Duration::from_secs(20 * 60);

/// How long a peer that is called may take to show that it is there: a few round trips around the world.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// How often compact blocks that wait for transactions in vain are dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Blocks up to this size are checked where they arrive, in well under a millisecond; larger ones on a
/// thread that may block. Bytes.
const CHECKED_IN_PLACE: usize = 64 * 1024;

/// Bytes of a message under way that must come from one sweep to the next: 16 a second. Less is no line but a peer that
/// wants to keep the place that its message takes.
const LEAST_PROGRESS: u64 = 240;

/// Sweeps in a row with less: a minute, in which TCP gets over the loss of packets.
const SLOW_SWEEPS: u32 = 4;

/// How a message comes in.
#[derive(Debug, Default)]
struct Trickle {
    arrived: u64,
    slow: u32,
}

impl Trickle {
    /// At a sweep, `arrived` bytes of the message have come. Whether to wait for the rest no longer.
    fn is_too_slow(&mut self, arrived: u64) -> bool {
        let progress = arrived.saturating_sub(self.arrived);
        self.arrived = arrived;
        if arrived == 0 || progress >= LEAST_PROGRESS {
            self.slow = 0;
        } else {
            self.slow += 1;
        }
        self.slow > SLOW_SWEEPS
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) reason: String,
    pub(crate) offence: Option<Offence>,
}

impl Gone {
    /// Nobody's fault, or nothing worse than slowness.
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            offence: None,
        }
    }
}

/// When a peer that is called must have shown that it is there, with which so much has moved.
fn answer_by(moved: u64) -> (tokio::time::Instant, u64) {
    (tokio::time::Instant::now() + CALL_PATIENCE, moved)
}

/// Waits until then, and gives what had moved; for ever where nobody is called.
async fn called(due: Option<(tokio::time::Instant, u64)>) -> u64 {
    match due {
        Some((until, moved)) => {
            tokio::time::sleep_until(until).await;
            moved
        }
        None => std::future::pending().await,
    }
}

/// The parts of a new connection that its two tasks share.
pub(crate) struct Actor {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    /// Whether transactions are served to it.
    pub(crate) transactions: bool,
    pub(crate) local: Arc<Local>,
    pub(crate) hub: mpsc::Sender<HubEvent>,
    /// Of [`Local::calls`], heard from when the peer was new.
    pub(crate) calls: watch::Receiver<Call>,
    /// In KiB, what blocks on their way to the hub may take; shared by all peers.
    pub(crate) block_room: Arc<Semaphore>,
    /// One permit: headers are checked a message at a time, and the next is held back here.
    pub(crate) headers_turn: Arc<Semaphore>,
    /// How many transactions the connection may have on their way to the pool.
    pub(crate) transaction_places: Arc<Semaphore>,
    /// In KiB, what those may take; shared by all peers.
    pub(crate) transaction_room: Arc<Semaphore>,
    pub(crate) pool: TransactionPool,
    pub(crate) stats: Arc<PeerStats>,
    pub(crate) pace: Pace,
    pub(crate) security: SecurityLog,
    pub(crate) outbox: Outbox,
    pub(crate) stop: CancellationToken,
}

/// Makes the queues of a connection.
pub(crate) fn queues(local: &Local) -> (Outbox, Inbox) {
    let protocol = &local.spec.network_protocol;
    let limits = PushLimits {
        messages_per_minute: protocol.max_messages_per_minute,
        bytes_per_minute: protocol.max_bytes_per_minute,
    };
    outbox(Ledger::new(limits, Instant::now()))
}

impl Actor {
    /// Runs until the connection ends; tells the hub why. The hub has been told of the peer before.
    pub(crate) async fn run(self, session: Session, inbox: Inbox) {
        // Not `stop` itself: that says that we hung up, and the hub then listens no more. What a peer said
        // before it hung up counts.
        let ended = self.stop.child_token();
        let writer = tokio::spawn(write_loop(
            session.writer,
            inbox,
            Arc::clone(&self.stats),
            ended.clone(),
        ));
        let mut gone = tokio::select! {
            gone = self.read_loop(session.reader) => gone,
            () = ended.cancelled() => Gone::because("closed by us, or it does not read"),
        };
        ended.cancel();
        // A panic in the writer would have been reported by the runtime; there is nothing left to do for it.
        if writer.await.unwrap_or(false) {
            gone = Gone {
                reason: format!("it took nothing for {} s", WRITE_TIMEOUT.as_secs()),
                offence: Some(Offence::SlowReader),
            };
        }
        let _ = self.hub.send(HubEvent::Gone { id: self.id, gone }).await;
    }

    async fn read_loop(&self, mut reader: MessageReader<OwnedReadHalf>) -> Gone {
        let mut ping: Option<(u64, Instant)> = None;
        let mut ping_timer = tokio::time::interval(PING_INTERVAL);
        let mut heard = Instant::now();
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        // A message that we had no time for is not a slow one.
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = PartialBlocks::default();
        let arriving = reader.arriving();
        let mut calls = self.calls.clone();
        // When an answer to the last call is due, if none has come, and what had moved before.
        let mut due: Option<(tokio::time::Instant, u64)> = None;
        loop {
            self.pace.keep().await;
            let mut trickle = Trickle::default();
            // `read_sized` is not cancel-safe, so the ping timer runs inside the wait for it.
            let read = reader.read_sized();
            tokio::pin!(read);
            let received = loop {
                tokio::select! {
                    received = &mut read => break received,
                    Ok(()) = calls.changed() => {
                        if calls.borrow_and_update().concerns(self.addr.ip()) {
                            due = Some(answer_by(self.moved(&arriving)));
                            ping_timer.reset_immediately();
                        }
                    }
                    before = called(due), if due.is_some() => {
                        let moved = self.moved(&arriving);
                        if moved == before {
                            return Gone::because("silent since our address has changed");
                        }
                        // A large message is on its way, here or there.
                        due = Some(answer_by(moved));
                    }
                    _ = sweep.tick() => {
                        waiting.expire(Instant::now());
                        if trickle.is_too_slow(arriving.load(Ordering::Relaxed)) {
                            return Gone {
                                reason: "it began a message and does not end it".to_owned(),
                                offence: Some(Offence::SlowWriter),
                            };
                        }
                    }
                    _ = ping_timer.tick() => {
                        if let Some(reason) = dead(heard, ping, Instant::now()) {
                            return Gone::because(reason);
                        }
                        if ping.is_none() {
                            let nonce = rand::random();
                            ping = Some((nonce, Instant::now()));
                            if !self.outbox.send(NetworkMessage::Ping(nonce)) {
                                return Gone::because("does not read");
                            }
                        }
                    }
                }
            };
            let (message, bytes) = match received {
                Ok(received) => received,
                Err(error) => {
                    let offence = error.is_peer_fault().then_some(Offence::Protocol);
                    return Gone {
                        reason: error.to_string(),
                        offence,
                    };
                }
            };
            heard = Instant::now();
            due = None;
            PeerStats::add(&self.stats.bytes_in, bytes);
            let charge = self
                .outbox
                .with_ledger(|l| l.received(&message, bytes, heard));
            match charge {
                Charge::Solicited | Charge::Allowed => {}
                Charge::Throttle(wait) => tokio::time::sleep(wait).await,
                Charge::Pushing(wait, flood) => {
                    self.tell_of_flood(flood);
                    tokio::time::sleep(wait).await;
                }
                Charge::Exceeded(flood) => {
                    return Gone {
                        reason: "far over the limit of unsolicited messages".to_owned(),
                        offence: Some(flood),
                    };
                }
            }
            if let NetworkMessage::Pong(nonce) = message {
                if let Some((_, sent)) = ping.take_if(|(expected, _)| *expected == nonce) {
                    self.stats.note_ping(sent.elapsed());
                }
                continue;
            }
            let solicited = charge == Charge::Solicited;
            if let Err(gone) = self.handle(message, solicited, &mut waiting).await {
                return gone;
            }
        }
    }

    /// Answers what needs no common state, and passes on the rest.
    /// `waiting` are the compact blocks of which transactions were asked for.
    async fn handle(
        &self,
        message: NetworkMessage,
        solicited: bool,
        waiting: &mut PartialBlocks,
    ) -> Result<(), Gone> {
        let event = match message {
            NetworkMessage::Ping(nonce) => return self.reply(NetworkMessage::Pong(nonce)),
            NetworkMessage::GetHeaders(request) => return self.serve_headers(&request).await,
            NetworkMessage::GetData(items) => return self.serve_data(items).await,
            NetworkMessage::Headers(headers) => {
                let turn = Arc::clone(&self.headers_turn).acquire_owned().await;
                FromPeer::Headers(headers, turn.map_err(|_| Gone::because("the node stops"))?)
            }
            NetworkMessage::GetBlockTxn(request) => {
                return self.serve_transactions(request.txs_request).await;
            }
            NetworkMessage::Block(block) => self.take_block(block).await?,
            NetworkMessage::CmpctBlock(compact) if solicited => {
                return self.take_compact(compact.compact_block, waiting).await;
            }
            NetworkMessage::BlockTxn(answer) if solicited => {
                return self.take_missing(answer.transactions, waiting).await;
            }
            NetworkMessage::NotFound(items) => {
                return self
                    .split(&items, FromPeer::NotFound, FromPeer::TransactionsNotFound)
                    .await;
            }
            NetworkMessage::Inv(items) => {
                if items.len() > MAX_ANNOUNCED_AT_ONCE {
                    return Err(Gone {
                        reason: format!("inventory of {} that nobody asked for", items.len()),
                        offence: Some(Offence::InventorySpam),
                    });
                }
                let transactions = FromPeer::TransactionInventory;
                return self
                    .split(&items, FromPeer::BlockInventory, transactions)
                    .await;
            }
            NetworkMessage::Tx(tx) => self.take_transaction(tx).await?,
            // A negative rate is nonsense, and asks for everything.
            NetworkMessage::FeeFilter(rate) => {
                FromPeer::FeeFilter(u64::try_from(rate).unwrap_or(0))
            }
            NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => FromPeer::Addresses {
                list: addresses::read(&message, unix_now() as u32),
                solicited,
            },
            NetworkMessage::GetAddr => FromPeer::GetAddr,
            NetworkMessage::SendHeaders => FromPeer::SendHeaders,
            NetworkMessage::Unknown { .. } => match DialBack::read(&message) {
                Some(Ok(message)) => FromPeer::DialBack(message),
                Some(Err(reason)) => {
                    return Err(Gone {
                        reason: reason.to_owned(),
                        offence: Some(Offence::Protocol),
                    });
                }
                None => {
                    debug!(peer = self.id, command = message.cmd(), "message ignored");
                    return Ok(());
                }
            },
            NetworkMessage::SendCmpct(compact) if compact.version == compact_blocks::VERSION => {
                FromPeer::SendCompact
            }
            NetworkMessage::Version(_) | NetworkMessage::Verack => {
                return Err(Gone {
                    reason: format!("{} after the handshake", message.cmd()),
                    offence: Some(Offence::Protocol),
                });
            }
            other => {
                debug!(peer = self.id, command = other.cmd(), "message ignored");
                return Ok(());
            }
        };
        self.tell(event).await
    }

    /// Bytes that have come of the message under way, and gone in all.
    fn moved(&self, arriving: &AtomicU64) -> u64 {
        let gone = self.stats.bytes_out.load(Ordering::Relaxed);
        gone.wrapping_add(arriving.load(Ordering::Relaxed))
    }

    /// It is read at the limits' pace, and goes on pushing.
    fn tell_of_flood(&self, flood: Offence) {
        let at = (unix_now(), Instant::now());
        let detail = format!(
            "{}: over the limit of what nobody asked for",
            flood.as_str()
        );
        let detector = flood.detector();
        self.security
            .raise(detector, self.addr, Response::Throttled, &detail, at);
    }

    pub(super) async fn tell(&self, event: FromPeer) -> Result<(), Gone> {
        self.hub
            .send(HubEvent::Peer { id: self.id, event })
            .await
            .map_err(|_| Gone::because("the node stops"))
    }

    /// Tells the hub of the blocks and of the transactions in an inventory.
    async fn split(
        &self,
        items: &[Inventory],
        blocks: impl FnOnce(Vec<BlockHash>) -> FromPeer,
        transactions: impl FnOnce(Vec<TxRef>) -> FromPeer,
    ) -> Result<(), Gone> {
        let hashes: Vec<_> = items.iter().filter_map(block_hash).collect();
        if !hashes.is_empty() {
            self.tell(blocks(hashes)).await?;
        }
        let names: Vec<_> = items.iter().filter_map(TxRef::of).collect();
        if !names.is_empty() {
            self.tell(transactions(names)).await?;
        }
        Ok(())
    }

    /// Waits for a place and for room. Whoever sends no more than it was asked for does not wait for a place.
    async fn take_transaction(&self, tx: Transaction) -> Result<FromPeer, Gone> {
        let (txid, wtxid) = (tx.compute_txid(), tx.compute_wtxid());
        let tx = (tx.total_size() <= MAX_STANDARD_BYTES).then_some(tx);
        let kib = tx.as_ref().map_or(0, |tx| tx.total_size() / 1024) + 1;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let stops = |_| Gone::because("the node stops");
        let place = Arc::clone(&self.transaction_places).acquire_owned().await;
        let room = Arc::clone(&self.transaction_room);
        let turn = TransactionTurn {
            _place: place.map_err(stops)?,
            _room: room.acquire_many_owned(kib).await.map_err(stops)?,
        };
        Ok(FromPeer::Transaction(Box::new(ReceivedTransaction {
            txid,
            wtxid,
            tx,
            turn,
        })))
    }

    /// Checks a block before it may wait for its parents, so that nobody fills that room with bodies that
    /// their headers do not commit to. A true body that breaks a rule is passed on: the chain condemns its
    /// header then, and the hub the peer.
    async fn take_block(&self, block: Block) -> Result<FromPeer, Gone> {
        let checked = self.check_block(block).await?;
        if let Err(error) = checked.verdict()
            && error.is_peer_fault()
            && !error.condemns_header()
        {
            return Err(Gone {
                reason: error.to_string(),
                offence: Some(Offence::InvalidBlock),
            });
        }
        self.with_room(checked).await
    }

    /// What the chain says of a block by itself.
    pub(super) async fn check_block(&self, block: Block) -> Result<CheckedBlock, Gone> {
        let chain = Arc::clone(&self.local.chain);
        let size = block.total_size();
        let check = move || chain.check_block(block);
        if size <= CHECKED_IN_PLACE {
            return Ok(check());
        }
        let checked = tokio::task::spawn_blocking(check).await;
        checked.map_err(|_| Gone::because("the node stops"))
    }

    pub(super) async fn with_room(&self, block: CheckedBlock) -> Result<FromPeer, Gone> {
        // A block is far below what the semaphore has in all.
        let kib = u32::try_from(block.size() / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.block_room).acquire_many_owned(kib).await;
        let room = room.map_err(|_| Gone::because("the node stops"))?;
        Ok(FromPeer::Block(Box::new(block), room))
    }

    pub(super) fn reply(&self, message: NetworkMessage) -> Result<(), Gone> {
        if self.outbox.send(message) {
            Ok(())
        } else {
            Err(Gone::because("does not read"))
        }
    }

    /// Answers that may be large wait for room: a peer that asks and does not read holds a few of them.
    pub(super) async fn reply_bulk(&self, answer: impl Into<Outgoing>) -> Result<(), Gone> {
        if self.outbox.answer(answer.into()).await {
            Ok(())
        } else {
            Err(Gone::because("connection closed"))
        }
    }
}

/// Why a peer that was last heard at `heard`, and whose open ping is `ping`, counts as dead, if it does.
fn dead(heard: Instant, ping: Option<(u64, Instant)>, now: Instant) -> Option<&'static str> {
    let long_ago = |at: Instant| now.saturating_duration_since(at) >= DEAD_AFTER;
    if long_ago(heard) {
        Some("silent for 20 minutes")
    } else if ping.is_some_and(|(_, sent)| long_ago(sent)) {
        Some("no answer to a ping for 20 minutes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_trickles_is_not_waited_for_and_one_that_comes_slowly_is() {
        let mut trickle = Trickle::default();
        let enough = |sweep: u64| trickle.is_too_slow(sweep * LEAST_PROGRESS);
        assert!((1..1_000).map(enough).all(|too_slow| !too_slow));
        let mut trickle = Trickle::default();
        let just_less = |sweep: u64| trickle.is_too_slow(sweep * (LEAST_PROGRESS - 1));
        let verdicts: Vec<_> = (1..=5).map(just_less).collect();
        assert_eq!(verdicts, [false, false, false, false, true]);
        // With nothing under way there is nothing to wait for.
        let mut idle = Trickle::default();
        assert!((0..1_000).all(|_| !idle.is_too_slow(0)));
        // One that goes on after a pause is forgiven.
        let mut pausing = Trickle::default();
        for sweep in 1..1_000 {
            assert!(!pausing.is_too_slow(sweep / 4 * LEAST_PROGRESS + 1));
        }
    }

    #[test]
    fn a_peer_that_is_silent_or_answers_no_ping_is_dead() {
        let start = Instant::now();
        let now = start + DEAD_AFTER;
        let just_before = start + Duration::from_millis(1);
        assert_eq!(dead(just_before, None, now), None);
        assert_eq!(dead(just_before, Some((1, just_before)), now), None);
        assert!(dead(start, None, now).is_some(), "silent");
        assert!(
            dead(now, Some((1, start)), now).is_some(),
            "it talks, and answers no ping"
        );
    }
}
