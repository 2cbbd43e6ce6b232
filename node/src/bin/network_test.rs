//! `network_test`: checks a running network from outside, as a newcomer.
//!
//! Exit code 0: every measure passed; 1: one failed, or the check could not be made; 2: wrong usage.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool prints its findings"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::Provider;
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::spec;
use quantumcoin_node::config::provider;
use quantumcoin_node::network_test::{self, Event, Measure, Options, Report, TimeLimits};

/// Checks a running QuantumCoin network from outside: DNS, secure connections, peers, sync, defence
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// DNS server to ask (repeatable) [default: the system's resolvers]
    #[arg(long, value_name = "ADDR[:PORT]")]
    dns: Vec<String>,
    /// DNS seed name (repeatable) [default: the chain spec's]
    #[arg(long, value_name = "NAME")]
    seed: Vec<String>,
    /// Built-in network: mainnet, testnet or devnet [default: each in turn until peers answer]
    #[arg(long)]
    network: Option<String>,
    /// Chain spec file
    #[arg(long, value_name = "FILE")]
    chain_spec: Option<PathBuf>,
    /// Address that the fresh node listens on and dials from [default: any; loopback for a loopback --dns]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Height that the verified chain must reach at least
    #[arg(long, value_name = "BLOCKS", default_value_t = 1)]
    min_height: u32,
    /// Seconds that the whole check may take
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  network_test                                                    check mainnet
  network_test --dns 127.0.0.1:5300 --seed seed1.quantumcoin.network
                                                                  check the demonstration network";

#[tokio::main]
async fn main() -> ExitCode {
    match check(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn check(args: Args) -> anyhow::Result<bool> {
    logging::init(&LogOptions {
        level: "error".to_owned(),
        ..LogOptions::default()
    })?;
    let specs = candidates(&args).await?;
    let many = specs.len() > 1;
    let mut last = None;
    for spec in specs {
        let name = spec.network.clone();
        if many {
            println!("trying as {name}");
        }
        let options = options(&args, spec, many)?;
        let report = network_test::run(&options, show).await?;
        // Without a peer it is another network, or none: the next spec may fit.
        let found = report.peers > 0;
        last = Some(report);
        if found {
            break;
        }
    }
    let Some(report) = last else { return Ok(false) };
    finish(&report, args.json)?;
    Ok(report.ok)
}

async fn candidates(args: &Args) -> anyhow::Result<Vec<ChainSpec>> {
    if args.network.is_some() || args.chain_spec.is_some() {
        let spec = spec::choose(args.network.as_deref(), args.chain_spec.as_deref()).await?;
        return Ok(vec![spec]);
    }
    let public = !loopback(args);
    // On loopback there is a devnet, or nothing; outside there is no devnet to be found by DNS.
    let names = if public {
        &["mainnet", "testnet"][..]
    } else {
        &["devnet", "mainnet", "testnet"]
    };
    Ok(names
        .iter()
        .filter_map(|name| ChainSpec::by_name(name))
        .collect())
}

fn loopback(args: &Args) -> bool {
    !args.dns.is_empty()
        && args.dns.iter().all(
            |dns| matches!(provider(dns), Ok(Provider::Server(addr)) if addr.ip().is_loopback()),
        )
}

fn options(args: &Args, spec: ChainSpec, guessing: bool) -> anyhow::Result<Options> {
    let providers = if args.dns.is_empty() {
        vec![Provider::System]
    } else {
        args.dns
            .iter()
            .map(|dns| provider(dns))
            .collect::<Result<_, _>>()?
    };
    let own: SocketAddr = if loopback(args) {
        ([127, 0, 0, 1], 0).into()
    } else {
        ([0, 0, 0, 0], 0).into()
    };
    // On loopback every address is ours: one for the node, another for the misbehaving client.
    let attacker = loopback(args).then_some(IpAddr::from([127, 66, 0, 1]));
    let patience = Duration::from_secs(args.timeout);
    Ok(Options {
        spec,
        providers,
        seeds: args.seed.clone(),
        listen_addr: args.listen.unwrap_or(own),
        attacker,
        min_height: args.min_height,
        limits: TimeLimits::default(),
        // A wrong guess shows itself soon.
        patience: if guessing {
            patience.min(Duration::from_secs(30))
        } else {
            patience
        },
    })
}

fn show(event: Event<'_>) {
    if let Event::Measure(Measure {
        name,
        pass,
        seconds,
        detail,
    }) = event
    {
        let verdict = if *pass { "pass" } else { "FAIL" };
        println!("{verdict}  {name:<20} {seconds:>7.2} s  {detail}");
    }
}

fn finish(report: &Report, json: bool) -> anyhow::Result<()> {
    println!(
        "{}: {} peers, verified up to block {}",
        if report.ok {
            "the network is well"
        } else {
            "the network has a fault"
        },
        report.peers,
        report.height
    );
    if json {
        println!("{}", serde_json::to_string(report)?);
    }
    Ok(())
}
