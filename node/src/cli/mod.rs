//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage.

mod ask;
mod bans;
mod chain;
mod nat;
mod open_files;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::{shutdown, spec, supervisor};
use quantumcoin_node::config::DEFAULT_HTTP;
use quantumcoin_node::{Node, NodeConfig, Settings};

/// QuantumCoin full node
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  quantumcoin-node run                                     join mainnet
  quantumcoin-node run --network devnet --mine-every 2     a devnet of your own
  quantumcoin-node status                                  ask the running node
  quantumcoin-node health                                  is all well, and what to do if not
  quantumcoin-node ban 192.0.2.0/24 --for 7d               keep a network out
  quantumcoin-node nat                                     can it be reached from outside?
  quantumcoin-node chain check                             read the whole chain, find damage

Exit codes: 0 done, 1 failed, 2 wrong usage";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until SIGINT or SIGTERM
    Run(Box<RunArgs>),
    /// Show how a running node is doing
    Status(StatusArgs),
    /// Tell where the world sees this machine, what is in the way, and whether the node can be reached
    Nat(nat::NatArgs),
    /// Check, export or import the chain of a node that is not running
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Show who is kept out; lift it at a node that is not running
    Bans(bans::BansArgs),
    #[command(flatten)]
    Ask(ask::AskCommand),
    /// Make or check the first block of a chain
    #[command(subcommand)]
    Genesis(GenesisCommand),
    /// Print the chain spec in use
    Spec(SpecArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// TOML file with settings; its keys are the flags below with _ for -
    #[arg(long, env = "QTC_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// End after the first complete synchronisation
    #[arg(long)]
    exit_when_synced: bool,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// The API of the node
    #[arg(long, env = "QTC_NODE_HTTP", default_value = DEFAULT_HTTP, value_name = "ADDR:PORT")]
    http: SocketAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct SpecArgs {
    /// Built-in network: mainnet, testnet or devnet [default: mainnet]
    #[arg(long, env = "QTC_NETWORK")]
    network: Option<String>,
    /// Chain spec file
    #[arg(long, env = "QTC_CHAIN_SPEC", value_name = "FILE")]
    chain_spec: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum GenesisCommand {
    /// Mine the genesis of a built-in network or a chain spec file, and print its `[genesis]` table
    Mine {
        /// Spec whose message, time and bits are taken
        #[command(flatten)]
        spec: SpecArgs,
        /// Threads [default: all cores]
        #[arg(long)]
        threads: Option<usize>,
    },
}

/// Runs the command line of this process.
pub(crate) async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args).await,
        Command::Status(args) => show::status(args.http, args.json).await,
        Command::Nat(args) => nat::run(args).await,
        Command::Chain(command) => chain::run(command).await,
        Command::Bans(args) => bans::run(args).await,
        Command::Ask(command) => ask::run(command).await,
        Command::Genesis(GenesisCommand::Mine { spec, threads }) => {
            mine_genesis(spec, threads).await
        }
        Command::Spec(args) => print_spec(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let settings = args.settings.with_file(args.config.as_deref())?;
    let mut log = LogOptions::default();
    if let Some(level) = &settings.log {
        log.level.clone_from(level);
    }
    logging::init(&log)?;
    open_files::allow_enough();
    let stop = shutdown::signals();
    let config = NodeConfig::resolve(settings).await?;
    let node = Node::bind(config).await?;
    tracing::info!(listen = %node.listen_addr(), http = %node.http_addr(), "ready");
    if !args.exit_when_synced {
        let telling = tokio::spawn(supervisor::report(node.health(), stop.clone()));
        let ran = node.run(stop.clone()).await;
        stop.cancel();
        telling.await?;
        return Ok(ran?);
    }
    let network = std::sync::Arc::clone(node.network());
    node.start().await?;
    let running = tokio::spawn(node.run(stop.clone()));
    let report = network.sync_from_zero().await;
    stop.cancel();
    running.await??;
    show::sync_report(&report?);
    Ok(())
}

async fn print_spec(args: SpecArgs) -> anyhow::Result<()> {
    let spec = spec::choose(args.network.as_deref(), args.chain_spec.as_deref()).await?;
    show::text(&spec.to_toml());
    Ok(())
}

async fn mine_genesis(args: SpecArgs, threads: Option<usize>) -> anyhow::Result<()> {
    let spec = spec::choose(args.network.as_deref(), args.chain_spec.as_deref()).await?;
    let threads = threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let signal = shutdown::signals();
    let stopper = std::sync::Arc::clone(&stop);
    tokio::spawn(async move {
        signal.cancelled().await;
        stopper.store(true, Ordering::Relaxed);
    });
    let genesis = tokio::task::spawn_blocking(move || {
        quantumcoin::chain::genesis::mine_genesis(&spec, threads, show::hashes, &stop)
    })
    .await?;
    match genesis {
        Some(genesis) => show::genesis(&genesis),
        None => anyhow::bail!("stopped before a genesis was found"),
    }
    Ok(())
}
