//! The command line of `labs`.
//!
//! Results go to standard output, what is being done goes to standard error. With `--json` the last line of
//! standard output is one object.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, Bench, BenchOptions, worker::Worker};

/// Benchmarks of QuantumCoin's programs, and the data that they are made on.
#[derive(Debug, Parser)]
#[command(
    name = "labs",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        cargo run --release -p labs -- bench headers\n  \
        cargo run --release -p labs -- bench headers --quick --json | jq .load_s"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure: a table with every figure as median (least to greatest) of its rounds.
    Bench {
        #[command(subcommand)]
        bench: Bench,
        #[command(flatten)]
        options: BenchOptions,
    },
    /// One part of a benchmark, in a process of its own.
    #[command(hide = true)]
    Worker {
        #[command(subcommand)]
        worker: Worker,
    },
}

impl Cli {
    /// Does what the command line says, and gives the process's exit code: 0 done, 1 failed.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Bench { bench, options } => run_bench(&bench, options),
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

fn run_bench(bench: &Bench, options: BenchOptions) -> anyhow::Result<()> {
    let report = bench::run(bench, options)?;
    if options.json {
        print(&report.to_json().to_string())
    } else {
        print(&report.to_table())
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
