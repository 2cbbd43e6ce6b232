//! One node: what it does with what it hears. The rules that are the hub's in the real node, without transactions.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use quantumcoin::network::NetworkConfig;
use quantumcoin::network::address_book::AddressBook;
use quantumcoin::network::connections::{Action, Connections, Moment, Purpose, Settings, View};
use quantumcoin::network::protocol::addresses::{AddressBucket, Gossip, MAX_RELAYED, RELAY_FANOUT};
use quantumcoin::network::security::eviction::{self, Candidate};
use quantumcoin::network::security::limits::{Admission, Limits, Slot};
use quantumcoin::reachability::Netgroup;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use super::chain::{BlockId, Chain, GENESIS};

/// Names a node.
pub(super) type NodeId = usize;

/// Names a connection.
pub(super) type LinkId = u64;

/// What is said over a connection.
#[derive(Debug, Clone)]
pub(super) enum Message {
    GetAddr,
    Addresses {
        list: Vec<Gossip>,
        solicited: bool,
    },
    /// The end of the best chain of who says it.
    Tip(BlockId),
    /// It is over.
    Close,
}

/// What a node wants to be done.
#[derive(Debug)]
pub(super) enum Deed {
    Say(LinkId, Message),
    Do(Action),
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    /// What we dialled it for; `None` if it dialled us.
    pub(super) purpose: Option<Purpose>,
    since: Instant,
    bucket: AddressBucket,
    last_block: Option<Instant>,
    told: bool,
    exchanges: bool,
    _slot: Option<Slot>,
}

/// The chain spec's numbers.
const LIMITS: Limits = Limits {
    inbound: 114,
    per_ip: 3,
    per_subnet: 10,
};

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) addr: SocketAddr,
    pub(super) up: bool,
    /// How often it was started: what was meant for an earlier life is not heard in this one.
    pub(super) life: u64,
    pub(super) connections: Connections,
    pub(super) peers: BTreeMap<LinkId, Peer>,
    pub(super) tip: BlockId,
    pub(super) rng: StdRng,
    admission: Admission,
    /// Who had to go, since others wanted their places.
    pub(super) evicted: Vec<SocketAddr>,
}

/// The numbers of a node as it comes.
pub(super) fn settings() -> Settings {
    let node = NetworkConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Settings {
        full: node.outbound_target,
        block_only: node.block_only_target,
        feeler_every: node.feeler_every,
        look_around_every: node.look_around_every,
        // Three blocks of ten minutes.
        stale_after: Duration::from_secs(1_800),
        bootstrap_after: node.bootstrap_after,
        bootstrap_nodes: Vec::new(),
        asks_dns: true,
    }
}

/// The address of the node with this number: two in each /16, from 11.0.0.0 on.
pub(super) fn address(number: u32) -> SocketAddr {
    let ip = 0x0b00_0101 + ((number / 2) << 16) + ((number % 2) << 8);
    SocketAddr::from((Ipv4Addr::from(ip), 8_333))
}

impl Node {
    pub(super) fn new(addr: SocketAddr, mut rng: StdRng, now: Instant) -> Self {
        let book = AddressBook::with_key(false, [rng.random(), rng.random()]);
        Self {
            addr,
            up: false,
            life: 0,
            connections: connections(addr, book, now),
            peers: BTreeMap::new(),
            tip: GENESIS,
            rng,
            admission: Admission::new(LIMITS),
            evicted: Vec::new(),
        }
    }

    /// It starts with what it knew when it ended.
    pub(super) fn start(&mut self, now: Instant) -> Vec<Deed> {
        self.up = true;
        self.life += 1;
        let placeholder = connections(self.addr, AddressBook::with_key(false, [0, 0]), now);
        let before = std::mem::replace(&mut self.connections, placeholder);
        self.connections = connections(self.addr, before.into_book(), now);
        self.admission = Admission::new(LIMITS);
        let actions = self.connections.first_dials(NOBODY);
        actions.into_iter().map(Deed::Do).collect()
    }

    pub(super) fn stop(&mut self) {
        self.connections.keep_anchors();
        self.up = false;
        self.peers.clear();
    }

    pub(super) fn poll(&mut self, now: Moment) -> Vec<Deed> {
        let actions = self.connections.poll(now, NOBODY, &mut self.rng);
        actions.into_iter().map(Deed::Do).collect()
    }

    pub(super) fn outbound(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.purpose.is_some())
    }

    pub(super) fn inbound(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.purpose.is_none())
    }

    /// The connection that it opened to `addr`.
    pub(super) fn link_to(&self, addr: SocketAddr) -> Option<LinkId> {
        let mut peers = self.peers.iter();
        let found = peers.find(|(_, peer)| peer.addr == addr && peer.purpose.is_some());
        found.map(|(link, _)| *link)
    }

    /// Somebody dials. `None` if he is not let in; else the place that he gets.
    pub(super) fn admits(&mut self, from: SocketAddr, now: Instant) -> Option<Slot> {
        let mut slot = self.admission.admit(from.ip(), now).ok()?;
        slot.handshake_done().ok()?;
        Some(slot)
    }

    /// Whether there is a place, and who has to go for it.
    pub(super) fn makes_place(&mut self, now: Instant) -> Result<Option<LinkId>, ()> {
        let candidates: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.purpose.is_none())
            .map(|(link, peer)| candidate(*link, peer))
            .collect();
        if candidates.len() < LIMITS.inbound {
            return Ok(None);
        }
        let goes = eviction::choose(candidates, now).ok_or(())?;
        let peer = self.peers.get(&goes);
        self.evicted.extend(peer.map(|peer| peer.addr));
        Ok(Some(goes))
    }

    /// A connection stands.
    pub(super) fn joined(
        &mut self,
        link: LinkId,
        addr: SocketAddr,
        purpose: Option<Purpose>,
        slot: Option<Slot>,
        now: Moment,
    ) -> Vec<Deed> {
        let mut peer = Peer {
            addr,
            purpose,
            since: now.at,
            bucket: AddressBucket::new(now.at),
            last_block: None,
            told: false,
            exchanges: purpose == Some(Purpose::Full),
            _slot: slot,
        };
        let mut deeds = vec![Deed::Say(link, Message::Tip(self.tip))];
        if purpose == Some(Purpose::Full) {
            peer.bucket.asked();
            deeds.push(Deed::Say(link, Message::GetAddr));
            deeds.push(self.tells_own(link, now.unix));
        }
        self.peers.insert(link, peer);
        deeds
    }

    fn tells_own(&self, link: LinkId, now: u64) -> Deed {
        let list = vec![gossip(self.addr, now)];
        let solicited = false;
        Deed::Say(link, Message::Addresses { list, solicited })
    }

    /// Something was said.
    pub(super) fn heard(
        &mut self,
        link: LinkId,
        message: Message,
        now: Moment,
        chain: &Chain,
    ) -> Vec<Deed> {
        match message {
            Message::GetAddr => self.heard_get_addr(link, now),
            Message::Addresses { list, solicited } => {
                self.heard_addresses(link, &list, solicited, now)
            }
            Message::Tip(tip) => self.heard_tip(link, tip, now.at, chain),
            Message::Close => {
                self.gone(link, now);
                self.poll(now)
            }
        }
    }

    /// A connection is over.
    pub(super) fn gone(&mut self, link: LinkId, now: Moment) {
        if let Some(peer) = self.peers.remove(&link)
            && peer.purpose.is_some()
        {
            self.connections.gone(peer.addr, now, &mut self.rng);
        }
    }

    fn heard_get_addr(&mut self, link: LinkId, now: Moment) -> Vec<Deed> {
        let Some(peer) = self.peers.get_mut(&link) else {
            return Vec::new();
        };
        peer.exchanges |= peer.purpose.is_none();
        if peer.purpose.is_some() || std::mem::replace(&mut peer.told, true) {
            return Vec::new();
        }
        let book = self.connections.book_mut();
        let list = book.answer(peer.addr, now.unix, &mut self.rng);
        let answer = Message::Addresses {
            list,
            solicited: true,
        };
        vec![Deed::Say(link, answer), self.tells_own(link, now.unix)]
    }

    fn heard_addresses(
        &mut self,
        link: LinkId,
        list: &[Gossip],
        solicited: bool,
        now: Moment,
    ) -> Vec<Deed> {
        let Some(peer) = self.peers.get_mut(&link) else {
            return Vec::new();
        };
        peer.exchanges |= peer.purpose.is_none();
        if !peer.exchanges {
            return Vec::new();
        }
        let taken = peer.bucket.take(list.len(), now.at);
        let source = Netgroup::of(peer.addr.ip()).to_string();
        let connections = &mut self.connections;
        let mut fresh = Vec::new();
        for gossip in list.iter().take(taken) {
            if connections.heard(*gossip, &source) {
                fresh.push(*gossip);
            }
        }
        if solicited || fresh.is_empty() || list.len() > MAX_RELAYED {
            return Vec::new();
        }
        let others = self.peers.iter();
        let others = others.filter(|(id, peer)| **id != link && peer.exchanges);
        let targets = others.choose_multiple(&mut self.rng, RELAY_FANOUT);
        let say = |(id, _): (&LinkId, _)| {
            let (list, solicited) = (fresh.clone(), false);
            Deed::Say(*id, Message::Addresses { list, solicited })
        };
        targets.into_iter().map(say).collect()
    }

    fn heard_tip(&mut self, link: LinkId, tip: BlockId, now: Instant, chain: &Chain) -> Vec<Deed> {
        self.connections.set_synced(true);
        if chain.height(tip) <= chain.height(self.tip) {
            return Vec::new();
        }
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.last_block = Some(now);
            if peer.purpose.is_some() {
                self.connections.gave_block(peer.addr, now);
            }
        }
        self.found(tip, now, Some(link))
    }

    /// It has a better chain than before, and tells all but the one it has it from.
    pub(super) fn found(&mut self, tip: BlockId, now: Instant, from: Option<LinkId>) -> Vec<Deed> {
        self.tip = tip;
        self.connections.tip_moved(now);
        let others = self.peers.keys().filter(|link| Some(**link) != from);
        others
            .map(|link| Deed::Say(*link, Message::Tip(tip)))
            .collect()
    }
}

fn connections(addr: SocketAddr, book: AddressBook, now: Instant) -> Connections {
    let mut connections = Connections::new(settings(), book, now);
    connections.add_own(addr);
    connections
}

pub(super) fn gossip(addr: SocketAddr, now: u64) -> Gossip {
    Gossip {
        addr,
        services: 9,
        time: now as u32,
    }
}

/// In these stories nobody is banned, and blocks come at once.
const NOBODY: View<'static> = View {
    banned: &|_| false,
    busy: &|_| false,
};

fn candidate(link: LinkId, peer: &Peer) -> Candidate<LinkId> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    Netgroup::of(peer.addr.ip()).hash(&mut hasher);
    Candidate {
        id: link,
        netgroup: hasher.finish(),
        since: peer.since,
        ping: None,
        last_transaction: None,
        last_block: peer.last_block,
        penalised: false,
    }
}
