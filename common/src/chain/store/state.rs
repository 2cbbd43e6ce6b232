//! The state file: what the directory is.
//!
//! A few lines of text with a checksum, replaced as a whole (write aside, flush, rename, flush the
//! directory), so it is always one version or the next.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bitcoin::hashes::{Hash, sha256};

use super::{StoreError, damaged, io_error};

/// The format that this release writes, and the newest that it reads. Format 1 had blocks without
/// transactions, no database, and the flushed marks in this file.
pub(super) const FORMAT: u32 = 2;
/// Most bytes of the file, for a bounded read: it has about 200.
const MAX_BYTES: u64 = 4096;
const NAME: &str = "chain.state";
const NAME_ASIDE: &str = "chain.state.new";
const TITLE: &str = "quantumcoin-chain format ";
const CHECKSUM: &str = "checksum ";

/// The contents of the state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) format: u32,
    /// Network and genesis hash, e.g. `devnet 66f8…`.
    pub(super) chain: String,
}

impl State {
    /// A directory of this release for `chain`.
    pub(super) fn new(chain: String) -> Self {
        Self {
            format: FORMAT,
            chain,
        }
    }

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
        match parse(&text) {
            Some(chain) => Ok(Some(Self { format, chain })),
            None => {
                let what = "its checksum or a line of it is wrong";
                Err(damaged(&path, 0, what.into()))
            }
        }
    }

    /// Replaces the state file.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let aside = dir.join(NAME_ASIDE);
        let path = Self::path(dir);
        let body = format!("{TITLE}{}\nchain {}\n", self.format, self.chain);
        let text = format!("{body}{CHECKSUM}{}\n", sha256::Hash::hash(body.as_bytes()));
        let mut file = File::create(&aside).map_err(|source| io_error("create", &aside, source))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|source| io_error("write", &aside, source))?;
        fs::rename(&aside, &path).map_err(|source| io_error("replace", &path, source))?;
        sync_dir(dir)
    }
}

/// The chain that the file is of, if its last line is the checksum of the lines before it.
fn parse(text: &str) -> Option<String> {
    let (body, _) = text.rsplit_once(CHECKSUM)?;
    let sum = sha256::Hash::hash(body.as_bytes());
    if text != format!("{body}{CHECKSUM}{sum}\n") {
        return None;
    }
    let chain = body.lines().nth(1)?.strip_prefix("chain ")?;
    Some(chain.into())
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
