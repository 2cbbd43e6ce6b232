//! Checks a running network from outside, as a newcomer: with a seed's name and a resolver, and nothing
//! else. A fresh node in an empty directory does the work; this module watches it and takes the times.
//!
//! [`run`] gives one [`Measure`] for each success measure of the project's founding document; the
//! demonstration (`cargo run --release --example p2p_network`) uses the same ones. `defence` holds those
//! that need a misbehaving client.

mod defence;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::{Discovery, Provider};
use quantumcoin::network::nat::NatReport;
use quantumcoin::network::status::PeerStatus;
use quantumcoin::network::{NetworkConfig, NetworkManager, NetworkStatus, SyncProgress};
use quantumcoin::service::metrics::Metrics;
use serde::Serialize;
use tokio::time::timeout;

/// Peers that a fresh node should have; the founding document's number.
pub const ENOUGH_PEERS: usize = 4;

/// What to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// The network.
    pub spec: ChainSpec,
    /// Who resolves the seed names.
    pub providers: Vec<Provider>,
    /// Seed names; empty means the chain spec's.
    pub seeds: Vec<String>,
    /// Where the fresh node listens (and dials from, when the address is a specific one).
    pub listen_addr: SocketAddr,
    /// Where the misbehaving client dials from; `None` lets the system choose.
    pub attacker: Option<std::net::IpAddr>,
    /// Height that the verified chain must reach at least: a node that says "synchronised" at block 0 has
    /// shown nothing.
    pub min_height: u32,
    /// Times within which measures pass.
    pub limits: TimeLimits,
    /// How long the whole synchronisation may take before the check ends as failed.
    pub patience: Duration,
}

/// Times within which measures pass.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Until the first DNS answer with an address.
    pub first_answer: Duration,
    /// From the start of the fresh node to its first peer.
    pub first_peer: Duration,
    /// From the start of the fresh node to four peers.
    pub four_peers: Duration,
    /// From the start of the fresh node to the verified tip; `None` sets no limit.
    pub sync: Option<Duration>,
}

impl Default for TimeLimits {
    /// For a network on the internet: the founding document gives five minutes for four peers.
    fn default() -> Self {
        Self {
            first_answer: Duration::from_secs(5),
            first_peer: Duration::from_secs(60),
            four_peers: Duration::from_secs(300),
            sync: None,
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// What.
    pub name: &'static str,
    /// Whether it held.
    pub pass: bool,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What was seen, in words.
    pub detail: String,
}

/// All that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Each measure.
    pub measures: Vec<Measure>,
    /// Distinct nodes that the fresh node was connected to.
    pub peers: usize,
    /// Height of its verified tip.
    pub height: u32,
    /// Whether every measure passed.
    pub ok: bool,
}

/// What a watcher hears while the check runs.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A measure is decided.
    Measure(&'a Measure),
    /// The fresh node got on.
    Progress(SyncProgress),
}

/// Runs all checks, one after another, and tells `watch` how it goes.
///
/// # Errors
/// When the check itself can't be made: no temporary directory, no socket. A network that fails the
/// check is a report with `ok: false`.
pub async fn run(options: &Options, mut watch: impl FnMut(Event<'_>)) -> anyhow::Result<Report> {
    let mut measures = Vec::new();
    let mut decide = |measure: Measure, watch: &mut dyn FnMut(Event<'_>)| {
        watch(Event::Measure(&measure));
        measures.push(measure);
    };
    decide(dns(options).await?, &mut watch);

    let directory = tempfile::tempdir().context("no temporary directory for the fresh node")?;
    let network = fresh_node(options, directory.path()).await?;
    let journey = follow(&network, options, &mut watch).await;
    let status = network
        .status()
        .await
        .context("the fresh node ended early")?;
    for measure in journey.measures(&status.peers, options) {
        decide(measure, &mut watch);
    }
    let target = status
        .peers
        .iter()
        .find(|p| p.direction == "outbound")
        .map(|p| p.addr);
    decide(defence::check(options, target, &network).await, &mut watch);
    decide(nat(&status), &mut watch);
    let end = *network.progress().borrow();
    network.shutdown().await;
    let ok = measures.iter().all(|m| m.pass);
    Ok(Report {
        measures,
        peers: end.peers,
        height: end.block_height,
        ok,
    })
}

fn seeds(options: &Options) -> &[String] {
    if options.seeds.is_empty() {
        &options.spec.discovery.dns_seeds
    } else {
        &options.seeds
    }
}

/// Asks the seeds directly, apart from the fresh node, to see what each of them says.
async fn dns(options: &Options) -> anyhow::Result<Measure> {
    let discovery = Discovery::new(&options.spec, &options.providers)?;
    let start = Instant::now();
    let found = discovery.run(seeds(options), None).await;
    let first = found.seeds.iter().filter_map(|s| s.first_answer_us).min();
    let answering = found.seeds.iter().filter(|s| s.addresses > 0).count();
    let first = first.map(Duration::from_micros);
    let seconds = first.map_or_else(|| start.elapsed().as_secs_f64(), |f| f.as_secs_f64());
    Ok(Measure {
        name: "dns_resolution",
        pass: first.is_some_and(|f| f <= options.limits.first_answer),
        seconds,
        detail: format!(
            "{} addresses from {answering} of {} seeds{}",
            found.candidates.len(),
            found.seeds.len(),
            found
                .seeds
                .iter()
                .filter(|s| s.addresses == 0)
                .filter_map(|s| s.error.as_ref().map(|e| format!("; {}: {e}", s.seed)))
                .collect::<String>()
        ),
    })
}

async fn fresh_node(
    options: &Options,
    directory: &std::path::Path,
) -> anyhow::Result<NetworkManager> {
    let spec = Arc::new(options.spec.clone());
    let chain = Arc::new(Blockchain::open(spec, &directory.join("chain"))?);
    let mut config = NetworkConfig::new(options.listen_addr);
    config.data_dir = Some(directory.to_owned());
    config.providers.clone_from(&options.providers);
    config.dns_seeds = Some(seeds(options).to_vec());
    // By DNS alone: the chain spec's bootstrap nodes must not help.
    let mut by_dns_alone = options.spec.clone();
    by_dns_alone.discovery.bootstrap_nodes.clear();
    let metrics = Metrics::new("quantumcoin_node");
    Ok(NetworkManager::with_config(config, chain, Some(by_dns_alone), &metrics).await?)
}

/// When the fresh node reached what.
#[derive(Debug, Default)]
struct Journey {
    first_peer: Option<Duration>,
    enough_peers: Option<Duration>,
    synced: Option<Duration>,
    most_peers: usize,
    height: u32,
    error: Option<String>,
}

/// Starts the node and follows it to the verified tip.
async fn follow(
    network: &NetworkManager,
    options: &Options,
    watch: &mut impl FnMut(Event<'_>),
) -> Journey {
    let mut journey = Journey::default();
    let mut progress = network.progress();
    let start = Instant::now();
    if let Err(error) = network.start().await {
        journey.error = Some(error.to_string());
        return journey;
    }
    loop {
        let now = *progress.borrow_and_update();
        let elapsed = start.elapsed();
        journey.note(&now, elapsed, options.min_height);
        watch(Event::Progress(now));
        let wants_peers = journey.enough_peers.is_none() && elapsed < options.limits.four_peers;
        if now.failed || (journey.synced.is_some() && !wants_peers) {
            return journey;
        }
        let end = if journey.synced.is_some() {
            options.limits.four_peers
        } else {
            options.patience
        };
        let left = end.min(options.patience).saturating_sub(elapsed);
        if left.is_zero() || !matches!(timeout(left, progress.changed()).await, Ok(Ok(()))) {
            if journey.synced.is_none() {
                journey.error = Some(format!(
                    "patience ended before a tip at block {} or above was verified",
                    options.min_height
                ));
            }
            return journey;
        }
    }
}

impl Journey {
    fn note(&mut self, now: &SyncProgress, elapsed: Duration, min_height: u32) {
        self.most_peers = self.most_peers.max(now.peers);
        self.height = now.block_height;
        if now.peers > 0 {
            self.first_peer.get_or_insert(elapsed);
        }
        if now.peers >= ENOUGH_PEERS {
            self.enough_peers.get_or_insert(elapsed);
        }
        if now.synced && now.block_height >= min_height {
            self.synced.get_or_insert(elapsed);
        }
    }

    fn measures(&self, peers: &[PeerStatus], options: &Options) -> [Measure; 4] {
        let limits = &options.limits;
        let within = |reached: Option<Duration>, limit: Duration| {
            (
                reached.is_some_and(|r| r <= limit),
                reached.unwrap_or_default().as_secs_f64(),
            )
        };
        let (secure, secure_s) = within(self.first_peer, limits.first_peer);
        let (enough, enough_s) = within(self.enough_peers, limits.four_peers);
        let (synced, synced_s) = within(self.synced, limits.sync.unwrap_or(Duration::MAX));
        let transports: std::collections::BTreeSet<_> = peers.iter().map(|p| p.transport).collect();
        let versions: std::collections::BTreeSet<_> =
            peers.iter().map(|p| p.protocol_version).collect();
        let oldest = options.spec.network_protocol.min_protocol_version;
        [
            Measure {
                name: "secure_connection",
                pass: secure && !peers.is_empty() && transports.iter().all(|t| *t == "noise"),
                seconds: secure_s,
                detail: format!("{} connections over {transports:?}", peers.len()),
            },
            Measure {
                name: "peer_discovery",
                pass: enough,
                seconds: enough_s,
                detail: format!("{} distinct nodes at once", self.most_peers),
            },
            Measure {
                name: "version_negotiation",
                pass: secure && !peers.is_empty() && versions.iter().all(|v| *v >= oldest),
                seconds: secure_s,
                detail: format!("protocol versions {versions:?}, {oldest} or newer is allowed"),
            },
            Measure {
                name: "blockchain_sync",
                pass: synced,
                seconds: synced_s,
                detail: match &self.error {
                    Some(error) => format!("block {}: {error}", self.height),
                    None => format!("headers and {} blocks verified", self.height),
                },
            },
        ]
    }
}

/// Where others see the fresh node, and whether an address translator is between.
fn nat(status: &NetworkStatus) -> Measure {
    let (pass, detail) = match &status.external {
        Some(external) if external.direct && external.votes > 0 => (
            true,
            format!(
                "{} is seen by {} peers: no translation",
                external.addr, external.votes
            ),
        ),
        Some(external) if external.votes > 0 => (
            true,
            format!("{} peers see us as {}", external.votes, external.addr),
        ),
        _ => match seen_by_stun(&status.nat.report) {
            Some(seen) => (true, seen),
            None => (
                false,
                "neither two peers nor STUN servers agree on our address".to_owned(),
            ),
        },
    };
    Measure {
        name: "nat",
        pass,
        seconds: 0.0,
        detail,
    }
}

/// What STUN servers say of an address that nobody is told of, since others can't come in by it.
fn seen_by_stun(report: &NatReport) -> Option<String> {
    let probes = [&report.v4, &report.v6].into_iter().flatten();
    let mut seen = probes.filter_map(|probe| Some((probe, probe.external?)));
    let (probe, external) = seen.next()?;
    Some(format!(
        "{} STUN servers see us as {external}, which others are not told: {}",
        probe.agreed,
        probe.kind.describe()
    ))
}

#[cfg(test)]
mod tests {
    use quantumcoin::network::connections::Purpose;
    use quantumcoin::network::nat::{NatKind, Probe};

    use super::*;

    #[test]
    fn an_address_that_nobody_is_told_of_is_known_all_the_same() {
        let mut report = NatReport::default();
        assert_eq!(seen_by_stun(&report), None);
        report.v4 = Some(Probe {
            kind: NatKind::Symmetric,
            local: [192, 168, 1, 2].into(),
            external: Some([5, 6, 7, 8].into()),
            agreed: 2,
            answered: 3,
            servers: Vec::new(),
        });
        let said = seen_by_stun(&report).unwrap();
        assert!(
            said.starts_with("2 STUN servers see us as 5.6.7.8"),
            "{said}"
        );
        assert!(said.contains("symmetric"), "{said}");
    }

    fn options() -> Options {
        Options {
            spec: ChainSpec::devnet(),
            providers: Vec::new(),
            seeds: Vec::new(),
            listen_addr: ([127, 0, 0, 1], 0).into(),
            attacker: None,
            min_height: 10,
            limits: TimeLimits::default(),
            patience: Duration::ZERO,
        }
    }

    fn peer(transport: &'static str, protocol_version: u32) -> PeerStatus {
        PeerStatus {
            id: 1,
            addr: ([127, 0, 0, 2], 1).into(),
            direction: "outbound",
            purpose: Some(Purpose::Full),
            node_id: String::new(),
            transport,
            pattern: None,
            user_agent: String::new(),
            protocol_version,
            services: 9,
            netgroup: String::new(),
            kept: false,
            height: 10,
            connected_seconds: 1,
            ping_us: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Whether the connection and the version measures pass, when everything was reached at once.
    fn verdicts(peers: &[PeerStatus]) -> (bool, bool) {
        let journey = Journey {
            first_peer: Some(Duration::ZERO),
            ..Journey::default()
        };
        let [secure, _, version, _] = journey.measures(peers, &options());
        (secure.pass, version.pass)
    }

    #[test]
    fn measures_of_the_connection_can_fail() {
        let oldest = options().spec.network_protocol.min_protocol_version;
        assert_eq!(verdicts(&[peer("noise", oldest)]), (true, true));
        assert_eq!(verdicts(&[]), (false, false), "nobody is there");
        assert_eq!(verdicts(&[peer("plain", oldest)]), (false, true));
        assert_eq!(verdicts(&[peer("noise", oldest - 1)]), (true, false));
    }

    #[test]
    fn a_chain_that_is_too_short_is_no_synchronisation() {
        let options = options();
        let mut journey = Journey::default();
        let mut now = SyncProgress {
            header_height: 9,
            block_height: 9,
            tip: options.spec.genesis_hash(),
            in_flight: 0,
            synced: true,
            peers: 4,
            failed: false,
        };
        let passes = |journey: &Journey| {
            let [.., sync] = journey.measures(&[], &options);
            sync.pass
        };
        journey.note(&now, Duration::from_secs(1), options.min_height);
        assert!(!passes(&journey), "the node says synchronised, at block 9");
        now.block_height = 10;
        journey.note(&now, Duration::from_secs(2), options.min_height);
        assert!(passes(&journey));
    }

    #[test]
    fn where_every_address_is_ours_the_limit_must_be_met() {
        assert!(defence::judge(3, 3, true).is_ok());
        assert!(defence::judge(2, 3, true).is_err(), "others took a place?");
        assert!(
            defence::judge(2, 3, false).is_ok(),
            "others may share our address"
        );
        for alone in [true, false] {
            assert!(defence::judge(0, 3, alone).is_err());
            assert!(defence::judge(4, 3, alone).is_err());
        }
    }
}
