//! Somebody with a thousand addresses in 16 netgroups, all of which answer, connects to five nodes again and again and tells
//! them of his addresses, while they are restarted ten times. He must never be all that a node is connected to.

use std::net::{Ipv4Addr, SocketAddr};

use rand::Rng;

use super::node::address;
use super::world::World;
use crate::bench::report::{Figure, Goal, Report};

const NODES: usize = 200;
const VICTIMS: usize = 5;
const ADDRESSES: u32 = 1_000;
const NETGROUPS: u32 = 16;

/// Sessions, and the seconds of each.
const SESSIONS: (u32, u32) = (10, 1_800);
const QUICK_SESSIONS: (u32, u32) = (3, 300);

/// Connections to each victim in a second.
const PER_SECOND: usize = 2;

/// Addresses that each tells.
const TELLS: usize = 10;

/// How one run went.
pub(super) struct Outcome {
    /// How often a victim had nobody else at the end of a session.
    eclipsed: u64,
    /// Of all outbound peers of the victims at the ends of sessions.
    share: f64,
    /// The largest share that he had of one victim's at such an end.
    most: f64,
    /// Of the places for those who dial them.
    inbound: f64,
}

/// His address with this number, from 150.0.0.0 on: twenty in each /24.
fn attacker(number: u32) -> SocketAddr {
    let (group, host) = (number % NETGROUPS, number / NETGROUPS);
    let ip = 0x9600_0001 + (group << 16) + ((host / 20) << 8) + host % 20;
    SocketAddr::from((Ipv4Addr::from(ip), 8_333))
}

pub(super) fn tell(seed: u64, quick: bool) -> anyhow::Result<Outcome> {
    let (sessions, seconds) = if quick { QUICK_SESSIONS } else { SESSIONS };
    let mut world = World::new(seed, (0..NODES as u32).map(address));
    world.attacker.addresses = (0..ADDRESSES).map(attacker).collect();
    world.attacker.addresses.sort_unstable();
    for id in 0..NODES {
        world.start(id);
    }
    world.run(600.0);
    let (mut his, mut all, mut most, mut eclipsed) = (0, 0, 0.0_f64, 0);
    let (mut his_inbound, mut all_inbound) = (0, 0);
    for _ in 0..sessions {
        for second in 0..seconds {
            for id in 0..VICTIMS {
                for _ in 0..PER_SECOND {
                    intrude(&mut world, id);
                }
            }
            if second % 120 == 0 {
                world.mine(0..NODES);
            }
            world.run(1.0);
        }
        for id in 0..VICTIMS {
            let Some(node) = world.nodes.get(id) else {
                continue;
            };
            let owns = |peer: &&super::node::Peer| world.attacker.owns(peer.addr);
            let (hers, count) = (
                node.outbound().filter(owns).count(),
                node.outbound().count(),
            );
            if hers == count {
                eprintln!(
                    "seed {seed}: node {id} is eclipsed at {} s",
                    world.seconds()
                );
                eclipsed += 1;
            }
            his += hers;
            all += count;
            most = most.max(hers as f64 / count as f64);
            his_inbound += node.inbound().filter(owns).count();
            all_inbound += node.inbound().count();
        }
        for id in 0..VICTIMS {
            world.stop(id);
            world.run(1.0);
            world.start(id);
        }
    }
    Ok(Outcome {
        eclipsed,
        share: his as f64 / all as f64,
        most,
        inbound: his_inbound as f64 / all_inbound as f64,
    })
}

fn intrude(world: &mut World, id: usize) {
    let mut any = || attacker(world.rng.random_range(0..ADDRESSES));
    let from = any();
    let tells = (0..TELLS).map(|_| any()).collect();
    world.intrude(from, id, tells);
}

pub(super) fn report(quick: bool, told: Vec<Outcome>) -> anyhow::Result<Report> {
    let eclipsed = told.iter().map(|outcome| outcome.eclipsed).sum();
    let of = |f: fn(&Outcome) -> f64| told.iter().map(f).collect::<Vec<_>>();
    let figures = vec![
        Figure::count("nodes", "nodes", NODES as u64),
        Figure::count("victims", "of them attacked", VICTIMS as u64),
        Figure::count(
            "eclipsed",
            "ends of sessions at which he had a victim for himself",
            eclipsed,
        )
        .with_goal(Goal::AtMost(0.0)),
        Figure::measured(
            "attacker_share",
            "his share of outbound peers",
            3,
            of(|o| o.share),
        ),
        Figure::measured(
            "attacker_most",
            "the largest of one victim",
            2,
            of(|o| o.most),
        ),
        Figure::measured(
            "attacker_inbound",
            "his share of inbound peers",
            3,
            of(|o| o.inbound),
        ),
    ];
    Ok(Report::new("simulate eclipse", quick, told.len(), figures))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn he_has_as_many_addresses_as_the_story_says() {
        let all: HashSet<_> = (0..ADDRESSES).map(attacker).collect();
        assert_eq!(all.len(), ADDRESSES as usize);
        let groups: HashSet<_> = all
            .iter()
            .map(|addr| quantumcoin::reachability::Netgroup::of(addr.ip()))
            .collect();
        assert_eq!(groups.len(), NETGROUPS as usize);
    }
}
