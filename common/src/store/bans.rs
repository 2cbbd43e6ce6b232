//! Networks that the operator has banned.

use ipnet::IpNet;
use sqlx::SqliteConnection;

use super::StoreError;
use super::codec::{from_columns, to_columns};
use super::reader::StoreReader;
use crate::reachability::exclusions::Exclusions;

/// Most characters of a reason that are kept.
pub const REASON_CHARS: usize = 256;

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Whom it is for.
    pub net: IpNet,
    /// Since when, Unix seconds.
    pub at: i64,
    /// Until when, Unix seconds; `None` for ever.
    pub until: Option<i64>,
    /// The operator's words; cut to [`REASON_CHARS`] when stored.
    pub reason: String,
}

impl StoreReader {
    /// The bans in force at `now` (Unix seconds), the oldest first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn bans(&self, now: i64) -> Result<Vec<Ban>, StoreError> {
        type Row = (i64, Vec<u8>, i64, i64, Option<i64>, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT net, address, bits, at, until, reason FROM bans \
             WHERE until IS NULL OR until > $1 ORDER BY at, net, address, bits",
        )
        .bind(now)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(net, address, bits, at, until, reason)| {
                let ip = from_columns(net, &address, 0)?.ip();
                let bits = u8::try_from(bits).ok();
                let net = bits.and_then(|bits| IpNet::new(ip, bits).ok());
                let net = net.ok_or_else(|| StoreError::Value {
                    column: "bits",
                    reason: "no length of a prefix".to_owned(),
                })?;
                Ok(Ban {
                    net,
                    at,
                    until,
                    reason,
                })
            })
            .collect()
    }

    /// The same, to look addresses up in.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn banned(&self, now: i64) -> Result<Exclusions, StoreError> {
        let mut all = Exclusions::default();
        for ban in self.bans(now).await? {
            all.add(ban.net);
        }
        Ok(all)
    }
}

/// Writes a ban down, or lifts it.
pub(super) async fn apply(
    tx: &mut SqliteConnection,
    net: IpNet,
    ban: Option<&Ban>,
) -> Result<(), StoreError> {
    let c = to_columns((net.addr(), 0).into());
    let sql = match ban {
        Some(_) => {
            "INSERT INTO bans (net, address, bits, at, until, reason) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (net, address, bits) DO UPDATE SET \
             at = excluded.at, until = excluded.until, reason = excluded.reason"
        }
        None => "DELETE FROM bans WHERE net = $1 AND address = $2 AND bits = $3",
    };
    let query = sqlx::query(sql)
        .bind(c.net)
        .bind(c.address)
        .bind(i64::from(net.prefix_len()));
    let query = match ban {
        Some(ban) => {
            let reason: String = ban.reason.chars().take(REASON_CHARS).collect();
            query.bind(ban.at).bind(ban.until).bind(reason)
        }
        None => query,
    };
    query.execute(tx).await?;
    Ok(())
}
