//! Nodes that an attacker tells the victim of: honest ones, and one of his own that speaks TLS alone.

use std::sync::Arc;

use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin::transport::TransportKind;

use super::places::{Places, told_of};
use crate::bench::sync::parts::{node, quiet};

/// Honest ones: fewer than the victim has places for, so that it dials all it hears of.
const HONEST: u8 = 6;

/// Running nodes.
pub(super) struct Nodes(Vec<NetworkManager>);

impl Nodes {
    /// The attacker's own is the last.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut settings: Vec<NetworkConfig> = (0..HONEST).map(|n| quiet(told_of(n))).collect();
        settings.push(NetworkConfig {
            listen_addr: Places::apart(64).host(63),
            transports: &[TransportKind::Tls],
            ..quiet(told_of(HONEST))
        });
        let mut nodes = Vec::new();
        for settings in settings {
            let chain = Blockchain::in_memory(Arc::new(ChainSpec::devnet()));
            nodes.push(node(settings, &Arc::new(chain)).await?);
        }
        Ok(Self(nodes))
    }

    /// Where they listen.
    pub(super) fn addrs(&self) -> Vec<String> {
        let addrs = self.0.iter().map(NetworkManager::listen_addr);
        addrs.map(|addr| addr.to_string()).collect()
    }

    pub(super) async fn stop(self) {
        for node in self.0 {
            node.shutdown().await;
        }
    }
}
