//! The same figures as comma-separated values, for spreadsheets.
//!
//! Peers are written a thousand at a time, as fast as the client takes them, so that neither their number nor a slow client
//! costs memory. What peers chose themselves is quoted, and never begins as a formula would.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use quantumcoin::reachability::Outcome;
use serde::Deserialize;

use super::Site;
use super::pages;
use super::pages::peers::PeersQuery;
use crate::probe::unix_now;
use crate::roster::query::Filter;
use crate::roster::{Line, Roster, SharedRoster};

/// Lines that are written at a time.
const CHUNK: usize = 1_000;

const PEERS_HEAD: &str = "address,good,last_outcome,last_probe_at,last_ok_at,first_ok_at,uptime_7d,height,services,\
     protocol_version,transports,connect_ms,country,system,user_agent\n";

/// The peers that a search means, in the order of their addresses.
pub(super) async fn peers(State(site): State<Site>, Query(query): Query<PeersQuery>) -> Response {
    let start = Chunks {
        roster: site.roster,
        filter: query.filter(),
        next: Next::Head,
    };
    let chunks = stream::unfold(start, |mut chunks| async move {
        let text = chunks.next()?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), chunks))
    });
    csv("peers", Body::from_stream(chunks))
}

/// What is still to be written.
struct Chunks {
    roster: SharedRoster,
    filter: Filter,
    next: Next,
}

enum Next {
    Head,
    After(Option<SocketAddr>),
    Nothing,
}

impl Chunks {
    fn next(&mut self) -> Option<String> {
        let after = match self.next {
            Next::Head => {
                self.next = Next::After(None);
                return Some(PEERS_HEAD.to_owned());
            }
            Next::After(after) => after,
            Next::Nothing => return None,
        };
        let roster = self.roster.read();
        let lines = roster.select_after(&self.filter, after, CHUNK);
        let last = lines.last().map(|line| line.peer.addr);
        self.next = match last {
            Some(addr) if lines.len() == CHUNK => Next::After(Some(addr)),
            _ => Next::Nothing,
        };
        let mut text = String::new();
        for line in lines {
            row(&mut text, &roster, line);
        }
        (!text.is_empty()).then_some(text)
    }
}

fn row(text: &mut String, roster: &Roster, line: &Line) {
    let peer = &line.peer;
    let number = |n: Option<i64>| n.map_or_else(String::new, |n| n.to_string());
    let transports: Vec<&str> = peer.transports.names().collect();
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        roster.address(peer.addr),
        u8::from(line.is_good),
        peer.last_outcome.as_str(),
        peer.last_probe_at,
        number(peer.last_ok_at),
        number(peer.first_ok_at),
        peer.uptime
            .map_or_else(String::new, |share| format!("{share:.4}")),
        number(peer.height.map(i64::from)),
        peer.services
            .map_or_else(String::new, |bits| bits.to_string()),
        number(peer.protocol_version.map(i64::from)),
        transports.join(" "),
        number(peer.connect_ms.map(i64::from)),
        peer.place
            .country
            .map_or_else(String::new, |code| code.to_string()),
        number(peer.place.system.map(i64::from)),
        quoted(peer.user_agent.as_deref().unwrap_or_default()),
    );
}

/// A text that somebody else chose: in quotes, without what ends a line, and with an apostrophe before what a spreadsheet would
/// take for a formula.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    let apostrophe = if is_formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", text.replace('"', "\"\""))
}

/// Which history.
#[derive(Debug, Deserialize, Default)]
pub(super) struct HistoryQuery {
    /// `hours`, or else days.
    #[serde(default)]
    by: String,
    /// Unix seconds; absent for all that is kept.
    since: Option<i64>,
}

/// The network by hours or days: one line each, at most some thousands.
pub(super) async fn history(
    State(site): State<Site>,
    Query(query): Query<HistoryQuery>,
) -> Response {
    let since = query.since.unwrap_or(0).min(unix_now());
    let lines = if query.by == "hours" {
        site.reader.hours(since).await.map(|hours| {
            let lines = hours.into_iter();
            let lines = lines.map(|h| (h.hour, [h.known, h.reachable, h.good], None, h.outcomes));
            lines.collect::<Vec<_>>()
        })
    } else {
        site.reader.days(since).await.map(|days| {
            let lines = days.into_iter();
            let lines =
                lines.map(|d| (d.day, [d.known, d.reachable, d.good], d.height, d.outcomes));
            lines.collect()
        })
    };
    let lines = match lines {
        Ok(lines) => lines,
        Err(error) => return pages::store_failed(&site, &error),
    };
    let mut text = "start,known,reachable,good,median_height".to_owned();
    for outcome in Outcome::ALL {
        let _ = write!(text, ",{outcome}");
    }
    for (start, [known, reachable, good], height, outcomes) in lines {
        let height = height.map_or_else(String::new, |h: u32| h.to_string());
        let _ = write!(text, "\n{start},{known},{reachable},{good},{height}");
        for outcome in Outcome::ALL {
            let found = outcomes.iter().find(|(o, _)| o == outcome);
            let _ = write!(text, ",{}", found.map_or(0, |(_, n)| *n));
        }
    }
    text.push('\n');
    csv("history", Body::from(text))
}

fn csv(name: &str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::roster::tests::peer;

    #[test]
    fn formulas_and_quotes_stay_text() {
        assert_eq!(quoted("/a:1/"), "\"/a:1/\"");
        assert_eq!(
            quoted("=HYPERLINK(\"http://x\")"),
            "\"'=HYPERLINK(\"\"http://x\"\")\""
        );
        assert_eq!(quoted(" \t@x"), "\"' @x\"");
        assert_eq!(quoted("a\r\n=1"), "\"a=1\"");
    }

    proptest! {
        /// Whatever a peer calls itself: one field, one line, no formula.
        #[test]
        fn a_user_agent_is_one_field(text in "\\PC{0,40}[=+@\"\r\n,-]{0,4}\\PC{0,10}") {
            let field = quoted(&text);
            let inner = field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            prop_assert!(!inner.contains(['\n', '\r']));
            prop_assert!(!inner.trim_start().starts_with(['=', '+', '-', '@']));
        }
    }

    #[test]
    fn a_row_has_a_field_for_each_head() {
        let mut roster = Roster::default();
        roster.put(peer(1, "[2001:db8::1]:8333"));
        let mut text = String::new();
        let line = roster.lines().next().unwrap();
        row(&mut text, &roster, line);
        assert_eq!(text.split(',').count(), PEERS_HEAD.split(',').count());
        assert!(
            text.starts_with(
                "[2001:db8::1]:8333,0,ok,1000,1000,500,1.0000,100,9,70016,noise,20,,,\"/a:1/\""
            ),
            "{text}"
        );
    }
}
