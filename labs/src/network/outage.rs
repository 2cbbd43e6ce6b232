//! `labs network outage`: our own network is down for minutes in the middle of a crawl, and no peer may lose its good verdict
//! for it.
//!
//! ```text
//! internet    500 good peers, as `labs internet` plays them
//! crawler     visits each every ten to fifteen seconds
//!             what arrives anywhere but at our own questions is lost, and comes again
//! ```
//! All in one process with a network namespace of its own; the store is looked at all the while.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::{Crawler, CrawlerConfig};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Outcome, namespace};
use crate::attack::dial::unix_seconds;
use crate::bench::report::{Figure, Report};
use crate::bench::sync::path;
use crate::bench::worker::number;
use crate::bench::{cache_dir, worker};
use crate::internet::{Internet, InternetArgs, first_honest};

/// Peers, all of them good.
const PEERS: u32 = 500;

/// Longest until all are good, before and after.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(500);

/// Keys of the figures, what they are, decimals.
const FIGURES: [(&str, &str, usize); 6] = [
    ("good_before", "good peers before", 0),
    ("outage_s", "nothing arrives for, s", 0),
    ("least_good", "fewest good peers from then on", 0),
    ("noticed_s", "until the good set is marked stale, s", 1),
    ("good_after", "good peers at the end", 0),
    ("back_s", "until it is not stale any more, s", 1),
];

/// The crawl and its network.
#[derive(Debug, Args)]
pub struct Crawl {
    /// How long nothing arrives.
    #[arg(long)]
    seconds: u64,
    /// The crawler's data directory.
    dir: PathBuf,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    let seconds = if quick { 40 } else { 300 };
    let told = if let Some(lacking) = namespace::lacking() {
        eprintln!("left out: {lacking}");
        None
    } else {
        std::fs::create_dir_all(cache_dir())?;
        let directory = tempfile::tempdir_in(cache_dir())?;
        let seconds = format!("--seconds={seconds}");
        let arguments = ["network", "outage", &seconds, path(directory.path())?];
        let mut crawl = namespace::start(&arguments)?;
        let told = crawl.result()?;
        crawl.wait()?;
        Some(told)
    };
    let mut faults = Vec::new();
    if let Some(told) = &told {
        let of = |key| number(told, key);
        let before = of("good_before")?;
        for (key, when) in [
            ("least_good", "once it was down"),
            ("good_after", "at the end"),
        ] {
            if of(key)? < before {
                faults.push(format!("{} of {before} were good {when}", of(key)?));
            }
        }
        if of("noticed_s").is_err() {
            faults.push("the outage was not noticed".to_owned());
        }
    }
    let figures = FIGURES.map(|(key, what, decimals)| {
        let value = told.as_ref().and_then(|told| number(told, key).ok());
        Figure::measured(key, what, decimals, value.into_iter().collect())
    });
    Ok(Outcome {
        report: Report::new("network outage", quick, 1, figures.to_vec()),
        faults,
    })
}

impl Crawl {
    pub(super) fn run(self) -> anyhow::Result<()> {
        namespace::enter()?;
        tokio::runtime::Runtime::new()?.block_on(self.crawl())
    }

    async fn crawl(self) -> anyhow::Result<()> {
        let internet = Internet::start(InternetArgs {
            addresses: PEERS,
            good: 100,
            told: 100,
            swarm: 0,
            seed: 1,
        });
        let internet = internet.await?;
        let mut config = CrawlerConfig::new(Arc::new(ChainSpec::devnet()), &self.dir);
        config.use_bootstrap = false;
        config.resolvers = Vec::new();
        config.seed_addrs = vec![first_honest(internet.truth()).into()];
        let crawler = Crawler::bind(config).await?;
        let reader = StoreReader::open(&crawler.store_path()).await?;
        let stop = CancellationToken::new();
        let crawling = tokio::spawn(crawler.run(stop.clone()));
        let outage = Outage {
            reader,
            lasts: Duration::from_secs(self.seconds),
        };
        let told = outage.watch().await?;
        stop.cancel();
        crawling.await??;
        worker::tell(&told)
    }
}

struct Outage {
    reader: StoreReader,
    lasts: Duration,
}

impl Outage {
    async fn watch(&self) -> anyhow::Result<serde_json::Value> {
        self.until(|good, _| good >= PEERS as usize).await?;
        let losing = namespace::Losing::what(&["tcp flags & (syn | ack) == syn"])?;
        let start = Instant::now();
        let (mut least, mut noticed) = (PEERS as usize, None);
        while start.elapsed() < self.lasts {
            let (good, stale) = self.look().await?;
            least = least.min(good);
            if stale && noticed.is_none() {
                noticed = Some(start.elapsed().as_secs_f64());
            }
            sleep(LOOK).await;
        }
        losing.end()?;
        let end = Instant::now();
        let mut back = None;
        while end.elapsed() < PATIENCE && back.is_none() {
            let (good, stale) = self.look().await?;
            least = least.min(good);
            back = (!stale).then(|| end.elapsed().as_secs_f64());
            sleep(LOOK).await;
        }
        // Each has been visited again by then.
        sleep(PATIENCE / 2).await;
        let (good, _) = self.look().await?;
        Ok(json!({
            "good_before": PEERS,
            "outage_s": self.lasts.as_secs(),
            "least_good": least.min(good),
            "noticed_s": noticed,
            "good_after": good,
            "back_s": back,
        }))
    }

    /// How many are good, and whether that is the last known set only.
    async fn look(&self) -> anyhow::Result<(usize, bool)> {
        let set = self.reader.good_peers(unix_seconds() as i64).await?;
        Ok((set.peers.len(), set.stale))
    }

    async fn until(&self, is_so: impl Fn(usize, bool) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (good, stale) = self.look().await?;
            if is_so(good, stale) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "last {good} were good");
            sleep(LOOK).await;
        }
    }
}
