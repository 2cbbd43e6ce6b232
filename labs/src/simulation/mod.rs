//! `labs simulate`: whole networks of hundreds of nodes in one thread, with a clock and a network of their own.
//!
//! Each node is the node's own connection manager, address book, admission and eviction
//! (`quantumcoin::network::{connections, address_book, security}`); between them there are delays, deaths and walls instead of
//! sockets, and numbers instead of blocks. Left out are transactions, bans, the daily word of one's own address, and what it
//! takes to download: whoever has heard of a tip has it. Everything follows from one seed: the same seed tells the same story, and a story
//! that ends badly is told again by `labs simulate NAME --seed N --runs 1`.
//!
//! | module | what it is |
//! |---|---|
//! | `queue` | what happens when |
//! | `world` | the clock, the events, who is connected to whom, walls |
//! | `node` | one node: what it does with what it hears |
//! | `chain` | blocks, of which only height and parent matter |
//! | `churn`, `partition`, `eclipse`, `sybil` | the stories |
//! | `verdicts` | another one, of the crawler: whom two rules hold for good peers |

mod chain;
mod churn;
mod eclipse;
mod node;
mod partition;
mod queue;
mod sybil;
mod verdicts;
mod world;

use anyhow::ensure;
use clap::{Args, Subcommand};
use rayon::prelude::*;

use crate::bench::report::Report;

/// The stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Story {
    /// Three hundred nodes come and go for three hours; nobody may stay alone or behind.
    Churn,
    /// Two halves of 200 nodes are cut apart for ten minutes, mine on, and must agree within a minute afterwards.
    Partition,
    /// An attacker with 1,000 addresses in 16 netgroups wants all peers of nodes that restart.
    Eclipse,
    /// An attacker with 600 addresses in 200 subnets wants all inbound places of a node.
    Sybil,
    /// Two thousand peers come and go for thirty days: whom sipa's rule for good peers serves, and whom ours.
    Verdicts,
}

/// What every story takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct StoryOptions {
    /// Seed of the first run; each further one has the next.
    #[arg(long, global = true, default_value_t = 1)]
    pub seed: u64,
    /// How often it is told [default: 20, quick: 2].
    #[arg(long, global = true)]
    pub runs: Option<u64>,
    /// Print one JSON object as the last line instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Fewer runs, and shorter ones.
    #[arg(long, global = true)]
    pub quick: bool,
}

const RUNS: u64 = 20;
const QUICK_RUNS: u64 = 2;

/// Tells one story as often as is asked for.
///
/// # Errors
/// When it ends badly, with the seeds of those that did.
pub fn run(story: Story, options: StoryOptions) -> anyhow::Result<Report> {
    let runs = options
        .runs
        .unwrap_or(if options.quick { QUICK_RUNS } else { RUNS });
    ensure!(runs > 0, "--runs must be at least 1");
    let seeds = options.seed..options.seed.saturating_add(runs);
    match story {
        Story::Churn => churn::report(options.quick, tell(seeds, churn::tell, options.quick)?),
        Story::Partition => {
            partition::report(options.quick, tell(seeds, partition::tell, options.quick)?)
        }
        Story::Eclipse => {
            eclipse::report(options.quick, tell(seeds, eclipse::tell, options.quick)?)
        }
        Story::Sybil => sybil::report(options.quick, tell(seeds, sybil::tell, options.quick)?),
        Story::Verdicts => {
            verdicts::report(options.quick, tell(seeds, verdicts::tell, options.quick)?)
        }
    }
}

/// All runs, side by side.
fn tell<T: Send>(
    seeds: std::ops::Range<u64>,
    story: impl Fn(u64, bool) -> anyhow::Result<T> + Sync,
    quick: bool,
) -> anyhow::Result<Vec<T>> {
    let seeds: Vec<u64> = seeds.collect();
    let told: Vec<(u64, anyhow::Result<T>)> = seeds
        .into_par_iter()
        .map(|seed| (seed, story(seed, quick)))
        .collect();
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for (seed, result) in told {
        match result {
            Ok(outcome) => good.push(outcome),
            Err(error) => bad.push(format!("seed {seed}: {error:#}")),
        }
    }
    ensure!(bad.is_empty(), "{}", bad.join("\n"));
    Ok(good)
}
