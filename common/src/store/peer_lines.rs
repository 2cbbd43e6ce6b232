//! Rows of peers as pages and exports show them, and which of them a search means.

use std::net::{IpAddr, SocketAddr};

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::StoreError;
use super::codec::{from_columns, to_columns};
use super::peer_row::read_reliability;
use super::queries::{PeerDetail, PeerFilter, PeerLine, outcome, unsigned};
use super::reader::{place, small, transports};
use crate::reachability::exclusions::Exclusions;
use crate::reachability::overlay::{OverlayName, PeerAddress};
use crate::reachability::{PeerFacts, Reliability};

/// What a search is for.
enum Search<'a> {
    All,
    /// One address with its port.
    Address(SocketAddr),
    /// All ports of a host.
    Host(IpAddr),
    /// A part of a user agent.
    Agent(&'a str),
}

impl<'a> Search<'a> {
    fn of(filter: &'a PeerFilter) -> Self {
        let text = filter.search.trim();
        let host = text.trim_matches(['[', ']']);
        if text.is_empty() {
            Self::All
        } else if let Ok(peer) = text.parse::<PeerAddress>() {
            Self::Address(peer.key())
        } else if let Ok(name) = text.parse::<OverlayName>() {
            Self::Host(name.stand_in().into())
        } else if let Ok(ip) = host.parse() {
            Self::Host(ip)
        } else {
            Self::Agent(text)
        }
    }
}

/// `FROM` and `WHERE` of the peers' table, with the columns of all tables.
pub(super) fn push_filter(sql: &mut QueryBuilder<Sqlite>, filter: &PeerFilter) {
    sql.push(
        " FROM peers p JOIN addresses a ON a.id = p.address_id \
         JOIN reliability r ON r.address_id = p.address_id WHERE 1 = 1",
    );
    push_conditions(sql, filter);
}

/// The same for counting: without the tables that decide nothing, which would be looked into for each peer.
pub(super) fn push_filter_to_count(sql: &mut QueryBuilder<Sqlite>, filter: &PeerFilter) {
    sql.push(" FROM peers p");
    if matches!(Search::of(filter), Search::Address(_) | Search::Host(_)) {
        sql.push(" JOIN addresses a ON a.id = p.address_id");
    }
    sql.push(" WHERE 1 = 1");
    push_conditions(sql, filter);
}

/// Search words are bound, never spliced.
fn push_conditions(sql: &mut QueryBuilder<Sqlite>, filter: &PeerFilter) {
    if let Some(outcome) = filter.outcome {
        sql.push(" AND p.last_outcome = ")
            .push_bind(outcome.as_str());
    }
    match Search::of(filter) {
        Search::All => {}
        Search::Address(addr) => {
            push_ip(sql, addr)
                .push(" AND a.port = ")
                .push_bind(i64::from(addr.port()));
        }
        Search::Host(ip) => {
            push_ip(sql, SocketAddr::new(ip, 1));
        }
        Search::Agent(text) => {
            let escaped = text
                .replace('\\', r"\\")
                .replace('%', r"\%")
                .replace('_', r"\_");
            sql.push(" AND p.user_agent LIKE ")
                .push_bind(format!("%{escaped}%"))
                .push(r" ESCAPE '\'");
        }
    }
}

fn push_ip(sql: &mut QueryBuilder<Sqlite>, addr: SocketAddr) -> &mut QueryBuilder<Sqlite> {
    let c = to_columns(addr);
    sql.push(" AND a.net = ")
        .push_bind(c.net)
        .push(" AND a.address = ")
        .push_bind(c.address)
}

pub(super) fn peer_line(row: &SqliteRow, banned: &Exclusions) -> Result<PeerLine, StoreError> {
    let text: String = row.try_get("last_outcome")?;
    let addr = from_columns(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)?;
    Ok(PeerLine {
        facts: PeerFacts {
            addr,
            banned: banned.find(addr.ip()).is_some(),
            last_outcome: Some(outcome(&text)?),
            last_ok_at: row.try_get("last_ok_at")?,
            protocol_version: small(row.try_get("protocol_version")?),
            proved_height: small(row.try_get("proved_height")?),
            reliability: read_reliability(row)?,
        },
        address: addr.into(),
        user_agent: row.try_get("user_agent")?,
        services: row
            .try_get::<Option<i64>, _>("services")?
            .map(i64::cast_unsigned),
        last_probe_at: row.try_get("last_probe_at")?,
        connect_ms: small(row.try_get("connect_ms")?),
    })
}

pub(super) fn peer_detail(row: &SqliteRow, banned: &Exclusions) -> Result<PeerDetail, StoreError> {
    let text: Option<String> = row.try_get("last_outcome")?;
    let probed = row.try_get::<Option<i64>, _>("probes")?.is_some();
    let reliability = if probed {
        read_reliability(row)?
    } else {
        Reliability::default()
    };
    let addr = from_columns(
        row.try_get("net")?,
        row.try_get("address")?,
        row.try_get("port")?,
    )?;
    Ok(PeerDetail {
        facts: PeerFacts {
            addr,
            banned: banned.find(addr.ip()).is_some(),
            last_outcome: text.as_deref().map(outcome).transpose()?,
            last_ok_at: row.try_get("last_ok_at")?,
            protocol_version: small(row.try_get("protocol_version")?),
            proved_height: small(row.try_get("proved_height")?),
            reliability,
        },
        address: addr.into(),
        source: row.try_get("source")?,
        sources: unsigned(row.try_get("sources")?),
        first_seen: row.try_get("first_seen")?,
        last_seen: row.try_get("last_seen")?,
        next_due: row.try_get("next_due")?,
        failures: small(row.try_get("failures")?).unwrap_or(0),
        user_agent: row.try_get("user_agent")?,
        services: row
            .try_get::<Option<i64>, _>("services")?
            .map(i64::cast_unsigned),
        start_height: row.try_get("start_height")?,
        clock_offset_secs: row.try_get("clock_offset")?,
        transports: transports(row.try_get("transports")?),
        node_id: row
            .try_get::<Option<Vec<u8>>, _>("node_id")?
            .and_then(|id| id.try_into().ok()),
        connect_ms: small(row.try_get("connect_ms")?),
        secure_ms: small(row.try_get("secure_ms")?),
        ping_ms: small(row.try_get("ping_ms")?),
        place: place(row.try_get("country")?, row.try_get("system")?),
        history: Vec::new(),
    })
}
