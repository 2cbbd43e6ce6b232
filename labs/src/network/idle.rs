//! `labs network idle`: what a node costs that has all its peers, 124 beside the place for a feeler, and they are at rest.
//!
//! ```text
//! this process ── starts ──> node    with default settings
//!       └──────── starts ──> peers   real nodes: some that it dials, and so many that dial it that all places are taken
//! ```
//! Nothing happens but what happens at rest: pings of both sides, feelers, ticks.

use std::io::{BufRead, stdin};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use quantumcoin::chain::Blockchain;
use quantumcoin::network::NetworkManager;
use serde_json::{Value, json};

use super::node::Plan;
use super::{Outcome, place};
use crate::bench::report::{Figure, Goal, Report};
use crate::bench::sync::parts::{node, quiet};
use crate::bench::sync::path;
use crate::bench::worker::{self, Running, number};
use crate::bench::{cache_dir, machine};

/// Nodes that wait to be dialled: a few more than a node dials.
const LISTENING: u8 = 16;

/// The peers stand in 127.30.0.0 and the /16s behind it, the node in 127.150.
const PEERS_NET: u8 = 30;
const NODE_NET: u8 = 150;

/// Longest until all places are taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of all connections, the place that is taken for moments only.
const FEELER: f64 = 1.0;

/// Until what the handshakes have left behind is over.
const SETTLE: Duration = Duration::from_secs(3);

/// What the project promises: MB, and percent of a core.
const RSS_GOAL: f64 = 80.0;
const CPU_GOAL: f64 = 2.0;

/// The node whose peers rest.
#[derive(Debug, Args)]
pub struct Resting {
    /// Whom it starts with.
    #[arg(long, value_delimiter = ',')]
    bootstrap: Vec<SocketAddr>,
    /// Where it keeps what it keeps.
    dir: PathBuf,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    let time = Duration::from_secs(if quick { 20 } else { 300 });
    std::fs::create_dir_all(cache_dir())?;
    let directory = tempfile::tempdir_in(cache_dir())?;
    eprintln!("starting the peers");
    let mut peers = Running::start(&["network", "idle-peers"])?;
    let bootstrap = text(&peers.result()?, "listening")?;
    let mut node = Running::start(&[
        "network",
        "idle-node",
        &format!("--bootstrap={bootstrap}"),
        path(directory.path())?,
    ])?;
    let addr = text(&node.result()?, "addr")?;
    let outbound = dials_enough(&mut node)?;
    let most = place::spec().network_protocol.max_connections as f64 - FEELER;
    eprintln!("{outbound} outbound peers; the others dial");
    peers.say(&format!("{addr} {}", most - outbound))?;
    peers.result()?;
    let full = |now: &Value| Ok(number(now, "inbound")? + number(now, "outbound")? >= most);
    poll(&mut node, full).context("not all places were taken")?;
    sleep(SETTLE);
    let before = ask(&mut node)?;
    eprintln!("at rest for {} s", time.as_secs());
    let start = Instant::now();
    sleep(time);
    let after = ask(&mut node)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = number(&after, "cpu_s")? - number(&before, "cpu_s")?;
    let rest = Rest {
        seconds,
        inbound: number(&after, "inbound")?,
        outbound: number(&after, "outbound")?,
        pinged: number(&after, "pinged")?,
        rss_mb: number(&after, "rss_mb")?,
        peak_rss_mb: number(&after, "peak_rss_mb")?,
        cpu_percent: 100.0 * cpu / seconds,
    };
    node.wait()?;
    peers.wait()?;
    Ok(rest.outcome(quick, most))
}

/// What was measured.
struct Rest {
    seconds: f64,
    inbound: f64,
    outbound: f64,
    /// Peers that have answered a ping.
    pinged: f64,
    rss_mb: f64,
    peak_rss_mb: f64,
    cpu_percent: f64,
}

impl Rest {
    fn outcome(&self, quick: bool, most: f64) -> Outcome {
        let peers = self.inbound + self.outbound;
        let mut faults = Vec::new();
        if peers < most {
            faults.push(format!("{peers} of {most} peers stand at the end"));
        }
        if self.rss_mb > RSS_GOAL {
            faults.push(format!(
                "{:.1} MB resident, {RSS_GOAL} at most",
                self.rss_mb
            ));
        }
        let measured =
            |key, what, decimals, value| Figure::measured(key, what, decimals, vec![value]);
        let figures = vec![
            measured("peers", "peers", 0, peers),
            measured("inbound", "of these, inbound", 0, self.inbound),
            measured("outbound", "of these, outbound", 0, self.outbound),
            measured("pinged", "peers that have answered a ping", 0, self.pinged),
            measured("seconds", "at rest, s", 0, self.seconds),
            measured("rss_mb", "memory at rest, MB", 1, self.rss_mb)
                .with_goal(Goal::AtMost(RSS_GOAL)),
            measured("peak_rss_mb", "peak memory, MB", 1, self.peak_rss_mb),
            measured("cpu_percent", "processor, % of a core", 2, self.cpu_percent)
                .with_goal(Goal::AtMost(CPU_GOAL)),
        ];
        Outcome {
            report: Report::new("network idle", quick, 1, figures),
            faults,
        }
    }
}

/// Waits until the node has so many outbound peers that it has not got more for a second, and gives their number.
fn dials_enough(node: &mut Running) -> anyhow::Result<f64> {
    let (mut last, mut since) = (0.0, Instant::now());
    let settled = poll(node, |now| {
        let outbound = number(now, "outbound")?;
        if outbound != last {
            (last, since) = (outbound, Instant::now());
        }
        Ok(outbound > 0.0 && since.elapsed() > Duration::from_secs(1))
    });
    number(&settled.context("the node dials nobody")?, "outbound")
}

/// Asks until it `is_so`, and gives that answer.
fn poll(
    node: &mut Running,
    mut is_so: impl FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = ask(node)?;
        if is_so(&now)? {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "last it was {now}");
        sleep(Duration::from_millis(100));
    }
}

fn ask(node: &mut Running) -> anyhow::Result<Value> {
    node.say("")?;
    node.result()
}

fn text(result: &Value, key: &str) -> anyhow::Result<String> {
    let text = result.get(key).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {key}"))?.to_owned())
}

impl Resting {
    /// Tells its address, and after each line on standard input how it is.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        let mut spec = place::spec();
        spec.discovery.bootstrap_nodes = self.bootstrap;
        let plan = Plan {
            number: 0,
            addr: SocketAddr::from((place::host(NODE_NET, 0), 0)),
            dir: self.dir,
            spec,
        };
        let node = runtime.block_on(plan.start())?;
        worker::tell(&json!({ "addr": node.addr() }))?;
        for line in stdin().lock().lines() {
            line?;
            let status = runtime.block_on(node.status())?;
            worker::tell(&json!({
                "inbound": status.inbound,
                "outbound": status.outbound,
                "pinged": status.peers.iter().filter(|peer| peer.ping_us.is_some()).count(),
                "cpu_s": machine::cpu_time().map(|time| time.as_secs_f64()),
                "rss_mb": machine::rss_kib().map(|kib| kib * 1_024.0 / 1e6),
                "peak_rss_mb": machine::peak_rss_mb(),
            }))?;
        }
        runtime.block_on(node.stop());
        Ok(())
    }
}

/// Tells the addresses of those that wait to be dialled; after a line with an address and a number lets so many dial it.
pub(super) fn run_peers() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let chain = Arc::new(Blockchain::in_memory(Arc::new(place::spec())));
    let mut nodes: Vec<NetworkManager> = Vec::new();
    for number in 0..LISTENING {
        let config = quiet(place::host(PEERS_NET, number));
        nodes.push(runtime.block_on(node(config, &chain))?);
    }
    let listening: Vec<String> = nodes
        .iter()
        .map(|node| node.listen_addr().to_string())
        .collect();
    worker::tell(&json!({ "listening": listening.join(",") }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let (addr, count) = line.split_once(' ').context("an address and a number")?;
        for number in 0..count.parse()? {
            let mut config = quiet(place::host(PEERS_NET, LISTENING + number));
            config.manual_peers = vec![addr.parse()?];
            nodes.push(runtime.block_on(node(config, &chain))?);
        }
        worker::tell(&json!({ "started": count }))?;
    }
    for node in nodes {
        runtime.block_on(node.shutdown());
    }
    Ok(())
}
