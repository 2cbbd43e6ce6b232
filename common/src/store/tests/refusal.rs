//! Files that are not ours, not of this version, or damaged: refused in words, left as they are.

use super::*;

async fn refused(path: &Path) -> (StoreError, StoreError) {
    let before = std::fs::read(path).unwrap();
    let writer = Store::open(path, options()).await.unwrap_err();
    let reader = StoreReader::open(path).await.unwrap_err();
    assert_eq!(
        std::fs::read(path).unwrap(),
        before,
        "the file must stay as it was"
    );
    (writer, reader)
}

#[tokio::test]
async fn a_newer_schema() {
    let (_dir, path) = scratch();
    Store::open(&path, options())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&mut raw(&path).await)
    .await
    .unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut raw(&path).await)
        .await
        .unwrap();
    let (writer, reader) = refused(&path).await;
    for error in [writer, reader] {
        assert!(
            matches!(error, StoreError::Newer { found: 9999, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

#[tokio::test]
async fn a_foreign_database() {
    let (_dir, path) = scratch();
    let mut other = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::query("CREATE TABLE bookmarks (url TEXT)")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    let (writer, reader) = refused(&path).await;
    assert!(matches!(writer, StoreError::Foreign { .. }), "{writer}");
    assert!(matches!(reader, StoreError::Foreign { .. }), "{reader}");
}

#[tokio::test]
async fn another_network() {
    let (_dir, path) = scratch();
    Store::open(&path, options())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let other = StoreOptions {
        network: "testnet".to_owned(),
        ..options()
    };
    let error = Store::open(&path, other).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongNetwork { .. }), "{error}");
    let other = StoreOptions {
        genesis: "11".repeat(32),
        ..options()
    };
    let error = Store::open(&path, other).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("one data directory for each network"),
        "{error}"
    );
}

#[tokio::test]
async fn junk_and_damage() {
    let (_dir, path) = scratch();
    std::fs::write(
        &path,
        b"this is no database, just some text that is long enough".repeat(100),
    )
    .unwrap();
    let (writer, reader) = refused(&path).await;
    assert!(matches!(writer, StoreError::Corrupt { .. }), "{writer}");
    assert!(matches!(reader, StoreError::Corrupt { .. }), "{reader}");
}

#[tokio::test]
async fn a_missing_file_or_directory() {
    let (dir, path) = scratch();
    let error = StoreReader::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!path.exists(), "a reader creates nothing");
    let nowhere = dir.path().join("no/such/directory/crawl.sqlite");
    let error = Store::open(&nowhere, options()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("check that the directory exists"),
        "{error}"
    );
}
