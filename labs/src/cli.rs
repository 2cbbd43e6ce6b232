//! The command line of `labs`.
//!
//! Results go to standard output, what is being done goes to standard error. With `--json` the last line of
//! standard output is one object.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::attack::{self, Attack, AttackOptions};
use crate::bench::report::Report;
use crate::bench::worker::Worker;
use crate::bench::{self, Bench, BenchOptions};
use crate::chain_generator::{ChainOptions, files};
use crate::internet::{self, InternetArgs};
#[cfg(target_os = "linux")]
use crate::nat::{self, NatArgs};
use crate::network::{self, Lab, LabOptions, Outcome};
use crate::simulation::{self, Story, StoryOptions};

/// Benchmarks of QuantumCoin's programs, and the data that they are made on.
#[derive(Debug, Parser)]
#[command(
    name = "labs",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        cargo run --release -p labs -- bench headers\n  \
        cargo run --release -p labs -- bench sync --quick --json | jq .blocks_per_s\n  \
        cargo run --release -p labs -- chain generate --blocks 10000 --out chain"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attack a node that does its work, and measure what that does to it.
    Attack {
        #[command(subcommand)]
        attack: Attack,
        #[command(flatten)]
        options: AttackOptions,
    },
    /// Measure: a table with every figure as median (least to greatest) of its rounds.
    Bench {
        #[command(subcommand)]
        bench: Bench,
        #[command(flatten)]
        options: BenchOptions,
    },
    /// Tell the story of a whole network, in one thread and by a seed.
    Simulate {
        #[command(subcommand)]
        story: Story,
        #[command(flatten)]
        options: StoryOptions,
    },
    /// Block chains to measure on.
    Chain {
        #[command(subcommand)]
        command: ChainCommand,
    },
    /// Run a whole network of real nodes on loopback, and fail if it is not what it has to be.
    Network {
        #[command(subcommand)]
        lab: Lab,
        #[command(flatten)]
        options: LabOptions,
    },
    /// Put nodes behind routers of every kind, and fail if they are not found out and reached. Needs root and Debian packages.
    #[cfg(target_os = "linux")]
    Nat(NatArgs),
    /// An internet on loopback with a known truth, to crawl.
    Internet(InternetArgs),
    /// One part of a benchmark, in a process of its own.
    #[command(hide = true)]
    Worker {
        #[command(subcommand)]
        worker: Worker,
    },
}

#[derive(Debug, Subcommand)]
enum ChainCommand {
    /// Make a devnet chain with signed transactions: the same numbers give the same bytes.
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    #[command(flatten)]
    chain: ChainOptions,
    /// Keep the chain in this new directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Does what the command line says, and gives the process's exit code: 0 done, 1 failed.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Attack { attack, options } => {
                attack::run(&attack, options, |name, report| match name {
                    Some(name) if options.json => {
                        print(&json!({ name: report.to_json() }).to_string())
                    }
                    _ => show(report, options.json),
                })
            }
            Command::Bench { bench, options } => {
                bench::run(&bench, options).and_then(|report| show(&report, options.json))
            }
            Command::Simulate { story, options } => {
                simulation::run(story, options).and_then(|report| show(&report, options.json))
            }
            Command::Chain {
                command: ChainCommand::Generate(args),
            } => generate(&args),
            Command::Network { lab, options } => {
                network::run(lab, options).and_then(|outcome| judge(outcome, options.json))
            }
            #[cfg(target_os = "linux")]
            Command::Nat(args) => nat::run(&args, print),
            Command::Internet(args) => internet::run(args, print),
            Command::Worker { worker } => worker.run(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("labs: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        print(&report.to_json().to_string())
    } else {
        print(&report.to_table())
    }
}

/// Shows the figures, and then what must not be.
fn judge(outcome: Outcome, json: bool) -> anyhow::Result<()> {
    show(&outcome.report, json)?;
    for fault in &outcome.faults {
        eprintln!("  {fault}");
    }
    ensure!(
        outcome.faults.is_empty(),
        "{} things are not as they have to be",
        outcome.faults.len()
    );
    Ok(())
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let summary = match &args.out {
        Some(dir) => files::write(&args.chain, dir)
            .with_context(|| format!("can't keep the chain in {}", dir.display()))?,
        None => files::summarize(&args.chain)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        let mut object = summary.to_json();
        if let Value::Object(map) = &mut object {
            map.insert("seconds".to_owned(), json!(seconds));
        }
        print(&object.to_string())
    } else {
        print(&format!("{summary}\nmade in {seconds:.1} s"))
    }
}

#[expect(
    clippy::print_stdout,
    reason = "this program's results go to standard output"
)]
fn print(text: &str) -> anyhow::Result<()> {
    println!("{text}");
    Ok(())
}
