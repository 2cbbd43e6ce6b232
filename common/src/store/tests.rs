//! Tests of the store through its public face, on real files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::reachability::{GoodPolicy, Outcome, Stage, Transports};

mod crash;
mod days;
mod refusal;
mod summaries;

pub(super) const T0: i64 = 1_800_000_000;

pub(super) fn options() -> StoreOptions {
    StoreOptions {
        network: "devnet".to_owned(),
        genesis: "00".repeat(32),
        policy: GoodPolicy {
            allow_private_addresses: true,
            max_netgroup_percent: 100,
            ..GoodPolicy::default()
        },
    }
}

pub(super) fn scratch() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("crawl.sqlite");
    (dir, path)
}

pub(super) fn addr(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([127, b, c, d], 8333))
}

pub(super) fn probe(n: u32, at: i64, outcome: Outcome) -> Write {
    let ok = outcome == Outcome::Ok;
    Write::Probe(Box::new(ProbeRecord {
        addr: addr(n),
        at,
        outcome,
        stage: if ok { Stage::Done } else { Stage::Dial },
        duration_ms: 12,
        next_due: at + 1_500,
        failures: u32::from(!ok),
        observed: if ok {
            observation(n)
        } else {
            Observation::default()
        },
        heard: Heard::default(),
    }))
}

fn observation(n: u32) -> Observation {
    Observation {
        services: Some(u64::MAX),
        protocol_version: Some(70_015),
        user_agent: Some("/test:1/".to_owned()),
        start_height: Some(100),
        proved_height: Some(100),
        relay: Some(true),
        clock_offset_secs: Some(-3),
        transports: Some(Transports::NOISE),
        node_id: Some([n.to_le_bytes()[0]; 32]),
        connect_ms: Some(1),
        secure_ms: Some(2),
        ping_ms: Some(3),
        told_addresses: None,
        place: None,
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

async fn count(path: &Path, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(&mut raw(path).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_passed_probe_makes_a_good_peer_at_once() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let before = reader.generation().await.unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    store.write(probe(2, T0, Outcome::Refused)).await.unwrap();
    store.flush().await.unwrap();
    assert!(reader.generation().await.unwrap() > before);
    let good = reader.good_peers(T0 + 10).await.unwrap();
    assert_eq!(good.peers.len(), 1);
    let peer = &good.peers[0];
    assert_eq!(peer.addr, addr(1));
    assert_eq!(peer.services, u64::MAX, "all 64 bits survive");
    assert_eq!(peer.node_id, Some([1; 32]));
    assert_eq!(
        (peer.height, peer.protocol_version, peer.last_ok_at),
        (100, 70_015, T0)
    );
    assert_eq!(peer.transports, Transports::NOISE);
    assert_eq!((good.newest_probe_at, good.stale), (Some(T0), false));
    store
        .write(probe(1, T0 + 20, Outcome::TimeoutConnect))
        .await
        .unwrap();
    store.flush().await.unwrap();
    assert!(reader.good_peers(T0 + 20).await.unwrap().peers.is_empty());
}

#[tokio::test]
async fn the_last_known_good_set_outlives_the_crawler_and_is_marked_stale() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    for n in 0..20 {
        store
            .write(probe(n, T0 - i64::from(n), Outcome::Ok))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let max_age = options().policy.max_age_secs;
    for (now, stale) in [
        (T0 + max_age, false),
        (T0 + max_age + 1, true),
        (T0 + 100 * max_age, true),
    ] {
        let good = reader.good_peers(now).await.unwrap();
        assert_eq!(
            (good.peers.len(), good.stale),
            (20, stale),
            "at {}",
            now - T0
        );
    }
}

#[tokio::test]
async fn an_outage_of_our_own_freezes_the_statistics() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    store.write(Write::Frozen(Some(T0 + 5))).await.unwrap();
    for i in 0..10 {
        store
            .write(probe(1, T0 + 10 + i, Outcome::LocalNetworkDown))
            .await
            .unwrap();
    }
    store.flush().await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let good = reader.good_peers(T0 + 30).await.unwrap();
    assert_eq!((good.peers.len(), good.stale), (1, true));
    store.write(Write::Frozen(None)).await.unwrap();
    store.flush().await.unwrap();
    assert!(!reader.good_peers(T0 + 30).await.unwrap().stale);
    assert_eq!(count(&path, "SELECT probes FROM reliability").await, 1);
    assert_eq!(
        count(&path, "SELECT SUM(probes) FROM hourly_outcomes").await,
        11
    );
}

#[tokio::test]
async fn history_is_bounded_and_keeps_the_newest() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    for i in 0..100 {
        store.write(probe(1, T0 + i, Outcome::Ok)).await.unwrap();
        if i % 7 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.close().await.unwrap();
    assert_eq!(
        count(&path, "SELECT COUNT(*) FROM probes").await,
        i64::from(PROBES_KEPT)
    );
    let oldest = count(&path, "SELECT MIN(at) FROM probes").await;
    assert_eq!(oldest, T0 + 100 - i64::from(PROBES_KEPT));
    assert_eq!(count(&path, "SELECT probes FROM reliability").await, 100);
    assert_eq!(
        count(&path, "SELECT SUM(probes) FROM hourly_outcomes").await,
        100
    );
}

#[tokio::test]
async fn sightings_add_up_and_never_touch_a_schedule() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let told = |at, source: &str| {
        let source = source.to_owned();
        Write::Sighting(Sighting {
            address: addr(1).into(),
            at,
            source,
            times: 1,
            told_by: 0,
            next_due: at,
        })
    };
    store.write(told(T0, "dns:seed1")).await.unwrap();
    store.write(told(T0 + 5, "manual")).await.unwrap();
    store.flush().await.unwrap();
    store.write(probe(1, T0 + 6, Outcome::Ok)).await.unwrap();
    store.write(told(T0 + 9, "manual")).await.unwrap();
    store.close().await.unwrap();
    let row: (String, i64, i64, i64, i64) =
        sqlx::query_as("SELECT source, sources, first_seen, last_seen, next_due FROM addresses")
            .fetch_one(&mut raw(&path).await)
            .await
            .unwrap();
    assert_eq!(row, ("dns:seed1".to_owned(), 3, T0, T0 + 9, T0 + 6 + 1_500));
}

#[tokio::test]
async fn forgetting_removes_all_but_the_totals_and_can_be_undone() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    store.flush().await.unwrap();
    store
        .write(probe(1, T0 + 1, Outcome::Refused))
        .await
        .unwrap();
    store.write(Write::Forget(addr(1))).await.unwrap();
    store.flush().await.unwrap();
    for table in [
        "SELECT COUNT(*) FROM addresses",
        "SELECT COUNT(*) FROM peers",
        "SELECT COUNT(*) FROM probes",
    ] {
        assert_eq!(count(&path, table).await, 0, "{table}");
    }
    assert_eq!(
        count(&path, "SELECT SUM(probes) FROM hourly_outcomes").await,
        2
    );
    // In one batch: forgotten, then heard of again and probed.
    store.write(Write::Forget(addr(1))).await.unwrap();
    store.write(probe(1, T0 + 3, Outcome::Ok)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(count(&path, "SELECT COUNT(*) FROM peers").await, 1);
}

#[tokio::test]
async fn a_changed_identity_is_an_event() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    let Write::Probe(mut changed) = probe(1, T0 + 1, Outcome::Ok) else {
        unreachable!()
    };
    changed.observed.node_id = Some([0xee; 32]);
    store.write(Write::Probe(changed)).await.unwrap();
    store.flush().await.unwrap();
    store.write(probe(1, T0 + 2, Outcome::Ok)).await.unwrap();
    store.close().await.unwrap();
    let n = count(
        &path,
        "SELECT COUNT(*) FROM events WHERE kind = 'identity_changed'",
    )
    .await;
    assert!(n >= 1, "{n}");
}

#[tokio::test]
async fn a_long_user_agent_is_cut() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let Write::Probe(mut p) = probe(1, T0, Outcome::Ok) else {
        unreachable!()
    };
    p.observed.user_agent = Some("é".repeat(5_000));
    store.write(Write::Probe(p)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(
        count(&path, "SELECT length(user_agent) FROM peers").await,
        256
    );
}

/// Another program holds the file: writes wait in memory, health says so, and nothing is lost.
#[tokio::test]
async fn a_locked_file_holds_writes_back_and_recovers() {
    let (_dir, path) = scratch();
    let mut connection = schema::open_writer(&path, &options()).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 20")
        .execute(&mut connection)
        .await
        .unwrap();
    let store = Store::start(connection);
    let mut health = store.health();
    let mut other = raw(&path).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    assert!(store.flush().await.is_err());
    let report = health
        .wait_for(|h| h.error.is_some())
        .await
        .unwrap()
        .clone();
    assert!(report.error.unwrap().contains("locked"));
    store.write(probe(2, T0, Outcome::Ok)).await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    health
        .wait_for(|h| h.error.is_none() && h.commits > 0)
        .await
        .unwrap();
    store.close().await.unwrap();
    assert_eq!(count(&path, "SELECT COUNT(*) FROM peers").await, 2);
}

/// SQLite itself reports a full disk (`SQLITE_FULL`) when its page limit is reached.
#[tokio::test]
async fn a_full_disk_turns_health_red_and_memory_stays_bounded() {
    let (_dir, path) = scratch();
    let mut connection = schema::open_writer(&path, &options()).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let limit = format!("PRAGMA max_page_count = {}", pages + 2);
    sqlx::query(sqlx::AssertSqlSafe(limit))
        .execute(&mut connection)
        .await
        .unwrap();
    let store = Store::start(connection);
    let mut health = store.health();
    for n in 0..60_000 {
        store.write(probe(n, T0, Outcome::Ok)).await.unwrap();
    }
    let report = health
        .wait_for(|h| h.error.is_some() && h.dropped > 0)
        .await
        .unwrap()
        .clone();
    assert!(report.error.unwrap().contains("full"));
    assert!(report.held <= batch::HELD);
    let reader = StoreReader::open(&path).await.unwrap();
    assert!(
        reader.good_peers(T0).await.unwrap().peers.is_empty(),
        "readable meanwhile"
    );
}

#[tokio::test]
async fn readers_do_not_block_the_writer_nor_see_half_a_batch() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    for round in 0..5u32 {
        for n in 0..200 {
            store
                .write(probe(round * 200 + n, T0, Outcome::Ok))
                .await
                .unwrap();
        }
        let (flushed, seen) = tokio::join!(store.flush(), reader.good_peers(T0));
        flushed.unwrap();
        assert_eq!(seen.unwrap().peers.len() % 200, 0);
    }
    store.close().await.unwrap();
    assert_eq!(reader.good_peers(T0).await.unwrap().peers.len(), 1_000);
    raw(&path).await.close().await.unwrap();
}

/// The flood that a fast crawl makes: prints the rate; the bound is far above what any machine needs.
#[tokio::test]
async fn a_hundred_thousand_probes_are_written_in_bounded_time() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let start = std::time::Instant::now();
    for n in 0..100_000u32 {
        store.write(probe(n, T0, Outcome::Ok)).await.unwrap();
    }
    store.close().await.unwrap();
    let took = start.elapsed();
    println!("100,000 probes of 100,000 addresses written in {took:?}");
    assert!(took.as_secs() < 60, "{took:?}");
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(reader.good_peers(T0).await.unwrap().peers.len(), 100_000);
}
