//! `labs network outage`: our own network is down for minutes in the middle of a crawl, and no peer may lose its good verdict
//! for it.
//!
//! ```text
//! internet    500 good peers, as `labs internet` plays them; and beside it another one of four
//! crawler     visits each every ten to fifteen seconds; of the four, every thirty to forty
//!             what arrives anywhere but at our own questions is lost, and comes again
//! ```
//! Each network is one process with a network namespace of its own; the store is looked at all the while. The few are too few to
//! fail all at once by their usual visits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::{Crawler, CrawlerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Outcome, namespace};
use crate::attack::dial::unix_seconds;
use crate::bench::report::{Figure, Report};
use crate::bench::sync::path;
use crate::bench::worker::number;
use crate::bench::{cache_dir, worker};
use crate::internet::{Internet, InternetArgs, first_honest};

/// Peers, all of them good, of a large and of a small network.
const MANY: u32 = 500;
const FEW: u32 = 4;

/// Seconds between two visits of each of the few.
const FEW_EVERY: (u32, u32) = (30, 40);

/// Longest until all are good, before and after.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(500);

/// Keys of the figures, what they are, decimals.
type Keys = [(&'static str, &'static str, usize); 6];
const FIGURES: Keys = [
    ("good_before", "good peers before", 0),
    ("outage_s", "nothing arrives for, s", 0),
    ("least_good", "fewest good peers from then on", 0),
    ("noticed_s", "until the good set is marked stale, s", 1),
    ("good_after", "good peers at the end", 0),
    ("back_s", "until it is not stale any more, s", 1),
];

/// The same of the small network.
const FEW_FIGURES: Keys = [
    ("few_good_before", "of few: good peers before", 0),
    ("few_outage_s", "nothing arrives for, s", 0),
    ("few_least_good", "fewest good peers from then on", 0),
    ("few_noticed_s", "until the good set is marked stale, s", 1),
    ("few_good_after", "good peers at the end", 0),
    ("few_back_s", "until it is not stale any more, s", 1),
];

/// The crawl and its network.
#[derive(Debug, Args)]
pub struct Crawl {
    /// How long nothing arrives.
    #[arg(long)]
    seconds: u64,
    /// How many peers there are.
    #[arg(long)]
    peers: u32,
    /// The crawler's data directory.
    dir: PathBuf,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    let seconds = if quick { 75 } else { 300 };
    let (mut faults, mut figures) = (Vec::new(), Vec::new());
    let told = if let Some(lacking) = namespace::lacking() {
        eprintln!("left out: {lacking}");
        [None, None]
    } else {
        both(seconds)?.map(Some)
    };
    for (told, keys) in told.iter().zip([FIGURES, FEW_FIGURES]) {
        for ((key, what, decimals), (name, ..)) in keys.into_iter().zip(FIGURES) {
            let value = told.as_ref().and_then(|told| number(told, name).ok());
            let values = value.into_iter().collect();
            figures.push(Figure::measured(key, what, decimals, values));
        }
        if let Some(told) = told {
            faults.extend(faults_of(told)?);
        }
    }
    Ok(Outcome {
        report: Report::new("network outage", quick, 1, figures),
        faults,
    })
}

/// Both networks at the same time.
fn both(seconds: u64) -> anyhow::Result<[Value; 2]> {
    std::fs::create_dir_all(cache_dir())?;
    let directories = [
        tempfile::tempdir_in(cache_dir())?,
        tempfile::tempdir_in(cache_dir())?,
    ];
    let seconds = format!("--seconds={seconds}");
    let start = |peers: u32, directory: &TempDir| {
        let (peers, dir) = (format!("--peers={peers}"), path(directory.path())?);
        namespace::start(&["network", "outage", &seconds, &peers, dir])
    };
    let [first, second] = &directories;
    let (mut many, mut few) = (start(MANY, first)?, start(FEW, second)?);
    let told = [many.result()?, few.result()?];
    many.wait()?;
    few.wait()?;
    Ok(told)
}

/// What of it must not be.
fn faults_of(told: &Value) -> anyhow::Result<Vec<String>> {
    let of = |key| number(told, key);
    let before = of("good_before")?;
    let mut faults = Vec::new();
    for (key, when) in [
        ("least_good", "once it was down"),
        ("good_after", "at the end"),
    ] {
        if of(key)? < before {
            faults.push(format!("{} of {before} were good {when}", of(key)?));
        }
    }
    if of("noticed_s").is_err() {
        faults.push(format!("of {before} peers: the outage was not noticed"));
    }
    Ok(faults)
}

impl Crawl {
    pub(super) fn run(self) -> anyhow::Result<()> {
        namespace::enter()?;
        tokio::runtime::Runtime::new()?.block_on(self.crawl())
    }

    async fn crawl(self) -> anyhow::Result<()> {
        let internet = Internet::start(InternetArgs {
            addresses: self.peers,
            good: 100,
            told: 100,
            swarm: 0,
            join: None,
            seed: 1,
        });
        let internet = internet.await?;
        let mut config = CrawlerConfig::new(Arc::new(ChainSpec::devnet()), &self.dir);
        config.use_bootstrap = false;
        config.resolvers = Vec::new();
        config.seed_addrs = vec![first_honest(internet.truth()).into()];
        if self.peers == FEW {
            let schedule = &mut config.settings.schedule;
            (schedule.good_min_secs, schedule.good_max_secs) = FEW_EVERY;
        }
        let crawler = Crawler::bind(config).await?;
        let reader = StoreReader::open(&crawler.store_path()).await?;
        let stop = CancellationToken::new();
        let crawling = tokio::spawn(crawler.run(stop.clone()));
        let outage = Outage {
            reader,
            peers: self.peers,
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
    peers: u32,
    lasts: Duration,
}

impl Outage {
    async fn watch(&self) -> anyhow::Result<Value> {
        self.until(|good, _| good >= self.peers as usize).await?;
        let losing = namespace::Losing::what(&["tcp flags & (syn | ack) == syn"])?;
        let start = Instant::now();
        let (mut least, mut noticed) = (self.peers as usize, None);
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
        sleep(PATIENCE * 3 / 4).await;
        let (good, _) = self.look().await?;
        Ok(json!({
            "good_before": self.peers,
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
