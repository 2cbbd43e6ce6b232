//! The node that is attacked: it listens from the start and syncs when it is told to.

use std::io::{BufRead, Read, stdin};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkManager;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::cores::Cores;
use crate::bench::sync::parts::{node, quiet};
use crate::bench::{machine, worker};

/// Its address.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 200);

/// What the node is to do.
#[derive(Debug, Args)]
pub struct Victim {
    /// The cores to run on.
    #[arg(long)]
    cores: Cores,
    /// Whom to sync from.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<SocketAddr>,
    /// The node's data directory, empty.
    dir: PathBuf,
    /// How many blocks there are.
    blocks: u32,
}

impl Victim {
    /// Tells its address; after a line on standard input syncs and tells how long that took; after the end of standard
    /// input tells what it has used.
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.cores.keep_to()?;
        tokio::runtime::Runtime::new()?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let mut spec = ChainSpec::devnet();
        spec.network_protocol.max_connections_per_subnet = ChainSpec::mainnet()
            .network_protocol
            .max_connections_per_subnet;
        let chain = Arc::new(Blockchain::open(Arc::new(spec), &self.dir)?);
        let node = node(quiet(HOST), &chain).await?;
        worker::tell(&json!({ "addr": node.listen_addr() }))?;
        spawn_blocking(|| stdin().lock().read_line(&mut String::new())).await??;
        let before = machine::cpu_time();
        let wall = self.sync(&node).await?;
        let spent = machine::cpu_time()
            .zip(before)
            .map(|(after, then)| after - then);
        worker::tell(&json!({ "wall_s": wall, "cpu_s": spent.map(|time| time.as_secs_f64()) }))?;
        spawn_blocking(|| stdin().lock().read_to_end(&mut Vec::new())).await??;
        let status = node.status().await.context("the node runs")?;
        let inbound = status
            .peers
            .iter()
            .filter(|peer| peer.direction == "inbound");
        worker::tell(&json!({
            "cpu_s": machine::cpu_time().map(|time| time.as_secs_f64()),
            "rss_mb": machine::peak_rss_mb(),
            "refused": status.security.refused,
            "failed": status.security.failed_handshakes,
            "inbound": inbound.count(),
        }))?;
        node.shutdown().await;
        Ok(())
    }

    async fn sync(&self, node: &NetworkManager) -> anyhow::Result<f64> {
        let start = Instant::now();
        for peer in &self.peers {
            node.connect(*peer).await;
        }
        let mut progress = node.progress();
        let end = *progress
            .wait_for(|now| now.failed || now.block_height >= self.blocks)
            .await?;
        ensure!(!end.failed, "storing blocks failed");
        Ok(start.elapsed().as_secs_f64())
    }
}
