//! The network over time: size, how probes ended, latency, who came and went; from the hourly and daily roll-ups.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use quantumcoin::reachability::Outcome;
use quantumcoin::store::StoreError;
use quantumcoin::store::queries::Hour;
use serde::Deserialize;

use super::Site;
use super::chart::{Chart, Frame, Kind, Slot, curves, stacked, up_and_down};
use super::pages;
use super::view::date_hour;
use crate::probe::unix_now;

/// Seconds.
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Up to so long a span is shown by hours.
const BY_HOURS: i64 = 10 * DAY;

/// Hours lie back so far at most (they are kept for 92 days).
const HOURS_KEPT: i64 = 91 * DAY;

/// The longest span: days are kept for three years.
const LONGEST: i64 = 1_096 * DAY;

/// The shortest span: a bar of three hours.
const SHORTEST: i64 = 3 * HOUR;

/// Spans that have links, with their names.
const RANGES: [(&str, &str, i64); 6] = [
    ("2d", "2 days", 2 * DAY),
    ("week", "Week", 7 * DAY),
    ("month", "Month", 30 * DAY),
    ("quarter", "Quarter", 91 * DAY),
    ("year", "Year", 365 * DAY),
    ("3y", "3 years", LONGEST),
];

const SIZES: [Kind; 3] = [
    ("good", "good"),
    ("reachable", "reachable, not good"),
    ("known", "known, not reachable"),
];

const ENDS: [Kind; 5] = [
    ("good", "passed"),
    ("reachable", "answered and failed"),
    ("elsewhere", "other network, chain or version"),
    ("known", "nobody there"),
    ("ours", "our own network"),
];

const WAITS: [Kind; 3] = [
    ("good", "half"),
    ("reachable", "9 of 10"),
    ("bad", "99 of 100"),
];

const CHURN: [Kind; 2] = [("good", "came"), ("bad", "gone")];

/// Which band a probe's end is in.
fn end_of(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::WrongNetwork
        | Outcome::WrongChain
        | Outcome::NoBlock
        | Outcome::Behind
        | Outcome::TooOld => 2,
        o if !o.counts() => 4,
        o if o.was_connected() => 1,
        _ => 3,
    }
}

/// The span that is asked for.
#[derive(Debug, Deserialize, Default)]
pub(super) struct SpanQuery {
    /// A name of [`RANGES`].
    range: Option<String>,
    /// Unix seconds.
    from: Option<i64>,
    /// Unix seconds.
    to: Option<i64>,
}

/// A span of time that there may be figures of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
}

impl SpanQuery {
    fn span(&self, now: i64) -> Span {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            return Span::within(from, to, now);
        }
        let range = self.range.as_deref();
        let known = RANGES.iter().find(|(name, ..)| Some(*name) == range);
        let length = known.map_or(2 * DAY, |(.., length)| *length);
        Span::within(now - length, now, now)
    }
}

impl Span {
    /// At least [`SHORTEST`], at most [`LONGEST`], and nothing that is to come.
    fn within(from: i64, to: i64, now: i64) -> Self {
        let to = to.clamp(now - LONGEST, now);
        let length = to.saturating_sub(from).clamp(SHORTEST, LONGEST);
        Self {
            from: to - length,
            to,
        }
    }

    const fn length(self) -> i64 {
        self.to - self.from
    }

    const fn is_by_hours(self, now: i64) -> bool {
        self.length() <= BY_HOURS && self.from >= now - HOURS_KEPT
    }

    /// Half or twice the length around the middle, or as long earlier or later.
    fn neighbours(self, now: i64) -> [(&'static str, Self); 4] {
        let (quarter, half) = (self.length() / 4, self.length() / 2);
        let moved = |from, to| Self::within(self.from + from, self.to + to, now);
        let step = half.min(now - self.to);
        [
            ("Earlier", moved(-half, -half)),
            ("Later", moved(step, step)),
            ("Closer", moved(quarter, -quarter)),
            ("Further", moved(-half, half)),
        ]
    }

    fn link(self) -> String {
        format!("/history?from={}&to={}", self.from, self.to)
    }
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryPage<'a> {
    network: &'a str,
    from: String,
    to: String,
    ranges: Vec<(&'static str, &'static str, bool)>,
    neighbours: Vec<(&'static str, String)>,
    charts: Vec<Section>,
    csv: String,
}

/// One chart with its words.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the picture shows, for those who don't see it.
    pub(super) label: String,
    pub(super) unit: &'static str,
    pub(super) chart: Chart,
    pub(super) kinds: Vec<Kind>,
}

/// The network's size and outcomes at one time, whether of an hour or of a day.
struct Point {
    at: i64,
    size: Option<[u64; 3]>,
    ends: [u64; ENDS.len()],
    waits: Option<[u64; 3]>,
}

impl Point {
    fn new(
        at: i64,
        (known, reachable, good): (u64, u64, u64),
        outcomes: &[(Outcome, u64)],
    ) -> Self {
        let mut ends = [0; ENDS.len()];
        for (outcome, n) in outcomes {
            if let Some(sum) = ends.get_mut(end_of(*outcome)) {
                *sum += n;
            }
        }
        // Counted one after the other, so they may contradict each other by a few.
        let good = good.min(known);
        let reachable = reachable.clamp(good, known.max(good));
        Self {
            at,
            size: (known > 0).then_some([good, reachable - good, known - reachable]),
            ends,
            waits: None,
        }
    }
}

/// The page.
pub(super) async fn page(State(site): State<Site>, Query(query): Query<SpanQuery>) -> Response {
    let now = unix_now();
    let span = query.span(now);
    match sections(&site, span, now).await {
        Err(error) => pages::store_failed(&site, &error),
        Ok(charts) => {
            let shown = |length: i64| span.length() == length && span.to == now;
            let ranges = RANGES
                .iter()
                .map(|(id, name, length)| (*id, *name, shown(*length)));
            let neighbours = span.neighbours(now).into_iter();
            let by = if span.is_by_hours(now) {
                "hours"
            } else {
                "days"
            };
            let page = HistoryPage {
                network: &site.network,
                from: date_hour(span.from),
                to: date_hour(span.to),
                ranges: ranges.collect(),
                neighbours: neighbours.map(|(name, span)| (name, span.link())).collect(),
                charts,
                csv: format!("/export/history.csv?by={by}&since={}", span.from),
            };
            pages::page(&site, &page)
        }
    }
}

async fn sections(site: &Site, span: Span, now: i64) -> Result<Vec<Section>, StoreError> {
    let by_hours = span.is_by_hours(now);
    let frame = Frame::new(span.from, span.to, by_hours);
    let points: Vec<Point> = if by_hours {
        let hours = site.reader.hours(frame.from).await?;
        let points = hours.iter();
        points
            .map(|h| Point::new(h.hour, (h.known, h.reachable, h.good), &h.outcomes))
            .collect()
    } else {
        let days = site.reader.days(frame.from).await?;
        let points = days.iter().map(|d| {
            let waits = d
                .latencies
                .connect
                .map(|q| [q.p50, q.p90, q.p99].map(u64::from));
            let size = (d.known, d.reachable, d.good);
            Point {
                waits,
                ..Point::new(d.day, size, &d.outcomes)
            }
        });
        points.collect()
    };
    let mut sections = vec![size_section(frame, &points), ends_section(frame, &points)];
    if !by_hours {
        let waits = last(frame, points.iter().map(|p| (p.at, p.waits.map(Vec::from))));
        sections.push(Section {
            id: "waits",
            title: "Time to connect to good peers",
            label: "Milliseconds within which half, nine of ten and 99 of 100 good peers accepted a connection".to_owned(),
            unit: "milliseconds",
            chart: curves(frame, &WAITS, &waits),
            kinds: WAITS.to_vec(),
        });
        let churn = site.reader.churn(frame.from).await?;
        let days = churn
            .iter()
            .map(|day| (day.day, Some(vec![day.came, day.gone])));
        sections.push(Section {
            id: "churn",
            title: "Who came and went",
            label:
                "Peers that passed for the first time, upwards, and for the last time, downwards"
                    .to_owned(),
            unit: "peers a day",
            chart: up_and_down(frame, &CHURN, &summed(frame, days)),
            kinds: CHURN.to_vec(),
        });
    }
    Ok(sections)
}

fn size_section(frame: Frame, points: &[Point]) -> Section {
    let sizes = last(frame, points.iter().map(|p| (p.at, p.size.map(Vec::from))));
    Section {
        id: "size",
        title: "Reachability",
        label: "Good, reachable and known addresses".to_owned(),
        unit: "addresses",
        chart: stacked(frame, &SIZES, &sizes, false),
        kinds: SIZES.to_vec(),
    }
}

fn ends_section(frame: Frame, points: &[Point]) -> Section {
    let is_some = |ends: &[u64; ENDS.len()]| ends.iter().any(|n| *n > 0);
    let ends = points
        .iter()
        .map(|p| (p.at, Some(p.ends).filter(is_some).map(Vec::from)));
    Section {
        id: "ends",
        title: "How probes ended",
        label: "Shares of probes that passed, that failed after an answer, that found another chain, or nobody".to_owned(),
        unit: "share of probes",
        chart: stacked(frame, &ENDS, &summed(frame, ends), true),
        kinds: ENDS.to_vec(),
    }
}

/// The hours of the overview as its chart.
pub(super) fn recent(hours: &[Hour], now: i64) -> Section {
    let frame = Frame::new(now - 2 * DAY, now, true);
    let points: Vec<Point> = hours
        .iter()
        .map(|h| Point::new(h.hour, (h.known, h.reachable, h.good), &h.outcomes))
        .collect();
    size_section(frame, &points)
}

/// The last value of each slot.
fn last(frame: Frame, values: impl Iterator<Item = (i64, Slot)>) -> Vec<Slot> {
    let mut slots = vec![None; frame.len()];
    for (at, value) in values {
        let slot = frame.slot(at).and_then(|slot| slots.get_mut(slot));
        if let (Some(slot), Some(value)) = (slot, value) {
            *slot = Some(value);
        }
    }
    slots
}

/// The sums of each slot.
fn summed(frame: Frame, values: impl Iterator<Item = (i64, Slot)>) -> Vec<Slot> {
    let mut sums: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (at, value) in values {
        let (Some(slot), Some(value)) = (frame.slot(at), value) else {
            continue;
        };
        let sum = sums.entry(slot).or_insert_with(|| vec![0; value.len()]);
        for (sum, n) in sum.iter_mut().zip(value) {
            *sum = sum.saturating_add(n);
        }
    }
    (0..frame.len()).map(|slot| sums.remove(&slot)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn ranges_and_zoom_stay_within_what_is_kept() {
        let of = |range: Option<&str>, from, to| {
            let query = SpanQuery {
                range: range.map(str::to_owned),
                from,
                to,
            };
            query.span(NOW)
        };
        assert_eq!(
            of(None, None, None),
            Span {
                from: NOW - 2 * DAY,
                to: NOW
            }
        );
        assert_eq!(of(Some("year"), None, None).length(), 365 * DAY);
        assert_eq!(of(Some("x"), None, None).length(), 2 * DAY);
        assert_eq!(of(None, Some(NOW - 60), Some(NOW)).length(), SHORTEST);
        assert_eq!(of(None, Some(0), Some(NOW)).length(), LONGEST);
        assert_eq!(of(None, Some(NOW), Some(NOW + DAY)).to, NOW);
        let span = of(Some("week"), None, None);
        assert!(span.is_by_hours(NOW));
        assert!(
            !Span::within(NOW - 100 * DAY, NOW - 99 * DAY, NOW).is_by_hours(NOW),
            "hours are gone"
        );
        let [earlier, later, closer, further] = span.neighbours(NOW).map(|(_, span)| span);
        assert_eq!(earlier.to, span.to - span.length() / 2);
        assert_eq!(later, span, "nothing is to come");
        assert_eq!(closer.length(), span.length() / 2);
        assert_eq!(further.length(), span.length() * 3 / 2, "cut at now");
    }

    proptest! {
        #[test]
        fn no_span_is_too_strange(from: i64, to: i64) {
            let span = SpanQuery { range: None, from: Some(from), to: Some(to) }.span(NOW);
            prop_assert!((SHORTEST..=LONGEST).contains(&span.length()) && span.to <= NOW);
            for (_, next) in span.neighbours(NOW) {
                prop_assert!((SHORTEST..=LONGEST).contains(&next.length()) && next.to <= NOW);
            }
            let frame = Frame::new(span.from, span.to, span.is_by_hours(NOW));
            prop_assert!(frame.len() > 0);
        }
    }

    #[test]
    fn every_outcome_has_its_band_and_sums_hold_them_all() {
        let all: Vec<(Outcome, u64)> = Outcome::ALL.iter().map(|o| (*o, 1)).collect();
        let point = Point::new(0, (3, 1, 9), &all);
        assert_eq!(point.ends.iter().sum::<u64>(), all.len() as u64);
        assert!(point.ends.iter().all(|n| *n > 0), "{:?}", point.ends);
        // Good peers were counted later than known ones.
        assert_eq!(point.size, Some([3, 0, 0]));
        let frame = Frame::new(0, 2 * DAY, false);
        let values = || {
            [
                (0, Some(vec![1])),
                (HOUR, Some(vec![2])),
                (HOUR, None),
                (9 * DAY, Some(vec![4])),
            ]
            .into_iter()
        };
        assert_eq!(last(frame, values()), [Some(vec![2]), None]);
        assert_eq!(summed(frame, values()), [Some(vec![3]), None]);
    }
}
