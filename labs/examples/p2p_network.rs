//! The whole system at work on loopback: nodes, crawler, seeder, dashboard, and a fresh node that finds
//! and verifies it all by DNS alone. Neither root nor internet is needed.
//!
//! `cargo run --release --example p2p_network -- --help`
#![expect(clippy::print_stdout, reason = "a demonstration prints")]

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use labs::private_network::{NetworkOptions, PrivateNetwork, SEEDS};
use quantumcoin::network::discovery::Provider;
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::shutdown;
use quantumcoin_node::network_test::{self, Event, Options, Report, TimeLimits};

/// Brings up a private QuantumCoin network and lets a fresh node sync it, knowing nothing but DNS
#[derive(Debug, Parser)]
#[command(name = "p2p_network", version)]
struct Args {
    /// End after success instead of staying until Ctrl-C; exit code 0 only if every measure passed
    #[arg(long)]
    once: bool,
    /// Print one JSON object as the last line of standard output; the rest goes to standard error
    #[arg(long)]
    json: bool,
    /// Nodes of the network
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: u16,
    /// Blocks of the chain
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    blocks: u32,
    /// Where the seeder answers DNS
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    dns_addr: SocketAddr,
    /// Where the dashboard listens
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    http_addr: SocketAddr,
    /// Port of the nodes [default: 8333, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    p2p_port: Option<u16>,
    /// Log level or filter
    #[arg(long, default_value = "error")]
    log: String,
}

/// The limits that the demonstration sets itself: first DNS answer, first peer, four peers, 500 blocks.
const LIMITS: TimeLimits = TimeLimits {
    first_answer: Duration::from_secs(1),
    first_peer: Duration::from_secs(1),
    four_peers: Duration::from_secs(5),
    sync: None,
};

/// Time for 500 blocks; longer chains get as much more.
const SYNC_500: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let out = Out { json: args.json };
    match show(&args, out).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(args: &Args, out: Out) -> anyhow::Result<bool> {
    logging::init(&LogOptions {
        level: args.log.clone(),
        ..LogOptions::default()
    })?;
    let stop = shutdown::signals();
    let start = Instant::now();
    let options = NetworkOptions {
        nodes: args.nodes.into(),
        blocks: args.blocks,
        mine_every: (!args.once).then_some(Duration::from_secs(5)),
        p2p_port: args.p2p_port,
        dns_addr: args.dns_addr,
        http_addr: args.http_addr,
    };
    let bring_up = PrivateNetwork::start(&options, |step| {
        out.line(&format!("{:>6.2} s  {step}", start.elapsed().as_secs_f64()));
    });
    let network = tokio::select! {
        network = bring_up => network?,
        () = stop.cancelled() => return Ok(false),
    };
    introduce(&network, out);
    let report = tokio::select! {
        report = follow_newcomer(args, &network, out) => report?,
        () = stop.cancelled() => return Ok(false),
    };
    out.line(&format!(
        "\n{}: {} peers, verified up to block {}",
        if report.ok {
            "every measure passed"
        } else {
            "NOT every measure passed"
        },
        report.peers,
        report.height
    ));
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    if !args.once {
        suggest(&network, out);
        stop.cancelled().await;
    }
    network.shutdown().await?;
    Ok(report.ok)
}

fn introduce(network: &PrivateNetwork, out: Out) {
    let addrs = network.node_addrs();
    if let (Some(first), Some(last)) = (addrs.first(), addrs.last()) {
        out.line(&format!("\nnodes       {first} to {last}"));
    }
    out.line(&format!(
        "DNS         {} for {}",
        network.dns_addr,
        SEEDS.join(", ")
    ));
    out.line(&format!("dashboard   http://{}/\n", network.http_addr));
    out.line("a fresh node starts; it knows the chain spec and a resolver, and nobody");
}

async fn follow_newcomer(
    args: &Args,
    network: &PrivateNetwork,
    out: Out,
) -> anyhow::Result<Report> {
    let blocks = u64::from(args.blocks);
    let mut limits = LIMITS;
    limits.sync = Some(SYNC_500.mul_f64((f64::from(args.blocks) / 500.0).max(1.0)));
    let options = Options {
        spec: network.spec.clone(),
        providers: vec![Provider::Server(network.dns_addr)],
        seeds: Vec::new(),
        listen_addr: network.newcomer(),
        attacker: Some(IpAddr::from([127, 66, 0, 1])),
        min_height: args.blocks,
        limits,
        patience: Duration::from_secs(600),
    };
    let bar = ProgressBar::with_draw_target(Some(blocks), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(
        "        {bar:40} {pos}/{len} blocks  {per_sec}  {msg}",
    )?);
    let report = network_test::run(&options, |event| match event {
        Event::Progress(progress) => {
            bar.set_length(u64::from(progress.header_height).max(blocks));
            bar.set_position(progress.block_height.into());
            bar.set_message(format!("{} peers", progress.peers));
        }
        Event::Measure(measure) => {
            let verdict = if measure.pass { "pass" } else { "FAIL" };
            bar.suspend(|| {
                out.line(&format!(
                    "{verdict}  {:<20} {:>7.3} s  {}",
                    measure.name, measure.seconds, measure.detail
                ));
            });
        }
    })
    .await;
    bar.finish_and_clear();
    report
}

fn suggest(network: &PrivateNetwork, out: Out) {
    let (dns, http) = (network.dns_addr, network.http_addr);
    let (ip, port, seed) = (dns.ip(), dns.port(), SEEDS[0]);
    let spec = network.spec_file();
    let spec = spec.display();
    out.line("\nTry:");
    out.line(&format!("  dig @{ip} -p {port} {seed} A"));
    out.line(&format!("  dig @{ip} -p {port} _qtc._tcp.{seed} SRV"));
    out.line(&format!("  dig @{ip} -p {port} {seed} TXT +tcp"));
    out.line(&format!("  open http://{http}/ in a browser"));
    if let Some(api) = network.node_http() {
        out.line(&format!(
            "  cargo run --release --bin quantumcoin-node -- status --http {api}"
        ));
    }
    out.line(&format!(
        "  cargo run --release --bin network_test -- --chain-spec {spec} --dns {dns} --seed {seed}"
    ));
    out.line(&format!(
        "  cargo run --release --bin quantumcoin-node -- run --chain-spec {spec} --resolver {dns} \
         --listen 127.0.0.9:{} --data-dir DIR",
        network.spec.network_protocol.default_port
    ));
    out.line("\nThe network stays up and mines a block every 5 s. Ctrl-C ends it.");
}

/// Where words go: standard output, or standard error when that is kept for JSON.
#[derive(Clone, Copy)]
struct Out {
    json: bool,
}

impl Out {
    fn line(self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}
