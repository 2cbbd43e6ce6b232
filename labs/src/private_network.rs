//! A private network on loopback: nodes on 127.0.0.x with a mined chain, a crawler that visits them, and a
//! seeder that answers DNS from what the crawler found. No root, no internet, no stand-ins.
//!
//! ```text
//! node 1 (mines) <── nodes 2..N (sync from it, gossip) <── crawler ──> SQLite ──> seeder ──> DNS
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::{Discovery, Provider};
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin_crawler::seeders::SeederUrl;
use quantumcoin_crawler::{Crawler, CrawlerConfig};
use quantumcoin_node::{Node, NodeConfig, miner};
use quantumcoin_seeder::{Seeder, SeederConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The zones that the seeder serves: the names of mainnet's seeds, on a private server.
pub const SEEDS: [&str; 4] = [
    "seed1.quantumcoin.network",
    "seed2.quantumcoin.network",
    "seed3.quantumcoin.network",
    "seed4.quantumcoin.network",
];

/// First node's address; the others follow. 127.0.0.1 stays free for whoever tries things out.
const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Nodes at most: file descriptors and memory of one process.
const MAX_NODES: usize = 200;

/// How long each step of the start may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a step's success is looked for.
const POLL: Duration = Duration::from_millis(100);

/// What to bring up.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Nodes.
    pub nodes: usize,
    /// Blocks that the first node mines before the others start.
    pub blocks: u32,
    /// Pause between blocks mined after that; `None` mines no more.
    pub mine_every: Option<Duration>,
    /// Port that all nodes listen on; `None` takes the chain spec's, or a free one if that is in use.
    pub p2p_port: Option<u16>,
    /// Where the seeder answers DNS; port 0 takes a free one.
    pub dns_addr: SocketAddr,
    /// Where the dashboard listens; port 0 takes a free one.
    pub http_addr: SocketAddr,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            nodes: 8,
            blocks: 500,
            mine_every: None,
            p2p_port: None,
            dns_addr: any_port,
            http_addr: any_port,
        }
    }
}

/// A running private network. Dropping it without [`Self::shutdown`] stops it without waiting.
#[derive(Debug)]
pub struct PrivateNetwork {
    /// Its chain spec, with the seeds' names in it.
    pub spec: ChainSpec,
    /// Where the seeder answers.
    pub dns_addr: SocketAddr,
    /// Where the dashboard is.
    pub http_addr: SocketAddr,
    nodes: Vec<RunningNode>,
    crawler: Task,
    seeder: Task,
    directory: TempDir,
}

#[derive(Debug)]
struct RunningNode {
    addr: SocketAddr,
    http: SocketAddr,
    network: Arc<NetworkManager>,
    task: Task,
}

/// A task and what stops it.
#[derive(Debug)]
struct Task {
    stop: CancellationToken,
    handle: Option<JoinHandle<anyhow::Result<()>>>,
}

impl PrivateNetwork {
    /// Brings everything up, and returns when the seeder answers with the whole network. `step` hears in
    /// words what is being done.
    ///
    /// # Errors
    /// When something can't be started, or does not get ready in two minutes.
    pub async fn start(
        options: &NetworkOptions,
        mut step: impl FnMut(&str),
    ) -> anyhow::Result<Self> {
        if !(1..=MAX_NODES).contains(&options.nodes) {
            bail!("{} nodes: choose 1 to {MAX_NODES}", options.nodes);
        }
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let spec = spec(options).await?;
        // For whoever wants to join with the real programs.
        std::fs::write(directory.path().join("chain_spec.toml"), spec.to_toml())?;

        step(&format!("mining {} blocks", options.blocks));
        let nodes = start_nodes(options, &spec, directory.path(), &mut step).await?;

        step("crawling the network from one address");
        let seeder_http = free_address().await?;
        let crawler = bind_crawler(
            options,
            &spec,
            directory.path(),
            nodes[0].addr,
            SeederUrl(seeder_http),
        )
        .await?;
        let http_addr = crawler
            .http_addr()
            .context("the dashboard has an address")?;
        let store = crawler.store_path();
        let crawler =
            Task::spawn(|stop| async move { crawler.run(stop).await.map_err(Into::into) });

        step("answering DNS from the crawl");
        let mut config = SeederConfig::new(spec.clone());
        config.listen = vec![options.dns_addr];
        config.store = Some(store);
        config.refresh_seconds = 1;
        config.http = Some(seeder_http);
        let seeder = Seeder::bind(config).await?;
        let dns_addr = seeder.dns_addr();
        let seeder = Task::spawn(|stop| async move {
            seeder.run(stop).await?;
            Ok(())
        });
        wait_for_dns(&spec, dns_addr, options.nodes.min(ENOUGH_ADDRESSES)).await?;
        Ok(Self {
            spec,
            dns_addr,
            http_addr,
            nodes,
            crawler,
            seeder,
            directory,
        })
    }

    /// Where the nodes listen.
    pub fn node_addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|n| n.addr).collect()
    }

    /// The API of the first node.
    pub fn node_http(&self) -> Option<SocketAddr> {
        self.nodes.first().map(|n| n.http)
    }

    /// The chain spec as a file, for the real programs.
    pub fn spec_file(&self) -> PathBuf {
        self.directory.path().join("chain_spec.toml")
    }

    /// The crawler's data directory.
    pub fn crawler_dir(&self) -> PathBuf {
        self.directory.path().join("crawler")
    }

    /// An address like the nodes', behind the last of them, for a newcomer.
    pub fn newcomer(&self) -> SocketAddr {
        let port = self.spec.network_protocol.default_port;
        SocketAddr::from((host(MAX_NODES), port))
    }

    /// Height of the first node's tip.
    pub fn height(&self) -> u32 {
        self.nodes
            .first()
            .map_or(0, |n| n.network.progress().borrow().block_height)
    }

    /// Kills the nodes at these addresses, all at once and without an orderly end: their connections break
    /// in the middle of whatever they do.
    pub fn kill_nodes(&mut self, addrs: &[SocketAddr]) {
        let (mut killed, left) = std::mem::take(&mut self.nodes)
            .into_iter()
            .partition::<Vec<_>, _>(|node| addrs.contains(&node.addr));
        self.nodes = left;
        for node in &mut killed {
            node.task.abort();
        }
        // Dropping them cuts their connections; nothing waits for anything.
        drop(killed);
    }

    /// Ends the seeder: from now on DNS does not answer.
    pub async fn stop_seeder(&mut self) -> anyhow::Result<()> {
        self.seeder.end().await
    }

    /// Ends everything in an orderly way.
    ///
    /// # Errors
    /// When a program ended with one.
    pub async fn shutdown(mut self) -> anyhow::Result<()> {
        self.seeder.end().await?;
        self.crawler.end().await?;
        for node in &mut self.nodes {
            node.task.end().await?;
        }
        Ok(())
    }
}

/// Addresses after which DNS counts as ready; one answer holds about 24.
const ENOUGH_ADDRESSES: usize = 16;

impl Task {
    fn spawn<F>(make: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let handle = tokio::spawn(make(stop.clone()));
        Self {
            stop,
            handle: Some(handle),
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        match self.handle.take() {
            Some(handle) => handle.await.context("a task panicked")?,
            None => Ok(()),
        }
    }

    fn abort(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.abort();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The devnet with mainnet's seed names, on a port that is free on every node's address.
async fn spec(options: &NetworkOptions) -> anyhow::Result<ChainSpec> {
    let mut spec = ChainSpec::devnet();
    spec.discovery.dns_seeds = SEEDS.map(str::to_owned).to_vec();
    let port = match options.p2p_port {
        Some(port) => port,
        None => free_port(options.nodes, spec.network_protocol.default_port).await?,
    };
    spec.network_protocol.default_port = port;
    Ok(spec)
}

/// `wanted`, or else a port that is free on all addresses.
async fn free_port(nodes: usize, wanted: u16) -> anyhow::Result<u16> {
    if port_is_free(nodes, wanted).await {
        return Ok(wanted);
    }
    for _ in 0..16 {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = probe.local_addr()?.port();
        drop(probe);
        if port_is_free(nodes, port).await {
            return Ok(port);
        }
    }
    bail!("no port is free on all of {} to {}", host(0), host(nodes))
}

async fn port_is_free(nodes: usize, port: u16) -> bool {
    for index in (0..nodes).chain([MAX_NODES]) {
        if TcpListener::bind((host(index), port)).await.is_err() {
            return false;
        }
    }
    true
}

fn host(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST_HOST) + index as u32)
}

/// The first node mines; the others are told of it alone and find each other by gossip.
async fn start_nodes(
    options: &NetworkOptions,
    spec: &ChainSpec,
    directory: &Path,
    step: &mut impl FnMut(&str),
) -> anyhow::Result<Vec<RunningNode>> {
    let first = bind_node(options, spec, directory, 0, None).await?;
    let chain = Arc::clone(first.chain());
    let (blocks, spacing) = (options.blocks, spec.consensus.target_spacing);
    tokio::task::spawn_blocking(move || {
        let start = unix_now().saturating_sub(u64::from(blocks) * spacing);
        for n in 0..u64::from(blocks) {
            let time = u32::try_from(start + n * spacing).unwrap_or(u32::MAX);
            miner::mine_at(&chain, time).map_err(anyhow::Error::msg)?;
        }
        chain.flush()?;
        Ok::<(), anyhow::Error>(())
    })
    .await??;
    let first = run_node(first);
    let hub = first.addr;
    let mut nodes = vec![first];
    step(&format!(
        "starting {} more nodes, which sync from the first",
        options.nodes - 1
    ));
    for index in 1..options.nodes {
        nodes.push(run_node(
            bind_node(options, spec, directory, index, Some(hub)).await?,
        ));
    }
    for node in &nodes[1..] {
        let mut progress = node.network.progress();
        tokio::time::timeout(
            PATIENCE,
            progress.wait_for(|p| p.block_height >= options.blocks),
        )
        .await
        .with_context(|| format!("the node at {} did not sync", node.addr))??;
    }
    Ok(nodes)
}

async fn bind_node(
    options: &NetworkOptions,
    spec: &ChainSpec,
    directory: &Path,
    index: usize,
    hub: Option<SocketAddr>,
) -> anyhow::Result<Node> {
    let addr = SocketAddr::from((host(index), spec.network_protocol.default_port));
    let data_dir = directory.join(format!("node{}", index + 1));
    std::fs::create_dir_all(&data_dir)?;
    let mut network = NetworkConfig::new(addr);
    network.data_dir = Some(data_dir.clone());
    network.manual_peers = hub.into_iter().collect();
    // These nodes were there before the seeder: no DNS for them.
    network.providers = Vec::new();
    network.dns_seeds = Some(Vec::new());
    let config = NodeConfig {
        spec: spec.clone(),
        data_dir,
        network,
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http_names: Vec::new(),
        mine_every: options.mine_every.filter(|_| index == 0),
    };
    Node::bind(config)
        .await
        .with_context(|| format!("node {} at {addr}", index + 1))
}

fn run_node(node: Node) -> RunningNode {
    let (addr, http) = (node.listen_addr(), node.http_addr());
    let network = Arc::clone(node.network());
    let task = Task::spawn(|stop| async move { node.run(stop).await.map_err(Into::into) });
    RunningNode {
        addr,
        http,
        network,
        task,
    }
}

async fn bind_crawler(
    options: &NetworkOptions,
    spec: &ChainSpec,
    directory: &Path,
    seed: SocketAddr,
    seeder: SeederUrl,
) -> anyhow::Result<Crawler> {
    let data_dir = directory.join("crawler");
    std::fs::create_dir_all(&data_dir)?;
    let mut config = CrawlerConfig::new(Arc::new(spec.clone()), &data_dir);
    config.http = Some(options.http_addr);
    config.seed_addrs = vec![seed.into()];
    config.use_bootstrap = false;
    config.resolvers = Vec::new();
    // A network of minutes, not of months: look again every few seconds.
    config.settings.schedule.good_min_secs = 4;
    config.settings.schedule.good_max_secs = 8;
    config.settings.seeders = Some(vec![seeder]);
    Ok(Crawler::bind(config).await?)
}

/// An address of loopback where nobody listens: the crawler is told where the seeder will be before that has begun.
async fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}

/// Asks the seeder over UDP, as a newcomer would, until it knows the network.
async fn wait_for_dns(spec: &ChainSpec, dns: SocketAddr, enough: usize) -> anyhow::Result<()> {
    let discovery = Discovery::new(spec, &[Provider::Server(dns)])?;
    let start = Instant::now();
    loop {
        let found = discovery.run(&spec.discovery.dns_seeds, None).await;
        if found.candidates.len() >= enough {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!(
                "after {} s the seeder names {} of {enough} nodes",
                PATIENCE.as_secs(),
                found.candidates.len()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
