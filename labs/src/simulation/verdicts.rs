//! The same visits judged by two rules: sipa's (`CAddrInfo::IsGood` in `bitcoin-seeder`'s `db.h`), and ours. What does each
//! serve, and how much of that is not there?
//!
//! Peers of four characters come and go for thirty days and are visited as the schedule says. Every ten minutes both rules are
//! asked for their good set, and the truth is who is up at that moment. Port, services, height and version, which sipa's rule
//! asks for as well, are as they should be.

use std::collections::BTreeMap;

use anyhow::ensure;
use quantumcoin::reachability::schedule::{self, History, Jitter, Next, SchedulePolicy};
use quantumcoin::reachability::verdict::is_good;
use quantumcoin::reachability::{GoodPolicy, Outcome, PeerFacts, Reliability};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bench::report::{Figure, Goal, Report};

const PEERS: u32 = 2_000;
const QUICK_PEERS: u32 = 200;
const DAYS: i64 = 30;
const LOOK_EVERY: i64 = 600;
const START: i64 = 1_800_000_000;

/// How a peer lives: mean seconds up and down, and when it goes for ever.
struct Peer {
    up: f64,
    down: f64,
    dies_at: i64,
    is_up: bool,
    turns_at: i64,
    due: i64,
    is_forgotten: bool,
    failures: u32,
    last_at: Option<i64>,
    facts: PeerFacts,
}

/// What one run found; shares of all looks.
#[derive(Debug, Default)]
pub(super) struct Told {
    served: u64,
    served_down: u64,
    served_by_sipa: u64,
    served_down_by_sipa: u64,
    up: u64,
    only_sipa: BTreeMap<&'static str, u64>,
    only_sipa_down: u64,
    only_ours: u64,
}

pub(super) fn tell(seed: u64, quick: bool) -> anyhow::Result<Told> {
    let mut rng = StdRng::seed_from_u64(seed);
    let peers = if quick { QUICK_PEERS } else { PEERS };
    let policy = GoodPolicy::default();
    let mut told = Told::default();
    for number in 0..peers {
        let mut peer = Peer::new(number, &mut rng);
        let mut now = START;
        while now < START + DAYS * 86_400 {
            while peer.due <= now && !peer.is_forgotten {
                let at = peer.due;
                peer.visit(at, &mut rng);
            }
            peer.live_until(now, &mut rng);
            told.look(&peer, &policy, now);
            now += LOOK_EVERY;
        }
    }
    // The one difference that is not allowed.
    ensure!(
        told.only_ours == 0,
        "{} times ours served whom sipa's did not",
        told.only_ours
    );
    Ok(told)
}

impl Peer {
    fn new(number: u32, rng: &mut StdRng) -> Self {
        let hour = 3_600.0;
        let (up, down, dies) = match number % 4 {
            // Servers: a day's work once in a while.
            0 => (720.0 * hour, 0.5 * hour, false),
            // Servers that are given up.
            1 => (720.0 * hour, 0.5 * hour, true),
            // Homes that are switched off at night.
            2 => (14.0 * hour, 10.0 * hour, false),
            // Those that come and go.
            _ => (2.0 * hour, 6.0 * hour, false),
        };
        let dies_at = if dies {
            START + rng.random_range(0..DAYS * 86_400)
        } else {
            i64::MAX
        };
        let [_, b, c, d] = number.to_be_bytes();
        let facts = PeerFacts {
            addr: ([9, b, c, d], 8333).into(),
            last_outcome: None,
            last_ok_at: None,
            protocol_version: Some(70_016),
            proved_height: Some(1_000),
            reliability: Reliability::default(),
            banned: false,
        };
        Self {
            up,
            down,
            dies_at,
            is_up: rng.random_bool(up / (up + down)),
            turns_at: START,
            due: START + rng.random_range(0..3_600),
            is_forgotten: false,
            failures: 0,
            last_at: None,
            facts,
        }
    }

    /// Lets it come and go until a time: how long it stays is exponentially distributed.
    fn live_until(&mut self, now: i64, rng: &mut StdRng) {
        while self.turns_at <= now {
            self.is_up = !self.is_up;
            let mean = if self.is_up { self.up } else { self.down };
            let stays = -mean * (1.0 - rng.random::<f64>()).ln();
            // A mean of a month at most, and a logarithm below 40: far below 2^63.
            self.turns_at += 1 + stays as i64;
        }
        if now >= self.dies_at {
            self.is_up = false;
        }
    }

    fn visit(&mut self, at: i64, rng: &mut StdRng) {
        self.live_until(at, rng);
        let outcome = if self.is_up {
            Outcome::Ok
        } else {
            Outcome::TimeoutConnect
        };
        let age = self.last_at.map(|last| (at - last) as f64);
        self.facts.reliability.update(age, outcome.is_success());
        self.facts.last_outcome = Some(outcome);
        self.last_at = Some(at);
        self.failures = if self.is_up { 0 } else { self.failures + 1 };
        if self.is_up {
            self.facts.last_ok_at = Some(at);
        }
        let history = History {
            outcome,
            failures: self.failures,
            last_ok_at: self.facts.last_ok_at,
        };
        let jitter = Jitter::new(&rng.random(), self.facts.addr, at);
        match schedule::next(&SchedulePolicy::default(), &history, at, jitter) {
            Next::At(due) => self.due = due.max(at + 1),
            Next::Forget => self.is_forgotten = true,
        }
    }
}

impl Told {
    fn why(&self, reason: &str) -> u64 {
        self.only_sipa.get(reason).copied().unwrap_or(0)
    }

    fn look(&mut self, peer: &Peer, policy: &GoodPolicy, now: i64) {
        let facts = &peer.facts;
        let ours = !peer.is_forgotten && is_good(policy, facts, Some(1_000), now);
        let his = !peer.is_forgotten && is_good_to_sipa(&facts.reliability);
        self.up += u64::from(peer.is_up);
        self.served += u64::from(ours);
        self.served_down += u64::from(ours && !peer.is_up);
        self.served_by_sipa += u64::from(his);
        self.served_down_by_sipa += u64::from(his && !peer.is_up);
        self.only_ours += u64::from(ours && !his);
        if his && !ours {
            let passed = facts.last_outcome.is_some_and(Outcome::is_success);
            let why = if passed { "fresh" } else { "last_probe" };
            *self.only_sipa.entry(why).or_default() += 1;
            self.only_sipa_down += u64::from(!peer.is_up);
        }
    }
}

/// `CAddrInfo::IsGood`, the part about the record. There a peer that was never visited passes; here it does not.
fn is_good_to_sipa(r: &Reliability) -> bool {
    let [hours_2, hours_8, day, week, month] = r.windows;
    (r.probes > 0 && r.probes <= 3 && r.successes * 2 >= r.probes)
        || (hours_2.reliability > 0.85 && hours_2.count > 2.0)
        || (hours_8.reliability > 0.70 && hours_8.count > 4.0)
        || (day.reliability > 0.55 && day.count > 8.0)
        || (week.reliability > 0.45 && week.count > 16.0)
        || (month.reliability > 0.35 && month.count > 32.0)
}

pub(super) fn report(quick: bool, told: Vec<Told>) -> anyhow::Result<Report> {
    let measured = |key, what, f: fn(&Told) -> f64| {
        Figure::measured(key, what, 4, told.iter().map(f).collect())
    };
    let figures = vec![
        measured("down_share", "of what ours serves, not there", |t| {
            ratio(t.served_down, t.served)
        })
        .with_goal(Goal::AtMost(0.05)),
        measured("down_share_sipa", "of what sipa's serves, not there", |t| {
            ratio(t.served_down_by_sipa, t.served_by_sipa)
        }),
        measured(
            "found_share",
            "of those that are there, served by ours",
            |t| ratio(t.served - t.served_down, t.up),
        ),
        measured(
            "found_share_sipa",
            "of those that are there, served by sipa's",
            |t| ratio(t.served_by_sipa - t.served_down_by_sipa, t.up),
        ),
        measured(
            "differ_share",
            "of what sipa's serves, not served by ours",
            |t| ratio(t.only_sipa.values().sum(), t.served_by_sipa),
        ),
        measured(
            "differ_last_probe",
            "of those, the last probe failed",
            |t| ratio(t.why("last_probe"), t.only_sipa.values().sum()),
        ),
        measured("differ_fresh", "of those, the last pass is too old", |t| {
            ratio(t.why("fresh"), t.only_sipa.values().sum())
        }),
        measured("differ_down", "of those, not there", |t| {
            ratio(t.only_sipa_down, t.only_sipa.values().sum())
        }),
        Figure::count(
            "only_ours",
            "served by ours alone",
            told.iter().map(|t| t.only_ours).sum(),
        ),
    ];
    Ok(Report::new("simulate verdicts", quick, told.len(), figures))
}

fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}
