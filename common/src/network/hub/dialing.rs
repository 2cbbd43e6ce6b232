//! The hub's half of connection keeping: whom to dial, when to ask DNS, when to fall back.
//!
//! Known addresses first. DNS is asked at once when the book is empty, and otherwise when too few peers
//! stand after a while; the chain spec's bootstrap nodes are tried when DNS gave nothing, or did not help
//! in time. A full but useless book blocks neither.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Hub;
use super::event::HubEvent;
use crate::network::discovery::{Candidate, Found};
use crate::network::peer::session::{dial, establish, unix_now};
use crate::network::protocol::addresses::Gossip;
use crate::network::protocol::version::{Direction, VersionError};
use crate::network::session::SessionError;
use crate::reachability::netgroup::canonical_socket;

/// Fewer outbound peers than this for long enough make us ask DNS (Bitcoin Core asks below 2 after 11 s; a
/// quorum of four is what synchronisation wants).
const FEW_PEERS: usize = 4;

/// How long known addresses are given before DNS is asked (Bitcoin Core's figure).
const DNS_AFTER: Duration = Duration::from_secs(11);

/// Pause between rounds of DNS while peers are few; seeds are not to be hammered.
const DNS_AGAIN: Duration = Duration::from_secs(60);

/// Pause between attempts at the bootstrap nodes while no peer stands.
const BOOTSTRAP_AGAIN: Duration = Duration::from_secs(30);

/// Dials in progress at most; more than the open places, because some addresses are always dead.
const MAX_DIALS: usize = 16;

/// First and longest pause between attempts at a manual peer.
const MANUAL_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Timers and memories of dialling.
pub(super) struct DialState {
    started: Instant,
    manual: HashMap<SocketAddr, (Instant, Duration)>,
    /// Addresses that turned out to be ourselves.
    pub(super) own: HashSet<SocketAddr>,
    dns_running: bool,
    dns_last: Option<Instant>,
    /// Whether the last round of DNS gave no address at all.
    dns_empty: bool,
    bootstrap_last: Option<Instant>,
}

impl DialState {
    pub(super) fn new(now: Instant, manual: Vec<SocketAddr>) -> Self {
        let manual = manual
            .into_iter()
            .map(|a| (a, (now, MANUAL_BACKOFF.0)))
            .collect();
        Self {
            started: now,
            manual,
            own: HashSet::new(),
            dns_running: false,
            dns_last: None,
            dns_empty: false,
            bootstrap_last: None,
        }
    }

    pub(super) fn add_manual(&mut self, addr: SocketAddr) {
        self.manual
            .entry(addr)
            .or_insert((Instant::now(), MANUAL_BACKOFF.0));
    }

    pub(super) fn is_manual(&self, addr: SocketAddr) -> bool {
        self.manual.contains_key(&addr)
    }
}

impl Hub {
    /// Opens connections and asks DNS as far as it is time.
    pub(super) fn dial_more(&mut self) {
        let now = Instant::now();
        self.dial_manual(now);
        if self.config.outbound_target == 0 {
            return;
        }
        self.dial_from_book();
        self.ask_dns(now);
        self.try_bootstrap(now);
    }

    fn dial_manual(&mut self, now: Instant) {
        let standing = self.connected();
        let mut due = Vec::new();
        for (addr, (next, backoff)) in &mut self.dials.manual {
            if *next <= now && !standing.contains(addr) && !self.dialing.contains(addr) {
                *next = now + *backoff;
                *backoff = (*backoff * 2).min(MANUAL_BACKOFF.1);
                due.push(*addr);
            }
        }
        for addr in due {
            self.start_dial(addr);
        }
    }

    fn dial_from_book(&mut self) {
        let outbound = self.count(Direction::Outbound);
        let open = self.config.outbound_target.saturating_sub(outbound);
        let room = (open * 2).min(MAX_DIALS).saturating_sub(self.dialing.len());
        if open == 0 || room == 0 {
            return;
        }
        let mut taken = self.connected();
        taken.extend(&self.dialing);
        taken.extend(&self.dials.own);
        let chosen = self.book.choose(room, &taken, unix_now(), &mut rand::rng());
        for addr in chosen {
            self.start_dial(addr);
        }
    }

    fn start_dial(&mut self, addr: SocketAddr) {
        let addr = canonical_socket(addr);
        let banned = {
            let bans = self
                .bans
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            bans.banned(addr.ip(), Instant::now())
        };
        if banned.is_some() || !self.dialing.insert(addr) {
            return;
        }
        let local = Arc::clone(&self.local);
        let events = self.events.clone();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let attempt = async {
                let stream = dial(&local, addr).await?;
                establish(&local, stream, addr, Direction::Outbound).await
            };
            let event = tokio::select! {
                () = stop.cancelled() => return,
                result = attempt => match result {
                    Ok(session) => HubEvent::Established {
                        addr,
                        direction: Direction::Outbound,
                        session: Box::new(session),
                        slot: None,
                    },
                    Err(error) => HubEvent::Failed { addr, direction: Direction::Outbound, error },
                },
            };
            // The hub is gone only when the node stops.
            let _ = events.send(event).await;
        });
    }

    pub(super) fn on_dial_failed(&mut self, addr: SocketAddr, error: &SessionError) {
        self.dialing.remove(&addr);
        if matches!(error, SessionError::Version(VersionError::SelfConnection)) {
            self.dials.own.insert(addr);
            self.dials.manual.remove(&addr);
            self.book.forget(addr);
            return;
        }
        self.book.failed(addr, unix_now(), &mut rand::rng());
        self.dial_more();
    }

    pub(super) fn on_outbound_gone(&mut self, addr: SocketAddr) {
        self.book.failed(addr, unix_now(), &mut rand::rng());
        if let Some(entry) = self.dials.manual.get_mut(&addr) {
            *entry = (Instant::now() + MANUAL_BACKOFF.0, MANUAL_BACKOFF.0);
        }
    }

    fn ask_dns(&mut self, now: Instant) {
        let Some(discovery) = self.discovery.clone() else {
            self.dials.dns_empty = true;
            return;
        };
        let seeds = self.seed_names();
        if seeds.is_empty() {
            self.dials.dns_empty = true;
            return;
        }
        let few = self.count(Direction::Outbound) < FEW_PEERS.min(self.config.outbound_target);
        let waited = now.duration_since(self.dials.started) >= DNS_AFTER;
        let rested = self
            .dials
            .dns_last
            .is_none_or(|at| now.duration_since(at) >= DNS_AGAIN);
        let book_empty = self.book.counts().0 == 0;
        if self.dials.dns_running || !few || !rested || !(waited || book_empty) {
            return;
        }
        self.dials.dns_running = true;
        self.dials.dns_last = Some(now);
        let events = self.events.clone();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let (early, mut heard) = tokio::sync::mpsc::channel(16);
            let forward = async {
                while let Some(batch) = heard.recv().await {
                    if events.send(HubEvent::Candidates(batch)).await.is_err() {
                        break;
                    }
                }
            };
            let ask = async move { discovery.run(&seeds, Some(&early)).await };
            tokio::select! {
                () = stop.cancelled() => {}
                (found, ()) = async { tokio::join!(ask, forward) } => {
                    let _ = events.send(HubEvent::DiscoveryDone(Some(found))).await;
                }
            }
        });
    }

    pub(super) fn on_candidates(&mut self, list: Vec<Candidate>) {
        let now = unix_now() as u32;
        let mut new = 0;
        for candidate in list {
            let services = candidate.services.unwrap_or(0);
            let gossip = Gossip {
                addr: candidate.addr,
                services,
                time: now,
            };
            if !self.dials.own.contains(&candidate.addr) && self.book.add(gossip, "dns") {
                new += 1;
            }
        }
        debug!(new, "addresses from DNS");
        self.dial_more();
    }

    pub(super) fn on_discovery_done(&mut self, found: Option<Found>) {
        self.dials.dns_running = false;
        let Some(found) = found else { return };
        self.dials.dns_empty = found.candidates.is_empty();
        self.metrics.discovery(&found);
        if found.candidates.is_empty() {
            warn!("no DNS seed gave an address; trying the bootstrap nodes of the chain spec");
        }
        self.seeds = found.seeds;
        self.dial_more();
    }

    /// Bootstrap nodes: at once when DNS gave nothing, or when after a while still nobody stands.
    fn try_bootstrap(&mut self, now: Instant) {
        if !self.peers.is_empty() || self.local.spec.discovery.bootstrap_nodes.is_empty() {
            return;
        }
        let waited = now.duration_since(self.dials.started) >= self.config.bootstrap_after;
        let rested = self
            .dials
            .bootstrap_last
            .is_none_or(|at| now.duration_since(at) >= BOOTSTRAP_AGAIN);
        if rested && (self.dials.dns_empty || waited) {
            self.dials.bootstrap_last = Some(now);
            info!("dialling the bootstrap nodes");
            for addr in self.local.spec.discovery.bootstrap_nodes.clone() {
                if !self.dials.own.contains(&addr) {
                    self.start_dial(addr);
                }
            }
        }
    }

    fn seed_names(&self) -> Vec<String> {
        self.config
            .dns_seeds
            .clone()
            .unwrap_or_else(|| self.local.spec.discovery.dns_seeds.clone())
    }

    fn connected(&self) -> HashSet<SocketAddr> {
        self.peers
            .values()
            .filter(|p| p.handle.direction == Direction::Outbound)
            .map(|p| p.handle.addr)
            .collect()
    }
}
