//! The command line. What all programs have in common is `quantumcoin::service::cli`.

mod ask;
mod bans;
mod chain;
mod nat;
mod open_files;
mod settings;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser, Subcommand};
use quantumcoin::service::cli::{EXIT_CODES, ShapeCommand};
use quantumcoin::service::config::command::ConfigCommand;
use quantumcoin::service::{output, shutdown, spec, supervisor};
use quantumcoin_node::config::DEFAULT_HTTP;
use quantumcoin_node::{Node, NodeConfig};

/// QuantumCoin full node
#[derive(Debug, Parser)]
#[command(name = "quantumcoin-node", version, about, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
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
  quantumcoin-node config check --config node.toml         is anything wrong with these settings?
  quantumcoin-node config show                             what is in force, and where it comes from";

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
    Spec {
        /// Which
        #[command(flatten)]
        spec: SpecArgs,
        /// Print JSON in place of TOML
        #[arg(long)]
        json: bool,
    },
    /// Show or check the settings, or print a commented settings file
    #[command(subcommand)]
    Config(ConfigCommand<settings::Start>),
    #[command(flatten)]
    Shape(ShapeCommand),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    start: settings::Start,
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
    let command = Cli::parse().command;
    let result = match settings::refuse_unknown_variables(&command) {
        Ok(()) => carry_out(command).await,
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        output::complain(&*error);
        ExitCode::FAILURE
    })
}

async fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Config(command) => return settings::config(command).await,
        Command::Shape(command) => output::print(&command.text(Cli::command())?)?,
        Command::Run(args) => run(*args).await?,
        Command::Status(args) => show::status(args.http, args.json).await?,
        Command::Nat(args) => nat::run(args).await?,
        Command::Chain(command) => chain::run(command).await?,
        Command::Bans(args) => bans::run(args).await?,
        Command::Ask(command) => ask::run(command).await?,
        Command::Genesis(GenesisCommand::Mine { spec, threads }) => {
            mine_genesis(spec, threads).await?;
        }
        Command::Spec { spec, json } => print_spec(spec, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let (loaded, settings) = args.start.settings()?;
    settings::start_logging(&settings)?;
    open_files::allow_enough();
    let stop = shutdown::signals();
    let config = NodeConfig::resolve(settings).await;
    let config = config.map_err(|faults| loaded.locate_all(faults))?;
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

async fn print_spec(args: SpecArgs, json: bool) -> anyhow::Result<()> {
    let spec = spec::choose(args.network.as_deref(), args.chain_spec.as_deref()).await?;
    let text = if json {
        format!("{}\n", serde_json::to_string(&spec)?)
    } else {
        spec.to_toml()
    };
    Ok(output::print(&text)?)
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
