//! Names of peers of overlay networks, by their stand-ins.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::StoreError;
use super::batch::ROWS;
use super::codec::to_columns;
use super::reader::StoreReader;
use crate::reachability::overlay::{OverlayName, PeerAddress, is_stand_in};

/// Writes a name down.
pub(super) async fn put(tx: &mut SqliteConnection, name: &OverlayName) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO overlay_names (address, name) VALUES ($1, $2) ON CONFLICT (address) DO NOTHING",
    )
    .bind(name.stand_in().octets().to_vec())
    .bind(name.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// What somebody else has written may be no name: then there is none, and nothing else is held up for it.
fn name(text: &str) -> Option<OverlayName> {
    text.parse::<OverlayName>()
        .inspect_err(|error| tracing::warn!(text, %error, "the store has a name that is none"))
        .ok()
}

impl StoreReader {
    /// All names.
    ///
    /// # Errors
    /// The file can't be read (as for each query here).
    pub async fn overlay_names(&self) -> Result<Vec<OverlayName>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT name FROM overlay_names")
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().filter_map(|text| name(text)).collect())
    }

    /// Where a peer is, as people write it. A stand-in of which the name is not known stays as it is.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn address(&self, addr: SocketAddr) -> Result<PeerAddress, StoreError> {
        let IpAddr::V6(ip) = addr.ip() else {
            return Ok(addr.into());
        };
        if !is_stand_in(addr.ip()) {
            return Ok(addr.into());
        }
        let found: Option<String> =
            sqlx::query_scalar("SELECT name FROM overlay_names WHERE address = $1")
                .bind(ip.octets().to_vec())
                .fetch_optional(&self.pool)
                .await?;
        let found = found.and_then(|text| name(&text));
        Ok(found.map_or(addr.into(), |name| PeerAddress::Named(name, addr.port())))
    }

    /// The same of many, by the addresses that the rest of the program knows them by; only of those that have names.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn named(
        &self,
        addrs: impl Iterator<Item = SocketAddr>,
    ) -> Result<HashMap<SocketAddr, PeerAddress>, StoreError> {
        let addrs: Vec<SocketAddr> = addrs.filter(|addr| is_stand_in(addr.ip())).collect();
        let mut names = HashMap::new();
        for chunk in addrs.chunks(ROWS) {
            let mut sql =
                QueryBuilder::<Sqlite>::new("SELECT name FROM overlay_names WHERE address IN (");
            let mut list = sql.separated(", ");
            for addr in chunk {
                list.push_bind(to_columns(*addr).address);
            }
            sql.push(")");
            for text in sql
                .build_query_scalar::<String>()
                .fetch_all(&self.pool)
                .await?
            {
                names.extend(name(&text).map(|name| (IpAddr::V6(name.stand_in()), name)));
            }
        }
        let named = addrs.into_iter().filter_map(|addr| {
            let name = names.get(&addr.ip())?;
            Some((addr, PeerAddress::Named(*name, addr.port())))
        });
        Ok(named.collect())
    }
}
