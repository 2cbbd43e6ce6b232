//! One node of a lab: the library's own, with its settings at their defaults.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bitcoin::BlockHash;
use quantumcoin::chain::{BlockRef, Blockchain};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::status::NetworkStatus;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::service::metrics::Metrics;
use quantumcoin_node::miner;
use tokio::task::spawn_blocking;

/// How often a condition is looked at.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// What is needed to start a node, for the first time or again.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Names it to people; its place in the network.
    pub(super) number: usize,
    /// Where it listens. Port 0 takes one, which it then keeps.
    pub(super) addr: SocketAddr,
    /// Where chain, identity, book and bans are kept.
    pub(super) dir: PathBuf,
    /// With the bootstrap nodes in it, which is how it finds others.
    pub(super) spec: ChainSpec,
}

/// A running node.
#[derive(Debug)]
pub(super) struct LabNode {
    plan: Plan,
    pub(super) chain: Arc<Blockchain>,
    pub(super) network: NetworkManager,
}

impl Plan {
    /// Opens the chain and starts the node. It asks no DNS.
    pub(super) async fn start(mut self) -> anyhow::Result<LabNode> {
        let what = format!("node {} at {}", self.number, self.addr);
        let (dir, spec) = (self.dir.join("chain"), Arc::new(self.spec.clone()));
        std::fs::create_dir_all(&dir)?;
        let opened = spawn_blocking(move || Blockchain::open(spec, &dir)).await?;
        let chain = Arc::new(opened.with_context(|| what.clone())?);
        let mut config = NetworkConfig::new(self.addr);
        config.data_dir = Some(self.dir.clone());
        config.providers = Vec::new();
        let metrics = Metrics::new("quantumcoin_node");
        let network = NetworkManager::with_config(config, Arc::clone(&chain), None, &metrics);
        let network = network.await.with_context(|| what.clone())?;
        network.start().await.context(what)?;
        self.addr = network.listen_addr();
        Ok(LabNode {
            plan: self,
            chain,
            network,
        })
    }
}

impl LabNode {
    pub(super) fn number(&self) -> usize {
        self.plan.number
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.plan.addr
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.chain.tip()
    }

    pub(super) async fn status(&self) -> anyhow::Result<NetworkStatus> {
        let status = self.network.status().await;
        status.with_context(|| format!("node {} does not run", self.number()))
    }

    /// Mines one block of what waits in its pool.
    pub(super) async fn mine(&self) -> anyhow::Result<()> {
        let (chain, pool) = (Arc::clone(&self.chain), self.network.pool().clone());
        let mined = spawn_blocking(move || miner::mine_from(&chain, &pool)).await?;
        mined.map_err(anyhow::Error::msg)?;
        Ok(())
    }

    /// Ends it in an orderly way, to be started again.
    pub(super) async fn stop(self) -> Plan {
        self.network.shutdown().await;
        self.plan
    }
}

/// The different tips of these nodes.
pub(super) fn tips(nodes: &[LabNode]) -> HashSet<BlockHash> {
    nodes.iter().map(|node| node.tip().hash).collect()
}

/// Waits until `is_so`, at most until the deadline; gives whether it is.
pub(super) async fn wait_until(deadline: Instant, mut is_so: impl FnMut() -> bool) -> bool {
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends all of them at once.
pub(super) async fn stop_all(nodes: Vec<LabNode>) -> anyhow::Result<()> {
    let mut stopping = tokio::task::JoinSet::new();
    for node in nodes {
        stopping.spawn(node.stop());
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped.context("a node panicked while it stopped")?;
    }
    Ok(())
}
