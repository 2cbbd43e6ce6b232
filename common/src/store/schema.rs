//! Opening a file: ours, of the right version and network, or a clear refusal. Never wipes anything.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::StoreError;
use crate::reachability::GoodPolicy;

/// The numbered SQL of `migrations/sqlite`, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Marks a SQLite file as a crawl store (`PRAGMA application_id`): the bytes "QTCs".
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"QTCs");

/// How long a statement waits for another connection's lock. WAL readers never block the writer, so only a
/// checkpoint or a foreign tool can make it wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer's page cache (KiB, so negative): what a crawl of some hundred thousand addresses touches again and again. With
/// SQLite's 2 MB each batch reads most pages anew.
const WRITER_CACHE: &str = "-65536";

/// Pages (4 KiB) in the write-ahead log after which it is folded into the file: 32 MB, so that a page that every batch
/// changes is not written into the file as often.
const CHECKPOINT_PAGES: &str = "8192";

/// Rows that SQLite's thread may be ahead of us: with few, the two threads wait for each other at every row, which costs more
/// than the rows.
const ROWS_AHEAD: usize = 512;

/// Whose crawl it is and what counts as good in it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOptions {
    /// Name of the network.
    pub network: String,
    /// Hash of its first block, as displayed.
    pub genesis: String,
    /// Thresholds of a good peer; kept in the store, so that each reader judges alike. A store that has some keeps them
    /// ([`super::Write::Policy`] sets others).
    pub policy: GoodPolicy,
}

/// Opens or creates the file for writing, migrates it, and ties it to the network.
pub(super) async fn open_writer(
    path: &Path,
    options: &StoreOptions,
) -> Result<SqliteConnection, StoreError> {
    let at_open = |e| StoreError::at_open(path, e);
    if path.exists() {
        inspect(path).await?;
    }
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROWS_AHEAD)
        .foreign_keys(true)
        // What a statement of many rows would undo is kept in memory, not in a file.
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", WRITER_CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("application_id", APPLICATION_ID.to_string())
        .connect()
        .await
        .map_err(at_open)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => at_open(e),
            other => StoreError::Corrupt {
                path: path.to_owned(),
                reason: other.to_string(),
            },
        })?;
    claim(path, &mut connection, options).await?;
    Ok(connection)
}

/// Options for read-only connections, after the file was found to be ours and of this version.
pub(super) async fn open_reader(path: &Path) -> Result<SqliteConnectOptions, StoreError> {
    let (found, supported) = (inspect(path).await?, newest());
    if found < supported {
        return Err(StoreError::Older {
            path: path.to_owned(),
            found,
            supported,
        });
    }
    Ok(reader_options(path))
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROWS_AHEAD)
        .pragma("query_only", "ON")
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Looks at an existing file without changing it; returns its schema version, 0 for an empty database.
async fn inspect(path: &Path) -> Result<i64, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let at_open = |e| StoreError::at_open(path, e);
    let mut connection = reader_options(path).connect().await.map_err(at_open)?;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .fetch_all(&mut connection)
            .await
            .map_err(at_open)?;
    let application: i32 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await
        .map_err(at_open)?;
    let found: i64 = if tables.iter().any(|t| t == "_sqlx_migrations") {
        sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .map_err(at_open)?
    } else {
        0
    };
    if application != APPLICATION_ID && !(application == 0 && tables.is_empty()) {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    if found > newest() {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            supported: newest(),
        });
    }
    Ok(found)
}

/// Writes the network's name and the policy into a new store, or compares the name with an old one's.
async fn claim(
    path: &Path,
    connection: &mut SqliteConnection,
    options: &StoreOptions,
) -> Result<(), StoreError> {
    for (key, value) in [("network", &options.network), ("genesis", &options.genesis)] {
        sqlx::query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    let row = sqlx::query(
        "SELECT (SELECT value FROM meta WHERE key = 'network'), \
                (SELECT value FROM meta WHERE key = 'genesis')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (network, genesis): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if network != options.network || genesis != options.genesis {
        return Err(StoreError::WrongNetwork {
            path: path.to_owned(),
            found: format!("{network} (genesis {genesis})"),
            expected: format!("{} (genesis {})", options.network, options.genesis),
        });
    }
    if get_meta(connection, "good_policy").await?.is_none() {
        set_policy(connection, &options.policy).await?;
    }
    Ok(())
}

async fn get_meta(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT value FROM meta WHERE key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await
}

/// Sets the thresholds of a good peer.
pub(super) async fn set_policy(
    connection: &mut SqliteConnection,
    policy: &GoodPolicy,
) -> Result<(), StoreError> {
    let policy = serde_json::to_string(policy).map_err(|e| StoreError::Value {
        column: "good_policy",
        reason: e.to_string(),
    })?;
    Ok(set_meta(connection, "good_policy", &policy).await?)
}

/// Sets one fact about the store.
pub(super) async fn set_meta(
    connection: &mut SqliteConnection,
    key: &str,
    value: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ($1, $2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(connection)
    .await
    .map(|_| ())
}
