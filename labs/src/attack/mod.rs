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

mod cores;
mod eclipse;
mod flood;
mod handshakes;
mod victim;
mod visitor;

use clap::{Args, Subcommand};

use self::flood::Crowd;
use self::victim::Victim;
use crate::bench::report::Report;

/// The attacks.
#[derive(Debug, Clone, Subcommand)]
pub enum Attack {
    /// Junk, whole first messages and slow ones while the node syncs: what strangers can do before they are anybody.
    Handshakes,
    /// An attacker with 10,000 addresses wants all outbound peers of one node: a simulation.
    Eclipse,
}

/// What every attack takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct AttackOptions {
    /// Print one JSON object as the last line instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Fewer and shorter rounds and a smaller crowd: at most 50 seconds.
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
}

impl Part {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Victim(victim) => victim.run(),
            Self::Flood(crowd) => crowd.run(),
        }
    }
}

/// Runs one attack. What it is doing goes to standard error.
///
/// # Errors
/// Where a part of it fails; figures are never made up.
pub fn run(attack: &Attack, options: AttackOptions) -> anyhow::Result<Report> {
    match attack {
        Attack::Handshakes => handshakes::run(options.quick),
        Attack::Eclipse => eclipse::run(options.quick),
    }
}
