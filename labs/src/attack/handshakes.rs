//! `attack handshakes`: a crowd that nobody knows, at a node that syncs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::cores::Cores;
use super::visitor::{Visit, judged, visits};
use crate::bench::cache_dir;
use crate::bench::report::{FULL_ROUNDS, Figure, Goal, Report};
use crate::bench::sync::{Served, path};
use crate::bench::worker::{Running, number};
use crate::chain_generator::{ChainOptions, files};

/// How much of it.
struct Size {
    rounds: usize,
    blocks: u32,
    junk_per_s: u32,
    slow: u32,
    /// How long a round's attack lasts, before the sync and in all.
    before: Duration,
    lasts: Duration,
}

const FULL: Size = Size {
    rounds: FULL_ROUNDS,
    blocks: 10_000,
    junk_per_s: 2_000,
    slow: 10_000,
    before: Duration::from_secs(6),
    lasts: Duration::from_secs(14),
};

const QUICK: Size = Size {
    rounds: 1,
    blocks: 2_500,
    junk_per_s: 1_000,
    slow: 2_000,
    before: Duration::from_secs(3),
    lasts: Duration::from_secs(8),
};

/// Figures of all rounds.
#[derive(Default)]
struct Measurements {
    calm_wall: Vec<f64>,
    wall: Vec<f64>,
    slowdown: Vec<f64>,
    cpu: Vec<f64>,
    rss: Vec<f64>,
    growth: Vec<f64>,
    junk: Vec<f64>,
    slow: Vec<f64>,
    bytes: Vec<f64>,
    slots: Vec<f64>,
    calm_visits: Vec<Visit>,
    visits: Vec<Visit>,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Report> {
    let size = if quick { QUICK } else { FULL };
    let (victims, others) = Cores::halves();
    // Peers, crowd and visitors are started by this process and stay where it is.
    others.keep_to()?;
    let victims = victims.argument();
    let options = ChainOptions {
        blocks: size.blocks,
        ..ChainOptions::default()
    };
    let (chain, _) = files::cached(&options, &cache_dir())?;
    let directory = tempfile::tempdir_in(cache_dir())?;
    let peers = Served::start(&chain, directory.path(), size.blocks)?;
    let peers = format!("--peers={}", peers.good().join(","));
    let mut figures = Measurements::default();
    for round in 1..=size.rounds {
        eprintln!("round {round} of {}", size.rounds);
        let calm = sync(&size, [&victims, &peers], directory.path(), false)?;
        let attacked = sync(&size, [&victims, &peers], directory.path(), true)?;
        figures.add(calm, attacked)?;
    }
    Ok(figures.report(quick, size.rounds))
}

/// What one sync told.
struct Told {
    sync: Value,
    end: Value,
    flood: Option<Value>,
    visits: Vec<Visit>,
}

/// One victim that syncs, attacked or not.
fn sync(
    size: &Size,
    [cores, peers]: [&str; 2],
    directory: &Path,
    attacked: bool,
) -> anyhow::Result<Told> {
    let directory = tempfile::tempdir_in(directory)?;
    let into = path(directory.path())?;
    let blocks = size.blocks.to_string();
    let mut victim = Running::start(&["attack", "victim", cores, peers, into, &blocks])?;
    let addr = victim.result()?;
    let addr = addr.get("addr").and_then(Value::as_str);
    let addr = addr.context("the victim told no address")?;

    let visitors = Visitors::start(addr)?;
    let flood = attacked.then(|| {
        let junk = format!("--junk-per-s={}", size.junk_per_s);
        let slow = format!("--slow={}", size.slow);
        Running::start(&["attack", "flood", addr, &junk, &slow])
    });
    let flood = flood.transpose()?;
    let start = Instant::now();
    // Until the crowd is all there.
    std::thread::sleep(size.before);
    victim.say("sync")?;
    let sync = victim.result()?;
    if attacked {
        std::thread::sleep(size.lasts.saturating_sub(start.elapsed()));
    }
    let visits = visitors.stop()?;
    let flood = flood.map(Running::last_result).transpose()?;
    let end = victim.last_result()?;
    let kind = if attacked { "attacked" } else { "calm" };
    eprintln!("  {kind}: {:.2} s; {end}", number(&sync, "wall_s")?);
    Ok(Told {
        sync,
        end,
        flood,
        visits,
    })
}

/// Honest strangers, in a thread of their own.
struct Visitors {
    stop: CancellationToken,
    thread: std::thread::JoinHandle<anyhow::Result<Vec<Visit>>>,
}

impl Visitors {
    fn start(addr: &str) -> anyhow::Result<Self> {
        let to = addr.parse()?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(visits(to, until))
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> anyhow::Result<Vec<Visit>> {
        self.stop.cancel();
        let visits = self.thread.join();
        visits.map_err(|_| anyhow::anyhow!("the visitors panicked"))?
    }
}

impl Measurements {
    fn add(&mut self, calm: Told, attacked: Told) -> anyhow::Result<()> {
        let (calm_wall, wall) = (
            number(&calm.sync, "wall_s")?,
            number(&attacked.sync, "wall_s")?,
        );
        let (calm_rss, rss) = (
            number(&calm.end, "rss_mb")?,
            number(&attacked.end, "rss_mb")?,
        );
        let flood = attacked.flood.context("the crowd told nothing")?;
        self.calm_wall.push(calm_wall);
        self.wall.push(wall);
        self.slowdown.push(wall / calm_wall);
        self.cpu
            .push(number(&attacked.end, "cpu_s")? - number(&calm.end, "cpu_s")?);
        self.rss.push(rss);
        self.growth.push(rss - calm_rss);
        self.junk.push(number(&flood, "junk_per_s")?);
        self.slow.push(number(&flood, "slow_per_s")?);
        self.bytes.push(number(&flood, "bytes")?);
        self.slots.push(number(&attacked.end, "inbound")?);
        self.calm_visits.extend(calm.visits);
        self.visits.extend(attacked.visits);
        Ok(())
    }

    fn report(self, quick: bool, rounds: usize) -> Report {
        let f = Figure::measured;
        let (calm_rate, calm_p99) = judged(&self.calm_visits);
        let (rate, p99) = judged(&self.visits);
        let figures = vec![
            f(
                "junk_per_s",
                "junk connections that came about, 1/s",
                0,
                self.junk,
            ),
            f(
                "slow_per_s",
                "slow connections that came about, 1/s",
                0,
                self.slow,
            ),
            f("attacker_bytes", "bytes that the crowd sent", 0, self.bytes),
            f(
                "attacker_slots",
                "places of peers that the crowd got",
                0,
                self.slots,
            ),
            f(
                "calm_sync_s",
                "sync without the crowd, s",
                2,
                self.calm_wall,
            ),
            f("sync_s", "sync with the crowd, s", 2, self.wall),
            f("sync_slowdown", "that to the one before", 3, self.slowdown)
                .with_goal(Goal::AtMost(1.2)),
            f(
                "victim_cpu_s",
                "processor time that the crowd cost, s",
                2,
                self.cpu,
            ),
            f("victim_rss_mb", "peak memory of the node, MB", 1, self.rss),
            f(
                "victim_rss_growth_mb",
                "more than without the crowd, MB",
                1,
                self.growth,
            )
            .with_goal(Goal::AtMost(100.0)),
            f(
                "seconds_to_ban",
                "until the crowd was banned, s",
                0,
                Vec::new(),
            ),
            f(
                "calm_success_rate",
                "honest visits that led in, without",
                4,
                calm_rate,
            ),
            f("calm_p99_ms", "99 % of them took at most, ms", 1, calm_p99),
            f(
                "honest_success_rate",
                "honest visits that led in within 2 s",
                4,
                rate,
            )
            .with_goal(Goal::AtLeast(1.0)),
            f("honest_p99_ms", "99 % of them took at most, ms", 1, p99)
                .with_goal(Goal::AtMost(2_000.0)),
        ];
        Report::new("attack handshakes", quick, rounds, figures)
    }
}
