//! `bench sync`: a fresh node downloads and verifies a generated chain over encrypted loopback.
//!
//! ```text
//! this process ── starts ──> peers    four honest nodes, one that hangs, one behind a slow line
//!       │                      ^
//!       │                      │ Noise over loopback TCP
//!       └─ each round ────> fresh     syncs from zero; its time, processor and memory are the figures
//!                           local     validates the same blocks from local files: what to compare with
//! ```
//!
//! The peers share the machine's cores with the fresh node, as they would not in the world: the ratio to local
//! validation includes what they cost.

mod bad_peers;
pub(crate) mod parts;

use std::path::Path;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

pub use self::parts::Part;
use super::report::{Figure, Goal, Report};
use super::worker::{self, Running, number};
use super::{cache_dir, rounds};
use crate::chain_generator::files::Summary;
use crate::chain_generator::{ChainOptions, files};

/// Blocks of a quick run, when the command line does not say.
const QUICK_BLOCKS: u32 = 2_500;

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 3;

/// What to sync.
#[derive(Debug, Clone, Copy, Args)]
pub struct SyncArgs {
    /// Blocks besides the genesis block [default: 10000, with --quick 2500].
    #[arg(long)]
    blocks: Option<u32>,
    /// Transactions of each block besides the coinbase; 0 for coinbases only.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(..=500))]
    transactions: u32,
}

/// Figures of all rounds.
#[derive(Default)]
pub(super) struct Measurements {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    blocks_per_s: Vec<f64>,
    rss: Vec<f64>,
    local_wall: Vec<f64>,
    local_cpu: Vec<f64>,
    bad_wall: Vec<f64>,
    to_local: Vec<f64>,
    bad_to_local: Vec<f64>,
    bad_to_good: Vec<f64>,
}

/// Runs the benchmark.
///
/// # Errors
/// Where the chain can't be made or kept, or a node does not get to its end.
pub fn run(args: &SyncArgs, quick: bool) -> anyhow::Result<Report> {
    let options = ChainOptions {
        blocks: args.blocks.unwrap_or(if quick {
            QUICK_BLOCKS
        } else {
            ChainOptions::default().blocks
        }),
        transactions: args.transactions,
        ..ChainOptions::default()
    };
    let rounds = rounds(quick, QUICK_ROUNDS);
    eprintln!("the chain: {} blocks", options.blocks);
    let (chain, summary) = files::cached(&options, &cache_dir())?;
    let directory = tempfile::tempdir_in(cache_dir())?;
    let stage = Stage::prepare(&chain, directory.path(), options.blocks)?;

    let mut figures = Measurements::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        stage.round(&mut figures)?;
    }
    Ok(figures.report(quick, rounds, &summary))
}

impl Measurements {
    pub(super) fn report(self, quick: bool, rounds: usize, summary: &Summary) -> Report {
        let figures = vec![
            Figure::count("blocks", "blocks", summary.blocks),
            Figure::count(
                "transactions",
                "transactions besides coinbases",
                summary.transactions,
            ),
            Figure::count("signatures", "signatures", summary.signatures),
            Figure::measured("wall_s", "sync, s", 2, self.wall),
            Figure::measured("cpu_s", "processor time of the node, s", 2, self.cpu),
            Figure::measured("blocks_per_s", "sync, blocks/s", 0, self.blocks_per_s),
            Figure::measured("peak_rss_mb", "peak memory of the node, MB", 1, self.rss)
                .with_goal(Goal::AtMost(512.0)),
            Figure::measured(
                "local_wall_s",
                "validation from local files, s",
                2,
                self.local_wall,
            ),
            Figure::measured("local_cpu_s", "its processor time, s", 2, self.local_cpu),
            Figure::measured(
                "ratio_to_local_validation",
                "sync to local validation",
                3,
                self.to_local,
            )
            .with_goal(Goal::AtMost(1.3)),
            Figure::measured(
                "bad_peers_wall_s",
                "sync, one peer hangs and one is slow, s",
                2,
                self.bad_wall,
            ),
            Figure::measured(
                "ratio_with_bad_peers",
                "that to local validation",
                3,
                self.bad_to_local,
            )
            .with_goal(Goal::AtMost(1.7)),
            Figure::measured(
                "ratio_bad_to_good_peers",
                "that to sync from good peers",
                3,
                self.bad_to_good,
            ),
        ];
        Report::new("sync", quick, rounds, figures)
    }
}

/// Peers that serve a chain from a process of their own, until this is dropped.
pub(crate) struct Served {
    good: Vec<String>,
    hanging: Vec<String>,
    slow: Vec<String>,
    _peers: Running,
}

impl Served {
    /// Validates the chain once, for the peers to serve from, and starts them.
    pub(crate) fn start(chain: &Path, directory: &Path, blocks: u32) -> anyhow::Result<Self> {
        let served = directory.join("peers");
        let served = path(&served)?;
        eprintln!("validating the chain for the peers");
        worker::run(&["sync", "local", path(chain)?, served, &blocks.to_string()])?;
        let mut peers = Running::start(&["sync", "peers", served])?;
        let addresses = peers.result()?;
        let list = |key| addresses_of(&addresses, key);
        let good = list("good")?;
        ensure!(good.len() == 4, "four good peers");
        Ok(Self {
            good,
            hanging: list("hanging")?,
            slow: list("slow")?,
            _peers: peers,
        })
    }

    /// Those that serve as they should.
    pub(crate) fn good(&self) -> &[String] {
        &self.good
    }
}

/// What stays the same over the rounds.
struct Stage<'a> {
    chain: &'a str,
    directory: &'a Path,
    blocks: String,
    good: String,
    bad: String,
    _peers: Served,
}

impl<'a> Stage<'a> {
    fn prepare(chain: &'a Path, directory: &'a Path, blocks: u32) -> anyhow::Result<Self> {
        let peers = Served::start(chain, directory, blocks)?;
        let bad = [&peers.good[..2], &peers.hanging, &peers.slow].concat();
        Ok(Self {
            chain: path(chain)?,
            directory,
            blocks: blocks.to_string(),
            good: format!("--peers={}", peers.good.join(",")),
            bad: format!("--peers={}", bad.join(",")),
            _peers: peers,
        })
    }

    /// Each of the three once. Their directories are removed before the next.
    fn round(&self, figures: &mut Measurements) -> anyhow::Result<()> {
        let local = self.measure(&["local", self.chain])?;
        let synced = self.measure(&["fresh", &self.good])?;
        let bad = self.measure(&["fresh", &self.bad])?;
        let blocks: f64 = self.blocks.parse()?;
        figures.wall.push(synced.wall);
        figures.cpu.push(synced.cpu);
        figures.blocks_per_s.push(blocks / synced.wall);
        figures.rss.push(synced.rss.max(bad.rss));
        figures.local_wall.push(local.wall);
        figures.local_cpu.push(local.cpu);
        figures.bad_wall.push(bad.wall);
        figures.to_local.push(synced.wall / local.wall);
        figures.bad_to_local.push(bad.wall / local.wall);
        figures.bad_to_good.push(bad.wall / synced.wall);
        Ok(())
    }

    /// Runs `labs worker sync PART SOURCE` into a new directory.
    fn measure(&self, part: &[&str; 2]) -> anyhow::Result<Measured> {
        let directory = tempfile::tempdir_in(self.directory)?;
        let [part, source] = *part;
        let into = path(directory.path())?;
        let result = worker::run(&["sync", part, source, into, &self.blocks])?;
        let measured = Measured {
            wall: number(&result, "wall_s")?,
            cpu: number(&result, "cpu_s")?,
            rss: number(&result, "rss_mb")?,
        };
        eprintln!("  {part}: {:.2} s", measured.wall);
        Ok(measured)
    }
}

struct Measured {
    wall: f64,
    cpu: f64,
    rss: f64,
}

fn addresses_of(result: &Value, key: &str) -> anyhow::Result<Vec<String>> {
    let list = result.get(key).and_then(Value::as_array);
    list.map(|list| {
        let texts = list.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    })
    .with_context(|| format!("the peers told no {key} addresses"))
}

pub(crate) fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
