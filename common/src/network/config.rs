//! What an operator may set of the network part of a node. Network-wide numbers live in the chain spec.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::network::discovery::{DnsTrust, Provider};
use crate::network::nat::NatSettings;
use crate::network::security::standing::HALF_LIFE;
use crate::reachability::Netgroups;
use crate::transport::{ALL_TRANSPORTS, TransportKind};

/// Outbound connections that a node keeps (Bitcoin Core's figure): enough that an attacker must own many
/// netgroups, few enough that inbound slots of the network suffice for all.
pub const OUTBOUND_TARGET: usize = 8;

/// Block-only connections beside them (Bitcoin Core's figure).
pub const BLOCK_ONLY_TARGET: usize = 2;

/// One at a time.
const FEELERS: usize = 1;

/// Independent public resolvers asked beside the system's own, so that one liar is outvoted: Cloudflare, Google and
/// Quad9. Encrypted, since in the clear one liar on the way would speak for all of them; two by the port of the web and
/// one by that of DNS over TLS, since a firewall that blocks the one often lets the other through.
pub const PUBLIC_RESOLVERS: [&str; 3] = [
    "https://1.1.1.1/dns-query#cloudflare-dns.com",
    "https://8.8.8.8/dns-query#dns.google",
    "tls://9.9.9.9#dns.quad9.net",
];

/// Bitcoin Core's 5 s, and its 2 s for outbound peers: at most 30 messages a minute of the 100 that a peer takes
/// unasked.
pub const RELAY_DELAY: Duration = Duration::from_secs(5);

/// Pause between two feelers (Bitcoin Core's figure): in a day 720 addresses turn out to be good or not.
const FEELER_EVERY: Duration = Duration::from_secs(120);

/// Mean pause between two looks for a better chain elsewhere (Bitcoin Core's figure): in a network of 60 nodes somebody looks
/// every 5 s.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(300);

/// Settings of one [`super::NetworkManager`].
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Where to listen. With a specific address, outbound connections come from it as well.
    pub listen_addr: SocketAddr,
    /// Where identity and address book are kept; `None` keeps neither.
    pub data_dir: Option<PathBuf>,
    /// Who resolves seed names.
    pub providers: Vec<Provider>,
    /// What is asked of their signatures and certificates.
    pub dns_trust: DnsTrust,
    /// Seed names in place of the chain spec's.
    pub dns_seeds: Option<Vec<String>>,
    /// Peers to be connected to at all times.
    pub manual_peers: Vec<SocketAddr>,
    /// Outbound connections to keep; 0 makes a node that only listens (and dials its manual peers).
    pub outbound_target: usize,
    /// Outbound connections for blocks alone to keep beside them, if any are kept.
    pub block_only_target: usize,
    /// How often somebody is dialled only to see who is there.
    pub feeler_every: Duration,
    /// How often, on average, one more block-only connection is made for a while to look for a better chain elsewhere.
    pub look_around_every: Duration,
    /// Which addresses count as one party's: by autonomous system, where there is a map.
    pub netgroups: Netgroups,
    /// The address to announce, when it is not the one listened on.
    pub external_address: Option<SocketAddr>,
    /// How to find out which address that is, and how to have a gateway lead connections to us.
    pub nat: NatSettings,
    /// How long to wait for DNS peers before the bootstrap nodes are tried.
    pub bootstrap_after: Duration,
    /// How long transactions wait to be announced to an inbound peer, on average; the wait is drawn anew each
    /// time, so that nobody learns who had one first. To outbound peers two fifths of it. Below the default the
    /// limit of unasked messages may be met.
    pub relay_delay: Duration,
    /// The transports that are spoken, [`ALL_TRANSPORTS`] or one of them; what is accepted, and with one alone, what
    /// is dialled by.
    pub transports: &'static [TransportKind],
    /// The time in which points against a host halve.
    pub penalty_half_life: Duration,
    /// BIP14 user agent.
    pub user_agent: String,
}

impl NetworkConfig {
    /// The defaults, listening on `listen_addr`.
    pub fn new(listen_addr: SocketAddr) -> Self {
        let public = PUBLIC_RESOLVERS.iter().filter_map(|text| text.parse().ok());
        Self {
            listen_addr,
            data_dir: None,
            providers: std::iter::once(Provider::System).chain(public).collect(),
            dns_trust: DnsTrust::default(),
            dns_seeds: None,
            manual_peers: Vec::new(),
            outbound_target: OUTBOUND_TARGET,
            block_only_target: BLOCK_ONLY_TARGET,
            feeler_every: FEELER_EVERY,
            look_around_every: LOOK_AROUND_EVERY,
            netgroups: Netgroups::default(),
            external_address: None,
            nat: NatSettings::default(),
            bootstrap_after: Duration::from_secs(30),
            relay_delay: RELAY_DELAY,
            transports: &ALL_TRANSPORTS,
            penalty_half_life: Duration::from_secs(HALF_LIFE),
            user_agent: concat!("/quantumcoin:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
        }
    }

    /// Places for connections that we open; all others are for those who dial us.
    pub fn outbound_places(&self) -> usize {
        let ours = match self.outbound_target {
            0 => 0,
            full => full + self.block_only_target + FEELERS,
        };
        ours + self.manual_peers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_public_resolvers_are_asked_and_none_in_the_clear() {
        let providers = NetworkConfig::new(([127, 0, 0, 1], 0).into()).providers;
        assert_eq!(providers.len(), 1 + PUBLIC_RESOLVERS.len());
        assert_eq!(providers[0], Provider::System);
        assert!(providers[1..].iter().all(Provider::is_encrypted));
    }
}
