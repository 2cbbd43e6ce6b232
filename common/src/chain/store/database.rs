//! The database (fjall) in `coins/`: unspent outputs, where blocks are kept, and the tip; one atomic batch a
//! flush.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `coins` | outpoint | coin |
//! | `blocks` | block hash | [`Standing`] |
//! | `meta` | `mark` | [`Mark`]: the tip, and up to where the files are flushed |

use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint};
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use super::rolling::End;
use super::{StoreError, io_error};
use crate::chain::BlockRef;
use crate::chain::coins::{Change, CoinDatabase, decode_coin, encode_coin, encode_outpoint};
use crate::chain::consensus::Coin;
use crate::chain::tree::Location;

/// Folder of the database.
const NAME: &str = "coins";
/// Memory for blocks of the database that were read: coins are looked up at random, so little is gained by
/// more.
const CACHE_BYTES: u64 = 32 << 20;
/// Size at which a keyspace's table in memory is written out; two of them may exist for a while.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// The journal's bound on disk.
const JOURNAL_BYTES: u64 = 128 << 20;
/// One thread writes tables and merges them; verification needs the cores.
const WORKERS: usize = 1;
const MARK: &[u8] = b"mark";

/// What is known of a block, besides its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::chain) struct Standing {
    /// Where the block is kept.
    pub(in crate::chain) block: Option<Location>,
    /// Where its undo data is kept, while it is connected.
    pub(in crate::chain) undo: Option<Location>,
    /// It, or one of its ancestors, breaks a rule.
    pub(in crate::chain) invalid: bool,
}

/// What a flush made certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chain) struct Mark {
    /// The block up to which the coins are those of.
    pub(in crate::chain) tip: BlockRef,
    /// Flushed bytes of the headers file.
    pub(in crate::chain) headers: u64,
    /// Flushed end of the block files.
    pub(in crate::chain) blocks: End,
    /// Flushed end of the undo files.
    pub(in crate::chain) undo: End,
}

/// The open database.
#[derive(Clone)]
pub(in crate::chain) struct Database {
    path: PathBuf,
    database: fjall::Database,
    coins: Keyspace,
    blocks: Keyspace,
    meta: Keyspace,
}

impl Database {
    /// Opens or creates the database of the data directory `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let database = attempt("open", &path, || {
            fjall::Database::builder(&path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(WORKERS)
                .open()
        })?;
        let keyspace = |name, lookups_hit| {
            let options = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE_BYTES)
                    .expect_point_read_hits(lookups_hit)
            };
            attempt("open", &path, || database.keyspace(name, options))
        };
        // A coin that is looked up is nearly always there.
        let coins = keyspace("coins", true)?;
        let blocks = keyspace("blocks", false)?;
        let meta = keyspace("meta", false)?;
        Ok(Self {
            path,
            database,
            coins,
            blocks,
            meta,
        })
    }

    /// What the last flush made certain; `None` in a new database.
    pub(in crate::chain) fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let value = self.attempt("read", || self.meta.get(MARK))?;
        // Each keyspace has its own tables over the common journal. Where the journal lost its end, they are of
        // different commits.
        for keyspace in [&self.coins, &self.blocks] {
            if self.attempt("read", || keyspace.get(MARK))? != value {
                return Err(self.inconsistent("its parts are of different times".into()));
            }
        }
        value
            .map(|value| decode_mark(&value).ok_or_else(|| self.nonsense("the mark")))
            .transpose()
    }

    /// Every block that is known.
    pub(in crate::chain) fn blocks(
        &self,
        mut each: impl FnMut(BlockHash, Standing) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut entries = self.blocks.iter();
        while let Some((key, value)) = self.next(&mut entries)? {
            if *key == *MARK {
                continue;
            }
            let hash = BlockHash::from_slice(&key).map_err(|_| self.nonsense("a block's key"))?;
            let standing =
                decode_standing(&value).ok_or_else(|| self.nonsense("a block's entry"))?;
            each(hash, standing)?;
        }
        Ok(())
    }

    /// Every coin's key and value, and the value decoded.
    pub(in crate::chain) fn coins(
        &self,
        mut each: impl FnMut(&[u8], &[u8], Coin),
    ) -> Result<(), StoreError> {
        let mut entries = self.coins.iter();
        while let Some((key, value)) = self.next(&mut entries)? {
            if *key == *MARK {
                continue;
            }
            let coin = decode_coin(&value).ok_or_else(|| self.nonsense("a coin"))?;
            each(&key, &value, coin);
        }
        Ok(())
    }

    /// Writes all of a flush at once, and waits until it is on disk.
    pub(in crate::chain) fn commit<'a>(
        &self,
        coins: impl Iterator<Item = (&'a OutPoint, &'a Change)>,
        blocks: impl Iterator<Item = (&'a BlockHash, &'a Standing)>,
        mark: &Mark,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (outpoint, change) in coins {
            let key = encode_outpoint(outpoint);
            match &change.coin {
                Some(coin) => batch.insert(&self.coins, key, encode_coin(coin)),
                None => batch.remove(&self.coins, key),
            }
        }
        for (hash, standing) in blocks {
            let value = encode_standing(standing);
            batch.insert(&self.blocks, hash.as_byte_array(), value);
        }
        for keyspace in [&self.meta, &self.coins, &self.blocks] {
            batch.insert(keyspace, MARK, encode_mark(mark));
        }
        self.attempt("write to", || batch.commit())
    }

    fn next(
        &self,
        entries: &mut fjall::Iter,
    ) -> Result<Option<(fjall::UserKey, fjall::UserValue)>, StoreError> {
        self.attempt("read", || {
            entries.next().map(fjall::Guard::into_inner).transpose()
        })
    }

    fn attempt<T>(
        &self,
        action: &'static str,
        call: impl FnOnce() -> fjall::Result<T>,
    ) -> Result<T, StoreError> {
        attempt(action, &self.path, call)
    }

    fn nonsense(&self, what: &str) -> StoreError {
        self.inconsistent(format!("{what} is not what was written"))
    }

    /// Says what is wrong with the database.
    pub(in crate::chain) fn inconsistent(&self, what: String) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            what,
        }
    }
}

impl CoinDatabase for Database {
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        let value = self.attempt("read", || self.coins.get(encode_outpoint(outpoint)))?;
        value
            .map(|value| decode_coin(&value).ok_or_else(|| self.nonsense("a coin")))
            .transpose()
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .finish()
    }
}

/// Calls the database. It panics where some bytes of its journal were changed: that is damage like any other.
fn attempt<T>(
    action: &'static str,
    path: &Path,
    call: impl FnOnce() -> fjall::Result<T>,
) -> Result<T, StoreError> {
    // After a panic the database is used no more: opening fails, or the writer stops.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| failure(action, path, &error)),
        Err(_) => Err(StoreError::Database {
            path: path.into(),
            what: format!("can't {action} it: its files hold what was never written"),
        }),
    }
}

/// The database's error, or the system's behind it.
fn failure(action: &'static str, path: &Path, error: &fjall::Error) -> StoreError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(system) = inner.downcast_ref::<io::Error>() {
            let source = match system.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(system.kind(), system.to_string()),
            };
            // Its own files name and measure each other: one that is missing or ends early is damage.
            let damage = [
                io::ErrorKind::NotFound,
                io::ErrorKind::UnexpectedEof,
                io::ErrorKind::InvalidData,
            ];
            if !damage.contains(&source.kind()) {
                return io_error(action, path, source);
            }
        }
        cause = inner.source();
    }
    StoreError::Database {
        path: path.into(),
        what: format!("can't {action} it: {error}"),
    }
}

const STORED: u8 = 1;
const CONNECTED: u8 = 2;
const INVALID: u8 = 4;

fn encode_standing(standing: &Standing) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(standing.block.is_some(), STORED)
        | flag(standing.undo.is_some(), CONNECTED)
        | flag(standing.invalid, INVALID);
    let mut value = vec![flags];
    for location in [standing.block, standing.undo].into_iter().flatten() {
        value.extend_from_slice(&location.file.to_le_bytes());
        value.extend_from_slice(&location.offset.to_le_bytes());
    }
    value
}

fn decode_standing(value: &[u8]) -> Option<Standing> {
    let (flags, mut rest) = value.split_first()?;
    let mut location = |flag: u8| -> Option<Option<Location>> {
        if flags & flag == 0 {
            return Some(None);
        }
        let file = take_u32(&mut rest)?;
        let offset = take_u32(&mut rest)?;
        Some(Some(Location { file, offset }))
    };
    let standing = Standing {
        block: location(STORED)?,
        undo: location(CONNECTED)?,
        invalid: flags & INVALID != 0,
    };
    (rest.is_empty() && flags & !(STORED | CONNECTED | INVALID) == 0).then_some(standing)
}

fn encode_mark(mark: &Mark) -> Vec<u8> {
    let mut value = mark.tip.hash.to_byte_array().to_vec();
    value.extend_from_slice(&mark.tip.height.to_le_bytes());
    value.extend_from_slice(&mark.headers.to_le_bytes());
    for end in [mark.blocks, mark.undo] {
        value.extend_from_slice(&end.file.to_le_bytes());
        value.extend_from_slice(&end.bytes.to_le_bytes());
    }
    value
}

fn decode_mark(value: &[u8]) -> Option<Mark> {
    let (hash, mut rest) = value.split_first_chunk::<32>()?;
    let tip = BlockRef {
        hash: BlockHash::from_byte_array(*hash),
        height: take_u32(&mut rest)?,
    };
    let headers = take_u64(&mut rest)?;
    let mut end = || {
        Some(End {
            file: take_u32(&mut rest)?,
            bytes: take_u64(&mut rest)?,
        })
    };
    let mark = Mark {
        tip,
        headers,
        blocks: end()?,
        undo: end()?,
    };
    rest.is_empty().then_some(mark)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location() -> impl Strategy<Value = Option<Location>> {
        proptest::option::of((0..u32::MAX, any::<u32>()))
            .prop_map(|place| place.map(|(file, offset)| Location { file, offset }))
    }

    proptest! {
        #[test]
        fn standings_come_back(block in location(), undo in location(), invalid: bool) {
            let standing = Standing { block, undo, invalid };
            let value = encode_standing(&standing);
            prop_assert_eq!(decode_standing(&value), Some(standing));
            for end in 0..value.len() {
                prop_assert_eq!(decode_standing(&value[..end]), None);
            }
        }

        #[test]
        fn marks_come_back(height: u32, headers: u64, file: u32, bytes: u64) {
            let mark = Mark {
                tip: BlockRef { height, hash: BlockHash::hash(&height.to_le_bytes()) },
                headers,
                blocks: End { file, bytes },
                undo: End { file: !file, bytes: !bytes },
            };
            let value = encode_mark(&mark);
            prop_assert_eq!(decode_mark(&value), Some(mark));
            for end in 0..value.len() {
                prop_assert_eq!(decode_mark(&value[..end]), None);
            }
        }
    }

    const BATCH: u32 = 500;

    fn outpoint(n: u32) -> OutPoint {
        OutPoint {
            txid: bitcoin::Txid::hash(&n.to_le_bytes()),
            vout: n,
        }
    }

    fn mark(height: u32) -> Mark {
        Mark {
            tip: BlockRef {
                height,
                hash: BlockHash::hash(&height.to_le_bytes()),
            },
            headers: 0,
            blocks: End::default(),
            undo: End::default(),
        }
    }

    fn journals(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                found.extend(journals(&entry.path()));
            } else if entry.path().extension().is_some_and(|e| e == "jnl") {
                found.push(entry.path());
            }
        }
        found
    }

    fn copy_into(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(from).unwrap().flatten() {
            let target = to.join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                copy_into(&file.path(), &target);
            } else {
                std::fs::copy(file.path(), target).unwrap();
            }
        }
    }

    /// fjall cuts its journal at the first record that it can't read, wherever that is. The coins of the
    /// commits that are lost so may be in tables already: then coins and mark are of different times, and
    /// blocks that are connected again find their coins spent. Whoever opens the database must notice.
    #[test]
    fn a_journal_that_is_cut_leaves_no_mixture_of_two_commits() {
        let dir = tempfile::tempdir().unwrap();
        let last = 8;
        let database = Database::open(dir.path()).unwrap();
        for height in 1..=last {
            let mut cache =
                crate::chain::coins::CoinCache::new(Box::new(crate::chain::coins::NoDatabase));
            for n in (height - 1) * BATCH..height * BATCH {
                let coin = Coin {
                    output: bitcoin::TxOut {
                        value: bitcoin::Amount::from_sat(1),
                        script_pubkey: bitcoin::ScriptBuf::from_bytes(vec![7; 34]),
                    },
                    height,
                    coinbase: false,
                };
                cache.put(outpoint(n), coin);
            }
            database
                .commit(cache.changes(), std::iter::empty(), &mark(height))
                .unwrap();
            // Coins get into tables, as they do when many have gathered; the rest stays in the journal.
            database.coins.rotate_memtable_and_wait().unwrap();
        }
        drop(database);
        for height in 2..=last {
            let hurt = tempfile::tempdir().unwrap();
            copy_into(dir.path(), hurt.path());
            let key = encode_outpoint(&outpoint((height - 1) * BATCH + 5));
            let flipped = journals(hurt.path()).into_iter().any(|path| {
                let mut bytes = std::fs::read(&path).unwrap();
                let Some(at) = bytes.windows(36).position(|window| window == key) else {
                    return false;
                };
                // Tag, type, compression, keyspace, three lengths.
                assert_eq!(bytes[at - 21], 2, "an item's tag");
                bytes[at - 21] ^= 64;
                std::fs::write(&path, bytes).unwrap();
                true
            });
            assert!(flipped);
            let Ok(database) = Database::open(hurt.path()) else {
                continue;
            };
            let Ok(mark) = database.mark() else {
                continue;
            };
            let found = mark.map_or(0, |mark| mark.tip.height);
            let coins: Vec<bool> = (1..=last)
                .map(|height| {
                    let outpoint = outpoint((height - 1) * BATCH + 1);
                    database.coin(&outpoint).unwrap().is_some()
                })
                .collect();
            let expected: Vec<bool> = (1..=last).map(|height| height <= found).collect();
            assert_eq!(coins, expected, "flip in {height}, mark {found}");
        }
    }
}
