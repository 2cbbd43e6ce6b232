//! Figures as people read them.

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::census::OTHER;
use quantumcoin::reachability::overlay::PeerAddress;
use time::OffsetDateTime;

/// A labelled count with its share of the largest, for a bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) count: String,
    /// Width of the bar out of 100.
    pub(super) width: String,
    /// Share of the total, in percent.
    pub(super) share: String,
    pub(super) class: &'static str,
    /// Where those are listed that it counts.
    pub(super) link: Option<String>,
}

/// Bars of labelled counts, in the given order.
pub(super) fn bars(rows: &[(String, u64)]) -> Vec<Bar> {
    make_bars(
        rows.iter()
            .map(|(label, n)| (label.clone(), *n, "good"))
            .collect(),
    )
}

/// The same with links to the peers that each counts; none for those that were added up.
pub(super) fn linked_bars(rows: &[(String, u64)], link: impl Fn(&str) -> String) -> Vec<Bar> {
    let mut bars = bars(rows);
    for bar in bars.iter_mut().filter(|bar| bar.label != OTHER) {
        bar.link = Some(link(&bar.label));
    }
    bars
}

/// Bars of classes, in the given order.
pub(super) fn class_bars(labels: impl Iterator<Item = String>, counts: &[u64]) -> Vec<Bar> {
    let rows = labels.zip(counts).map(|(label, n)| (label, *n, "good"));
    make_bars(rows.collect())
}

/// Names of classes with these upper ends, and of the one above the last.
pub(super) fn below(ends: &[u32]) -> impl Iterator<Item = String> {
    let starts = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
    let mut ends = ends.iter();
    starts.map(move |start| match ends.next() {
        Some(end) if *end == start => count(start.into()),
        Some(end) => format!("{} to {}", count(start.into()), count((*end).into())),
        None => format!("{} or more", count(start.into())),
    })
}

/// A text as part of a link's query.
pub(super) fn escaped(text: &str) -> String {
    let escape = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => (b as char).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Bars of outcomes, each in the colour of its kind.
pub(super) fn outcome_bars(rows: &[(Outcome, u64)]) -> Vec<Bar> {
    let mut bars = make_bars(
        rows.iter()
            .map(|(o, n)| (o.as_str().to_owned(), *n, outcome_class(*o)))
            .collect(),
    );
    for bar in &mut bars {
        bar.link = Some(format!("/peers?outcome={}", bar.label));
    }
    bars
}

fn make_bars(rows: Vec<(String, u64, &'static str)>) -> Vec<Bar> {
    let largest = rows.iter().map(|r| r.1).max().unwrap_or(0).max(1);
    let total = rows.iter().map(|r| r.1).sum::<u64>().max(1);
    rows.into_iter()
        .map(|(label, n, class)| Bar {
            label,
            count: count(n),
            width: format!("{:.1}", n as f64 / largest as f64 * 100.0),
            share: format!("{:.0} %", n as f64 / total as f64 * 100.0),
            class,
            link: None,
        })
        .collect()
}

/// Colour of an outcome: passed, answered but failed, or not there.
pub(super) fn outcome_class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "good",
        o if o.was_connected() => "reachable",
        _ => "known",
    }
}

/// A number with thin spaces between thousands.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// How long ago, roughly.
pub(super) fn ago(at: i64, now: i64) -> String {
    match now.saturating_sub(at) {
        s if s < 0 => format!("in {}", span(s.saturating_neg())),
        s if s < 2 => "now".to_owned(),
        s => format!("{} ago", span(s)),
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// `2026-11-22 19:05:09 UTC`.
pub(super) fn date(at: i64) -> String {
    let at = moment(at);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `2026-11-22 19:00`.
pub(super) fn date_hour(at: i64) -> String {
    date(at).chars().take(16).collect()
}

/// `2026-11-22`.
pub(super) fn day(at: i64) -> String {
    date(at).chars().take(10).collect()
}

/// `22 Nov`.
pub(super) fn short_day(at: i64) -> String {
    let at = moment(at);
    let month: String = at.month().to_string().chars().take(3).collect();
    format!("{} {month}", at.day())
}

/// `Nov 2026`.
pub(super) fn month(at: i64) -> String {
    let at = moment(at);
    let month: String = at.month().to_string().chars().take(3).collect();
    format!("{month} {}", at.year())
}

/// `22 Nov 12:00`.
pub(super) fn clock(at: i64) -> String {
    let at = moment(at);
    let month: String = at.month().to_string().chars().take(3).collect();
    format!("{} {month} {:02}:00", at.day(), at.hour())
}

/// Unix seconds; of a moment that no calendar has, the first.
fn moment(at: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Path of a peer's page; brackets are escaped for use in a URL.
pub(super) fn peer_path(addr: &PeerAddress) -> String {
    format!(
        "/peers/{}",
        addr.to_string().replace('[', "%5B").replace(']', "%5D")
    )
}

/// Names of known service bits, the rest as a number.
pub(super) fn services(bits: u64) -> String {
    const NAMES: [(u64, &str); 5] = [
        (1, "NETWORK"),
        (8, "WITNESS"),
        (1024, "NETWORK_LIMITED"),
        (quantumcoin::wire::services::NOISE, "NOISE"),
        (quantumcoin::wire::services::TLS, "TLS"),
    ];
    let mut names: Vec<String> = NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, n)| (*n).to_owned())
        .collect();
    let rest = NAMES.iter().fold(bits, |rest, (bit, _)| rest & !bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(1_736_899_200), "2025-01-15 00:00:00 UTC");
        assert_eq!(date(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(clock(1_795_348_800), "22 Nov 12:00");
    }

    #[test]
    fn numbers_and_ages_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(999), "999");
        assert_eq!(
            (ago(100, 100).as_str(), ago(100, 400).as_str()),
            ("now", "5 min ago")
        );
        assert_eq!(ago(500, 400), "in 100 s");
    }

    #[test]
    fn unknown_services_stay_visible() {
        assert_eq!(services(1 | 8 | 1 << 40), "NETWORK, WITNESS, 0x10000000000");
        assert_eq!(services(0), "none");
    }

    #[test]
    fn classes_are_named_and_links_escaped() {
        let named: Vec<String> = below(&[0, 1, 5]).collect();
        assert_eq!(named, ["0", "1", "2 to 5", "6 or more"]);
        assert_eq!(escaped("/a:1&<é/"), "%2Fa%3A1%26%3C%C3%A9%2F");
        let rows = [("/a/".to_owned(), 2), (OTHER.to_owned(), 1)];
        let bars = linked_bars(&rows, |label| format!("/x?{}", escaped(label)));
        assert_eq!(bars[0].link.as_deref(), Some("/x?%2Fa%2F"));
        assert_eq!(bars[1].link, None);
        assert_eq!(
            (
                day(86_400).as_str(),
                short_day(0).as_str(),
                month(0).as_str()
            ),
            ("1970-01-02", "1 Jan", "Jan 1970")
        );
    }

    #[test]
    fn bars_never_exceed_the_width() {
        let bars = bars(&[("a".to_owned(), 4), ("b".to_owned(), 0)]);
        assert_eq!(
            (bars[0].width.as_str(), bars[1].width.as_str()),
            ("100.0", "0.0")
        );
        assert_eq!(bars[0].share, "100 %");
    }
}
