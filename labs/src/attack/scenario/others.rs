//! Nodes that the victim dials: honest ones, and, of those that an attacker tells of, one of his own that speaks TLS alone.

use std::sync::Arc;

use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::transport::TransportKind;

use super::places::{Places, taken_over, told_of};
use super::plan::Others;
use crate::bench::sync::parts::{node, quiet};

/// Honest ones that are told of: fewer than the victim has places for, so that it dials all it hears of.
const HONEST: u8 = 6;

/// Those that are known.
const KNOWN: u8 = 4;

/// Running nodes.
pub(super) struct Nodes(Vec<NetworkManager>);

impl Nodes {
    /// All there are to be.
    pub(super) async fn start(which: Others) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for settings in settings(which) {
            let chain = Blockchain::in_memory(Arc::new(ChainSpec::devnet()));
            nodes.push(node(settings, &Arc::new(chain)).await?);
        }
        Ok(Self(nodes))
    }

    /// Where they listen, with commas between.
    pub(super) fn addrs(&self) -> String {
        let addrs = self.0.iter().map(NetworkManager::listen_addr);
        let addrs: Vec<String> = addrs.map(|addr| addr.to_string()).collect();
        addrs.join(",")
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From now on nobody listens there.
    pub(super) async fn stop(&mut self) {
        for node in self.0.drain(..) {
            node.shutdown().await;
        }
    }
}

fn settings(which: Others) -> Vec<NetworkConfig> {
    match which {
        Others::None => Vec::new(),
        Others::HeardOf => {
            let honest = (0..HONEST).map(|number| quiet(told_of(number)));
            let weak = NetworkConfig {
                listen_addr: Places::apart(64).host(63),
                transports: &[TransportKind::Tls],
                ..quiet(told_of(HONEST))
            };
            honest.chain([weak]).collect()
        }
        Others::Known => (0..KNOWN).map(|n| quiet(taken_over(n))).collect(),
    }
}
