//! `labs network`: whole networks of real nodes on loopback, under mainnet's limits, through what happens to networks.
//! Each node has an address of its own in 127.0.0.0/8, which it listens on and dials from.
//!
//! | lab | what it shows |
//! |---|---|
//! | `honest` | nodes that sync, relay, gossip and restart, and none of them holds anything against another |
//! | `partition` | a network in two halves that both mine, and how soon it is one again |
//! | `idle` | what 125 peers at rest cost |
//! | `limits` | that many addresses are no way around the limits of a host and a subnet |
//! | `outage` | that no peer pays for a crawler's own network being down |
//! | `bootstrap` | how soon a newcomer has peers, also where DNS lies or is dead, or its book is poisoned |
//!
//! `place` says where nodes stand, `node` runs one, `verdict` judges what it has to say of its peers,
//! `namespace` makes a network of our own where packets can be dropped.

mod bootstrap;
mod honest;
mod idle;
mod limits;
mod namespace;
mod node;
mod outage;
mod partition;
mod place;
mod verdict;

use clap::{Args, Subcommand};

use crate::bench::report::Report;

/// The labs.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Lab {
    /// Thirty nodes that sync, relay, gossip and restart: none may hold anything against another.
    Honest,
    /// Sixty nodes in two halves that both mine, and then one network again. Needs root and nft.
    Partition(partition::PartitionArgs),
    /// One node with 125 peers at rest: memory and processor.
    Idle,
    /// Connections of one host and one subnet by IPv4 and IPv6, at the edge of their limits. Needs root.
    Limits,
    /// A crawl in the middle of which nothing arrives for five minutes. Needs root and nft.
    Outage,
    /// From start to the first peers: by DNS, with dead and lying DNS, without it, with a poisoned address book.
    Bootstrap,
}

/// What every lab takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct LabOptions {
    /// Print one JSON object as the last line instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Smaller and shorter: about a minute at most.
    #[arg(long, global = true)]
    pub quick: bool,
}

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// The network that is divided, in its own namespace.
    Partition(partition::Divided),
    /// The node whose peers rest.
    IdleNode(idle::Resting),
    /// Its peers.
    IdlePeers,
    /// A node and all who dial it, in its own namespace.
    Limits,
    /// A crawl and its network, in their own namespace.
    Outage(outage::Crawl),
    /// The network that newcomers find, in its own namespace where that can be had.
    Bootstrap(bootstrap::Stage),
}

impl Part {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Partition(divided) => divided.run(),
            Self::IdleNode(node) => node.run(),
            Self::IdlePeers => idle::run_peers(),
            Self::Limits => limits::run_part(),
            Self::Outage(crawl) => crawl.run(),
            Self::Bootstrap(stage) => stage.run(),
        }
    }
}

/// What a lab found.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub report: Report,
    /// What must not be, in words; any of it makes the lab fail.
    pub faults: Vec<String>,
}

/// Runs one lab. What it is doing goes to standard error.
///
/// # Errors
/// Where a part of it fails; figures are never made up.
pub fn run(lab: Lab, options: LabOptions) -> anyhow::Result<Outcome> {
    match lab {
        Lab::Honest => honest::run(options.quick),
        Lab::Partition(args) => partition::run(args, options.quick),
        Lab::Idle => idle::run(options.quick),
        Lab::Limits => limits::run(options.quick),
        Lab::Outage => outage::run(options.quick),
        Lab::Bootstrap => bootstrap::run(options.quick),
    }
}
