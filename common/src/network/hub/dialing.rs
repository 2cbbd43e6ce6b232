//! The hub's half of connection keeping: whom to dial, when to ask DNS, when to fall back.
//!
//! Known addresses first. DNS is asked at once when the book is empty, and otherwise when too few peers
//! stand after a while; the chain spec's bootstrap nodes are tried when DNS gave nothing, or did not help
//! in time. A full but useless book blocks neither.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Hub;
use super::event::HubEvent;
use crate::network::discovery::{Candidate, Found};
use crate::network::peer::session::{HANDSHAKES, dial, establish, unix_now};
use crate::network::protocol::addresses::Gossip;
use crate::network::protocol::version::Direction;
use crate::network::security::events::{Detector, Response};
use crate::network::session::{How, SessionError};
use crate::reachability::netgroup::canonical_socket;
use crate::transport::{DialBy, HandshakeError, NodeId, RemoteIdentity, TransportKind};

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

/// A manual peer that stood for so long is dialled again at once when it goes; one that comes and goes
/// waits longer each time.
const GOOD_STANDING: Duration = Duration::from_secs(300);

/// Seconds for which the second address of a node that we have dialled is left alone.
const DUPLICATE_REST: u64 = 3_600;

/// Own addresses remembered; a machine has fewer, and strangers can only make us forget one of them, which
/// costs a dial.
const MAX_OWN: usize = 64;

/// Peers of the last session that are dialled first: with two of them that were honest, nobody who has filled the book
/// meanwhile has the node for himself (Bitcoin Core's number).
const ANCHORS: usize = 2;

/// When a manual peer is dialled next, and the pause after that.
struct Manual {
    next: Instant,
    backoff: Duration,
}

/// Timers and memories of dialling.
pub(super) struct DialState {
    started: Instant,
    manual: HashMap<SocketAddr, Manual>,
    /// Our own addresses: configured ones, and those at which our own identity was proven to us, the
    /// latest last. Never hearsay.
    own: VecDeque<SocketAddr>,
    dns_running: bool,
    dns_last: Option<Instant>,
    /// Whether the last round of DNS gave no address at all.
    dns_empty: bool,
    bootstrap_last: Option<Instant>,
    /// When the last feeler was sent, or when we started.
    feeler_last: Instant,
}

impl DialState {
    /// `own` are addresses that the operator told us are ours.
    pub(super) fn new(
        now: Instant,
        manual: Vec<SocketAddr>,
        own: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let mut state = Self {
            started: now,
            manual: HashMap::new(),
            own: own.into_iter().collect(),
            dns_running: false,
            dns_last: None,
            dns_empty: false,
            bootstrap_last: None,
            feeler_last: now,
        };
        for addr in manual {
            state.add_manual(addr, now);
        }
        state
    }

    pub(super) fn add_manual(&mut self, addr: SocketAddr, now: Instant) {
        let backoff = MANUAL_BACKOFF.0;
        self.manual
            .entry(canonical_socket(addr))
            .or_insert(Manual { next: now, backoff });
    }

    pub(super) fn is_manual(&self, addr: SocketAddr) -> bool {
        self.manual.contains_key(&addr)
    }

    /// The manual peers that are due and not `busy`; each is due again after a doubled pause.
    fn due_manual(&mut self, now: Instant, busy: impl Fn(&SocketAddr) -> bool) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for (addr, manual) in &mut self.manual {
            if manual.next <= now && !busy(addr) {
                manual.next = now + manual.backoff;
                manual.backoff = (manual.backoff * 2).min(MANUAL_BACKOFF.1);
                due.push(*addr);
            }
        }
        due
    }

    /// A connection to `addr` ended after it had stood for `stood`.
    fn manual_gone(&mut self, addr: SocketAddr, stood: Duration, now: Instant) {
        if let Some(manual) = self.manual.get_mut(&addr) {
            if stood >= GOOD_STANDING {
                manual.backoff = MANUAL_BACKOFF.0;
            }
            manual.next = now + manual.backoff;
        }
    }

    pub(super) fn is_own(&self, addr: &SocketAddr) -> bool {
        self.own.contains(addr)
    }

    fn add_own(&mut self, addr: SocketAddr) {
        self.manual.remove(&addr);
        if !self.own.contains(&addr) {
            self.own.push_back(addr);
        }
        if self.own.len() > MAX_OWN {
            self.own.pop_front();
        }
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
        self.send_feeler(now);
        self.ask_dns(now);
        self.try_bootstrap(now);
    }

    /// Dials those that the last session ended with.
    pub(super) fn dial_anchors(&mut self) {
        if self.config.outbound_target > 0 {
            for addr in self.book.anchors().to_vec() {
                self.start_dial(addr);
            }
        }
    }

    /// The outbound peers that have stood longest.
    pub(super) fn anchors(&self) -> Vec<SocketAddr> {
        let outbound = self.peers.values().map(|peer| &peer.handle);
        let mut outbound: Vec<_> = outbound
            .filter(|handle| handle.direction == Direction::Outbound)
            .map(|handle| (handle.since, handle.addr))
            .collect();
        outbound.sort_unstable();
        let oldest = outbound.into_iter().take(ANCHORS);
        oldest.map(|(_, addr)| addr).collect()
    }

    /// Dials somebody only to see who is there, so that we know whom to dial when we need somebody, and so that those whom
    /// we know by hearsay only don't stay that for ever. With places open, who is dialled for them tells as much.
    fn send_feeler(&mut self, now: Instant) {
        let full = self.count(Direction::Outbound) >= self.config.outbound_target;
        if !full || now < self.dials.feeler_last + self.config.feeler_every {
            return;
        }
        self.dials.feeler_last = now;
        let (connected, dials, dialing) = (self.connected(), &self.dials, &self.dialing);
        let excluded = |addr: &SocketAddr| {
            connected.contains(addr) || dialing.contains(addr) || dials.is_own(addr)
        };
        let found = self.book.feeler(excluded, unix_now(), &mut rand::rng());
        if let Some(addr) = found {
            debug!(%addr, "a feeler");
            self.start_dial(addr);
        }
    }

    fn dial_manual(&mut self, now: Instant) {
        let standing = self.connected();
        let dialing = &self.dialing;
        let busy = |addr: &SocketAddr| standing.contains(addr) || dialing.contains(addr);
        for addr in self.dials.due_manual(now, busy) {
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
        let own = |addr: &SocketAddr| self.dials.is_own(addr);
        let chosen = self
            .book
            .choose(room, &taken, own, unix_now(), &mut rand::rng());
        for addr in chosen {
            self.start_dial(addr);
        }
    }

    fn start_dial(&mut self, addr: SocketAddr) {
        let addr = canonical_socket(addr);
        if self.is_banned(addr) || !self.dialing.insert(addr) {
            return;
        }
        let local = Arc::clone(&self.local);
        let events = self.events.clone();
        let stop = self.stop.clone();
        let by = self.dial_by(addr);
        self.tasks.spawn(async move {
            let attempt = async {
                let stream = dial(&local, addr).await?;
                establish(&local, stream, addr, How::Dial(by)).await
            };
            let event = tokio::select! {
                () = stop.cancelled() => return,
                result = attempt => match result {
                    Ok((session, claim)) => HubEvent::Established {
                        addr,
                        direction: Direction::Outbound,
                        session: Box::new(session),
                        slot: None,
                        claim,
                    },
                    Err(error) => HubEvent::Failed { addr, direction: Direction::Outbound, error },
                },
            };
            // The hub is gone only when the node stops.
            let _ = events.send(event).await;
        });
    }

    /// As the book has it, as far as we speak that ourselves.
    fn dial_by(&self, addr: SocketAddr) -> DialBy {
        match self.config.transports {
            [TransportKind::Tls] => DialBy::Tls,
            transports => match self.book.dial_by(addr, unix_now()) {
                DialBy::Tls if !transports.contains(&TransportKind::Tls) => DialBy::Noise,
                by => by,
            },
        }
    }

    /// An outbound connection stood, and this has been proven of the peer, and said by it.
    pub(super) fn note_met(&mut self, addr: SocketAddr, remote: &RemoteIdentity, services: u64) {
        self.book.met(addr, services, unix_now());
        self.metrics.dialled_by(remote.transport);
        match remote.static_key {
            Some(key) => {
                if self.book.spoke_noise(addr, key, unix_now()) {
                    let detail = format!(
                        "another node than before answers there, or it has new keys: {}",
                        remote.node_id
                    );
                    self.raise(Detector::IdentityChanged, addr, Response::Told, &detail);
                }
            }
            None => {
                let detail = "connected by TLS: the peer is said to speak no Noise";
                self.raise(Detector::TransportFallback, addr, Response::Told, detail);
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, addr: SocketAddr, error: &SessionError) {
        self.dialing.remove(&addr);
        match error {
            SessionError::Downgraded => {
                let detail = "somebody said that the peer speaks no Noise, and it does";
                self.raise(Detector::Downgrade, addr, Response::DialledByNoise, detail);
                self.book.speaks_noise(addr, unix_now());
                self.start_dial(addr);
            }
            SessionError::Ourselves => {
                self.dials.add_own(addr);
                self.book.forget(addr);
            }
            // While the other connection is only being made, it may still come to nothing.
            SessionError::AlreadyConnected(node) if self.has_dialled(*node) => {
                self.book.rest(addr, unix_now() + DUPLICATE_REST);
            }
            error => {
                if is_silence(error) {
                    self.book.doubt_key(addr);
                }
                self.book.failed(addr, unix_now(), &mut rand::rng());
            }
        }
        self.dial_more();
    }

    pub(super) fn on_outbound_gone(&mut self, addr: SocketAddr, stood: Duration) {
        self.book.failed(addr, unix_now(), &mut rand::rng());
        self.dials.manual_gone(addr, stood, Instant::now());
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
            // Each seed has its own share of the book: a poisoned one can't fill that of the others.
            let source = format!("dns:{}", candidate.seed);
            if !self.dials.is_own(&candidate.addr) && self.book.add(gossip, &source) {
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

    /// Bootstrap nodes: at once when DNS gave nothing, or when after a while still no outbound peer stands.
    /// Inbound ones do not count: whoever dials us must not keep us from finding others.
    fn try_bootstrap(&mut self, now: Instant) {
        if self.count(Direction::Outbound) > 0
            || self.local.spec.discovery.bootstrap_nodes.is_empty()
        {
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
                if !self.dials.is_own(&addr) {
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

    fn has_dialled(&self, node: NodeId) -> bool {
        self.peers
            .values()
            .any(|p| p.handle.direction == Direction::Outbound && p.handle.remote.node_id == node)
    }

    fn connected(&self) -> HashSet<SocketAddr> {
        self.peers
            .values()
            .filter(|p| p.handle.direction == Direction::Outbound)
            .map(|p| p.handle.addr)
            .collect()
    }
}

/// Whether a peer that was dialled with the key that it had may not have answered to it: then it is asked for its key
/// the next time. Nothing is weaker by that, so it does not matter who brought it about.
fn is_silence(error: &SessionError) -> bool {
    matches!(
        error,
        SessionError::Handshake(HandshakeError::KeyUnanswered(_))
            | SessionError::Timeout(HANDSHAKES, _)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([9, 9, 9, n], 8333))
    }

    #[test]
    fn a_manual_peer_that_comes_and_goes_waits_longer_each_time() {
        let mut now = Instant::now();
        let mut state = DialState::new(now, vec!["[::ffff:9.9.9.1]:8333".parse().unwrap()], []);
        assert!(state.is_manual(addr(1)), "the address is made canonical");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(state.due_manual(now, |_| false), [addr(1)]);
            now += Duration::from_millis(100);
            state.manual_gone(addr(1), Duration::from_millis(100), now);
            let gone = now;
            while state.manual[&addr(1)].next > now {
                now += Duration::from_secs(1);
            }
            pauses.push((now - gone).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        state.due_manual(now, |_| false);
        state.manual_gone(addr(1), GOOD_STANDING, now);
        assert_eq!(state.manual[&addr(1)].next, now + MANUAL_BACKOFF.0);
    }

    #[test]
    fn own_addresses_are_bounded_and_are_no_manual_peers() {
        let mut state = DialState::new(Instant::now(), vec![addr(0)], []);
        for n in 0..=MAX_OWN as u8 {
            state.add_own(addr(n));
        }
        assert_eq!(state.own.len(), MAX_OWN);
        assert!(!state.is_manual(addr(0)));
        assert!(!state.is_own(&addr(0)) && state.is_own(&addr(MAX_OWN as u8)));
    }
}
