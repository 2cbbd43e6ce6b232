//! `identity.key` on disk.
//!
//! ```text
//! magic "QTCIDKEY" (8) ‖ version u32 (4) ‖ ML-DSA-44 seed (32) ‖ X25519 private key (32)
//!     ‖ SHA-256 of all before (32)                                            = 108 bytes
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::crypto::X25519_LEN;
use super::identity::SEED_LEN;

const MAGIC: &[u8; 8] = b"QTCIDKEY";
const VERSION: u32 = 1;
const BODY_LEN: usize = 8 + 4 + SEED_LEN + X25519_LEN;
const FILE_LEN: usize = BODY_LEN + 32;

/// Why the identity file cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("cannot {action} the identity file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others may read the private key.
    #[error(
        "the identity file {0} is open to other users (mode {mode:03o}); close it with: chmod 600 {0}",
        path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what we wrote.
    #[error(
        "the identity file {} is damaged: {what}; restore it from a backup, or move it away to let \
         the node make a new identity", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file was written by a newer program.
    #[error(
        "the identity file {} has version {found}, this program reads version {VERSION}; use a \
         newer program", path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Keys cannot be made or used.
    #[error("the identity keys cannot be used: {0}")]
    Unusable(&'static str),
}

/// What the file keeps.
pub(super) struct Secrets {
    pub(super) seed: [u8; SEED_LEN],
    pub(super) static_private: [u8; X25519_LEN],
}

/// Reads the file; `None` when there is none.
pub(super) fn load(path: &Path) -> Result<Option<Secrets>, IdentityError> {
    let failed = io_error("read", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check_mode(&file, path)?;
    let mut bytes = Vec::with_capacity(FILE_LEN + 1);
    file.take(FILE_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    parse(&bytes, path).map(Some)
}

/// Writes the file beside its place, makes it durable and moves it there.
pub(super) fn create(path: &Path, secrets: &Secrets) -> Result<(), IdentityError> {
    let failed = io_error("create", path);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = private_file(&temporary).map_err(&failed)?;
    file.write_all(&serialize(secrets)).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    fs::rename(&temporary, path).map_err(&failed)?;
    sync_directory(path).map_err(&failed)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Secrets, IdentityError> {
    let damaged = |what| IdentityError::Damaged {
        path: path.to_owned(),
        what,
    };
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged("it is too short"));
    };
    if magic != MAGIC {
        return Err(damaged("it is not an identity file"));
    }
    let Some((version, rest)) = rest.split_first_chunk::<4>() else {
        return Err(damaged("it is too short"));
    };
    let found = u32::from_be_bytes(*version);
    if found > VERSION {
        return Err(IdentityError::NewerVersion {
            path: path.to_owned(),
            found,
        });
    }
    let Some((seed, rest)) = rest.split_first_chunk::<SEED_LEN>() else {
        return Err(damaged("it is too short"));
    };
    let Some((static_private, checksum)) = rest.split_first_chunk::<X25519_LEN>() else {
        return Err(damaged("it is too short"));
    };
    let body = bytes.get(..BODY_LEN).unwrap_or_default();
    if checksum != digest(&SHA256, body).as_ref() {
        return Err(damaged("its checksum does not match"));
    }
    if found != VERSION {
        return Err(damaged("its version does not exist"));
    }
    Ok(Secrets {
        seed: *seed,
        static_private: *static_private,
    })
}

fn serialize(secrets: &Secrets) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&secrets.seed);
    bytes.extend_from_slice(&secrets.static_private);
    let checksum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(checksum.as_ref());
    bytes
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> IdentityError + Copy + 'a {
    move |source| IdentityError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(unix)]
fn check_mode(file: &File, path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file
        .metadata()
        .map_err(io_error("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(IdentityError::OpenToOthers {
        path: path.to_owned(),
        mode,
    })
}

/// Other systems keep who may read a file in ways that a mode cannot tell.
#[cfg(not(unix))]
fn check_mode(_file: &File, _path: &Path) -> Result<(), IdentityError> {
    Ok(())
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the rename durable; a directory can be opened and synced on Unix only.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) {
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
