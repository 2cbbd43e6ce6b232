//! The processes of `bench store`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::store::queries::PeerFilter;
use quantumcoin::store::{Store, StoreError, StoreReader};
use quantumcoin_crawler::CrawlerConfig;
use quantumcoin_crawler::frontier::Entry;
use quantumcoin_crawler::frontier::load::load;
use serde_json::json;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::made::{START, addr, probe, told};
use crate::bench::{machine, worker};

/// Probes of each peer in a year: more than its history holds, so that it turns over twice.
const PROBES_A_YEAR: u32 = 60;

/// Probes a second while questions are asked: faster than this machine can crawl.
const PACE: u32 = 2_000;

/// A year in seconds.
const YEAR: i64 = 365 * 86_400;

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Writes addresses down that nobody has probed.
    Fill(Size),
    /// Writes results of probes down.
    Write(Size),
    /// Loads the due queue.
    Load(Size),
    /// Asks while a crawl is written.
    Read(Size),
    /// Writes a year down.
    Year(Size),
}

/// Where, and how many.
#[derive(Debug, Args)]
pub struct Size {
    /// A crawler's data directory.
    dir: PathBuf,
    /// Addresses.
    count: u32,
}

impl Part {
    pub(in crate::bench) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        let result = runtime.block_on(async {
            match self {
                Self::Fill(size) => fill(&size).await,
                Self::Write(size) => write(&size).await,
                Self::Load(size) => load_all(&size).await,
                Self::Read(size) => read(&size).await,
                Self::Year(size) => year(&size).await,
            }
        });
        worker::tell(&result?)
    }
}

fn config(dir: &Path) -> anyhow::Result<CrawlerConfig> {
    std::fs::create_dir_all(dir)?;
    Ok(CrawlerConfig::new(Arc::new(ChainSpec::mainnet()), dir))
}

async fn store(dir: &Path) -> anyhow::Result<Store> {
    let config = config(dir)?;
    Ok(Store::open(&config.store_path(), config.store_options()).await?)
}

async fn reader(dir: &Path) -> anyhow::Result<StoreReader> {
    Ok(StoreReader::open(&config(dir)?.store_path()).await?)
}

async fn fill(size: &Size) -> anyhow::Result<serde_json::Value> {
    let store = store(&size.dir).await?;
    for number in 0..size.count {
        store.write(told(number)).await?;
    }
    // Two of three were probed once.
    for number in (0..size.count).filter(|number| number % 3 > 0) {
        store.write(probe(number, START)).await?;
    }
    store.close().await?;
    Ok(json!({}))
}

async fn write(size: &Size) -> anyhow::Result<serde_json::Value> {
    let store = store(&size.dir).await?;
    for number in 0..size.count {
        store.write(told(number)).await?;
    }
    store.flush().await?;
    let start = Instant::now();
    write_probes(&store, size.count, START).await?;
    store.flush().await?;
    let wall = start.elapsed().as_secs_f64();
    store.close().await?;
    Ok(json!({ "wall_s": wall }))
}

async fn write_probes(store: &Store, count: u32, at: i64) -> Result<(), StoreError> {
    for number in 0..count {
        store.write(probe(number, at)).await?;
    }
    Ok(())
}

async fn load_all(size: &Size) -> anyhow::Result<serde_json::Value> {
    let reader = reader(&size.dir).await?;
    let start = Instant::now();
    let frontier = load(&reader, Entry::of).await?;
    let wall = start.elapsed().as_secs_f64();
    Ok(json!({
        "wall_s": wall,
        "addresses": frontier.len(),
        "rss_mb": machine::rss_kib().map(|kib| kib * 1_024.0 / 1e6),
    }))
}

/// The slowest of all questions while the crawl goes on; the first look at the good set, which reads all of it, apart.
async fn read(size: &Size) -> anyhow::Result<serde_json::Value> {
    let store = Arc::new(store(&size.dir).await?);
    write_probes(&store, size.count, START).await?;
    store.flush().await?;
    let reader = reader(&size.dir).await?;
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let (store, stop, count) = (Arc::clone(&store), stop.clone(), size.count);
        async move {
            let mut ticks = interval(Duration::from_secs(1) / 10);
            for number in 0.. {
                if number % (PACE / 10) == 0 {
                    ticks.tick().await;
                }
                if stop.is_cancelled() {
                    break;
                }
                store.write(probe(number % count, START + 1_500)).await?;
            }
            Ok::<_, StoreError>(())
        }
    });
    let start = Instant::now();
    reader.good_peers(START).await?;
    let first = start.elapsed();
    let mut slowest: BTreeMap<&str, Duration> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        for (what, time) in questions(&reader).await? {
            let slowest = slowest.entry(what).or_default();
            *slowest = time.max(*slowest);
        }
    }
    stop.cancel();
    writing.await??;
    store.close().await?;
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let all: Vec<String> = slowest
        .iter()
        .map(|(what, time)| format!("{what} {:.1} ms", ms(time)))
        .collect();
    Ok(json!({
        "slowest_ms": slowest.values().map(ms).fold(0.0, f64::max),
        "first_ms": ms(&first),
        "each": all.join(", "),
    }))
}

/// What seeder and dashboard ask, and how long each takes.
async fn questions(reader: &StoreReader) -> anyhow::Result<Vec<(&'static str, Duration)>> {
    let now = START + 1_000;
    let mut times = Vec::new();
    let mut start = Instant::now();
    let mut took = |what| {
        times.push((what, start.elapsed()));
        start = Instant::now();
    };
    reader.generation().await?;
    took("generation");
    reader.good_peers(now).await?;
    took("good peers");
    let standard = reader.standard(now).await?;
    took("standard");
    reader.counts(&standard).await?;
    took("counts");
    reader.outcomes().await?;
    took("outcomes");
    reader.hours(now - 72 * 3_600).await?;
    took("hours");
    reader.peers(&PeerFilter::default(), now, 0, 50).await?;
    took("page of peers");
    reader.peer(addr(7), now).await?;
    took("one peer");
    reader.events(10).await?;
    took("events");
    Ok(times)
}

async fn year(size: &Size) -> anyhow::Result<serde_json::Value> {
    let store = store(&size.dir).await?;
    let path = config(&size.dir)?.store_path();
    let megabytes = || -> anyhow::Result<f64> { Ok(std::fs::metadata(&path)?.len() as f64 / 1e6) };
    let mut sizes = Vec::new();
    for round in 0..PROBES_A_YEAR {
        let at = START + i64::from(round) * YEAR / i64::from(PROBES_A_YEAR);
        for number in 0..size.count {
            // Spread, so that every hour has some.
            let later = i64::from(number) * YEAR / i64::from(PROBES_A_YEAR * size.count.max(1));
            store.write(probe(number, at + later)).await?;
        }
        store.flush().await?;
        if (round + 1) % (PROBES_A_YEAR / 4) == 0 {
            sizes.push(megabytes()?);
        }
    }
    store.close().await?;
    let year = megabytes()?;
    let of = |index: usize| sizes.get(index).copied();
    Ok(json!({
        "quarter_mb": of(0),
        "half_mb": of(1),
        "year_mb": year,
        "bytes_per_peer": year * 1e6 / f64::from(size.count.max(1)),
    }))
}
