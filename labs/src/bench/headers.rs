//! `bench headers`: a million headers, as on the testnet after 19 years.
//!
//! The testnet's limit with ASERT at work: blocks exactly on schedule stay at the limit, so the difficulty is
//! computed for each header and a nonce takes two tries. Each round checks them in one process and loads them
//! from disk in another.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use clap::Subcommand;
use quantumcoin::chain::miner::find_nonce;
use quantumcoin::chain::{Blockchain, MAX_HEADERS_PER_MESSAGE};
use quantumcoin::chain_spec::ChainSpec;
use serde_json::{Value, json};

use super::report::{Figure, Goal, Report};
use super::worker::number;
use super::{machine, rounds, worker};

/// Headers besides the genesis block's.
const HEADERS: u32 = 1_000_000;

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 3;

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Checks all headers of a file, in memory.
    Check {
        /// 80 bytes each, lowest first.
        file: PathBuf,
    },
    /// Opens a directory with a chain.
    Load {
        /// The node's data directory.
        dir: PathBuf,
    },
}

/// Runs the benchmark.
///
/// # Errors
/// Where files can't be written, or headers are refused.
pub fn run(quick: bool) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir()?;
    let (file, chain) = (
        directory.path().join("headers"),
        directory.path().join("chain"),
    );
    eprintln!("making {HEADERS} headers");
    make(&file)?;
    let stored = Blockchain::open(spec(), &chain)?;
    feed(&stored, &file)?;
    drop(stored);

    let rounds = rounds(quick, QUICK_ROUNDS);
    let mut measured = Measured::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let checked = worker::run(&["headers", "check", path(&file)?])?;
        let loaded = worker::run(&["headers", "load", path(&chain)?])?;
        measured.check_cpu.push(number(&checked, "cpu_s")?);
        measured.load.push(number(&loaded, "wall_s")?);
        measured.load_cpu.push(number(&loaded, "cpu_s")?);
        measured
            .rss
            .push(number(&checked, "rss_mb")?.max(number(&loaded, "rss_mb")?));
    }
    Ok(measured.report(quick, rounds))
}

/// Figures of all rounds.
#[derive(Default)]
pub(super) struct Measured {
    check_cpu: Vec<f64>,
    load: Vec<f64>,
    load_cpu: Vec<f64>,
    rss: Vec<f64>,
}

impl Measured {
    pub(super) fn report(self, quick: bool, rounds: usize) -> Report {
        let figures = vec![
            Figure::count("headers", "headers", u64::from(HEADERS)),
            Figure::measured(
                "check_cpu_s",
                "processor time to check all, s",
                3,
                self.check_cpu,
            )
            .with_goal(Goal::AtMost(1.0)),
            Figure::measured("load_s", "time to load from disk, s", 3, self.load)
                .with_goal(Goal::AtMost(0.5)),
            Figure::measured("load_cpu_s", "its processor time, s", 3, self.load_cpu),
            Figure::measured("rss_mb", "peak memory of the process, MB", 1, self.rss)
                .with_goal(Goal::AtMost(150.0)),
        ];
        Report::new("headers", quick, rounds, figures)
    }
}

impl Part {
    pub(super) fn run(self) -> anyhow::Result<Value> {
        let start = Instant::now();
        let (chain, cpu) = match &self {
            Self::Check { file } => {
                let chain = Blockchain::in_memory(spec());
                let cpu = feed(&chain, file)?;
                (chain, cpu)
            }
            Self::Load { dir } => (Blockchain::open(spec(), dir)?, machine::cpu_time()),
        };
        let wall = start.elapsed().as_secs_f64();
        let cpu = cpu.map(|time| time.as_secs_f64());
        let height = chain.best_header().height;
        ensure!(height == HEADERS, "{height} of {HEADERS} headers");
        Ok(json!({ "cpu_s": cpu, "wall_s": wall, "rss_mb": machine::peak_rss_mb() }))
    }
}

fn spec() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::testnet())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Writes the headers to a file.
fn make(path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut header = spec().genesis_block().header;
    let spacing = u32::try_from(spec().consensus.target_spacing)?;
    for _ in 0..HEADERS {
        header = Header {
            prev_blockhash: header.block_hash(),
            time: header.time + spacing,
            ..header
        };
        find_nonce(&mut header)?;
        file.write_all(&serialize(&header))?;
    }
    file.flush()?;
    Ok(())
}

/// Gives a chain the headers of a file, a message's worth at a time, as a peer would. Gives the processor time
/// that the chain took for them, without reading the file.
fn feed(chain: &Blockchain, path: &Path) -> anyhow::Result<Option<Duration>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut spent = Some(Duration::ZERO);
    let mut left = HEADERS as usize;
    let mut bytes = [0; Header::SIZE];
    while left > 0 {
        let count = left.min(MAX_HEADERS_PER_MESSAGE);
        let mut headers: Vec<Header> = Vec::with_capacity(count);
        for _ in 0..count {
            file.read_exact(&mut bytes)?;
            headers.push(deserialize(&bytes)?);
        }
        // The clock of whoever gets a chain that is up to date.
        let now = headers.last().map_or(0, |header| header.time);
        let before = machine::cpu_time();
        chain.accept_headers(&headers, now)?;
        let taken = machine::cpu_time().zip(before);
        spent = spent
            .zip(taken)
            .map(|(sum, (after, before))| sum + after.saturating_sub(before));
        left -= count;
    }
    Ok(spent)
}
