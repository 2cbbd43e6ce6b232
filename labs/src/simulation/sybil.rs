//! Somebody with 600 addresses in 200 subnets of 40 netgroups wants all places that a node has for those who dial it. Those
//! who were there before stay, and an honest newcomer finds a place.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;

use super::node::address;
use super::world::World;
use crate::bench::report::{Figure, Goal, Report};

/// Enough that the victim has some of them as inbound peers.
const NODES: usize = 200;
const VICTIM: usize = 0;
const ADDRESSES: u32 = 600;
const SUBNETS: u32 = 200;
const NETGROUPS: u32 = 40;

/// Seconds of the attack.
const LASTS: u32 = 3_600;
const QUICK_LASTS: u32 = 1_500;

/// His connections in a second.
const PER_SECOND: u32 = 4;

/// Ten minutes: that long the attack has gone on before honest newcomers come, one in a minute, and that long they are to stay.
const STAY: u32 = 600;

/// How one run went.
pub(super) struct Outcome {
    /// Of those who had dialled the victim before, the share that did not have to go.
    kept: f64,
    /// Of the newcomers, the share that was let in, and that stayed for ten minutes.
    admitted: f64,
    stayed: f64,
    /// The attacker's share of the places.
    share: f64,
    evicted: usize,
}

fn attacker(number: u32) -> SocketAddr {
    let (subnet, host) = (number % SUBNETS, number / SUBNETS);
    let ip = 0x9600_0001 + ((subnet % NETGROUPS) << 16) + ((subnet / NETGROUPS) << 8) + host;
    SocketAddr::from((Ipv4Addr::from(ip), 8_333))
}

/// An honest newcomer's: each in a netgroup of its own.
fn newcomer(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x5a00_0001 + (number << 16)), 8_333))
}

pub(super) fn tell(seed: u64, quick: bool) -> anyhow::Result<Outcome> {
    let lasts = if quick { QUICK_LASTS } else { LASTS };
    let newcomers = (lasts - 2 * STAY) / 60;
    let mut world = World::new(seed, (0..NODES as u32).map(address));
    world.attacker.addresses = (0..ADDRESSES).map(attacker).collect();
    world.attacker.addresses.sort_unstable();
    for id in 0..NODES {
        world.start(id);
    }
    world.run(1_200.0);
    let inbound = |world: &World| -> Vec<SocketAddr> {
        let node = world.nodes.get(VICTIM);
        node.map(|node| node.inbound().map(|peer| peer.addr).collect())
            .unwrap_or_default()
    };
    let before = inbound(&world);
    ensure!(!before.is_empty(), "nobody has dialled the victim");
    let (mut admitted, mut stayed) = (0, 0);
    for second in 0..lasts {
        for n in 0..PER_SECOND {
            let number = (second * PER_SECOND + n) % ADDRESSES;
            world.intrude(attacker(number), VICTIM, Vec::new());
        }
        let since = second.checked_sub(STAY);
        if let Some(minute) = since.filter(|s| s % 60 == 0).map(|s| s / 60)
            && minute < newcomers
        {
            world.intrude(newcomer(minute), VICTIM, Vec::new());
            admitted += u32::from(inbound(&world).contains(&newcomer(minute)));
        }
        let stays = since.and_then(|s| s.checked_sub(STAY));
        if let Some(minute) = stays.filter(|s| s % 60 == 0).map(|s| s / 60)
            && minute < newcomers
        {
            stayed += u32::from(inbound(&world).contains(&newcomer(minute)));
        }
        world.run(1.0);
    }
    let after = inbound(&world);
    let evicted = world.nodes.get(VICTIM).map(|node| node.evicted.as_slice());
    let evicted = evicted.unwrap_or_default();
    let kept = before.iter().filter(|addr| !evicted.contains(addr)).count();
    let his = after
        .iter()
        .filter(|addr| world.attacker.owns(**addr))
        .count();
    Ok(Outcome {
        kept: kept as f64 / before.len() as f64,
        admitted: f64::from(admitted) / f64::from(newcomers),
        stayed: f64::from(stayed) / f64::from(newcomers),
        share: his as f64 / after.len().max(1) as f64,
        evicted: evicted.len(),
    })
}

pub(super) fn report(quick: bool, told: Vec<Outcome>) -> anyhow::Result<Report> {
    let of = |f: fn(&Outcome) -> f64| told.iter().map(f).collect::<Vec<_>>();
    let figures = vec![
        Figure::count("nodes", "nodes", NODES as u64),
        Figure::measured(
            "evicted",
            "peers that had to go",
            0,
            of(|o| o.evicted as f64),
        ),
        Figure::measured(
            "attacker_share",
            "his share of inbound places",
            3,
            of(|o| o.share),
        ),
        Figure::measured(
            "kept",
            "share of earlier honest peers kept",
            3,
            of(|o| o.kept),
        )
        .with_goal(Goal::AtLeast(1.0)),
        Figure::measured(
            "admitted",
            "share of honest newcomers let in",
            3,
            of(|o| o.admitted),
        )
        .with_goal(Goal::AtLeast(1.0)),
        Figure::measured(
            "stayed",
            "share of them there ten minutes later",
            3,
            of(|o| o.stayed),
        )
        .with_goal(Goal::AtLeast(0.5)),
    ];
    Ok(Report::new("simulate sybil", quick, told.len(), figures))
}
