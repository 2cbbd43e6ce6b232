//! `labs`: benchmarks and the data that they are made on. `labs --help` lists what there is.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    labs::cli::Cli::parse().run()
}
