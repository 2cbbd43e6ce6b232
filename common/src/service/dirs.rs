//! Where a program keeps its data, by the XDG base directory rules, private to its user.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// A data directory that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Neither an option nor the environment says where data may live.
    #[error(
        "no place for data: none of STATE_DIRECTORY, XDG_DATA_HOME and HOME is set to an absolute path; \
         name a directory with --data-dir"
    )]
    Unknown,
    /// The directory can't be made.
    #[error(
        "the data directory {} can't be created: {source}; create it yourself with write permission for \
         the user that runs this program, or name another one with --data-dir", path.display()
    )]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory is there but can't be written.
    #[error(
        "the data directory {} can't be written: {source}; give its ownership to the user that runs this \
         program (`chown`), free space on its disk, or name another one with --data-dir", path.display()
    )]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory for `program`'s data: `chosen` if given, else systemd's `STATE_DIRECTORY`, else
/// `$XDG_DATA_HOME/PROGRAM`, else `$HOME/.local/share/PROGRAM`. Nothing is created.
///
/// # Errors
/// [`DirError::Unknown`] when nothing names a place.
pub fn locate(program: &str, chosen: Option<&Path>) -> Result<PathBuf, DirError> {
    match chosen {
        Some(path) => Ok(path.to_owned()),
        None => from_environment(program, |name| std::env::var_os(name)),
    }
}

/// [`locate`]s the directory, creates it if need be (mode 0700) and makes sure that it can be written.
///
/// # Errors
/// [`DirError`] says which directory, why not, and what to do.
pub fn ensure(program: &str, chosen: Option<&Path>) -> Result<PathBuf, DirError> {
    let path = locate(program, chosen)?;
    create_private(&path).map_err(|source| DirError::Create {
        path: path.clone(),
        source,
    })?;
    prove_writable(&path).map_err(|source| DirError::Unwritable {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Whether [`ensure`] would have a directory here, as far as can be told without making anything: that it is one, or that
/// the nearest place above it that exists is, and that this process may write there.
///
/// # Errors
/// As [`ensure`].
pub fn examine(path: &Path) -> Result<(), DirError> {
    let Some(nearest) = path.ancestors().find(|place| place.exists()) else {
        return Ok(());
    };
    let is_there = nearest == path;
    let allowed = match fs::metadata(nearest) {
        Ok(meta) if meta.is_dir() => may_write(nearest),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) => Err(error),
    };
    let path = path.to_owned();
    allowed.map_err(|source| match is_there {
        true => DirError::Unwritable { path, source },
        false => DirError::Create { path, source },
    })
}

/// What `access(2)` says, which knows of read-only file systems as well.
#[cfg(unix)]
fn may_write(dir: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn may_write(dir: &Path) -> io::Result<()> {
    match fs::metadata(dir)?.permissions().readonly() {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

fn from_environment(
    program: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, DirError> {
    // Relative paths are ignored, as the XDG specification asks.
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    // STATE_DIRECTORY may hold several paths, separated by colons; the first is the program's own.
    let state = variable("STATE_DIRECTORY")
        .and_then(|paths| std::env::split_paths(&paths).next())
        .filter(|path| path.is_absolute());
    if let Some(path) = state {
        return Ok(path);
    }
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join(program))
        .ok_or(DirError::Unknown)
}

fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes and removes a small file: permission bits alone don't tell of read-only or full disks.
fn prove_writable(path: &Path) -> io::Result<()> {
    let probe = path.join(format!(".write-probe-{}", std::process::id()));
    let written = fs::write(&probe, b"probe");
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        }
    }

    #[test]
    fn the_environment_is_asked_in_order() {
        let all = [
            ("STATE_DIRECTORY", "/s:/t"),
            ("XDG_DATA_HOME", "/x"),
            ("HOME", "/h"),
        ];
        let at = |pairs: &[(&str, &str)]| from_environment("qtc", environment(pairs)).unwrap();
        assert_eq!(at(&all), Path::new("/s"));
        assert_eq!(at(&all[1..]), Path::new("/x/qtc"));
        assert_eq!(at(&all[2..]), Path::new("/h/.local/share/qtc"));
        assert_eq!(
            at(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]),
            Path::new("/h/.local/share/qtc")
        );
        assert!(matches!(
            from_environment("qtc", environment(&[])),
            Err(DirError::Unknown)
        ));
    }

    #[test]
    fn a_directory_is_made_private_and_kept_clean() {
        let root = tempfile::tempdir().unwrap();
        let wanted = root.path().join("a/b");
        let made = ensure("qtc", Some(&wanted)).unwrap();
        assert_eq!(made, wanted);
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0, "the probe is gone");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                fs::metadata(&made).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }

    #[test]
    fn a_place_is_looked_at_without_making_anything() {
        let root = tempfile::tempdir().unwrap();
        examine(root.path()).unwrap();
        examine(&root.path().join("a/b")).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(
            examine(&file.join("below")),
            Err(DirError::Create { .. } | DirError::Unwritable { .. })
        ));
    }

    #[test]
    fn a_place_that_can_not_be_written_is_told_in_words() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        let words = ensure("qtc", Some(&file.join("below")))
            .unwrap_err()
            .to_string();
        assert!(
            words.contains("can't be created") && words.contains("--data-dir"),
            "{words}"
        );
        // /proc refuses new files, for root too.
        #[cfg(target_os = "linux")]
        {
            let words = ensure("qtc", Some(Path::new("/proc")))
                .unwrap_err()
                .to_string();
            assert!(
                words.contains("can't be written") && words.contains("chown"),
                "{words}"
            );
        }
    }
}
