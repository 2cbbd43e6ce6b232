//! `labs attack`: strangers attack a node that does its work. Real sockets on loopback, where every address of
//! 127.0.0.0/8 is ours: a crowd can come from thousands of subnets.
//!
//! ```text
//! this process ── starts ──> peers     serve a chain
//!       │                      ^
//!       ├─ each round ────> victim     a node that listens and, when told, syncs; has half of the cores for itself
//!       │                      ^
//!       ├─ every other ───> flood      the crowd
//!       └─ visits ─────────────┘       an honest stranger, again and again
//! ```
//!
//! The victim has cores of its own, as it would in the world, and calm rounds alternate with attacked ones.
//!
//! That is `handshakes`, at a node that syncs. `eclipse` is a simulation, `dns` and `dns-junk` are at a seeder. All others attack a node at rest and are told of
//! in `scenario`.

mod cores;
pub(crate) mod dial;
#[cfg(target_os = "linux")]
mod dns;
mod eclipse;
pub(crate) mod flood;
mod handshakes;
mod scenario;
mod victim;
mod visitor;

use clap::{Args, Subcommand};

use self::flood::Crowd;
pub use self::scenario::Scenario;
use self::victim::Victim;
use crate::bench::report::Report;

/// The attacks.
#[derive(Debug, Clone, Subcommand)]
pub enum Attack {
    /// Junk, whole first messages and slow ones while the node syncs: what strangers can do before they are anybody.
    Handshakes,
    /// A flood of forged sources and thousands of silent connections, at a seeder.
    #[cfg(target_os = "linux")]
    Dns,
    /// Millions of packets that were queries once, at a seeder.
    #[cfg(target_os = "linux")]
    DnsJunk,
    /// An attacker with 10,000 addresses wants all outbound peers of one node: a simulation.
    Eclipse,
    /// One kind of hostile peer at a node at rest.
    #[command(flatten)]
    Scenario(Scenario),
    /// Every attack on a node at rest, several at a time; with --json an object for each, under its name.
    All,
}

/// What every attack takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct AttackOptions {
    /// Print one JSON object as the last line instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Fewer and shorter rounds and a smaller crowd: at most 50 seconds. Slow-readers, slow-writers and withheld-blocks
    /// take as long as the node is patient: up to 95 seconds; all together, two minutes.
    #[arg(long, global = true)]
    pub quick: bool,
}

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// The node that is attacked.
    Victim(Victim),
    /// Those who attack.
    Flood(Crowd),
    /// The node at rest that is attacked.
    Target(scenario::Target),
    /// Its attacker.
    Crowd(scenario::Crowd),
}

impl Part {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Victim(victim) => victim.run(),
            Self::Flood(crowd) => crowd.run(),
            Self::Target(target) => target.run(),
            Self::Crowd(crowd) => crowd.run(),
        }
    }
}

/// Runs an attack and gives `show` its report, with its name where several are run. What it is doing goes to standard
/// error.
///
/// # Errors
/// Where a part of it fails, or `show` does; figures are never made up.
pub fn run(
    attack: &Attack,
    options: AttackOptions,
    mut show: impl FnMut(Option<&str>, &Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let report = match attack {
        Attack::Handshakes => handshakes::run(options.quick)?,
        #[cfg(target_os = "linux")]
        Attack::Dns => dns::run(options.quick)?,
        #[cfg(target_os = "linux")]
        Attack::DnsJunk => dns::junk::run(options.quick)?,
        Attack::Eclipse => eclipse::run(options.quick)?,
        Attack::Scenario(scenario) => scenario::run_alone(*scenario, options.quick)?,
        Attack::All => {
            return scenario::run_all(options.quick, |name, report| show(Some(name), report));
        }
    };
    show(None, &report)
}
