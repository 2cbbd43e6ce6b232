//! Append-only files of checksummed records, which survive being cut off at any byte.
//!
//! A record is `magic (4) ‖ length (4, little-endian) ‖ checksum (8) ‖ data`; the checksum is the start of
//! SHA-256 over length and data. A file is read record by record, from its start or from a record that is known. The *flushed mark* (kept
//! in the database) divides damage from torn tails: below it all was on disk before the mark was written,
//! so anything that fails there is damage and an error; above it a bad record is what a crash left of an
//! unfinished write, and the file is cut there.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::{StoreError, damaged, io_error};

/// Bytes before a record's data.
pub(super) const HEAD: usize = 16;

/// What a file's records start with and how long they may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) magic: [u8; 4],
    pub(super) max_data: usize,
}

/// How much of a file is known when it is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// Where reading starts: what is before need not be read.
    pub(super) from: u64,
    /// The flushed mark: flaws before it are damage.
    pub(super) flushed: u64,
    /// The file was flushed as a whole: every flaw is damage.
    pub(super) complete: bool,
}

/// A file that records are appended to.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
    file: File,
    framing: Framing,
    len: u64,
}

impl RecordFile {
    /// Opens or creates the file, reads each record through `on_record` (offset, data), and cuts a torn
    /// tail above the flushed mark.
    pub(super) fn open(
        path: PathBuf,
        framing: Framing,
        known: Known,
        mut on_record: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io_error("open", &path, source))?;
        let end = file
            .metadata()
            .map_err(|source| io_error("look at", &path, source))?
            .len();
        let certain = known.flushed.max(known.from);
        if end < certain {
            let what = format!("the file ends here, but {certain} bytes were written and flushed");
            return Err(damaged(&path, end, what));
        }
        file.seek(SeekFrom::Start(known.from))
            .map_err(|source| io_error("seek in", &path, source))?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut data = Vec::new();
        let mut len = known.from;
        while len < end {
            match read_record(&mut reader, framing, end - len, &mut data) {
                Ok(()) => {}
                Err(Flaw::Io(source)) => return Err(io_error("read", &path, source)),
                Err(Flaw::Bad(what)) if len < known.flushed || known.complete => {
                    return Err(damaged(&path, len, what.into()));
                }
                Err(Flaw::Bad(what)) => {
                    tracing::warn!(
                        path = %path.display(), offset = len, bytes = end - len, what,
                        "cutting off an unfinished write; what it held will be fetched again"
                    );
                    break;
                }
            }
            on_record(len, &data)?;
            len += (HEAD + data.len()) as u64;
        }
        if len < end {
            file.set_len(len)
                .map_err(|source| io_error("cut", &path, source))?;
        }
        file.seek(SeekFrom::Start(len))
            .map_err(|source| io_error("seek in", &path, source))?;
        Ok(Self {
            path,
            file,
            framing,
            len,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends one record and gives its offset. After an error the file's end is not certain: the caller
    /// must stop writing.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<u64, StoreError> {
        self.append_record(&encode(self.framing, data))
    }

    /// Appends one record that [`encode`] made.
    pub(super) fn append_record(&mut self, record: &[u8]) -> Result<u64, StoreError> {
        let offset = self.len;
        self.file
            .write_all(record)
            .map_err(|source| io_error("write to", &self.path, source))?;
        self.len += record.len() as u64;
        Ok(offset)
    }

    /// Waits until all that was appended is on disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|source| io_error("flush", &self.path, source))
    }

    /// Puts another open file in this one's place, to see what failing writes do.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_file(&mut self, file: File) {
        self.file = file;
    }
}

/// A record's bytes.
pub(super) fn encode(framing: Framing, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_le_bytes();
    let mut record = Vec::with_capacity(HEAD + data.len());
    record.extend_from_slice(&framing.magic);
    record.extend_from_slice(&length);
    record.extend_from_slice(&checksum(length, data));
    record.extend_from_slice(data);
    record
}

/// Reads the data of the record at `offset`, and checks it again.
pub(super) fn read_at(path: &Path, framing: Framing, offset: u64) -> Result<Vec<u8>, StoreError> {
    let mut file = File::open(path).map_err(|source| io_error("open", path, source))?;
    let end = file
        .metadata()
        .map_err(|source| io_error("look at", path, source))?
        .len();
    file.seek(SeekFrom::Start(offset))
        .map_err(|source| io_error("seek in", path, source))?;
    let mut data = Vec::new();
    match read_record(&mut file, framing, end.saturating_sub(offset), &mut data) {
        Ok(()) => Ok(data),
        Err(Flaw::Io(source)) => Err(io_error("read", path, source)),
        Err(Flaw::Bad(what)) => Err(damaged(path, offset, what.into())),
    }
}

/// Reads every record of a file, or of its first `limit` bytes; any flaw is damage.
pub(super) fn scan(
    path: &Path,
    framing: Framing,
    limit: Option<u64>,
    mut on_record: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let file = File::open(path).map_err(|source| io_error("open", path, source))?;
    let len = file
        .metadata()
        .map_err(|source| io_error("look at", path, source))?
        .len();
    let end = limit.unwrap_or(len);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut data = Vec::new();
    let mut offset = 0;
    while offset < end {
        match read_record(&mut reader, framing, len.saturating_sub(offset), &mut data) {
            Ok(()) => {}
            Err(Flaw::Io(source)) => return Err(io_error("read", path, source)),
            Err(Flaw::Bad(what)) => return Err(damaged(path, offset, what.into())),
        }
        on_record(offset, &data)?;
        offset += (HEAD + data.len()) as u64;
    }
    Ok(())
}

enum Flaw {
    Io(std::io::Error),
    Bad(&'static str),
}

/// Reads one record of a file that has `left` bytes from here. Allocates at most what is there.
fn read_record(
    reader: &mut impl Read,
    framing: Framing,
    left: u64,
    data: &mut Vec<u8>,
) -> Result<(), Flaw> {
    if left < HEAD as u64 {
        return Err(Flaw::Bad("a record's head is cut off"));
    }
    let mut magic = [0; 4];
    let mut length = [0; 4];
    let mut sum = [0; 8];
    for part in [
        magic.as_mut_slice(),
        length.as_mut_slice(),
        sum.as_mut_slice(),
    ] {
        reader.read_exact(part).map_err(Flaw::Io)?;
    }
    if magic != framing.magic {
        return Err(Flaw::Bad("no record starts here"));
    }
    let size = u32::from_le_bytes(length) as usize;
    if size > framing.max_data {
        return Err(Flaw::Bad("a record's length is impossible"));
    }
    if left - (HEAD as u64) < size as u64 {
        return Err(Flaw::Bad("a record's data is cut off"));
    }
    data.resize(size, 0);
    reader.read_exact(data).map_err(Flaw::Io)?;
    if checksum(length, data) != sum {
        return Err(Flaw::Bad("a record's checksum does not match its data"));
    }
    Ok(())
}

fn checksum(length: [u8; 4], data: &[u8]) -> [u8; 8] {
    // A tenth faster than the `bitcoin` crate's, and every block goes through it.
    let mut context = Context::new(&SHA256);
    context.update(&length);
    context.update(data);
    let hash = context.finish();
    let mut sum = [0; 8];
    for (to, from) in sum.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    sum
}
