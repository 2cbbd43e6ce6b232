//! Nodes behind routers in a network of real programs: a port is mapped, the node is reached from outside, told of, found and
//! served; then the router has another address, and all of that again; at the end the mapping is gone.
//!
//! Each story has a router of its own, so that several are told at the same time.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use super::gateway::{self, Gateway, Mapped, Protocol};
use super::hostile::{Hostile, Manner};
use super::kinds::Kind;
use super::people::{Node, PORT, People};
use super::space::{Space, until};
use super::stun;
use super::world::{Internet, Router};

/// From the start of a node until the seeder tells of it: it has to find peers first.
const FIRST: Duration = Duration::from_secs(90);

/// The same from when its router has another address.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a node may take to end: it gives itself 4 s.
const END: Duration = Duration::from_secs(6);

/// Strangers that have to have reached a node: one alone may lie.
const CONFIRMED_BY: usize = 2;

/// Most memory of a node whose gateway sends junk, in KiB: three times what one takes at rest.
const MEMORY: u64 = 150 << 10;

/// Hosts behind a router: the node, and who was there before.
const NODE: u8 = 10;
const OTHER: u8 = 11;

/// The routers' networks have the numbers from here on.
const FIRST_LAN: u8 = 20;

/// What there was to see.
#[derive(Debug, Default)]
pub(super) struct Stories {
    /// From start until served, in seconds, in the order of [`Protocol::ALL`].
    pub(super) mapped: [Option<f64>; 3],
    /// From a new address until served, in seconds.
    pub(super) changed: Vec<f64>,
    /// Mappings that were gone at the end.
    pub(super) unmapped: usize,
    /// Whether another port was taken where the first was not free.
    pub(super) conflict: bool,
    /// Whether a firewall of IPv6 let strangers in, and not any more at the end.
    pub(super) pinhole: bool,
    /// Bad gateways that did no harm.
    pub(super) harmless: usize,
    /// What was not right, in words.
    pub(super) faults: Vec<String>,
}

/// What one mapping took.
#[derive(Debug)]
struct Mapping {
    first: f64,
    again: f64,
}

/// Tells all stories, in two acts. What an elder dials back in a minute is bounded, and all at once would ask more of them than
/// as many strangers do of a network that is not eight nodes.
pub(super) fn run(internet: &Internet, people: &People, room: &Path) -> Stories {
    let stage = Stage {
        internet,
        people,
        room,
    };
    let mut stories = Stories::default();
    for ((told, protocol), took) in at_once(Protocol::ALL, |protocol| stage.mapping(protocol))
        .into_iter()
        .zip(Protocol::ALL)
        .zip(&mut stories.mapped)
    {
        match told {
            Ok(mapping) => {
                *took = Some(mapping.first);
                stories.changed.push(mapping.again);
                stories.unmapped += 1;
            }
            Err(error) => stories
                .faults
                .push(format!("{}: {error:#}", protocol.key())),
        }
    }
    let second = [Second::Conflict, Second::Pinhole]
        .into_iter()
        .chain(Manner::ALL.map(Second::Hostile));
    let second: Vec<Second> = second.collect();
    let told = at_once(second.clone(), |story| match story {
        Second::Conflict => stage.conflict(),
        Second::Pinhole => stage.pinhole(),
        Second::Hostile(manner) => stage.hostile(manner),
    });
    for (told, story) in told.into_iter().zip(second) {
        match (told, story) {
            (Ok(()), Second::Conflict) => stories.conflict = true,
            (Ok(()), Second::Pinhole) => stories.pinhole = true,
            (Ok(()), Second::Hostile(_)) => stories.harmless += 1,
            (Err(error), story) => stories.faults.push(format!("{story:?}: {error:#}")),
        }
    }
    stories
}

/// The stories of the second act.
#[derive(Debug, Clone, Copy)]
enum Second {
    Conflict,
    Pinhole,
    Hostile(Manner),
}

/// Does this with each of them, all at the same time.
fn at_once<S: Copy + Send, T: Send>(
    stories: impl IntoIterator<Item = S>,
    tell: impl Fn(S) -> anyhow::Result<T> + Sync,
) -> Vec<anyhow::Result<T>> {
    let tell = &tell;
    std::thread::scope(|scope| {
        let telling: Vec<_> = stories
            .into_iter()
            .map(|story| scope.spawn(move || tell(story)))
            .collect();
        let told = telling.into_iter().map(|story| {
            let told = story.join().map_err(|_| anyhow!("a thread panicked"));
            told.flatten()
        });
        told.collect()
    })
}

/// What all stories need.
#[derive(Debug, Clone, Copy)]
struct Stage<'a> {
    internet: &'a Internet,
    people: &'a People,
    room: &'a Path,
}

/// A node behind a router that maps ports.
struct Guest<'a> {
    people: &'a People,
    node: Node,
    space: &'a Space,
    protocol: Protocol,
    internal: SocketAddrV4,
    /// A port that the router can't give it.
    taken: Option<u16>,
}

impl Stage<'_> {
    /// One protocol from the first mapping to the last.
    fn mapping(self, protocol: Protocol) -> anyhow::Result<Mapping> {
        let number = FIRST_LAN + protocol as u8;
        let name = protocol.flag().replace('-', "");
        let router = self.router(&name, number)?;
        let space = router.guest(&format!("{name}-node"), NODE)?;
        let internal = SocketAddrV4::new(router.inside(NODE), PORT);
        let mut gateway = Gateway::start(router, protocol, self.room)?;
        let start = Instant::now();
        let mut guest = Guest {
            people: self.people,
            node: self.node(&space, &name, Some(protocol))?,
            space: &space,
            protocol,
            internal,
            taken: None,
        };
        let first = guest.wait(&mut gateway, start, FIRST)?;
        let start = Instant::now();
        gateway
            .router
            .move_to(Ipv4Addr::new(92, 100 + number, 1, 1))?;
        let again = guest
            .wait(&mut gateway, start, AGAIN)
            .context("with another address")?;
        guest.leave(&gateway)?;
        Ok(Mapping { first, again })
    }

    /// The port that the node would like has been mapped to somebody else before.
    fn conflict(self) -> anyhow::Result<()> {
        let router = self.router("taken", FIRST_LAN + 10)?;
        let space = router.guest("taken-node", NODE)?;
        let other = router.guest("taken-other", OTHER)?;
        let internal = SocketAddrV4::new(router.inside(NODE), PORT);
        let before = SocketAddrV4::new(router.inside(OTHER), PORT);
        let mut gateway = Gateway::start(router, Protocol::Upnp, self.room)?;
        gateway::map_by_upnpc(&other, before)?;
        let start = Instant::now();
        let mut guest = Guest {
            people: self.people,
            node: self.node(&space, "taken", Some(Protocol::Upnp))?,
            space: &space,
            protocol: Protocol::Upnp,
            internal,
            taken: Some(PORT),
        };
        guest.wait(&mut gateway, start, FIRST)?;
        guest.leave(&gateway)?;
        let kept = Mapped {
            external_port: PORT,
            internal: before,
        };
        let mappings = gateway.mappings()?;
        ensure!(mappings == [kept], "the other's mapping is {mappings:?}");
        Ok(())
    }

    /// Fails when there is no hole for the node, or nobody comes through it.
    fn is_open(self, node: &Node, space: &Space, addr: SocketAddr) -> anyhow::Result<()> {
        let nat = node.nat(space)?;
        let hole = nat.pinhole.as_ref();
        let hole = hole.with_context(|| format!("no hole: {nat:?}"))?;
        ensure!(
            hole.external == addr && hole.internal == addr,
            "the hole is not for {addr}: {nat:?}"
        );
        self.people.visit(addr)?;
        Ok(())
    }

    /// A gateway that answers badly does no harm.
    fn hostile(self, manner: Manner) -> anyhow::Result<()> {
        let name = manner.as_str();
        let router = self.router(name, FIRST_LAN + 11 + manner as u8)?;
        Kind::PortRestricted.set_on_router(&router.host.space)?;
        let _hostile = Hostile::start(&router, manner)?;
        let space = router.guest(&format!("{name}-node"), NODE)?;
        let height = self.people.height()?;
        let mut node = self.node(&space, name, None)?;
        let mut last = String::new();
        let ran = until(FIRST, || {
            node.program.must_run()?;
            let (status, nat) = (node.status(&space), node.nat(&space));
            let synced = status.height().is_some_and(|ours| ours >= height);
            let height_now = status.height();
            last = match &nat {
                Ok(nat) => format!("height {height_now:?} of {height}, {nat:?}"),
                Err(error) => format!("height {height_now:?} of {height}, {error:#}"),
            };
            // All it tried has come to nothing, which it knows.
            let tried = nat.is_ok_and(|nat| nat.mapping.is_none() && !nat.attempts.is_empty());
            Ok((synced && tried).then_some(()))
        })?;
        ran.with_context(|| format!("{last}\n{}", node.program.tail()))?;
        let memory = node.program.most_memory()?;
        ensure!(memory <= MEMORY, "the node took {memory} KiB of memory");
        let took = node.program.terminate(END)?;
        eprintln!(
            "gateway with {name} answers: no harm, {} MiB, ended in {:.1} s",
            memory >> 10,
            took.as_secs_f64()
        );
        Ok(())
    }

    fn router(self, name: &str, number: u8) -> anyhow::Result<Router> {
        let wan = Ipv4Addr::new(91, 100 + number, 1, 1);
        Router::new(self.internet, name, number, wan)
    }

    /// A node behind a router that asks by this protocol, or by all of them.
    fn node(self, space: &Space, name: &str, by: Option<Protocol>) -> anyhow::Result<Node> {
        let mut more = vec![format!("--listen=0.0.0.0:{PORT}")];
        more.extend(by.map(|by| format!("--port-mapping={}", by.flag())));
        self.people.newcomer(space, &format!("node-{name}"), &more)
    }

    /// Whom IPv6's router lets only answers reach: a hole is made for the node's port, and closed at the end.
    fn pinhole(self) -> anyhow::Result<()> {
        let router = self.router("hole", FIRST_LAN + 14)?;
        let space = router.guest("hole-node", NODE)?;
        let addr = SocketAddr::from((router.inside_v6(NODE), PORT));
        let mut gateway = Gateway::start(router, Protocol::Upnp, self.room)?;
        let mut more = vec![
            format!("--listen=[::]:{PORT}"),
            format!("--port-mapping={}", Protocol::Upnp.flag()),
        ];
        let servers = stun::addresses(true).into_iter();
        more.extend(servers.map(|server| format!("--stun-server={server}")));
        let mut node = self.people.newcomer(&space, "node-hole", &more)?;
        let mut last = String::new();
        let reached = until(FIRST, || {
            node.program.must_run()?;
            gateway.must_run()?;
            let done = self.is_open(&node, &space, addr);
            last = done
                .as_ref()
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default();
            Ok(done.ok())
        })?;
        reached.with_context(|| format!("{last}\n{}", node.program.tail()))?;
        node.program.terminate(END)?;
        let left = gateway.holes()?;
        ensure!(left == 0, "{left} holes are left");
        ensure!(self.people.visit(addr).is_err(), "somebody is still there");
        Ok(())
    }
}

/// What has to become true, each after the one before.
const STEPS: [&str; 6] = [
    "mapped",
    "reached by strangers",
    "advertised",
    "a peer for us",
    "good for the crawler",
    "told by the seeder",
];

impl Guest<'_> {
    /// Waits until the node is reached, told of, found and served at the router's address; gives how long that took.
    fn wait(
        &mut self,
        gateway: &mut Gateway,
        start: Instant,
        limit: Duration,
    ) -> anyhow::Result<f64> {
        let mut times = Vec::new();
        for (number, step) in STEPS.into_iter().enumerate() {
            let mut missing = String::new();
            let left = limit.saturating_sub(start.elapsed());
            let done = until(left, || {
                self.node.program.must_run()?;
                gateway.must_run()?;
                let Err(error) = self.is_done(number, gateway) else {
                    return Ok(Some(()));
                };
                missing = format!("{error:#}");
                Ok(None)
            })?;
            let seconds = start.elapsed().as_secs_f64();
            if done.is_none() {
                let tail = self.node.program.tail();
                bail!("not {step} in {seconds:.0} s ({times:?}): {missing}\n{tail}");
            }
            times.push(format!("{step} {seconds:.1} s"));
        }
        eprintln!("{}: {}", self.protocol.key(), times.join(", "));
        Ok(start.elapsed().as_secs_f64())
    }

    /// Fails when a step is not done.
    fn is_done(&self, step: usize, gateway: &Gateway) -> anyhow::Result<()> {
        let nat = self.node.nat(self.space)?;
        let mapping = nat.mapping.as_ref();
        let mapping = mapping.with_context(|| format!("no mapping: {nat:?}"))?;
        let external = SocketAddr::from((gateway.router.wan(), mapping.external.port()));
        match step {
            0 => {
                ensure!(
                    mapping.protocol == self.protocol.key()
                        && mapping.external == external
                        && mapping.internal == self.internal.into()
                        && self.taken != Some(external.port()),
                    "at the wrong place, it should be at {external}: {nat:?}"
                );
                let carried_out = Mapped {
                    external_port: external.port(),
                    internal: self.internal,
                };
                let all = gateway.mappings()?;
                ensure!(all.contains(&carried_out), "the router maps {all:?}");
            }
            1 => ensure!(
                nat.reachable == "reachable" && nat.confirmed_by >= CONFIRMED_BY,
                "{nat:?}"
            ),
            2 => ensure!(
                nat.advertised == Some(external),
                "not {external} is advertised: {nat:?}"
            ),
            3 => {
                let met = self.people.visit(external)?;
                let status = self.node.status(self.space);
                let id = status
                    .node_id()
                    .context("the node does not say who it is")?;
                ensure!(met == id, "{met} is there, not {id}");
            }
            4 => ensure!(self.people.finds(external)?, "{external} is not good"),
            _ => ensure!(
                self.people.serves(external)?,
                "dig does not find {external}"
            ),
        }
        Ok(())
    }

    /// Ends the node, with which its mapping goes.
    fn leave(self, gateway: &Gateway) -> anyhow::Result<()> {
        let (ip, upnp) = (self.internal.ip(), self.protocol == Protocol::Upnp);
        let internal = self.internal.to_string();
        if upnp {
            let list = gateway::list_by_upnpc(self.space)?;
            ensure!(
                list.contains(&internal),
                "upnpc tells of no mapping: {list}"
            );
        }
        self.node.program.terminate(END)?;
        let left = gateway.mappings()?;
        ensure!(
            left.iter().all(|mapped| mapped.internal.ip() != ip),
            "the router still maps {left:?}"
        );
        if upnp {
            let list = gateway::list_by_upnpc(self.space)?;
            ensure!(!list.contains(&internal), "upnpc still tells: {list}");
        }
        Ok(())
    }
}
