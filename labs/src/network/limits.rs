//! `labs network limits`: whether somebody with many addresses gets more than his share of connections. A node listens for
//! IPv4 and IPv6 alike in a network of our own, where all of 2001:db8::/32 can be dialled from; all that comes by IPv4 shows
//! IPv4-mapped addresses to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bitcoin::CompactTarget;
use bitcoin::block::Header;
use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkManager;
use quantumcoin::network::session::Session;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Outcome, namespace, place};
use crate::attack::dial::Dial;
use crate::bench::report::{Figure, Report};
use crate::bench::sync::parts::{node, quiet};
use crate::bench::worker;

/// Longest until the node has done what it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Keys of the figures, what they are, and what each has to be: the limits of the project.
const FIGURES: [(&str, &str, u64); 6] = [
    ("ipv4_host", "of 5 connections of an IPv4 host, admitted", 3),
    ("ipv4_subnet", "of 12 hosts of a /24, admitted", 10),
    ("ipv6_host", "of 5 addresses of a /64, admitted", 3),
    ("ipv6_subnet", "of 12 /64s of a /48, admitted", 10),
    (
        "ipv6_banned",
        "of 3 addresses of a /64 with a banned one, admitted",
        0,
    ),
    (
        "ipv6_neighbour",
        "of 1 address of the /64 beside that, admitted",
        1,
    ),
];

pub(super) fn run(quick: bool) -> anyhow::Result<Outcome> {
    let told = match namespace::lacking() {
        Some(lacking) => {
            eprintln!("left out: {lacking}");
            None
        }
        None => {
            let mut running = namespace::start(&["network", "limits"])?;
            let told = running.result()?;
            running.wait()?;
            Some(told)
        }
    };
    Ok(outcome(told.as_ref(), quick))
}

fn outcome(told: Option<&Value>, quick: bool) -> Outcome {
    let mut faults = Vec::new();
    let figures = FIGURES.map(|(key, what, due)| {
        let value = told.and_then(|told| told.get(key)).and_then(Value::as_u64);
        if told.is_some() && value != Some(due) {
            faults.push(format!("{what}: {value:?}, and {due} are due"));
        }
        let values = value.map(|value| value as f64).into_iter().collect();
        Figure::measured(key, what, 0, values)
    });
    Outcome {
        report: Report::new("network limits", quick, 1, figures.to_vec()),
        faults,
    }
}

/// The node and all who dial it, in a network of their own.
pub(super) fn run_part() -> anyhow::Result<()> {
    namespace::enter()?;
    any_address()?;
    tokio::runtime::Runtime::new()?.block_on(all())
}

/// From now on every address of 2001:db8::/32 is ours. This namespace only.
fn any_address() -> anyhow::Result<()> {
    let setting = "/proc/sys/net/ipv6/ip_nonlocal_bind";
    std::fs::write(setting, "1").with_context(|| format!("can't set {setting}"))?;
    let route = ["-6", "route", "add", "local", "2001:db8::/32", "dev", "lo"];
    let done = Command::new("ip").args(route).status();
    ensure!(done.context("ip can't be run")?.success(), "no IPv6");
    Ok(())
}

async fn all() -> anyhow::Result<()> {
    // Where loopback addresses are peers, each is a netgroup of its own.
    let mut spec = place::spec();
    spec.network_protocol.allow_private_addresses = false;
    let chain = Arc::new(Blockchain::in_memory(Arc::new(spec.clone())));
    let mut config = quiet(Ipv4Addr::LOCALHOST);
    config.listen_addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let node = node(config, &chain).await?;
    let dialling = Dialling {
        port: node.listen_addr().port(),
        spec,
    };
    let counts = [
        dialling.admitted((0..5).map(|_| ipv4(1, 1))).await,
        dialling.admitted((1..=12).map(|host| ipv4(2, host))).await,
        dialling
            .admitted((1..=5).map(|host| ipv6(1, 1, host)))
            .await,
        dialling
            .admitted((1..=12).map(|site| ipv6(2, site, 1)))
            .await,
    ];
    dialling.is_banned(&node, ipv6(3, 1, 1)).await?;
    let after = [
        dialling
            .admitted((1..=3).map(|host| ipv6(3, 1, host)))
            .await,
        dialling.admitted([ipv6(3, 2, 1)]).await,
    ];
    let counts = counts.iter().chain(&after);
    let told = FIGURES.iter().zip(counts);
    let told: serde_json::Map<_, _> = told
        .map(|((key, ..), count)| ((*key).to_owned(), json!(count)))
        .collect();
    node.shutdown().await;
    worker::tell(&Value::Object(told))
}

fn ipv4(subnet: u8, host: u8) -> IpAddr {
    IpAddr::from([127, 30, subnet, host])
}

fn ipv6(subnet: u16, site: u16, host: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, subnet, site, 0, 0, 0, host])
}

/// What all who dial need.
struct Dialling {
    spec: ChainSpec,
    port: u16,
}

impl Dialling {
    /// How many of these become peers, one after the other, while the others stay.
    async fn admitted(&self, hosts: impl IntoIterator<Item = IpAddr>) -> usize {
        let mut held = Vec::new();
        for host in hosts {
            held.extend(self.peer(host).await.ok());
        }
        held.len()
    }

    async fn peer(&self, host: IpAddr) -> anyhow::Result<Session> {
        let to = match host {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => ipv6(0, 0, 1),
        };
        let dial = Dial::new(SocketAddr::new(host, 0), SocketAddr::new(to, self.port));
        timeout(PATIENCE, dial.peer(&self.spec)).await?
    }

    /// This host tells of a header that breaks the rules, and is banned for it.
    async fn is_banned(&self, node: &NetworkManager, host: IpAddr) -> anyhow::Result<()> {
        let genesis = self.spec.genesis_block().header;
        let header = Header {
            prev_blockhash: genesis.block_hash(),
            bits: CompactTarget::from_consensus(0x1d00_ffff),
            ..genesis
        };
        let mut session = self.peer(host).await?;
        let message = NetworkMessage::Headers(vec![header]);
        session.writer.write(&message).await?;
        let banned = async {
            loop {
                let status = node.status().await.context("the node runs")?;
                if !status.security.bans.is_empty() {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, banned)
            .await
            .context("nobody is banned")?
    }
}
