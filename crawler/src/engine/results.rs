//! What comes of a visit: is it them or is it us, what is written down, and when the next one is due.

use std::net::IpAddr;

use quantumcoin::reachability::schedule::{self, History, Jitter, Next};
use quantumcoin::reachability::{Outcome, Place};
use quantumcoin::store::model::Event;
use quantumcoin::store::{ProbeRecord, StoreError, Write};

use super::{Engine, Finished, Mode, NEVER};
use crate::frontier::{Class, Entry};
use crate::probe::Probe;
use crate::weather::{Road, Ruling};

impl Engine {
    pub(super) async fn finished(&mut self, finished: Finished) -> Result<(), StoreError> {
        self.show_in_flight();
        let (outcome, at) = (finished.probe.outcome, finished.at);
        let was_good = finished.entry.class == Class::Good;
        let road = Road::to(finished.addr.ip());
        let ruling = self.weather.observe(road, finished, outcome, was_good, at);
        if !self.connected && (outcome.was_connected() || outcome == Outcome::Refused) {
            // What an earlier run said of our own network is over.
            self.connected = true;
            self.store.write(Write::Frozen(None)).await?;
        }
        self.obey(road, ruling, at).await
    }

    /// Does what the weather says.
    pub(super) async fn obey(
        &mut self,
        road: Road,
        ruling: Ruling<Finished>,
        at: i64,
    ) -> Result<(), StoreError> {
        if let Some(down) = ruling.change {
            self.road_changed(road, down, at).await?;
            self.freeze_or_thaw(at).await?;
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

    async fn road_changed(&mut self, road: Road, down: bool, at: i64) -> Result<(), StoreError> {
        let name = road.as_str();
        let (kind, detail) = if down {
            let why = if road.is_proxy() {
                "the proxy does not answer, or nobody whom it leads to"
            } else {
                "good peers stopped answering all at once"
            };
            tracing::warn!("our own network seems to be down for {name}: {why}");
            ("local_network_down", why)
        } else {
            tracing::info!("our own network is back for {name}");
            ("local_network_up", "")
        };
        let event = Event {
            at,
            kind,
            subject: name.to_owned(),
            detail: detail.to_owned(),
        };
        self.store.write(Write::Event(event)).await
    }

    /// The good set is the last known one while nothing connects by any road. Looked at when a road changes and at each tick.
    pub(super) async fn freeze_or_thaw(&mut self, at: i64) -> Result<(), StoreError> {
        let down: Vec<&str> = Road::ALL
            .into_iter()
            .filter(|road| self.weather.is_down(*road))
            .map(Road::as_str)
            .collect();
        if down.is_empty() {
            self.check.ok();
        } else {
            let down = down.join(", ");
            self.check
                .degraded(format!("our own network seems to be down for {down}"));
        }
        let frozen = self.weather.is_frozen(at);
        if frozen == self.frozen {
            return Ok(());
        }
        self.frozen = frozen;
        self.metrics.network_down.set(i64::from(frozen));
        self.store.write(Write::Frozen(frozen.then_some(at))).await
    }

    /// Writes a visit down, learns its addresses, and puts the address back into the frontier.
    pub(super) async fn settle(&mut self, finished: Finished) -> Result<(), StoreError> {
        let Finished {
            addr,
            entry: before,
            mut probe,
            at,
        } = finished;
        self.count(&probe);
        tracing::debug!(%addr, outcome = %probe.outcome, stage = %probe.stage, detail = probe.detail, "visited");
        if let Some(tip) = probe.tip.filter(|_| probe.outcome == Outcome::Ok) {
            let is_left = self.prober.is_left_behind(&tip);
            self.proofs.note(addr, tip, is_left);
        }
        let told = std::mem::take(&mut probe.told);
        probe.observed.told_addresses = u32::try_from(told.len()).ok();
        probe.observed.place = Some(self.locate(addr.ip()).await?);
        let mut entry = after(&before, &probe, at);
        let history = History {
            outcome: probe.outcome,
            failures: entry.failures,
            last_ok_at: entry.last_ok_at,
        };
        let jitter = Jitter::new(&self.key, addr, at);
        let next = schedule::next(&self.config.settings.schedule, &history, at, jitter);
        let next_due = if let Next::At(due) = next { due } else { at };
        let record = ProbeRecord {
            addr,
            at,
            outcome: probe.outcome,
            stage: probe.stage,
            duration_ms: u32::try_from(probe.duration.as_millis()).unwrap_or(u32::MAX),
            next_due,
            failures: entry.failures,
            observed: probe.observed,
            heard: self.frontier.take_heard(addr),
        };
        self.store.write(Write::Probe(Box::new(record))).await?;
        entry.due = if self.mode == Mode::Once {
            NEVER
        } else {
            next_due
        };
        if next == Next::Forget {
            self.store.write(Write::Forget(addr)).await?;
        }
        if next == Next::Forget && self.mode == Mode::Run {
            self.forget(addr);
        } else {
            self.frontier.finish(addr, entry);
        }
        self.learn(addr, &told, at).await
    }

    /// Where an address is; writes down what its system is called when that is met first.
    async fn locate(&mut self, ip: IpAddr) -> Result<Place, StoreError> {
        let place = self.config.geo.place(ip);
        if let Some(number) = place.system
            && self.named.insert(number)
            && let Some(name) = self.config.geo.system_name(ip)
        {
            self.store.write(Write::System(number, name)).await?;
        }
        Ok(place)
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
}

/// What the frontier keeps of an address after a visit; when the next one is due is not decided here.
fn after(before: &Entry, probe: &Probe, at: i64) -> Entry {
    let outcome = probe.outcome;
    let counts = outcome.counts();
    let failures = match outcome {
        _ if !counts => before.failures,
        Outcome::Ok => 0,
        _ => before.failures.saturating_add(1),
    };
    let class = match outcome {
        Outcome::Ok => Class::Good,
        _ if !counts => before.class,
        _ => Class::Rest,
    };
    let told = probe.observed.told_addresses.is_some_and(|told| told > 0);
    Entry {
        failures,
        last_ok_at: if outcome.is_success() {
            Some(at)
        } else {
            before.last_ok_at
        },
        class,
        told_addresses_at: if told {
            Some(at)
        } else {
            before.told_addresses_at
        },
        ..Entry::new(at)
    }
}
