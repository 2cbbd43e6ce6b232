//! A node that has just been installed, or whose book has been poisoned.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::address_book::AddressBook;
use quantumcoin::network::discovery::Provider;
use quantumcoin::network::protocol::addresses::Gossip;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::service::metrics::Metrics;
use quantumcoin::wire::services;
use tokio::time::{sleep, timeout};

use crate::network::node::POLL;

/// Dead addresses in a poisoned book.
pub(super) const DEAD: usize = 10_000;

/// Those who told of them: so many that the book's share for each has room for all.
const TELLERS: usize = 256;

/// Longest until DNS has told all that it has, of which the first answer's time is read.
const DNS_PATIENCE: Duration = Duration::from_secs(10);

/// What a newcomer starts with.
#[derive(Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) host: Ipv4Addr,
    pub(super) spec: &'a ChainSpec,
    pub(super) providers: Vec<Provider>,
    pub(super) bootstrap: Vec<SocketAddr>,
    /// With its book in it, if it has one.
    pub(super) dir: &'a Path,
}

/// Milliseconds from its start; `None` for what did not come about in time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) first_answer: Option<f64>,
    pub(super) first_peer: Option<f64>,
    pub(super) four_peers: Option<f64>,
}

impl Newcomer<'_> {
    /// Starts it, and waits for its first peer and for `peers` of them, for so long in all.
    pub(super) async fn measure(self, peers: usize, patience: Duration) -> anyhow::Result<Times> {
        let mut spec = self.spec.clone();
        spec.discovery.bootstrap_nodes = self.bootstrap;
        let chain = Arc::new(Blockchain::in_memory(Arc::new(spec)));
        let mut config = NetworkConfig::new(SocketAddr::from((self.host, 0)));
        config.data_dir = Some(self.dir.to_owned());
        config.providers = self.providers;
        let metrics = Metrics::new("quantumcoin_node");
        let start = Instant::now();
        let node = NetworkManager::with_config(config, chain, None, &metrics).await?;
        node.start().await?;
        let mut times = Times {
            first_peer: reached(&node, 1, start, patience).await,
            ..Times::default()
        };
        if times.first_peer.is_some() && peers > 1 {
            times.four_peers = reached(&node, peers, start, patience).await;
        }
        times.first_answer = first_answer(&node).await;
        node.shutdown().await;
        Ok(times)
    }
}

/// When the node had so many peers.
async fn reached(
    node: &NetworkManager,
    peers: usize,
    start: Instant,
    patience: Duration,
) -> Option<f64> {
    let mut progress = node.progress();
    let left = patience.saturating_sub(start.elapsed());
    let had = timeout(left, progress.wait_for(|now| now.peers >= peers)).await;
    matches!(had, Ok(Ok(_))).then(|| start.elapsed().as_secs_f64() * 1e3)
}

/// When the first address came from DNS, after the round began.
async fn first_answer(node: &NetworkManager) -> Option<f64> {
    let deadline = Instant::now() + DNS_PATIENCE;
    while Instant::now() < deadline {
        let seeds = node.status().await?.seeds;
        if !seeds.is_empty() {
            let first = seeds.iter().filter_map(|seed| seed.first_answer_us).min();
            return first.map(|micros| micros as f64 / 1e3);
        }
        sleep(POLL).await;
    }
    None
}

/// Writes a book of [`DEAD`] addresses in 127.128.0.0/9 that nobody was met at; gives how many it holds.
pub(super) fn poison(dir: &Path, spec: &ChainSpec) -> anyhow::Result<usize> {
    let mut book = AddressBook::new(spec.network_protocol.allow_private_addresses);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let time = u32::try_from(now)?;
    // Some find their places taken.
    for number in (0_u32..).take(2 * DEAD) {
        let [_, high, middle, low] = number.to_be_bytes();
        let host = Ipv4Addr::new(127, 128 + high, middle, low);
        let gossip = Gossip {
            addr: SocketAddr::from((host, spec.network_protocol.default_port)),
            services: services::NETWORK.to_u64() | services::WITNESS.to_u64() | services::NOISE,
            time,
        };
        let teller = usize::try_from(number)? % TELLERS;
        book.add(gossip, &format!("teller {teller}"));
        if book.counts().0 == DEAD {
            break;
        }
    }
    let (known, _) = book.counts();
    ensure!(known == DEAD, "the book takes {known} addresses");
    book.save(dir)?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::place;

    #[test]
    fn a_poisoned_book_is_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let spec = place::spec();
        assert_eq!(poison(dir.path(), &spec).unwrap(), DEAD);
        let book = AddressBook::load(dir.path(), true);
        let (known, met) = book.counts();
        // Two that told of one place each at the same time: the order of reading decides.
        assert!(
            known > DEAD * 9 / 10 && met == 0,
            "{known} known, {met} met"
        );
    }
}
