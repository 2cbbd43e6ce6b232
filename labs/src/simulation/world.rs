//! The clock, the events, who is connected to whom, walls.

mod attacker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quantumcoin::network::connections::{Action, Failure, Moment, Purpose};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

pub(super) use self::attacker::Attacker;
use super::chain::Chain;
use super::node::{Deed, LinkId, Message, Node, NodeId, gossip};
use super::queue::Queue;

/// When stories begin, in Unix seconds.
const START: u64 = 1_800_000_000;

/// How often nodes look what it is time for, in milliseconds: rarer than real ones, to nobody's gain.
const TICK: u64 = 1_000;

/// One way, in milliseconds: from a neighbour to the other side of the earth.
const LATENCY: std::ops::Range<u64> = 10..150;

/// After so many milliseconds a dial that nobody answers is given up: the chain spec's time-out.
const DIAL_TIMEOUT: u64 = 5_000;

/// What was said through a wall is said again so many milliseconds after it fell, at the latest: TCP's longest pause
/// between two attempts (Linux, `TCP_RTO_MAX`).
const LONGEST_RETRY: u64 = 120_000;

/// Addresses that a seed gives.
const DNS_ANSWER: usize = 32;

/// Seeds of the network.
const SEEDS: u32 = 4;

/// What happens.
#[derive(Debug)]
enum Event {
    Tick(NodeId, u64),
    /// A dial comes to its end.
    Arrives(NodeId, u64, SocketAddr, Purpose),
    /// Nobody answered.
    NoAnswer(NodeId, u64, SocketAddr),
    /// Something arrives at one end of a connection.
    Said(LinkId, End, Message),
    /// The DNS answers.
    Dns(NodeId, u64),
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Dialler,
    Listener,
}

#[derive(Debug)]
struct Link {
    dialler: NodeId,
    listener: NodeId,
    latency: u64,
    /// What did not get through a wall.
    stalled: Vec<(End, Message)>,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

impl Link {
    /// Who is at this end.
    fn at(&self, end: End) -> NodeId {
        match end {
            End::Dialler => self.dialler,
            End::Listener => self.listener,
        }
    }
}

/// Stands at an end of a connection that no node has.
const ATTACKER: NodeId = usize::MAX;

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    start: Instant,
    /// Milliseconds since then.
    now: u64,
    queue: Queue<Event>,
    next: LinkId,
    pub(super) nodes: Vec<Node>,
    by_addr: BTreeMap<SocketAddr, NodeId>,
    links: BTreeMap<LinkId, Link>,
    /// Nodes of either side of the wall, where there is one.
    wall: Option<usize>,
    pub(super) chain: Chain,
    pub(super) attacker: Attacker,
    pub(super) rng: StdRng,
}

impl World {
    /// Nodes at these addresses, none of them running yet.
    pub(super) fn new(seed: u64, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes: Vec<_> = addresses
            .into_iter()
            .map(|addr| Node::new(addr, StdRng::seed_from_u64(rng.random()), start))
            .collect();
        let by_addr = nodes.iter().enumerate().map(|(id, node)| (node.addr, id));
        Self {
            start,
            now: 0,
            queue: Queue::default(),
            next: 0,
            by_addr: by_addr.collect(),
            nodes,
            links: BTreeMap::new(),
            wall: None,
            chain: Chain::new(),
            attacker: Attacker::default(),
            rng,
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            at: self.start + Duration::from_millis(self.now),
            unix: START + self.now / 1_000,
        }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.now as f64 / 1e3
    }

    /// Lets `seconds` pass.
    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + (seconds * 1e3) as u64;
        while let Some((at, event)) = self.queue.next_until(end) {
            self.now = at;
            self.happens(event);
        }
        self.now = end;
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let now = self.moment();
        let phase = self.rng.random_range(0..TICK);
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let deeds = node.start(now.at);
        let life = node.life;
        self.after(phase, Event::Tick(id, life));
        self.do_all(id, deeds);
    }

    /// It ends, and its system tells all peers.
    pub(super) fn stop(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        let links: Vec<LinkId> = node.peers.keys().copied().collect();
        node.stop();
        for link in links {
            self.say(id, link, Message::Close);
        }
    }

    /// The first `half` nodes hear nothing of the others any more, nor those of them. Connections across hang, or `ends` it
    /// them.
    pub(super) fn build_wall(&mut self, half: usize, ends: bool) {
        self.wall = Some(half);
        if !ends {
            return;
        }
        let across: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| self.is_walled(link.dialler, link.listener))
            .map(|(id, link)| (*id, [link.dialler, link.listener]))
            .collect();
        let now = self.moment();
        for (link, ends) in across {
            self.links.remove(&link);
            for id in ends {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.gone(link, now);
                }
            }
        }
    }

    /// What was said meanwhile arrives when it is said again.
    pub(super) fn tear_wall_down(&mut self) {
        self.wall = None;
        let stalled: Vec<_> = self
            .links
            .iter_mut()
            .flat_map(|(id, link)| {
                let stalled = std::mem::take(&mut link.stalled).into_iter();
                stalled.map(|(end, message)| (*id, end, message))
            })
            .collect();
        let mut retries: BTreeMap<LinkId, u64> = BTreeMap::new();
        for (link, end, message) in stalled {
            let rng = &mut self.rng;
            let retry = retries.entry(link);
            let retry = *retry.or_insert_with(|| rng.random_range(0..LONGEST_RETRY));
            self.after(retry, Event::Said(link, end, message));
        }
    }

    /// A running node of `among`, at random, finds a block.
    pub(super) fn mine(&mut self, among: std::ops::Range<NodeId>) {
        let now = self.moment();
        let running = among.filter(|id| self.nodes.get(*id).is_some_and(|node| node.up));
        let Some(id) = running.choose(&mut self.rng) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(id) {
            let block = self.chain.find(node.tip);
            let deeds = node.found(block, now.at, None);
            self.do_all(id, deeds);
            self.attacker_tells(block);
        }
    }

    /// Heights of the running nodes of `among`.
    pub(super) fn heights(&self, among: std::ops::Range<NodeId>) -> Vec<u32> {
        let nodes = self.nodes.get(among).unwrap_or_default().iter();
        let running = nodes.filter(|node| node.up);
        running.map(|node| self.chain.height(node.tip)).collect()
    }

    /// Whether all running nodes have the same tip.
    pub(super) fn agrees(&self) -> bool {
        let mut tips = self.nodes.iter().filter(|n| n.up).map(|n| n.tip);
        let first = tips.next();
        tips.all(|tip| Some(tip) == first)
    }

    fn after(&mut self, pause: u64, event: Event) {
        self.queue.add(self.now + pause, event);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Tick(id, life) => {
                if self.is_alive(id, life) {
                    self.after(TICK, Event::Tick(id, life));
                    self.poll(id);
                }
            }
            Event::Arrives(id, life, addr, purpose) if self.is_alive(id, life) => {
                self.arrives(id, addr, purpose);
            }
            Event::NoAnswer(id, life, addr) if self.is_alive(id, life) => self.failed(id, addr),
            Event::Dns(id, life) if self.is_alive(id, life) => self.answer_dns(id),
            Event::Said(link, end, message) => self.arrives_at(link, end, message),
            Event::Arrives(..) | Event::NoAnswer(..) | Event::Dns(..) => {}
        }
    }

    fn is_alive(&self, id: NodeId, life: u64) -> bool {
        let node = self.nodes.get(id);
        node.is_some_and(|node| node.up && node.life == life)
    }

    fn poll(&mut self, id: NodeId) {
        let now = self.moment();
        if let Some(node) = self.nodes.get_mut(id) {
            let deeds = node.poll(now);
            self.do_all(id, deeds);
        }
    }

    fn do_all(&mut self, id: NodeId, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Say(link, message) => self.say(id, link, message),
                Deed::Do(action) => self.act(id, action),
            }
        }
    }

    fn act(&mut self, id: NodeId, action: Action) {
        let Some(node) = self.nodes.get(id) else {
            return;
        };
        let life = node.life;
        match action {
            Action::AskDns => {
                let pause = self.rng.random_range(100..1_000);
                self.after(pause, Event::Dns(id, life));
            }
            Action::HangUp(addr, _) => {
                if let Some(link) = node.link_to(addr) {
                    self.hang_up(id, link);
                }
            }
            Action::Dial(addr, purpose) => {
                let reachable = match self.by_addr.get(&addr) {
                    Some(other) => !self.is_walled(id, *other),
                    None => self.attacker.owns(addr),
                };
                if reachable {
                    // TCP and two handshakes: four round trips.
                    let pause = 8 * self.rng.random_range(LATENCY);
                    self.after(pause, Event::Arrives(id, life, addr, purpose));
                } else {
                    self.after(DIAL_TIMEOUT, Event::NoAnswer(id, life, addr));
                }
            }
        }
    }

    fn is_walled(&self, a: NodeId, b: NodeId) -> bool {
        self.wall.is_some_and(|half| (a < half) != (b < half))
    }

    fn failed(&mut self, id: NodeId, addr: SocketAddr) {
        let now = self.moment();
        if let Some(node) = self.nodes.get_mut(id) {
            let failure = Failure::Unreachable;
            node.connections
                .failed(addr, failure, now.unix, &mut node.rng);
        }
        self.poll(id);
    }

    /// A dial has come to its end: it is answered, or refused.
    fn arrives(&mut self, id: NodeId, addr: SocketAddr, purpose: Purpose) {
        let now = self.moment();
        let other = self.by_addr.get(&addr).copied();
        let up = other.is_none_or(|other| self.nodes.get(other).is_some_and(|node| node.up));
        if !up || other.is_some_and(|other| self.is_walled(id, other)) {
            return self.failed(id, addr);
        }
        let Some(our_addr) = self.nodes.get(id).map(|node| node.addr) else {
            return;
        };
        let link = match other {
            Some(other) => self.arrives_inbound(our_addr, other),
            None => Some(self.new_link(id, ATTACKER)),
        };
        let Some(link) = link else {
            return self.failed(id, addr);
        };
        if let Some(entry) = self.links.get_mut(&link) {
            entry.dialler = id;
        }
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        node.connections.book_mut().met(addr, 9, now.unix);
        match node.connections.established(addr, now.at) {
            Ok(_) => {
                let deeds = node.joined(link, addr, Some(purpose), None, now);
                self.do_all(id, deeds);
            }
            // Who answered hears that it is over.
            Err(_) => self.say(id, link, Message::Close),
        }
    }

    fn new_link(&mut self, dialler: NodeId, listener: NodeId) -> LinkId {
        self.next += 1;
        let link = Link {
            dialler,
            listener,
            latency: self.rng.random_range(LATENCY),
            stalled: Vec::new(),
        };
        self.links.insert(self.next, link);
        self.next
    }

    /// Somebody has dialled a node: whether it takes him.
    fn arrives_inbound(&mut self, from: SocketAddr, id: NodeId) -> Option<LinkId> {
        let now = self.moment();
        let node = self.nodes.get_mut(id)?;
        let slot = node.admits(from, now.at)?;
        if let Some(goes) = node.makes_place(now.at).ok()? {
            self.hang_up(id, goes);
        }
        let link = self.new_link(ATTACKER, id);
        let node = self.nodes.get_mut(id)?;
        let deeds = node.joined(link, from, None, Some(slot), now);
        self.do_all(id, deeds);
        Some(link)
    }

    fn hang_up(&mut self, id: NodeId, link: LinkId) {
        let now = self.moment();
        if let Some(node) = self.nodes.get_mut(id) {
            node.gone(link, now);
        }
        self.say(id, link, Message::Close);
    }

    /// From a node to the other end of a connection of it.
    fn say(&mut self, id: NodeId, link: LinkId, message: Message) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let end = if entry.dialler == id {
            End::Listener
        } else {
            End::Dialler
        };
        let to = entry.at(end);
        if self.wall.is_some_and(|half| (id < half) != (to < half)) && to != ATTACKER {
            entry.stalled.push((end, message));
            return;
        }
        let latency = entry.latency;
        self.after(latency, Event::Said(link, end, message));
    }

    fn arrives_at(&mut self, link: LinkId, end: End, message: Message) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let to = entry.at(end);
        if to != ATTACKER {
            return self.deliver(to, link, message);
        }
        self.attacker_hears(link, end, &message);
    }

    fn deliver(&mut self, id: NodeId, link: LinkId, message: Message) {
        let now = self.moment();
        if matches!(message, Message::Close) {
            self.links.remove(&link);
        }
        if let Some(node) = self.nodes.get_mut(id)
            && node.peers.contains_key(&link)
        {
            let deeds = node.heard(link, message, now, &self.chain);
            self.do_all(id, deeds);
        }
    }

    /// Each seed gives some of the nodes that run, as its crawler has seen them.
    fn answer_dns(&mut self, id: NodeId) {
        let now = self.moment();
        let running: Vec<_> = self.nodes.iter().filter(|n| n.up).map(|n| n.addr).collect();
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        for seed in 0..SEEDS {
            let seed = format!("seed{seed}");
            let told = running.iter().choose_multiple(&mut self.rng, DNS_ANSWER);
            for addr in told {
                node.connections
                    .heard_from_dns(gossip(*addr, now.unix), &seed, &mut node.rng);
            }
        }
        node.connections.dns_answered(!running.is_empty());
        self.poll(id);
    }
}
