//! The state file: what the directory is, and up to where its files were flushed.
//!
//! A few lines of text with a checksum, replaced as a whole (write aside, flush, rename, flush the
//! directory), so it is always one version or the next.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bitcoin::hashes::{Hash, sha256};

use super::{StoreError, damaged, io_error};

/// The format that this release writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
/// Most bytes of the file, for a bounded read: it has about 300.
const MAX_BYTES: u64 = 4096;
const NAME: &str = "chain.state";
const NAME_ASIDE: &str = "chain.state.new";
const TITLE: &str = "quantumcoin-chain format ";

/// The contents of the state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Network and genesis hash, e.g. `devnet 66f8…`.
    pub(super) chain: String,
    /// Bytes of the headers file that are on disk for certain.
    pub(super) headers_bytes: u64,
    /// Number of the blocks file that `blocks_bytes` speaks of; those before it are complete.
    pub(super) blocks_file: u32,
    /// Bytes of that file that are on disk for certain.
    pub(super) blocks_bytes: u64,
}

impl State {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// Reads the state; `None` where there is no file.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = Self::path(dir);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("open", &path, source)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error("read", &path, source))?;
        let text = String::from_utf8_lossy(&bytes);
        let format = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix(TITLE))
            .and_then(|format| format.parse::<u32>().ok())
            .ok_or_else(|| damaged(&path, 0, "the first line does not name a format".into()))?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat {
                dir: dir.into(),
                found: format,
                supported: FORMAT,
            });
        }
        Self::parse(&text)
            .map(Some)
            .ok_or_else(|| damaged(&path, 0, "its checksum or a line of it is wrong".into()))
    }

    /// Replaces the state file.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let aside = dir.join(NAME_ASIDE);
        let path = Self::path(dir);
        let mut file = File::create(&aside).map_err(|source| io_error("create", &aside, source))?;
        file.write_all(self.to_text().as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|source| io_error("write", &aside, source))?;
        fs::rename(&aside, &path).map_err(|source| io_error("replace", &path, source))?;
        sync_dir(dir)
    }

    fn body(&self) -> String {
        format!(
            "{TITLE}{FORMAT}\nchain {}\nheaders_bytes {}\nblocks_file {}\nblocks_bytes {}\n",
            self.chain, self.headers_bytes, self.blocks_file, self.blocks_bytes
        )
    }

    fn to_text(&self) -> String {
        let body = self.body();
        format!("{body}checksum {}\n", sha256::Hash::hash(body.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(1);
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let state = Self {
            chain: value("chain")?.into(),
            headers_bytes: value("headers_bytes")?.parse().ok()?,
            blocks_file: value("blocks_file")?.parse().ok()?,
            blocks_bytes: value("blocks_bytes")?.parse().ok()?,
        };
        (state.to_text() == text).then_some(state)
    }
}

/// Makes renames and new files in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    // Windows can't open a directory as a file; there the rename itself is enough.
    if cfg!(not(unix)) {
        return Ok(());
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| io_error("flush", dir, source))
}
