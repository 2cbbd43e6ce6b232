//! The command line: what may be asked, and the way from words to a `CrawlerConfig`.
//!
//! `commands` carries the commands out, `dump` and `bans` theirs; `settings` puts the layers together. What all programs have
//! in common is `quantumcoin::service::cli`.

mod bans;
mod commands;
mod dump;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::service::cli::{EXIT_CODES, ShapeCommand};
use quantumcoin::service::config::command::ConfigCommand;
use quantumcoin::service::config::flags::Flags;
use quantumcoin::service::output;

use self::settings::Loader;
use crate::config::keys::{Everywhere, OfStart};

/// Name of the program.
const PROGRAM: &str = crate::config::keys::PROGRAM.name;

/// Visits every peer of a QuantumCoin network and records its reachability.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, about, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES},\n3 (explain) the peer is not good"))]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  quantumcoin-crawler run
  quantumcoin-crawler once --network devnet --seed-addr 127.0.0.1:8333 --json
  quantumcoin-crawler explain 192.0.2.1:8333
  quantumcoin-crawler config check --config crawler.toml   is anything wrong with these settings?
  quantumcoin-crawler config show                          what is in force, and where it comes from";

#[derive(Debug, Args)]
struct Common {
    /// Settings file (TOML)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "QTC_CRAWLER_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags<Everywhere>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Crawl for ever, with dashboard, API and metrics
    Run {
        #[command(flatten)]
        start: Flags<OfStart>,
    },
    /// Visit each address once and report
    Once {
        #[command(flatten)]
        start: Flags<OfStart>,
        /// Report as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what the store knows of the network
    Status {
        /// Show as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the crawler to visit an address at once
    Add {
        /// IP address with port, or NAME.onion:PORT
        addr: PeerAddress,
    },
    /// Take in the addresses of a file: one on each line, or a seeder's dump
    Import {
        /// The file
        file: PathBuf,
    },
    /// Write all probed addresses out
    Dump {
        /// How
        #[arg(long, value_enum, default_value = "seeds-txt")]
        format: dump::Format,
        /// Good peers only
        #[arg(long)]
        good: bool,
        /// Into this file, whole or not at all, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Neither visit a network nor hold it for good
    Ban {
        /// IP address or network, such as 192.0.2.0/24
        #[arg(value_parser = bans::parse)]
        net: ipnet::IpNet,
        /// For so many hours [default: for ever]
        #[arg(long = "for", value_name = "HOURS")]
        hours: Option<u32>,
        /// Why, for those who read it later
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Lift a ban
    Unban {
        /// IP address or network, as it was banned
        #[arg(value_parser = bans::parse)]
        net: ipnet::IpNet,
    },
    /// Show the bans in force
    Bans {
        /// Show as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say for each rule why an address is a good peer or not
    Explain {
        /// IP address with port, or NAME.onion:PORT
        addr: PeerAddress,
        /// Show as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show or check the settings, or print a commented settings file
    #[command(subcommand)]
    Config(ConfigCommand<Flags<OfStart>>),
    #[command(flatten)]
    Shape(ShapeCommand),
}

impl Command {
    /// The flags of a start, where it has them.
    fn start(&self) -> Option<&Flags<OfStart>> {
        match self {
            Self::Run { start } | Self::Once { start, .. } => Some(start),
            Self::Config(command) => command.start(),
            _ => None,
        }
    }
}

/// Reads the arguments and does what they say.
pub async fn main() -> ExitCode {
    dispatch(Cli::parse()).await.unwrap_or_else(|error| {
        output::complain(&*error);
        ExitCode::FAILURE
    })
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let loader = Loader::new(&Cli::command(), &cli);
    match cli.command {
        Command::Shape(command) => {
            output::print(&command.text(Cli::command())?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(command) => settings::config(command, &loader).await,
        command => carry_out(command, loader).await,
    }
}

async fn carry_out(command: Command, loader: Loader) -> anyhow::Result<ExitCode> {
    let config = loader.first().await?;
    match command {
        Command::Run { .. } => commands::run(config.clone(), loader.again(config)).await,
        Command::Once { json, .. } => commands::once(loader.once(config), json).await,
        Command::Add { addr } => commands::add(&config, addr).await,
        Command::Import { file } => commands::import(&config, &file).await,
        Command::Explain { addr, json } => commands::explain(&config, addr, json).await,
        Command::Dump { format, good, out } => {
            dump::dump(&config, format, good, out.as_deref()).await
        }
        Command::Ban { net, hours, reason } => bans::ban(&config, net, hours, reason).await,
        Command::Unban { net } => bans::unban(&config, net).await,
        Command::Bans { json } => bans::list(&config, json).await,
        Command::Status { json } => commands::status(&config, json).await,
        // They are carried out without a configuration, before.
        Command::Config(_) | Command::Shape(_) => Ok(ExitCode::FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[tokio::test]
    async fn options_reach_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let cli = Cli::try_parse_from([
            PROGRAM,
            "once",
            "--network",
            "devnet",
            "--data-dir",
            dir.path().to_str().unwrap(),
            "--seed-addr",
            "127.0.0.1:1",
            "--no-bootstrap",
            "--no-dns",
            "--dials-per-second",
            "7",
        ])
        .unwrap();
        let loader = Loader::new(&Cli::command(), &cli);
        let config = loader.once(loader.first().await.unwrap());
        assert_eq!(config.seed_addrs.len(), 1);
        assert!(!config.use_bootstrap && config.resolvers.is_empty());
        assert_eq!(config.settings.pace.dials_per_second, 7);
        assert_eq!(
            config.http, None,
            "once shows nothing unless a flag says where"
        );
    }
}
