//! The processes of `bench sync`.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use anyhow::{Context, ensure};
use bitcoin::Block;
use bitcoin::consensus::encode::deserialize;
use clap::Subcommand;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::service::metrics::Metrics;
use serde_json::json;

use super::bad_peers;
use crate::bench::{machine, worker};
use crate::chain_generator::files;

/// Honest peers.
const GOOD_PEERS: u8 = 4;

/// Blocks that local validation hands over at once: what the node's chain writer takes at most.
const BATCH: usize = 64;

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Validates blocks from local files.
    Local {
        /// A generated chain.
        chain: PathBuf,
        /// The node's data directory, empty.
        dir: PathBuf,
        /// How many blocks there are.
        blocks: u32,
    },
    /// Serves a chain from several nodes until standard input ends.
    Peers {
        /// The nodes' data directory.
        dir: PathBuf,
    },
    /// A fresh node syncs from peers.
    Fresh {
        /// The peers.
        #[arg(long, value_delimiter = ',')]
        peers: Vec<SocketAddr>,
        /// The node's data directory, empty.
        dir: PathBuf,
        /// How many blocks there are.
        blocks: u32,
    },
}

impl Part {
    pub(in crate::bench) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Local { chain, dir, blocks } => measured(|| local(&chain, &dir), blocks),
            Self::Fresh { peers, dir, blocks } => {
                let runtime = tokio::runtime::Runtime::new()?;
                measured(|| runtime.block_on(fresh(peers, &dir, blocks)), blocks)
            }
            Self::Peers { dir } => tokio::runtime::Runtime::new()?.block_on(serve(&dir)),
        }
    }
}

/// Runs `work`, which gives the height that it came to, and tells what it cost.
fn measured(work: impl FnOnce() -> anyhow::Result<u32>, blocks: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    let height = work()?;
    let wall = start.elapsed().as_secs_f64();
    ensure!(height == blocks, "{height} of {blocks} blocks");
    worker::tell(&json!({
        "wall_s": wall,
        "cpu_s": machine::cpu_time().map(|time| time.as_secs_f64()),
        "rss_mb": machine::peak_rss_mb(),
    }))
}

fn open(dir: &Path) -> anyhow::Result<Arc<Blockchain>> {
    let spec = Arc::new(ChainSpec::devnet());
    Ok(Arc::new(Blockchain::open(spec, dir)?))
}

/// Reads and decodes in one thread, validates and stores in another, until all is on disk.
fn local(chain: &Path, dir: &Path) -> anyhow::Result<u32> {
    let blocks = files::read(chain)?;
    let chain = open(dir)?;
    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(1);
        let reader = scope.spawn(move || read_batches(blocks, &sender));
        for batch in batches {
            connect(&chain, &batch)?;
        }
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reading thread panicked"))?
    })?;
    chain.flush()?;
    Ok(chain.tip().height)
}

fn read_batches(
    blocks: files::Blocks,
    sender: &mpsc::SyncSender<Vec<Block>>,
) -> anyhow::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for bytes in blocks {
        batch.push(deserialize(&bytes?)?);
        if batch.len() == BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            if sender.send(full).is_err() {
                // The other side has failed and says why.
                return Ok(());
            }
        }
    }
    // As above.
    let _ = sender.send(batch);
    Ok(())
}

fn connect(chain: &Blockchain, blocks: &[Block]) -> anyhow::Result<()> {
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    let now = headers.last().map_or(0, |header| header.time);
    chain.accept_headers(&headers, now)?;
    for result in chain.connect_blocks(blocks) {
        result?;
    }
    Ok(())
}

/// Syncs, and waits until all is on disk.
///
/// The end is the last block's verification, not the node's word that it is synchronised: that one waits for
/// what a quorum of peers has to say, which takes its time where peers hang.
async fn fresh(peers: Vec<SocketAddr>, dir: &Path, blocks: u32) -> anyhow::Result<u32> {
    let chain = open(dir)?;
    let mut config = quiet(Ipv4Addr::new(127, 77, 0, 200));
    config.manual_peers = peers;
    let node = node(config, &chain).await?;
    let mut progress = node.progress();
    let end = *progress
        .wait_for(|now| now.failed || now.block_height >= blocks)
        .await?;
    ensure!(!end.failed, "storing blocks failed");
    let durable = Arc::clone(&chain);
    tokio::task::spawn_blocking(move || durable.flush()).await??;
    Ok(end.block_height)
}

/// A node that knows nobody and asks no resolver.
pub(crate) fn quiet(host: Ipv4Addr) -> NetworkConfig {
    let mut config = NetworkConfig::new(SocketAddr::from((host, 0)));
    config.providers = Vec::new();
    config.dns_seeds = Some(Vec::new());
    config.outbound_target = 0;
    config
}

pub(crate) async fn node(
    config: NetworkConfig,
    chain: &Arc<Blockchain>,
) -> anyhow::Result<NetworkManager> {
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, Arc::clone(chain), None, &metrics).await?;
    node.start().await?;
    Ok(node)
}

async fn serve(dir: &Path) -> anyhow::Result<()> {
    let chain = open(dir)?;
    let mut nodes = Vec::new();
    for number in 1..=GOOD_PEERS {
        nodes.push(node(quiet(Ipv4Addr::new(127, 77, 0, number)), &chain).await?);
    }
    let good: Vec<SocketAddr> = nodes.iter().map(NetworkManager::listen_addr).collect();
    let last = *good.last().context("there are peers")?;
    let hanging = bad_peers::hanging(Ipv4Addr::new(127, 77, 0, 101), Arc::clone(&chain)).await?;
    let slow = bad_peers::slow(Ipv4Addr::new(127, 77, 0, 102), last).await?;
    worker::tell(&json!({ "good": good, "hanging": [hanging], "slow": [slow] }))?;
    // Until the benchmark ends.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}
