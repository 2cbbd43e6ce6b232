//! The seeder looks at itself as the world does: at each interval it asks its own names at its public addresses, over UDP and TCP, and
//! dials some of the peers that it was told.
//!
//! A seed that is wrong is noticed by newcomers, who can't tell anybody. Here the operator is told: by health, by
//! `qtc_seeder_audit_…` metrics, and once in the log. Nothing else depends on it: answers go on whatever it finds.
//!
//! | part | what it does |
//! |---|---|
//! | this file | where to ask, when, and whom to tell |
//! | `asking` | the questions of one way in (an address and a transport), and what is wrong with the answers |
//! | `dialling` | whether a peer answers with the network's handshake |
//! | `judgement` | what all that means, in words; pure |

mod asking;
mod dialling;
mod judgement;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{Gauge, IntGauge};
use quantumcoin::{
    chain_spec::ChainSpec,
    reachability::netgroup::is_routable,
    service::{
        health::Check,
        metrics::{Metrics, MetricsError},
    },
};
use rand::seq::IteratorRandom;
use tokio_util::sync::CancellationToken;

use self::judgement::{Dials, Findings};
use crate::{
    ask::{DNS_PORT, Via, reachable},
    follow::unix_now,
    state::Shared,
    status::LastAudit,
    zone::Zone,
};

/// Default of [`AuditOptions::every`], in seconds: "every few minutes".
pub(crate) const DEFAULT_AUDIT_SECONDS: u64 = 300;

/// Least and most of it: peers are not dialled by each seeder every few seconds, and once a day is the least that makes sense.
pub(crate) const AUDIT_SECONDS: RangeInclusive<u64> = 60..=86_400;

/// Wait before the first audit: by then all parts of the program run.
const FIRST: Duration = Duration::from_secs(5);

/// How often it is looked whether a reload has changed the interval.
const LOOK: Duration = Duration::from_secs(10);

/// Most addresses that are asked; a seed has two or four.
pub(crate) const MAX_SERVERS: usize = 16;

/// Peers that are dialled in one audit: one of eight that were told, lest those of a small network be dialled all the time; and at
/// most so many that the share of those that answer is known to some 15 %.
const DIALS: RangeInclusive<usize> = 8..=40;
const DIAL_ONE_OF: usize = 8;

/// What an operator says of the audit.
#[derive(Debug, Clone)]
pub(crate) struct AuditOptions {
    /// Time between two; zero for none at all.
    pub(crate) every: Duration,
    /// Where to ask; empty for the addresses of the zones' name servers, or those that are listened on.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whose handshake peers must know.
    pub(crate) spec: Arc<ChainSpec>,
}

/// Numbers of the last audit.
#[derive(Debug, Clone)]
pub(crate) struct AuditGauges {
    ways: IntGauge,
    failed_ways: IntGauge,
    dialled: IntGauge,
    answered: IntGauge,
    share: Gauge,
    at: IntGauge,
}

impl AuditGauges {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            ways: metrics.gauge(
                "audit_ways",
                "Addresses times transports at which the seeder asked itself in the last audit.",
            )?,
            failed_ways: metrics.gauge(
                "audit_failed_ways",
                "Those of them where an answer was missing or wrong.",
            )?,
            dialled: metrics.gauge(
                "audit_dialled_peers",
                "Served peers that were dialled in the last audit.",
            )?,
            answered: metrics.gauge(
                "audit_answered_peers",
                "Those of them that answered with the network's handshake.",
            )?,
            share: metrics.float_gauge(
                "audit_answered_ratio",
                "Share of the dialled served peers that answered; 1 when none was dialled.",
            )?,
            at: metrics.gauge(
                "audit_timestamp_seconds",
                "Unix time of the last audit; 0 for none.",
            )?,
        })
    }

    /// As before the first audit.
    fn reset(&self) {
        self.set(&Findings::default(), 0);
    }

    fn set(&self, findings: &Findings, at: i64) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.ways.set(number(findings.ways.len()));
        self.failed_ways.set(number(findings.failed_ways()));
        self.dialled.set(number(findings.dials.dialled()));
        self.answered.set(number(findings.dials.answered));
        self.share.set(findings.dials.share().unwrap_or(1.0));
        self.at.set(at);
    }
}

/// Audits a running seeder.
#[derive(Debug)]
pub(crate) struct Auditor {
    pub(crate) shared: Shared,
    /// Addresses that answer DNS, with their real ports.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) check: Check,
    pub(crate) gauges: AuditGauges,
    /// What the last audit has found, for whoever shows it.
    pub(crate) last: LastAudit,
}

impl Auditor {
    /// Audits at each interval until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut before = None;
        let mut last: Option<Instant> = None;
        let mut wait = FIRST;
        // Nothing is known, and nothing is wrong.
        self.check.ok();
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            wait = LOOK;
            // A reload may have changed them.
            let options = self.shared.load().setup.audit.clone();
            if options.every.is_zero() {
                if last.take().is_some() {
                    before = None;
                    self.gauges.reset();
                    self.last.store(None);
                    self.check.ok();
                }
                continue;
            }
            if last.is_some_and(|last| last.elapsed() < options.every) {
                continue;
            }
            last = Some(Instant::now());
            tokio::select! {
                findings = self.audit(&options) => self.tell(&findings, &mut before),
                () = stop.cancelled() => return,
            }
        }
    }

    async fn audit(&self, options: &AuditOptions) -> Findings {
        let state = self.shared.load_full();
        let zones = state.setup.engine.zones();
        let servers = match options.addresses.as_slice() {
            [] => servers(zones, &self.listen, is_local),
            named => named
                .iter()
                .map(|addr| (*addr, (0..zones.len()).collect()))
                .collect(),
        };
        let mut ways = Vec::new();
        for (server, zones) in servers.into_iter().take(MAX_SERVERS) {
            for via in [Via::Udp, Via::Tcp] {
                ways.push(asking::way(&state, server, via, &zones).await);
            }
        }
        let protocol = &options.spec.network_protocol;
        let mut told: BTreeSet<IpAddr> = ways
            .iter()
            .flat_map(|way| way.told.iter().copied())
            .collect();
        // Another server may answer at our names.
        told.retain(|ip| is_routable(*ip, protocol.allow_private_addresses));
        let count = (told.len() / DIAL_ONE_OF).clamp(*DIALS.start(), *DIALS.end());
        let some = told.into_iter().choose_multiple(&mut rand::rng(), count);
        let peers = some
            .into_iter()
            .map(|ip| SocketAddr::new(ip, protocol.default_port))
            .collect();
        let dials = match dialling::dial(&options.spec, peers).await {
            Ok(dials) => dials,
            Err(error) => {
                tracing::warn!(%error, "peers can't be dialled for the audit");
                Dials::default()
            }
        };
        Findings { ways, dials }
    }

    /// Each trouble once in the log, not at each audit.
    fn tell(&self, findings: &Findings, before: &mut Option<String>) {
        let now = unix_now();
        self.gauges.set(findings, now);
        self.last.store(Some(Arc::new(findings.report(now))));
        let words = findings.words();
        match &words {
            None => self.check.ok(),
            Some(words) => self.check.degraded(words.clone()),
        }
        // Numbers differ each time.
        let gist = words
            .as_ref()
            .map(|words| words.replace(|digit: char| digit.is_ascii_digit(), ""));
        if gist != *before {
            match &words {
                Some(words) => tracing::warn!("audit: {words}"),
                None => tracing::info!("audit: all is well again"),
            }
            *before = gist;
        }
    }
}

/// Where a seeder is asked by the world, and for which zones (by their place): at the addresses of each zone's own name servers, or else
/// those that it listens on.
///
/// An address of this machine is asked at the port that is listened on; another one (of a router that hands queries on to us, or of a
/// second server) at 53.
fn servers(
    zones: &[Zone],
    listen: &[SocketAddr],
    is_local: impl Fn(IpAddr) -> bool,
) -> BTreeMap<SocketAddr, BTreeSet<usize>> {
    let port = |ip: IpAddr| {
        let exact = listen.iter().find(|addr| addr.ip() == ip);
        let wildcard = || {
            let mut all = listen.iter();
            all.find(|addr| addr.ip().is_unspecified() && addr.is_ipv4() == ip.is_ipv4())
        };
        match exact.or_else(wildcard) {
            Some(addr) if exact.is_some() || is_local(ip) => addr.port(),
            _ => DNS_PORT,
        }
    };
    let mut servers: BTreeMap<SocketAddr, BTreeSet<usize>> = BTreeMap::new();
    for (index, zone) in zones.iter().enumerate() {
        let own = zone.name_server_addresses();
        let asked: Vec<SocketAddr> = if own.is_empty() {
            listen.iter().copied().map(reachable).collect()
        } else {
            own.into_iter()
                .map(|ip| SocketAddr::new(ip, port(ip)))
                .collect()
        };
        for server in asked {
            servers.entry(server).or_default().insert(index);
        }
    }
    servers
}

/// Whether an interface of this machine has the address: only then can a socket be bound to it.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::ZoneOptions;

    fn asked(glue: &[&str], listen: &[&str]) -> Vec<String> {
        let glue: Vec<_> = glue.iter().map(|ip| ip.parse().unwrap()).collect();
        let options = ZoneOptions {
            name_server_addresses: &glue,
            ..ZoneOptions::default()
        };
        let zone = Zone::new("seed.test", &options).unwrap();
        let listen: Vec<SocketAddr> = listen.iter().map(|addr| addr.parse().unwrap()).collect();
        let local = |ip: IpAddr| ip.to_string() == "192.0.2.1";
        let asked = servers(&[zone], &listen, local);
        asked.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn name_servers_are_asked_where_they_are_reached() {
        assert_eq!(
            asked(&[], &["0.0.0.0:5353", "[::]:5353"]),
            ["127.0.0.1:5353", "[::1]:5353"]
        );
        assert_eq!(
            asked(&["192.0.2.1"], &["0.0.0.0:5353"]),
            ["192.0.2.1:5353"],
            "ours"
        );
        assert_eq!(
            asked(&["192.0.2.9"], &["0.0.0.0:5353"]),
            ["192.0.2.9:53"],
            "a router's"
        );
        assert_eq!(
            asked(&["192.0.2.9"], &["192.0.2.9:5454"]),
            ["192.0.2.9:5454"],
            "named"
        );
        assert_eq!(
            asked(&["192.0.2.1", "2001:db8::1"], &["0.0.0.0:5353"]),
            ["192.0.2.1:5353", "[2001:db8::1]:53"]
        );
    }

    #[test]
    fn each_zone_is_asked_at_its_own_name_servers() {
        let zone = |apex: &str, own: &[&str]| {
            let own: Vec<_> = own.iter().map(|ip| ip.parse().unwrap()).collect();
            let options = ZoneOptions {
                name_server_addresses: &own,
                ..ZoneOptions::default()
            };
            Zone::new(apex, &options).unwrap()
        };
        let zones = [
            zone("a.test", &["192.0.2.1", "192.0.2.2"]),
            zone("b.test", &["192.0.2.1"]),
            zone("c.test", &[]),
        ];
        let listen = [
            "192.0.2.1:53".parse().unwrap(),
            "127.0.0.1:53".parse().unwrap(),
        ];
        let asked = servers(&zones, &listen, |_| false);
        let shown: Vec<String> = asked
            .iter()
            .map(|(server, zones)| format!("{server} {zones:?}"))
            .collect();
        assert_eq!(
            shown,
            [
                "127.0.0.1:53 {2}",
                "192.0.2.1:53 {0, 1, 2}",
                "192.0.2.2:53 {0}"
            ]
        );
    }
}
