//! The hub's half of connection keeping: does what the connection manager says ([`crate::network::connections`]), and tells
//! it what came of that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::ThreadRng;
use tracing::{debug, warn};

use super::event::HubEvent;
use super::{Hub, HubParts, lock};
use crate::network::address_book::AddressBook;
use crate::network::connections::{Action, Connections, Failure, Moment, Purpose, Settings, View};
use crate::network::discovery::{Candidate, Found};
use crate::network::peer::session::{HANDSHAKES, dial, establish, unix_now};
use crate::network::protocol::addresses::Gossip;
use crate::network::protocol::version::Direction;
use crate::network::security::events::{Detector, Response};
use crate::network::session::{How, SessionError};
use crate::transport::{DialBy, HandshakeError, NodeId, RemoteIdentity, TransportKind};

/// Without a new block for as long as three should take, one more peer may know why (Bitcoin Core's figure).
const STALE_BLOCKS: u32 = 3;

/// The connection manager of a node, with the address book of its data directory.
pub(super) fn manager(parts: &HubParts, asks_dns: bool) -> Connections {
    let (config, spec) = (&parts.config, &parts.local.spec);
    let allow_private = spec.network_protocol.allow_private_addresses;
    let netgroups = config.netgroups.clone();
    let book = match &config.data_dir {
        Some(dir) => AddressBook::load_grouping(dir, allow_private, netgroups),
        None => AddressBook::new(allow_private).grouping(netgroups),
    };
    let spacing = std::time::Duration::from_secs(spec.consensus.target_spacing);
    let settings = Settings {
        full: config.outbound_target,
        block_only: config.block_only_target,
        feeler_every: config.feeler_every,
        look_around_every: config.look_around_every,
        stale_after: spacing * STALE_BLOCKS,
        bootstrap_after: config.bootstrap_after,
        bootstrap_nodes: spec.discovery.bootstrap_nodes.clone(),
        asks_dns,
    };
    let now = Instant::now();
    let mut connections = Connections::new(settings, book, now);
    for addr in &config.manual_peers {
        match lock(&parts.standing).banned_by_operator(addr.ip(), unix_now()) {
            Some(ban) => warn!(
                %addr, network = %ban.network,
                "a peer to be connected to is in a banned network, and is not dialled: \
                 quantumcoin-node unban lifts that"
            ),
            None => connections.add_manual(*addr, now),
        }
    }
    let listen = Some(parts.local.listen_addr).filter(|addr| !addr.ip().is_unspecified());
    for own in config.external_address.into_iter().chain(listen) {
        connections.add_own(own);
    }
    connections
}

fn now() -> Moment {
    Moment {
        at: Instant::now(),
        unix: unix_now(),
    }
}

impl Hub {
    /// Opens connections and asks DNS as far as it is time.
    pub(super) fn dial_more(&mut self) {
        self.decide(|connections, view, rng| connections.poll(now(), view, rng));
    }

    /// Dials those that the last session ended with.
    pub(super) fn dial_anchors(&mut self) {
        self.decide(|connections, view, _| connections.first_dials(view));
    }

    /// Lets the connection manager decide, and does what it says.
    fn decide(
        &mut self,
        decide: impl FnOnce(&mut Connections, View<'_>, &mut ThreadRng) -> Vec<Action>,
    ) {
        let (standing, peers, blocks) = (&self.standing, &self.peers, &self.blocks);
        let at = unix_now();
        let banned = |addr: SocketAddr| lock(standing).keeps_out(addr.ip(), at);
        let busy = |addr: SocketAddr| {
            let to = |peer: &&super::Peer| {
                peer.handle.addr == addr && peer.handle.direction == Direction::Outbound
            };
            let peer = peers.values().find(to);
            peer.is_some_and(|peer| blocks.is_asked(peer.handle.id))
        };
        let view = View {
            banned: &banned,
            busy: &busy,
        };
        let actions = decide(&mut self.connections, view, &mut rand::rng());
        for action in actions {
            self.act(action);
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Dial(addr, purpose) => self.start_dial(addr, purpose),
            Action::AskDns => self.ask_dns(),
            Action::HangUp(addr, reason) => {
                let mut peers = self.peers.values();
                let outbound = peers.find(|peer| {
                    peer.handle.addr == addr && peer.handle.direction == Direction::Outbound
                });
                if let Some(id) = outbound.map(|peer| peer.handle.id) {
                    self.hang_up(id, reason);
                }
            }
        }
    }

    fn start_dial(&mut self, addr: SocketAddr, purpose: Purpose) {
        let local = Arc::clone(&self.local);
        let events = self.events.clone();
        let stop = self.stop.clone();
        let by = self.dial_by(addr);
        self.tasks.spawn(async move {
            let attempt = async {
                let stream = dial(&local, addr).await?;
                establish(&local, stream, addr, How::Dial(by, purpose)).await
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
            transports => match self.connections.book().dial_by(addr, unix_now()) {
                DialBy::Tls if !transports.contains(&TransportKind::Tls) => DialBy::Noise,
                by => by,
            },
        }
    }

    /// Both handshakes of a dial are over.
    ///
    /// # Errors
    /// With the reason, where the connection is not kept.
    pub(super) fn keep_outbound(&mut self, addr: SocketAddr) -> Result<Purpose, &'static str> {
        if self.is_banned(addr) {
            self.connections.given_up(addr);
            return Err("banned meanwhile");
        }
        self.connections.established(addr, Instant::now())
    }

    /// An outbound connection stood, and this has been proven of the peer, and said by it.
    pub(super) fn note_met(&mut self, addr: SocketAddr, remote: &RemoteIdentity, services: u64) {
        self.connections.book_mut().met(addr, services, unix_now());
        self.metrics.dialled_by(remote.transport);
        match remote.static_key {
            Some(key) => {
                let book = self.connections.book_mut();
                if book.spoke_noise(addr, key, unix_now()) {
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
        if let SessionError::Downgraded = error {
            let detail = "somebody said that the peer speaks no Noise, and it does";
            self.raise(Detector::Downgrade, addr, Response::DialledByNoise, detail);
        }
        let failure = self.failure(error);
        let again = self
            .connections
            .failed(addr, failure, unix_now(), &mut rand::rng());
        if let Some(action) = again {
            self.act(action);
        }
        self.dial_more();
    }

    fn failure(&self, error: &SessionError) -> Failure {
        match error {
            SessionError::Downgraded => Failure::Downgraded,
            SessionError::Ourselves => Failure::Ourselves,
            // While the other connection is only being made, it may still come to nothing.
            SessionError::AlreadyConnected(node) if self.has_dialled(*node) => Failure::SameNode,
            error if is_silence(error) => Failure::KeyUnanswered,
            _ => Failure::Unreachable,
        }
    }

    pub(super) fn on_outbound_gone(&mut self, addr: SocketAddr) {
        self.connections.gone(addr, now(), &mut rand::rng());
    }

    fn ask_dns(&mut self) {
        let Some(discovery) = self.discovery.clone() else {
            return self.connections.dns_answered(false);
        };
        let seeds = self.seed_names();
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
                    let _ = events.send(HubEvent::DiscoveryDone(found)).await;
                }
            }
        });
    }

    pub(super) fn on_candidates(&mut self, list: Vec<Candidate>) {
        let now = unix_now() as u32;
        let mut new = 0;
        for candidate in list {
            let gossip = Gossip {
                addr: candidate.addr,
                services: candidate.services.unwrap_or(0),
                time: now,
            };
            let rng = &mut rand::rng();
            new += usize::from(
                self.connections
                    .heard_from_dns(gossip, &candidate.seed, rng),
            );
        }
        debug!(new, "addresses from DNS");
        self.dial_more();
    }

    pub(super) fn on_discovery_done(&mut self, found: Found) {
        self.metrics.discovery(&found);
        if found.candidates.is_empty() {
            warn!("no DNS seed gave an address; trying the bootstrap nodes of the chain spec");
        }
        self.connections.dns_answered(!found.candidates.is_empty());
        self.seeds = found.seeds;
        self.dial_more();
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
