//! The hub's half of defence: who is let in and kept, and what follows from an offence.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::{Hub, Peer, PeerId, lock};
use crate::network::connections::Purpose;
use crate::network::peer::Origin;
use crate::network::peer::actor::Gone;
use crate::network::peer::session::unix_now;
use crate::network::protocol::version::Direction;
use crate::network::security::clocks::{self, Clocks};
use crate::network::security::events::{Detector, Response};
use crate::network::security::eviction::{self, Candidate};
use crate::network::security::limits::{Refusal, host_key};
use crate::network::security::offence::Offence;
use crate::network::security::standing::Outcome;
use crate::network::session::SessionError;
use crate::transport::{HandshakeError, NodeId};

/// Pause before each further message of a peer that is read more slowly: four a second, enough for the answers to what we
/// ask it for, and a tenth of what else it could make us do.
const SLOW_PACE: Duration = Duration::from_millis(250);

/// What defence remembers.
#[derive(Default)]
pub(super) struct DefenceState {
    /// Makes hashes of netgroups that nobody else can.
    key: RandomState,
    clocks: Clocks<PeerId>,
}

impl Hub {
    /// Both handshakes of somebody who dialled us are over.
    ///
    /// # Errors
    /// With the reason, where the connection is not kept.
    pub(super) fn keep_inbound(
        &mut self,
        addr: SocketAddr,
        node_id: NodeId,
    ) -> Result<Option<Purpose>, &'static str> {
        if self.is_banned(addr) {
            return Err("banned meanwhile");
        }
        self.replace(node_id);
        let kept = self.make_place(addr);
        kept.then_some(None).ok_or("there is no place for it")
    }

    /// A node that dials us anew has lost its old connection, whether we noticed or not: the old one goes.
    /// Nobody else can cause that, for the identity is proven. (A node dials another only once.)
    fn replace(&mut self, node_id: NodeId) {
        let same = |(_, p): &(&PeerId, &Peer)| {
            p.handle.direction == Direction::Inbound && p.handle.remote.node_id == node_id
        };
        if let Some((&old, _)) = self.peers.iter().find(same) {
            self.hang_up(old, "it dialled us anew");
        }
    }

    /// Whether there is a place for one more inbound peer; when all are taken, somebody may have to go.
    fn make_place(&mut self, newcomer: SocketAddr) -> bool {
        if self.count(Direction::Inbound) < self.inbound_places {
            return true;
        }
        let now = Instant::now();
        let inbound = self.peers.values();
        let inbound = inbound.filter(|peer| peer.handle.direction == Direction::Inbound);
        let candidates: Vec<_> = inbound.map(|peer| self.candidate(peer)).collect();
        // Whoever has something held against him pushes out only his like.
        let suspect = lock(&self.standing).is_suspect(newcomer.ip(), unix_now());
        let comes = !suspect || candidates.iter().any(|candidate| candidate.penalised);
        let chosen = comes.then(|| eviction::choose(candidates, now));
        let Some(id) = chosen.flatten() else {
            self.refusals.note(newcomer, Refusal::Full);
            return false;
        };
        self.refusals.note_made_room();
        self.hang_up(id, "its place was wanted");
        true
    }

    fn candidate(&self, peer: &Peer) -> Candidate<PeerId> {
        let handle = &peer.handle;
        let ip = handle.addr.ip();
        let ping = handle.stats.min_ping_us.load(Ordering::Relaxed);
        Candidate {
            id: handle.id,
            // On a devnet all nodes are in one netgroup, so each host is its own.
            netgroup: if self.is_devnet() {
                self.defence.key.hash_one(host_key(ip))
            } else {
                self.defence.key.hash_one(self.config.netgroups.of(ip))
            },
            since: handle.since,
            ping: (ping > 0).then(|| Duration::from_micros(ping)),
            last_transaction: peer.last_transaction,
            last_block: peer.last_block,
            penalised: lock(&self.standing).is_suspect(ip, unix_now()),
        }
    }

    /// Ends a connection, and does at once what its end brings.
    pub(super) fn hang_up(&mut self, id: PeerId, reason: &'static str) {
        if let Some(peer) = self.peers.get(&id) {
            peer.handle.stop.cancel();
            self.on_gone(id, &Gone::because(reason));
        }
    }

    /// Holds against a peer what it did, and does what follows. One that was closed before the offence was found out
    /// is not forgiven for that; one that was punished in a way that closed it has had its punishment.
    pub(super) fn punish(&mut self, from: Origin, offence: Offence, reason: &str) {
        let Origin { id, addr } = from;
        match self.peers.get(&id) {
            Some(peer) if peer.punished => return,
            None if self.is_banned(addr) => return,
            _ => {}
        }
        let over = !self.peers.contains_key(&id);
        let response = self.note_offence(addr, offence, reason, over);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if response == Response::Throttled {
            peer.handle.pace.slow_down(SLOW_PACE);
        } else {
            peer.punished = true;
            peer.handle.stop.cancel();
        }
    }

    /// Holds an offence against the host at `addr`, and tells what follows; where the connection is `over`, that at least.
    /// A ban ends all connections of the host. Manual peers are the operator's choice: never banned.
    pub(super) fn note_offence(
        &mut self,
        addr: SocketAddr,
        offence: Offence,
        reason: &str,
        over: bool,
    ) -> Response {
        *self.offences.entry(offence.as_str()).or_default() += 1;
        self.metrics.offence(offence);
        let response = if self.connections.is_manual(addr) {
            Response::Disconnected
        } else {
            match lock(&self.standing).note(addr.ip(), offence, unix_now()) {
                Outcome::Throttle if !over => Response::Throttled,
                Outcome::Throttle | Outcome::Disconnect => Response::Disconnected,
                Outcome::Ban(_) => Response::Banned,
                Outcome::BanForever => Response::BannedForever,
            }
        };
        let detail = format!("{}: {reason}", offence.as_str());
        self.raise(offence.detector(), addr, response, &detail);
        if matches!(response, Response::Banned | Response::BannedForever) {
            self.hang_up_on(addr.ip());
            self.save_standing();
        }
        response
    }

    /// Tells of what was found.
    pub(super) fn raise(
        &self,
        detector: Detector,
        addr: SocketAddr,
        response: Response,
        detail: &str,
    ) {
        let at = (unix_now(), Instant::now());
        self.security.raise(detector, addr, response, detail, at);
    }

    /// Ends every connection to a banned host but the operator's own choices.
    fn hang_up_on(&self, host: IpAddr) {
        let host = host_key(host);
        for peer in self.peers.values() {
            let addr = peer.handle.addr;
            if host_key(addr.ip()) == host && !self.connections.is_manual(addr) {
                peer.handle.stop.cancel();
            }
        }
    }

    /// Whether a ban stands against an address. Manual peers are the operator's choice: only he bans them.
    pub(super) fn is_banned(&self, addr: SocketAddr) -> bool {
        let (standing, now) = (lock(&self.standing), unix_now());
        standing.banned_by_operator(addr.ip(), now).is_some()
            || (!self.connections.is_manual(addr) && standing.banned(addr.ip(), now).is_some())
    }

    /// An inbound connection that came to nothing: a forged identity is held against its host.
    pub(super) fn on_inbound_failed(&mut self, addr: SocketAddr, error: &SessionError) {
        match error {
            SessionError::Handshake(HandshakeError::IdentityForged) if !self.is_banned(addr) => {
                self.note_offence(addr, Offence::ForgedIdentity, &error.to_string(), true);
            }
            SessionError::Handshake(HandshakeError::Busy) => {
                let detail = "more handshakes are asked for than are worked on";
                self.raise(Detector::HandshakeFlood, addr, Response::Refused, detail);
            }
            _ => {}
        }
    }

    /// A peer told the time with its version.
    pub(super) fn note_clock(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let (addr, offset) = (peer.handle.addr, peer.handle.version.time_offset);
        if clocks::is_skewed(offset) {
            let detail = format!("its clock is {offset} s ahead of ours");
            self.raise(Detector::ClockSkew, addr, Response::Told, &detail);
        }
        if peer.handle.direction == Direction::Outbound {
            self.defence.clocks.joined(id, offset);
            if let Some(slow) = self.defence.clocks.warning() {
                warn!(
                    target: "security", event = "own_clock", seconds = slow,
                    "this machine's clock is not that of most peers: check it, or blocks will be refused"
                );
            }
        }
    }

    /// By how many seconds our clock seems to be slow, as far as peers of our choice can tell.
    pub(super) fn clock_slow_by(&self) -> Option<i64> {
        self.defence.clocks.ours_is_slow_by()
    }

    pub(super) fn defence_peer_left(&mut self, id: PeerId) {
        self.defence.clocks.left(id);
    }

    /// Devnets on loopback are one netgroup, and know no strangers.
    pub(super) fn is_devnet(&self) -> bool {
        self.local.spec.network_protocol.allow_private_addresses
    }

    /// Saves what is held against whom beside the hub.
    pub(super) fn save_standing(&mut self) {
        let Some(dir) = self.data_dir.clone() else {
            return;
        };
        let standing = lock(&self.standing);
        self.saving_standing.save(|| {
            let snapshot = standing.snapshot(unix_now());
            move || {
                if let Err(error) = snapshot.save(&dir) {
                    warn!(%error, "bans were not saved");
                }
            }
        });
    }

    /// A peer did not give the blocks that it has shown, again and again: it goes, whatever else follows.
    pub(super) fn on_withholding(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.handle.stop.cancel();
        // The end of it is no second offence.
        if !std::mem::replace(&mut peer.punished, true) {
            let addr = peer.handle.addr;
            let reason = "it showed blocks and did not give them";
            self.note_offence(addr, Offence::BlockWithholding, reason, true);
        }
    }
}
