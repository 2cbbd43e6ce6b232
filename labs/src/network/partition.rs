//! `labs network partition`: a network falls into two halves that both mine, and is one again.
//!
//! ```text
//! half A  127.20.0.0/16 ──┐  what arrives from the other half is lost   ┌── half B  127.21.0.0/16
//!   mines every 5 s       └──────────────── nft drop ───────────────────┘     mines every 7 s
//! ```
//! All in one process with a network namespace of its own. No connection across is closed by the partition: both ends
//! wait, as they do in the world, and TCP sends again what was lost, later each time. After a quarter of an hour it gives
//! up; with `--cut` it does so at once, which shows in ten minutes what a longer partition does: nobody has a connection
//! across any more, and each half has filled its places with its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use super::node::{LabNode, POLL, Plan, stop_all, tips, wait_until};
use super::{Outcome, namespace, place};
use crate::bench::report::{Figure, Goal, Report};
use crate::bench::sync::path;
use crate::bench::worker::number;
use crate::bench::{cache_dir, machine, worker};

/// The halves' networks: node `n` of a half is 127.HALF.n.1.
const HALVES: [u8; 2] = [20, 21];

/// Pauses between blocks of the halves: one has more work in the end, and the other has to give its own up.
const MINE_EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(7)];

/// Longest until all nodes have their outbound peers and one tip, before it is divided.
const GATHER: Duration = Duration::from_secs(60);

/// Outbound peers that each node has before it is divided; what the others lack is gossip.
const ENOUGH_OUTBOUND: usize = 8;

/// Longest that is waited for one tip afterwards, s, in full and in quick runs. What is meant to be is a minute.
const HEAL: u64 = 600;
const QUICK_HEAL: u64 = 120;

/// Attempts of TCP with which a connection is given up after 13 s: 0.2 s, and each time twice as long.
const FEW_ATTEMPTS: u8 = 5;

/// Seconds until all have one tip (the project's promise).
const GOAL: f64 = 60.0;

/// Keys of the figures, what they are, decimals.
const FIGURES: [(&str, &str, usize); 10] = [
    ("nodes", "nodes", 0),
    ("split_s", "in two halves, s", 0),
    ("blocks_a", "blocks mined by one half", 0),
    ("blocks_b", "blocks mined by the other", 0),
    ("crossing", "connections between the halves before", 0),
    ("crossing_at_heal", "of these, standing at the end of it", 0),
    (
        "contact_s",
        "until one half knows of the other's chain, s",
        1,
    ),
    ("heal_s", "until all have one tip, s", 1),
    ("tips", "tips at the end", 0),
    ("peak_rss_mb", "peak memory of all nodes, MB", 1),
];

/// How it is divided.
#[derive(Debug, Clone, Copy, Args)]
pub struct PartitionArgs {
    /// TCP gives up the connections between the halves, as it does in a partition of more than a quarter of an hour.
    #[arg(long)]
    cut: bool,
}

/// The network that is divided.
#[derive(Debug, Args)]
pub struct Divided {
    #[command(flatten)]
    how: PartitionArgs,
    /// Longest that is waited for one tip afterwards, s.
    #[arg(long)]
    heal: u64,
    /// Nodes, half of them on each side.
    #[arg(long)]
    nodes: u8,
    /// How long it is divided.
    #[arg(long)]
    seconds: u64,
    /// Where the nodes keep what they keep.
    dir: PathBuf,
}

pub(super) fn run(args: PartitionArgs, quick: bool) -> anyhow::Result<Outcome> {
    let (nodes, seconds, most) = if quick {
        (20, 20, QUICK_HEAL)
    } else {
        (60, 600, HEAL)
    };
    if let Some(lacking) = namespace::lacking() {
        eprintln!("left out: {lacking}");
        let figures =
            FIGURES.map(|(key, what, decimals)| Figure::measured(key, what, decimals, Vec::new()));
        return Ok(Outcome {
            report: Report::new("network partition", quick, 0, figures.to_vec()),
            faults: Vec::new(),
        });
    }
    std::fs::create_dir_all(cache_dir())?;
    let directory = tempfile::tempdir_in(cache_dir())?;
    let (nodes, seconds, heal) = (
        format!("--nodes={nodes}"),
        format!("--seconds={seconds}"),
        format!("--heal={most}"),
    );
    let dir = path(directory.path())?;
    let mut arguments = vec!["network", "partition", &nodes, &seconds, &heal, dir];
    arguments.extend(args.cut.then_some("--cut"));
    let mut divided = namespace::start(&arguments)?;
    let result = divided.result()?;
    divided.wait()?;
    let mut figures = Vec::new();
    for (key, what, decimals) in FIGURES {
        // Neither comes about if the network does not heal.
        let may_lack = ["heal_s", "contact_s"].contains(&key);
        let value = match result.get(key) {
            Some(value) if may_lack && value.is_null() => None,
            _ => Some(number(&result, key)?),
        };
        let figure = Figure::measured(key, what, decimals, value.into_iter().collect());
        figures.push(match key {
            "heal_s" => figure.with_goal(Goal::AtMost(GOAL)),
            "tips" => figure.with_goal(Goal::AtMost(1.0)),
            _ => figure,
        });
    }
    let tips = number(&result, "tips")?;
    let heal = result.get("heal_s").and_then(serde_json::Value::as_f64);
    let faults = match heal {
        Some(heal) if heal <= GOAL => Vec::new(),
        Some(heal) => vec![format!(
            "{heal:.1} s until all have one tip, {GOAL} s at most"
        )],
        None => vec![format!("after {most} s there are {tips} tips")],
    };
    Ok(Outcome {
        report: Report::new("network partition", quick, 1, figures),
        faults,
    })
}

impl Divided {
    pub(super) fn run(self) -> anyhow::Result<()> {
        namespace::enter()?;
        if self.how.cut {
            namespace::give_up_after(FEW_ATTEMPTS)?;
        }
        tokio::runtime::Runtime::new()?.block_on(self.lab())
    }

    async fn lab(self) -> anyhow::Result<()> {
        let halves = gather(&self.dir, self.nodes / 2).await?;
        let crossing = count_crossing(&halves).await?;
        ensure!(crossing > 0, "no connection to be divided");
        eprintln!("{crossing} connections between the halves; they are divided");
        let mut miners = Miners::new(Instant::now());
        let losing = divide()?;
        apart(&halves, &mut miners, Duration::from_secs(self.seconds)).await?;
        // A block that has just been found is still on its way to the others of its half.
        let each = wait_until(Instant::now() + MINE_EVERY[0], || {
            halves.iter().all(|half| tips(half).len() == 1)
        });
        ensure!(each.await, "a half has more than one tip");
        let heights = heights(&halves);
        ensure!(
            tip(&halves[0])? != tip(&halves[1])?,
            "both halves have one tip: nothing was divided"
        );
        let standing = count_crossing(&halves).await?;
        losing.end()?;
        let healed = heal(&halves, &mut miners, Duration::from_secs(self.heal)).await?;
        worker::tell(&json!({
            "nodes": self.nodes,
            "split_s": self.seconds,
            "blocks_a": heights[0],
            "blocks_b": heights[1],
            "crossing": crossing,
            "crossing_at_heal": standing,
            "contact_s": healed.contact,
            "heal_s": healed.one_tip,
            "tips": all_tips(&halves),
            "peak_rss_mb": machine::peak_rss_mb(),
        }))?;
        for half in halves {
            stop_all(half).await?;
        }
        Ok(())
    }
}

/// Starts both halves, which are one network: each node knows the first of each half and hears of the others.
async fn gather(dir: &Path, each: u8) -> anyhow::Result<[Vec<LabNode>; 2]> {
    eprintln!("starting two times {each} nodes");
    let mut halves = [Vec::new(), Vec::new()];
    let mut spec = place::spec();
    for number in 0..each {
        for (half, net) in halves.iter_mut().zip(HALVES) {
            let host = Ipv4Addr::new(127, net, number, 1);
            let node = Plan {
                number: usize::from(net) * 1_000 + usize::from(number),
                addr: SocketAddr::from((host, 0)),
                dir: dir.join(host.to_string()),
                spec: spec.clone(),
            };
            let node = node.start().await?;
            if number == 0 {
                spec.discovery.bootstrap_nodes.push(node.addr());
            }
            half.push(node);
        }
    }
    let deadline = Instant::now() + GATHER;
    let enough = ENOUGH_OUTBOUND.min(usize::from(each) * 2 - 1);
    loop {
        let mut fewest = usize::MAX;
        for node in halves.iter().flatten() {
            fewest = fewest.min(node.status().await?.outbound);
        }
        if fewest >= enough {
            return Ok(halves);
        }
        ensure!(
            Instant::now() < deadline,
            "after {} s a node has {fewest} outbound peers",
            GATHER.as_secs()
        );
        sleep(POLL).await;
    }
}

fn divide() -> anyhow::Result<namespace::Losing> {
    let [a, b] = HALVES.map(|half| format!("127.{half}.0.0/16"));
    namespace::Losing::what(&[
        &format!("ip saddr {a} ip daddr {b}"),
        &format!("ip saddr {b} ip daddr {a}"),
    ])
}

/// When which half mines.
struct Miners {
    next: [Instant; 2],
    turn: usize,
}

impl Miners {
    fn new(now: Instant) -> Self {
        Self {
            next: [now; 2],
            turn: 0,
        }
    }

    async fn mine(&mut self, halves: &[Vec<LabNode>; 2]) -> anyhow::Result<()> {
        let each = halves.iter().zip(&mut self.next).zip(MINE_EVERY);
        for ((half, next), every) in each {
            if *next <= Instant::now() {
                *next += every;
                self.turn += 1;
                let node = half.get(self.turn % half.len().max(1));
                node.context("a half has nodes")?.mine().await?;
            }
        }
        Ok(())
    }
}

/// Mines on both sides for so long.
async fn apart(
    halves: &[Vec<LabNode>; 2],
    miners: &mut Miners,
    time: Duration,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut tell = start;
    while start.elapsed() < time {
        miners.mine(halves).await?;
        if tell.elapsed() > Duration::from_secs(60) {
            tell = Instant::now();
            say(start, halves).await?;
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// How soon it was one network again, in seconds.
struct Healed {
    contact: Option<f64>,
    one_tip: Option<f64>,
}

/// Mines on, and waits until all nodes have one tip.
async fn heal(
    halves: &[Vec<LabNode>; 2],
    miners: &mut Miners,
    most: Duration,
) -> anyhow::Result<Healed> {
    eprintln!("the halves can reach each other");
    let (start, mut tell) = (Instant::now(), Instant::now());
    let theirs = [tip(&halves[1])?, tip(&halves[0])?];
    let mut healed = Healed {
        contact: None,
        one_tip: None,
    };
    while start.elapsed() < most {
        let knows = |half: &[LabNode], tip| half.iter().any(|n| n.chain.header(&tip).is_some());
        let contact = halves
            .iter()
            .zip(theirs)
            .any(|(half, tip)| knows(half, tip));
        let seconds = start.elapsed().as_secs_f64();
        if contact {
            healed.contact.get_or_insert(seconds);
        }
        if all_tips(halves) == 1 {
            healed.one_tip = Some(seconds);
            break;
        }
        miners.mine(halves).await?;
        if tell.elapsed() > Duration::from_secs(10) {
            tell = Instant::now();
            say(start, halves).await?;
        }
        sleep(POLL).await;
    }
    Ok(healed)
}

async fn say(since: Instant, halves: &[Vec<LabNode>; 2]) -> anyhow::Result<()> {
    eprintln!(
        "  {:.0} s: heights {:?}, {} tips, {} connections across",
        since.elapsed().as_secs_f64(),
        heights(halves),
        all_tips(halves),
        count_crossing(halves).await?
    );
    Ok(())
}

fn tip(half: &[LabNode]) -> anyhow::Result<bitcoin::BlockHash> {
    let first = half.first().context("a half has nodes")?;
    Ok(first.tip().hash)
}

fn all_tips(halves: &[Vec<LabNode>; 2]) -> usize {
    let [a, b] = halves;
    tips(a).union(&tips(b)).count()
}

fn heights(halves: &[Vec<LabNode>; 2]) -> [u32; 2] {
    let height = |half: &[LabNode]| half.first().map_or(0, |node| node.tip().height);
    [height(&halves[0]), height(&halves[1])]
}

/// Connections between the halves, as those have them who dialled.
async fn count_crossing(halves: &[Vec<LabNode>; 2]) -> anyhow::Result<usize> {
    let mut count = 0;
    for node in halves.iter().flatten() {
        let own = half_of(node.addr().ip());
        let peers = node.status().await?.peers;
        count += peers
            .iter()
            .filter(|peer| peer.direction == "outbound" && half_of(peer.addr.ip()) != own)
            .count();
    }
    Ok(count)
}

fn half_of(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) => Some(ip.octets()[1]),
        IpAddr::V6(_) => None,
    }
}
