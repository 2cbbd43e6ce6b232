//! The command line: what may be asked, and the way from words to a [`CrawlerConfig`].
//!
//! `commands` carries the commands out, `dump` and `bans` theirs.

mod bans;
mod commands;
mod dump;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use quantumcoin::network::discovery::Provider;
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::service::logging::{self, LogFormat, LogOptions};
use quantumcoin::service::{dirs, spec};

use crate::config::{CrawlerConfig, Settings};
use crate::geo::Geo;

/// Name of the data directory under the user's data home.
const PROGRAM: &str = "quantumcoin-crawler";

/// Visits every peer of a QuantumCoin network and records its reachability.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, about, after_help = EXAMPLES)]
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

Exit status: 0 done; 1 failed, the reason is on standard error; 2 wrong usage;
3 (explain) the peer is not good.";

#[derive(Debug, Args)]
struct Common {
    /// Built-in network: mainnet, testnet or devnet [default: mainnet]
    #[arg(long, global = true, env = "QTC_NETWORK")]
    network: Option<String>,
    /// Chain spec file of another network
    #[arg(long, global = true, value_name = "FILE", env = "QTC_CHAIN_SPEC")]
    chain_spec: Option<PathBuf>,
    /// Where the store lives [default: by the XDG rules, one folder for each network]
    #[arg(long, global = true, value_name = "DIR", env = "QTC_CRAWLER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Settings file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "QTC_CRAWLER_CONFIG")]
    config: Option<PathBuf>,
    /// Log level or filter
    #[arg(long, global = true, default_value = "info", env = "QTC_CRAWLER_LOG")]
    log: String,
    /// Log format: auto, human or json
    #[arg(
        long,
        global = true,
        default_value = "auto",
        env = "QTC_CRAWLER_LOG_FORMAT"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Crawl for ever, with dashboard, API and metrics
    Run {
        #[command(flatten)]
        start: Start,
        /// Where the dashboard listens
        #[arg(long, default_value = "127.0.0.1:8380", env = "QTC_CRAWLER_HTTP")]
        http: SocketAddr,
    },
    /// Visit each address once and report
    Once {
        #[command(flatten)]
        start: Start,
        /// Serve the dashboard meanwhile
        #[arg(long)]
        http: Option<SocketAddr>,
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
    Bans,
    /// Say for each rule why an address is a good peer or not
    Explain {
        /// IP address with port, or NAME.onion:PORT
        addr: PeerAddress,
        /// Show as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where a crawl starts.
#[derive(Debug, Args)]
struct Start {
    /// Address to start from; may be given several times
    #[arg(long, value_name = "ADDR")]
    seed_addr: Vec<PeerAddress>,
    /// Resolver for the DNS seeds instead of the system's; may be given several times
    #[arg(long, value_name = "ADDR")]
    resolver: Vec<SocketAddr>,
    /// Ask no DNS seeds
    #[arg(long, conflicts_with = "resolver")]
    no_dns: bool,
    /// Do not start from the chain spec's bootstrap nodes
    #[arg(long)]
    no_bootstrap: bool,
    /// Dials a second in all, over the settings file
    #[arg(long, value_name = "N")]
    dials_per_second: Option<u32>,
}

/// Reads the arguments and does what they say.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = LogOptions {
        level: cli.common.log.clone(),
        format: cli.common.log_format,
    };
    if let Err(error) = logging::init(&log) {
        commands::complain(&error.into());
        return ExitCode::FAILURE;
    }
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            commands::complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut loader = loader(&cli.common).await?;
    match cli.command {
        Command::Run { start, http } => {
            apply(&mut loader, start);
            loader.base.http = Some(http);
            commands::run(loader.load()?, loader).await
        }
        Command::Once { start, http, json } => {
            apply(&mut loader, start);
            loader.base.http = http;
            commands::once(loader.load()?, json).await
        }
        command => {
            let config = loader.load()?;
            match command {
                Command::Add { addr } => commands::add(&config, addr).await,
                Command::Import { file } => commands::import(&config, &file).await,
                Command::Explain { addr, json } => commands::explain(&config, addr, json).await,
                Command::Dump { format, good, out } => {
                    dump::dump(&config, format, good, out.as_deref()).await
                }
                Command::Ban { net, hours, reason } => bans::ban(&config, net, hours, reason).await,
                Command::Unban { net } => bans::unban(&config, net).await,
                Command::Bans => bans::list(&config).await,
                Command::Status { json } => commands::status(&config, json).await,
                // Matched above.
                Command::Run { .. } | Command::Once { .. } => Ok(ExitCode::FAILURE),
            }
        }
    }
}

/// Makes the configuration of a start, and again at each reload.
struct Loader {
    base: CrawlerConfig,
    file: Option<PathBuf>,
    dials_per_second: Option<u32>,
}

impl Loader {
    /// With the settings as the file has them now.
    fn load(&self) -> anyhow::Result<CrawlerConfig> {
        let mut config = self.base.clone();
        if let Some(file) = &self.file {
            config.settings = Settings::read(file)?;
        }
        if let Some(rate) = self.dials_per_second {
            config.settings.pace.dials_per_second = rate;
        }
        config.excluded = config.settings.excluded()?;
        config.geo = Geo::read(&config.settings.geo)?;
        Ok(config)
    }
}

async fn loader(common: &Common) -> anyhow::Result<Loader> {
    let spec = spec::choose(common.network.as_deref(), common.chain_spec.as_deref()).await?;
    let data_dir = match &common.data_dir {
        Some(dir) => dirs::ensure(PROGRAM, Some(dir))?,
        // One folder for each network, so that their stores do not meet.
        None => {
            let base = dirs::locate(PROGRAM, None)?;
            dirs::ensure(PROGRAM, Some(&base.join(&spec.network)))?
        }
    };
    Ok(Loader {
        base: CrawlerConfig::new(Arc::new(spec), &data_dir),
        file: common.config.clone(),
        dials_per_second: None,
    })
}

fn apply(loader: &mut Loader, start: Start) {
    let config = &mut loader.base;
    config.seed_addrs = start.seed_addr;
    config.use_bootstrap = !start.no_bootstrap;
    if start.no_dns {
        config.resolvers = Vec::new();
    } else if !start.resolver.is_empty() {
        config.resolvers = start.resolver.into_iter().map(Provider::Server).collect();
    }
    loader.dials_per_second = start.dials_per_second;
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_reach_the_configuration() {
        let cli = Cli::try_parse_from([
            PROGRAM,
            "once",
            "--network",
            "devnet",
            "--seed-addr",
            "127.0.0.1:1",
            "--no-bootstrap",
            "--no-dns",
            "--dials-per-second",
            "7",
        ])
        .unwrap();
        let Command::Once { start, .. } = cli.command else {
            panic!("not once")
        };
        let spec = Arc::new(quantumcoin::chain_spec::ChainSpec::devnet());
        let mut loader = Loader {
            base: CrawlerConfig::new(spec, std::path::Path::new("/tmp")),
            file: None,
            dials_per_second: None,
        };
        apply(&mut loader, start);
        let config = loader.load().unwrap();
        assert_eq!(config.seed_addrs.len(), 1);
        assert!(!config.use_bootstrap && config.resolvers.is_empty());
        assert_eq!(config.settings.pace.dials_per_second, 7);
    }
}
