//! Small files that a node keeps across restarts: JSON, replaced atomically; a damaged one is set aside, never silently
//! lost.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tracing::warn;

use crate::service::files;

/// Why a file could not be written.
#[derive(Debug, Error)]
#[error("{what} {path} can't be written: {source}; check free space and permissions")]
pub struct SaveError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What the file at `path` holds, if `accept` takes it. `None` when there is no file; one that can't be understood, or
/// that `accept` gives a reason against, is renamed to `….damaged` with a warning.
pub(crate) fn load<T: DeserializeOwned>(
    what: &'static str,
    path: &Path,
    accept: impl FnOnce(&T) -> Result<(), String>,
) -> Option<T> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            set_aside(what, path, &error.to_string());
            return None;
        }
    };
    let read = serde_json::from_str::<T>(&text).map_err(|error| error.to_string());
    match read.and_then(|document| accept(&document).map(|()| document)) {
        Ok(document) => Some(document),
        Err(reason) => {
            set_aside(what, path, &reason);
            None
        }
    }
}

/// Writes the file: temporary file, fsync, rename. It waits for the disk.
///
/// # Errors
/// When any of these fails; the old file then stands.
pub(crate) fn save<T: Serialize>(
    what: &'static str,
    path: &Path,
    document: &T,
) -> Result<(), SaveError> {
    let result = (|| {
        let text = serde_json::to_vec(document)?;
        files::replace(path, |file| file.write_all(&text))
    })();
    result.map_err(|source| SaveError {
        what,
        path: path.to_owned(),
        source,
    })
}

fn set_aside(what: &'static str, path: &Path, reason: &str) {
    let aside = path.with_extension("json.damaged");
    match fs::rename(path, &aside) {
        Ok(()) => warn!(
            path = %path.display(), aside = %aside.display(), reason,
            "{what} is damaged; it was set aside and a new one is built"
        ),
        Err(error) => {
            warn!(path = %path.display(), reason, %error, "{what} is unreadable");
        }
    }
}
