//! The hub's half of NAT traversal: which address is ours, whether it can be reached, and dialling others back.

mod candidates;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{debug, info};

use self::candidates::{Candidate, Facts};
use super::event::HubEvent;
use super::{Hub, PeerId};
use crate::network::connections::Purpose;
use crate::network::nat::verdict::Verdict;
use crate::network::nat::{NatReport, Reachability};
use crate::network::peer::session::{Call, dial, establish};
use crate::network::protocol::dial_back::{DialBack, DialBackLimits, HOST_PAUSE, Outcome};
use crate::network::protocol::version::Direction;
use crate::network::session::How;
use crate::network::status::{ExternalAddress, NatStatus};
use crate::reachability::netgroup::is_routable;
use crate::transport::{DialBy, NodeId};

/// How long a peer may take to dial us and to say what came of it: its own limit for a connection, twice.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Pause between two peers that are asked for a dial-back, so that the first can tell before all have been asked.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// Peers asked at a time.
const MAX_ASKED: usize = 3;

/// How long two arrivals suffice; then peers are asked anew.
const SETTLED_FOR: Duration = Duration::from_secs(1_800);

/// How old what a netgroup has told must be before it is asked again: peers dial a host once in a while, and messages travel
/// faster at one time than at another.
const ASK_AGAIN: Duration = HOST_PAUSE.saturating_add(Duration::from_secs(30));

/// When a peer that has refused is asked again: it may have dialled too many others just then.
const REFUSED_PAUSE: Duration = Duration::from_secs(90);

/// How often what follows from the verdicts is looked at, which age.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A peer that was asked to dial us.
#[derive(Debug)]
struct Asked {
    peer: PeerId,
    nonce: u64,
    group: String,
    /// Our address that it is about.
    about: SocketAddr,
    until: Instant,
    /// It has dialled us; what else it opens until then is for nothing else either.
    done: bool,
}

/// What the hub remembers of it.
pub(crate) struct NatState {
    report: watch::Receiver<NatReport>,
    nudge: Arc<Notify>,
    /// Of our IPv4 and of our IPv6 address.
    verdicts: [Verdict; 2],
    asked: HashMap<NodeId, Asked>,
    /// When each peer may be asked again; it answers once in a while only.
    not_before: HashMap<PeerId, Instant>,
    next_ask: Instant,
    next_look: Instant,
    limits: DialBackLimits,
    /// Whether our own address of each family is none that the world knows, or can't be told.
    translated: [bool; 2],
    /// What was advertised last, to notice that it is another.
    told: [Option<SocketAddr>; 2],
    /// Our addresses, as they were known last.
    last: [Option<IpAddr>; 2],
}

impl NatState {
    pub(crate) fn new(report: watch::Receiver<NatReport>, nudge: Arc<Notify>) -> Self {
        Self {
            report,
            nudge,
            verdicts: Default::default(),
            asked: HashMap::new(),
            not_before: HashMap::new(),
            next_ask: Instant::now(),
            next_look: Instant::now(),
            limits: DialBackLimits::default(),
            translated: [true; 2],
            told: [None; 2],
            last: [None; 2],
        }
    }

    /// When the service has something new to tell. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.report.changed().await.is_err() {
            // There is no service any more.
            std::future::pending::<()>().await;
        }
    }

    /// Has the service look again, servers and gateway both. False if there is no service.
    pub(super) fn look_again(&self) -> bool {
        let enabled = self.report.borrow().enabled;
        if enabled {
            self.nudge.notify_one();
        }
        enabled
    }

    /// Peers that were asked and have not come yet.
    fn under_way(&self) -> usize {
        self.asked.values().filter(|asked| !asked.done).count()
    }
}

/// IPv4 comes first.
fn index(addr: IpAddr) -> usize {
    usize::from(addr.is_ipv6())
}

impl Hub {
    /// Where we tell others to find us, in each family; nothing that is unknown, can't be dialled, or was found to be
    /// unreachable.
    pub(super) fn external_addresses(&self) -> Vec<ExternalAddress> {
        let now = Instant::now();
        let candidates = self.candidates().into_iter().flatten();
        let told = candidates.filter(|own| own.is_told(self.shown(own.addr, now)));
        told.map(|own| ExternalAddress {
            addr: own.addr,
            votes: own.votes,
            direct: own.direct,
        })
        .collect()
    }

    fn verdict(&self, addr: SocketAddr) -> &Verdict {
        let [v4, v6] = &self.nat.verdicts;
        if addr.is_ipv4() { v4 } else { v6 }
    }

    /// What dial-backs have shown of this address, if they are about it.
    fn shown(&self, addr: SocketAddr, now: Instant) -> Reachability {
        let verdict = self.verdict(addr);
        match verdict.is_about(addr) {
            true => verdict.reachability(now),
            false => Reachability::Unknown,
        }
    }

    fn candidates(&self) -> [Option<Candidate>; 2] {
        let facts = Facts {
            mode: self.config.nat.mode,
            report: &self.nat.report.borrow(),
            votes: &self.external,
            listen: self.local.listen_addr,
            set: self.config.external_address,
            translated: self.nat.translated,
            allow_private: self.local.spec.network_protocol.allow_private_addresses,
        };
        facts.candidates()
    }

    fn is_translated(&self, v4: bool) -> bool {
        let allow_private = self.local.spec.network_protocol.allow_private_addresses;
        let listen = self.local.listen_addr.ip();
        let local = match listen.is_unspecified() {
            true => crate::network::nat::local_address(v4),
            false => Some(listen),
        };
        local.is_none_or(|ip| !is_routable(ip, allow_private))
    }

    /// The service has news, or peers see us elsewhere: forgets what was known of another address, and tells peers the new one.
    pub(super) fn on_address_news(&mut self) {
        self.nat.translated = [self.is_translated(true), self.is_translated(false)];
        let mut moved = Call::default();
        let candidates = self.candidates();
        let nat = &mut self.nat;
        let places = candidates
            .into_iter()
            .zip(&mut nat.verdicts)
            .zip(&mut nat.last);
        for ((candidate, verdict), last) in places {
            let new = candidate.map(|candidate| candidate.addr);
            verdict.about(new);
            if let Some(new) = new {
                let before = last.replace(new.ip());
                if before.is_some_and(|before| before != new.ip()) {
                    moved.add(new.ip());
                }
                if before != Some(new.ip()) {
                    info!(addr = %new, "this may be our address");
                }
            }
        }
        let about = |asked: &Asked| {
            candidates
                .iter()
                .flatten()
                .any(|own| own.addr == asked.about)
        };
        nat.asked.retain(|_, asked| about(asked));
        if moved != Call::default() {
            // Connections through a translation that is no more hang for minutes: whoever is still there answers.
            self.local.call(moved);
            self.nat.not_before.clear();
        }
        self.tell_new_address();
    }

    /// Advertises to all as soon as there is something else to advertise than before.
    fn tell_new_address(&mut self) {
        let mut told = [None; 2];
        for own in self.external_addresses() {
            if let Some(place) = told.get_mut(index(own.addr.ip())) {
                *place = Some(own.addr);
            }
        }
        self.metrics.reachability(self.reachability());
        if told == self.nat.told {
            return;
        }
        let mut pairs = told.iter().zip(&self.nat.told);
        let is_new = pairs.any(|(new, old)| new.is_some() && new != old);
        self.nat.told = told;
        if is_new {
            let now = Instant::now();
            for peer in self.peers.values_mut() {
                if let Some(at) = &mut peer.advertise {
                    *at = now;
                }
            }
            self.advertise();
        }
    }

    /// The better of what is known of our addresses.
    fn reachability(&self) -> Reachability {
        let now = Instant::now();
        let [v4, v6] = self
            .nat
            .verdicts
            .each_ref()
            .map(|verdict| verdict.reachability(now));
        match (v4, v6) {
            (Reachability::Reachable, _) | (_, Reachability::Reachable) => Reachability::Reachable,
            (Reachability::Unreachable, _) | (_, Reachability::Unreachable) => {
                Reachability::Unreachable
            }
            _ => Reachability::Unknown,
        }
    }

    /// A peer has told at which address it sees us.
    pub(super) fn on_seen_at(&mut self, by: SocketAddr, seen: IpAddr) {
        let seen = seen.to_canonical();
        let v4 = seen.is_ipv4();
        let before = self.external.winner(v4);
        self.external.vote(by, seen);
        let known = self
            .nat
            .report
            .borrow()
            .probe(v4)
            .and_then(|probe| probe.external);
        // Without STUN the peers' majority stands for it.
        let moved = match known {
            Some(known) => known != seen,
            None => before.is_some() && before != self.external.winner(v4),
        };
        if moved {
            self.nat.nudge.notify_one();
        }
        self.on_address_news();
    }

    /// Asks peers of our choice to dial us, as long as that can tell something; and what was shown long ago counts no more.
    pub(super) fn drive_nat(&mut self) {
        let now = Instant::now();
        self.nat.asked.retain(|_, asked| asked.until > now);
        if now >= self.nat.next_look {
            self.nat.next_look = now + LOOK_EVERY;
            self.tell_new_address();
        }
        // Before it is known which port leads to us, peers would be asked in vain, and answer again in ten minutes.
        let knows = |report: &NatReport| report.looked || !report.enabled;
        if now < self.nat.next_ask || !knows(&self.nat.report.borrow()) {
            return;
        }
        self.nat.next_ask = now + ASK_PAUSE;
        for candidate in self.candidates().into_iter().flatten() {
            if !candidate.certain && self.nat.under_way() < MAX_ASKED {
                self.ask_one(candidate, now);
            }
        }
    }

    fn ask_one(&mut self, candidate: Candidate, now: Instant) {
        let ip = candidate.addr.ip();
        let verdict = self.verdict(candidate.addr);
        if verdict.is_settled(SETTLED_FOR, now) {
            return;
        }
        let pending: Vec<_> = self.nat.asked.values().map(|asked| &asked.group).collect();
        let mut peers = self.peers.iter();
        let chosen = peers.find_map(|(id, peer)| {
            let handle = &peer.handle;
            let sees = handle.version.our_addr_seen?.ip().to_canonical();
            let group = self.source_group(*id);
            let able = peer.purpose == Some(Purpose::Full)
                && sees == ip
                && !pending.contains(&&group)
                && verdict.wants(&group, ASK_AGAIN, now)
                && self.nat.not_before.get(id).is_none_or(|at| now >= *at);
            able.then_some((*id, handle.remote.node_id, group))
        });
        let Some((peer, node, group)) = chosen else {
            return;
        };
        let nonce = rand::random();
        let port = candidate.addr.port();
        self.send(peer, DialBack::Request { nonce, port }.to_message());
        self.nat.not_before.insert(peer, now + ASK_AGAIN);
        let asked = Asked {
            peer,
            nonce,
            group,
            about: candidate.addr,
            until: now + ANSWER_WITHIN,
            done: false,
        };
        self.nat.asked.insert(node, asked);
    }

    /// Somebody has dialled us. Gives whether that was since we asked him to: such a connection is for nothing else, and must
    /// not take the place of another of his.
    pub(super) fn is_dial_back(&mut self, node: NodeId, from: SocketAddr) -> bool {
        let now = Instant::now();
        let outside = self.is_devnet() || is_routable(from.ip(), false);
        let asked_for =
            |asked: &Asked| outside && asked.until > now && asked.about.is_ipv4() == from.is_ipv4();
        if !self.nat.asked.get(&node).is_some_and(asked_for) {
            return false;
        }
        let asked = self.nat.asked.get_mut(&node);
        if let Some(asked) = asked.filter(|asked| !asked.done) {
            asked.done = true;
            let (group, about) = (asked.group.clone(), asked.about);
            self.note_arrived(group, about, now);
        }
        true
    }

    fn note_arrived(&mut self, group: String, about: SocketAddr, now: Instant) {
        let Some(verdict) = self.nat.verdicts.get_mut(index(about.ip())) else {
            return;
        };
        verdict.arrived(group, now);
        if verdict.reachability(now) == Reachability::Reachable {
            // Proven, so that we need not dial it ourselves.
            self.connections.add_own(about);
        }
        self.tell_new_address();
    }

    /// A peer asks to be dialled, or says what came of dialling us.
    pub(super) fn on_dial_back(&mut self, id: PeerId, message: DialBack) {
        match message {
            DialBack::Request { nonce, port } => self.dial_back(id, nonce, port),
            DialBack::Result { nonce, outcome } => {
                let mut asked = self.nat.asked.iter();
                let by = asked.find(|(_, asked)| asked.peer == id && asked.nonce == nonce);
                if let Some(node) = by.map(|(node, _)| *node) {
                    self.on_dial_back_result(node, outcome);
                }
            }
        }
    }

    fn on_dial_back_result(&mut self, node: NodeId, outcome: Outcome) {
        // That it has reached us, its connection shows, not its word; it may still be on its way.
        let done = self.nat.asked.get(&node).is_none_or(|asked| asked.done);
        if outcome == Outcome::Reached || done {
            return;
        }
        let Some(asked) = self.nat.asked.remove(&node) else {
            return;
        };
        let now = Instant::now();
        if outcome == Outcome::Refused {
            self.nat.not_before.insert(asked.peer, now + REFUSED_PAUSE);
        } else if let Some(verdict) = self.nat.verdicts.get_mut(index(asked.about.ip())) {
            verdict.failed(asked.group, now);
            self.tell_new_address();
        }
    }

    fn dial_back(&mut self, id: PeerId, nonce: u64, port: u16) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let (asker, node) = (peer.handle.addr, peer.handle.remote.node_id);
        let by = peer.handle.remote.static_key;
        let by = by.map_or(DialBy::Tls, DialBy::NoiseKnowing);
        let allow_private = self.local.spec.network_protocol.allow_private_addresses;
        // Whom we have dialled ourselves can be reached.
        let admitted = match peer.handle.direction {
            Direction::Inbound => {
                let limits = &mut self.nat.limits;
                limits.admit(asker, port, allow_private, Instant::now())
            }
            Direction::Outbound => None,
        };
        let Some(target) = admitted else {
            return self.answer_dial_back(id, nonce, Outcome::Refused);
        };
        let local = Arc::clone(&self.local);
        let (events, stop) = (self.events.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let attempt = async {
                let stream = dial(&local, target).await?;
                // The whole handshake, so that the other side sees who has come; then the connection ends.
                establish(&local, stream, target, How::DialBack(by)).await
            };
            let result = tokio::select! {
                result = attempt => result,
                () = stop.cancelled() => return,
            };
            let outcome = match &result {
                Ok((session, _)) if session.remote.node_id == node => Outcome::Reached,
                Ok(_) => Outcome::Unreachable,
                Err(error) => {
                    debug!(%target, %error, "not reached when dialled back");
                    Outcome::Unreachable
                }
            };
            let _ = events
                .send(HubEvent::DialledBack { id, nonce, outcome })
                .await;
        });
    }

    pub(super) fn answer_dial_back(&self, id: PeerId, nonce: u64, outcome: Outcome) {
        self.metrics.dialled_back(outcome);
        self.send(id, DialBack::Result { nonce, outcome }.to_message());
    }

    /// What is forgotten with a peer.
    pub(super) fn nat_peer_left(&mut self, id: PeerId) {
        self.nat.not_before.remove(&id);
    }

    pub(super) fn nat_status(&self) -> NatStatus {
        let now = Instant::now();
        let confirmed = self
            .nat
            .verdicts
            .iter()
            .map(|verdict| verdict.confirmations(now));
        let advertised = self.external_addresses();
        NatStatus {
            report: self.nat.report.borrow().clone(),
            reachable: self.reachability(),
            confirmed_by: confirmed.max().unwrap_or(0),
            advertised: advertised.first().map(|own| own.addr),
            also_advertised: advertised.get(1).map(|own| own.addr),
        }
    }
}
