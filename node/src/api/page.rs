//! The node's page: is all well, and if not, why and what to do. Reads without scripts; browsers that run them renew its changing
//! part.
//!
//! What peers say of themselves is shown as text, isolated from the text around it, whatever it holds.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use quantumcoin::chain::Blockchain;
use quantumcoin::network::NetworkManager;
use quantumcoin::network::address_book::BookStats;
use quantumcoin::network::discovery::{SeedReport, Validation};
use quantumcoin::network::security::events::SecurityEvent;
use quantumcoin::network::status::{NetworkStatus, PeerStatus};
use quantumcoin::service::health::Health;

use super::Api;
use super::network::{BanEntry, bans_of};
use super::problem::Problem;
use super::view::{ago, bytes, count, left, nat_facts, reachability, span, tip_time, unix_now};
use crate::advice::{Advice, Facts, Severity, advise};

/// Events shown, the latest.
const EVENTS: usize = 20;

/// Bans shown; the API has all.
const BANS: usize = 50;

/// Characters of a user agent that are shown; the longest that is taken has 256 bytes.
const AGENT_CHARS: usize = 60;

#[derive(Template)]
#[template(path = "node.html")]
struct Page<'a> {
    network: &'a str,
    live: &'a str,
}

/// The page's changing part.
#[derive(Template)]
#[template(path = "node_live.html")]
pub(super) struct View {
    advice: Vec<Advice>,
    synced: bool,
    height: String,
    header_height: String,
    outbound: usize,
    inbound: usize,
    block_only: usize,
    reachable: &'static str,
    reachable_why: String,
    mempool: String,
    mempool_bytes: String,
    known: String,
    tried: String,
    ban_count: usize,
    peers: Vec<PeerRow>,
    spread: Vec<(&'static str, String)>,
    nat: Vec<(&'static str, String)>,
    seeds: Vec<SeedRow>,
    book: Vec<(&'static str, String)>,
    events: Vec<EventRow>,
    bans: Vec<BanRow>,
    chain: Vec<(&'static str, String)>,
    node: Vec<(&'static str, String)>,
}

struct PeerRow {
    id: u64,
    addr: String,
    direction: &'static str,
    transport: String,
    netgroup: String,
    agent: String,
    height: String,
    ping: String,
    since: String,
    received: String,
    sent: String,
}

struct SeedRow {
    seed: String,
    provider: String,
    addresses: usize,
    proven: &'static str,
    standing: &'static str,
    class: &'static str,
    error: String,
}

struct EventRow {
    when: String,
    what: &'static str,
    who: String,
    done: &'static str,
    detail: String,
}

struct BanRow {
    network: String,
    by: &'static str,
    reason: String,
    left: String,
}

impl View {
    pub(super) fn new(
        status: &NetworkStatus,
        book: &BookStats,
        chain: &Blockchain,
        health: &Health,
        network: &NetworkManager,
    ) -> Self {
        let (now, tip_time) = (unix_now(), tip_time(chain));
        let devnet = chain.spec().network_protocol.allow_private_addresses;
        let advice = advise(&Facts {
            status,
            health: &health.ready(),
            spacing: chain.spec().consensus.target_spacing,
            tip_time,
            devnet,
            now,
        });
        let (reachable, reachable_why) = reachability(&status.nat, devnet);
        let (mempool, mempool_bytes) = network.pool().size();
        let bans = bans_of(&status.security);
        let events = status.security.events.iter().rev().take(EVENTS);
        let block_only = status.peers.iter().filter(|p| is_block_only(p)).count();
        Self {
            advice,
            synced: status.sync.synced,
            height: count(status.sync.block_height.into()),
            header_height: count(status.sync.header_height.into()),
            outbound: status.outbound,
            inbound: status.inbound,
            block_only,
            reachable,
            reachable_why,
            mempool: count(mempool as u64),
            mempool_bytes: bytes(mempool_bytes as u64),
            known: count(book.addresses as u64),
            tried: count((book.tried.ipv4 + book.tried.ipv6) as u64),
            ban_count: bans.len(),
            peers: status.peers.iter().map(PeerRow::new).collect(),
            spread: spread(&status.peers),
            nat: nat_facts(&status.nat),
            seeds: status.seeds.iter().map(SeedRow::new).collect(),
            book: book_facts(book),
            events: events.map(|event| EventRow::new(event, now)).collect(),
            bans: bans
                .into_iter()
                .take(BANS)
                .map(|ban| BanRow::new(ban, now))
                .collect(),
            chain: chain_facts(status, tip_time, now),
            node: vec![
                ("Network", status.network.clone()),
                ("Version", env!("CARGO_PKG_VERSION").to_owned()),
                ("Identity", status.node_id.clone()),
                ("Listens on", status.listen_addr.to_string()),
            ],
        }
    }

    /// How bad the worst is that is to be told; `ok` if nothing is.
    pub(super) fn worst(&self) -> &'static str {
        let worst = self.advice.first();
        worst.map_or("ok", |advice| advice.severity.as_str())
    }

    /// A remedy in parts, and whether each is a command: those stand between backticks.
    fn parts<'a>(&self, remedy: &'a str) -> Vec<(bool, &'a str)> {
        let parts = remedy.split('`').enumerate();
        parts.map(|(n, part)| (n % 2 == 1, part)).collect()
    }

    /// Whether nothing is left to an operator to do.
    fn is_well(&self) -> bool {
        let mut advice = self.advice.iter();
        advice.all(|advice| advice.severity == Severity::Note)
    }
}

fn is_block_only(peer: &PeerStatus) -> bool {
    use quantumcoin::network::connections::Purpose;
    peer.purpose == Some(Purpose::BlockOnly)
}

impl PeerRow {
    fn new(peer: &PeerStatus) -> Self {
        Self {
            id: peer.id,
            addr: peer.addr.to_string(),
            direction: if peer.kept {
                "kept"
            } else if is_block_only(peer) {
                "block-only"
            } else {
                peer.direction
            },
            transport: match peer.pattern {
                Some(pattern) => format!("{} {pattern}", peer.transport),
                None => peer.transport.to_owned(),
            },
            netgroup: peer.netgroup.clone(),
            agent: peer.user_agent.chars().take(AGENT_CHARS).collect(),
            height: count(peer.height.into()),
            ping: peer
                .ping_us
                .map_or_else(|| "–".to_owned(), |us| format!("{:.1}", us as f64 / 1e3)),
            since: span(peer.connected_seconds),
            received: bytes(peer.bytes_in),
            sent: bytes(peer.bytes_out),
        }
    }
}

/// How the peers are spread.
fn spread(peers: &[PeerStatus]) -> Vec<(&'static str, String)> {
    let by = |is: fn(&PeerStatus) -> bool| peers.iter().filter(|peer| is(peer)).count();
    let mut groups: Vec<_> = peers.iter().map(|peer| peer.netgroup.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    vec![
        (
            "Direction",
            format!(
                "{} outbound, {} inbound",
                by(|p| p.direction == "outbound"),
                by(|p| p.direction == "inbound")
            ),
        ),
        (
            "Transport",
            format!(
                "{} Noise, {} TLS",
                by(|p| p.transport == "noise"),
                by(|p| p.transport == "tls")
            ),
        ),
        (
            "Family",
            format!(
                "{} IPv4, {} IPv6",
                by(|p| p.addr.is_ipv4()),
                by(|p| p.addr.is_ipv6())
            ),
        ),
        ("Netgroups", groups.len().to_string()),
    ]
}

impl SeedRow {
    fn new(seed: &SeedReport) -> Self {
        Self {
            seed: seed.seed.clone(),
            provider: seed.provider.clone(),
            addresses: seed.addresses,
            proven: seed.validation.map_or("–", Validation::as_str),
            standing: seed.standing.as_str(),
            class: if seed.standing.is_suspect() || seed.error.is_some() {
                "fail"
            } else {
                ""
            },
            error: seed.error.clone().unwrap_or_default(),
        }
    }
}

impl EventRow {
    fn new(event: &SecurityEvent, now: u64) -> Self {
        let mut detail = event.detail.clone();
        if event.suppressed > 0 {
            detail += &format!(" (and {} more before)", event.suppressed);
        }
        Self {
            when: ago(event.at, now),
            what: event.detector.as_str(),
            who: event.addr.to_string(),
            done: event.response.as_str(),
            detail,
        }
    }
}

impl BanRow {
    fn new(ban: BanEntry, now: u64) -> Self {
        Self {
            left: left(ban.until, now),
            network: ban.network,
            by: ban.by,
            reason: ban.reason,
        }
    }
}

fn book_facts(book: &BookStats) -> Vec<(&'static str, String)> {
    let table = |table: &quantumcoin::network::address_book::TableStats| {
        format!(
            "{} IPv4, {} IPv6, of {} netgroups",
            count(table.ipv4 as u64),
            count(table.ipv6 as u64),
            count(table.netgroups as u64)
        )
    };
    let seen = book.seen;
    vec![
        ("Met", table(&book.tried)),
        ("Known by hearsay", table(&book.new)),
        (
            "Last seen",
            format!(
                "{} within a day, {} within a week, {} within a month, {} before",
                seen.day, seen.week, seen.month, seen.older
            ),
        ),
        ("Did not answer lately", count(book.failing as u64)),
    ]
}

fn chain_facts(status: &NetworkStatus, tip_time: u64, now: u64) -> Vec<(&'static str, String)> {
    let sync = status.sync;
    vec![
        (
            "Best verified block",
            format!("{} {}", sync.block_height, sync.tip),
        ),
        ("Its time", ago(tip_time, now)),
        ("Best header", sync.header_height.to_string()),
        ("Blocks under way", sync.in_flight.to_string()),
    ]
}

pub(super) async fn index(State(api): State<Api>) -> Response {
    let Some(seen) = api.live.fresh().await else {
        return Problem::stopping().into_response();
    };
    let network = &api.chain.spec().network;
    let page = Page {
        network,
        live: &seen.html,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page can't be made");
            Problem::stopping().into_response()
        }
    }
}

/// The changing part alone, for the page's script.
pub(super) async fn fragment(State(api): State<Api>) -> Response {
    match api.live.fresh().await {
        Some(seen) => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (kind, seen.html.clone()).into_response()
        }
        None => Problem::stopping().into_response(),
    }
}
