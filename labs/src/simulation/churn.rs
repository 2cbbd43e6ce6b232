//! Nodes come and go. Nobody who runs may stay alone, or behind.

use anyhow::ensure;
use rand::Rng;

use super::node::address;
use super::world::World;
use crate::bench::report::{Figure, Goal, Report};

const NODES: usize = 300;

/// Three hours, or half an hour.
const LASTS: f64 = 10_800.0;
const QUICK_LASTS: f64 = 1_800.0;

/// How long a node runs, and rests, on average.
const RUNS: f64 = 3_600.0;
const RESTS: f64 = 1_800.0;

/// Between two blocks, on average: more often than in the world, so that more is seen.
const BLOCK: f64 = 120.0;

/// Between two looks.
const LOOK: f64 = 5.0;

/// After its start a node is given so long to find others, and after that is alone no longer than this.
const PATIENCE: f64 = 60.0;

/// By then a block is everywhere.
const SPREADS: f64 = 60.0;

/// How one run went.
pub(super) struct Outcome {
    /// The longest that a node was alone.
    alone: f64,
    /// Of all looks at nodes that had run for a while, the share that found all ten places taken.
    full: f64,
    /// Connections that a node opened, on average.
    outbound: f64,
    starts: u64,
    blocks: u32,
}

struct Story {
    world: World,
    /// When each began to run or to rest, and when it had somebody last.
    since: Vec<f64>,
    company: Vec<f64>,
    looks: u64,
    full: u64,
    outbound: u64,
    starts: u64,
    alone: f64,
    /// The best height at each look.
    best: Vec<u32>,
}

pub(super) fn tell(seed: u64, quick: bool) -> anyhow::Result<Outcome> {
    let mut story = Story::new(seed);
    let lasts = if quick { QUICK_LASTS } else { LASTS };
    while story.world.seconds() < lasts {
        story.world.run(LOOK);
        story.come_and_go();
        if story.world.rng.random_bool(LOOK / BLOCK) {
            story.world.mine(0..NODES);
        }
        story.look()?;
    }
    let best = story.best.last().copied().unwrap_or(0);
    ensure!(best > 0, "nobody found a block");
    Ok(Outcome {
        alone: story.alone,
        full: story.full as f64 / story.looks as f64,
        outbound: story.outbound as f64 / story.looks as f64,
        starts: story.starts,
        blocks: best,
    })
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, (0..NODES as u32).map(address));
        for id in 0..NODES * 2 / 3 {
            world.start(id);
        }
        Self {
            world,
            since: vec![0.0; NODES],
            company: vec![0.0; NODES],
            looks: 0,
            full: 0,
            outbound: 0,
            starts: 0,
            alone: 0.0,
            best: Vec::new(),
        }
    }

    fn come_and_go(&mut self) {
        let now = self.world.seconds();
        for id in 0..NODES {
            let up = self.world.nodes.get(id).is_some_and(|node| node.up);
            let lasts = if up { RUNS } else { RESTS };
            if !self.world.rng.random_bool(LOOK / lasts) {
                continue;
            }
            if up {
                self.world.stop(id);
            } else {
                self.world.start(id);
                self.starts += 1;
            }
            for times in [&mut self.since, &mut self.company] {
                if let Some(time) = times.get_mut(id) {
                    *time = now;
                }
            }
        }
    }

    /// Nobody may be alone for long, or lack a block for long.
    fn look(&mut self) -> anyhow::Result<()> {
        let now = self.world.seconds();
        let heights = self.world.heights(0..NODES);
        self.best.push(heights.into_iter().max().unwrap_or(0));
        let back = (SPREADS / LOOK) as usize;
        let due = self.best.iter().rev().nth(back).copied().unwrap_or(0);
        let times = self.since.iter().zip(&mut self.company);
        for (id, (node, (since, company))) in self.world.nodes.iter().zip(times).enumerate() {
            if !node.up {
                continue;
            }
            let outbound = node.outbound().count();
            if outbound > 0 {
                *company = now;
            }
            self.alone = self.alone.max(now - *company);
            ensure!(
                now - *company <= PATIENCE,
                "node {id} has had no outbound peer for {} s at {now} s",
                now - *company
            );
            if now - since < PATIENCE + SPREADS {
                continue;
            }
            self.looks += 1;
            self.full += u64::from(outbound >= 10);
            self.outbound += outbound as u64;
            let height = self.world.chain.height(node.tip);
            ensure!(
                height >= due,
                "node {id} is at {height} and not at {due} at {now} s"
            );
        }
        Ok(())
    }
}

pub(super) fn report(quick: bool, told: Vec<Outcome>) -> anyhow::Result<Report> {
    let of = |f: fn(&Outcome) -> f64| told.iter().map(f).collect::<Vec<_>>();
    let figures = vec![
        Figure::count("nodes", "nodes", NODES as u64),
        Figure::measured(
            "starts",
            "starts of nodes in a run",
            0,
            of(|o| o.starts as f64),
        ),
        Figure::measured("blocks", "blocks", 0, of(|o| f64::from(o.blocks))),
        Figure::measured(
            "longest_alone_s",
            "longest that a node had no outbound peer, s",
            0,
            of(|o| o.alone),
        )
        .with_goal(Goal::AtMost(PATIENCE)),
        Figure::measured(
            "outbound",
            "outbound peers of a node",
            2,
            of(|o| o.outbound),
        ),
        Figure::measured(
            "share_full",
            "share of the time with all ten places taken",
            3,
            of(|o| o.full),
        ),
    ];
    Ok(Report::new("simulate churn", quick, told.len(), figures))
}
