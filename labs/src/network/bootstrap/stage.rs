//! The network that newcomers find, and one round of newcomers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkManager;
use quantumcoin::network::discovery::Provider;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::dns::{self, Hanging};
use super::newcomer::{Newcomer, Times, poison};
use crate::bench::sync::parts::{node, quiet};
use crate::bench::{cache_dir, worker};
use crate::network::{namespace, place};
use crate::private_network::SEEDS;

/// Nodes of the network.
const NODES: u8 = 12;

/// Addresses that the liar names, where somebody accepts and says nothing: as many as are taken of one seed.
const TARPITS: u8 = 32;

/// The first /16 of the nodes, of the tarpits and of the newcomers.
const NODES_NET: u8 = 40;
const TARPITS_NET: u8 = 60;
const NEWCOMERS_NET: u8 = 100;

/// Peers that a newcomer is meant to have soon.
const QUORUM: usize = 4;

/// One round.
#[derive(Debug, Args)]
pub struct Stage {
    /// Longest that a newcomer waits for a peer, s.
    #[arg(long)]
    patience: u64,
    /// What arrives at dead addresses is lost; this process is in a network of its own.
    #[arg(long)]
    silent: bool,
}

impl Stage {
    pub(in crate::network) fn run(self) -> anyhow::Result<()> {
        let _losing = if self.silent {
            namespace::enter()?;
            Some(namespace::Losing::what(&["ip daddr 127.128.0.0/9"])?)
        } else {
            None
        };
        tokio::runtime::Runtime::new()?.block_on(self.round())
    }

    async fn round(self) -> anyhow::Result<()> {
        let patience = Duration::from_secs(self.patience);
        let stop = CancellationToken::new();
        let network = Network::start(&stop).await?;
        std::fs::create_dir_all(cache_dir())?;
        let directory = tempfile::tempdir_in(cache_dir())?;
        let dirs = ["plain", "liar", "dead", "poisoned", "both"].map(|n| directory.path().join(n));
        for dir in &dirs {
            std::fs::create_dir_all(dir)?;
        }
        let [plain, liar, dead, poisoned, both] = &dirs;
        let known = poison(poisoned, &network.spec)?;
        std::fs::copy(
            poisoned.join(quantumcoin::network::address_book::file::FILE_NAME),
            both.join(quantumcoin::network::address_book::file::FILE_NAME),
        )?;
        let plain = network.plain(plain).measure(QUORUM, patience).await?;
        let liar = network.liar(liar)?.measure(QUORUM, patience).await?;
        let dead = network.dead_dns(2, dead)?.measure(QUORUM, patience).await?;
        // They do nothing but wait most of the time.
        let (poisoned, both) = tokio::try_join!(
            network.poisoned(poisoned).measure(1, patience),
            network.dead_dns(4, both)?.measure(1, patience),
        )?;
        worker::tell(&told(plain, liar, dead, poisoned, both, known))?;
        stop.cancel();
        for node in network.nodes {
            node.shutdown().await;
        }
        Ok(())
    }
}

fn told(
    plain: Times,
    liar: Times,
    dead: Times,
    poisoned: Times,
    both: Times,
    known: usize,
) -> serde_json::Value {
    json!({
        "first_answer_ms": plain.first_answer,
        "first_peer_ms": plain.first_peer,
        "four_peers_ms": plain.four_peers,
        "liar_first_peer_ms": liar.first_peer,
        "liar_four_peers_ms": liar.four_peers,
        "dead_dns_first_peer_ms": dead.first_peer,
        "dead_dns_four_peers_ms": dead.four_peers,
        "poisoned_first_peer_ms": poisoned.first_peer,
        "poisoned_dead_dns_first_peer_ms": both.first_peer,
        "dead_addresses": known,
    })
}

/// All that a newcomer may meet.
struct Network {
    spec: ChainSpec,
    nodes: Vec<NetworkManager>,
    _tarpits: Vec<TcpListener>,
    seeder: SocketAddr,
    /// Knows of one seed; the other three are dead.
    resolver: SocketAddr,
    liar: SocketAddr,
    hanging: Hanging,
}

impl Network {
    async fn start(stop: &CancellationToken) -> anyhow::Result<Self> {
        let mut spec = place::spec();
        spec.discovery.dns_seeds = SEEDS.map(str::to_owned).to_vec();
        let chain = Arc::new(Blockchain::in_memory(Arc::new(spec.clone())));
        let mut nodes: Vec<NetworkManager> = Vec::new();
        for number in 0..NODES {
            let mut config = quiet(place::host(NODES_NET, number));
            // A and AAAA tell no port: all have the first one's.
            if let Some(first) = nodes.first() {
                config.listen_addr.set_port(first.listen_addr().port());
            }
            nodes.push(node(config, &chain).await?);
        }
        let peers: Vec<_> = nodes.iter().map(NetworkManager::listen_addr).collect();
        let port = peers.first().map_or(0, SocketAddr::port);
        spec.network_protocol.default_port = port;
        let (mut tarpits, mut junk) = (Vec::new(), Vec::new());
        for number in 0..TARPITS {
            let tarpit = TcpListener::bind((place::host(TARPITS_NET, number), port)).await?;
            junk.push(tarpit.local_addr()?);
            // Nobody accepts; the system completes the connection and holds it.
            tarpits.push(tarpit);
        }
        let server = |number: u8| place::host(NODES_NET, 200 + number);
        let seeder = dns::seeder(server(0), &spec, &peers, stop).await?;
        Ok(Self {
            resolver: dns::resolver(server(1), seeder, SEEDS[0]).await?,
            liar: dns::seeder(server(2), &spec, &junk, stop).await?,
            hanging: Hanging::bind(server(3)).await?,
            seeder,
            nodes,
            spec,
            _tarpits: tarpits,
        })
    }

    fn newcomer<'a>(&'a self, number: u8, dir: &'a Path) -> Newcomer<'a> {
        let host: Ipv4Addr = place::host(NEWCOMERS_NET, number);
        Newcomer {
            host,
            spec: &self.spec,
            providers: vec![Provider::Server(self.seeder)],
            bootstrap: Vec::new(),
            dir,
        }
    }

    fn plain<'a>(&'a self, dir: &'a Path) -> Newcomer<'a> {
        self.newcomer(0, dir)
    }

    fn liar<'a>(&'a self, dir: &'a Path) -> anyhow::Result<Newcomer<'a>> {
        Ok(Newcomer {
            providers: vec![
                Provider::Server(self.resolver),
                Provider::Server(self.liar),
                self.hanging.provider()?,
            ],
            ..self.newcomer(1, dir)
        })
    }

    fn dead_dns<'a>(&'a self, number: u8, dir: &'a Path) -> anyhow::Result<Newcomer<'a>> {
        let nodes = self.nodes.iter().take(QUORUM);
        Ok(Newcomer {
            providers: vec![self.hanging.provider()?],
            bootstrap: nodes.map(NetworkManager::listen_addr).collect(),
            ..self.newcomer(number, dir)
        })
    }

    fn poisoned<'a>(&'a self, dir: &'a Path) -> Newcomer<'a> {
        self.newcomer(3, dir)
    }
}
