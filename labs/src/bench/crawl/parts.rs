//! The processes of `bench crawl`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Subcommand;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::reachability::Outcome;
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
                let ports = internet.truth().ports();
                worker::tell(&json!({
                    "answers": ports.answers, "dead": ports.dead, "refusing": ports.refusing,
                }))?;
                std::io::stdin().read_to_end(&mut Vec::new())?;
                Ok(())
            }
            Self::Crawler {
                seeds,
                in_flight,
                dir,
            } => {
                raise_limit();
                let mut config = CrawlerConfig::new(Arc::new(ChainSpec::devnet()), &dir);
                config.use_bootstrap = false;
                config.resolvers = Vec::new();
                config.seed_addrs = seeds;
                config.settings.pace.dials_per_second = DIALS;
                config.settings.pace.max_in_flight = in_flight;
                runtime.block_on(crawl(config))
            }
        }
    }
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
