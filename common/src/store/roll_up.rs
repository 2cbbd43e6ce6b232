//! Sums by hour and by day, and what of them is given up after a time.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::model::{Census, NetworkSample, ProbeRecord};
use super::peer_row::signed;
use super::{Churn, StoreError};
use crate::reachability::Outcome;

/// Hours are kept so long, seconds: a quarter of a year for the charts; the days stay.
pub(super) const HOURS_KEPT_SECS: i64 = 92 * 86_400;

/// Days are kept so long, seconds: three years, some 6 MB.
pub(super) const DAYS_KEPT_SECS: i64 = 1_096 * 86_400;

/// Runs, bans that have expired and requests that nobody took up are kept so long, seconds.
const PAST_KEPT_SECS: i64 = 366 * 86_400;

/// Rows that one statement removes at most, so that the writer is never held up.
pub(super) const PRUNED_AT_ONCE: i64 = 500;

/// Start of the hour that holds a time.
pub(super) fn hour_of(at: i64) -> i64 {
    at - at.rem_euclid(3_600)
}

/// Start of the day (UTC) that holds a time.
pub(super) fn day_of(at: i64) -> i64 {
    at - at.rem_euclid(86_400)
}

/// Adds probes to the sums of their hours and days.
pub(super) async fn add_outcomes(
    tx: &mut SqliteConnection,
    probes: &[ProbeRecord],
) -> Result<(), StoreError> {
    let add = |start_of: fn(i64) -> i64| {
        let mut sums: BTreeMap<(i64, Outcome), (i64, i64)> = BTreeMap::new();
        for probe in probes {
            let sum = sums.entry((start_of(probe.at), probe.outcome)).or_default();
            *sum = (sum.0 + 1, sum.1 + i64::from(probe.duration_ms));
        }
        sums
    };
    let hourly = "INSERT INTO hourly_outcomes AS o (hour, outcome, probes, duration_ms) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (hour, outcome) DO UPDATE SET probes = o.probes + excluded.probes, \
        duration_ms = o.duration_ms + excluded.duration_ms";
    let daily = "INSERT INTO daily_outcomes AS o (day, outcome, probes, duration_ms) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (day, outcome) DO UPDATE SET probes = o.probes + excluded.probes, \
        duration_ms = o.duration_ms + excluded.duration_ms";
    for (sql, sums) in [(hourly, add(hour_of)), (daily, add(day_of))] {
        for ((start, outcome), (probes, duration_ms)) in sums {
            sqlx::query(sql)
                .bind(start)
                .bind(outcome.as_str())
                .bind(probes)
                .bind(duration_ms)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// Puts a sample of the network's size in the place of earlier ones of its hour and day.
pub(super) async fn put_size(
    tx: &mut SqliteConnection,
    sample: &NetworkSample,
) -> Result<(), StoreError> {
    let hourly = "INSERT INTO hourly_network (hour, known, reachable, good, height) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (hour) DO UPDATE SET known = excluded.known, reachable = excluded.reachable, \
        good = excluded.good, height = excluded.height";
    let daily = "INSERT INTO daily_network (day, known, reachable, good, height) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (day) DO UPDATE SET known = excluded.known, reachable = excluded.reachable, \
        good = excluded.good, height = excluded.height";
    for (sql, start) in [(hourly, hour_of(sample.at)), (daily, day_of(sample.at))] {
        sqlx::query(sql)
            .bind(start)
            .bind(signed(sample.known))
            .bind(signed(sample.reachable))
            .bind(signed(sample.good))
            .bind(sample.height)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Puts a census in the place of an earlier one of its day.
pub(super) async fn put_census(
    tx: &mut SqliteConnection,
    census: &Census,
) -> Result<(), StoreError> {
    let day = day_of(census.at);
    for sql in [
        "DELETE FROM daily_shares WHERE day = $1",
        "DELETE FROM daily_latency WHERE day = $1",
    ] {
        sqlx::query(sql).bind(day).execute(&mut *tx).await?;
    }
    for (kind, shares) in &census.shares {
        for (value, peers) in shares {
            sqlx::query(
                "INSERT INTO daily_shares (day, kind, value, peers) VALUES ($1, $2, $3, $4)",
            )
            .bind(day)
            .bind(kind.as_str())
            .bind(value)
            .bind(signed(*peers))
            .execute(&mut *tx)
            .await?;
        }
    }
    for (kind, quantiles) in census.latencies.named() {
        let Some(q) = quantiles else { continue };
        sqlx::query(
            "INSERT INTO daily_latency (day, kind, p50_ms, p90_ms, p99_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(day)
        .bind(kind)
        .bind(q.p50)
        .bind(q.p90)
        .bind(q.p99)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Puts who came and went on a day in the place of what was said of it before.
pub(super) async fn put_churn(tx: &mut SqliteConnection, churn: &Churn) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO daily_churn (day, came, gone) VALUES ($1, $2, $3) \
         ON CONFLICT (day) DO UPDATE SET came = excluded.came, gone = excluded.gone",
    )
    .bind(day_of(churn.day))
    .bind(signed(churn.came))
    .bind(signed(churn.gone))
    .execute(tx)
    .await?;
    Ok(())
}

/// Statements that remove rows of before a time, so many at once, and how long each keeps them, seconds.
const PRUNING: [(&str, i64); 10] = [
    (
        "DELETE FROM hourly_outcomes WHERE (hour, outcome) IN \
         (SELECT hour, outcome FROM hourly_outcomes WHERE hour < $1 ORDER BY hour LIMIT $2)",
        HOURS_KEPT_SECS,
    ),
    (
        "DELETE FROM hourly_network WHERE hour IN \
         (SELECT hour FROM hourly_network WHERE hour < $1 ORDER BY hour LIMIT $2)",
        HOURS_KEPT_SECS,
    ),
    (
        "DELETE FROM daily_outcomes WHERE (day, outcome) IN \
         (SELECT day, outcome FROM daily_outcomes WHERE day < $1 ORDER BY day LIMIT $2)",
        DAYS_KEPT_SECS,
    ),
    (
        "DELETE FROM daily_network WHERE day IN \
         (SELECT day FROM daily_network WHERE day < $1 ORDER BY day LIMIT $2)",
        DAYS_KEPT_SECS,
    ),
    (
        "DELETE FROM daily_shares WHERE (day, kind, value) IN \
         (SELECT day, kind, value FROM daily_shares WHERE day < $1 ORDER BY day LIMIT $2)",
        DAYS_KEPT_SECS,
    ),
    (
        "DELETE FROM daily_latency WHERE (day, kind) IN \
         (SELECT day, kind FROM daily_latency WHERE day < $1 ORDER BY day LIMIT $2)",
        DAYS_KEPT_SECS,
    ),
    (
        "DELETE FROM daily_churn WHERE day IN \
         (SELECT day FROM daily_churn WHERE day < $1 ORDER BY day LIMIT $2)",
        DAYS_KEPT_SECS,
    ),
    (
        "DELETE FROM crawls WHERE started_at IN \
         (SELECT started_at FROM crawls WHERE started_at < $1 ORDER BY started_at LIMIT $2)",
        PAST_KEPT_SECS,
    ),
    (
        "DELETE FROM bans WHERE (net, address, bits) IN \
         (SELECT net, address, bits FROM bans WHERE until < $1 LIMIT $2)",
        PAST_KEPT_SECS,
    ),
    (
        "DELETE FROM visit_requests WHERE (net, address, port) IN \
         (SELECT net, address, port FROM visit_requests WHERE at < $1 LIMIT $2)",
        PAST_KEPT_SECS,
    ),
];

/// Names of peers that were forgotten.
const UNUSED_NAMES: &str = "DELETE FROM overlay_names WHERE address IN (SELECT n.address FROM overlay_names n WHERE NOT EXISTS \
    (SELECT 1 FROM addresses a WHERE a.net = 6 AND a.address = n.address) LIMIT $1)";

/// Removes some of what is older than it is kept; returns whether there may be more of it.
pub(super) async fn prune(connection: &mut SqliteConnection, now: i64) -> Result<bool, StoreError> {
    let unused = sqlx::query(UNUSED_NAMES).bind(PRUNED_AT_ONCE);
    let mut most = unused.execute(&mut *connection).await?.rows_affected();
    for (sql, kept) in PRUNING {
        let old = sqlx::query(sql)
            .bind(now.saturating_sub(kept))
            .bind(PRUNED_AT_ONCE);
        let removed = old.execute(&mut *connection).await?.rows_affected();
        most = most.max(removed);
    }
    Ok(i64::try_from(most).is_ok_and(|n| n >= PRUNED_AT_ONCE))
}
