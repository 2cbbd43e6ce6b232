//! Addresses for the due queue, many at a time.

use std::net::SocketAddr;

use data_encoding::HEXUPPER;

use super::StoreError;
use super::codec::from_columns;
use super::model::StoredAddress;
use super::reader::StoreReader;

/// Addresses in one batch.
const BATCH: u32 = 20_000;

impl StoreReader {
    /// Every address, in row order. While one batch is taken in, the next one is read.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn addresses(&self, mut take: impl FnMut(StoredAddress)) -> Result<(), StoreError> {
        let mut batch = self.lines_after(0).await?;
        while let Some(last) = batch.last {
            let reader = self.clone();
            let next = tokio::spawn(async move { reader.lines_after(last).await });
            for line in batch.text.split(';') {
                take(stored(line)?);
            }
            batch = next.await.map_err(|_| StoreError::Closed)??;
        }
        Ok(())
    }

    /// How many addresses there are.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn known(&self) -> Result<usize, StoreError> {
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM addresses")
            .fetch_one(&self.pool)
            .await?;
        Ok(usize::try_from(known).unwrap_or(0))
    }

    /// They come as one text, since a row each costs several times as much: every row crosses from SQLite's thread to ours.
    async fn lines_after(&self, after: i64) -> Result<Lines, StoreError> {
        let (last, text): (Option<i64>, Option<String>) = sqlx::query_as(
            "SELECT MAX(id), string_agg(line, ';') FROM (\
             SELECT a.id AS id, concat_ws(',', a.net, hex(a.address), a.port, a.next_due, a.failures, \
             a.visits > 0, COALESCE(p.last_outcome = 'ok', 0), COALESCE(p.last_ok_at, ''), \
             COALESCE(p.told_addresses_at, '')) AS line \
             FROM addresses a LEFT JOIN peers p ON p.address_id = a.id \
             WHERE a.id > $1 ORDER BY a.id LIMIT $2)",
        )
        .bind(after)
        .bind(BATCH)
        .fetch_one(&self.pool)
        .await?;
        Ok(Lines {
            last,
            text: text.unwrap_or_default(),
        })
    }
}

/// A batch of rows as text.
struct Lines {
    /// Number of the last row; `None` at the end.
    last: Option<i64>,
    text: String,
}

fn stored(line: &str) -> Result<StoredAddress, StoreError> {
    let bad = || StoreError::Value {
        column: "addresses",
        reason: format!("{line:?} is no row of it"),
    };
    let mut words = line.split(',');
    let mut word = || words.next().ok_or_else(bad);
    let number = |word: &str| word.parse::<i64>().map_err(|_| bad());
    let optional = |word: &str| match word {
        "" => Ok(None),
        word => number(word).map(Some),
    };
    let net = number(word()?)?;
    let address = HEXUPPER.decode(word()?.as_bytes()).map_err(|_| bad())?;
    let addr: SocketAddr = from_columns(net, &address, number(word()?)?)?;
    Ok(StoredAddress {
        addr,
        next_due: number(word()?)?,
        failures: u32::try_from(number(word()?)?).unwrap_or(0),
        tried: word()? == "1",
        last_ok: word()? == "1",
        last_ok_at: optional(word()?)?,
        told_addresses_at: optional(word()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_a_wrong_one_refused() {
        let read = stored("4,C0000207,8333,1800000000,2,1,0,1799999999,").unwrap();
        let due = StoredAddress {
            addr: "192.0.2.7:8333".parse().unwrap(),
            next_due: 1_800_000_000,
            failures: 2,
            tried: true,
            last_ok: false,
            last_ok_at: Some(1_799_999_999),
            told_addresses_at: None,
        };
        assert_eq!(read, due);
        for wrong in ["", "4", "4,C00002,1,1,1,1,1,,", "4,C0000207,8333,x,2,1,0,,"] {
            assert!(stored(wrong).is_err(), "{wrong}");
        }
    }
}
