//! All that is known of one peer: the verdict of each rule, facts, reliability, the last probes.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use quantumcoin::reachability::RuleResult;
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::store::queries::{PastProbe, PeerDetail, Standard};

use super::super::Site;
use super::super::chart::{HEIGHT, WIDTH};
use super::super::view::{ago, count, date, outcome_class, services};
use super::{failed, page, store_failed};
use crate::probe::unix_now;

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
    /// The same as bars, the oldest first.
    bars: Vec<ProbeBar>,
    /// The longest of them, in words.
    longest: String,
    width: f64,
    height_px: f64,
}

/// A probe as a bar: as high as it took long, in the colour of its end.
struct ProbeBar {
    class: &'static str,
    x: String,
    y: String,
    width: String,
    height: String,
    text: String,
}

struct ProbeRow {
    when: String,
    exact: String,
    outcome: &'static str,
    class: &'static str,
    stage: &'static str,
    duration: String,
}

/// One peer.
pub(in super::super) async fn peer(State(site): State<Site>, Path(addr): Path<String>) -> Response {
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
            bars: probe_bars(&detail.history),
            longest: count(longest(&detail.history).into()),
            width: WIDTH,
            height_px: HEIGHT,
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

/// Milliseconds of the longest probe.
fn longest(history: &[PastProbe]) -> u32 {
    history.iter().map(|p| p.duration_ms).max().unwrap_or(0)
}

/// The probes side by side, the oldest first. One that took no time is a line.
fn probe_bars(history: &[PastProbe]) -> Vec<ProbeBar> {
    let longest = f64::from(longest(history).max(1));
    let step = WIDTH / history.len().max(12) as f64;
    let probes = history.iter().rev().enumerate();
    let bars = probes.map(|(n, probe)| {
        let height = (f64::from(probe.duration_ms) / longest * HEIGHT).max(2.0);
        ProbeBar {
            class: outcome_class(probe.outcome),
            x: format!("{:.1}", n as f64 * step + 1.0),
            y: format!("{:.1}", HEIGHT - height),
            width: format!("{:.1}", step - 2.0),
            height: format!("{height:.1}"),
            text: format!(
                "{}: {} at {}, {} ms",
                date(probe.at),
                probe.outcome,
                probe.stage,
                count(probe.duration_ms.into())
            ),
        }
    });
    bars.collect()
}

#[cfg(test)]
mod tests {
    use quantumcoin::reachability::{Outcome, Stage};

    use super::*;

    #[test]
    fn probes_are_shown_from_the_oldest_and_none_is_invisible() {
        let probe = |at, outcome, duration_ms| PastProbe {
            at,
            outcome,
            stage: Stage::Dial,
            duration_ms,
        };
        let history = [
            probe(200, Outcome::Ok, 100),
            probe(100, Outcome::Refused, 0),
        ];
        let bars = probe_bars(&history);
        assert_eq!((bars[0].class, bars[0].height.as_str()), ("known", "2.0"));
        assert_eq!(
            (bars[1].class, bars[1].height.as_str(), bars[1].y.as_str()),
            ("good", "160.0", "0.0")
        );
        assert!(probe_bars(&[]).is_empty());
    }
}
