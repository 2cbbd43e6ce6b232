//! What the rounds of an attack say.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::plan::Plan;
use super::runner::{Honest, Round};
use crate::attack::visitor::{Visit, judged};
use crate::bench::report::{Figure, Goal, Report};
use crate::bench::worker::number;

/// Figures of all rounds.
#[derive(Default)]
pub(super) struct Figures {
    slots: Vec<f64>,
    bytes: Vec<f64>,
    connections: Vec<f64>,
    cpu: Vec<f64>,
    rss: Vec<f64>,
    growth: Vec<f64>,
    to_ban: Vec<f64>,
    bans: Vec<f64>,
    detections: Vec<f64>,
    addresses: Vec<f64>,
    by_tls: Vec<f64>,
    kept: Vec<f64>,
    calm: Honest,
    attacked: Honest,
}

impl Figures {
    /// # Errors
    /// Where a detector found nothing, or nobody was banned who should have been: the attack did not take place, or the
    /// defence does not see it.
    pub(super) fn add(&mut self, plan: &Plan, round: Round) -> anyhow::Result<()> {
        let (before, after) = (&round.before, &round.after);
        let mut detections = 0.0;
        for detector in plan.detectors {
            let name = detector.as_str();
            let found = detected(after, name) - detected(before, name);
            ensure!(
                found > 0.0,
                "{}: the detector {name} found nothing: {after}",
                plan.name
            );
            detections += found;
        }
        let first_act = number(&round.crowd, "first_act").context("the attacker did nothing")?;
        let ban = after.get("first_ban").and_then(Value::as_f64);
        ensure!(
            ban.is_some() || !plan.bans,
            "{}: nobody was banned: {after}",
            plan.name
        );
        self.to_ban.extend(ban.map(|at| at - first_act));
        let of = |key| number(after, key);
        self.slots.push(of("attackers")?);
        self.bytes.push(number(&round.crowd, "bytes")?);
        self.connections.push(number(&round.crowd, "tried")?);
        let spent = of("cpu_s")? - number(before, "cpu_s")?;
        self.cpu.push(spent - round.calm_rate * round.lasted);
        self.rss.push(of("rss_mb")?);
        self.growth.push(of("rss_mb")? - number(before, "rss_mb")?);
        self.bans.push(of("bans")?);
        self.detections.push(detections);
        self.addresses
            .push(of("addresses")? - number(before, "addresses")?);
        self.by_tls.push(of("by_tls")?);
        self.kept.push(of("honest")? / round.expected as f64);
        self.calm.extend(round.calm);
        self.attacked.extend(round.attacked);
        Ok(())
    }

    pub(super) fn report(self, plan: &Plan, quick: bool) -> Report {
        let f = Figure::measured;
        let (rate, p99) = judged(&self.attacked.asked());
        let (calm_rate, calm_p99) = judged(&self.calm.asked());
        let (visits, visits_p99) = judged(&self.attacked.visits);
        let (blocks, blocks_p99) = judged(&self.attacked.blocks);
        let figures = vec![
            f("detections", "found by the detectors", 0, self.detections),
            f(
                "attacker_slots",
                "places of peers that the attacker has at the end",
                0,
                self.slots,
            ),
            f("attacker_bytes", "bytes that he sent", 0, self.bytes),
            f(
                "attacker_connections",
                "connections that he tried",
                0,
                self.connections,
            ),
            f(
                "victim_cpu_s",
                "processor time that he cost, s",
                2,
                self.cpu,
            ),
            f("victim_rss_mb", "peak memory of the node, MB", 1, self.rss),
            f(
                "victim_rss_growth_mb",
                "more than before, MB",
                1,
                self.growth,
            )
            .with_goal(Goal::AtMost(100.0)),
            f(
                "seconds_to_ban",
                "from his first act to the first ban, s",
                2,
                self.to_ban,
            ),
            f("bans", "hosts banned at the end", 0, self.bans),
            f(
                "addresses_learnt",
                "addresses that came into the book",
                0,
                self.addresses,
            ),
            f(
                "tls_connections",
                "honest peers that are spoken to by TLS",
                0,
                self.by_tls,
            )
            .with_goal(Goal::AtMost(0.0)),
            f(
                "calm_success_rate",
                "honest questions answered in 2 s, before",
                4,
                calm_rate,
            ),
            f("calm_p99_ms", "99 % of them took at most, ms", 1, calm_p99),
            f(
                "honest_success_rate",
                "honest questions and visits answered in 2 s",
                4,
                rate,
            )
            .with_goal(Goal::AtLeast(0.99)),
            f("honest_p99_ms", "99 % of them took at most, ms", 1, p99)
                .with_goal(Goal::AtMost(1_000.0)),
            f(
                "visit_success_rate",
                "honest strangers who became peers in 2 s",
                4,
                visits,
            ),
            f(
                "visit_p99_ms",
                "99 % of them took at most, ms",
                1,
                visits_p99,
            ),
            f(
                "block_success_rate",
                "honest blocks that arrived",
                4,
                blocks,
            ),
            f(
                "block_p99_ms",
                "99 % of them took at most, ms",
                1,
                blocks_p99,
            ),
            f(
                "honest_kept",
                "share of honest peers that are there at the end",
                3,
                self.kept,
            )
            .with_goal(Goal::AtLeast(1.0)),
        ];
        Report::new(plan.name, quick, plan.rounds, figures)
    }
}

impl Honest {
    fn extend(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.visits.extend(other.visits);
        self.blocks.extend(other.blocks);
    }

    fn asked(&self) -> Vec<Visit> {
        [self.answers.as_slice(), self.visits.as_slice()].concat()
    }
}

fn detected(told: &Value, detector: &str) -> f64 {
    let all = told.get("detections").and_then(|all| all.get(detector));
    all.and_then(Value::as_f64).unwrap_or(0.0)
}
