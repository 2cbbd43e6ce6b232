//! What can go wrong with a store, in words that say what to do.

use std::path::{Path, PathBuf};

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such file (readers never create one).
    #[error("{}: no such store; start the crawler first, or check the data directory", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error(
        "{}: schema version {found} is newer than {supported}, the newest that this program knows; \
         upgrade this program (the file was left as it is)", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version that we know.
        supported: i64,
    },
    /// Written by an older program; only the writer migrates.
    #[error(
        "{}: schema version {found} is older than {supported}; start the crawler of this version once, \
         it will migrate the file", path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Version that we need.
        supported: i64,
    },
    /// A SQLite database of another program.
    #[error(
        "{}: this SQLite database is not a crawl store; choose another file (it was left as it is)",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The crawl of another network.
    #[error(
        "{}: holds the crawl of {found}, not of {expected}; use one data directory for each network",
        path.display()
    )]
    WrongNetwork {
        /// The file.
        path: PathBuf,
        /// Network (and genesis) in the file.
        found: String,
        /// Network (and genesis) asked for.
        expected: String,
    },
    /// Not a database, or a damaged one.
    #[error(
        "{}: damaged or not a SQLite database: {reason}; move it aside and start again, or restore a backup",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The file or its directory can't be opened or created.
    #[error("{}: cannot open the store: {reason}; check that the directory exists and is writable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A statement failed.
    #[error("store: {0}")]
    Query(#[from] sqlx::Error),
    /// A stored value that this program can't understand.
    #[error("store: unreadable value in {column}: {reason}")]
    Value {
        /// Column or key.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// SQLite primary result codes that mean a damaged file: `SQLITE_CORRUPT` and `SQLITE_NOTADB`.
const DAMAGED: [i32; 2] = [11, 26];

impl StoreError {
    /// Names the file in an error that SQLite gave while opening it.
    pub(super) fn at_open(path: &Path, error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(code) if DAMAGED.contains(&code) => Self::Corrupt {
                path: path.to_owned(),
                reason: error.to_string(),
            },
            _ => Self::Open {
                path: path.to_owned(),
                reason: error.to_string(),
            },
        }
    }
}

/// The primary SQLite result code; extended codes carry it in their low byte.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
