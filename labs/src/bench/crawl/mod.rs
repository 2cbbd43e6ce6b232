//! `bench crawl`: the crawler visits every address of a simulated internet once, and must find exactly its truth.
//!
//! ```text
//! internet   plays all peers ([`crate::internet`])          a process of its own
//! crawler    `once`, as the program does it                  another one, whose processor time and memory count
//! here       fills the store before, judges every address after
//! ```

mod parts;
mod truth_check;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::store::{Sighting, Store, Write};
use quantumcoin_crawler::CrawlerConfig;
use serde_json::Value;

pub use self::parts::Part;
use self::truth_check::Check;
use super::report::{Figure, Goal, Report};
use super::sync::path;
use super::worker::{self, Running, number};
use crate::internet::truth::{Kind, Ports, Truth};
use crate::internet::{InternetArgs, first, first_honest};

/// Addresses of a quick run.
const QUICK_ADDRESSES: u32 = 4_000;

/// What the project promises for 100,000 addresses: seconds, milliseconds of processor for each complete probe, MB.
const WALL_GOAL: f64 = 120.0;
const CPU_GOAL: f64 = 0.6;
const RSS_GOAL: f64 = 300.0;

/// What it promises of a swarm in one netgroup, and of a crawler that knows one peer, which was visited.
const SWARM_GOAL: f64 = 0.1;
const IDLE_GOAL: f64 = 1.0;

/// So long a crawler with nothing to do is watched, seconds.
const IDLE_SECS: u32 = 30;
const QUICK_IDLE_SECS: u32 = 5;

/// Which network, and how it is crawled.
#[derive(Debug, Clone, Copy, Args)]
pub struct CrawlArgs {
    #[command(flatten)]
    internet: InternetArgs,
    /// Start from one address, and find all others by asking.
    #[arg(long)]
    from_one: bool,
    /// Probes in progress at once.
    #[arg(long, default_value_t = 2_000)]
    in_flight: u32,
    /// Processes that play the internet: more of them have more descriptors.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    processes: u32,
}

/// Runs the benchmark: one round, for it takes long and what it judges are not times alone.
///
/// # Errors
/// Where a part of it fails.
pub fn run(args: &CrawlArgs, quick: bool) -> anyhow::Result<Report> {
    let mut args = *args;
    if quick {
        args.internet.addresses = args.internet.addresses.min(QUICK_ADDRESSES);
        args.internet.swarm = args.internet.swarm.min(QUICK_ADDRESSES);
    }
    std::fs::create_dir_all(super::cache_dir())?;
    let directory = tempfile::tempdir_in(super::cache_dir())?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (internet, truth) = start(args.internet, args.processes)?;
    let mut seeds = vec![first_honest(&truth)];
    if !args.from_one {
        eprintln!("writing {} addresses down", truth.size());
        let start = Instant::now();
        runtime.block_on(fill(directory.path(), &truth))?;
        eprintln!("{:.1} s", start.elapsed().as_secs_f64());
        seeds.clear();
    }
    eprintln!("crawling");
    let crawled = crawl(directory.path(), &seeds, args.in_flight)?;
    eprintln!("doing nothing");
    let idle_secs = if quick { QUICK_IDLE_SECS } else { IDLE_SECS };
    // One that tells of nobody else.
    let alone =
        first(&truth, Kind::Announcer).context("too few addresses: nobody is an announcer")?;
    let idle = idle(&alone, idle_secs)?;
    for process in internet {
        process.wait()?;
    }
    eprintln!("judging {} addresses", truth.size());
    let check = runtime.block_on(Check::of(directory.path(), &truth))?;
    for fault in check.faults() {
        eprintln!("  {fault}");
    }
    let bytes = std::fs::metadata(directory.path().join("crawl.sqlite"))?.len();
    report(quick, &truth, &crawled, &idle, &check, bytes)
}

fn report(
    quick: bool,
    truth: &Truth,
    crawled: &Value,
    idle: &Value,
    check: &Check,
    bytes: u64,
) -> anyhow::Result<Report> {
    let of = |key| number(crawled, key);
    let m = |key, what, decimals, value: f64| Figure::measured(key, what, decimals, vec![value]);
    let (wall, cpu, probes, passed) = (of("wall_s")?, of("cpu_s")?, of("probes")?, of("passed")?);
    // The promises are about a hundred thousand addresses.
    let scale = f64::from(truth.size()) / 100_000.0;
    let figures = vec![
        Figure::count("addresses", "addresses", truth.size().into()),
        m("good", "good peers found", 0, check.good as f64),
        m(
            "verdict_errors",
            "addresses judged wrongly",
            0,
            check.errors as f64,
        )
        .with_goal(Goal::AtMost(0.0)),
        m(
            "invented",
            "addresses that only liars know, in the store",
            0,
            check.invented as f64,
        ),
        m("probes", "probes", 0, probes),
        m("wall_s", "time for all, s", 1, wall).with_goal(Goal::AtMost(WALL_GOAL * scale)),
        m("probes_per_s", "probes a second", 0, probes / wall),
        m("crawler_cpu_s", "processor time of the crawler, s", 1, cpu),
        m(
            "crawler_cpu_ms_per_probe",
            "of it, for each complete probe, ms",
            3,
            1_000.0 * cpu / passed.max(1.0),
        )
        .with_goal(Goal::AtMost(CPU_GOAL)),
        m(
            "peak_rss_mb",
            "peak memory of the crawler, MB",
            1,
            of("rss_mb")?,
        )
        .with_goal(Goal::AtMost(RSS_GOAL)),
        m(
            "served",
            "good peers that are told to others",
            0,
            check.served as f64,
        ),
        m(
            "swarm_share",
            "of them, those of one owner's swarm",
            3,
            check.served_of_swarm as f64 / check.served.max(1) as f64,
        )
        .with_goal(Goal::AtMost(SWARM_GOAL)),
        m(
            "idle_cpu_percent",
            "processor time with nothing due, percent of a core",
            2,
            100.0 * number(idle, "cpu_s")? / number(idle, "wall_s")?,
        )
        .with_goal(Goal::AtMost(IDLE_GOAL)),
        m(
            "bytes_per_peer",
            "of the file, for each address, bytes",
            0,
            bytes as f64 / f64::from(truth.size()),
        ),
    ];
    Ok(Report::new("crawl", quick, 1, figures))
}

/// Starts an internet in processes of its own.
fn start(args: InternetArgs, processes: u32) -> anyhow::Result<(Vec<Running>, Truth)> {
    let mut first = play(&args)?;
    let told = first.result()?;
    let ports = told.get("ports").and_then(Value::as_str);
    let ports = Ports::parse(ports.unwrap_or_default()).map_err(anyhow::Error::msg)?;
    let mut all = vec![first];
    let others = InternetArgs {
        join: Some(ports),
        ..args
    };
    for _ in 1..processes {
        let mut other = play(&others)?;
        other.result()?;
        all.push(other);
    }
    Ok((all, args.truth(ports)))
}

fn play(args: &InternetArgs) -> anyhow::Result<Running> {
    let mut arguments = vec![
        format!("--addresses={}", args.addresses),
        format!("--good={}", args.good),
        format!("--told={}", args.told),
        format!("--seed={}", args.seed),
        format!("--swarm={}", args.swarm),
    ];
    arguments.extend(args.join.map(|ports| format!("--join={ports}")));
    let mut all = vec!["crawl", "internet"];
    all.extend(arguments.iter().map(String::as_str));
    Running::start(&all)
}

/// Writes every address of the network into a new store, as somebody who knows them all by hand.
async fn fill(dir: &Path, truth: &Truth) -> anyhow::Result<()> {
    let config = CrawlerConfig::new(Arc::new(ChainSpec::devnet()), dir);
    let store = Store::open(&config.store_path(), config.store_options()).await?;
    for number in 0..truth.size() {
        let sighting = Sighting {
            address: truth.address(number).into(),
            at: 1_790_000_000,
            source: "manual".to_owned(),
            times: 1,
            told_by: 0,
            next_due: 0,
        };
        store.write(Write::Sighting(sighting)).await?;
    }
    store.close().await?;
    ensure!(config.store_path().exists(), "the store is there");
    Ok(())
}

/// A crawler that knows one peer, in a process of its own.
fn idle(peer: &SocketAddr, secs: u32) -> anyhow::Result<Value> {
    let directory = tempfile::tempdir_in(super::cache_dir())?;
    let (peer, secs) = (format!("--seed={peer}"), format!("--secs={secs}"));
    worker::run(&["crawl", "idle", &peer, &secs, path(directory.path())?])
}

/// One crawl, in a process of its own.
fn crawl(dir: &Path, seeds: &[SocketAddr], in_flight: u32) -> anyhow::Result<Value> {
    let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    let (seeds, in_flight) = (
        format!("--seeds={}", seeds.join(",")),
        format!("--in-flight={in_flight}"),
    );
    let mut arguments = vec!["crawl", "crawler", in_flight.as_str(), path(dir)?];
    if seeds != "--seeds=" {
        arguments.push(&seeds);
    }
    worker::run(&arguments)
}
