//! Parts of benchmarks in processes of their own, so that their memory and processor time are theirs alone.
//!
//! The benchmark runs its own program again with the hidden command `worker`; the worker prints one JSON
//! object on one line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use clap::Subcommand;
use serde_json::Value;

#[cfg(target_os = "linux")]
use super::dns;
use super::{crawl, dashboard, headers, store, sync, transport};
#[cfg(target_os = "linux")]
use crate::nat;
use crate::{attack, network};

/// The parts.
#[derive(Debug, Subcommand)]
pub enum Worker {
    /// Part of `attack`.
    #[command(subcommand)]
    Attack(attack::Part),
    /// Part of `bench crawl`.
    #[command(subcommand)]
    Crawl(crawl::Part),
    /// Part of `bench dashboard`.
    #[command(subcommand)]
    Dashboard(dashboard::Part),
    /// Part of `bench dns`.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Dns(dns::Part),
    /// Part of `bench headers`.
    #[command(subcommand)]
    Headers(headers::Part),
    /// `nat`, in namespaces of its own.
    #[cfg(target_os = "linux")]
    Nat(nat::NatArgs),
    /// Part of `network`.
    #[command(subcommand)]
    Network(network::Part),
    /// Part of `bench store`.
    #[command(subcommand)]
    Store(store::Part),
    /// Part of `bench sync`.
    #[command(subcommand)]
    Sync(sync::Part),
    /// Part of `bench transport`.
    #[command(subcommand)]
    Transport(transport::Part),
}

impl Worker {
    /// Does one part and prints what it found.
    ///
    /// # Errors
    /// Where it fails.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Attack(part) => part.run(),
            Self::Crawl(part) => part.run(),
            Self::Dashboard(part) => part.run(),
            #[cfg(target_os = "linux")]
            Self::Dns(part) => part.run(),
            Self::Headers(part) => tell(&part.run()?),
            #[cfg(target_os = "linux")]
            Self::Nat(args) => nat::run_part(&args),
            Self::Network(part) => part.run(),
            Self::Store(part) => part.run(),
            Self::Sync(part) => part.run(),
            Self::Transport(part) => tell(&part.run()?),
        }
    }
}

/// Prints a worker's result for the benchmark that started it.
pub(crate) fn tell(result: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{result}")?;
    out.flush()?;
    Ok(())
}

/// Runs `labs worker` with these arguments to its end and gives what it found.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<Value> {
    let mut running = Running::start(arguments)?;
    let result = running.result()?;
    running.wait()?;
    Ok(result)
}

/// A worker that goes on after it has told its result, until its standard input ends.
pub(crate) struct Running {
    child: Child,
    what: String,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_by(Command::new(std::env::current_exe()?), arguments)
    }

    /// By a command that ends with the path of this program.
    pub(crate) fn start_by(mut program: Command, arguments: &[&str]) -> anyhow::Result<Self> {
        let what = arguments.join(" ");
        let child = program
            .arg("worker")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start the worker {what}"))?;
        Ok(Self { child, what })
    }

    /// Waits for the line with the result.
    pub(crate) fn result(&mut self) -> anyhow::Result<Value> {
        let stdout = self
            .child
            .stdout
            .as_mut()
            .context("a worker's output is read by its starter")?;
        let mut line = String::new();
        BufReader::new(stdout.take(MAX_RESULT)).read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the worker {} failed", self.what))
    }

    /// Says one line to it.
    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut();
        let stdin = stdin.context("a worker's input is written by its starter")?;
        writeln!(stdin, "{line}").with_context(|| format!("the worker {} is gone", self.what))
    }

    /// Ends its standard input, and waits for a last result.
    pub(crate) fn last_result(mut self) -> anyhow::Result<Value> {
        drop(self.child.stdin.take());
        let result = self.result()?;
        self.wait()?;
        Ok(result)
    }

    /// Ends its standard input and waits for its end.
    pub(crate) fn wait(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the worker {}: {status}", self.what);
        Ok(())
    }
}

/// Longest result, in bytes: a line of a few figures or addresses.
const MAX_RESULT: u64 = 64 << 10;

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is not there to be killed, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of a worker's result.
pub(crate) fn number(result: &Value, key: &str) -> anyhow::Result<f64> {
    result
        .get(key)
        .and_then(Value::as_f64)
        .with_context(|| format!("a worker told no {key}; this benchmark needs Linux"))
}
