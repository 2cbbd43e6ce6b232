//! Headers and blocks on disk: append-only files, one state file, one lock.
//!
//! ```text
//! LOCK            held while a process uses the directory
//! chain.state     format, network, and up to where the files below are flushed
//! headers.dat     groups of at most 2,000 headers in order of acceptance, parents first
//! blk00000.dat …  verified blocks, parents first; a file is closed once it has 128 MiB
//! ```
//!
//! Nothing but appended records and replaced files: after `kill -9` the files hold every finished write, and
//! after a power failure at least all that was flushed. `records` tells a torn tail from damage.

mod records;
mod state;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;

use self::records::{Framing, HEAD, RecordFile};
use self::state::State;
pub(super) use super::error::StoreError;
use super::tree::Location;
use crate::chain_spec::ChainSpec;

/// Start of each group of headers: "QHDR".
const HEADERS_MAGIC: [u8; 4] = *b"QHDR";
/// Most headers of one group: what one message carries.
const GROUP: usize = 2_000;

/// Groups of headers that may wait between the two threads that load them: about 250 kB each.
const WAITING_GROUPS: usize = 8;

/// When files are closed and flushed. Tests use small numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes after which a blocks file is closed: 128 MiB, as in Bitcoin's own files.
    pub(super) roll_bytes: u64,
    /// Blocks after which an append flushes: bounds what a power failure loses, at a small cost each.
    pub(super) flush_blocks: u32,
    /// Bytes after which an append flushes.
    pub(super) flush_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            roll_bytes: 128 << 20,
            flush_blocks: 1_000,
            flush_bytes: 16 << 20,
        }
    }
}

/// What [`Store::open`] reads from the files, in order: all headers, then all blocks.
pub(super) trait Load {
    /// About how many headers will come, judged by the file's size.
    fn expect_headers(&mut self, count: usize);
    /// The hashes of the headers that come next, some thousands at most.
    fn expect_hashes<'a>(&mut self, hashes: impl Iterator<Item = &'a BlockHash>);
    /// A header that was accepted, and its hash. An error text makes it damage.
    fn header(&mut self, header: &Header, hash: BlockHash) -> Result<(), String>;
    /// A block that was verified.
    fn block(&mut self, header: &Header, location: Location) -> Result<(), String>;
}

/// The writer of one data directory.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    chain: String,
    framing: Framing,
    limits: Limits,
    headers: RecordFile,
    blocks: RecordFile,
    blocks_file: u32,
    unflushed_blocks: u32,
    unflushed_bytes: u64,
    stopped: bool,
    _lock: DirLock,
}

impl Store {
    /// Opens or creates the directory for `spec`'s chain and gives all that is in it to `load`.
    pub(super) fn open(
        spec: &ChainSpec,
        dir: &Path,
        limits: Limits,
        load: &mut (impl Load + Send),
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let lock = lock(dir)?;
        let chain = format!("{} {}", spec.network, spec.genesis_hash());
        let state = match State::read(dir)? {
            Some(state) => state,
            None => create(dir, &chain)?,
        };
        if state.chain != chain {
            return Err(StoreError::WrongNetwork {
                dir: dir.into(),
                found: state.chain,
                expected: chain,
            });
        }
        let framing = block_framing(spec);
        let headers = load_headers(dir, &state, load)?;
        let (blocks_file, blocks) = load_blocks(dir, framing, &state, load)?;
        let mut store = Self {
            dir: dir.into(),
            chain,
            framing,
            limits,
            headers,
            blocks,
            blocks_file,
            unflushed_blocks: 0,
            unflushed_bytes: 0,
            stopped: false,
            _lock: lock,
        };
        store.flush()?;
        Ok(store)
    }

    /// Appends accepted headers.
    pub(super) fn append_headers(&mut self, headers: &[Header]) -> Result<(), StoreError> {
        self.guarded(|store| {
            for group in headers.chunks(GROUP) {
                let data = encode_headers(group);
                store.headers.append(&data)?;
                store.unflushed_bytes += data.len() as u64;
            }
            Ok(())
        })
    }

    /// Replaces the headers file by one with only these headers (parents first).
    pub(super) fn rewrite_headers(
        &mut self,
        headers: impl Iterator<Item = Header>,
    ) -> Result<(), StoreError> {
        self.guarded(|store| {
            let aside = store.dir.join("headers.dat.new");
            match fs::remove_file(&aside) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &aside, source));
                }
                _ => {}
            }
            let mut file =
                RecordFile::open(aside.clone(), headers_framing(), 0, false, |_, _| Ok(()))?;
            let mut group = Vec::with_capacity(GROUP);
            let mut headers = headers.peekable();
            while headers.peek().is_some() {
                group.clear();
                group.extend(headers.by_ref().take(GROUP));
                file.append(&encode_headers(&group))?;
            }
            file.sync()?;
            // Between these two steps the mark must fit both files: none of it is certain.
            store.write_state(0)?;
            let path = store.dir.join("headers.dat");
            fs::rename(&aside, &path).map_err(|source| io_error("replace", &path, source))?;
            state::sync_dir(&store.dir)?;
            let len = file.len();
            store.headers = RecordFile::open(path, headers_framing(), len, true, |_, _| Ok(()))?;
            store.flush()
        })
    }

    /// Appends a verified block; flushes when enough has gathered.
    pub(super) fn append_block(&mut self, block: &[u8]) -> Result<Location, StoreError> {
        self.guarded(|store| {
            if store.blocks.len() >= store.limits.roll_bytes {
                store.roll()?;
            }
            let offset = store.blocks.append(block)?;
            store.unflushed_blocks += 1;
            store.unflushed_bytes += (HEAD + block.len()) as u64;
            // A file is closed at 128 MiB, one block later at most: far below 4 GiB.
            Ok(Location {
                file: store.blocks_file,
                offset: offset as u32,
            })
        })
    }

    /// Whether enough has gathered for a flush.
    pub(super) fn wants_flush(&self) -> bool {
        self.unflushed_blocks >= self.limits.flush_blocks
            || self.unflushed_bytes >= self.limits.flush_bytes
    }

    /// Waits until all that was appended is on disk, and notes that it is.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| {
            // Headers first: a block on disk whose header is not would have to bring it along.
            store.headers.sync()?;
            store.blocks.sync()?;
            store.write_state(store.headers.len())?;
            store.unflushed_blocks = 0;
            store.unflushed_bytes = 0;
            Ok(())
        })
    }

    /// Whether anything waits for a flush.
    pub(super) fn is_dirty(&self) -> bool {
        !self.stopped && (self.unflushed_blocks > 0 || self.unflushed_bytes > 0)
    }

    pub(super) fn reader(&self) -> BlockReader {
        BlockReader {
            dir: self.dir.clone(),
            framing: self.framing,
        }
    }

    fn write_state(&self, headers_bytes: u64) -> Result<(), StoreError> {
        State {
            chain: self.chain.clone(),
            headers_bytes,
            blocks_file: self.blocks_file,
            blocks_bytes: self.blocks.len(),
        }
        .write(&self.dir)
    }

    /// Closes the blocks file, flushed as a whole, and starts the next.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let next = self.blocks_file.saturating_add(1);
        self.blocks = RecordFile::open(
            blocks_path(&self.dir, next),
            self.framing,
            0,
            false,
            |_, _| Ok(()),
        )?;
        self.blocks_file = next;
        state::sync_dir(&self.dir)
    }

    /// Runs a write; after one that failed, no more are tried, since the files' ends are not certain.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped {
                dir: self.dir.clone(),
            });
        }
        let result = write(self);
        if let Err(error) = &result {
            self.stopped = true;
            tracing::error!(%error, "the chain's files can't be written any more");
        }
        result
    }

    /// Puts another file in the place of the blocks file, to see what failing writes do.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_blocks_file(&mut self, file: File) {
        self.blocks.replace_file(file);
    }
}

/// Reads blocks without the writer's lock: records never change once they are written.
#[derive(Debug, Clone)]
pub(super) struct BlockReader {
    dir: PathBuf,
    framing: Framing,
}

impl BlockReader {
    pub(super) fn read(&self, location: Location) -> Result<Vec<u8>, StoreError> {
        records::read_at(
            &blocks_path(&self.dir, location.file),
            self.framing,
            location.offset.into(),
        )
    }
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
fn create(dir: &Path, chain: &str) -> Result<State, StoreError> {
    for path in [dir.join("headers.dat"), blocks_path(dir, 0)] {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(damaged(
                &State::path(dir),
                0,
                format!("the file is missing, but {} is there", path.display()),
            ));
        }
    }
    let state = State {
        chain: chain.into(),
        headers_bytes: 0,
        blocks_file: 0,
        blocks_bytes: 0,
    };
    state.write(dir)?;
    Ok(state)
}

/// Loads all headers: one thread reads, checks and hashes them, another one takes them in.
fn load_headers(
    dir: &Path,
    state: &State,
    load: &mut (impl Load + Send),
) -> Result<RecordFile, StoreError> {
    let path = dir.join("headers.dat");
    let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    load.expect_headers(usize::try_from(bytes).unwrap_or(0) / Header::SIZE);
    let (sender, groups) = mpsc::sync_channel::<(u64, Vec<Hashed>)>(WAITING_GROUPS);
    let path = path.as_path();
    std::thread::scope(|scope| {
        let taking = scope.spawn(move || {
            for (offset, group) in groups {
                load.expect_hashes(group.iter().map(|(_, hash)| hash));
                group
                    .iter()
                    .try_for_each(|(header, hash)| load.header(header, *hash))
                    .map_err(|what| damaged(path, offset, what))?;
            }
            Ok(())
        });
        let file = RecordFile::open(
            path.to_owned(),
            headers_framing(),
            state.headers_bytes,
            false,
            |offset, data| {
                let group = hash_group(data).map_err(|what| damaged(path, offset, what))?;
                // The other thread ends early only with an error, which is the one that counts below.
                let gone = |_| damaged(path, offset, "a header before this was refused".into());
                sender.send((offset, group)).map_err(gone)
            },
        );
        drop(sender);
        match taking.join() {
            Ok(taken) => taken.and(file),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A header and its hash.
type Hashed = (Header, BlockHash);

fn hash_group(data: &[u8]) -> Result<Vec<Hashed>, String> {
    if !data.len().is_multiple_of(Header::SIZE) {
        return Err("a group is not whole headers".into());
    }
    data.chunks(Header::SIZE)
        .map(|bytes| {
            let hash = BlockHash::hash(bytes);
            decode_header(bytes).map(|header| (header, hash))
        })
        .collect()
}

/// Loads all blocks files; gives the number of the last and the file, open for appending.
fn load_blocks(
    dir: &Path,
    framing: Framing,
    state: &State,
    load: &mut impl Load,
) -> Result<(u32, RecordFile), StoreError> {
    let mut number = 0;
    loop {
        let path = blocks_path(dir, number);
        let next_exists = blocks_path(dir, number.saturating_add(1)).exists();
        if number < state.blocks_file && !path.exists() {
            return Err(damaged(&path, 0, "the file is missing".into()));
        }
        let flushed = if number == state.blocks_file {
            state.blocks_bytes
        } else {
            0
        };
        // A file that has a successor was flushed as a whole before it got one.
        let complete = number < state.blocks_file || next_exists;
        let file = RecordFile::open(path.clone(), framing, flushed, complete, |offset, data| {
            let header = decode_header(data.get(..Header::SIZE).unwrap_or_default());
            let location = u32::try_from(offset)
                .map(|offset| Location {
                    file: number,
                    offset,
                })
                .map_err(|_| String::from("the file is larger than any that is written"));
            header
                .and_then(|header| load.block(&header, location?))
                .map_err(|what| damaged(&path, offset, what))
        })?;
        if number >= state.blocks_file && !next_exists {
            return Ok((number, file));
        }
        number += 1;
    }
}

fn blocks_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("blk{number:05}.dat"))
}

fn block_framing(spec: &ChainSpec) -> Framing {
    Framing {
        magic: spec.network_protocol.magic_bytes,
        max_data: spec.consensus.max_block_bytes,
    }
}

fn headers_framing() -> Framing {
    Framing {
        magic: HEADERS_MAGIC,
        max_data: GROUP * Header::SIZE,
    }
}

fn encode_headers(headers: &[Header]) -> Vec<u8> {
    let mut data = Vec::with_capacity(headers.len() * Header::SIZE);
    for header in headers {
        data.extend_from_slice(&serialize(header));
    }
    data
}

fn decode_header(bytes: &[u8]) -> Result<Header, String> {
    deserialize(bytes).map_err(|error| format!("no header: {error}"))
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
