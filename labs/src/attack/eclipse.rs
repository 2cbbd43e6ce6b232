//! `attack eclipse`: somebody wants all outbound connections of one node. A simulation around the node's own address
//! book, with everything else in favour of the attacker.
//!
//! The victim has lived in a network of 2,000 honest nodes in 1,000 netgroups, of which three in five answer at a time.
//! The attacker has 10,000 addresses in 32 netgroups, which all answer at once, and lets several of his netgroups tell the
//! victim of each of them in every session. The victim is restarted ten times; each session it dials its anchors, fills ten
//! outbound places with one peer of a netgroup each, asks them for addresses, and sends a hundred feelers. It is eclipsed
//! when in any session all ten are the attacker's.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use quantumcoin::network::address_book::{AddressBook, Draw};
use quantumcoin::network::protocol::addresses::Gossip;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::bench::report::{Figure, Goal, Report};

const HONEST: u32 = 2_000;
const HONEST_GROUPS: u32 = 1_000;
const ATTACKERS: u32 = 10_000;
const ATTACKER_GROUPS: u32 = 32;

/// Sources that tell of each of the attacker's addresses in a session.
const TELLERS: u32 = 4;

const SESSIONS: u64 = 10;
const OUTBOUND: usize = 10;
const FEELERS: u64 = 100;

/// Share of honest nodes that answer at a time.
const ANSWERS: f64 = 0.6;

/// Addresses of one answer to `getaddr`.
const ANSWER: usize = 1_000;

/// Seconds of a session: a day.
const SESSION: u64 = 86_400;

/// When the story begins, in Unix seconds.
const START: u64 = 1_800_000_000;

/// Runs of a full and of a quick simulation.
const RUNS: u64 = 1_000;
const QUICK_RUNS: u64 = 100;

/// How one run ended.
struct Outcome {
    eclipsed: bool,
    /// The attacker's share of the outbound peers over all sessions.
    share: f64,
    /// His share of all addresses in the book at the end.
    of_book: f64,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Report> {
    let runs = if quick { QUICK_RUNS } else { RUNS };
    eprintln!("{runs} runs, twice");
    let outcomes = |draw| -> Vec<Outcome> {
        let seeds = (0..runs).into_par_iter();
        seeds.map(|seed| Victim::new(seed, draw).live()).collect()
    };
    let ours = outcomes(Draw::ByNetgroup);
    let others = outcomes(Draw::ByBucket);
    for (seed, _) in (0..).zip(&ours).filter(|(_, outcome)| outcome.eclipsed) {
        eprintln!("eclipsed with seed {seed}");
    }
    let eclipsed = |outcomes: &[Outcome]| {
        let eclipsed = outcomes.iter().filter(|outcome| outcome.eclipsed);
        eclipsed.count() as u64
    };
    let mean = |outcomes: &[Outcome], of: fn(&Outcome) -> f64| {
        vec![outcomes.iter().map(of).sum::<f64>() / outcomes.len().max(1) as f64]
    };
    let share = |outcome: &Outcome| outcome.share;
    let figures = vec![
        Figure::count("runs", "runs of ten sessions", runs),
        Figure::count(
            "eclipsed",
            "runs in which he had all peers",
            eclipsed(&ours),
        )
        .with_goal(Goal::AtMost(0.0)),
        Figure::measured(
            "attacker_share",
            "his share of the outbound peers",
            3,
            mean(&ours, share),
        ),
        Figure::measured(
            "attacker_share_of_book",
            "his share of the addresses in the book",
            3,
            mean(&ours, |outcome| outcome.of_book),
        ),
        Figure::count(
            "eclipsed_by_bucket",
            "drawn by bucket, as in Bitcoin Core: runs in which he had all peers",
            eclipsed(&others),
        ),
        Figure::measured(
            "attacker_share_by_bucket",
            "his share of the outbound peers then",
            3,
            mean(&others, share),
        ),
        Figure::measured(
            "attacker_share_flat",
            "drawn from all addresses alike, his share would be",
            3,
            vec![f64::from(ATTACKERS) / f64::from(ATTACKERS + HONEST)],
        ),
    ];
    Ok(Report::new("attack eclipse", quick, 1, figures))
}

/// The honest node with this number.
fn honest(number: u32) -> SocketAddr {
    let (group, host) = (number % HONEST_GROUPS, number / HONEST_GROUPS);
    // From 11.0.0.0 on, a /16 each.
    address(0x0b00_0000 + (group << 16) + 0x0100 + host)
}

/// The attacker's address with this number, from 150.0.0.0 on.
fn attacker(number: u32) -> SocketAddr {
    let (group, host) = (number % ATTACKER_GROUPS, number / ATTACKER_GROUPS);
    address(0x9600_0000 + (group << 16) + 0x0100 + host)
}

fn address(ip: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(ip), 8_333))
}

fn is_attacker(addr: &SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(addr) => (150..152).contains(&addr.ip().octets()[0]),
        SocketAddr::V6(_) => false,
    }
}

/// The netgroup of somebody who tells, as the node names it.
fn source(addr: SocketAddr) -> String {
    quantumcoin::reachability::netgroup::Netgroup::of(addr.ip()).to_string()
}

struct Victim {
    book: AddressBook,
    rng: StdRng,
    now: u64,
}

impl Victim {
    /// After a quiet life: it has heard of everybody honest and has met one in twenty.
    fn new(seed: u64, draw: Draw) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let book = AddressBook::with_key(false, [rng.random(), rng.random()]).drawing(draw);
        let mut victim = Self {
            book,
            rng,
            now: START,
        };
        for number in 0..HONEST {
            let teller = honest(victim.rng.random_range(0..HONEST));
            victim.tell(honest(number), teller);
            if number % 20 == 0 {
                victim.book.met(honest(number), 9, victim.now);
            }
        }
        victim
    }

    fn live(mut self) -> Outcome {
        let mut shares = Vec::new();
        for _ in 0..SESSIONS {
            let peers = self.connect();
            let his = peers.iter().filter(|addr| is_attacker(addr)).count();
            shares.push(his as f64 / OUTBOUND as f64);
            self.exchange(&peers);
            self.be_flooded();
            self.send_feelers(&peers);
            self.now += SESSION;
            self.book.set_anchors(peers.into_iter().take(2).collect());
        }
        let (his, all) = self.known();
        Outcome {
            eclipsed: shares.iter().any(|share| *share >= 1.0),
            share: shares.iter().sum::<f64>() / shares.len() as f64,
            of_book: his as f64 / all.max(1) as f64,
        }
    }

    /// Fills the outbound places, the anchors first.
    fn connect(&mut self) -> Vec<SocketAddr> {
        let mut peers: Vec<SocketAddr> = Vec::new();
        for anchor in self.book.anchors().to_vec() {
            if self.dial(anchor) {
                peers.push(anchor);
            }
        }
        while peers.len() < OUTBOUND {
            let taken: HashSet<_> = peers.iter().copied().collect();
            let chosen = self
                .book
                .choose(1, &taken, |_| false, self.now, &mut self.rng);
            match chosen.first() {
                Some(addr) => {
                    if self.dial(*addr) {
                        peers.push(*addr);
                    }
                }
                // All that is left waits after a failure.
                None => self.now += 60,
            }
        }
        peers
    }

    fn dial(&mut self, addr: SocketAddr) -> bool {
        let answers = is_attacker(&addr) || self.rng.random_bool(ANSWERS);
        if answers {
            self.book.met(addr, 9, self.now);
        } else {
            self.book.failed(addr, self.now, &mut self.rng);
        }
        answers
    }

    /// Asks the peers for addresses: honest ones tell of honest ones, the attacker's of his own.
    fn exchange(&mut self, peers: &[SocketAddr]) {
        for peer in peers {
            let told: Vec<SocketAddr> = if is_attacker(peer) {
                let numbers = (0..ATTACKERS).choose_multiple(&mut self.rng, ANSWER);
                numbers.into_iter().map(attacker).collect()
            } else {
                let numbers = (0..HONEST).choose_multiple(&mut self.rng, ANSWER);
                numbers.into_iter().map(honest).collect()
            };
            for addr in told {
                self.tell(addr, *peer);
            }
        }
    }

    /// Inbound connections of the attacker tell of all that he has.
    fn be_flooded(&mut self) {
        for number in 0..ATTACKERS {
            for _ in 0..TELLERS {
                let teller = attacker(self.rng.random_range(0..ATTACKER_GROUPS));
                self.tell(attacker(number), teller);
            }
        }
    }

    fn send_feelers(&mut self, peers: &[SocketAddr]) {
        for _ in 0..FEELERS {
            self.now += SESSION / 2 / FEELERS;
            let connected = |addr: &SocketAddr| peers.contains(addr);
            if let Some(addr) = self.book.feeler(connected, self.now, &mut self.rng) {
                self.dial(addr);
            }
        }
    }

    fn tell(&mut self, addr: SocketAddr, by: SocketAddr) {
        let gossip = Gossip {
            addr,
            services: 9,
            time: self.now as u32,
        };
        self.book.add(gossip, &source(by));
    }

    /// The attacker's addresses in the book, and all.
    fn known(&self) -> (usize, usize) {
        let his = (0..ATTACKERS).filter(|n| self.book.knows(attacker(*n)));
        (his.count(), self.book.counts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_what_the_story_says() {
        let groups = |of: fn(u32) -> SocketAddr, count| -> HashSet<String> {
            (0..count).map(|n| source(of(n))).collect()
        };
        assert_eq!(groups(honest, HONEST).len(), HONEST_GROUPS as usize);
        assert_eq!(groups(attacker, ATTACKERS).len(), ATTACKER_GROUPS as usize);
        assert!((0..ATTACKERS).all(|n| is_attacker(&attacker(n))));
        assert!(!(0..HONEST).any(|n| is_attacker(&honest(n))));
        let all: HashSet<_> = (0..ATTACKERS).map(attacker).collect();
        assert_eq!(all.len(), ATTACKERS as usize);
    }

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let tell = |seed| {
            let outcome = Victim::new(seed, Draw::ByNetgroup).live();
            (
                outcome.eclipsed,
                outcome.share.to_bits(),
                outcome.of_book.to_bits(),
            )
        };
        assert_eq!(tell(7), tell(7));
        assert_ne!(tell(7), tell(8));
    }
}
