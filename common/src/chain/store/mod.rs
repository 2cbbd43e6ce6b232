//! Headers, blocks, undo data and coins on disk: append-only files, one database, one lock.
//!
//! ```text
//! LOCK            held while a process uses the directory
//! chain.state     format and network, written once
//! headers.dat     groups of at most 2,000 headers in order of acceptance, parents first
//! blk00000.dat …  blocks whose bodies are right, parents first; a file is closed once it has 128 MiB
//! rev00000.dat …  undo data of connected blocks
//! coins/          the database: unspent outputs, places of blocks, the tip
//! ```
//!
//! The database is the one commit point: a flush first makes the files durable, then writes one batch that
//! says up to where. What the files hold beyond that is read again when the directory is opened. `records`
//! tells a torn tail from damage; `docs/chain.md` has the whole story.

mod blocks;
mod database;
mod headers;
mod records;
mod rolling;
mod state;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use bitcoin::BlockHash;
use bitcoin::block::Header;

pub(super) use self::blocks::{BlockReader, BlockStore};
pub(super) use self::database::{Database, Mark, Standing};
pub(super) use self::headers::HeadersFile;
use self::state::State;
pub(super) use super::error::StoreError;
use super::tree::Location;
use crate::chain_spec::ChainSpec;

/// When files are closed and what has gathered is flushed. Tests use small numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes after which a file is closed: 128 MiB, as in Bitcoin's own files.
    pub(super) roll_bytes: u64,
    /// Changed coins after which a batch of blocks flushes: about 15 MB of memory.
    pub(super) flush_changes: usize,
    /// Bytes of blocks after which a batch of blocks flushes: bounds what is verified again after a crash.
    pub(super) flush_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            roll_bytes: 128 << 20,
            flush_changes: 100_000,
            flush_bytes: 64 << 20,
        }
    }
}

/// The parts of an open data directory, and what the files hold beyond the last flush.
pub(super) struct Opened {
    pub(super) headers: HeadersFile,
    pub(super) blocks: BlockStore,
    /// `None` in a new directory.
    pub(super) mark: Option<Mark>,
    /// Blocks beyond the last flush, in order.
    pub(super) unflushed: Vec<(Header, Location)>,
}

/// What is given the headers that are read.
pub(super) trait Load {
    /// About how many headers will come, judged by the file's size.
    fn expect_headers(&mut self, count: usize);
    /// The hashes of the headers that come next, some thousands at most.
    fn expect_hashes<'a>(&mut self, hashes: impl Iterator<Item = &'a BlockHash>);
    /// A header that was accepted, and its hash. An error text makes it damage.
    fn header(&mut self, header: &Header, hash: BlockHash) -> Result<(), String>;
}

/// Opens or creates the directory for `spec`'s chain, and gives all headers to `load`.
pub(super) fn open(
    spec: &ChainSpec,
    dir: &Path,
    limits: Limits,
    load: &mut (impl Load + Send),
) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
    let lock = lock(dir)?;
    let chain = format!("{} {}", spec.network, spec.genesis_hash());
    match State::read(dir)? {
        Some(state) if state.chain != chain => {
            return Err(StoreError::WrongNetwork {
                dir: dir.into(),
                found: state.chain,
                expected: chain,
            });
        }
        Some(state) if state.format == state::FORMAT => {}
        // An older format's files are read as they are; the database is made anew from them.
        Some(_) => State::new(chain).write(dir)?,
        None => create(dir, chain)?,
    }
    let database = Database::open(dir)?;
    let mark = database.mark()?;
    load.expect_headers(HeadersFile::estimate(dir));
    let flushed = mark.map_or(0, |mark| mark.headers);
    let headers = HeadersFile::open(dir, flushed, load)?;
    let mut unflushed = Vec::new();
    let blocks = BlockStore::open(
        spec,
        dir,
        limits,
        lock,
        database,
        mark,
        |location, header| unflushed.push((header, location)),
    )?;
    // The files that were made.
    state::sync_dir(dir)?;
    Ok(Opened {
        headers,
        blocks,
        mark,
        unflushed,
    })
}

/// Holds the directory for this process.
#[derive(Debug)]
struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process between fork and exec has it open too.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "could not unlock the data directory");
        }
    }
}

fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| io_error("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path, source)),
    }
}

/// Starts a directory that has no state file: it must have no chain either.
fn create(dir: &Path, chain: String) -> Result<(), StoreError> {
    for path in [HeadersFile::path(dir), blocks::first_file(dir)] {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            let what = format!("the file is missing, but {} is there", path.display());
            return Err(damaged(&State::path(dir), 0, what));
        }
    }
    State::new(chain).write(dir)
}

fn damaged(path: &Path, offset: u64, what: String) -> StoreError {
    StoreError::Damaged {
        path: path.into(),
        offset,
        what,
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::DiskFull { path, source }
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => StoreError::NotWritable { path, source },
        _ => StoreError::Io {
            action,
            path,
            source,
        },
    }
}
