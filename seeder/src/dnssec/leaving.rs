//! Zones that are to become unsigned (RFC 8078, 4): a file beside a zone's keys, `K<zone>unsign`, says so.
//!
//! While it is there, CDS and CDNSKEY ask the parent to drop its DS, and the zone stays signed as before. Whoever removes the keys
//! of the zone (`K<zone>*`) removes the file with them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    keyfile::{At as _, Fault, KeyFileError, put, read_text},
    times,
};
use crate::wire::name::WireName;

/// RDATA of the CDS record that asks for no DS at all: `0 0 0 00` (RFC 8078, 4).
pub(super) const NO_DS: [u8; 5] = [0, 0, 0, 0, 0];

/// RDATA of such a CDNSKEY record: `0 3 0 AA==` (RFC 8078, 4).
pub(super) const NO_KEY: [u8; 5] = [0, 0, 3, 0, 0];

/// What the line with the moment begins with.
const SINCE: &str = "Since: ";

fn path(dir: &Path, zone: &WireName) -> PathBuf {
    dir.join(format!("K{zone:?}unsign"))
}

/// Since when the zone is to become unsigned, Unix seconds; `None` when it is not.
///
/// # Errors
/// [`KeyFileError`] for a file that can't be read.
pub(super) fn since(dir: &Path, zone: &WireName) -> Result<Option<i64>, KeyFileError> {
    let path = path(dir, zone);
    let text = match read_text(&path) {
        Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.at(&path)?,
    };
    let moment = text.lines().find_map(|line| line.strip_prefix(SINCE));
    let moment = moment.and_then(times::read).ok_or(Fault::Since);
    moment.at(&path).map(Some)
}

/// From `now` on the zone is to become unsigned.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn begin(dir: &Path, zone: &WireName, now: i64) -> Result<(), KeyFileError> {
    let path = path(dir, zone);
    let text = format!(
        "; CDS and CDNSKEY of {zone:?} ask the parent to drop its DS (`quantumcoin-seeder keys unsign`)\n{SINCE}{}\n",
        times::written(now)
    );
    put(&path, &text, 0o644).at(&path)
}

/// The zone is to stay signed.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn undo(dir: &Path, zone: &WireName) -> Result<(), KeyFileError> {
    let path = path(dir, zone);
    fs::remove_file(&path).at(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_since_when_and_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let zone = WireName::read(b"\x04seed\x04test\x00").unwrap().0;
        assert_eq!(since(dir.path(), &zone).unwrap(), None);
        begin(dir.path(), &zone, 951_782_400).unwrap();
        assert_eq!(since(dir.path(), &zone).unwrap(), Some(951_782_400));
        let other = WireName::read(b"\x04test\x00").unwrap().0;
        assert_eq!(since(dir.path(), &other).unwrap(), None);
        let file = dir.path().join("Kseed.test.unsign");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\nSince: 20000229000000\n"), "{text}");
        fs::write(&file, "Since: yesterday\n").unwrap();
        let error = since(dir.path(), &zone).unwrap_err().to_string();
        assert!(
            error.contains("Kseed.test.unsign: no line `Since: "),
            "{error}"
        );
        undo(dir.path(), &zone).unwrap();
        assert_eq!(since(dir.path(), &zone).unwrap(), None);
        assert!(undo(dir.path(), &zone).is_err());
    }
}
