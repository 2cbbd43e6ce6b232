//! The victim, in a process of its own: a node with a chain, at rest.

use std::io::{BufRead, stdin};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkManager, NetworkStatus, config};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use super::{chain, places};
use crate::attack::cores::Cores;
use crate::attack::dial::unix_seconds;
use crate::bench::sync::parts::{node, quiet};
use crate::bench::{machine, worker};

/// Its address; each victim has a port of its own.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 201);

/// How often it is looked for a ban: the precision of `seconds_to_ban`.
const LOOK: Duration = Duration::from_millis(50);

/// What the node is to do.
#[derive(Debug, Args)]
pub struct Target {
    /// The cores to run on.
    #[arg(long)]
    cores: Cores,
    /// Whether it dials those it hears of.
    #[arg(long)]
    dials: bool,
    /// Whom it keeps dialling.
    #[arg(long, value_delimiter = ',')]
    manual: Vec<SocketAddr>,
}

impl Target {
    /// Tells its address, and for each line on standard input how it is doing, until standard input ends.
    pub(in crate::attack) fn run(self) -> anyhow::Result<()> {
        self.cores.keep_to()?;
        tokio::runtime::Runtime::new()?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let chain = chain::verified(self.spec())?;
        let mut settings = quiet(HOST);
        if self.dials {
            settings.outbound_target = config::OUTBOUND_TARGET;
        }
        settings.manual_peers = self.manual;
        let node = Arc::new(node(settings, &chain).await?);
        worker::tell(&json!({ "addr": node.listen_addr() }))?;
        let (found, first_ban) = watch::channel(None);
        let watcher = tokio::spawn(watch_for_a_ban(Arc::clone(&node), found));
        while spawn_blocking(line).await?? {
            let status = node.status().await.context("the node runs")?;
            worker::tell(&report(&status, *first_ban.borrow()))?;
        }
        watcher.abort();
        node.shutdown().await;
        Ok(())
    }

    /// The devnet's chain, and mainnet's numbers for peers. One that only listens also counts netgroups as on mainnet; one
    /// that dials has to take loopback addresses for public ones.
    fn spec(&self) -> ChainSpec {
        let mut spec = ChainSpec::devnet();
        let mainnet = ChainSpec::mainnet().network_protocol;
        let devnet = &mut spec.network_protocol;
        devnet.max_connections = mainnet.max_connections;
        devnet.max_connections_per_ip = mainnet.max_connections_per_ip;
        devnet.max_connections_per_subnet = mainnet.max_connections_per_subnet;
        devnet.max_messages_per_minute = mainnet.max_messages_per_minute;
        devnet.max_bytes_per_minute = mainnet.max_bytes_per_minute;
        devnet.connection_timeout = mainnet.connection_timeout;
        devnet.allow_private_addresses = self.dials || !self.manual.is_empty();
        spec
    }
}

/// Whether another line came.
fn line() -> std::io::Result<bool> {
    Ok(stdin().lock().read_line(&mut String::new())? > 0)
}

/// Notes when somebody is banned first, in Unix seconds.
async fn watch_for_a_ban(node: Arc<NetworkManager>, found: watch::Sender<Option<f64>>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        let Some(status) = node.status().await else {
            return;
        };
        if !status.security.bans.is_empty() {
            found.send_replace(Some(unix_seconds()));
            return;
        }
    }
}

fn report(status: &NetworkStatus, first_ban: Option<f64>) -> Value {
    let peers = &status.peers;
    let attackers = peers.iter().filter(|p| places::is_attacker(p.addr.ip()));
    let honest = peers.iter().filter(|p| places::is_honest(p.addr.ip()));
    let by_tls = peers.iter().filter(|p| p.transport == "tls");
    let by_tls = by_tls.filter(|p| !places::is_attacker(p.addr.ip()));
    let security = &status.security;
    json!({
        "cpu_s": machine::cpu_time().map(|time| time.as_secs_f64()),
        "rss_mb": machine::peak_rss_mb(),
        "attackers": attackers.count(),
        "honest": honest.count(),
        "outbound": status.outbound,
        "by_tls": by_tls.count(),
        "addresses": status.known_addresses,
        "detections": security.detections,
        "refused": security.refused,
        "offences": security.offences,
        "bans": security.bans.len(),
        "first_ban": first_ban,
        "height": status.sync.block_height,
    })
}
