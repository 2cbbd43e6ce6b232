//! The HTML pages.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use quantumcoin::reachability::census::{Latencies, Trait};
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::reachability::verdict::is_good;
use quantumcoin::reachability::{Outcome, RuleResult};
use quantumcoin::store::StoreError;
use quantumcoin::store::queries::{PeerDetail, PeerFilter, PeerLine, Standard};
use serde::Deserialize;

use super::Site;
use super::chart::{Chart, HEIGHT, WIDTH, chart};
use super::view::{Bar, ago, bars, count, date, outcome_bars, outcome_class, peer_path, services};
use crate::observer::Snapshot;
use crate::probe::unix_now;

/// Rows of one page of the peers' table.
pub(super) const PAGE_ROWS: u32 = 50;

/// Most characters of a search that are looked at.
const SEARCH_CHARS: usize = 100;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage<'a> {
    network: &'a str,
    live: Live,
}

#[derive(Template)]
#[template(path = "live.html")]
struct Live {
    good: String,
    reachable: String,
    known: String,
    probed: String,
    v4: String,
    v6: String,
    overlay: Option<String>,
    height: String,
    rate: String,
    newest: String,
    stale: bool,
    updated: String,
    outcomes: Vec<Bar>,
    agents: Vec<Bar>,
    versions: Vec<Bar>,
    heights: Vec<Bar>,
    countries: Vec<Bar>,
    systems: Vec<Bar>,
    latencies: Vec<[String; 4]>,
    chart: Chart,
    width: f64,
    height_px: f64,
    events: Vec<EventRow>,
}

struct EventRow {
    when: String,
    exact: String,
    kind: String,
    subject: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "peers.html")]
struct PeersPage<'a> {
    network: &'a str,
    search: String,
    outcome: &'static str,
    outcomes: Vec<&'static str>,
    rows: Vec<PeerRow>,
    total: String,
    first: u64,
    last: u64,
    previous: Option<String>,
    next: Option<String>,
}

struct PeerRow {
    path: String,
    addr: String,
    good: bool,
    outcome: &'static str,
    class: &'static str,
    agent: String,
    version: String,
    height: String,
    latency: String,
    seen: String,
    seen_exact: String,
}

#[derive(Template)]
#[template(path = "peer.html")]
struct PeerPage<'a> {
    network: &'a str,
    addr: String,
    good: bool,
    rules: Vec<RuleResult>,
    facts: Vec<(&'static str, String)>,
    windows: Vec<[String; 4]>,
    history: Vec<ProbeRow>,
}

struct ProbeRow {
    when: String,
    exact: String,
    outcome: &'static str,
    class: &'static str,
    stage: &'static str,
    duration: String,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    network: &'a str,
    title: &'a str,
    text: &'a str,
}

/// What the peers' page and its JSON twin may be asked.
#[derive(Debug, Deserialize, Default)]
pub(super) struct PeersQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    page: u32,
}

impl PeersQuery {
    pub(super) fn filter(&self) -> PeerFilter {
        PeerFilter {
            search: self.search.chars().take(SEARCH_CHARS).collect(),
            outcome: self.outcome.parse().ok(),
        }
    }

    pub(super) fn offset(&self) -> u32 {
        self.page.saturating_mul(PAGE_ROWS)
    }

    fn link(&self, page: u32) -> String {
        let filter = self.filter();
        let search: String = filter
            .search
            .bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                    (b as char).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        let outcome = filter.outcome.map_or("", Outcome::as_str);
        format!("/peers?search={search}&outcome={outcome}&page={page}")
    }
}

/// The overview.
pub(super) async fn index(State(site): State<Site>) -> Response {
    page(
        &site,
        &IndexPage {
            network: &site.network,
            live: Live::of(&site.snapshot()),
        },
    )
}

/// The overview's changing part, for browsers that update it in place.
pub(super) async fn live(State(site): State<Site>) -> Response {
    page(&site, &Live::of(&site.snapshot()))
}

/// The peers' table.
pub(super) async fn peers(State(site): State<Site>, Query(query): Query<PeersQuery>) -> Response {
    let now = unix_now();
    let (lines, total) = match site
        .reader
        .peers(&query.filter(), now, query.offset(), PAGE_ROWS)
        .await
    {
        Ok(found) => found,
        Err(error) => return store_failed(&site, &error),
    };
    let standard = &site.snapshot().standard;
    let first = u64::from(query.offset());
    let last = first + lines.len() as u64;
    let filter = query.filter();
    let answer = PeersPage {
        network: &site.network,
        outcome: filter.outcome.map_or("", Outcome::as_str),
        outcomes: Outcome::ALL.iter().map(|o| o.as_str()).collect(),
        search: filter.search,
        rows: lines
            .iter()
            .map(|line| PeerRow::of(line, standard, now))
            .collect(),
        total: count(total),
        first: if lines.is_empty() { 0 } else { first + 1 },
        last: if lines.is_empty() { 0 } else { last },
        previous: query.page.checked_sub(1).map(|page| query.link(page)),
        next: (last < total && !lines.is_empty()).then(|| query.link(query.page.saturating_add(1))),
    };
    page(&site, &answer)
}

/// One peer.
pub(super) async fn peer(State(site): State<Site>, Path(addr): Path<String>) -> Response {
    let Ok(addr) = addr.parse::<PeerAddress>() else {
        return failed(
            &site,
            StatusCode::BAD_REQUEST,
            "Not an address",
            "Write it as 192.0.2.1:8333 or [2001:db8::1]:8333.",
        );
    };
    match site.reader.peer(addr.key(), unix_now()).await {
        Ok(Some(detail)) => {
            let standard = &site.snapshot().standard;
            page(&site, &PeerPage::of(&site, &detail, standard, unix_now()))
        }
        Ok(None) => failed(
            &site,
            StatusCode::NOT_FOUND,
            "Unknown peer",
            "The crawler has not heard of this address.",
        ),
        Err(error) => store_failed(&site, &error),
    }
}

/// Everything else.
pub(super) async fn not_found(State(site): State<Site>) -> Response {
    failed(
        &site,
        StatusCode::NOT_FOUND,
        "Not found",
        "There is no such page.",
    )
}

impl Live {
    fn of(s: &Snapshot) -> Self {
        let (v4, v6, overlay) = s.families;
        Self {
            good: count(s.good),
            reachable: count(s.counts.reachable),
            known: count(s.counts.known),
            probed: count(s.counts.probed),
            v4: count(v4),
            v6: count(v6),
            overlay: (overlay > 0).then(|| count(overlay)),
            height: s
                .standard
                .median
                .map_or_else(|| "unknown".to_owned(), |h| count(h.into())),
            rate: format!("{:.1}", s.probes_per_second),
            newest: s
                .standard
                .newest_ok_at
                .map_or_else(|| "never".to_owned(), |at| ago(at, s.at)),
            stale: s.standard.stale,
            updated: date(s.at),
            outcomes: outcome_bars(&s.outcomes),
            agents: bars(&s.top(Trait::UserAgent)),
            versions: bars(&s.top(Trait::ProtocolVersion)),
            countries: bars(&s.top(Trait::Country)),
            systems: bars(&s.systems),
            latencies: latencies(&s.census.latencies),
            heights: bars(&s.heights),
            chart: chart(&s.hours, s.at),
            width: WIDTH,
            height_px: HEIGHT,
            events: s
                .events
                .iter()
                .map(|e| EventRow {
                    when: ago(e.at, s.at),
                    exact: date(e.at),
                    kind: e.kind.replace('_', " "),
                    subject: e.subject.clone(),
                    detail: e.detail.clone(),
                })
                .collect(),
        }
    }
}

impl PeerRow {
    fn of(line: &PeerLine, standard: &Standard, now: i64) -> Self {
        let or_dash = |n: Option<u32>| n.map_or_else(|| "–".to_owned(), |n| count(n.into()));
        let facts = &line.facts;
        Self {
            path: peer_path(&line.address),
            addr: line.address.to_string(),
            good: is_good(&standard.policy, facts, standard.median, standard.as_of),
            outcome: facts.last_outcome.map_or("never probed", Outcome::as_str),
            class: facts.last_outcome.map_or("known", outcome_class),
            agent: line.user_agent.clone().unwrap_or_default(),
            version: facts
                .protocol_version
                .map_or_else(|| "–".to_owned(), |v| v.to_string()),
            height: or_dash(facts.proved_height),
            latency: or_dash(line.connect_ms),
            seen: ago(line.last_probe_at, now),
            seen_exact: date(line.last_probe_at),
        }
    }
}

impl<'a> PeerPage<'a> {
    fn of(site: &'a Site, detail: &PeerDetail, standard: &Standard, now: i64) -> Self {
        let verdict = detail.verdict(standard);
        let names = ["2 hours", "8 hours", "1 day", "7 days", "30 days"];
        let windows = names
            .iter()
            .zip(detail.facts.reliability.windows)
            .map(|(name, w)| {
                [
                    (*name).to_owned(),
                    format!("{:.1} %", w.reliability * 100.0),
                    format!("{:.1}", w.count),
                    format!("{:.2}", w.weight),
                ]
            })
            .collect();
        let history = detail.history.iter().map(|p| ProbeRow {
            when: ago(p.at, now),
            exact: date(p.at),
            outcome: p.outcome.as_str(),
            class: outcome_class(p.outcome),
            stage: p.stage.as_str(),
            duration: count(p.duration_ms.into()),
        });
        Self {
            network: &site.network,
            addr: detail.address.to_string(),
            good: verdict.is_good(),
            rules: verdict.rules,
            facts: facts(detail, now),
            windows,
            history: history.collect(),
        }
    }
}

/// The table of what is known, in words.
fn facts(d: &PeerDetail, now: i64) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |name, value: Option<String>| rows.extend(value.map(|v| (name, v)));
    row("User agent", d.user_agent.clone());
    row(
        "Protocol version",
        d.facts.protocol_version.map(|v| v.to_string()),
    );
    row("Services", d.services.map(services));
    row(
        "Height shown by headers",
        d.facts.proved_height.map(|h| count(h.into())),
    );
    row("Height claimed", d.start_height.map(|h| h.to_string()));
    row(
        "Transports",
        (d.transports.bits() != 0).then(|| d.transports.names().collect::<Vec<_>>().join(", ")),
    );
    row(
        "Node id",
        d.node_id
            .map(|id| quantumcoin::transport::NodeId::from_bytes(id).to_string()),
    );
    row(
        "Clock offset",
        d.clock_offset_secs.map(|s| format!("{s} s")),
    );
    row("Connect, secure, ping", latency(d));
    row("Country, system", place(d));
    row(
        "Last passed probe",
        d.facts
            .last_ok_at
            .map(|at| format!("{} ({})", ago(at, now), date(at))),
    );
    row(
        "Next visit",
        Some(format!("{} ({})", ago(d.next_due, now), date(d.next_due))),
    );
    row("Failures in a row", Some(d.failures.to_string()));
    row(
        "First heard of",
        Some(format!("{} from {}", date(d.first_seen), d.source)),
    );
    row("Told", Some(format!("{} times", count(d.sources))));
    rows
}

/// A line for each thing that was measured: its name, and what half, nine of ten and 99 of 100 stay within.
fn latencies(measured: &Latencies) -> Vec<[String; 4]> {
    let lines = measured.named().into_iter();
    let lines = lines.filter_map(|(name, quantiles)| {
        let q = quantiles?;
        let ms = |n: u32| count(n.into());
        Some([name.to_owned(), ms(q.p50), ms(q.p90), ms(q.p99)])
    });
    lines.collect()
}

/// Country and autonomous system in words.
fn place(d: &PeerDetail) -> Option<String> {
    let country = d.place.country.map(|code| code.to_string());
    let system = d.place.system.map(|number| format!("AS{number}"));
    let known: Vec<String> = country.into_iter().chain(system).collect();
    (!known.is_empty()).then(|| known.join(", "))
}

fn latency(d: &PeerDetail) -> Option<String> {
    let ms = |n: Option<u32>| n.map_or_else(|| "–".to_owned(), |n| format!("{n} ms"));
    d.connect_ms
        .map(|_| [d.connect_ms, d.secure_ms, d.ping_ms].map(ms).join(", "))
}

fn page(site: &Site, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            failed(
                site,
                StatusCode::INTERNAL_SERVER_ERROR,
                "Failed",
                "The page could not be rendered.",
            )
        }
    }
}

fn store_failed(site: &Site, error: &StoreError) -> Response {
    tracing::warn!(%error, "the dashboard could not read the store");
    let text = "The store could not be read; the crawler's log says why.";
    failed(site, StatusCode::SERVICE_UNAVAILABLE, "No data", text)
}

pub(super) fn failed(site: &Site, status: StatusCode, title: &str, text: &str) -> Response {
    let html = ErrorPage {
        network: &site.network,
        title,
        text,
    }
    .render();
    (status, Html(html.unwrap_or_else(|_| title.to_owned()))).into_response()
}
