use std::net::Ipv4Addr;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const NOW: u64 = 1_800_000_000;

/// A node with an address book, a clock and a network that answers as the test says.
struct Node {
    connections: Connections,
    start: Instant,
    seconds: f64,
    rng: StdRng,
    /// Whose dials come to something.
    alive: fn(SocketAddr) -> bool,
    /// Whose dials come to no end.
    hangs: fn(SocketAddr) -> bool,
    busy: Vec<SocketAddr>,
    banned: Vec<SocketAddr>,
    asked_dns: Vec<f64>,
    dialled: Vec<(f64, SocketAddr, Purpose)>,
    hung_up: Vec<SocketAddr>,
}

/// One in each /16.
fn addr(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0b00_0001 + (n << 16)), 8_333))
}

fn gossip(addr: SocketAddr) -> Gossip {
    Gossip {
        addr,
        services: 9,
        time: NOW as u32,
    }
}

fn settings() -> Settings {
    Settings {
        full: 8,
        block_only: 2,
        feeler_every: Duration::from_secs(120),
        look_around_every: Duration::from_secs(300),
        stale_after: Duration::from_secs(1_800),
        bootstrap_after: Duration::from_secs(30),
        bootstrap_nodes: vec![addr(500)],
        asks_dns: true,
    }
}

fn all(_: SocketAddr) -> bool {
    true
}

impl Node {
    fn new(settings: Settings, known: u32, alive: fn(SocketAddr) -> bool) -> Self {
        let start = Instant::now();
        let mut book = AddressBook::with_key(false, [1, 2]);
        for n in 0..known {
            book.add(gossip(addr(n)), &n.to_string());
        }
        Self {
            connections: Connections::new(settings, book, start),
            start,
            seconds: 0.0,
            rng: StdRng::seed_from_u64(7),
            alive,
            hangs: |_| false,
            busy: Vec::new(),
            banned: Vec::new(),
            asked_dns: Vec::new(),
            dialled: Vec::new(),
            hung_up: Vec::new(),
        }
    }

    fn now(&self) -> Moment {
        Moment {
            at: self.start + Duration::from_secs_f64(self.seconds),
            unix: NOW + self.seconds as u64,
        }
    }

    fn start(&mut self) {
        let banned = self.banned.clone();
        let view = View {
            banned: &|addr| banned.contains(&addr),
            busy: &|_| false,
        };
        let actions = self.connections.first_dials(view);
        self.act(actions);
    }

    /// Lets time pass, a quarter of a second at a time; every dial is over at the next.
    fn run(&mut self, seconds: f64) {
        let end = self.seconds + seconds;
        while self.seconds < end {
            self.seconds += 0.25;
            let (banned, busy) = (self.banned.clone(), self.busy.clone());
            let view = View {
                banned: &|addr| banned.contains(&addr),
                busy: &|addr| busy.contains(&addr),
            };
            let now = self.now();
            let actions = self.connections.poll(now, view, &mut self.rng);
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        let now = self.now();
        for action in actions {
            match action {
                Action::AskDns => self.asked_dns.push(self.seconds),
                Action::HangUp(addr, _) => {
                    self.hung_up.push(addr);
                    self.connections.gone(addr, now, &mut self.rng);
                }
                Action::Dial(addr, purpose) => {
                    self.dialled.push((self.seconds, addr, purpose));
                    if (self.hangs)(addr) {
                        continue;
                    }
                    if (self.alive)(addr) {
                        self.connections.book_mut().met(addr, 9, now.unix);
                        let _ = self.connections.established(addr, now.at);
                    } else {
                        let failure = Failure::Unreachable;
                        self.connections
                            .failed(addr, failure, now.unix, &mut self.rng);
                    }
                }
            }
        }
    }

    fn standing(&self, purpose: Purpose) -> Vec<SocketAddr> {
        let outbound = self.connections.outbound.iter();
        let outbound = outbound.filter(|(_, o)| o.purpose == purpose);
        outbound.map(|(addr, _)| *addr).collect()
    }

    fn youngest(&self, purpose: Purpose) -> SocketAddr {
        let outbound = self.connections.outbound.iter();
        let outbound = outbound.filter(|(_, o)| o.purpose == purpose);
        *outbound.max_by_key(|(_, o)| o.since).unwrap().0
    }

    fn counts(&self) -> (usize, usize) {
        let count = |purpose| self.standing(purpose).len();
        (count(Purpose::Full), count(Purpose::BlockOnly))
    }

    fn feelers(&self) -> usize {
        let dialled = self.dialled.iter();
        dialled.filter(|(_, _, p)| *p == Purpose::Feeler).count()
    }
}

#[test]
fn eight_full_and_two_block_only_connections_of_ten_netgroups_come_about_and_then_feelers() {
    let mut node = Node::new(settings(), 100, all);
    node.run(1.0);
    assert_eq!(node.counts(), (8, 2));
    assert_eq!(node.connections.outbound(), 10);
    assert!(node.asked_dns.is_empty() && node.feelers() == 0);
    node.run(1_200.0);
    assert_eq!(node.counts(), (8, 2));
    assert_eq!(node.feelers(), 10);
    assert!(node.asked_dns.is_empty());
}

#[test]
fn a_netgroup_has_one_outbound_peer_whatever_it_is_for() {
    let mut node = Node::new(settings(), 3, all);
    // Many more in the same three netgroups.
    for n in 0..300_u32 {
        let ip = Ipv4Addr::from(0x0b00_0100 + ((n % 3) << 16) + n);
        node.connections
            .heard(gossip(SocketAddr::from((ip, 8_333))), &n.to_string());
    }
    node.run(5.0);
    assert_eq!(node.connections.outbound(), 3);
}

#[test]
fn the_block_only_peers_are_the_anchors_of_the_next_session() {
    let mut node = Node::new(settings(), 100, all);
    node.run(1.0);
    let hidden = node.standing(Purpose::BlockOnly);
    node.connections.keep_anchors();
    let mut anchors = node.connections.book().anchors().to_vec();
    anchors.sort_unstable();
    assert_eq!(anchors, hidden);

    let mut next = Node::new(settings(), 100, all);
    next.connections.book_mut().set_anchors(anchors);
    next.start();
    assert_eq!(next.counts(), (0, 2));
    assert_eq!(next.standing(Purpose::BlockOnly), hidden);
}

#[test]
fn an_address_that_is_banned_or_ours_is_not_dialled() {
    let mut node = Node::new(settings(), 5, all);
    node.banned = vec![addr(0)];
    node.connections.add_own(addr(1));
    node.connections
        .book_mut()
        .set_anchors(vec![addr(0), addr(1)]);
    node.start();
    node.run(200.0);
    assert!(
        node.dialled
            .iter()
            .all(|(_, a, _)| ![addr(0), addr(1)].contains(a))
    );
    assert_eq!(node.connections.outbound(), 3);
}

#[test]
fn dns_is_asked_at_once_by_an_empty_book_and_else_when_few_stand() {
    let mut empty = Node::new(settings(), 0, |_| false);
    empty.run(0.5);
    assert_eq!(empty.asked_dns, [0.25]);
    let mut few = Node::new(settings(), 3, all);
    few.run(30.0);
    assert_eq!(few.asked_dns, [11.0]);
    few.connections.dns_answered(true);
    few.run(60.0);
    assert_eq!(few.asked_dns, [11.0, 71.0]);
    let mut enough = Node::new(settings(), 4, all);
    enough.run(600.0);
    assert!(enough.asked_dns.is_empty());
}

#[test]
fn bootstrap_nodes_are_dialled_when_dns_is_dead_or_of_no_use() {
    let dialled = |node: &Node| {
        let mut dialled = node.dialled.iter();
        dialled
            .find(|(_, a, _)| *a == addr(500))
            .map(|(at, ..)| *at)
    };
    let mut dead = Node::new(settings(), 0, |a| a == addr(500));
    dead.run(1.0);
    assert_eq!(dialled(&dead), None);
    dead.connections.dns_answered(false);
    dead.run(1.0);
    assert_eq!(dialled(&dead), Some(1.25));
    assert_eq!(dead.counts().0, 1);
    // A book of ten thousand that lead nowhere, and a DNS that hangs.
    let mut poisoned = Node::new(settings(), 10_000, |a| a == addr(500));
    poisoned.run(40.0);
    assert_eq!(dialled(&poisoned), Some(30.0));
    assert_eq!(poisoned.counts().0, 1);
    let without = Settings {
        asks_dns: false,
        ..settings()
    };
    let mut without = Node::new(without, 0, all);
    without.run(1.0);
    assert_eq!(dialled(&without), Some(0.25));
}

#[test]
fn what_dns_told_is_dialled_although_the_book_is_full_of_what_leads_nowhere() {
    fn good(a: SocketAddr) -> bool {
        a.port() == 1
    }
    let mut node = Node::new(settings(), 10_000, good);
    node.run(12.0);
    assert_eq!(node.asked_dns, [11.0]);
    for n in 0..20 {
        let good = SocketAddr::from((Ipv4Addr::from(0x5000_0001 + (n << 16)), 1));
        node.connections
            .heard_from_dns(gossip(good), "seed", &mut node.rng);
    }
    node.connections.dns_answered(true);
    node.run(1.0);
    assert!(node.counts().0 >= 4, "{:?}", node.counts());
}

#[test]
fn without_a_new_block_one_more_peer_is_asked_and_one_goes() {
    let mut node = Node::new(settings(), 200, all);
    node.run(1_799.0);
    assert_eq!(node.counts(), (8, 2));
    node.run(1.5);
    assert_eq!(node.counts(), (9, 2));
    let newcomer = node.youngest(Purpose::Full);
    node.run(29.0);
    assert_eq!(node.counts(), (9, 2));
    node.run(2.0);
    // It had nothing to give.
    assert_eq!(node.counts(), (8, 2));
    assert_eq!(node.hung_up, [newcomer]);
    // The next look, ten minutes later, finds no block either; this time the newcomer gives one.
    node.run(569.0);
    assert_eq!(node.counts(), (9, 2));
    let newcomer = node.youngest(Purpose::Full);
    let now = node.now().at;
    node.connections.gave_block(newcomer, now);
    node.connections.tip_moved(now);
    node.run(60.0);
    assert_eq!(node.counts(), (8, 2));
    assert!(node.standing(Purpose::Full).contains(&newcomer));
    // Nothing is held against who went.
    assert!(node.connections.book().knows(node.hung_up[1]));
    node.run(600.0);
    assert_eq!(node.counts(), (8, 2), "a block came: nothing is stale");
}

#[test]
fn a_peer_that_is_about_to_give_a_block_is_not_judged() {
    let mut node = Node::new(settings(), 200, all);
    node.run(1_801.0);
    node.busy = vec![node.youngest(Purpose::Full)];
    node.run(60.0);
    assert_eq!(node.counts(), (9, 2));
    node.busy.clear();
    node.run(1.0);
    assert_eq!(node.counts(), (8, 2));
}

#[test]
fn a_synchronised_node_looks_around_for_a_better_chain_and_keeps_who_shows_one() {
    let mut node = Node::new(settings(), 200, all);
    node.connections.tip_moved(node.start);
    node.run(10.0);
    let first = node.standing(Purpose::BlockOnly);
    // Not before it has what its peers have.
    node.run(1_700.0);
    assert!(node.hung_up.is_empty());
    node.connections.set_synced(true);
    let mut looks = Vec::new();
    while looks.len() < 30 {
        node.run(0.25);
        let now = node.now().at;
        node.connections.tip_moved(now);
        let (full, block_only) = node.counts();
        assert!(full == 8 && block_only <= 3);
        if node.hung_up.len() > looks.len() {
            looks.push(node.seconds);
        }
    }
    let mean = (looks[29] - looks[0]) / 29.0;
    assert!((150.0..600.0).contains(&mean), "{mean}");
    assert_eq!(node.standing(Purpose::BlockOnly), first);
    // One that gives a new block stays in place of the younger of the two.
    let hung_up = node.hung_up.len();
    while node.counts().1 < 3 {
        node.run(0.25);
        node.connections.tip_moved(node.now().at);
    }
    let newcomer = node.youngest(Purpose::BlockOnly);
    node.connections.gave_block(newcomer, node.now().at);
    node.run(40.0);
    assert_eq!(node.hung_up.len(), hung_up + 1);
    assert!(node.standing(Purpose::BlockOnly).contains(&newcomer));
}

#[test]
fn manual_peers_are_among_the_full_ones_and_stay() {
    let mut node = Node::new(settings(), 200, all);
    node.run(1.0);
    for n in 600..603 {
        node.connections.add_manual(addr(n), node.start);
    }
    node.run(1.0);
    assert_eq!(node.counts(), (11, 2));
    node.run(300.0);
    assert_eq!(node.counts(), (8, 2));
    let standing = node.standing(Purpose::Full);
    assert!((600..603).all(|n| standing.contains(&addr(n))));
}

#[test]
fn with_no_full_connections_wanted_only_manual_peers_are_dialled() {
    let listens = Settings {
        full: 0,
        ..settings()
    };
    let mut node = Node::new(listens, 100, all);
    node.connections.book_mut().set_anchors(vec![addr(1)]);
    node.connections.add_manual(addr(600), node.start);
    node.start();
    node.run(600.0);
    assert_eq!(node.dialled.len(), 1);
    assert_eq!(node.standing(Purpose::Full), [addr(600)]);
}

#[test]
fn a_downgraded_dial_is_repeated_and_our_own_address_forgotten() {
    let mut node = Node::new(settings(), 1, all);
    let (now, view) = (
        node.now(),
        View {
            banned: &|_| false,
            busy: &|_| false,
        },
    );
    let actions = node.connections.poll(now, view, &mut node.rng);
    let Some(Action::Dial(to, purpose)) = actions.first().copied() else {
        panic!("{actions:?}");
    };
    let again = node
        .connections
        .failed(to, Failure::Downgraded, NOW, &mut node.rng);
    assert_eq!(again, Some(Action::Dial(to, purpose)));
    let again = node
        .connections
        .failed(to, Failure::Ourselves, NOW, &mut node.rng);
    assert_eq!(again, None);
    assert!(node.connections.is_own(to) && !node.connections.book().knows(to));
}

#[test]
fn in_a_network_of_two_a_node_comes_back_to_a_full_peer() {
    // Both were kept for blocks alone, and nobody else is there.
    let alone = Settings {
        bootstrap_nodes: Vec::new(),
        ..settings()
    };
    let mut node = Node::new(alone, 2, all);
    let anchors = vec![addr(0), addr(1)];
    node.connections.book_mut().set_anchors(anchors);
    node.start();
    assert_eq!(node.counts(), (0, 2));
    node.run(40.0);
    assert_eq!(node.counts(), (1, 1));
    node.run(600.0);
    assert_eq!(node.counts(), (1, 1), "and that is that");
}

#[test]
fn full_peers_are_no_anchors_and_do_not_push_out_those_that_are() {
    let mut node = Node::new(settings(), 2, all);
    node.connections.book_mut().set_anchors(vec![addr(400)]);
    node.run(1.0);
    assert_eq!(node.counts(), (2, 0));
    node.connections.keep_anchors();
    assert_eq!(node.connections.book().anchors(), [addr(400)]);
}

#[test]
fn two_hidden_peers_do_not_keep_a_node_from_dns_and_bootstrap_nodes() {
    fn hidden(a: SocketAddr) -> bool {
        [addr(700), addr(701), addr(500)].contains(&a)
    }
    let mut node = Node::new(settings(), 300, hidden);
    let anchors = vec![addr(700), addr(701)];
    node.connections.book_mut().set_anchors(anchors);
    node.start();
    node.run(29.0);
    assert_eq!((node.counts(), &node.asked_dns[..]), ((0, 2), &[11.0][..]));
    node.run(2.0);
    assert_eq!(node.standing(Purpose::Full), [addr(500)]);
}

#[test]
fn a_manual_peer_is_full_whatever_it_was() {
    let mut node = Node::new(settings(), 100, all);
    node.connections.book_mut().set_anchors(vec![addr(600)]);
    node.connections.add_manual(addr(600), node.start);
    node.start();
    node.run(1.0);
    assert!(node.standing(Purpose::Full).contains(&addr(600)));
    let hidden = node.standing(Purpose::BlockOnly)[0];
    node.connections.add_manual(hidden, node.start);
    node.run(3.0);
    assert!(node.standing(Purpose::Full).contains(&hidden));
    assert_eq!(node.counts().1, 2);
}

#[test]
fn with_nobody_to_look_at_feelers_and_looks_go_on() {
    // Eight full ones of eight netgroups, and nobody else at first.
    let mut node = Node::new(settings(), 8, all);
    node.connections.set_synced(true);
    node.run(7_200.0);
    assert_eq!(node.counts(), (8, 0));
    node.connections.heard(gossip(addr(90)), "somebody");
    node.run(1.0);
    assert_eq!(node.counts(), (8, 1));
    for n in 91..100 {
        node.connections.heard(gossip(addr(n)), &n.to_string());
    }
    node.run(600.0);
    assert!(node.feelers() > 0);
    let without = Settings {
        block_only: 0,
        ..settings()
    };
    let mut without = Node::new(without, 100, all);
    without.connections.set_synced(true);
    without.run(7_200.0);
    assert_eq!(without.counts().1, 0);
    assert!(without.feelers() > 40, "{}", without.feelers());
}

#[test]
fn hosts_that_say_nothing_do_not_hold_up_a_newcomer() {
    // Dials that no test ends: they hang.
    let mut node = Node::new(settings(), 400, all);
    node.hangs = |a| a.port() != 1;
    let dials = |node: &Node| node.dialled.len();
    node.run(0.5);
    let first = dials(&node);
    node.run(0.5);
    assert_eq!(dials(&node), first);
    node.run(1.0);
    assert!(dials(&node) > first, "others are tried after a second");
    node.run(60.0);
    assert!(node.connections.dialing.len() <= MOST);
    // Somebody good is among what DNS tells then, and is found although all others hang.
    for hung in node
        .connections
        .dialing
        .keys()
        .copied()
        .take(16)
        .collect::<Vec<_>>()
    {
        node.connections.given_up(hung);
    }
    let good = SocketAddr::from(([80, 0, 0, 1], 1));
    node.connections
        .heard_from_dns(gossip(good), "seed", &mut node.rng);
    node.run(1.0);
    assert_eq!(node.standing(Purpose::Full), [good]);
}

/// Full and block-only dials, with those that the last poll added to what was there.
const MOST: usize = 48 + 16 + 4;
