//! What the dashboard, the status command, `explain` and the due queue ask of a store.

use std::net::SocketAddr;

use sqlx::{QueryBuilder, Row, Sqlite};

use super::StoreError;
use super::codec::{from_columns, to_columns};
use super::peer_lines::{peer_detail, peer_line, push_filter, push_filter_to_count};
use super::reader::{Moment, StoreReader, small};
use crate::reachability::overlay::PeerAddress;
use crate::reachability::{
    GoodPolicy, Outcome, PeerFacts, Place, Stage, Transports, Verdict, verdict,
};

/// What a judgement at one time rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard {
    /// Thresholds of a good peer.
    pub policy: GoodPolicy,
    /// Time that freshness is measured against, Unix seconds.
    pub as_of: i64,
    /// Median height of the peers whose last probe passed, blocks.
    pub median: Option<u32>,
    /// Newest passed probe, Unix seconds.
    pub newest_ok_at: Option<i64>,
    /// Whether the good set is the last known one only.
    pub stale: bool,
}

/// The network's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Known addresses.
    pub known: u64,
    /// Addresses that were ever probed.
    pub probed: u64,
    /// Addresses that accepted a connection at a last probe within the good age.
    pub reachable: u64,
}

/// One hour of probes and the network's size at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hour {
    /// Start, Unix seconds.
    pub hour: i64,
    /// Probes by outcome.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Known addresses.
    pub known: u64,
    /// Reachable addresses.
    pub reachable: u64,
    /// Good peers.
    pub good: u64,
}

/// One line of the peers' table.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerLine {
    /// What the verdict needs.
    pub facts: PeerFacts,
    /// Where it is, as people write it.
    pub address: PeerAddress,
    /// User agent, chosen by the peer.
    pub user_agent: Option<String>,
    /// Service bits.
    pub services: Option<u64>,
    /// Last probe that counted, Unix seconds.
    pub last_probe_at: i64,
    /// TCP connect, milliseconds.
    pub connect_ms: Option<u32>,
}

/// One probe of a peer's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastProbe {
    /// When it ended, Unix seconds.
    pub at: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// How far it came.
    pub stage: Stage,
    /// Milliseconds.
    pub duration_ms: u32,
}

/// All that is known about one address.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerDetail {
    /// What the verdict needs.
    pub facts: PeerFacts,
    /// Where it is, as people write it.
    pub address: PeerAddress,
    /// Who told us first.
    pub source: String,
    /// How many times it was told.
    pub sources: u64,
    /// First told, Unix seconds.
    pub first_seen: i64,
    /// Last told, Unix seconds.
    pub last_seen: i64,
    /// Next visit, Unix seconds.
    pub next_due: i64,
    /// Failures in a row.
    pub failures: u32,
    /// User agent, chosen by the peer.
    pub user_agent: Option<String>,
    /// Service bits.
    pub services: Option<u64>,
    /// Claimed height, blocks.
    pub start_height: Option<i64>,
    /// Its clock minus ours, seconds.
    pub clock_offset_secs: Option<i64>,
    /// Transports it spoke.
    pub transports: Transports,
    /// Its proven node id.
    pub node_id: Option<[u8; 32]>,
    /// TCP connect, milliseconds.
    pub connect_ms: Option<u32>,
    /// Secure handshake, milliseconds.
    pub secure_ms: Option<u32>,
    /// Ping round trip, milliseconds.
    pub ping_ms: Option<u32>,
    /// Where its address is.
    pub place: Place,
    /// Recent probes, newest first.
    pub history: Vec<PastProbe>,
}

impl PeerDetail {
    /// Each rule of "good" with pass or fail.
    pub fn verdict(&self, standard: &Standard) -> Verdict {
        verdict(
            &standard.policy,
            &self.facts,
            standard.median,
            standard.as_of,
        )
    }
}

/// An event that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEvent {
    /// When, Unix seconds.
    pub at: i64,
    /// Its kind.
    pub kind: String,
    /// An address, or empty.
    pub subject: String,
    /// In words.
    pub detail: String,
}

/// Which peers a page shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerFilter {
    /// Part of a user agent, or an address with or without port; empty for all.
    pub search: String,
    /// Only peers whose last probe ended so.
    pub outcome: Option<Outcome>,
}

impl StoreReader {
    /// What a judgement at `now` (Unix seconds) rests on.
    ///
    /// # Errors
    /// The file can't be read (as for each query below).
    pub async fn standard(&self, now: i64) -> Result<Standard, StoreError> {
        let policy = self.policy().await?;
        let moment = self.moment(now, &policy).await?;
        let generation = self.generation().await?;
        let since = moment.since(&policy);
        let banned = self.banned(now).await?;
        let mut candidates = self.candidates.lock().await;
        candidates.renew(self, generation, since).await?;
        let median = candidates.median(since, &banned);
        drop(candidates);
        let Moment {
            as_of,
            newest_ok_at,
            stale,
        } = moment;
        Ok(Standard {
            policy,
            as_of,
            median,
            newest_ok_at,
            stale,
        })
    }

    /// The network's size.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn counts(&self, standard: &Standard) -> Result<Counts, StoreError> {
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM addresses")
            .fetch_one(&self.pool)
            .await?;
        let probed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM peers")
            .fetch_one(&self.pool)
            .await?;
        let recent: Vec<(String, i64)> = sqlx::query_as(
            "SELECT last_outcome, COUNT(*) FROM peers WHERE last_probe_at >= $1 GROUP BY last_outcome",
        )
        .bind(standard.as_of.saturating_sub(standard.policy.max_age_secs))
        .fetch_all(&self.pool)
        .await?;
        let reachable = recent
            .iter()
            .filter(|(text, _)| text.parse::<Outcome>().is_ok_and(Outcome::was_connected))
            .map(|(_, n)| unsigned(*n))
            .sum();
        Ok(Counts {
            known: unsigned(known),
            probed: unsigned(probed),
            reachable,
        })
    }

    /// How the last probes of all probed addresses ended, most frequent first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT last_outcome, COUNT(*) AS n FROM peers GROUP BY last_outcome ORDER BY n DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(text, n)| Ok((outcome(&text)?, unsigned(n))))
            .collect()
    }

    /// The hours since `since` (Unix seconds) that have data, oldest first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn hours(&self, since: i64) -> Result<Vec<Hour>, StoreError> {
        let mut hours: std::collections::BTreeMap<i64, Hour> = std::collections::BTreeMap::new();
        let sizes: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT hour, known, reachable, good FROM hourly_network WHERE hour >= $1",
        )
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        for (hour, known, reachable, good) in sizes {
            let (known, reachable, good) = (unsigned(known), unsigned(reachable), unsigned(good));
            hours.insert(
                hour,
                Hour {
                    hour,
                    known,
                    reachable,
                    good,
                    outcomes: Vec::new(),
                },
            );
        }
        let probes: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT hour, outcome, probes FROM hourly_outcomes WHERE hour >= $1 ORDER BY hour, outcome",
        )
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        for (hour, text, n) in probes {
            let entry = hours.entry(hour).or_insert_with(|| Hour {
                hour,
                ..Hour::default()
            });
            entry.outcomes.push((outcome(&text)?, unsigned(n)));
        }
        Ok(hours.into_values().collect())
    }

    /// One page of peers, those that passed last first; and how many there are in all.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn peers(
        &self,
        filter: &PeerFilter,
        now: i64,
        offset: u32,
        limit: u32,
    ) -> Result<(Vec<PeerLine>, u64), StoreError> {
        let mut count = QueryBuilder::<Sqlite>::new("SELECT COUNT(*)");
        push_filter_to_count(&mut count, filter);
        let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT a.net, a.address, a.port, p.last_outcome, p.last_ok_at, p.protocol_version, \
             p.proved_height, p.user_agent, p.services, p.last_probe_at, p.connect_ms, r.*",
        );
        push_filter(&mut sql, filter);
        sql.push(" ORDER BY (p.last_outcome = 'ok') DESC, p.last_ok_at DESC, p.address_id LIMIT ");
        sql.push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = sql.build().fetch_all(&self.pool).await?;
        let banned = self.banned(now).await?;
        let lines = rows.iter().map(|row| peer_line(row, &banned));
        let lines: Result<Vec<PeerLine>, StoreError> = lines.collect();
        Ok((self.with_names(lines?).await?, unsigned(total)))
    }

    /// All that is known about one address at `now` (Unix seconds); `None` when it is not known.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn peer(&self, addr: SocketAddr, now: i64) -> Result<Option<PeerDetail>, StoreError> {
        let c = to_columns(addr);
        let row = sqlx::query(
            "SELECT a.*, p.last_outcome, p.last_ok_at, p.protocol_version, p.proved_height, p.user_agent, \
             p.services, p.start_height, p.clock_offset, p.transports, p.node_id, p.connect_ms, p.secure_ms, \
             p.ping_ms, p.country, p.system, r.* \
             FROM addresses a LEFT JOIN peers p ON p.address_id = a.id \
             LEFT JOIN reliability r ON r.address_id = a.id \
             WHERE a.net = $1 AND a.address = $2 AND a.port = $3",
        )
        .bind(c.net)
        .bind(c.address)
        .bind(c.port)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut detail = peer_detail(&row, &self.banned(now).await?)?;
        detail.address = self.address(detail.facts.addr).await?;
        detail.history = self.history(row.try_get("id")?).await?;
        Ok(Some(detail))
    }

    /// The same lines with the names of those that have some.
    pub(super) async fn with_names(
        &self,
        mut lines: Vec<PeerLine>,
    ) -> Result<Vec<PeerLine>, StoreError> {
        let named = self.named(lines.iter().map(|line| line.facts.addr)).await?;
        for line in &mut lines {
            if let Some(address) = named.get(&line.facts.addr) {
                line.address = *address;
            }
        }
        Ok(lines)
    }

    async fn history(&self, address_id: i64) -> Result<Vec<PastProbe>, StoreError> {
        let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
            "SELECT p.at, p.outcome, p.stage, p.duration_ms FROM probes p \
             WHERE p.address_id = $1 ORDER BY p.at DESC, p.slot DESC",
        )
        .bind(address_id)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(at, text, stage, ms)| {
                Ok(PastProbe {
                    at,
                    outcome: outcome(&text)?,
                    stage: stage.parse().map_err(|e| value("stage", &e))?,
                    duration_ms: small(Some(ms)).unwrap_or(u32::MAX),
                })
            })
            .collect()
    }

    /// The newest events, newest first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn events(&self, limit: u32) -> Result<Vec<PastEvent>, StoreError> {
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
            "SELECT at, kind, subject, detail FROM events ORDER BY id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut events = Vec::with_capacity(rows.len());
        for (at, kind, subject, detail) in rows {
            let subject = match subject.parse::<SocketAddr>() {
                Ok(addr) => self.address(addr).await?.to_string(),
                Err(_) => subject,
            };
            events.push(PastEvent {
                at,
                kind,
                subject,
                detail,
            });
        }
        Ok(events)
    }

    /// Addresses that somebody asks to be visited at once, oldest request first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn visit_requests(&self, limit: u32) -> Result<Vec<SocketAddr>, StoreError> {
        let rows: Vec<(i64, Vec<u8>, i64)> =
            sqlx::query_as("SELECT net, address, port FROM visit_requests ORDER BY at LIMIT $1")
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|(net, address, port)| from_columns(*net, address, *port))
            .collect()
    }
}

pub(super) fn outcome(text: &str) -> Result<Outcome, StoreError> {
    text.parse().map_err(|e| value("outcome", &e))
}

fn value(column: &'static str, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Value {
        column,
        reason: error.to_string(),
    }
}

pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
