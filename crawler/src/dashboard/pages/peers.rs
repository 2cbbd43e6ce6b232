//! The table of peers: search, order, pages.

use std::net::SocketAddr;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use quantumcoin::reachability::Outcome;
use serde::Deserialize;

use super::super::Site;
use super::super::view::{ago, count, date, escaped, outcome_class, peer_path};
use super::page;
use crate::probe::unix_now;
use crate::roster::query::{Column, Filter, Order, SEARCH_CHARS, Search, system};
use crate::roster::{Line, Roster};

/// Rows of one page of the table.
pub(in super::super) const PAGE_ROWS: usize = 50;

/// Columns of the table, with the order that a click on each gives.
const HEADS: [(&str, Option<Column>, bool); 9] = [
    ("Address", Some(Column::Address), false),
    ("Good", None, false),
    ("Last probe", Some(Column::Outcome), false),
    ("User agent", Some(Column::Agent), false),
    ("Version", Some(Column::Version), true),
    ("Height", Some(Column::Height), true),
    ("Connect, ms", Some(Column::Connect), true),
    ("Uptime", Some(Column::Uptime), true),
    ("Probed", Some(Column::Probed), false),
];

#[derive(Template)]
#[template(path = "peers.html")]
struct PeersPage<'a> {
    network: &'a str,
    search: String,
    country: String,
    system: String,
    only_good: bool,
    outcome: &'static str,
    outcomes: Vec<&'static str>,
    sort: &'static str,
    direction: &'static str,
    heads: Vec<Head>,
    rows: Vec<PeerRow>,
    total: String,
    first: usize,
    last: usize,
    previous: Option<String>,
    next: Option<String>,
    csv: String,
    json: String,
}

/// The head of a column.
struct Head {
    name: &'static str,
    is_number: bool,
    link: Option<String>,
    /// For `aria-sort`: `ascending`, `descending`, or nothing where it is not the order.
    sorted: &'static str,
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
    uptime: String,
    seen: String,
    seen_exact: String,
}

/// What the peers' page, its JSON twin and the export may be asked. What can't be read counts as not given.
#[derive(Debug, Deserialize, Default)]
pub(in super::super) struct PeersQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    country: String,
    #[serde(default)]
    system: String,
    #[serde(default)]
    good: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    page: String,
    #[serde(default)]
    limit: String,
    #[serde(default)]
    offset: String,
    #[serde(default)]
    after: String,
}

impl PeersQuery {
    pub(in super::super) fn filter(&self) -> Filter {
        Filter {
            search: Search::read(&self.search),
            outcome: self.outcome.parse().ok(),
            only_good: self.is_good(),
            country: self.country.trim().to_ascii_uppercase().parse().ok(),
            system: self.system(),
        }
    }

    fn is_good(&self) -> bool {
        matches!(self.good.as_str(), "1" | "true" | "on" | "yes")
    }

    fn system(&self) -> Option<u32> {
        let text = self.system.trim();
        system(text).or_else(|| text.parse().ok())
    }

    pub(in super::super) fn order(&self) -> Order {
        Order {
            column: Column::named(&self.sort),
            descending: self.direction == "descending",
        }
    }

    fn page(&self) -> usize {
        self.page.parse().unwrap_or(0)
    }

    /// Lines of an answer in JSON: 1 to `most`, 50 when nothing is said.
    pub(in super::super) fn limit(&self, most: usize) -> usize {
        self.limit.parse().unwrap_or(PAGE_ROWS).clamp(1, most)
    }

    /// The first of them.
    pub(in super::super) fn offset(&self) -> usize {
        let pages = || self.page().saturating_mul(PAGE_ROWS);
        self.offset.parse().unwrap_or_else(|_| pages())
    }

    /// The address after which the lines of a list in the order of addresses begin; `Some(None)` for a list from the start.
    pub(in super::super) fn after(&self) -> Option<Option<SocketAddr>> {
        match self.after.as_str() {
            "" => None,
            "start" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    /// What is asked for besides order and page, as a link's query.
    pub(in super::super) fn words(&self) -> String {
        let filter = self.filter();
        let search: String = self.search.chars().take(SEARCH_CHARS).collect();
        let mut words = format!("search={}", escaped(&search));
        if let Some(outcome) = filter.outcome {
            words.push_str(&format!("&outcome={outcome}"));
        }
        if let Some(country) = filter.country {
            words.push_str(&format!("&country={country}"));
        }
        if let Some(system) = filter.system {
            words.push_str(&format!("&system={system}"));
        }
        if filter.only_good {
            words.push_str("&good=1");
        }
        words
    }

    fn ordered(&self, order: Order) -> String {
        format!(
            "/peers?{}&sort={}&direction={}",
            self.words(),
            order.column.as_str(),
            direction(order)
        )
    }

    fn link(&self, page: usize) -> String {
        format!("{}&page={page}", self.ordered(self.order()))
    }
}

const fn direction(order: Order) -> &'static str {
    if order.descending {
        "descending"
    } else {
        "ascending"
    }
}

/// The peers' table.
pub(in super::super) async fn peers(
    State(site): State<Site>,
    Query(query): Query<PeersQuery>,
) -> Response {
    let now = unix_now();
    let (filter, order) = (query.filter(), query.order());
    let first = query.page().saturating_mul(PAGE_ROWS);
    let (rows, total) = {
        let roster = site.roster.read();
        let (lines, total) = roster.select(&filter, order, first, PAGE_ROWS);
        let rows = lines.iter().map(|line| PeerRow::of(line, &roster, now));
        (rows.collect::<Vec<_>>(), total)
    };
    let last = first.saturating_add(rows.len());
    let is_empty = rows.is_empty();
    let answer = PeersPage {
        network: &site.network,
        search: query.search.chars().take(SEARCH_CHARS).collect(),
        country: filter.country.map_or_else(String::new, |c| c.to_string()),
        system: filter.system.map_or_else(String::new, |n| format!("AS{n}")),
        only_good: filter.only_good,
        outcome: filter.outcome.map_or("", Outcome::as_str),
        outcomes: Outcome::ALL.iter().map(|o| o.as_str()).collect(),
        sort: order.column.as_str(),
        direction: direction(order),
        heads: heads(&query),
        total: count(total as u64),
        first: if is_empty { 0 } else { first + 1 },
        last: if is_empty { 0 } else { last },
        previous: query.page().checked_sub(1).map(|page| query.link(page)),
        next: (last < total && !is_empty).then(|| query.link(query.page().saturating_add(1))),
        csv: format!("/export/peers.csv?{}", query.words()),
        json: format!("/api/v1/peers?{}", query.words()),
        rows,
    };
    page(&site, &answer)
}

/// A link for each column by which peers may be put in order; a second click turns it round.
fn heads(query: &PeersQuery) -> Vec<Head> {
    let order = query.order();
    let heads = HEADS.into_iter().map(|(name, column, is_number)| {
        let is_order = column == Some(order.column);
        let turned = |column| Order {
            column,
            // Good figures first: high versions, heights and uptimes; short connections; recent probes.
            descending: if is_order {
                !order.descending
            } else {
                matches!(
                    column,
                    Column::Version | Column::Height | Column::Uptime | Column::Probed
                )
            },
        };
        Head {
            name,
            is_number,
            link: column.map(|column| query.ordered(turned(column))),
            sorted: if is_order { direction(order) } else { "" },
        }
    });
    heads.collect()
}

impl PeerRow {
    fn of(line: &Line, roster: &Roster, now: i64) -> Self {
        let or_dash = |n: Option<u32>| n.map_or_else(|| "–".to_owned(), |n| count(n.into()));
        let peer = &line.peer;
        let addr = roster.address(peer.addr);
        Self {
            path: peer_path(&addr),
            addr: addr.to_string(),
            good: line.is_good,
            outcome: peer.last_outcome.as_str(),
            class: outcome_class(peer.last_outcome),
            agent: peer.user_agent.as_deref().unwrap_or_default().to_owned(),
            version: peer
                .protocol_version
                .map_or_else(|| "–".to_owned(), |v| v.to_string()),
            height: or_dash(peer.height),
            latency: or_dash(peer.connect_ms),
            uptime: peer
                .uptime
                .map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0)),
            seen: ago(peer.last_probe_at, now),
            seen_exact: date(peer.last_probe_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_t_be_read_counts_as_not_given() {
        let query = PeersQuery {
            outcome: "x".into(),
            country: "ch".into(),
            system: "AS7".into(),
            page: "-1".into(),
            limit: "999999".into(),
            sort: "nothing".into(),
            search: "a b&c".into(),
            ..PeersQuery::default()
        };
        let filter = query.filter();
        assert_eq!((filter.outcome, filter.system), (None, Some(7)));
        assert_eq!(filter.country, Some("CH".parse().unwrap()));
        assert_eq!((query.page(), query.limit(1_000)), (0, 1_000));
        assert_eq!(query.words(), "search=a%20b%26c&country=CH&system=7");
        assert_eq!(query.after(), None);
    }

    #[test]
    fn a_second_click_turns_the_order_round() {
        let of = |sort: &str, direction: &str| PeersQuery {
            sort: sort.into(),
            direction: direction.into(),
            ..PeersQuery::default()
        };
        let height = |query: &PeersQuery| {
            let head = heads(query)
                .into_iter()
                .find(|h| h.name == "Height")
                .unwrap();
            (
                head.sorted,
                head.link
                    .unwrap()
                    .ends_with("sort=height&direction=descending"),
            )
        };
        assert_eq!(height(&of("", "")), ("", true));
        assert_eq!(height(&of("height", "descending")), ("descending", false));
        assert_eq!(height(&of("height", "ascending")), ("ascending", true));
    }
}
