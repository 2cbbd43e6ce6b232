//! Reading the network part.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use quantumcoin::network::address_book::BookStats;
use quantumcoin::network::control::PeerRef;
use quantumcoin::network::discovery::SeedReport;
use quantumcoin::network::security::events::SecurityEvent;
use quantumcoin::network::status::{NatStatus, NetworkStatus, PeerStatus, SecurityStatus};
use quantumcoin::reachability::netgroup::canonical_socket;
use quantumcoin::service::health::{CheckReport, Status};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Api, view};
use crate::advice::{self, Advice};

/// Entries of a page, unless asked for otherwise, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

impl Api {
    pub(super) async fn look(&self) -> Result<NetworkStatus, Problem> {
        self.network.status().await.ok_or_else(Problem::stopping)
    }

    /// What is not as it should be, the worst first.
    pub(super) fn advice(&self, status: &NetworkStatus) -> Vec<Advice> {
        advice::advise(&advice::Facts {
            status,
            health: &self.health.ready(),
            spacing: self.chain.spec().consensus.target_spacing,
            tip_time: view::tip_time(&self.chain),
            devnet: self.chain.spec().network_protocol.allow_private_addresses,
            now: view::unix_now(),
        })
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    /// Entries in the whole list.
    total: usize,
    /// Entries before these.
    offset: usize,
    items: Vec<T>,
}

impl Part {
    fn of<T>(&self, list: Vec<T>) -> Result<Listed<T>, Problem> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(Problem::bad_request(
                format!("limit is {limit}"),
                "choose 1 to 1000",
            ));
        }
        Ok(Listed {
            total: list.len(),
            offset: self.offset,
            items: list.into_iter().skip(self.offset).take(limit).collect(),
        })
    }
}

pub(super) async fn status(State(api): State<Api>) -> Result<Json<NetworkStatus>, Problem> {
    Ok(Json(api.look().await?))
}

/// What does not change while the node runs, but for its addresses.
#[derive(Debug, Serialize)]
pub(super) struct NetworkInfo {
    network: String,
    genesis: String,
    magic: String,
    version: &'static str,
    user_agent: String,
    protocol_version: u32,
    node_id: String,
    services: u64,
    service_names: Vec<String>,
    listen_addr: SocketAddr,
    advertised: Option<SocketAddr>,
    also_advertised: Option<SocketAddr>,
    dns_seeds: Vec<String>,
}

pub(super) async fn network(State(api): State<Api>) -> Result<Json<NetworkInfo>, Problem> {
    let status = api.look().await?;
    let spec = api.chain.spec();
    let services = api.network.services();
    let mut dns_seeds: Vec<_> = status.seeds.iter().map(|seed| seed.seed.clone()).collect();
    dns_seeds.dedup();
    Ok(Json(NetworkInfo {
        network: status.network,
        genesis: spec.genesis_hash().to_string(),
        magic: spec.magic().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        user_agent: api.network.user_agent().to_owned(),
        protocol_version: spec.network_protocol.protocol_version,
        node_id: status.node_id,
        services,
        service_names: view::services(services),
        listen_addr: status.listen_addr,
        advertised: status.nat.advertised,
        also_advertised: status.nat.also_advertised,
        dns_seeds,
    }))
}

/// Whether all is well.
#[derive(Debug, Serialize)]
pub(super) struct HealthAnswer {
    /// The worst of the checks.
    status: Status,
    checks: Vec<CheckReport>,
    /// What is not as it should be, and how to mend it.
    advice: Vec<Advice>,
}

pub(super) async fn health(State(api): State<Api>) -> Result<Json<HealthAnswer>, Problem> {
    let status = api.look().await?;
    let report = api.health.ready();
    Ok(Json(HealthAnswer {
        advice: api.advice(&status),
        status: report.status,
        checks: report.checks,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeersQuery {
    direction: Option<String>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(super) async fn peers(
    State(api): State<Api>,
    query: Result<Query<PeersQuery>, QueryRejection>,
) -> Result<Json<Listed<PeerStatus>>, Problem> {
    let Query(query) = query?;
    if let Some(direction) = &query.direction
        && !["inbound", "outbound"].contains(&direction.as_str())
    {
        return Err(Problem::bad_request(
            "there is no such direction",
            "choose inbound or outbound",
        ));
    }
    let mut peers = api.look().await?.peers;
    peers.retain(|peer| {
        let direction = query.direction.as_deref();
        direction.is_none_or(|direction| direction == peer.direction)
    });
    let part = Part {
        offset: query.offset,
        limit: query.limit,
    };
    Ok(Json(part.of(peers)?))
}

/// Reads a peer's number or address.
pub(super) fn peer_ref(text: &str) -> Result<PeerRef, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(PeerRef::Id(id));
    }
    let addr = text.parse().map(canonical_socket);
    addr.map(PeerRef::Addr).map_err(|_| {
        Problem::bad_request(
            "that names no peer",
            "write the number of its connection, or ADDR:PORT with IPv6 in brackets",
        )
    })
}

pub(super) async fn peer(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<PeerStatus>, Problem> {
    let who = peer_ref(&path?.0)?;
    let peers = api.look().await?.peers.into_iter();
    let mut found = peers.filter(|peer| match who {
        PeerRef::Id(id) => peer.id == id,
        PeerRef::Addr(addr) => peer.addr == addr,
    });
    let found = found.next().map(Json);
    found.ok_or_else(|| {
        Problem::not_found(
            format!("there is no peer {who}"),
            "GET /api/v1/peers lists those that are connected",
        )
    })
}

/// Somebody who is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct BanEntry {
    /// A host, or a network.
    pub(super) network: String,
    /// `operator`, or `offence` for what a host did.
    pub(super) by: &'static str,
    /// The operator's words, or the offence.
    pub(super) reason: String,
    pub(super) since: u64,
    pub(super) until: Option<u64>,
}

/// All bans, the operator's first.
pub(super) fn bans_of(security: &SecurityStatus) -> Vec<BanEntry> {
    let operator = security.operator_bans.iter().map(|ban| BanEntry {
        network: ban.network.to_string(),
        by: "operator",
        reason: ban.reason.clone(),
        since: ban.since,
        until: ban.until,
    });
    let offences = security.bans.iter().map(|ban| BanEntry {
        network: ban.host.clone(),
        by: "offence",
        reason: ban.offence.as_str().to_owned(),
        since: ban.since,
        until: ban.until,
    });
    operator.chain(offences).collect()
}

pub(super) async fn bans(
    State(api): State<Api>,
    query: Result<Query<Part>, QueryRejection>,
) -> Result<Json<Listed<BanEntry>>, Problem> {
    let Query(part) = query?;
    let bans = bans_of(&api.look().await?.security);
    Ok(Json(part.of(bans)?))
}

pub(super) async fn book(State(api): State<Api>) -> Result<Json<BookStats>, Problem> {
    Ok(Json(api.network.book().await?))
}

pub(super) async fn seeds(
    State(api): State<Api>,
    query: Result<Query<Part>, QueryRejection>,
) -> Result<Json<Listed<SeedReport>>, Problem> {
    let Query(part) = query?;
    let seeds = api.look().await?.seeds;
    Ok(Json(part.of(seeds)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    #[serde(default)]
    since: u64,
}

/// Security events, the oldest first.
#[derive(Debug, Serialize)]
pub(super) struct Events {
    events: Vec<SecurityEvent>,
    /// To be given as `since` the next time.
    last: u64,
    /// Events after `since` that are kept no more.
    missed: u64,
}

pub(super) async fn events(
    State(api): State<Api>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Events>, Problem> {
    let Query(query) = query?;
    Ok(Json(after(query.since, api.look().await?.security.events)))
}

/// What is kept of the events after `since`. Numbers begin anew when the node does, so that all is new for who has heard more than
/// there is.
fn after(since: u64, mut events: Vec<SecurityEvent>) -> Events {
    let last = events.last().map_or(0, |event| event.id);
    let since = if since > last { 0 } else { since };
    let first = events.first().map_or(1, |event| event.id);
    events.retain(|event| event.id > since);
    Events {
        events,
        last,
        missed: first.saturating_sub(since + 1),
    }
}

pub(super) async fn nat(State(api): State<Api>) -> Result<Json<NatStatus>, Problem> {
    Ok(Json(api.look().await?.nat))
}

#[cfg(test)]
mod tests {
    use quantumcoin::network::security::events::{Detector, Response};

    use super::*;

    fn event(id: u64) -> SecurityEvent {
        SecurityEvent {
            id,
            at: id,
            detector: Detector::PingFlood,
            addr: "192.0.2.7:1".parse().unwrap(),
            response: Response::Throttled,
            detail: String::new(),
            suppressed: 0,
        }
    }

    #[test]
    fn whoever_asks_from_a_cursor_on_gets_each_event_once_and_is_told_of_gaps() {
        let kept: Vec<_> = (11..=20).map(event).collect();
        let ids = |since| {
            let got = after(since, kept.clone());
            let ids: Vec<_> = got.events.iter().map(|event| event.id).collect();
            (ids, got.last, got.missed)
        };
        assert_eq!(ids(0), ((11..=20).collect(), 20, 10));
        assert_eq!(ids(7), ((11..=20).collect(), 20, 3));
        assert_eq!(ids(10), ((11..=20).collect(), 20, 0));
        assert_eq!(ids(18), (vec![19, 20], 20, 0));
        assert_eq!(ids(20), (vec![], 20, 0));
        // The node was started anew.
        assert_eq!(ids(900), ((11..=20).collect(), 20, 10));
        let none = after(5, Vec::new());
        assert_eq!((none.events.len(), none.last, none.missed), (0, 0, 0));
    }

    #[test]
    fn lists_come_in_parts() {
        let part = |offset, limit| Part { offset, limit }.of((0..250).collect::<Vec<u32>>());
        let first = part(0, None).unwrap();
        assert_eq!((first.total, first.items.len()), (250, 100));
        assert_eq!(part(240, Some(20)).unwrap().items.len(), 10);
        assert_eq!(part(usize::MAX, Some(20)).unwrap().items.len(), 0);
        assert!(part(0, Some(0)).is_err() && part(0, Some(1_001)).is_err());
    }

    #[test]
    fn peers_are_named_by_number_or_address() {
        assert_eq!(peer_ref("7").unwrap(), PeerRef::Id(7));
        let addr = PeerRef::Addr("192.0.2.7:8333".parse().unwrap());
        assert_eq!(peer_ref("192.0.2.7:8333").unwrap(), addr);
        assert_eq!(peer_ref("[::ffff:192.0.2.7]:8333").unwrap(), addr);
        for wrong in [
            "",
            "-1",
            "192.0.2.7",
            "../../etc/passwd",
            "99999999999999999999",
        ] {
            assert!(peer_ref(wrong).is_err(), "{wrong}");
        }
    }
}
