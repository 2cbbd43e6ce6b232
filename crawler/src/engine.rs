//! The crawl itself: takes due addresses from the frontier, visits them, settles the results.
//!
//! One task owns the frontier, the weather and the dial rate; visits run as tasks of their own and come
//! back through the join set. It sleeps until the next address is due, a visit ends, or something comes in:
//! it never spins.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quantumcoin::network::protocol::addresses::Gossip;
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::netgroup::{canonical_socket, is_dialable};
use quantumcoin::reachability::schedule::{self, History, Jitter, Next};
use quantumcoin::service::health::Check;
use quantumcoin::store::model::Event;
use quantumcoin::store::{
    CrawlRun, ProbeRecord, Sighting, Store, StoreError, StoreReader, StoredAddress, Write,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::CrawlerConfig;
use crate::frontier::intake::Intake;
use crate::frontier::{Class, Entry, Frontier};
use crate::metrics::CrawlMetrics;
use crate::politeness::DialRate;
use crate::probe::{Probe, Prober, unix_now};
use crate::weather::Weather;

/// Time between two `getaddr` to the same peer, seconds.
const ASK_AGAIN_SECS: i64 = 24 * 3600;

/// With fewer addresses known than this we are short of candidates and ask at each visit.
const FEW_ADDRESSES: usize = 1_000;

/// How often requests for visits are looked for and the run's totals written.
const TICK: Duration = Duration::from_secs(1);

/// Time between two dials while our own network is down: enough to see it come back.
const CANARY_PAUSE: Duration = Duration::from_secs(2);

/// Addresses in one batch from the store.
const LOAD_BATCH: u32 = 20_000;

/// Requests taken up at each tick.
const REQUESTS: u32 = 100;

/// Never due: visited in a crawl that visits each address once.
const NEVER: i64 = i64::MAX;

/// Addresses that came from outside a visit.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) source: String,
    pub(crate) addrs: Vec<SocketAddr>,
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
    frontier: Frontier,
    intake: Intake,
    weather: Weather<Finished>,
    rate: DialRate,
    last_dial: Instant,
    visits: JoinSet<Finished>,
    /// Key of the jitter: nobody else can foresee our visits.
    key: [u8; 16],
    /// Requests that were taken up but are still in the store, so that none is taken twice.
    taken: HashSet<SocketAddr>,
    /// Whether anything answered in this run: then what an earlier run said of our own network is over.
    connected: bool,
    mode: Mode,
    totals: Totals,
}

/// What an engine works with.
pub(crate) struct Parts {
    pub(crate) config: CrawlerConfig,
    pub(crate) store: Arc<Store>,
    pub(crate) reader: StoreReader,
    pub(crate) prober: Arc<Prober>,
    pub(crate) metrics: CrawlMetrics,
    pub(crate) check: Check,
}

impl Engine {
    pub(crate) fn new(parts: Parts, mode: Mode) -> Self {
        let settings = &parts.config.settings;
        Self {
            intake: Intake::new(settings.intake),
            rate: DialRate::new(settings.pace.dials_per_second, Instant::now()),
            frontier: Frontier::default(),
            weather: Weather::default(),
            last_dial: Instant::now(),
            visits: JoinSet::new(),
            key: rand::random(),
            taken: HashSet::new(),
            connected: false,
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
                _ = tick.tick() => self.tick().await?,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.end().await
    }

    /// Fills the frontier from the store, batch by batch.
    async fn load(&mut self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let (batch, last) = self.reader.addresses_after(after, LOAD_BATCH).await?;
            if batch.is_empty() {
                break;
            }
            after = last;
            for stored in batch {
                let entry = self.entry_of(&stored);
                self.frontier.add(stored.addr, entry);
            }
        }
        tracing::info!(addresses = self.frontier.len(), "addresses loaded");
        Ok(())
    }

    fn entry_of(&self, stored: &StoredAddress) -> Entry {
        let class = match (stored.tried, stored.last_ok) {
            (false, _) => Class::New,
            (true, true) => Class::Good,
            (true, false) => Class::Rest,
        };
        let due = if self.mode == Mode::Once {
            self.totals.started_at
        } else {
            // Later than any rule says only when our clock was wrong as it was written.
            stored.next_due.min(self.latest_due())
        };
        Entry {
            failures: stored.failures,
            last_ok_at: stored.last_ok_at,
            class,
            ..Entry::new(due)
        }
    }

    /// The latest next visit that the schedule can give now.
    fn latest_due(&self) -> i64 {
        let schedule = &self.config.settings.schedule;
        let longest = schedule.backoff_cap_secs.max(schedule.good_max_secs);
        unix_now().saturating_add(i64::from(longest))
    }

    /// Starts all visits that are due and allowed; returns how long nothing more can start.
    fn dispatch(&mut self) -> Duration {
        loop {
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
            if self.weather.is_down() && self.last_dial.elapsed() < CANARY_PAUSE {
                return CANARY_PAUSE;
            }
            if !self.rate.take(Instant::now()) {
                return self.rate.wait().max(Duration::from_millis(1));
            }
            let Some((addr, entry)) = self.frontier.pop_due(now) else {
                return TICK;
            };
            self.visit(addr, entry, now);
        }
    }

    fn visit(&mut self, addr: SocketAddr, entry: Entry, now: i64) {
        let asked_lately = entry
            .told_addresses_at
            .is_some_and(|at| now.saturating_sub(at) < ASK_AGAIN_SECS);
        let want_addresses = !asked_lately || self.frontier.len() < FEW_ADDRESSES;
        let prober = Arc::clone(&self.prober);
        self.last_dial = Instant::now();
        self.visits.spawn(async move {
            let probe = prober.probe(addr, want_addresses).await;
            Finished {
                addr,
                entry,
                probe,
                at: unix_now(),
            }
        });
        self.metrics
            .in_flight
            .set(i64::try_from(self.visits.len()).unwrap_or(i64::MAX));
    }

    async fn finished(&mut self, finished: Finished) -> Result<(), StoreError> {
        self.metrics
            .in_flight
            .set(i64::try_from(self.visits.len()).unwrap_or(i64::MAX));
        let (outcome, at) = (finished.probe.outcome, finished.at);
        let was_good = finished.entry.class == Class::Good;
        let ruling = self.weather.observe(finished, outcome, was_good, at);
        if let Some(down) = ruling.change {
            self.weather_changed(down, at).await?;
        }
        if !self.connected && (outcome.was_connected() || outcome == Outcome::Refused) {
            self.connected = true;
            self.store.write(Write::Frozen(None)).await?;
        }
        for finished in ruling.count {
            self.settle(finished).await?;
        }
        for mut finished in ruling.void {
            finished.probe.outcome = Outcome::LocalNetworkDown;
            self.settle(finished).await?;
        }
        Ok(())
    }

    async fn weather_changed(&mut self, down: bool, at: i64) -> Result<(), StoreError> {
        let kind = if down {
            "local_network_down"
        } else {
            "local_network_up"
        };
        self.metrics.network_down.set(i64::from(down));
        if down {
            let why = "good peers stopped answering all at once; statistics are frozen";
            tracing::warn!("our own network seems to be down: {why}");
            self.check.degraded(why);
        } else {
            tracing::info!("our own network is back");
            self.check.ok();
        }
        self.store.write(Write::Frozen(down.then_some(at))).await?;
        let event = Event {
            at,
            kind,
            subject: String::new(),
            detail: String::new(),
        };
        self.store.write(Write::Event(event)).await
    }

    /// Writes a visit down, learns its addresses, and puts the address back into the frontier.
    async fn settle(&mut self, finished: Finished) -> Result<(), StoreError> {
        let Finished {
            addr,
            entry,
            probe,
            at,
        } = finished;
        let outcome = probe.outcome;
        self.count(&probe);
        tracing::debug!(%addr, %outcome, stage = %probe.stage, detail = probe.detail, "visited");
        let failures = match outcome {
            _ if !outcome.counts() => entry.failures,
            Outcome::Ok => 0,
            _ => entry.failures.saturating_add(1),
        };
        let last_ok_at = if outcome.is_success() {
            Some(at)
        } else {
            entry.last_ok_at
        };
        let history = History {
            outcome,
            failures,
            last_ok_at,
        };
        let jitter = Jitter::new(&self.key, addr, at);
        let next = schedule::next(&self.config.settings.schedule, &history, at, jitter);
        let next_due = if let Next::At(due) = next { due } else { at };
        self.store
            .write(Write::Probe(Box::new(ProbeRecord {
                addr,
                at,
                outcome,
                stage: probe.stage,
                duration_ms: u32::try_from(probe.duration.as_millis()).unwrap_or(u32::MAX),
                next_due,
                failures,
                observed: probe.observed,
            })))
            .await?;
        let told_addresses_at = if probe.told.is_empty() {
            entry.told_addresses_at
        } else {
            Some(at)
        };
        let class = match outcome {
            Outcome::Ok => Class::Good,
            _ if !outcome.counts() => entry.class,
            _ => Class::Rest,
        };
        let due = if self.mode == Mode::Once {
            NEVER
        } else {
            next_due
        };
        let entry = Entry {
            failures,
            last_ok_at,
            class,
            told_addresses_at,
            ..Entry::new(due)
        };
        if next == Next::Forget {
            self.store.write(Write::Forget(addr)).await?;
        }
        if next == Next::Forget && self.mode == Mode::Run {
            self.frontier.forget(addr);
        } else {
            self.frontier.finish(addr, entry);
        }
        self.learn(addr, &probe.told, at).await
    }

    fn count(&mut self, probe: &Probe) {
        self.totals.probes += 1;
        *self.totals.outcomes.entry(probe.outcome).or_default() += 1;
        self.metrics
            .probes
            .with_label_values(&[probe.outcome.as_str()])
            .inc();
        self.metrics.duration.observe(probe.duration.as_secs_f64());
        self.metrics.height.set(i64::from(self.prober.height()));
    }

    /// Takes in what a peer told.
    async fn learn(
        &mut self,
        peer: SocketAddr,
        told: &[Gossip],
        now: i64,
    ) -> Result<(), StoreError> {
        let source = format!("peer:{peer}");
        for gossip in told {
            let known = self.frontier.get(gossip.addr).is_some();
            let believed = known || (self.may_dial(gossip.addr) && self.intake.admit(peer, now));
            if believed && (known || self.make_room().await?) {
                self.sight(gossip.addr, &source, now).await?;
            } else {
                self.metrics.refused_addresses.inc();
            }
        }
        Ok(())
    }

    /// Takes in what the operator, DNS or the chain spec told.
    async fn take_tip(&mut self, tip: Tip) -> Result<(), StoreError> {
        let now = unix_now();
        for addr in tip.addrs.into_iter().map(canonical_socket) {
            if self.may_dial(addr) && self.make_room().await? {
                self.sight(addr, &tip.source, now).await?;
            } else {
                self.metrics.refused_addresses.inc();
                tracing::warn!(%addr, source = tip.source,
                    "address left out: reserved or private ranges are dialled on devnets only");
            }
        }
        Ok(())
    }

    async fn sight(&mut self, addr: SocketAddr, source: &str, now: i64) -> Result<(), StoreError> {
        self.frontier.add(addr, Entry::new(now));
        let source = source.to_owned();
        self.store
            .write(Write::Sighting(Sighting {
                addr,
                at: now,
                source,
                next_due: now,
            }))
            .await
    }

    /// Whether one more address fits; gives the worst one up if need be.
    async fn make_room(&mut self) -> Result<bool, StoreError> {
        if self.frontier.len() < self.config.settings.intake.max_addresses {
            return Ok(true);
        }
        let Some(worst) = self.frontier.worst() else {
            return Ok(false);
        };
        self.frontier.forget(worst);
        self.store.write(Write::Forget(worst)).await?;
        Ok(true)
    }

    fn may_dial(&self, addr: SocketAddr) -> bool {
        is_dialable(
            addr,
            self.config.spec.network_protocol.allow_private_addresses,
        )
    }

    /// Once a second: requests for visits, failures that were held back, totals.
    async fn tick(&mut self) -> Result<(), StoreError> {
        for finished in self.weather.release(unix_now()) {
            self.settle(finished).await?;
        }
        let requests = match self.reader.visit_requests(REQUESTS).await {
            Ok(requests) => requests,
            // Visits need no reading: a store that is busy or on a failing disk does not end the crawl.
            Err(error) => {
                tracing::warn!(%error, "requests for visits could not be read");
                return Ok(());
            }
        };
        let before = std::mem::take(&mut self.taken);
        for addr in requests {
            self.taken.insert(addr);
            self.store.write(Write::VisitTaken(addr)).await?;
            if self.may_dial(addr) && !before.contains(&addr) {
                self.sight(addr, "manual", unix_now()).await?;
                self.frontier.visit_now(addr, unix_now());
            }
        }
        Ok(())
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
