//! All peers, batch by batch: for exports, and for whoever compares a crawl with what it should have found.

use super::StoreError;
use super::peer_lines::peer_line;
use super::queries::PeerLine;
use super::reader::StoreReader;
use crate::reachability::exclusions::Exclusions;

impl StoreReader {
    /// Peers that were probed at least once: those after row `after`, in row order, with the last row's number to go on
    /// from; empty at the end. `banned` is [`StoreReader::banned`] of this moment.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn peers_after(
        &self,
        after: i64,
        limit: u32,
        banned: &Exclusions,
    ) -> Result<(Vec<PeerLine>, i64), StoreError> {
        use sqlx::Row;
        let rows = sqlx::query(
            "SELECT a.net, a.address, a.port, p.last_outcome, p.last_ok_at, p.protocol_version, \
             p.proved_height, p.user_agent, p.services, p.last_probe_at, p.connect_ms, r.* \
             FROM peers p JOIN addresses a ON a.id = p.address_id \
             JOIN reliability r ON r.address_id = p.address_id \
             WHERE p.address_id > $1 ORDER BY p.address_id LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let last = rows.last().map(|row| row.try_get("address_id"));
        let last = last.transpose()?.unwrap_or(after);
        let lines = rows.iter().map(|row| peer_line(row, banned));
        let lines: Result<Vec<PeerLine>, StoreError> = lines.collect();
        Ok((self.with_names(lines?).await?, last))
    }
}
