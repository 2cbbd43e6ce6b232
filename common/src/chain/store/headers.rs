//! The headers file: groups of accepted headers, in order of acceptance.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;

use super::records::{Framing, Known, RecordFile};
use super::state::sync_dir;
use super::{Load, StoreError, damaged, io_error};

/// Start of each group of headers: "QHDR".
const MAGIC: [u8; 4] = *b"QHDR";
/// Most headers of one group: what one message carries.
const GROUP: usize = 2_000;
/// Groups of headers that may wait between the two threads that load them: about 250 kB each.
const WAITING_GROUPS: usize = 8;
const NAME: &str = "headers.dat";
const NAME_ASIDE: &str = "headers.dat.new";

/// The writer of the headers file.
#[derive(Debug)]
pub(in crate::chain) struct HeadersFile {
    dir: PathBuf,
    file: RecordFile,
    stopped: bool,
}

impl HeadersFile {
    pub(in crate::chain) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// About how many headers the file holds, judged by its size.
    pub(super) fn estimate(dir: &Path) -> usize {
        let bytes = fs::metadata(Self::path(dir)).map_or(0, |metadata| metadata.len());
        usize::try_from(bytes).unwrap_or(0) / Header::SIZE
    }

    /// Opens the file and gives each header to `load`: one thread reads, checks and hashes them, another
    /// one takes them in.
    pub(super) fn open(
        dir: &Path,
        flushed: u64,
        load: &mut (impl Load + Send),
    ) -> Result<Self, StoreError> {
        let path = Self::path(dir);
        let known = Known {
            flushed,
            ..Known::default()
        };
        let (sender, groups) = mpsc::sync_channel::<(u64, Vec<Hashed>)>(WAITING_GROUPS);
        let path = path.as_path();
        let file = std::thread::scope(|scope| {
            let taking = scope.spawn(move || take_in(path, groups, load));
            let file = RecordFile::open(path.to_owned(), framing(), known, |offset, data| {
                let group = hash_group(data).map_err(|what| damaged(path, offset, what))?;
                // The other thread ends early only with an error, which is the one that counts below.
                let gone = |_| damaged(path, offset, "a header before this was refused".into());
                sender.send((offset, group)).map_err(gone)
            });
            drop(sender);
            match taking.join() {
                Ok(taken) => taken.and(file),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        Ok(Self {
            dir: dir.into(),
            file,
            stopped: false,
        })
    }

    /// Appends accepted headers.
    pub(in crate::chain) fn append(&mut self, headers: &[Header]) -> Result<(), StoreError> {
        self.guarded(|headers_file| {
            for group in headers.chunks(GROUP) {
                headers_file.file.append(&encode(group))?;
            }
            Ok(())
        })
    }

    /// Waits until all that was appended is on disk; gives the file's length.
    pub(in crate::chain) fn sync(&mut self) -> Result<u64, StoreError> {
        self.guarded(|headers_file| {
            headers_file.file.sync()?;
            Ok(headers_file.file.len())
        })
    }

    /// Replaces the file by one with only these headers (parents first). The caller has seen to it that the
    /// flushed mark is 0.
    pub(in crate::chain) fn rewrite(
        &mut self,
        headers: impl Iterator<Item = Header>,
    ) -> Result<(), StoreError> {
        self.guarded(|headers_file| {
            let aside = headers_file.dir.join(NAME_ASIDE);
            match fs::remove_file(&aside) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &aside, source));
                }
                _ => {}
            }
            let mut file =
                RecordFile::open(aside.clone(), framing(), Known::default(), |_, _| Ok(()))?;
            let mut group = Vec::with_capacity(GROUP);
            let mut headers = headers.peekable();
            while headers.peek().is_some() {
                group.clear();
                group.extend(headers.by_ref().take(GROUP));
                file.append(&encode(&group))?;
            }
            file.sync()?;
            let path = Self::path(&headers_file.dir);
            fs::rename(&aside, &path).map_err(|source| io_error("replace", &path, source))?;
            sync_dir(&headers_file.dir)?;
            let known = Known {
                from: file.len(),
                flushed: file.len(),
                complete: true,
            };
            headers_file.file = RecordFile::open(path, framing(), known, |_, _| Ok(()))?;
            Ok(())
        })
    }

    /// Runs a write; after one that failed no more are tried, since the file's end is not certain.
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
            tracing::error!(%error, "headers can't be written any more");
        }
        result
    }
}

/// A header and its hash.
type Hashed = (Header, BlockHash);

fn take_in(
    path: &Path,
    groups: mpsc::Receiver<(u64, Vec<Hashed>)>,
    load: &mut impl Load,
) -> Result<(), StoreError> {
    for (offset, group) in groups {
        load.expect_hashes(group.iter().map(|(_, hash)| hash));
        group
            .iter()
            .try_for_each(|(header, hash)| load.header(header, *hash))
            .map_err(|what| damaged(path, offset, what))?;
    }
    Ok(())
}

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

fn framing() -> Framing {
    Framing {
        magic: MAGIC,
        max_data: GROUP * Header::SIZE,
    }
}

fn encode(headers: &[Header]) -> Vec<u8> {
    let mut data = Vec::with_capacity(headers.len() * Header::SIZE);
    for header in headers {
        data.extend_from_slice(&serialize(header));
    }
    data
}

/// The header at the start of a record.
pub(super) fn decode_header(bytes: &[u8]) -> Result<Header, String> {
    deserialize(bytes).map_err(|error| format!("no header: {error}"))
}
