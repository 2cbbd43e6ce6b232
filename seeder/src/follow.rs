//! Follows the crawler's store: reads it at each interval, draws a new snapshot, writes its answers and swaps both in.
//!
//! The store may be absent at first, locked, replaced, damaged or deleted later. Nothing of that empties the
//! answers: the last good set stays, marked stale, and health and metrics say why. Only a seeder that has
//! never seen a good peer falls back to the chain spec's bootstrap nodes.

mod drawer;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quantumcoin::{
    service::health::Check,
    store::{GoodSet, StoreError, StoreReader},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::drawer::{Draft, Drawer, Peers};
use crate::{
    setup::Setup,
    snapshot::{Origin, Policy},
    state::{Shared, State, StateError},
};

/// Longest wait for one reading of the store. A locked file answers after SQLite's busy timeout (5 s);
/// beyond three times that something hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// How long closing the store may take: nothing but memory is given back, and what the program has answered must be sent meanwhile.
const CLOSE: Duration = Duration::from_secs(1);

/// Why the store gave no good set this time.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store belongs to another network.
    #[error(
        "{}: holds the crawl of {found}, but this seeder serves {wanted}; name the right file with --store",
        path.display()
    )]
    WrongNetwork {
        /// The file.
        path: PathBuf,
        /// Network in the file.
        found: String,
        /// Network that we serve.
        wanted: String,
    },
    /// No answer in time.
    #[error("{}: no answer within {} s; is the disk hanging?", .0.display(), READ_TIMEOUT.as_secs())]
    Timeout(PathBuf),
    /// The answers can't be written or signed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The program ends.
    #[error("drawing was interrupted")]
    Interrupted,
    /// Nobody is good.
    #[error("the store holds no good peer (the crawler may just have started)")]
    NobodyGood,
    /// No store was named.
    #[error("no store is configured")]
    NoStore,
}

/// Numbers about the snapshot that others show. Set by the follower at each round.
#[derive(Debug, Clone)]
pub struct Gauges {
    /// Peers that may be served.
    pub good_peers: prometheus::IntGauge,
    /// 1 when the served set is old.
    pub stale: prometheus::IntGauge,
    /// Unix seconds of the newest passed probe.
    pub newest_probe: prometheus::IntGauge,
    /// Unix seconds of the last successful reading.
    pub last_read: prometheus::IntGauge,
    /// SOA serial.
    pub serial: prometheus::IntGauge,
    /// 1 while the keys on disk can't be followed and those of before sign.
    pub old_keys: prometheus::IntGauge,
    /// Signed zones that will have no key to sign with within a week.
    pub keys_ending: prometheus::IntGauge,
    /// Failed readings.
    pub failures: prometheus::IntCounter,
}

/// What the follower tells of itself, set at each round.
#[derive(Debug)]
pub struct Checks {
    /// Whom answers tell of.
    pub store: Check,
    /// What they are signed by.
    pub keys: Check,
}

/// Keeps one [`Shared`] state up to date.
#[derive(Debug)]
pub struct Follower {
    options: FollowOptions,
    setup: Arc<Setup>,
    shared: Shared,
    drawer: Drawer,
    reader: Option<(FileId, StoreReader)>,
    checks: Checks,
    gauges: Gauges,
    last_error: Option<String>,
    last_complaint: Option<String>,
}

/// What a [`Follower`] follows and how.
#[derive(Debug, Clone)]
pub struct FollowOptions {
    /// The crawler's store.
    pub store: Option<PathBuf>,
    /// Name of the network that the store must hold.
    pub network: String,
    /// Served until the store has good peers.
    pub bootstrap: Vec<SocketAddr>,
    /// How snapshots are drawn.
    pub policy: Policy,
    /// Time between two readings.
    pub every: Duration,
}

/// A new configuration for a running seeder.
#[derive(Debug)]
pub struct Reload {
    /// What answers are made by.
    pub setup: Arc<Setup>,
    /// What is followed.
    pub options: FollowOptions,
    /// Told when answers come from it, or why they do not.
    pub done: oneshot::Sender<Result<(), FollowError>>,
}

/// Tells a replaced file from the one that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl Follower {
    /// A follower that has read nothing yet.
    ///
    /// # Errors
    /// When the system gives no thread to draw on.
    pub fn new(
        options: FollowOptions,
        shared: Shared,
        checks: Checks,
        gauges: Gauges,
    ) -> io::Result<Self> {
        Ok(Self {
            drawer: Drawer::start()?,
            options,
            setup: Arc::clone(&shared.load().setup),
            shared,
            reader: None,
            checks,
            gauges,
            last_error: None,
            last_complaint: None,
        })
    }

    /// Takes up a configuration; the one before stays when no answers can be made by the new one.
    async fn take_up(&mut self, reload: Reload) {
        let Reload {
            setup,
            options,
            done,
        } = reload;
        if options.store != self.options.store {
            self.reader = None;
        }
        let setup = std::mem::replace(&mut self.setup, setup);
        let options = std::mem::replace(&mut self.options, options);
        let result = self.round().await;
        if result.is_err() {
            (self.setup, self.options, self.reader) = (setup, options, None);
        }
        // Nobody may wait for it.
        let _ = done.send(result);
    }

    /// Reads at each interval until `stop`, and when a new configuration comes.
    pub async fn run(mut self, reloads: mpsc::Receiver<Reload>, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(reloads) => {}
            // Also in the middle of a reading: the disk may hang, and nothing is written.
            () = stop.cancelled() => {}
        }
        if let Some((_, reader)) = self.reader {
            // It closes behind what it reads.
            let _ = tokio::time::timeout(CLOSE, reader.close()).await;
        }
    }

    async fn follow(&mut self, mut reloads: mpsc::Receiver<Reload>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.options.every) => {
                    // What went wrong has been told.
                    let _ = self.round().await;
                }
                Some(reload) = reloads.recv() => self.take_up(reload).await,
            }
        }
    }

    /// One reading and, whatever comes of it, one swap.
    ///
    /// # Errors
    /// When no answers could be made, and those before stay.
    pub async fn round(&mut self) -> Result<(), FollowError> {
        let now = unix_now();
        let result = match tokio::time::timeout(READ_TIMEOUT, self.read(now)).await {
            Ok(result) => result,
            Err(_) => {
                let path = self.options.store.clone();
                Err(FollowError::Timeout(path.unwrap_or_default()))
            }
        };
        let (peers, trouble) = match result {
            Ok(set) => {
                self.gauges.last_read.set(now);
                (Peers::Crawled(set), None)
            }
            Err(error) => {
                if !matches!(error, FollowError::NobodyGood | FollowError::NoStore) {
                    self.gauges.failures.inc();
                    // A connection that failed is not trusted again.
                    self.reader = None;
                }
                (self.fall_back(), Some(error))
            }
        };
        let built = self.build(peers, now).await;
        let failed = built.as_ref().err().map(ToString::to_string);
        let result = built.map(|next| self.shared.store(Arc::new(next)));
        let trouble = trouble.map(|error| error.to_string());
        let words: Vec<String> = trouble.into_iter().chain(failed.clone()).collect();
        self.report(failed.is_some(), words.join("; "));
        self.report_keys();
        result
    }

    async fn read(&mut self, now: i64) -> Result<GoodSet, FollowError> {
        let Some(path) = self.options.store.clone() else {
            return Err(FollowError::NoStore);
        };
        // A reader of a deleted file would go on showing its last state for ever.
        let Some(id) = file_id(&path) else {
            return Err(StoreError::Missing { path }.into());
        };
        let reader = match &self.reader {
            Some((open, reader)) if *open == id => reader.clone(),
            _ => {
                let reader = StoreReader::open(&path).await?;
                let found = reader.network().await?;
                if found != self.options.network {
                    let wanted = self.options.network.clone();
                    return Err(FollowError::WrongNetwork {
                        path,
                        found,
                        wanted,
                    });
                }
                self.reader = Some((id, reader.clone()));
                reader
            }
        };
        let set = reader.good_peers(now).await?;
        if set.peers.is_empty() {
            Err(FollowError::NobodyGood)
        } else {
            Ok(set)
        }
    }

    /// The last good set of this network if there was one; else the bootstrap nodes.
    fn fall_back(&self) -> Peers {
        let state = self.shared.load();
        // A reload may bring another network; its zones must not tell peers of the one before.
        let is_ours = state.snapshot.network() == self.options.network;
        match state.snapshot.origin {
            Origin::Store if is_ours => Peers::Kept,
            _ => Peers::Bootstrap(self.options.bootstrap.clone()),
        }
    }

    async fn build(&self, peers: Peers, now: i64) -> Result<State, FollowError> {
        let draft = Draft {
            peers,
            setup: Arc::clone(&self.setup),
            policy: self.options.policy.clone(),
            previous: self.shared.load_full(),
            now,
        };
        self.drawer.draw(draft).await
    }

    /// Keys on disk that can't be followed.
    fn report_keys(&mut self) {
        let complaints = self.shared.load().complaints().join("; ");
        let words = Some(complaints).filter(|words| !words.is_empty());
        self.gauges.old_keys.set(i64::from(words.is_some()));
        let ending = self.shared.load().ending(unix_now()).len();
        self.gauges
            .keys_ending
            .set(i64::try_from(ending).unwrap_or(i64::MAX));
        match &words {
            None => self.checks.keys.ok(),
            Some(why) => {
                let words = format!("signing with the keys of before: {why}");
                self.checks.keys.degraded(words);
            }
        }
        if words != self.last_complaint {
            match &words {
                Some(why) => tracing::error!("signing with the keys of before: {why}"),
                None => tracing::info!("the keys on disk are followed again"),
            }
            self.last_complaint = words;
        }
    }

    /// `frozen`: the answers are those of before. `words` are empty when all is well.
    fn report(&mut self, frozen: bool, words: String) {
        let state = self.shared.load_full();
        let snapshot = &state.snapshot;
        self.gauges
            .good_peers
            .set(i64::try_from(snapshot.len()).unwrap_or(i64::MAX));
        self.gauges.stale.set(i64::from(snapshot.stale || frozen));
        self.gauges
            .newest_probe
            .set(snapshot.newest_probe_at.unwrap_or(0));
        self.gauges.serial.set(i64::from(snapshot.serial));
        let words = Some(words).filter(|words| !words.is_empty());
        let check = &self.checks.store;
        match (&words, snapshot.origin) {
            (None, _) if !snapshot.stale => check.ok(),
            (None, _) => check.degraded("the crawl is old: is the crawler running?"),
            (Some(why), Origin::Store) => {
                check.degraded(format!("serving the last good set: {why}"));
            }
            (Some(why), Origin::Bootstrap) => {
                check.degraded(format!("serving the chain spec's bootstrap nodes: {why}"));
            }
            (Some(why), Origin::Nothing) => {
                check.failing(format!("there is nobody to serve: {why}"));
            }
        }
        // Each trouble once, not at each round.
        if words != self.last_error {
            match &words {
                Some(why) => tracing::warn!(peers = snapshot.len(), "store not followed: {why}"),
                None => tracing::info!(peers = snapshot.len(), "following the store"),
            }
            self.last_error = words;
        }
    }
}

/// Unix seconds by the system's clock.
#[must_use]
pub fn unix_now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some(FileId(metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let created = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(FileId(created.as_secs(), u64::from(created.subsec_nanos())))
    }
}

#[cfg(test)]
mod tests;
