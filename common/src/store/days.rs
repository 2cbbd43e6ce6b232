//! The network day by day: what is kept for years.

use std::collections::BTreeMap;

use super::StoreError;
use super::queries::{outcome, unsigned};
use super::reader::StoreReader;
use crate::reachability::Outcome;
use crate::reachability::census::{Latencies, Quantiles, Share, Trait};

/// One day (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Day {
    /// Start, Unix seconds.
    pub day: i64,
    /// Probes by outcome.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Known addresses.
    pub known: u64,
    /// Reachable addresses.
    pub reachable: u64,
    /// Good peers.
    pub good: u64,
    /// Median height of the good peers, blocks.
    pub height: Option<u32>,
    /// How long good peers let one wait.
    pub latencies: Latencies,
}

impl StoreReader {
    /// The days since `since` (Unix seconds) that have data, oldest first.
    ///
    /// # Errors
    /// The file can't be read (as for each query here).
    pub async fn days(&self, since: i64) -> Result<Vec<Day>, StoreError> {
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        let sizes: Vec<(i64, i64, i64, i64, Option<u32>)> = sqlx::query_as(
            "SELECT day, known, reachable, good, height FROM daily_network WHERE day >= $1",
        )
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        for (day, known, reachable, good, height) in sizes {
            let entry = day_of(&mut days, day);
            (entry.known, entry.reachable) = (unsigned(known), unsigned(reachable));
            (entry.good, entry.height) = (unsigned(good), height);
        }
        let probes: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT day, outcome, probes FROM daily_outcomes WHERE day >= $1 ORDER BY day, outcome",
        )
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        for (day, text, n) in probes {
            let probes = (outcome(&text)?, unsigned(n));
            day_of(&mut days, day).outcomes.push(probes);
        }
        let waits: Vec<(i64, String, u32, u32, u32)> = sqlx::query_as(
            "SELECT day, kind, p50_ms, p90_ms, p99_ms FROM daily_latency WHERE day >= $1",
        )
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        for (day, kind, p50, p90, p99) in waits {
            let latencies = &mut day_of(&mut days, day).latencies;
            let place = match kind.as_str() {
                "connect" => &mut latencies.connect,
                "secure" => &mut latencies.secure,
                _ => &mut latencies.ping,
            };
            *place = Some(Quantiles { p50, p90, p99 });
        }
        Ok(days.into_values().collect())
    }

    /// Good peers by a trait at the end of each day since `since` (Unix seconds), oldest first, the most frequent first.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn daily_shares(
        &self,
        by: Trait,
        since: i64,
    ) -> Result<Vec<(i64, Vec<Share>)>, StoreError> {
        // One text for each day: a year has some 18,000 shares, and as rows of their own they take three times as long.
        let days: Vec<(i64, String)> = sqlx::query_as(
            "SELECT day, json_group_array(json_array(value, peers)) FROM daily_shares \
             WHERE kind = $1 AND day >= $2 GROUP BY day ORDER BY day",
        )
        .bind(by.as_str())
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        let shares = days.into_iter().map(|(day, text)| {
            let read: Result<Vec<(String, i64)>, _> = serde_json::from_str(&text);
            let read = read.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let mut shares: Vec<Share> = read
                .into_iter()
                .map(|(value, peers)| (value, unsigned(peers)))
                .collect();
            shares.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Ok((day, shares))
        });
        shares.collect()
    }

    /// Names of these autonomous systems, as far as they are known.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn system_names(&self, numbers: &[u32]) -> Result<BTreeMap<u32, String>, StoreError> {
        let mut names = BTreeMap::new();
        for number in numbers {
            let name: Option<String> =
                sqlx::query_scalar("SELECT name FROM systems WHERE number = $1")
                    .bind(number)
                    .fetch_optional(&self.pool)
                    .await?;
            names.extend(name.map(|name| (*number, name)));
        }
        Ok(names)
    }
}

fn day_of(days: &mut BTreeMap<i64, Day>, day: i64) -> &mut Day {
    days.entry(day).or_insert_with(|| Day {
        day,
        ..Day::default()
    })
}
