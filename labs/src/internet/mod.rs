//! `labs internet`: an internet on loopback with a known truth. One process answers for up to a million addresses of
//! 127.0.0.0/8, each of a stated kind: honest, dead, refusing, slow, lying, of another network or chain.
//!
//! ```text
//! 127.a.b.c:answers   one listener for all; the dialled address says who is meant, and so what to do   [`peer`]
//! 127.a.b.c:refusing  a port where nobody listens
//! 127.a.b.c:dead      a listener whose queue is full and stays so: what is dialled there gets no answer
//! ```
//! Several processes play one internet with `--join`: the listener's port is theirs in common, and the system gives each its share
//! of the connections. Who is what, and whom it knows, follows from its number by a keyed hash ([`truth`]): there is nothing to store, and
//! whoever has the [`Truth`] can say what a crawl must find at any address.

mod peer;
mod serve;
pub mod truth;

use std::net::SocketAddr;

use clap::Args;

pub use self::serve::Internet;
use self::truth::{Kind, Ports, Truth};

/// What there is to be.
#[derive(Debug, Clone, Copy, Args)]
pub struct InternetArgs {
    /// Addresses in all, at most 4,000,000.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub addresses: u32,
    /// Of a hundred addresses, those of good peers; the hostile kinds share the rest.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub good: u8,
    /// Addresses that a peer tells when it is asked, at most 1,000.
    #[arg(long, default_value_t = 1_000)]
    pub told: u16,
    /// Honest nodes of one owner in one netgroup besides, at most 62,500.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=62_500))]
    pub swarm: u32,
    /// Ports of an internet that another process plays, to play it together: who answers, dead, refusing. Each process has
    /// descriptors of its own.
    #[arg(long, value_parser = Ports::parse, value_name = "A,D,R")]
    pub join: Option<Ports>,
    /// Decides who is what.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl InternetArgs {
    /// The truth of the internet at these ports.
    pub fn truth(&self, ports: Ports) -> Truth {
        let truth = Truth::new(self.addresses, self.good, self.told, self.seed, ports);
        truth.with_swarm(self.swarm)
    }
}

/// Serves an internet until standard input ends; `show`s what it is and how to crawl it.
///
/// # Errors
/// Where a port can't be had, or `show` fails.
pub fn run(
    args: InternetArgs,
    show: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let internet = runtime.block_on(Internet::start(args))?;
    show(&guide(internet.truth()))?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn guide(truth: &Truth) -> String {
    let kinds = truth.census().into_iter();
    let kinds = kinds.map(|(kind, n)| format!("{n:>9}  {:<13}  {}", kind.as_str(), kind.what()));
    let kinds: Vec<String> = kinds.collect();
    format!(
        "{}\n\ncrawl it from one address:\n  quantumcoin-crawler once --network devnet --no-dns --no-bootstrap \
         --seed-addr {}\n\nCtrl-D ends it",
        kinds.join("\n"),
        first_honest(truth)
    )
}

/// An address from which the whole network can be found.
pub fn first_honest(truth: &Truth) -> SocketAddr {
    first(truth, Kind::Honest).unwrap_or_else(|| truth.address(0))
}

/// The first address of a kind, if there is one.
pub fn first(truth: &Truth, kind: Kind) -> Option<SocketAddr> {
    let number = (0..truth.size()).find(|number| truth.kind(*number) == kind);
    number.map(|number| truth.address(number))
}
