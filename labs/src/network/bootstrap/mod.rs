//! `labs network bootstrap`: a newcomer that knows nothing, or worse than nothing, and how soon it has peers.
//!
//! | what | DNS | book | bootstrap nodes |
//! |---|---|---|---|
//! | plain | one server, all seeds alive | empty | none |
//! | liar | 3 of 4 seeds dead; of three providers one lies and one hangs | empty | none |
//! | dead DNS | hangs | empty | in the chain spec |
//! | poisoned | alive, or hangs | 10,000 dead addresses | none, or in the chain spec |
//!
//! The network is real nodes, the DNS servers are real seeders; the liar is a seeder of the tarpits. Dead addresses are
//! ones where what arrives is lost, so that a dial there hangs; where there is no root for that, they refuse.

mod dns;
mod newcomer;
mod stage;

use std::time::Duration;

use serde_json::Value;

pub(super) use self::stage::Stage;
use super::{Outcome, namespace};
use crate::bench::report::{FULL_ROUNDS, Figure, Goal, Report};
use crate::bench::worker::Running;

/// What is measured, in milliseconds: its key, what it is, and what it is meant to be at most.
const FIGURES: [(&str, &str, Option<f64>); 9] = [
    ("first_answer_ms", "plain: first answer of DNS, ms", None),
    ("first_peer_ms", "plain: first peer, ms", Some(1_000.0)),
    ("four_peers_ms", "plain: four peers, ms", Some(5_000.0)),
    (
        "liar_first_peer_ms",
        "dead seeds, liar: first peer, ms",
        Some(3_000.0),
    ),
    (
        "liar_four_peers_ms",
        "dead seeds, liar: four peers, ms",
        None,
    ),
    (
        "dead_dns_first_peer_ms",
        "dead DNS: first peer, ms",
        Some(30_000.0),
    ),
    ("dead_dns_four_peers_ms", "dead DNS: four peers, ms", None),
    (
        "poisoned_first_peer_ms",
        "poisoned book: first peer, ms",
        Some(60_000.0),
    ),
    (
        "poisoned_dead_dns_first_peer_ms",
        "poisoned book, dead DNS: first peer, ms",
        Some(60_000.0),
    ),
];

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 1;

/// Longest that a newcomer waits for a peer, in full and in quick runs. What is meant to be is a minute at most.
const PATIENCE: Duration = Duration::from_secs(90);
const QUICK_PATIENCE: Duration = Duration::from_secs(61);

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    let (rounds, patience) = if quick {
        (QUICK_ROUNDS, QUICK_PATIENCE)
    } else {
        (FULL_ROUNDS, PATIENCE)
    };
    let lacking = namespace::lacking();
    if let Some(lacking) = &lacking {
        eprintln!("dead addresses refuse instead of being silent: {lacking}");
    }
    let mut found = Found::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let result = one_round(lacking.is_none(), patience)?;
        found.add(round, &result);
    }
    let report = found.report(quick, rounds, lacking.is_none());
    Ok(Outcome {
        report,
        faults: found.faults,
    })
}

/// Of all rounds.
#[derive(Debug, Default)]
struct Found {
    /// As [`FIGURES`]; without those that did not come about.
    measured: [Vec<f64>; FIGURES.len()],
    dead: Vec<f64>,
    faults: Vec<String>,
}

impl Found {
    fn add(&mut self, round: usize, result: &Value) {
        let number = |key: &str| result.get(key).and_then(Value::as_f64);
        self.dead.extend(number("dead_addresses"));
        for ((key, what, goal), values) in FIGURES.iter().zip(&mut self.measured) {
            let value = number(key);
            let shown = value.map_or_else(|| "never".to_owned(), |ms| format!("{ms:.0}"));
            eprintln!("  {what}: {shown}");
            values.extend(value);
            let fault = fault(what, *goal, value);
            self.faults
                .extend(fault.map(|fault| format!("round {round}: {fault}")));
        }
    }

    fn report(&self, quick: bool, rounds: usize, silent: bool) -> Report {
        let each = FIGURES.iter().zip(&self.measured);
        let mut figures: Vec<Figure> = each
            .map(|((key, what, goal), values)| {
                let figure = Figure::measured(key, what, 0, values.clone());
                match goal {
                    Some(goal) => figure.with_goal(Goal::AtMost(*goal)),
                    None => figure,
                }
            })
            .collect();
        let misses = self.faults.len() as u64;
        figures.extend([
            Figure::measured(
                "dead_addresses",
                "dead addresses in a poisoned book",
                0,
                self.dead.clone(),
            ),
            Figure::count(
                "dead_are_silent",
                "whether these are silent (0: they refuse)",
                u64::from(silent),
            ),
            Figure::count("misses", "goals missed, all rounds together", misses)
                .with_goal(Goal::AtMost(0.0)),
        ]);
        Report::new("network bootstrap", quick, rounds, figures)
    }
}

/// Each round in a process, and where that can be had in a network, of its own.
fn one_round(silent: bool, patience: Duration) -> anyhow::Result<Value> {
    let patience = format!("--patience={}", patience.as_secs());
    let mut arguments = vec!["network", "bootstrap", patience.as_str()];
    let mut stage = if silent {
        arguments.push("--silent");
        namespace::start(&arguments)?
    } else {
        Running::start(&arguments)?
    };
    let result = stage.result()?;
    stage.wait()?;
    Ok(result)
}

/// What is wrong with a value that is meant to be there, and at most so much.
fn fault(what: &str, goal: Option<f64>, value: Option<f64>) -> Option<String> {
    match (goal, value) {
        (Some(goal), Some(value)) if value > goal => {
            Some(format!("{what}: {value:.0}, {goal:.0} at most"))
        }
        (Some(_), None) => Some(format!("{what}: none came about")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_keys_and_a_peer_that_never_came_is_null() {
        let mut found = Found::default();
        let told = serde_json::json!({ "first_answer_ms": 2.0, "first_peer_ms": 20.0, "four_peers_ms": null });
        found.add(1, &told);
        let json = found.report(true, 1, true).to_json();
        assert_eq!(json["first_answer_ms"], 2);
        assert_eq!(json["first_peer_ms"], 20);
        assert!(json["four_peers_ms"].is_null());
        // All with a goal but the one that is there.
        let goals = FIGURES.iter().filter(|(_, _, goal)| goal.is_some()).count();
        assert_eq!(json["misses"], goals - 1);
    }

    #[test]
    fn a_goal_is_missed_by_what_is_late_and_by_what_never_comes() {
        assert_eq!(fault("x", Some(10.0), Some(10.0)), None);
        assert_eq!(fault("x", None, None), None);
        assert_eq!(fault("x", None, Some(1e9)), None);
        assert!(fault("x", Some(10.0), Some(11.0)).is_some());
        assert!(fault("x", Some(10.0), None).is_some());
    }
}
