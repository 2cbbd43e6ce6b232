//! Attacks on a node at rest, each made of what one kind of hostile peer does. They share everything else:
//!
//! ```text
//! this process ── starts ──> target     a node with a chain and mainnet's limits; half of the cores for itself
//!       │                      ^ ^
//!       ├─ starts ──> crowd ───┘ │      the attacker: hosts that come again when they are thrown out
//!       └─ asks ─────────────────┘      honest peers that stay, a miner, and strangers who visit
//! ```
//!
//! A round is calm first, to know what the node costs with its honest peers alone, and then attacked. It fails when the
//! detector that the attack is meant for finds nothing.
//!
//! | attack | what the attacker does | ban |
//! |---|---|---|
//! | `connections` | 60 hosts of one subnet open one connection after the other | none: others may live behind the same address |
//! | `sybil` | 384 hosts in 32 netgroups want all places and do no wrong | none: to come is no offence |
//! | `addresses` | thousands of invented addresses | yes |
//! | `inventories` | names of transactions that nobody has, in lists as long as allowed and longer | yes |
//! | `pings` | pings without end | yes, after half a minute; a quick run ends before |
//! | `messages` | other things that nobody asked for, small and large | yes |
//! | `slow-readers` | ask for all blocks and read none | none: a bad line may do that once a minute |
//! | `slow-writers` | a message at a byte a second | none: the same |
//! | `invalid-headers` | headers without the work that they claim | yes, at once |
//! | `low-work-headers` | thousands of headers with far less work than the victim's chain | yes |
//! | `invalid-blocks` | the longest chain, whose first block breaks a rule | yes, at once |
//! | `withheld-blocks` | the longest chain of headers, whose blocks never come | none: a slow line may do that |
//! | `clock-skew` | peers whose clocks are two hours ahead | none: that is their trouble |
//! | `downgrade` | tells that honest nodes speak TLS and no Noise | none: who tells has it from others |
//! | `identities` | handshakes with a stolen public key | yes |
//! | `impostors` | answers at the addresses of nodes that the victim knows, each time as another | none: a node may have lost its key |

mod all;
mod chain;
mod chatter;
mod crowd;
mod figures;
mod forger;
mod honest;
mod impostor;
mod liar;
mod line;
mod miner;
mod others;
mod peer;
mod places;
mod plan;
mod runner;
mod slow;
mod target;

use clap::{Subcommand, ValueEnum};

pub(super) use self::all::run_all;
pub(super) use self::crowd::Crowd;
pub(super) use self::target::Target;
use super::cores::Cores;
use crate::bench::report::Report;

/// What the attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand, ValueEnum)]
pub enum Scenario {
    /// Hosts of one subnet open one connection after the other.
    Connections,
    /// Hosts in many netgroups want all places and do no wrong.
    Sybil,
    /// Invented addresses by the thousand.
    Addresses,
    /// Names of transactions that nobody has.
    Inventories,
    /// Pings without end.
    Pings,
    /// Other messages that nobody asked for.
    Messages,
    /// Peers that ask for blocks and read none.
    SlowReaders,
    /// Peers that send a byte a second.
    SlowWriters,
    /// Headers without the work that they claim.
    InvalidHeaders,
    /// Headers with far less work than the victim's chain.
    LowWorkHeaders,
    /// Headers with more work, whose first block breaks a rule.
    InvalidBlocks,
    /// Headers with more work, whose blocks never come.
    WithheldBlocks,
    /// Peers whose clocks are wrong.
    ClockSkew,
    /// Gossip that honest nodes speak TLS and no Noise.
    Downgrade,
    /// Handshakes with a stolen identity.
    Identities,
    /// Answers in the place of nodes that the victim knows.
    Impostors,
}

impl Scenario {
    /// As the command line names it.
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs one of them, with nothing else beside it.
pub(super) fn run_alone(scenario: Scenario, quick: bool) -> anyhow::Result<Report> {
    let (victims, others) = Cores::halves();
    others.keep_to()?;
    run(scenario, quick, &victims)
}

/// Runs one of them; `victims` are the cores for the node.
fn run(scenario: Scenario, quick: bool, victims: &Cores) -> anyhow::Result<Report> {
    let plan = scenario.plan(quick);
    let cores = victims.argument();
    let mut figures = figures::Figures::default();
    for number in 1..=plan.rounds {
        let round = runner::round(scenario, &plan, &cores, quick)?;
        eprintln!("{} {number} of {}: {}", plan.name, plan.rounds, round.after);
        figures.add(&plan, round)?;
    }
    Ok(figures.report(&plan, quick))
}
