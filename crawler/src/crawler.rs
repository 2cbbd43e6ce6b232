//! [`Crawler`]: bind, then `run` or `once`. Started the same way by the program, by tests and by the demo.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quantumcoin::network::discovery::{Discovery, DiscoveryError};
use quantumcoin::service::bind::BindError;
use quantumcoin::service::health::Health;
use quantumcoin::service::http::{self, HttpServer};
use quantumcoin::service::metrics::MetricsError;
use quantumcoin::store::{Store, StoreError, StoreReader, Write};
use quantumcoin::transport::{Identity, IdentityError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::CrawlerConfig;
use crate::dashboard::{self, Rules, Visits};
use crate::engine::{Engine, Mode, Parts, Tip, Totals};
use crate::metrics::CrawlMetrics;
use crate::observer::{Around, Observer, Snapshot, sample};
use crate::probe::{Prober, unix_now};
use crate::progress::{self, Progress, SeedAnswers};
use crate::report::CrawlReport;
use crate::roster::SharedRoster;
use crate::seeders::Watch;

/// Time between two rounds of DNS while the crawler runs: so soon an operator sees that a seed has failed. Each round is four
/// questions a seed, which any resolver answers from its cache.
const DNS_AGAIN: Duration = Duration::from_secs(900);

/// Time until the first next round when a seed did not answer; twice as much after each further one. A resolver may come up
/// after us.
const DNS_SOON: Duration = Duration::from_secs(30);

/// Descriptors for everything but probes: store, HTTP, logs.
const OTHER_DESCRIPTORS: usize = 640;

/// Why a crawler could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CrawlerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dashboard's address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The crawler's own identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The resolvers.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A metric's name is taken twice: a fault of this program.
    #[error("metrics: {0}")]
    Metrics(#[from] MetricsError),
}

/// A crawler that is bound but does not crawl yet.
pub struct Crawler {
    config: CrawlerConfig,
    store: Arc<Store>,
    reader: StoreReader,
    prober: Arc<Prober>,
    discovery: Option<Discovery>,
    metrics: CrawlMetrics,
    health: Health,
    snapshot: watch::Sender<Arc<Snapshot>>,
    roster: SharedRoster,
    http: Option<HttpServer>,
    reloads: Option<mpsc::Receiver<CrawlerConfig>>,
    rules: watch::Sender<Arc<Rules>>,
}

impl Crawler {
    /// Opens the store, the identity and the HTTP address.
    ///
    /// # Errors
    /// What could not be opened and why; see [`CrawlerError`].
    pub async fn bind(mut config: CrawlerConfig) -> Result<Self, CrawlerError> {
        fit_descriptors(&mut config);
        let identity = Identity::load_or_create(&config.data_dir.join("identity.key"))?;
        let store = Arc::new(Store::open(&config.store_path(), config.store_options()).await?);
        // The store keeps the policy of a running crawler when others open it; this one sets its own.
        store.write(Write::Policy(config.good_policy())).await?;
        store.flush().await?;
        let reader = StoreReader::open(&config.store_path()).await?;
        let discovery = match config.resolvers.as_slice() {
            [] => None,
            resolvers => Some(Discovery::new(&config.spec, resolvers)?),
        };
        let (metrics, health) = (CrawlMetrics::new()?, Health::new());
        let first = Snapshot::take(&reader, unix_now()).await?;
        let (snapshot, shown) = watch::channel(Arc::new(first));
        let (rules, _) = watch::channel(Rules::of(&config));
        let roster = SharedRoster::default();
        let http = match config.http {
            None => None,
            Some(addr) => {
                let shell = http::shell(metrics.registry.clone(), health.clone());
                // Connections of its own, so that a crowd of visitors never makes the crawl wait.
                let visitors = StoreReader::open(&config.store_path()).await?;
                let visits = Visits::new(Arc::clone(&store), rules.subscribe());
                let pages = dashboard::router(dashboard::Parts {
                    network: config.spec.network.as_str().into(),
                    reader: visitors,
                    snapshot: shown,
                    roster: roster.clone(),
                    visits,
                    metrics: metrics.clone(),
                });
                Some(HttpServer::bind(addr, shell.merge(pages)).await?)
            }
        };
        let prober = Arc::new(Prober::new(&config, Arc::new(identity), rand::random()));
        Ok(Self {
            config,
            store,
            reader,
            prober,
            discovery,
            metrics,
            health,
            snapshot,
            roster,
            http,
            reloads: None,
            rules,
        })
    }

    /// Takes new settings while it crawls: what of them can be changed then is (README). Those that come before it crawls wait.
    pub fn reloads(&mut self) -> mpsc::Sender<CrawlerConfig> {
        let (sender, receiver) = mpsc::channel(1);
        self.reloads = Some(receiver);
        sender
    }

    /// Where the dashboard listens, with the real port.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// Handles to what is counted; cheap to clone.
    pub fn metrics(&self) -> CrawlMetrics {
        self.metrics.clone()
    }

    /// How it is; clones show the same.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The store's file, for the seeder.
    pub fn store_path(&self) -> PathBuf {
        self.config.store_path()
    }

    /// Crawls until `stop`.
    ///
    /// # Errors
    /// The store can't be read or is closed; a disk that refuses writes is no reason to end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CrawlerError> {
        self.crawl(Mode::Run, stop).await.map(|_| ())
    }

    /// Visits each known address once, and each that turns up on the way; ends when none is left, or at
    /// `stop`.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn once(self, stop: CancellationToken) -> Result<CrawlReport, CrawlerError> {
        self.crawl(Mode::Once, stop).await
    }

    async fn crawl(self, mode: Mode, stop: CancellationToken) -> Result<CrawlReport, CrawlerError> {
        let Self {
            config,
            store,
            reader,
            prober,
            discovery,
            metrics,
            health,
            snapshot,
            roster,
            http,
            reloads,
            rules,
        } = self;
        let side = CancellationToken::new();
        let mut tasks = Vec::new();
        let is_shown = http.is_some();
        if let Some(http) = http {
            tasks.push(tokio::spawn(http.run(side.clone())));
        }
        let (seeds, seeds_shown) = watch::channel(Arc::default());
        let (seeders, seeders_shown) = watch::channel(Arc::default());
        let (progress, progress_shown) = watch::channel(Progress::default());
        // Nobody looks at what seeders say where there is no page.
        if is_shown && mode == Mode::Run {
            let urls = config.settings.seeders.as_deref();
            tasks.push(tokio::spawn(Watch::new(urls, seeders).run(side.clone())));
        }
        let observer = Observer {
            reader: reader.clone(),
            store: Arc::clone(&store),
            metrics: metrics.clone(),
            check: health.check("store"),
            snapshot,
            roster,
            around: Around {
                progress: progress_shown,
                seeds: seeds_shown,
                seeders: seeders_shown,
            },
            data_dir: config.data_dir.clone(),
        };
        tasks.push(tokio::spawn(observer.run(side.clone())));
        let (tips, inbox) = mpsc::channel(64);
        tasks.push(tokio::spawn(starting_points(
            config.clone(),
            discovery,
            tips,
            mode,
            seeds,
            side.clone(),
        )));
        let check = health.check("crawl");
        check.ok();
        let network = config.spec.network.clone();
        let parts = Parts {
            config,
            store: Arc::clone(&store),
            reader: reader.clone(),
            prober,
            metrics,
            check,
            reloads,
            rules,
            progress,
        };
        let result = Engine::new(parts, mode).run(inbox, stop).await;
        side.cancel();
        join(tasks).await;
        let report = report(result?, network, &store, &reader).await?;
        // Before the store: the last connection folds the write-ahead log into the file, and a reader's can't.
        reader.close().await;
        store.close().await?;
        Ok(report)
    }
}

/// Commits what is left, looks at the network once more, and adds it all up.
async fn report(
    totals: Totals,
    network: String,
    store: &Store,
    reader: &StoreReader,
) -> Result<CrawlReport, StoreError> {
    store.flush().await?;
    let snapshot = Snapshot::take(reader, unix_now()).await?;
    store.write(Write::Network(sample(&snapshot))).await?;
    let census = Box::new(snapshot.census.clone());
    store.write(Write::Census(census)).await?;
    let outcomes = totals
        .outcomes
        .iter()
        .map(|(o, n)| (o.as_str().to_owned(), *n))
        .collect();
    Ok(CrawlReport {
        network,
        started_at: totals.started_at,
        ended_at: unix_now(),
        probes: totals.probes,
        outcomes,
        known: snapshot.counts.known,
        reachable: snapshot.counts.reachable,
        good: snapshot.good,
        height: snapshot.standard.median,
        stale: snapshot.standard.stale,
        interrupted: totals.interrupted,
    })
}

/// Tells the engine where to start: by hand, from the chain spec, from DNS (again each hour).
async fn starting_points(
    config: CrawlerConfig,
    discovery: Option<Discovery>,
    tips: mpsc::Sender<Tip>,
    mode: Mode,
    answers: SeedAnswers,
    stop: CancellationToken,
) {
    let known = [
        ("manual", config.seed_addrs.clone()),
        (
            "bootstrap",
            if config.use_bootstrap {
                let nodes = config.spec.discovery.bootstrap_nodes.iter();
                nodes.map(|addr| (*addr).into()).collect()
            } else {
                Vec::new()
            },
        ),
    ];
    for (source, addrs) in known {
        if !addrs.is_empty()
            && tips
                .send(Tip {
                    source: source.to_owned(),
                    addrs,
                })
                .await
                .is_err()
        {
            return;
        }
    }
    let Some(discovery) = discovery else { return };
    let mut soon = DNS_SOON;
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = progress::ask(&discovery, &config.spec.discovery.dns_seeds, &answers, unix_now) => found,
        };
        let is_whole = answers.borrow().iter().all(|seed| seed.answered > 0);
        let addrs = found.candidates.into_iter();
        let addrs = addrs.map(|c| c.addr.into()).collect();
        if tips
            .send(Tip {
                source: "dns".to_owned(),
                addrs,
            })
            .await
            .is_err()
            || mode == Mode::Once
        {
            return;
        }
        let pause = if is_whole { DNS_AGAIN } else { soon };
        soon = if is_whole {
            DNS_SOON
        } else {
            (soon * 2).min(DNS_AGAIN)
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of the crawler failed");
        }
    }
}

/// Lowers the number of probes in progress to what the process may open, and says so.
pub(crate) fn fit_descriptors(config: &mut CrawlerConfig) {
    let Some(limit) = descriptor_limit() else {
        return;
    };
    let room = limit.saturating_sub(OTHER_DESCRIPTORS).max(16);
    let pace = &mut config.settings.pace;
    if pace.max_in_flight > room {
        tracing::warn!(
            limit,
            wanted = pace.max_in_flight,
            lowered_to = room,
            "too few file descriptors for so many probes at once; raise the limit (ulimit -n, LimitNOFILE=)"
        );
        pace.max_in_flight = room;
    }
}

/// The soft limit of open files, where the system tells it (Linux).
fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|l| {
        l.strip_prefix("Max open files")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}
