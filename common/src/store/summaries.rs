//! A few columns of every probed address, for somebody who keeps them in memory: the dashboard's table of peers.
//!
//! The first look reads all rows, later ones those that a newer change has written ([`PeerSummary`]); which addresses were
//! forgotten meanwhile follows from the rows' numbers that are left.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::StoreError;
use super::codec::from_columns;
use super::queries::{outcome, unsigned};
use super::reader::{StoreReader, place, small, transports};
use crate::reachability::{Outcome, Place, Transports};

/// What is shown of one probed address in a table.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSummary {
    /// Number of its row, which stays as long as the address is known.
    pub id: i64,
    /// Where it listens, or what stands for its name.
    pub addr: SocketAddr,
    /// How the last probe that counted ended.
    pub last_outcome: Outcome,
    /// When that was, Unix seconds.
    pub last_probe_at: i64,
    /// Last probe that passed, Unix seconds.
    pub last_ok_at: Option<i64>,
    /// First probe that passed, Unix seconds.
    pub first_ok_at: Option<i64>,
    /// Service bits.
    pub services: Option<u64>,
    /// Protocol version.
    pub protocol_version: Option<u32>,
    /// User agent, chosen by the peer: escape it wherever it is shown.
    pub user_agent: Option<Arc<str>>,
    /// Height that it showed headers for, blocks.
    pub height: Option<u32>,
    /// Its clock minus ours, seconds.
    pub clock_offset_secs: Option<i64>,
    /// Transports it was seen to speak.
    pub transports: Transports,
    /// Where its address is.
    pub place: Place,
    /// TCP connect, milliseconds.
    pub connect_ms: Option<u32>,
    /// Share of the last week's probes that passed, 0 to 1, recent ones weighing more.
    pub uptime: Option<f32>,
}

/// The columns that [`summary`] reads.
const COLUMNS: &str = "SELECT p.address_id, a.net, a.address, a.port, p.last_outcome, p.last_probe_at, p.last_ok_at, \
     p.first_ok_at, p.services, p.protocol_version, p.user_agent, p.proved_height, p.clock_offset, p.transports, \
     p.country, p.system, p.connect_ms, r.r_7d, r.w_7d \
     FROM peers p JOIN addresses a ON a.id = p.address_id \
     LEFT JOIN reliability r ON r.address_id = p.address_id";

impl StoreReader {
    /// Tells `take` of every probed address that a change after `generation` has written; of all after 0.
    ///
    /// # Errors
    /// The file can't be read (as for each query here).
    pub async fn summaries(
        &self,
        generation: u64,
        mut take: impl FnMut(PeerSummary),
    ) -> Result<(), StoreError> {
        let condition = if generation == 0 {
            "WHERE $1 = 0"
        } else {
            "WHERE p.changed > $1"
        };
        let sql = format!("{COLUMNS} {condition}");
        let after = i64::try_from(generation).unwrap_or(i64::MAX);
        let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            take(summary(&row)?);
        }
        Ok(())
    }

    /// How many addresses were ever probed.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn probed(&self) -> Result<usize, StoreError> {
        let probed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM peers")
            .fetch_one(&self.pool)
            .await?;
        Ok(usize::try_from(probed).unwrap_or(0))
    }

    /// Numbers of the rows of all probed addresses. As one text: a row each would cost several times as much.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn probed_ids(&self) -> Result<Vec<i64>, StoreError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT string_agg(address_id, ',') FROM peers")
                .fetch_one(&self.pool)
                .await?;
        let text = text.unwrap_or_default();
        let numbers = text.split(',').filter(|word| !word.is_empty());
        let numbers = numbers.map(|word| {
            word.parse().map_err(|_| StoreError::Value {
                column: "address_id",
                reason: format!("{word:?} is no number"),
            })
        });
        numbers.collect()
    }
}

fn summary(row: &SqliteRow) -> Result<PeerSummary, StoreError> {
    let (reliability, weight): (Option<f64>, Option<f64>) = (row.try_get(17)?, row.try_get(18)?);
    let uptime = reliability.zip(weight).filter(|(_, weight)| *weight > 0.0);
    Ok(PeerSummary {
        id: row.try_get(0)?,
        addr: from_columns(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?,
        last_outcome: outcome(row.try_get(4)?)?,
        last_probe_at: row.try_get(5)?,
        last_ok_at: row.try_get(6)?,
        first_ok_at: row.try_get(7)?,
        services: row.try_get::<Option<i64>, _>(8)?.map(i64::cast_unsigned),
        protocol_version: small(row.try_get(9)?),
        user_agent: row.try_get::<Option<&str>, _>(10)?.map(Arc::from),
        height: small(row.try_get(11)?),
        clock_offset_secs: row.try_get(12)?,
        transports: transports(row.try_get(13)?),
        place: place(row.try_get(14)?, row.try_get(15)?),
        connect_ms: small(row.try_get(16)?),
        uptime: uptime.map(|(r, w)| (r / w).clamp(0.0, 1.0) as f32),
    })
}

/// Peers that came and went on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Churn {
    /// Start of the day (UTC), Unix seconds.
    pub day: i64,
    /// Peers that passed a probe for the first time.
    pub came: u64,
    /// Peers that passed for the last time, and not for a day since.
    pub gone: u64,
}

impl StoreReader {
    /// Who came and went, day by day since `since` (Unix seconds), oldest first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn churn(&self, since: i64) -> Result<Vec<Churn>, StoreError> {
        let rows: Vec<(i64, i64, i64)> =
            sqlx::query_as("SELECT day, came, gone FROM daily_churn WHERE day >= $1 ORDER BY day")
                .bind(since)
                .fetch_all(&self.pool)
                .await?;
        let days = rows.into_iter().map(|(day, came, gone)| Churn {
            day,
            came: unsigned(came),
            gone: unsigned(gone),
        });
        Ok(days.collect())
    }
}
