//! The processes of `bench crawl`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Subcommand;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::reachability::schedule::SchedulePolicy;
use quantumcoin::reachability::{GoodPolicy, Outcome};
use quantumcoin_crawler::{Crawler, CrawlerConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::attack::flood::raise_limit;
use crate::bench::{machine, worker};
use crate::internet::{Internet, InternetArgs};

/// Dials a second at most: more than this machine can make, so that the pace is not what is measured.
const DIALS: u32 = 20_000;

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Plays all peers until standard input ends.
    Internet(InternetArgs),
    /// Visits one peer and then has nothing to do.
    Idle {
        /// The peer.
        #[arg(long)]
        seed: SocketAddr,
        /// How long it is watched, seconds.
        #[arg(long)]
        secs: u64,
        /// The crawler's data directory.
        dir: PathBuf,
    },
    /// Crawls once.
    Crawler {
        /// Where to start, besides what the store knows.
        #[arg(long, value_delimiter = ',')]
        seeds: Vec<SocketAddr>,
        /// Probes in progress at once.
        #[arg(long)]
        in_flight: usize,
        /// The crawler's data directory.
        dir: PathBuf,
    },
}

impl Part {
    pub(in crate::bench) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        match self {
            Self::Internet(args) => {
                let internet = runtime.block_on(Internet::start(args))?;
                let ports = internet.truth().ports().to_string();
                worker::tell(&json!({ "ports": ports }))?;
                std::io::stdin().read_to_end(&mut Vec::new())?;
                Ok(())
            }
            Self::Idle { seed, secs, dir } => {
                let mut config = config(&dir);
                config.seed_addrs = vec![seed.into()];
                config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
                // As everywhere but on devnets.
                config.settings.schedule = SchedulePolicy::default();
                runtime.block_on(idle(config, Duration::from_secs(secs)))
            }
            Self::Crawler {
                seeds,
                in_flight,
                dir,
            } => {
                raise_limit();
                let mut config = config(&dir);
                config.seed_addrs = seeds.into_iter().map(Into::into).collect();
                // As everywhere but on devnets.
                config.settings.good = Some(GoodPolicy {
                    max_netgroup_percent: GoodPolicy::default().max_netgroup_percent,
                    ..config.good_policy()
                });
                config.settings.pace.dials_per_second = DIALS;
                config.settings.pace.max_in_flight = in_flight;
                runtime.block_on(crawl(config))
            }
        }
    }
}

fn config(dir: &Path) -> CrawlerConfig {
    let mut config = CrawlerConfig::new(Arc::new(ChainSpec::devnet()), dir);
    config.use_bootstrap = false;
    config.resolvers = Vec::new();
    config
}

/// Waits until the peer was visited, and then for as long as it is told.
async fn idle(config: CrawlerConfig, watched: Duration) -> anyhow::Result<()> {
    let crawler = Crawler::bind(config).await?;
    let (metrics, stop) = (crawler.metrics(), CancellationToken::new());
    let running = tokio::spawn(crawler.run(stop.clone()));
    while metrics.probes_total() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Until what the visit has brought about is over.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (start, before) = (Instant::now(), machine::cpu_time().unwrap_or_default());
    tokio::time::sleep(watched).await;
    let used = machine::cpu_time()
        .unwrap_or_default()
        .saturating_sub(before);
    let wall = start.elapsed();
    ensure!(metrics.probes_total() == 1, "the one peer was visited once");
    stop.cancel();
    running.await??;
    worker::tell(&json!({ "cpu_s": used.as_secs_f64(), "wall_s": wall.as_secs_f64() }))
}

async fn crawl(config: CrawlerConfig) -> anyhow::Result<()> {
    let start = Instant::now();
    let crawler = Crawler::bind(config).await?;
    let report = crawler.once(CancellationToken::new()).await?;
    worker::tell(&json!({
        "wall_s": start.elapsed().as_secs_f64(),
        "cpu_s": machine::cpu_time().map(|time| time.as_secs_f64()),
        "rss_mb": machine::peak_rss_mb(),
        "probes": report.probes,
        "passed": report.count(Outcome::Ok),
        "good": report.good,
    }))
}
