//! Benchmarks. All follow one contract: a full run makes at least five rounds and interleaves what it
//! compares, so that a busy machine disturbs all sides alike; a figure is a median, shown with its extremes;
//! what needs clean memory and processor figures runs in a process of its own ([`worker`]).
//!
//! | benchmark | what it measures |
//! |---|---|
//! | [`crawl`] | a crawl of a hundred thousand addresses, and whether it finds the truth |
//! | [`dashboard`] | what the crawler's pages cost with 100,000 peers |
//! | `dns` | what a query costs the seeder, beside other name servers and the bare kernel |
//! | [`headers`] | checking, loading and holding a million headers |
//! | [`verify`] | signature checks on all cores against the bare library |
//! | [`transport`] | handshakes, records and memory of connections, beside classical ones |
//! | [`store`] | writing and reading what a crawl finds, and how the file grows |
//! | [`sync`] | downloading and verifying a chain over encrypted loopback |

pub mod crawl;
pub mod dashboard;
#[cfg(target_os = "linux")]
pub mod dns;
pub mod headers;
pub(crate) mod machine;
pub mod report;
pub mod store;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod verify;
pub mod worker;

use std::env;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::report::Report;

/// The benchmarks.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// Every address of a simulated internet, visited once: time, processor, memory, and whether each verdict is true.
    Crawl(crawl::CrawlArgs),
    /// The crawler's pages with 100,000 peers and a year behind them: time, memory, live viewers.
    Dashboard(dashboard::DashboardArgs),
    /// Queries per second of processor time, beside Knot, NSD, hickory-server and a bare echo.
    #[cfg(target_os = "linux")]
    Dns,
    /// A million headers: time to check, time to load, memory.
    Headers,
    /// Signature checks of transactions on all cores, against a bare loop over the library.
    Verify,
    /// Handshakes, records and memory of secured connections.
    Transport,
    /// What a crawl writes down and what is read of it meanwhile; how the file grows in a year.
    Store,
    /// A fresh node syncs a generated chain from four peers over encrypted loopback.
    Sync(sync::SyncArgs),
}

/// What every benchmark takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct BenchOptions {
    /// Print one JSON object as the last line instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Less data or fewer rounds: at most 50 seconds.
    #[arg(long, global = true)]
    pub quick: bool,
}

/// Runs one benchmark. What it is doing goes to standard error.
///
/// # Errors
/// Where a part of it fails; figures are never made up.
pub fn run(bench: &Bench, options: BenchOptions) -> anyhow::Result<Report> {
    if cfg!(debug_assertions) {
        eprintln!("this program was built without --release: the figures mean nothing");
    }
    match bench {
        Bench::Crawl(args) => crawl::run(args, options.quick),
        Bench::Dashboard(args) => dashboard::run(*args, options.quick),
        #[cfg(target_os = "linux")]
        Bench::Dns => dns::run(options.quick),
        Bench::Headers => headers::run(options.quick),
        Bench::Verify => verify::run(options.quick),
        Bench::Transport => transport::run(options.quick),
        Bench::Store => store::run(options.quick),
        Bench::Sync(args) => sync::run(args, options.quick),
    }
}

/// Rounds to make.
fn rounds(quick: bool, quick_rounds: usize) -> usize {
    if quick {
        quick_rounds
    } else {
        report::FULL_ROUNDS
    }
}

/// Where large inputs are kept between runs: in the build's own directory, which nobody backs up, or else
/// with the temporary files.
pub(crate) fn cache_dir() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let build = program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file());
    build.map_or_else(env::temp_dir, PathBuf::from).join("labs")
}
