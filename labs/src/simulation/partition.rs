//! Two halves that don't hear each other for ten minutes, and then do. The connections across hang meanwhile, as TCP's do behind
//! a broken router, and go on up to two minutes later; or they were ended when it broke, and all nodes have filled their places
//! with others of their half.

use anyhow::ensure;

use super::node::address;
use super::world::World;
use crate::bench::report::{Figure, Goal, Report};

const NODES: usize = 200;
const HALF: usize = NODES / 2;

/// Before the wall, and behind it.
const BEFORE: u32 = 10;
const BEHIND: u32 = 10;

/// Between two blocks of a half.
const BLOCK: f64 = 60.0;

/// After the wall: the limit, and when it is given up.
const HEALED: f64 = 60.0;
const NEVER: f64 = 600.0;

/// How one run went.
pub(super) struct Outcome {
    hanging: f64,
    ended: f64,
}

pub(super) fn tell(seed: u64, _quick: bool) -> anyhow::Result<Outcome> {
    Ok(Outcome {
        hanging: heals(seed, false)?,
        ended: heals(seed, true)?,
    })
}

/// Seconds until all agree again. With `ends` the wall ends what goes through it.
fn heals(seed: u64, ends: bool) -> anyhow::Result<f64> {
    let mut world = World::new(seed, (0..NODES as u32).map(address));
    for id in 0..NODES {
        world.start(id);
        world.run(0.2);
    }
    for _ in 0..BEFORE {
        world.mine(0..NODES);
        world.run(BLOCK);
    }
    ensure!(world.agrees(), "no one tip before the wall");
    world.build_wall(HALF, ends);
    for _ in 0..BEHIND {
        world.mine(0..HALF);
        world.mine(HALF..NODES);
        world.run(BLOCK);
    }
    // One half has found one more, or they would be even.
    world.mine(0..HALF);
    world.run(5.0);
    let (better, worse) = (world.heights(0..HALF), world.heights(HALF..NODES));
    ensure!(
        better.iter().all(|height| *height == BEFORE + BEHIND + 1)
            && worse.iter().all(|height| *height == BEFORE + BEHIND),
        "the halves did not stay apart, or not together: {better:?}, {worse:?}"
    );
    world.tear_wall_down();
    let fell = world.seconds();
    while !world.agrees() {
        world.run(0.5);
        let since = world.seconds() - fell;
        ensure!(since < NEVER, "no one tip {since} s after the wall fell");
    }
    Ok(world.seconds() - fell)
}

pub(super) fn report(quick: bool, told: Vec<Outcome>) -> anyhow::Result<Report> {
    let of = |f: fn(&Outcome) -> f64| told.iter().map(f).collect::<Vec<_>>();
    let all = told.iter().flat_map(|o| [o.hanging, o.ended]);
    let slowest = all.fold(0.0, f64::max);
    let figures = vec![
        Figure::count("nodes", "nodes", NODES as u64),
        Figure::count("depth", "blocks that one half went back", BEHIND.into()),
        Figure::measured(
            "heals_s",
            "connections having hung: one tip, s",
            1,
            of(|o| o.hanging),
        ),
        Figure::measured(
            "heals_ended_s",
            "having been ended: one tip, s",
            1,
            of(|o| o.ended),
        ),
        Figure::measured("slowest_s", "in the slowest run, s", 1, vec![slowest])
            .with_goal(Goal::AtMost(HEALED)),
    ];
    Ok(Report::new(
        "simulate partition",
        quick,
        told.len(),
        figures,
    ))
}
