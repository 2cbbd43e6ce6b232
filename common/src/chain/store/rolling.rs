//! A row of record files: a new one is begun when the last has grown large.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::records::{self, Framing, Known, RecordFile};
use super::state::sync_dir;
use super::{StoreError, damaged, io_error};
use crate::chain::tree::Location;

/// A position in a row of files: where the next record goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::chain) struct End {
    /// Number of the file; those before it are complete.
    pub(in crate::chain) file: u32,
    /// Bytes of that file.
    pub(in crate::chain) bytes: u64,
}

/// What a row of files is called and holds.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) dir: PathBuf,
    /// Start of the files' names; five digits and `.dat` follow.
    pub(super) prefix: &'static str,
    pub(super) framing: Framing,
}

impl Row {
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{}{number:05}.dat", self.prefix))
    }

    /// A record of these files.
    pub(super) fn record(&self, data: &[u8]) -> Vec<u8> {
        records::encode(self.framing, data)
    }

    /// Reads a record, without the writer's lock: records never change once they are written.
    pub(super) fn read(&self, location: Location) -> Result<Vec<u8>, StoreError> {
        let path = self.path(location.file);
        records::read_at(&path, self.framing, location.offset.into())
    }

    /// Reads every record up to `end`; any flaw is damage.
    pub(super) fn read_all(
        &self,
        end: End,
        mut on_record: impl FnMut(Location, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for number in 0..=end.file {
            let path = self.path(number);
            if number == end.file && end.bytes == 0 && !path.exists() {
                break;
            }
            let limit = (number == end.file).then_some(end.bytes);
            records::scan(&path, self.framing, limit, |offset, data| {
                on_record(location(&path, number, offset)?, data)
            })?;
        }
        Ok(())
    }
}

/// The writer of a row of files.
#[derive(Debug)]
pub(super) struct RollingFiles {
    row: Row,
    roll_bytes: u64,
    number: u32,
    file: RecordFile,
}

impl RollingFiles {
    /// Opens the files and gives every record beyond `flushed`, in order, to `on_record`.
    pub(super) fn open(
        row: Row,
        roll_bytes: u64,
        flushed: End,
        mut on_record: impl FnMut(Location, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        for number in 0..flushed.file {
            let path = row.path(number);
            if !path.exists() {
                return Err(damaged(&path, 0, "the file is missing".into()));
            }
        }
        let mut number = flushed.file;
        loop {
            let path = row.path(number);
            let bytes = if number == flushed.file {
                flushed.bytes
            } else {
                0
            };
            let next = number.saturating_add(1);
            let known = Known {
                from: bytes,
                flushed: bytes,
                // A file is flushed as a whole before it gets a successor.
                complete: row.path(next).exists(),
            };
            let file = RecordFile::open(path.clone(), row.framing, known, |offset, data| {
                on_record(location(&path, number, offset)?, data)
            })?;
            if !known.complete {
                return Ok(Self {
                    row,
                    roll_bytes,
                    number,
                    file,
                });
            }
            number = next;
        }
    }

    /// Opens the files and cuts off all that lies beyond `flushed`.
    pub(super) fn open_cut(row: Row, roll_bytes: u64, flushed: End) -> Result<Self, StoreError> {
        let mut beyond = flushed.file.saturating_add(1);
        while row.path(beyond).exists() {
            beyond += 1;
        }
        // From the end, so that a crash in between leaves no gap.
        for number in (flushed.file + 1..beyond).rev() {
            let path = row.path(number);
            fs::remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
        }
        let path = row.path(flushed.file);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => {
                let len = file.metadata().map(|metadata| metadata.len());
                if len.map_err(|source| io_error("look at", &path, source))? > flushed.bytes {
                    file.set_len(flushed.bytes)
                        .map_err(|source| io_error("cut", &path, source))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("open", &path, source)),
        }
        Self::open(row, roll_bytes, flushed, |_, _| Ok(()))
    }

    /// Appends one record.
    pub(super) fn append(&mut self, data: &[u8]) -> Result<Location, StoreError> {
        self.append_record(&self.row.record(data))
    }

    /// Appends one record that [`Row::record`] made.
    pub(super) fn append_record(&mut self, record: &[u8]) -> Result<Location, StoreError> {
        if self.file.len() >= self.roll_bytes {
            self.roll()?;
        }
        let offset = self.file.append_record(record)?;
        location(&self.row.path(self.number), self.number, offset)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync()
    }

    pub(super) fn end(&self) -> End {
        End {
            file: self.number,
            bytes: self.file.len(),
        }
    }

    /// Closes the file, flushed as a whole, and starts the next.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.file.sync()?;
        let next = self.number.saturating_add(1);
        self.file = RecordFile::open(
            self.row.path(next),
            self.row.framing,
            Known::default(),
            |_, _| Ok(()),
        )?;
        self.number = next;
        sync_dir(&self.row.dir)
    }

    /// Puts another open file in the last one's place, to see what failing writes do.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_file(&mut self, file: fs::File) {
        self.file.replace_file(file);
    }
}

/// A file is closed when it has grown large, one record later at most: far below 4 GiB.
fn location(path: &Path, file: u32, offset: u64) -> Result<Location, StoreError> {
    u32::try_from(offset)
        .map(|offset| Location { file, offset })
        .map_err(|_| {
            let what = "the file is larger than any that is written";
            damaged(path, offset, what.into())
        })
}
