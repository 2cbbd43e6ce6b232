//! `labs network honest`: nodes that do all that honest nodes do, under default limits, for ten minutes.
//!
//! ```text
//! node 0        has a chain; never stops
//! most nodes    start with it and sync from zero; the rest join later, one after the other
//! even nodes    are handed transactions    (a node that stops takes with it what it has not announced yet,
//! odd nodes     stop and start again        and a wallet would hand that in again)
//! any node      mines
//! ```
//! At the end nothing may be held against anybody, all must have one tip, and the chain must hold every transaction.

mod figures;
mod load;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use quantumcoin::chain::Blockchain;
use tokio::time::sleep;

use self::figures::{Done, report};
use self::load::Load;
use super::node::{LabNode, POLL, Plan, stop_all, tips};
use super::verdict::{Findings, Names};
use super::{Outcome, place};
use crate::bench::cache_dir;
use crate::chain_generator::{ChainOptions, Generator};

/// The nodes stand in 127.10.0.0 and the /16s behind it.
const FIRST_NET: u8 = 10;

/// Nodes whose addresses the others start with.
const BOOTSTRAP: usize = 3;

/// Longest until all have one tip after the last of the load.
const SETTLE: Duration = Duration::from_secs(60);

/// How much happens.
#[derive(Debug, Clone, Copy)]
struct Scale {
    nodes: usize,
    /// Of these, the ones that join later.
    joiners: usize,
    duration: Duration,
    /// Length of the chain that is there at the start.
    chain: u32,
    mine_every: Duration,
    pay_every: Duration,
    restart_every: Duration,
    /// How long a node that restarts is away.
    away: Duration,
}

impl Scale {
    fn new(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        Self {
            nodes: 30,
            joiners: if quick { 4 } else { 8 },
            duration: seconds(if quick { 40 } else { 600 }),
            chain: if quick { 300 } else { 2_000 },
            mine_every: seconds(if quick { 3 } else { 5 }),
            pay_every: Duration::from_millis(500),
            restart_every: seconds(if quick { 6 } else { 20 }),
            away: seconds(if quick { 2 } else { 10 }),
        }
    }

    fn payments(&self) -> u32 {
        // A few hundred; the casts can't cut anything off.
        (self.duration.as_millis() / self.pay_every.as_millis()) as u32
    }
}

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    tokio::runtime::Runtime::new()?.block_on(lab(Scale::new(quick), quick))
}

async fn lab(scale: Scale, quick: bool) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(cache_dir())?;
    let directory = tempfile::tempdir_in(cache_dir())?;
    eprintln!("making a chain of {} blocks", scale.chain);
    let payments = prepare(&scale, &directory.path().join("node0/chain"))?;
    let mut network = Network::new(directory.path(), scale);
    network.begin().await?;
    let mut load = Load::new(payments, scale.chain);
    let mut done = network.live(&mut load).await?;
    let mut faults = network.settle(&mut load, &mut done).await?;
    for node in &network.nodes {
        let status = node.status().await?;
        done.known_addresses.push(status.known_addresses as f64);
        done.connections
            .push((status.inbound + status.outbound) as f64);
        network
            .findings
            .add(node.number(), &status.security, &network.names);
    }
    let findings = std::mem::take(&mut network.findings);
    stop_all(network.nodes).await?;
    let report = report(&done, &findings, scale.nodes, quick);
    faults.extend(findings.penalties);
    Ok(Outcome { report, faults })
}

/// Makes the first node's chain, and transactions that spend its coins.
fn prepare(scale: &Scale, dir: &Path) -> anyhow::Result<Vec<bitcoin::Transaction>> {
    let mut generator = Generator::new(ChainOptions {
        blocks: scale.chain,
        ..ChainOptions::default()
    });
    std::fs::create_dir_all(dir)?;
    let chain = Blockchain::open(std::sync::Arc::clone(generator.spec()), dir)?;
    for block in generator.by_ref() {
        let block = block?;
        chain.accept_headers(&[block.header], block.header.time)?;
        chain.connect_block(&block)?;
    }
    chain.flush()?;
    Ok(generator.into_payments(scale.payments())?)
}

/// The nodes, up and down.
struct Network<'a> {
    scale: Scale,
    directory: &'a Path,
    nodes: Vec<LabNode>,
    away: Vec<(Instant, Plan)>,
    names: Names,
    bootstrap: Vec<SocketAddr>,
    findings: Findings,
}

impl<'a> Network<'a> {
    fn new(directory: &'a Path, scale: Scale) -> Self {
        Self {
            scale,
            directory,
            nodes: Vec::new(),
            away: Vec::new(),
            names: Names::new(),
            bootstrap: Vec::new(),
            findings: Findings::default(),
        }
    }

    /// Starts all but those that join later.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let first = self.scale.nodes - self.scale.joiners;
        eprintln!("starting {first} nodes, which sync from the first");
        for _ in 0..first {
            self.add().await?;
        }
        Ok(())
    }

    /// Starts one more node, which knows nobody but the bootstrap nodes.
    async fn add(&mut self) -> anyhow::Result<()> {
        let number = self.names.len();
        let host = place::host(FIRST_NET, u8::try_from(number)?);
        let mut spec = place::spec();
        spec.discovery.bootstrap_nodes = self.bootstrap.clone();
        let plan = Plan {
            number,
            addr: SocketAddr::from((host, 0)),
            dir: self.directory.join(format!("node{number}")),
            spec,
        };
        let node = plan.start().await?;
        self.names.insert(host.into(), number);
        if self.bootstrap.len() < BOOTSTRAP {
            self.bootstrap.push(node.addr());
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The load, and the nodes' coming and going, for as long as the run is to take.
    async fn live(&mut self, load: &mut Load) -> anyhow::Result<Done> {
        let scale = self.scale;
        let (start, mut done) = (Instant::now(), Done::default());
        // The last joiner comes when two thirds of the time are over.
        let join_every = scale.duration * 2 / 3 / u32::try_from(scale.joiners)?;
        let mut mine = Timer::new(start, scale.mine_every);
        let mut pay = Timer::new(start, scale.pay_every);
        let mut join = Timer::new(start, join_every);
        let mut restart = Timer::new(start, scale.restart_every);
        let mut tell = Timer::new(start, Duration::from_secs(30));
        while start.elapsed() < scale.duration {
            let now = Instant::now();
            if mine.is_due(now) {
                load.mine(&self.nodes).await?;
            }
            if pay.is_due(now) {
                load.pay();
            }
            load.hand_in(&self.nodes).await?;
            if join.is_due(now) && done.joined < scale.joiners {
                self.add().await?;
                done.joined += 1;
            }
            self.bring_back(now).await?;
            // Not so late that it is still away at the end.
            let time = start.elapsed() + scale.away < scale.duration;
            if restart.is_due(now) && time && self.take_away(done.restarts, now).await? {
                done.restarts += 1;
            }
            if tell.is_due(now) {
                self.tell(start);
            }
            sleep(POLL).await;
        }
        self.bring_back(Instant::now() + scale.away).await?;
        done.seconds = start.elapsed().as_secs_f64();
        Ok(done)
    }

    /// Stops one of the nodes with odd numbers, each in its turn. False if that one is not there.
    async fn take_away(&mut self, turn: usize, now: Instant) -> anyhow::Result<bool> {
        let odd = self.scale.nodes / 2;
        let number = turn % odd * 2 + 1;
        let Some(index) = self.nodes.iter().position(|node| node.number() == number) else {
            return Ok(false);
        };
        let node = self.nodes.swap_remove(index);
        // What it has found so far goes with it.
        let status = node.status().await?;
        self.findings.add(number, &status.security, &self.names);
        self.away.push((now + self.scale.away, node.stop().await));
        Ok(true)
    }

    async fn bring_back(&mut self, now: Instant) -> anyhow::Result<()> {
        let (due, away) = std::mem::take(&mut self.away)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.away = away;
        let due: Vec<(Instant, Plan)> = due;
        for (_, plan) in due {
            self.nodes.push(plan.start().await?);
        }
        Ok(())
    }

    /// Mines on until the chain holds every transaction and all have its tip; gives what is missing in the end.
    async fn settle(&mut self, load: &mut Load, done: &mut Done) -> anyhow::Result<Vec<String>> {
        eprintln!("no more load: until all have all");
        let start = Instant::now();
        let mut mine = Timer::new(start, self.scale.mine_every);
        let mut missing = usize::MAX;
        while start.elapsed() < SETTLE {
            load.hand_in(&self.nodes).await?;
            if missing > 0 && mine.is_due(Instant::now()) {
                load.mine(&self.nodes).await?;
                missing = load.unconfirmed(self.first()?)?.len();
            }
            if missing == 0 && tips(&self.nodes).len() == 1 {
                break;
            }
            sleep(POLL).await;
        }
        done.settle_s = start.elapsed().as_secs_f64();
        done.tips = tips(&self.nodes).len();
        done.blocks = self.first()?.tip().height.saturating_sub(load.base());
        let unconfirmed = load.unconfirmed(self.first()?)?;
        done.transactions = load.count() - unconfirmed.len();
        Ok(self.missing(load, &unconfirmed, done.tips))
    }

    /// Where what is not everywhere is missing.
    fn missing(&self, load: &Load, unconfirmed: &[bitcoin::Txid], tips: usize) -> Vec<String> {
        let mut faults = Vec::new();
        if tips > 1 {
            for node in &self.nodes {
                let tip = node.tip();
                faults.push(format!(
                    "node {} has the tip {} at {}, {tips} tips in all",
                    node.number(),
                    tip.hash,
                    tip.height
                ));
            }
        }
        faults.extend(load.refused());
        for txid in unconfirmed {
            faults.push(format!("the chain does not hold {txid}"));
        }
        faults
    }

    fn first(&self) -> anyhow::Result<&LabNode> {
        let first = self.nodes.iter().find(|node| node.number() == 0);
        first.context("the first node never stops")
    }

    fn tell(&self, start: Instant) {
        let heights = self.nodes.iter().map(|node| node.tip().height);
        eprintln!(
            "  {:.0} s: {} nodes, heights {} to {}",
            start.elapsed().as_secs_f64(),
            self.nodes.len(),
            heights.clone().min().unwrap_or(0),
            heights.max().unwrap_or(0)
        );
    }
}

/// Something that happens again and again.
#[derive(Debug)]
struct Timer {
    next: Instant,
    every: Duration,
}

impl Timer {
    fn new(now: Instant, every: Duration) -> Self {
        Self {
            next: now + every,
            every,
        }
    }

    /// Whether it is time; if so, the next time is a whole period later. What was missed is not made up for.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next += self.every;
            if self.next <= now {
                self.next = now + self.every;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_does_not_make_up_for_what_it_missed() {
        let start = Instant::now();
        let mut timer = Timer::new(start, Duration::from_secs(10));
        let due: Vec<u64> = (0..100)
            .filter(|second| {
                // Nobody asked between 25 and 65.
                !(25..65).contains(second) && timer.is_due(start + Duration::from_secs(*second))
            })
            .collect();
        assert_eq!(due, [10, 20, 65, 75, 85, 95]);
    }
}
