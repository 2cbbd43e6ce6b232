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
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use prometheus::{Gauge, IntGauge};
use quantumcoin::{
    chain_spec::ChainSpec,
    service::{
        health::Check,
        metrics::{Metrics, MetricsError},
    },
};
use rand::seq::IteratorRandom;
use tokio_util::sync::CancellationToken;

use self::judgement::{Dials, Findings};
use crate::{ask::Via, follow::unix_now, state::Shared, zone::Zone};

/// Default of [`AuditOptions::every`], in seconds: "every few minutes", and a peer is dialled once a day or so.
pub(crate) const DEFAULT_AUDIT_SECONDS: u64 = 300;

/// Wait before the first audit: by then all parts of the program run.
const FIRST: Duration = Duration::from_secs(5);

/// How often a seeder that audits nothing looks whether it shall.
const LOOK: Duration = Duration::from_secs(30);

/// Most addresses that are asked; a seed has two or four.
const MAX_SERVERS: usize = 16;

/// Most peers that are dialled in one audit: the share of those that answer is known to some 15 % then.
const MAX_DIALS: usize = 40;

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

    fn set(&self, findings: &Findings) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.ways.set(number(findings.ways.len()));
        let failed = findings.ways.iter().filter(|way| !way.wrong.is_empty());
        self.failed_ways.set(number(failed.count()));
        self.dialled.set(number(findings.dials.dialled()));
        self.answered.set(number(findings.dials.answered));
        self.share.set(findings.dials.share().unwrap_or(1.0));
        self.at.set(unix_now());
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
}

impl Auditor {
    /// Audits at each interval until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut before = None;
        let mut wait = FIRST;
        // Nothing is known, and nothing is wrong.
        self.check.ok();
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            let options = self.shared.load().setup.audit.clone();
            if options.every.is_zero() {
                self.check.ok();
                wait = LOOK;
                continue;
            }
            wait = options.every;
            tokio::select! {
                findings = self.audit(&options) => self.tell(&findings, &mut before),
                () = stop.cancelled() => return,
            }
        }
    }

    async fn audit(&self, options: &AuditOptions) -> Findings {
        let state = self.shared.load_full();
        let servers = if options.addresses.is_empty() {
            servers(state.setup.engine.zones(), &self.listen, is_local)
        } else {
            options.addresses.iter().copied().collect()
        };
        let mut ways = Vec::new();
        for server in servers.into_iter().take(MAX_SERVERS) {
            for via in [Via::Udp, Via::Tcp] {
                ways.push(asking::way(&state, server, via).await);
            }
        }
        let port = options.spec.network_protocol.default_port;
        let told: BTreeSet<IpAddr> = ways
            .iter()
            .flat_map(|way| way.told.iter().copied())
            .collect();
        let some = told
            .into_iter()
            .choose_multiple(&mut rand::rng(), MAX_DIALS);
        let peers = some
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
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
        self.gauges.set(findings);
        let words = findings.words();
        match &words {
            None => self.check.ok(),
            Some(words) => self.check.degraded(words.clone()),
        }
        if words != *before {
            match &words {
                Some(words) => tracing::warn!("audit: {words}"),
                None => tracing::info!("audit: all is well again"),
            }
            *before = words;
        }
    }
}

/// Where a seeder is asked by the world: the addresses of the zones' own name servers, or else those that it listens on.
///
/// An address of this machine is asked at the port that is listened on; another one (of a router that hands queries on to us) at 53.
fn servers(
    zones: &[Zone],
    listen: &[SocketAddr],
    is_local: impl Fn(IpAddr) -> bool,
) -> BTreeSet<SocketAddr> {
    let own = zones.iter().filter(|zone| !zone.own_servers().is_empty());
    let glue: BTreeSet<IpAddr> = own.flat_map(|zone| zone.name_server_addresses()).collect();
    if glue.is_empty() {
        return listen
            .iter()
            .map(|addr| SocketAddr::new(reached(addr.ip()), addr.port()))
            .collect();
    }
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
    glue.into_iter()
        .map(|ip| SocketAddr::new(ip, port(ip)))
        .collect()
}

/// Where name servers are asked (RFC 1035, 4.2).
const DNS_PORT: u16 = 53;

/// The loopback address where a wildcard is listened on.
fn reached(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
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
        servers(&[zone], &listen, local)
            .iter()
            .map(ToString::to_string)
            .collect()
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
}
