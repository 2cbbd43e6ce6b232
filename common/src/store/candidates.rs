//! Peers that may be good, kept in memory and brought up to date by what has changed: on a large network reading all of them
//! takes seconds, and a crawl changes some at every moment.

use std::collections::HashMap;
use std::net::SocketAddr;

use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoreError;
use super::codec::from_columns;
use super::peer_row::read_reliability_at;
use super::reader::{Moment, StoreReader, place, small, transports};
use crate::reachability::exclusions::Exclusions;
use crate::reachability::verdict::median_height;
use crate::reachability::{GoodPeer, GoodPolicy, Latency, Outcome, PeerFacts};

/// Peers whose last probe passed, as of one committed change.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The change up to which they are known; 0 before they were read.
    generation: u64,
    /// Those older than this were left out as they were read, seconds.
    since: i64,
    /// By the rows' numbers.
    peers: HashMap<i64, Candidate>,
}

#[derive(Debug)]
struct Candidate {
    facts: PeerFacts,
    peer: GoodPeer,
}

/// The columns that [`candidate`] reads.
const COLUMNS: &str = "SELECT p.address_id, a.net, a.address, a.port, p.last_outcome, p.last_ok_at, p.services, \
     p.protocol_version, p.user_agent, p.proved_height, p.transports, p.node_id, p.country, p.system, \
     p.connect_ms, p.secure_ms, p.ping_ms, \
     r.probes, r.successes, r.r_2h, r.c_2h, r.w_2h, r.r_8h, r.c_8h, r.w_8h, r.r_1d, r.c_1d, r.w_1d, \
     r.r_7d, r.c_7d, r.w_7d, r.r_30d, r.c_30d, r.w_30d \
     FROM peers p JOIN addresses a ON a.id = p.address_id \
     JOIN reliability r ON r.address_id = p.address_id ";

impl Candidates {
    /// Reads what has changed up to `generation`, or all of them where that would not do.
    pub(super) async fn renew(
        &mut self,
        reader: &StoreReader,
        generation: u64,
        since: i64,
    ) -> Result<(), StoreError> {
        if self.generation == 0 || since < self.since || generation < self.generation {
            *self = Self::default();
        }
        if self.generation == generation && generation > 0 {
            return Ok(());
        }
        let (sql, from) = if self.generation == 0 {
            let passed = "WHERE (p.last_outcome = 'ok') = 1 AND p.last_ok_at >= $1";
            (format!("{COLUMNS} {passed}"), since)
        } else {
            let after = i64::try_from(self.generation).unwrap_or(i64::MAX);
            (format!("{COLUMNS} WHERE p.changed > $1"), after)
        };
        // One after the other: a row that waits takes some kilobytes.
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(from);
        let mut rows = query.fetch(&reader.pool);
        while let Some(row) = rows.try_next().await? {
            let id: i64 = row.try_get(0)?;
            match candidate(&row)? {
                Some(candidate) => self.peers.insert(id, candidate),
                None => self.peers.remove(&id),
            };
        }
        drop(rows);
        self.peers
            .retain(|_, candidate| candidate.peer.last_ok_at >= since);
        (self.generation, self.since) = (generation, since);
        Ok(())
    }

    /// The median height of those that passed at `since` or later and are not banned.
    pub(super) fn median(&self, since: i64, banned: &Exclusions) -> Option<u32> {
        let recent = self.recent(since);
        let recent = recent.filter(|c| banned.find(c.facts.addr.ip()).is_none());
        let mut heights: Vec<u32> = recent.filter_map(|c| c.facts.proved_height).collect();
        median_height(&mut heights)
    }

    /// Those of which `is_good` says so, of those that passed at `since` or later.
    pub(super) fn good(&self, since: i64, is_good: impl Fn(&PeerFacts) -> bool) -> Vec<GoodPeer> {
        let good = self.recent(since).filter(|c| is_good(&c.facts));
        good.map(|candidate| candidate.peer.clone()).collect()
    }

    fn recent(&self, since: i64) -> impl Iterator<Item = &Candidate> {
        let all = self.peers.values();
        all.filter(move |candidate| candidate.peer.last_ok_at >= since)
    }
}

impl Moment {
    /// Peers that passed before this are not fresh.
    pub(super) fn since(&self, policy: &GoodPolicy) -> i64 {
        self.as_of.saturating_sub(policy.max_age_secs)
    }
}

/// A row, if its last probe passed.
fn candidate(row: &SqliteRow) -> Result<Option<Candidate>, StoreError> {
    let last_ok_at: Option<i64> = row.try_get(5)?;
    let passed = row.try_get::<&str, _>(4)? == Outcome::Ok.as_str();
    let Some(last_ok_at) = last_ok_at.filter(|_| passed) else {
        return Ok(None);
    };
    let addr: SocketAddr = from_columns(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?;
    let protocol_version = small(row.try_get(7)?);
    let proved_height = small(row.try_get(9)?);
    let reliability = read_reliability_at(row, 17)?;
    let facts = PeerFacts {
        addr,
        last_outcome: Some(Outcome::Ok),
        last_ok_at: Some(last_ok_at),
        protocol_version,
        proved_height,
        reliability,
        // Asked at the moment of the verdict.
        banned: false,
    };
    let services: Option<i64> = row.try_get(6)?;
    let node_id: Option<&[u8]> = row.try_get(11)?;
    let peer = GoodPeer {
        addr,
        services: services.unwrap_or(0).cast_unsigned(),
        protocol_version: protocol_version.unwrap_or(0),
        user_agent: row
            .try_get::<Option<&str>, _>(8)?
            .unwrap_or_default()
            .into(),
        height: proved_height.unwrap_or(0),
        transports: transports(row.try_get(10)?),
        node_id: node_id.and_then(|id| id.try_into().ok()),
        quality: reliability.quality(),
        last_ok_at,
        place: place(row.try_get(12)?, row.try_get(13)?),
        latency: Latency {
            connect_ms: small(row.try_get(14)?),
            secure_ms: small(row.try_get(15)?),
            ping_ms: small(row.try_get(16)?),
        },
    };
    Ok(Some(Candidate { facts, peer }))
}
