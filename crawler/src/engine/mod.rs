//! The crawl itself: takes due addresses from the frontier, visits them, settles the results.
//!
//! | part | what it does |
//! |---|---|
//! | this file | the loop: what is due, visits, ticks |
//! | `results` | what comes of a visit |
//! | `ticks` | what is done once a second |
//! | `reorganisation` | whom to visit again since the best chain is another one |
//! | `learning` | addresses that peers and operators tell |
//!
//! One task owns the frontier, the weather and the dial rate; visits run as tasks of their own and come
//! back through the join set. It sleeps until the next address is due, a visit ends, or something comes in:
//! it never spins.

mod learning;
mod reorganisation;
mod results;
mod ticks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::exclusions::Exclusions;
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::service::health::Check;
use quantumcoin::store::{CrawlRun, Store, StoreError, StoreReader, StoredAddress, Write};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::reorganisation::Proofs;
use crate::config::CrawlerConfig;
use crate::crawler::fit_descriptors;
use crate::dashboard::Rules;
use crate::frontier::intake::Intake;
use crate::frontier::load::load;
use crate::frontier::{Entry, Frontier};
use crate::metrics::CrawlMetrics;
use crate::names::Names;
use crate::politeness::{DialRate, SubnetPace};
use crate::probe::{Probe, Prober, Wants, unix_now};
use crate::progress::Progress;
use crate::weather::{Road, Weathers};

/// Time between two `getaddr` to the same peer, seconds.
const ASK_AGAIN_SECS: i64 = 24 * 3600;

/// With fewer addresses known than this we are short of candidates and ask at each visit.
const FEW_ADDRESSES: usize = 1_000;

/// How often requests for visits are looked for and the run's totals written.
const TICK: Duration = Duration::from_secs(1);

/// Time between two dials while our own network is down: enough to see it come back.
const CANARY_PAUSE: Duration = Duration::from_secs(2);

/// Due addresses that are looked at in one go: when most are put off, other things must have their turn.
const TURNS: usize = 10_000;

/// So long an address waits whose turn comes while our own network is down, seconds: longer than the pause between two such
/// dials, so that they come one by one.
const CANARY_SECS: i64 = 60;

/// So long an address waits that is not to be visited, seconds: the list may change.
const LOOK_AGAIN_SECS: i64 = 600;

/// Requests taken up at each tick.
const REQUESTS: u32 = 100;

/// Never due: visited in a crawl that visits each address once.
const NEVER: i64 = i64::MAX;

/// Addresses that came from outside a visit.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) source: String,
    pub(crate) addrs: Vec<PeerAddress>,
}

/// How long to crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For ever.
    Run,
    /// Until each known address was visited once.
    Once,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Once => "once",
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) started_at: i64,
    pub(crate) probes: u64,
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    pub(crate) interrupted: bool,
}

/// A visit that ended.
#[derive(Debug)]
struct Finished {
    addr: SocketAddr,
    entry: Entry,
    probe: Probe,
    at: i64,
}

/// The crawl's one owner.
pub(crate) struct Engine {
    config: CrawlerConfig,
    store: Arc<Store>,
    reader: StoreReader,
    prober: Arc<Prober>,
    metrics: CrawlMetrics,
    check: Check,
    reloads: Option<mpsc::Receiver<CrawlerConfig>>,
    rules: watch::Sender<Arc<Rules>>,
    progress: watch::Sender<Progress>,
    frontier: Frontier,
    intake: Intake,
    proofs: Proofs,
    weather: Weathers<Finished>,
    rate: DialRate,
    subnets: SubnetPace,
    /// By each road, in the order of [`Road::ALL`].
    last_dials: [Instant; 4],
    /// Of known peers that have a name instead of an address.
    names: Names,
    visits: JoinSet<Finished>,
    /// Networks that the operator has banned, as the store has them.
    banned: Exclusions,
    /// Key of the jitter: nobody else can foresee our visits.
    key: [u8; 16],
    /// Requests that were taken up but are still in the store, so that none is taken twice.
    taken: HashSet<SocketAddr>,
    /// Autonomous systems whose names were written down in this run.
    named: HashSet<u32>,
    /// Whether anything answered in this run: then what an earlier run said of our own network is over.
    connected: bool,
    /// Whether the good set is marked as the last known one.
    frozen: bool,
    mode: Mode,
    totals: Totals,
}

/// The next of what comes; never, where nothing does.
async fn next_of<T>(receiver: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => None,
    }
}

/// What an engine works with.
pub(crate) struct Parts {
    pub(crate) config: CrawlerConfig,
    pub(crate) store: Arc<Store>,
    pub(crate) reader: StoreReader,
    pub(crate) prober: Arc<Prober>,
    pub(crate) metrics: CrawlMetrics,
    pub(crate) check: Check,
    pub(crate) reloads: Option<mpsc::Receiver<CrawlerConfig>>,
    /// Tells the dashboard what of the settings matters to it.
    pub(crate) rules: watch::Sender<Arc<Rules>>,
    /// Tells how the crawl is going.
    pub(crate) progress: watch::Sender<Progress>,
}

impl Engine {
    pub(crate) fn new(parts: Parts, mode: Mode) -> Self {
        let settings = &parts.config.settings;
        Self {
            intake: Intake::new(settings.intake, parts.config.geo.netgroups()),
            rate: DialRate::new(settings.pace.dials_per_second, Instant::now()),
            subnets: SubnetPace::new(settings.pace.dials_per_subnet_minute),
            frontier: Frontier::default(),
            proofs: Proofs::new(parts.prober.best()),
            weather: Weathers::default(),
            banned: Exclusions::default(),
            last_dials: [Instant::now(); 4],
            names: Names::default(),
            visits: JoinSet::new(),
            key: rand::random(),
            taken: HashSet::new(),
            named: HashSet::new(),
            connected: false,
            frozen: false,
            mode,
            totals: Totals {
                started_at: unix_now(),
                ..Totals::default()
            },
            config: parts.config,
            store: parts.store,
            reader: parts.reader,
            prober: parts.prober,
            metrics: parts.metrics,
            check: parts.check,
            reloads: parts.reloads,
            rules: parts.rules,
            progress: parts.progress,
        }
    }

    /// Crawls until the mode's end or `stop`. `tips` brings addresses from outside; a crawl that visits each
    /// address once also waits for its end.
    pub(crate) async fn run(
        mut self,
        mut tips: mpsc::Receiver<Tip>,
        stop: CancellationToken,
    ) -> Result<Totals, StoreError> {
        self.load().await?;
        let mut tips_open = true;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.doubt_what_was_left_behind();
            let pause = self.dispatch();
            if self.mode == Mode::Once && !tips_open && self.is_exhausted() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.totals.interrupted = true;
                    break;
                }
                Some(done) = self.visits.join_next(), if !self.visits.is_empty() => match done {
                    Ok(finished) => self.finished(finished).await?,
                    Err(error) => tracing::error!(%error, "a visit's task failed"),
                },
                tip = tips.recv(), if tips_open => match tip {
                    Some(tip) => self.take_tip(tip).await?,
                    None => tips_open = false,
                },
                Some(config) = next_of(&mut self.reloads) => self.reload(config).await?,
                _ = tick.tick() => self.tick().await?,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.end().await
    }

    /// Goes on with other settings. Network, files and addresses to listen on stay as they are.
    async fn reload(&mut self, mut config: CrawlerConfig) -> Result<(), StoreError> {
        fit_descriptors(&mut config);
        let settings = &config.settings;
        self.rate = DialRate::new(settings.pace.dials_per_second, Instant::now());
        self.subnets = SubnetPace::new(settings.pace.dials_per_subnet_minute);
        self.intake.change(settings.intake, config.geo.netgroups());
        self.prober = Arc::new(self.prober.with(&config));
        self.store
            .write(Write::Policy(config.good_policy()))
            .await?;
        self.rules.send_replace(Rules::of(&config));
        self.config.settings = config.settings;
        self.config.excluded = config.excluded;
        self.config.geo = config.geo;
        // Another database may have other names.
        self.named.clear();
        tracing::info!(excluded = self.config.excluded.len(), "settings read again");
        Ok(())
    }

    /// Fills the frontier from the store.
    async fn load(&mut self) -> Result<(), StoreError> {
        // Before anybody is dialled.
        self.banned = self.reader.banned(unix_now()).await?;
        let names = self.reader.overlay_names().await?.into_iter();
        let names: HashMap<IpAddr, OverlayName> =
            names.map(|name| (name.stand_in().into(), name)).collect();
        let mut held = Names::default();
        let frontier = load(&self.reader, |stored| {
            if let Some(name) = names.get(&stored.addr.ip()) {
                held.hold(*name);
            }
            self.entry_of(stored)
        });
        self.frontier = frontier.await?;
        self.names = held;
        tracing::info!(addresses = self.frontier.len(), "addresses loaded");
        Ok(())
    }

    fn entry_of(&self, stored: &StoredAddress) -> Entry {
        let entry = Entry::of(stored);
        let due = if self.mode == Mode::Once {
            self.totals.started_at
        } else {
            // Later than any rule says only when our clock was wrong as it was written.
            entry.due.min(self.latest_due())
        };
        Entry { due, ..entry }
    }

    /// The latest next visit that the schedule can give now.
    fn latest_due(&self) -> i64 {
        let schedule = &self.config.settings.schedule;
        let longest = schedule.backoff_cap_secs.max(schedule.good_max_secs);
        unix_now().saturating_add(i64::from(longest))
    }

    /// Starts all visits that are due and allowed; returns how long nothing more can start.
    fn dispatch(&mut self) -> Duration {
        for _ in 0..TURNS {
            let now = unix_now();
            if self.visits.len() >= self.config.settings.pace.max_in_flight {
                return TICK;
            }
            let Some(due) = self.frontier.next_due() else {
                return TICK;
            };
            if due > now {
                let seconds = u64::try_from(due.saturating_sub(now)).unwrap_or(1);
                return Duration::from_secs(seconds).min(TICK);
            }
            if !self.rate.take(Instant::now()) {
                return self.rate.wait().max(Duration::from_millis(1));
            }
            let Some((addr, entry)) = self.frontier.pop_due(now) else {
                return TICK;
            };
            match self.puts_off(addr, now) {
                None => self.visit(addr, entry, now),
                Some(later) => {
                    self.rate.give_back();
                    self.frontier.finish(
                        addr,
                        Entry {
                            due: later,
                            ..entry
                        },
                    );
                }
            }
        }
        Duration::ZERO
    }

    /// When a due address is looked at again that must not be dialled now.
    fn puts_off(&mut self, addr: SocketAddr, now: i64) -> Option<i64> {
        let ip = addr.ip();
        if self.is_excluded(ip) || !self.has_way_to(addr) {
            let never = self.mode == Mode::Once;
            return Some(if never { NEVER } else { now + LOOK_AGAIN_SECS });
        }
        // While our own network is down, a dial once in a while shows when it is back.
        if self.weather.is_down(Road::to(ip)) && self.last_dial(ip).elapsed() < CANARY_PAUSE {
            return Some(now + CANARY_SECS);
        }
        // A proxy's relays see no subnets, and each name is a host of its own.
        if Road::to(ip).is_proxy() {
            return None;
        }
        self.subnets.take(ip, now).err()
    }

    /// Whether it has an address, or a name and a proxy to its network.
    fn has_way_to(&self, addr: SocketAddr) -> bool {
        let proxies = &self.config.settings.proxies;
        match self.names.address(addr) {
            Some(PeerAddress::Named(name, _)) => proxies.of(&name).is_some(),
            address => address.is_some(),
        }
    }

    /// When somebody was dialled last by the same way.
    fn last_dial(&mut self, ip: IpAddr) -> &mut Instant {
        let [v4, v6, onion, i2p] = &mut self.last_dials;
        match Road::to(ip) {
            Road::V4 => v4,
            Road::V6 => v6,
            Road::Onion => onion,
            Road::I2p => i2p,
        }
    }

    /// Whether somebody does not want it to be visited: its owner, or the operator.
    fn is_excluded(&self, ip: IpAddr) -> bool {
        let excluded = &self.config.excluded;
        excluded.find(ip).or_else(|| self.banned.find(ip)).is_some()
    }

    fn visit(&mut self, addr: SocketAddr, entry: Entry, now: i64) {
        let asked_lately = entry
            .told_addresses_at
            .is_some_and(|at| now.saturating_sub(at) < ASK_AGAIN_SECS);
        let every = self.config.settings.pace.block_every;
        let wants = Wants {
            addresses: !asked_lately || self.frontier.len() < FEW_ADDRESSES,
            block: every > 0 && rand::random_ratio(1, every),
        };
        let prober = Arc::clone(&self.prober);
        // Without a name it is not dialled ([`Self::puts_off`]).
        let peer = self.names.address(addr).unwrap_or(addr.into());
        *self.last_dial(addr.ip()) = Instant::now();
        self.visits.spawn(async move {
            let probe = prober.probe(peer, wants).await;
            Finished {
                addr,
                entry,
                probe,
                at: unix_now(),
            }
        });
        self.show_in_flight();
    }

    fn show_in_flight(&self) {
        let visits = i64::try_from(self.visits.len()).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(visits);
    }

    /// Nothing in flight and nothing left that was not visited.
    fn is_exhausted(&self) -> bool {
        self.visits.is_empty() && self.frontier.next_due().is_none_or(|due| due == NEVER)
    }

    async fn end(mut self) -> Result<Totals, StoreError> {
        self.visits.shutdown().await;
        for finished in self.weather.drain() {
            self.settle(finished).await?;
        }
        self.write_heard().await?;
        let run = CrawlRun {
            kind: self.mode.as_str(),
            started_at: self.totals.started_at,
            ended_at: Some(unix_now()),
            probes: self.totals.probes,
            passed: self.totals.outcomes.get(&Outcome::Ok).copied().unwrap_or(0),
        };
        self.store.write(Write::Crawl(run)).await?;
        Ok(self.totals)
    }
}

#[cfg(test)]
mod tests;
