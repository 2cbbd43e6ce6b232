//! The network now. The page and its changing part are rendered once for each snapshot, compressed once, and shared: two
//! hundred browsers that follow the network cost two hundred copies into their sockets.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use quantumcoin::reachability::census::{Latencies, Share, Trait};

use super::super::Site;
use super::super::chart::{HEIGHT, WIDTH};
use super::super::history::{Section, recent};
use super::super::view::{
    Bar, ago, bars, below, class_bars, count, date, escaped, linked_bars, outcome_bars, short_day,
};
use super::failed;
use crate::alerts::Alert;
use crate::observer::Snapshot;
use crate::roster::figures::{CONNECT_MS, LAGS, UPTIMES};
use crate::roster::query::system;
use crate::seeders::Seeder;
use crate::weather::Road;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage<'a> {
    network: &'a str,
    live: &'a Live,
}

#[derive(Template)]
#[template(path = "live.html")]
struct Live {
    alerts: Vec<Alert>,
    good: String,
    reachable: String,
    known: String,
    probed: String,
    families: Vec<[String; 6]>,
    height: String,
    best: Option<String>,
    rate: String,
    newest: String,
    stale: bool,
    updated: String,
    crawl: Vec<(&'static str, String)>,
    seeds: Vec<SeedRow>,
    seeders: Vec<SeederPanel>,
    outcomes: Vec<Bar>,
    agents: Vec<Bar>,
    versions: Vec<Bar>,
    heights: Vec<Bar>,
    lags: Vec<Bar>,
    connects: Vec<Bar>,
    uptimes: Vec<Bar>,
    countries: Vec<Bar>,
    systems: Vec<Bar>,
    latencies: Vec<[String; 4]>,
    churn: Vec<[String; 3]>,
    recent: Section,
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

/// A DNS seed.
struct SeedRow {
    name: String,
    when: String,
    exact: String,
    answer: String,
    is_well: bool,
    addresses: String,
    good: String,
    validation: &'static str,
}

/// A seeder.
struct SeederPanel {
    url: String,
    id: String,
    /// Why it did not answer when it was asked last.
    error: Option<String>,
    facts: Vec<(&'static str, String)>,
    zones: Vec<[String; 3]>,
    queries: Vec<Bar>,
    responses: Vec<Bar>,
    failures: Vec<String>,
}

/// A snapshot as bytes.
struct Shown {
    snapshot: Arc<Snapshot>,
    page: Body2,
    live: Body2,
    etag: HeaderValue,
}

/// The same text plain and compressed.
struct Body2 {
    plain: Bytes,
    gzip: Bytes,
}

/// What was rendered last; shared by all handlers.
#[derive(Clone)]
pub(in super::super) struct Rendered {
    last: Arc<Mutex<Option<Arc<Shown>>>>,
    /// Tells what this process rendered from what one before it did.
    start: u64,
}

impl Rendered {
    pub(in super::super) fn new(start: u64) -> Self {
        Self {
            last: Arc::default(),
            start,
        }
    }

    /// The bytes of this snapshot; whoever asks first renders them.
    fn of(&self, network: &str, snapshot: Arc<Snapshot>) -> Result<Arc<Shown>, askama::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = last
            .as_ref()
            .filter(|s| Arc::ptr_eq(&s.snapshot, &snapshot))
        {
            return Ok(Arc::clone(shown));
        }
        let live = Live::of(&snapshot);
        let page = IndexPage {
            network,
            live: &live,
        }
        .render()?;
        let number = format!(
            "\"{:x}-{}-{}\"",
            self.start, snapshot.at, snapshot.generation
        );
        let shown = Arc::new(Shown {
            page: Body2::new(page),
            live: Body2::new(live.render()?),
            // Hexadecimal digits, digits and dashes are always a header's value.
            etag: HeaderValue::from_str(&number).unwrap_or(HeaderValue::from_static("\"\"")),
            snapshot,
        });
        *last = Some(Arc::clone(&shown));
        Ok(shown)
    }
}

impl Body2 {
    fn new(text: String) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory can't fail.
        let gzip = gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish());
        Self {
            plain: text.into(),
            gzip: gzip.map(Bytes::from).unwrap_or_default(),
        }
    }
}

/// The overview.
pub(in super::super) async fn index(State(site): State<Site>, headers: HeaderMap) -> Response {
    answer(&site, &headers, |shown| &shown.page)
}

/// The overview's changing part, for browsers that update it in place.
pub(in super::super) async fn live(State(site): State<Site>, headers: HeaderMap) -> Response {
    answer(&site, &headers, |shown| &shown.live)
}

fn answer(site: &Site, headers: &HeaderMap, part: fn(&Shown) -> &Body2) -> Response {
    let shown = match site.rendered.of(&site.network, site.snapshot()) {
        Ok(shown) => shown,
        Err(error) => {
            tracing::error!(%error, "the overview could not be rendered");
            let text = "The page could not be rendered.";
            return failed(site, StatusCode::INTERNAL_SERVER_ERROR, "Failed", text);
        }
    };
    let common = [
        (header::ETAG, shown.etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&shown.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let body = part(&shown);
    if takes_gzip(headers) && !body.gzip.is_empty() {
        let gzip = [(header::CONTENT_ENCODING, "gzip")];
        return (common, html, gzip, Body::from(body.gzip.clone())).into_response();
    }
    (common, html, Body::from(body.plain.clone())).into_response()
}

/// Whether a client says that it takes gzip, and not with a weight of nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter();
    let offers = offers.filter_map(|line| line.to_str().ok());
    let mut offers = offers.flat_map(|line| line.split(','));
    offers.any(|offer| {
        let mut words = offer.split(';').map(str::trim);
        words.next() == Some("gzip") && !words.any(|word| matches!(word, "q=0" | "q=0.0"))
    })
}

impl Live {
    fn of(s: &Snapshot) -> Self {
        let figures = &s.figures;
        let uptimes = UPTIMES
            .iter()
            .zip(UPTIMES.iter().skip(1).map(Some).chain([None]));
        let uptimes = uptimes.map(|(from, to)| match to {
            Some(to) => format!("{from} to {to} %"),
            None => format!("{from} % or more"),
        });
        Self {
            alerts: s.alerts.clone(),
            good: count(s.good),
            reachable: count(s.counts.reachable),
            known: count(s.counts.known),
            probed: count(s.counts.probed),
            families: families(s),
            height: or_unknown(s.standard.median),
            best: figures.best_height.map(|h| count(h.into())),
            rate: format!("{:.1}", s.probes_per_second),
            newest: s
                .standard
                .newest_ok_at
                .map_or_else(|| "never".to_owned(), |at| ago(at, s.at)),
            stale: s.standard.stale,
            updated: date(s.at),
            crawl: crawl(s),
            seeds: s
                .seeds
                .iter()
                .map(|(seed, good)| SeedRow::of(seed, *good, s.at))
                .collect(),
            seeders: s
                .seeders
                .iter()
                .enumerate()
                .map(|(n, seeder)| SeederPanel::of(n, seeder, s.at))
                .collect(),
            outcomes: outcome_bars(&s.outcomes),
            agents: linked_bars(&s.top(Trait::UserAgent), |agent| {
                format!("/peers?good=1&search={}", escaped(agent))
            }),
            versions: bars(&s.top(Trait::ProtocolVersion)),
            countries: linked_bars(&s.top(Trait::Country), |code| {
                format!("/peers?good=1&country={}", escaped(code))
            }),
            systems: linked_bars(&s.systems, system_link),
            latencies: latencies(&s.census.latencies),
            heights: bars(&s.heights),
            lags: class_bars(below(&LAGS), &figures.lags),
            connects: class_bars(below(&CONNECT_MS), &figures.connects),
            uptimes: class_bars(uptimes, &figures.uptimes),
            churn: churn(s),
            recent: recent(&s.hours, s.at),
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

fn or_unknown(height: Option<u32>) -> String {
    height.map_or_else(|| "unknown".to_owned(), |h| count(h.into()))
}

/// `AS64500 NAME` as a link to its peers.
fn system_link(label: &str) -> String {
    let number = label.split(' ').next().and_then(system).unwrap_or(0);
    format!("/peers?good=1&system={number}")
}

/// A row for each network: its name, all good peers, those by Noise, by TLS, by both, by what was not noted. Networks without
/// any are left out, but for the two of the internet.
fn families(s: &Snapshot) -> Vec<[String; 6]> {
    let rows = Road::ALL.iter().zip(&s.figures.families);
    let rows = rows.filter(|(road, f)| !road.is_proxy() || f.total() > 0);
    rows.map(|(road, f)| {
        let [all, noise, tls, both, unknown] =
            [f.total(), f.noise, f.tls, f.both, f.unknown].map(count);
        [road.as_str().to_owned(), all, noise, tls, both, unknown]
    })
    .collect()
}

/// How the crawl is going.
fn crawl(s: &Snapshot) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Probes per second", format!("{:.1}", s.probes_per_second))];
    let p = &s.progress;
    if p.is_known {
        let n = |n: usize| count(n as u64);
        let late = p
            .oldest_due
            .map_or_else(String::new, |at| format!(", the first {}", ago(at, s.at)));
        rows.push(("Under way", n(p.in_flight)));
        rows.push(("Due", format!("{}{late}", n(p.due))));
        rows.push(("Never tried", n(p.untried)));
    }
    if let Some(at) = s.standard.newest_ok_at {
        rows.push(("Last pass", ago(at, s.at)));
    }
    if let Some(at) = s.figures.oldest_probe_at {
        rows.push(("Longest not visited", ago(at, s.at)));
    }
    if let Some(offset) = s.figures.clock_offset {
        rows.push(("Peers' clocks are ahead of ours by", format!("{offset} s")));
    }
    rows
}

/// Who came and went, day by day, the newest first.
fn churn(s: &Snapshot) -> Vec<[String; 3]> {
    let days = s.churn.iter().rev();
    days.map(|day| [short_day(day.day), count(day.came), count(day.gone)])
        .collect()
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

impl SeedRow {
    fn of(seed: &crate::progress::SeedAnswer, good: usize, now: i64) -> Self {
        let named = seed.addrs.len() as u64;
        let percent = (good as u64 * 100).checked_div(named).unwrap_or(0);
        Self {
            name: seed.seed.clone(),
            when: ago(seed.at, now),
            exact: date(seed.at),
            answer: match (&seed.error, seed.answered) {
                (Some(error), 0) => error.clone(),
                (None, 0) => "no answer".to_owned(),
                (_, n) => format!("{n} of {} resolvers", seed.resolvers),
            },
            is_well: seed.answered > 0,
            addresses: count(named),
            good: format!("{percent} %"),
            validation: if seed.validation.is_empty() {
                "–"
            } else {
                seed.validation
            },
        }
    }
}

impl SeederPanel {
    fn of(number: usize, seeder: &Seeder, now: i64) -> Self {
        let mut panel = Self {
            url: seeder.url.to_string(),
            id: format!("h-seeder-{number}"),
            error: seeder.error.clone(),
            facts: Vec::new(),
            zones: Vec::new(),
            queries: Vec::new(),
            responses: Vec::new(),
            failures: Vec::new(),
        };
        let Some((status, at)) = &seeder.status else {
            return panel;
        };
        let mut row = |name, value: Option<String>| panel.facts.extend(value.map(|v| (name, v)));
        row("Network", status.network.clone());
        row("Good peers it draws from", status.good_peers.map(count));
        let age = status.age_seconds.map(|s| {
            let stale = if status.stale == Some(true) {
                ", stale"
            } else {
                ""
            };
            format!("{} s{stale}", count(s))
        });
        row("Age of its answers", age);
        row("Its peers come from", status.origin.clone());
        row(
            "Diversity",
            status.diversity.map(|(groups, largest)| {
                let largest = largest.map_or_else(String::new, |n| {
                    format!(", the largest of {} peers", count(n))
                });
                format!("{} netgroups{largest}", count(groups))
            }),
        );
        row(
            "Self-audit",
            status.audit.as_ref().map(|audit| {
                let when = audit
                    .at
                    .map_or_else(String::new, |at| format!(", {}", ago(at, now)));
                let [passed, ways, answered, dialled] =
                    [audit.passed, audit.ways, audit.answered, audit.dialled].map(count);
                format!(
                    "{passed} of {ways} ways right, {answered} of {dialled} served peers answered{when}"
                )
            }),
        );
        let keys = status.zones.iter().flat_map(|zone| {
            let keys = zone.keys.iter();
            keys.map(|key| match key.next_change_at {
                Some(at) => format!(
                    "{} {}, {} until {}",
                    zone.name,
                    key.role,
                    key.phase,
                    date(at)
                ),
                None => format!("{} {}, {}", zone.name, key.role, key.phase),
            })
        });
        let keys: Vec<String> = keys.collect();
        row("Signing keys", (!keys.is_empty()).then(|| keys.join("; ")));
        row("Told", Some(ago(*at, now)));
        if let Some(audit) = &status.audit {
            panel.failures.clone_from(&audit.failures);
        }
        panel.zones = status.zones.iter().map(zone).collect();
        panel.queries = bars(&status.queries);
        panel.responses = bars(&status.responses);
        panel
    }
}

/// Its name, whether it is signed, and its queries by type.
fn zone(zone: &crate::seeders::status::Zone) -> [String; 3] {
    let signed = match zone.signed {
        Some(true) => "signed",
        Some(false) => "not signed",
        None => "–",
    };
    let queries = zone
        .queries
        .iter()
        .map(|(kind, n): &Share| format!("{kind} {}", count(*n)));
    let queries: Vec<String> = queries.collect();
    [zone.name.clone(), signed.to_owned(), queries.join(", ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_by_whom_it_is_offered_to() {
        let takes = |value: &'static str| {
            let pair = (header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&[pair].into_iter().collect())
        };
        assert!(takes("gzip") && takes("br, gzip;q=0.5") && takes("deflate, gzip"));
        assert!(!takes("") && !takes("br") && !takes("gzip;q=0") && !takes("xgzip"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn systems_lead_to_their_peers() {
        assert_eq!(
            system_link("AS64500 EXAMPLE <b>"),
            "/peers?good=1&system=64500"
        );
        assert_eq!(system_link("other"), "/peers?good=1&system=0");
    }
}
