//! The hub: the one task that owns the peers, the address book and the two download machines.
//!
//! ```text
//! listener ─┐                       ┌─> peers (queues; never waited for)
//! dials ────┤                       ├─> chain writer, header checker, pool (a thread each)
//! peers ────┼─> events ─> [hub] ────┼─> dials
//! DNS ──────┤                       └─> progress, status
//! chain ────┘
//! ```
//! Peers wait for the hub (back-pressure); the hub waits for nobody, so there is no circle of waiting. Of
//! the chain it reads only what is in memory, behind a lock that is held for moments; what may take longer
//! is done by the three threads, which tell it the results. Files are saved beside it.
//! [`dialing`] makes connections, [`defence`] judges them, [`sync`] keeps the chain, [`relay`] passes transactions on,
//! [`nat`] knows where we are to be found, [`event`] is what it hears, [`control`] what the operator wants, [`figures`] and [`report`]
//! tell how things are.

pub(crate) mod checker;
pub(crate) mod control;
mod defence;
mod dialing;
pub(crate) mod event;
mod figures;
mod gossip;
pub(crate) mod nat;
mod relay;
mod report;
mod saving;
mod sync;
pub(crate) mod writer;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::p2p::message::NetworkMessage;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, warn};

use crate::network::config::NetworkConfig;
use crate::network::connections::{Connections, Purpose};
use crate::network::discovery::{Discovery, SeedReport};
use crate::network::listener::Refusals;
use crate::network::metrics::NetworkMetrics;
use crate::network::peer::actor::{self, Actor, Gone};
use crate::network::peer::claims::Claim;
use crate::network::peer::pace::Pace;
use crate::network::peer::session::Local;
use crate::network::peer::{PeerHandle, PeerId, PeerStats};
use crate::network::pool::{self, PoolChecker, TransactionPool};
use crate::network::protocol::addresses::AddressBucket;
use crate::network::protocol::blocks::BlockDownload;
use crate::network::protocol::headers::HeaderSync;
use crate::network::protocol::transactions::{Announcements, MAX_IN_FLIGHT};
use crate::network::protocol::version::Direction;
use crate::network::security::events::SecurityLog;
use crate::network::security::limits::{Limits, Slot};
use crate::network::security::low_work::LowWork;
use crate::network::security::offence::Offence;
use crate::network::security::standing::Standing;
use crate::network::session::Session;
use crate::network::status::SyncProgress;

use checker::{Checked, HeaderChecker};
use event::{FromPeer, HubEvent};
use saving::Saving;
use writer::{ChainWriter, Received, Verified};

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Events after which the machines act, at the latest, when many are waiting: what they cost is shared by
/// all blocks that arrived meanwhile, and 64 events are over in a millisecond or two.
const EVENTS_AT_ONCE: usize = 64;

/// How often the address book is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(300);

/// One peer, as the hub sees it.
struct Peer {
    handle: PeerHandle,
    /// Held for inbound peers only; gives the place back when the peer is dropped.
    _slot: Option<Slot>,
    /// Held for outbound peers only: nobody else dials the same node meanwhile.
    _claim: Option<Claim>,
    /// What we dialled it for; `None` if it dialled us.
    purpose: Option<Purpose>,
    bucket: AddressBucket,
    announcements: Announcements,
    /// Highest block that it has shown or claims.
    height: u32,
    /// End of the chain of most work that it has shown.
    best: Option<BlockHash>,
    /// Wants new blocks announced by `headers` (BIP130).
    send_headers: bool,
    /// Serves compact blocks (BIP152 version 2).
    compact_blocks: bool,
    told_addresses: bool,
    /// When it next hears where we are to be found; `None` if addresses are nothing for it, or not yet.
    advertise: Option<Instant>,
    /// Lists of addresses that it sent, longer than any that is passed on, without being asked.
    long_lists: u32,
    low_work: LowWork,
    /// When it last was first to give us a block, or a transaction, that we took.
    last_block: Option<Instant>,
    last_transaction: Option<Instant>,
    /// It was dropped for an offence.
    punished: bool,
}

/// All that the hub owns.
pub(crate) struct Hub {
    local: Arc<Local>,
    config: NetworkConfig,
    metrics: NetworkMetrics,
    data_dir: Option<PathBuf>,
    peers: HashMap<PeerId, Peer>,
    next_id: PeerId,
    standing: Arc<Mutex<Standing>>,
    security: SecurityLog,
    defence: defence::DefenceState,
    inbound_places: usize,
    refusals: Refusals,
    discovery: Option<Arc<Discovery>>,
    connections: Connections,
    headers: HeaderSync<PeerId>,
    blocks: BlockDownload<PeerId>,
    /// Received blocks that wait for their parents.
    waiting: HashMap<BlockHash, Received>,
    submitted: HashSet<BlockHash>,
    writer: ChainWriter,
    checker: HeaderChecker,
    relay: relay::Relay,
    pool: TransactionPool,
    failed: bool,
    announced: BlockHash,
    block_room: Arc<Semaphore>,
    transaction_room: Arc<Semaphore>,
    sync: sync::SyncState,
    saving_book: Saving,
    saving_standing: Saving,
    seeds: Vec<SeedReport>,
    failed_handshakes: BTreeMap<String, u64>,
    offences: BTreeMap<&'static str, u64>,
    external: report::ExternalVotes,
    nat: nat::NatState,
    first_peer_at: Option<Instant>,
    figures: figures::Figures,
    progress: watch::Sender<SyncProgress>,
    events: mpsc::Sender<HubEvent>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What [`Hub::new`] needs from the manager.
pub(crate) struct HubParts {
    pub(crate) local: Arc<Local>,
    pub(crate) config: NetworkConfig,
    pub(crate) metrics: NetworkMetrics,
    pub(crate) standing: Arc<Mutex<Standing>>,
    pub(crate) security: SecurityLog,
    pub(crate) limits: Limits,
    pub(crate) nat: nat::NatState,
    pub(crate) refusals: Refusals,
    pub(crate) progress: watch::Sender<SyncProgress>,
    pub(crate) events: mpsc::Sender<HubEvent>,
    pub(crate) writer: ChainWriter,
    pub(crate) checker: HeaderChecker,
    pub(crate) pool: TransactionPool,
    pub(crate) pool_checker: PoolChecker,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Hub {
    pub(crate) fn new(parts: HubParts) -> Self {
        let spec = &parts.local.spec;
        let data_dir = parts.config.data_dir.clone();
        let (providers, trust) = (&parts.config.providers, &parts.config.dns_trust);
        let discovery = match Discovery::with_trust(spec, providers, trust) {
            Ok(discovery) => Some(Arc::new(discovery)),
            Err(error) => {
                warn!(%error, "DNS discovery is off");
                None
            }
        };
        let seeds = parts.config.dns_seeds.as_ref();
        let seeds = seeds.unwrap_or(&spec.discovery.dns_seeds);
        let asks_dns = discovery.is_some() && !seeds.is_empty();
        let connections = dialing::manager(&parts, asks_dns);
        let announced = parts.local.chain.tip().hash;
        Self {
            external: report::ExternalVotes::default(),
            nat: parts.nat,
            connections,
            local: parts.local,
            config: parts.config,
            metrics: parts.metrics,
            data_dir,
            peers: HashMap::new(),
            next_id: 1,
            standing: parts.standing,
            security: parts.security,
            defence: defence::DefenceState::default(),
            inbound_places: parts.limits.inbound,
            refusals: parts.refusals,
            discovery,
            headers: HeaderSync::default(),
            blocks: BlockDownload::default(),
            waiting: HashMap::new(),
            submitted: HashSet::new(),
            writer: parts.writer,
            checker: parts.checker,
            relay: relay::Relay::new(parts.pool_checker, Instant::now()),
            pool: parts.pool,
            failed: false,
            announced,
            block_room: Arc::new(Semaphore::new(event::BLOCK_ROOM_KIB)),
            transaction_room: Arc::new(Semaphore::new(pool::ROOM_KIB)),
            sync: sync::SyncState::default(),
            saving_book: Saving::default(),
            saving_standing: Saving::default(),
            seeds: Vec::new(),
            failed_handshakes: BTreeMap::new(),
            offences: BTreeMap::new(),
            first_peer_at: None,
            figures: figures::Figures::default(),
            progress: parts.progress,
            events: parts.events,
            tasks: parts.tasks,
            stop: parts.stop,
        }
    }

    /// Runs until stopped; then closes every peer and saves the address book.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<HubEvent>,
        mut verified: mpsc::Receiver<Verified>,
        mut checked: mpsc::Receiver<Checked>,
        mut pooled: mpsc::Receiver<pool::Report>,
    ) {
        let mut tip = self.local.chain.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut save = tokio::time::interval(SAVE_INTERVAL);
        let (mut verifying, mut checking, mut pooling) = (true, true, true);
        self.refresh_wanted();
        self.dial_anchors();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                batch = verified.recv(), if verifying => match batch {
                    Some(batch) => self.on_verified(batch),
                    None => verifying = self.thread_ended("chain writer"),
                },
                headers = checked.recv(), if checking => match headers {
                    Some(headers) => self.on_headers_checked(headers),
                    None => checking = self.thread_ended("header checker"),
                },
                report = pooled.recv(), if pooling => match report {
                    Some(report) => self.on_pool_report(report),
                    None => {
                        // By a panic. Blocks need no pool, so the chain goes on.
                        error!("transactions are relayed no more; restart the node");
                        pooling = false;
                    }
                },
                // Before the events: a flood of those must not hold up what is rare. Whatever moved the
                // tip, `drive_sync` announces it.
                Ok(()) = tip.changed() => {
                    self.connections.tip_moved(Instant::now());
                    self.relay_tip_moved();
                }
                _ = tick.tick() => {
                    self.dial_more();
                    self.drive_relay();
                    self.drive_nat();
                    self.advertise();
                    self.drive_figures();
                }
                () = self.nat.changed() => self.on_address_news(),
                _ = save.tick() => {
                    self.save_book();
                    self.save_standing();
                }
                Some(event) = events.recv() => {
                    // At the end peers go because we do: that is no news, and they stay who we were connected to.
                    if self.stop.is_cancelled() {
                        break;
                    }
                    self.on_event(event);
                    for _ in 1..EVENTS_AT_ONCE {
                        if self.stop.is_cancelled() {
                            break;
                        }
                        let Ok(event) = events.try_recv() else { break };
                        self.on_event(event);
                    }
                }
            }
            self.drive_sync();
            self.publish();
        }
        self.save_at_the_end().await;
        for peer in self.peers.values() {
            peer.handle.stop.cancel();
        }
    }

    fn on_event(&mut self, event: HubEvent) {
        match event {
            HubEvent::Established {
                addr,
                direction,
                session,
                slot,
                claim,
            } => {
                let kept = match direction {
                    Direction::Outbound => self.keep_outbound(addr).map(Some),
                    Direction::Inbound if self.is_dial_back(session.remote.node_id, addr) => {
                        Err("it was asked to dial us, and has")
                    }
                    Direction::Inbound => self.keep_inbound(addr, session.remote.node_id),
                };
                match kept {
                    Ok(purpose) => self.on_established(addr, purpose, *session, slot, claim),
                    Err(reason) => {
                        debug!(%addr, reason, "connection closed after the handshake");
                        if direction == Direction::Outbound {
                            self.note_met(addr, &session.remote, session.version.services);
                        }
                    }
                }
            }
            HubEvent::Failed {
                addr,
                direction,
                error,
            } => {
                let key = format!("{}.{}", direction.as_str(), error.kind());
                *self.failed_handshakes.entry(key).or_default() += 1;
                self.metrics.handshake_failed(direction, error.kind());
                debug!(%addr, direction = direction.as_str(), %error, "no peer");
                match direction {
                    Direction::Outbound => self.on_dial_failed(addr, &error),
                    Direction::Inbound => self.on_inbound_failed(addr, &error),
                }
            }
            HubEvent::Peer { id, event } => self.on_peer(id, event),
            HubEvent::Gone { id, gone } => self.on_gone(id, &gone),
            HubEvent::Candidates(list) => self.on_candidates(list),
            HubEvent::DiscoveryDone(found) => self.on_discovery_done(found),
            HubEvent::DialledBack { id, nonce, outcome } => {
                self.answer_dial_back(id, nonce, outcome);
            }
            HubEvent::Status(reply) => {
                // Whoever asked may have gone; nothing to do then.
                let _ = reply.send(self.status());
            }
            HubEvent::Submit(tx, reply) => self.on_submit(*tx, reply),
            HubEvent::Control(command) => self.on_command(*command),
            HubEvent::Connect(addr) => {
                self.connections.add_manual(addr, Instant::now());
                self.dial_more();
            }
        }
    }

    fn on_peer(&mut self, id: PeerId, event: FromPeer) {
        // What a peer said before we hung up on it may still be in the queue.
        if self
            .peers
            .get(&id)
            .is_none_or(|p| p.handle.stop.is_cancelled())
        {
            return;
        }
        match event {
            FromPeer::Headers(headers, turn) => self.on_headers(id, headers, turn),
            FromPeer::Block(block, _room) => self.on_block(id, *block),
            FromPeer::BlockProgress => self.blocks.on_progress(id, Instant::now()),
            FromPeer::NotFound(hashes) => {
                for hash in hashes {
                    self.blocks.on_not_found(id, hash, Instant::now());
                }
            }
            FromPeer::BlockInventory(hashes) => self.on_inventory(id, &hashes),
            FromPeer::TransactionInventory(names) => self.on_transaction_inventory(id, &names),
            FromPeer::TransactionsNotFound(names) => self.on_transactions_not_found(id, &names),
            FromPeer::Transaction(received) => self.on_transaction(id, *received),
            FromPeer::FeeFilter(per_kb) => self.on_fee_filter(id, per_kb),
            FromPeer::Addresses { list, solicited } => self.on_addresses(id, list, solicited),
            FromPeer::GetAddr => self.on_get_addr(id),
            FromPeer::DialBack(message) => self.on_dial_back(id, message),
            FromPeer::SendCompact => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.compact_blocks = true;
                }
            }
            FromPeer::SendHeaders => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.send_headers = true;
                }
            }
        }
    }

    fn on_established(
        &mut self,
        addr: SocketAddr,
        purpose: Option<Purpose>,
        session: Session,
        slot: Option<Slot>,
        claim: Option<Claim>,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        let direction = purpose.map_or(Direction::Inbound, |_| Direction::Outbound);
        let (outbox, inbox) = actor::queues(&self.local);
        let stats = Arc::new(PeerStats::default());
        let pace = Pace::default();
        let stop = self.stop.child_token();
        let now = Instant::now();
        let height = u32::try_from(session.version.start_height).unwrap_or(0);
        let wtxid_relay = session.version.wtxid_relay;
        info!(
            peer = id, %addr, direction = direction.as_str(), purpose = purpose.map(Purpose::as_str), node_id = %session.remote.node_id,
            user_agent = %session.version.user_agent, height, "peer connected"
        );
        let actor = Actor {
            id,
            addr,
            direction,
            transactions: purpose != Some(Purpose::BlockOnly),
            local: Arc::clone(&self.local),
            hub: self.events.clone(),
            calls: self.local.calls.subscribe(),
            block_room: Arc::clone(&self.block_room),
            headers_turn: Arc::new(Semaphore::new(1)),
            transaction_places: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            transaction_room: Arc::clone(&self.transaction_room),
            pool: self.pool.clone(),
            stats: Arc::clone(&stats),
            pace: pace.clone(),
            security: self.security.clone(),
            outbox: outbox.clone(),
            stop: stop.clone(),
        };
        let peer = Peer {
            handle: PeerHandle {
                id,
                addr,
                direction,
                remote: session.remote.clone(),
                version: session.version.clone(),
                since: now,
                stats,
                pace,
                arriving: session.reader.arriving(),
                outbox,
                stop,
            },
            _slot: slot,
            _claim: claim,
            purpose,
            bucket: AddressBucket::new(now),
            announcements: Announcements::new(wtxid_relay, now),
            height,
            best: None,
            send_headers: false,
            compact_blocks: false,
            told_addresses: false,
            advertise: None,
            long_lists: 0,
            low_work: LowWork::default(),
            last_block: None,
            last_transaction: None,
            punished: false,
        };
        // All that is logged of the connection names it.
        let span = tracing::info_span!("peer", peer = id, %addr);
        self.tasks.spawn(actor.run(session, inbox).instrument(span));
        self.first_peer_at.get_or_insert(now);
        self.headers
            .peer_joined(id, direction == Direction::Outbound);
        self.blocks.peer_joined(id, now);
        self.metrics.peer_connected(&peer.handle);
        self.peers.insert(id, peer);
        self.note_clock(id);
        self.greet(id);
    }

    fn on_gone(&mut self, id: PeerId, gone: &Gone) {
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        info!(peer = id, addr = %peer.handle.addr, reason = gone.reason, "peer gone");
        self.headers.peer_left(id);
        self.blocks.peer_left(id);
        self.relay_peer_left(id);
        self.defence_peer_left(id);
        self.nat_peer_left(id);
        self.sync.retarget = true;
        self.metrics.peer_gone(&peer.handle);
        self.figures.peer_left(&peer.handle, &self.metrics);
        let piled_up = peer.handle.outbox.has_overflowed();
        let offence = gone.offence.or(piled_up.then_some(Offence::SlowReader));
        if let Some(offence) = offence
            && !peer.punished
        {
            self.note_offence(peer.handle.addr, offence, &gone.reason, true);
        }
        if peer.handle.direction == Direction::Outbound {
            self.on_outbound_gone(peer.handle.addr);
            self.external.forget(peer.handle.addr);
            self.on_address_news();
        }
    }

    /// Sends a small message; a peer that does not read is dropped.
    fn send(&self, id: PeerId, message: NetworkMessage) {
        if let Some(peer) = self.peers.get(&id)
            && !peer.handle.outbox.send(message)
        {
            peer.handle.stop.cancel();
        }
    }

    fn count(&self, direction: Direction) -> usize {
        self.peers
            .values()
            .filter(|p| p.handle.direction == direction)
            .count()
    }

    /// Saves the address book beside the hub.
    fn save_book(&mut self) {
        let Some(dir) = self.data_dir.clone() else {
            return;
        };
        self.connections.keep_anchors();
        let book = self.connections.book();
        self.saving_book.save(|| {
            let snapshot = book.snapshot();
            move || {
                if let Err(error) = snapshot.save(&dir) {
                    warn!(%error, "the address book was not saved");
                }
            }
        });
    }

    /// Saves all as it is at the end, and waits for it.
    async fn save_at_the_end(&mut self) {
        self.saving_book.done().await;
        self.saving_standing.done().await;
        self.save_book();
        self.save_standing();
        self.saving_book.done().await;
        self.saving_standing.done().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Standing and counters are whole after every step, so a poisoned lock still holds a good value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
