//! The block and undo files with the database above them: what [`super::super::Blockchain`] writes blocks to.

use std::path::{Path, PathBuf};

use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::database::{Database, Mark, Standing};
use super::headers::decode_header;
use super::records::{Framing, HEAD};
use super::rolling::{End, RollingFiles, Row};
use super::{DirLock, Limits, StoreError, damaged};
use crate::chain::BlockRef;
use crate::chain::coins::{CoinCache, Undo};
use crate::chain::tree::Location;
use crate::chain_spec::ChainSpec;

/// Start of each record of undo data: "QREV".
const UNDO_MAGIC: [u8; 4] = *b"QREV";
const BLOCKS_PREFIX: &str = "blk";
const UNDO_PREFIX: &str = "rev";

/// The writer of blocks, undo data and the database.
#[derive(Debug)]
pub(in crate::chain) struct BlockStore {
    dir: PathBuf,
    limits: Limits,
    blocks: RollingFiles,
    undo: RollingFiles,
    reader: BlockReader,
    database: Database,
    unflushed_bytes: u64,
    stopped: bool,
    _lock: DirLock,
}

impl BlockStore {
    pub(super) fn open(
        spec: &ChainSpec,
        dir: &Path,
        limits: Limits,
        lock: DirLock,
        database: Database,
        mark: Option<Mark>,
        mut unflushed: impl FnMut(Location, Header),
    ) -> Result<Self, StoreError> {
        let reader = BlockReader::new(spec, dir);
        let (blocks_end, undo_end) =
            mark.map_or_else(Default::default, |mark| (mark.blocks, mark.undo));
        let row = reader.blocks.clone();
        let blocks = RollingFiles::open(row, limits.roll_bytes, blocks_end, |location, data| {
            let header = decode_header(data.get(..Header::SIZE).unwrap_or_default());
            let header = header.map_err(|what| {
                let path = reader.blocks.path(location.file);
                damaged(&path, location.offset.into(), what)
            })?;
            unflushed(location, header);
            Ok(())
        })?;
        let undo = RollingFiles::open_cut(reader.undo.clone(), limits.roll_bytes, undo_end)?;
        Ok(Self {
            dir: dir.into(),
            limits,
            blocks,
            undo,
            reader,
            database,
            unflushed_bytes: 0,
            stopped: false,
            _lock: lock,
        })
    }

    pub(in crate::chain) fn reader(&self) -> BlockReader {
        self.reader.clone()
    }

    pub(in crate::chain) fn database(&self) -> &Database {
        &self.database
    }

    /// Appends a block, as [`BlockReader::record`] gave it.
    pub(in crate::chain) fn append_block(&mut self, record: &[u8]) -> Result<Location, StoreError> {
        self.guarded(|store| {
            store.unflushed_bytes += record.len() as u64;
            store.blocks.append_record(record)
        })
    }

    /// Appends a connected block's undo data.
    pub(in crate::chain) fn append_undo(
        &mut self,
        undo: &Undo,
        block: &BlockHash,
    ) -> Result<Location, StoreError> {
        self.guarded(|store| {
            let data = undo.encode(block);
            store.unflushed_bytes += (HEAD + data.len()) as u64;
            store.undo.append(&data)
        })
    }

    /// Where the next block would go.
    pub(in crate::chain) fn blocks_end(&self) -> End {
        self.blocks.end()
    }

    /// Says that the database does not fit the files.
    pub(in crate::chain) fn inconsistent(&self, what: String) -> StoreError {
        self.database.inconsistent(what)
    }

    /// Says that nothing more is written.
    pub(in crate::chain) fn stopped_error(&self) -> StoreError {
        StoreError::Stopped {
            dir: self.dir.clone(),
        }
    }

    /// Whether anything waits for a flush.
    pub(in crate::chain) fn is_dirty(&self) -> bool {
        !self.stopped && self.unflushed_bytes > 0
    }

    /// Whether enough has gathered for a flush.
    pub(in crate::chain) fn wants_flush(&self, changed_coins: usize) -> bool {
        changed_coins >= self.limits.flush_changes
            || self.unflushed_bytes >= self.limits.flush_bytes
    }

    /// Makes all that was appended durable, then commits the coins, the blocks' standings and the tip.
    /// `headers` is the flushed length of the headers file.
    pub(in crate::chain) fn flush<'a>(
        &mut self,
        headers: u64,
        coins: &'a CoinCache,
        standings: impl Iterator<Item = (&'a BlockHash, &'a Standing)>,
        tip: BlockRef,
    ) -> Result<(), StoreError> {
        self.guarded(|store| {
            store.blocks.sync()?;
            store.undo.sync()?;
            let mark = Mark {
                tip,
                headers,
                blocks: store.blocks.end(),
                undo: store.undo.end(),
            };
            store.database.commit(coins.changes(), standings, &mark)?;
            store.unflushed_bytes = 0;
            Ok(())
        })
    }

    /// Takes back that anything of the headers file is certain, before it is replaced.
    pub(in crate::chain) fn forget_headers_mark(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| match store.database.mark()? {
            None => Ok(()),
            Some(mark) => {
                let mark = Mark { headers: 0, ..mark };
                let (coins, blocks) = (std::iter::empty(), std::iter::empty());
                store.database.commit(coins, blocks, &mark)
            }
        })
    }

    /// Runs a write; after one that failed no more are tried, since the files' ends are not certain.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.stopped {
            return Err(self.stopped_error());
        }
        let result = write(self);
        if let Err(error) = &result {
            self.stopped = true;
            tracing::error!(%error, "the chain's files can't be written any more");
        }
        result
    }

    /// Puts another file in the place of the last blocks file, to see what failing writes do.
    #[cfg(all(test, target_os = "linux"))]
    pub(in crate::chain) fn replace_blocks_file(&mut self, file: std::fs::File) {
        self.blocks.replace_file(file);
    }
}

/// Reads blocks and undo data without the writer's lock.
#[derive(Debug, Clone)]
pub(in crate::chain) struct BlockReader {
    blocks: Row,
    undo: Row,
}

impl BlockReader {
    fn new(spec: &ChainSpec, dir: &Path) -> Self {
        let max_block = spec.consensus.max_block_bytes;
        Self {
            blocks: Row {
                dir: dir.into(),
                prefix: BLOCKS_PREFIX,
                framing: Framing {
                    magic: spec.network_protocol.magic_bytes,
                    max_data: max_block,
                },
            },
            undo: Row {
                dir: dir.into(),
                prefix: UNDO_PREFIX,
                framing: Framing {
                    magic: UNDO_MAGIC,
                    // An input takes 42 bytes of a block at least, the coin that it spent 60 at most.
                    max_data: max_block.saturating_mul(2),
                },
            },
        }
    }

    /// A serialized block as the files hold it. Takes as long as hashing it: may be done on many threads.
    pub(in crate::chain) fn record(&self, block: &[u8]) -> Vec<u8> {
        self.blocks.record(block)
    }

    pub(in crate::chain) fn block(&self, location: Location) -> Result<Vec<u8>, StoreError> {
        self.blocks.read(location)
    }

    /// The undo data of the block with this hash.
    pub(in crate::chain) fn undo(
        &self,
        location: Location,
        block: &BlockHash,
    ) -> Result<Undo, StoreError> {
        let data = self.undo.read(location)?;
        Undo::decode(&data, block).ok_or_else(|| {
            let what = format!("it is not the undo data of block {block}");
            damaged(&self.undo.path(location.file), location.offset.into(), what)
        })
    }

    /// Every block up to `end`.
    pub(in crate::chain) fn all_blocks(
        &self,
        end: End,
        each: impl FnMut(Location, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.blocks.read_all(end, each)
    }

    /// What is wrong with the block at `location`.
    pub(in crate::chain) fn damaged_block(&self, location: Location, what: String) -> StoreError {
        damaged(
            &self.blocks.path(location.file),
            location.offset.into(),
            what,
        )
    }
}

/// The first file of the blocks.
pub(super) fn first_file(dir: &Path) -> PathBuf {
    dir.join(format!("{BLOCKS_PREFIX}00000.dat"))
}
