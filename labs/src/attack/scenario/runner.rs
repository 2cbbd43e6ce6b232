//! One round of an attack: a victim at rest, honest peers, calm first and then the attacker.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::Scenario;
use super::honest::{Answers, stay};
use super::miner::{Arrivals, mine};
use super::others::Nodes;
use super::plan::{Others, Plan};
use crate::attack::visitor::{Visit, visits};
use crate::bench::worker::{Running, number};

/// How long the victim is measured with its honest peers alone: long enough for its rate of work.
const CALM: Duration = Duration::from_secs(3);

/// Longest that honest peers may take to become peers of a victim at rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often that is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What one round told.
pub(super) struct Round {
    /// What the victim told before the attack, …
    pub(super) before: Value,
    /// … and at its end.
    pub(super) after: Value,
    /// Processor time that a calm victim uses in a second.
    pub(super) calm_rate: f64,
    /// How long the attack lasted, in seconds.
    pub(super) lasted: f64,
    /// What the attacker told.
    pub(super) crowd: Value,
    pub(super) calm: Honest,
    pub(super) attacked: Honest,
    /// Honest peers that should be there at the end.
    pub(super) expected: u64,
}

/// What honest peers saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Honest {
    pub(super) answers: Vec<Visit>,
    pub(super) visits: Vec<Visit>,
    pub(super) blocks: Vec<Visit>,
}

/// Runs one round.
pub(super) fn round(
    scenario: Scenario,
    plan: &Plan,
    cores: &str,
    quick: bool,
) -> anyhow::Result<Round> {
    let runtime = Runtime::new()?;
    let mut nodes = runtime.block_on(Nodes::start(plan.others))?;
    let mut victim = target(plan.others, cores, &nodes)?;
    let addr = victim.result()?;
    let addr = addr.get("addr").and_then(Value::as_str);
    let addr: SocketAddr = addr.context("the victim told no address")?.parse()?;
    let mut crowd = attacker(scenario, addr, &nodes, quick)?;
    let mut peers = Peers::start(&runtime, addr, plan);
    peers.wait_for(&mut victim)?;

    let calm_start = ask(&mut victim)?;
    let calm = peers.during(CALM)?;
    let before = ask(&mut victim)?;
    let spent = number(&before, "cpu_s")? - number(&calm_start, "cpu_s")?;

    if plan.others == Others::Known {
        runtime.block_on(nodes.stop());
    }
    crowd.say("go")?;
    let start = Instant::now();
    let attacked = peers.attacked(plan)?;
    let after = ask(&mut victim)?;
    let lasted = start.elapsed().as_secs_f64();
    let crowd = crowd.last_result()?;
    let expected = u64::from(peers.stays);
    drop(peers);
    victim.wait()?;
    runtime.block_on(nodes.stop());
    Ok(Round {
        before,
        after,
        calm_rate: spent / CALM.as_secs_f64(),
        lasted,
        crowd,
        calm,
        attacked,
        expected,
    })
}

/// Starts the victim, which tells its address.
fn target(others: Others, cores: &str, nodes: &Nodes) -> anyhow::Result<Running> {
    let manual = format!("--manual={}", nodes.addrs());
    let mut arguments = vec!["attack", "target", cores];
    match others {
        Others::None => {}
        Others::HeardOf => arguments.push("--dials"),
        Others::Known => arguments.push(&manual),
    }
    Running::start(&arguments)
}

/// Starts the attacker and waits until he is ready.
fn attacker(
    scenario: Scenario,
    victim: SocketAddr,
    nodes: &Nodes,
    quick: bool,
) -> anyhow::Result<Running> {
    let (name, victim) = (scenario.name(), victim.to_string());
    let others = format!("--others={}", nodes.addrs());
    let mut arguments = vec!["attack", "crowd", name.as_str(), victim.as_str()];
    if !nodes.is_empty() {
        arguments.push(&others);
    }
    arguments.extend(quick.then_some("--quick"));
    let mut crowd = Running::start(&arguments)?;
    crowd.result()?;
    Ok(crowd)
}

/// How the victim is doing.
fn ask(victim: &mut Running) -> anyhow::Result<Value> {
    victim.say("how are you")?;
    victim.result()
}

/// The honest peers, the miner and the visitors, until this is dropped.
struct Peers<'a> {
    runtime: &'a Runtime,
    to: SocketAddr,
    /// How many want to stay.
    stays: u8,
    answers: Answers,
    arrivals: Arrivals,
    stop: CancellationToken,
}

impl<'a> Peers<'a> {
    fn start(runtime: &'a Runtime, to: SocketAddr, plan: &Plan) -> Self {
        let mut peers = Self {
            runtime,
            to,
            stays: 1,
            answers: Answers::default(),
            arrivals: Arrivals::default(),
            stop: CancellationToken::new(),
        };
        let miner = mine(to, plan.mined_every, peers.arrivals.clone());
        peers.spawn(async move {
            if let Err(error) = miner.await {
                eprintln!("  the miner: {error:#}");
            }
        });
        peers.come(plan.residents);
        peers
    }

    /// So many more come.
    fn come(&mut self, count: u8) {
        for _ in 0..count {
            // The miner is one that stays, and has another number.
            self.spawn(stay(self.to, self.stays - 1, self.answers.clone()));
            self.stays += 1;
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.runtime
            .spawn(async move { stop.run_until_cancelled(work).await });
    }

    /// Until all are peers.
    fn wait_for(&self, victim: &mut Running) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while number(&ask(victim)?, "honest")? < f64::from(self.stays) {
            ensure!(
                Instant::now() < deadline,
                "the honest peers do not become peers"
            );
            std::thread::sleep(LOOK);
        }
        self.answers.take();
        self.arrivals.take();
        Ok(())
    }

    /// What they see in the next `time`.
    fn during(&self, time: Duration) -> anyhow::Result<Honest> {
        let visitors = self.visitors();
        std::thread::sleep(time);
        self.seen(visitors)
    }

    /// The same while an attack lasts, in whose first quarter the newcomers come.
    fn attacked(&mut self, plan: &Plan) -> anyhow::Result<Honest> {
        let visitors = self.visitors();
        std::thread::sleep(plan.lasts / 4);
        self.come(plan.newcomers);
        std::thread::sleep(plan.lasts * 3 / 4);
        self.seen(visitors)
    }

    fn visitors(&self) -> Visitors {
        let stop = CancellationToken::new();
        let visiting = self.runtime.spawn(visits(self.to, stop.clone()));
        Visitors { stop, visiting }
    }

    fn seen(&self, visitors: Visitors) -> anyhow::Result<Honest> {
        visitors.stop.cancel();
        Ok(Honest {
            visits: self.runtime.block_on(visitors.visiting)??,
            answers: self.answers.take(),
            blocks: self.arrivals.take(),
        })
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Visitors {
    stop: CancellationToken,
    visiting: tokio::task::JoinHandle<anyhow::Result<Vec<Visit>>>,
}
