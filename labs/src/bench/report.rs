//! What a benchmark found: figures over several rounds, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::machine;

/// Fewest rounds of a full run, so that a median says something. `--quick` may make fewer.
pub const FULL_ROUNDS: usize = 5;

/// All figures of one benchmark.
#[derive(Debug, Clone)]
pub struct Report {
    name: &'static str,
    quick: bool,
    rounds: usize,
    figures: Vec<Figure>,
}

/// One measured or counted number.
#[derive(Debug, Clone)]
pub struct Figure {
    key: &'static str,
    what: &'static str,
    decimals: usize,
    values: Vec<f64>,
    goal: Option<Goal>,
}

/// What a figure is meant to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// So much or less.
    AtMost(f64),
    /// So much or more.
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl Figure {
    /// A figure that was measured in each round. `key` names it in JSON and ends in its unit, `what` says to
    /// people what it is, `decimals` are shown.
    #[must_use]
    pub fn measured(
        key: &'static str,
        what: &'static str,
        decimals: usize,
        values: Vec<f64>,
    ) -> Self {
        Self {
            key,
            what,
            decimals,
            values,
            goal: None,
        }
    }

    /// A count that is the same in each round.
    #[must_use]
    pub fn count(key: &'static str, what: &'static str, count: u64) -> Self {
        // Counts of benchmarks are far below 2^53.
        Self::measured(key, what, 0, vec![count as f64])
    }

    /// With the value that its median is meant to reach.
    #[must_use]
    pub fn with_goal(self, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    /// The middle value, the mean of the two middle ones of an even number; `None` without values.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(f64::midpoint(lower, upper))
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn number(&self, value: Option<f64>) -> Value {
        // One digit more than people are shown; digits below that are noise.
        let scale = 10_f64.powi(i32::try_from(self.decimals).unwrap_or(0) + 1);
        let Some(value) = value else {
            return Value::Null;
        };
        if self.decimals == 0 {
            return Value::from(value.round() as i64);
        }
        Number::from_f64((value * scale).round() / scale).map_or(Value::Null, Value::Number)
    }

    fn row(&self) -> [String; 4] {
        let show = |value: f64| format!("{value:.*}", self.decimals);
        let sorted = self.sorted();
        let spread = match (sorted.first(), sorted.last()) {
            (Some(least), Some(greatest)) if sorted.len() > 1 => {
                format!("({}\u{2013}{})", show(*least), show(*greatest))
            }
            _ => String::new(),
        };
        let goal = match (self.goal, self.median()) {
            (Some(goal), Some(median)) => {
                let (sign, limit) = match goal {
                    Goal::AtMost(limit) => ("\u{2264}", limit),
                    Goal::AtLeast(limit) => ("\u{2265}", limit),
                };
                let met = if goal.is_met(median) { "met" } else { "missed" };
                format!("goal {sign} {}: {met}", show(limit))
            }
            _ => String::new(),
        };
        let median = self.median().map_or_else(|| "none".to_owned(), show);
        [self.what.to_owned(), median, spread, goal]
    }
}

impl Report {
    /// The figures of the benchmark `name`, taken over so many rounds.
    #[must_use]
    pub fn new(name: &'static str, quick: bool, rounds: usize, figures: Vec<Figure>) -> Self {
        Self {
            name,
            quick,
            rounds,
            figures,
        }
    }

    /// One object: each figure's median under its key, and for what was measured more than once the least
    /// and the greatest value under `key_min` and `key_max`; `rounds`, and whether the run was `quick`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for figure in &self.figures {
            object.insert(figure.key.to_owned(), figure.number(figure.median()));
            let sorted = figure.sorted();
            if sorted.len() > 1 {
                for (end, value) in [("min", sorted.first()), ("max", sorted.last())] {
                    let key = format!("{}_{end}", figure.key);
                    object.insert(key, figure.number(value.copied()));
                }
            }
        }
        object.insert("rounds".to_owned(), Value::from(self.rounds));
        object.insert("quick".to_owned(), Value::from(self.quick));
        Value::Object(object)
    }

    /// A table for people, with the machine and the versions.
    #[must_use]
    pub fn to_table(&self) -> String {
        let rows: Vec<[String; 4]> = self.figures.iter().map(Figure::row).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        let quick = if self.quick { ", quick" } else { "" };
        let mut text = format!(
            "{}: median (least\u{2013}greatest) of {} rounds{quick}\n",
            self.name, self.rounds
        );
        for line in machine::describe() {
            let _ = writeln!(text, "{line}"); // writing to a string can't fail
        }
        text.push('\n');
        for [what, median, spread, goal] in &rows {
            let line = format!(
                "{what:<0$}  {median:>1$}  {spread:<2$}  {goal}",
                widths[0], widths[1], widths[2]
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64]) -> Figure {
        Figure::measured("load_s", "time to load, s", 2, values.to_vec())
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(figure(&[]).median(), None);
        assert_eq!(figure(&[3.0]).median(), Some(3.0));
        assert_eq!(figure(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(figure(&[4.0, 1.0, 2.0, 9.0]).median(), Some(3.0));
    }

    #[test]
    fn json_has_numbers_and_null_for_what_is_missing() {
        let report = Report::new(
            "x",
            true,
            3,
            vec![
                figure(&[0.1234, 0.5, 0.25]),
                Figure::count("headers", "headers", 1_000_000),
                Figure::measured("knot_per_cpu_s", "Knot", 0, Vec::new()),
            ],
        );
        let expected = serde_json::json!({
            "load_s": 0.25, "load_s_min": 0.123, "load_s_max": 0.5,
            "headers": 1_000_000, "knot_per_cpu_s": null, "rounds": 3, "quick": true,
        });
        assert_eq!(report.to_json(), expected);
    }

    #[test]
    fn the_table_tells_goals() {
        let met = figure(&[0.4, 0.2]).with_goal(Goal::AtMost(0.5));
        let missed = figure(&[0.4, 0.2]).with_goal(Goal::AtLeast(0.5));
        let table = Report::new("x", false, 2, vec![met, missed]).to_table();
        assert!(table.starts_with("x: median"), "{table}");
        assert!(
            table.contains("0.30  (0.20\u{2013}0.40)  goal \u{2264} 0.50: met"),
            "{table}"
        );
        assert!(table.contains("goal \u{2265} 0.50: missed"), "{table}");
    }
}
