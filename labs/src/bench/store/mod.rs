//! `bench store`: what a crawl writes down, what others read of it meanwhile, and how the file grows.
//!
//! | part | what it does |
//! |---|---|
//! | `write` | results of 100,000 probes, until all are committed |
//! | `load` | a million addresses into the due queue of a crawler |
//! | `read` | the seeder's and the dashboard's questions, again and again, while a crawl is written |
//! | `year` | a year of 50,000 peers, sixty probes each spread over it |

mod made;
mod parts;

use std::path::Path;

use serde_json::Value;

pub use self::parts::Part;
use super::report::{Figure, Goal, Report};
use super::rounds;
use super::sync::path;
use super::worker::{self, number};

/// What the project promises: seconds for 100,000 results and a million addresses, MB, and ms for a question.
const WRITE_GOAL: f64 = 2.0;
const LOAD_GOAL: f64 = 2.0;
const RSS_GOAL: f64 = 400.0;
const QUERY_GOAL: f64 = 50.0;

/// Runs the benchmark.
///
/// # Errors
/// Where a part of it fails.
pub fn run(quick: bool) -> anyhow::Result<Report> {
    std::fs::create_dir_all(super::cache_dir())?;
    let directory = tempfile::tempdir_in(super::cache_dir())?;
    let dir = |name: &str| directory.path().join(name);
    let share = if quick { 10 } else { 1 };
    let rounds = rounds(quick, 1);
    let (mut write, mut load, mut rss) = (vec![], vec![], vec![]);
    let (mut first, mut query) = (vec![], vec![]);
    eprintln!("writing a million addresses down");
    let many = dir("many");
    part("fill", &many, 1_000_000 / share)?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let written = part("write", &dir(&format!("write-{round}")), 100_000 / share)?;
        write.push(number(&written, "wall_s")?);
        let loaded = part("load", &many, 0)?;
        load.push(number(&loaded, "wall_s")?);
        rss.push(number(&loaded, "rss_mb")?);
        let read = part("read", &dir(&format!("read-{round}")), 100_000 / share)?;
        first.push(number(&read, "first_ms")?);
        query.push(number(&read, "slowest_ms")?);
        let each = read.get("each").map(Value::to_string);
        eprintln!("slowest of each: {}", each.unwrap_or_default());
    }
    eprintln!("a year");
    let year = part("year", &dir("year"), 50_000 / share)?;
    let of = |key| number(&year, key).map(|value| vec![value]);
    let m = Figure::measured;
    let figures = vec![
        m("write_100k_s", "100,000 results written, s", 2, write)
            .with_goal(Goal::AtMost(WRITE_GOAL)),
        m(
            "load_1m_s",
            "a million addresses into the due queue, s",
            2,
            load,
        )
        .with_goal(Goal::AtMost(LOAD_GOAL)),
        m("load_1m_rss_mb", "memory with them, MB", 0, rss).with_goal(Goal::AtMost(RSS_GOAL)),
        m(
            "first_good_ms",
            "first look at 60,000 good peers of 100,000, ms",
            0,
            first,
        ),
        m(
            "slowest_query_ms",
            "slowest question during a crawl, ms",
            1,
            query,
        )
        .with_goal(Goal::AtMost(QUERY_GOAL)),
        m(
            "quarter_mb",
            "file after three months of 50,000 peers, MB",
            1,
            of("quarter_mb")?,
        ),
        m("half_mb", "after six, MB", 1, of("half_mb")?),
        m("year_mb", "after a year, MB", 1, of("year_mb")?),
        m(
            "bytes_per_peer",
            "then, for each peer, bytes",
            0,
            of("bytes_per_peer")?,
        ),
    ];
    Ok(Report::new("store", quick, rounds, figures))
}

/// One part in a process of its own.
fn part(name: &str, dir: &Path, count: u32) -> anyhow::Result<Value> {
    worker::run(&["store", name, path(dir)?, &count.to_string()])
}
