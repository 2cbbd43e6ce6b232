//! The secret that changing calls need: 256 bits from the system, as 64 hexadecimal digits in a file of the data directory that
//! only its owner can read. Whoever may read that file may command the node; nobody else, not even other users of the machine.
//!
//! Made at the first start; a new one is made when the file is deleted and the node started again.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Its file inside the data directory.
pub const FILE_NAME: &str = "api.token";

/// Bytes of the secret.
const BYTES: usize = 32;

/// Hexadecimal digits in the file.
const DIGITS: usize = 2 * BYTES;

/// Why there is no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file can't be read or made.
    #[error("the API's token file {} can't be {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no such file.
    #[error(
        "there is no API token {}: the node makes it when it starts; is this its data directory (--data-dir, --network), \
         or another one's file (--token-file)?", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A link, a directory, a pipe.
    #[error("{} is no plain file: remove it, and the node makes a new token when it starts", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "the API's token file {0} is open to other users (mode {mode:03o}): whoever has read it can command the node. \
         Remove it and start the node again for a new token; chmod 600 {0} keeps this one", path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is another user's.
    #[error(
        "the API's token file {} belongs to user {owner}, who could change it: run this as that user, or remove the file",
        path.display()
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// It does not hold a token.
    #[error(
        "the API's token file {} does not hold {DIGITS} hexadecimal digits: remove it, and the node makes a new token when it \
         starts", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("no token for the API can be made: the system gives no random numbers")]
    NoRandomness,
}

/// The secret. Shown nowhere; written only to its file.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(String);

impl ApiToken {
    /// The token of a node's data directory; made where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`TokenError`]. A file that is there is never replaced.
    pub fn load_or_create(dir: &Path) -> Result<Self, TokenError> {
        let path = dir.join(FILE_NAME);
        match Self::load(&path) {
            Err(TokenError::Missing { .. }) => Self::create(&path),
            found => found,
        }
    }

    /// The token that a file holds. Blocks on the disk.
    ///
    /// # Errors
    /// [`TokenError`]; also when others than its owner could have read or written it.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = io_error("read", path);
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, not_through_links());
        let file = match options.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TokenError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => {
                return Err(not_a_file(path));
            }
            Err(error) => return Err(failed(error)),
        };
        check_file(&file, path)?;
        let mut text = String::new();
        let read = file.take(DIGITS as u64 + 2).read_to_string(&mut text);
        let damaged = || TokenError::Damaged {
            path: path.to_owned(),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged()),
            read => read.map_err(failed)?,
        };
        let token = text.trim_end();
        let whole = token.len() == DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit());
        whole
            .then(|| Self(token.to_ascii_lowercase()))
            .ok_or_else(damaged)
    }

    /// The digits, to be sent as bearer token (RFC 6750).
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether somebody has it. Takes as long whatever he has.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    fn create(path: &Path) -> Result<Self, TokenError> {
        let failed = io_error("made", path);
        let mut secret = [0; BYTES];
        OsRng
            .try_fill_bytes(&mut secret)
            .map_err(|_| TokenError::NoRandomness)?;
        let token = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = Self(token);
        // Whoever reads the file meanwhile finds a whole one or none.
        let temporary = path.with_extension("token.new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary).map_err(&failed)?;
        file.write_all(format!("{}\n", token.0).as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, path))
            .map_err(&failed)?;
        Ok(token)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

fn not_a_file(path: &Path) -> TokenError {
    TokenError::NotAFile {
        path: path.to_owned(),
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> TokenError + 'a {
    move |source| TokenError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A link in its place is an error, and nobody waits for the writer of a pipe.
#[cfg(unix)]
fn not_through_links() -> i32 {
    use rustix::fs::OFlags;

    // The flags fit, whatever type the system has for them.
    i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default()
}

/// The file that was opened is a plain one of this user (or of the superuser, or this is the superuser), and closed to others.
#[cfg(unix)]
fn check_file(file: &File, path: &Path) -> Result<(), TokenError> {
    use std::os::unix::fs::MetadataExt;

    let found = file.metadata().map_err(io_error("read", path))?;
    if !found.is_file() {
        return Err(not_a_file(path));
    }
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != us && owner != 0 && us != 0 {
        return Err(TokenError::ForeignOwner {
            path: path.to_owned(),
            owner,
        });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Other systems keep who may read a file in ways that a mode cannot tell.
#[cfg(not(unix))]
fn check_file(file: &File, path: &Path) -> Result<(), TokenError> {
    let found = file.metadata().map_err(io_error("read", path))?;
    found
        .is_file()
        .then_some(())
        .ok_or_else(|| not_a_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let token = ApiToken::load_or_create(dir.path()).unwrap();
        assert_eq!(token.secret().len(), DIGITS);
        assert_eq!(ApiToken::load_or_create(dir.path()).unwrap(), token);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(ApiToken::load_or_create(other.path()).unwrap(), token);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(!format!("{token:?}").contains(token.secret()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let file = fs::metadata(dir.path().join(FILE_NAME)).unwrap();
            assert_eq!(file.mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn only_the_whole_secret_is_it() {
        let token = ApiToken("ab".repeat(BYTES));
        assert!(token.is(&"ab".repeat(BYTES)));
        for wrong in ["", "ab", &"AB".repeat(BYTES), &"ab".repeat(BYTES + 1)] {
            assert!(!token.is(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_told_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let missing = ApiToken::load(&path).unwrap_err().to_string();
        assert!(missing.contains("--data-dir"), "{missing}");
        for text in [
            &b""[..],
            b"abc",
            &[b'x'; DIGITS],
            &[b'a'; DIGITS + 1],
            b"\xff\xfe",
        ] {
            private(&path, text);
            let error = ApiToken::load_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, TokenError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), text);
            fs::remove_file(&path).unwrap();
        }
    }

    fn private(path: &Path, text: &[u8]) {
        fs::write(path, text).unwrap();
        #[cfg(unix)]
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_directories_pipes_and_open_files_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let elsewhere = dir.path().join("elsewhere");
        private(&elsewhere, "ab".repeat(BYTES).as_bytes());
        symlink(&elsewhere, &path).unwrap();
        let error = ApiToken::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, TokenError::NotAFile { .. }), "{error}");
        fs::remove_file(&path).unwrap();
        // One that leads nowhere is no way to have the node write there either.
        symlink(dir.path().join("nowhere"), &path).unwrap();
        let error = ApiToken::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, TokenError::NotAFile { .. }), "{error}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = ApiToken::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, TokenError::NotAFile { .. }), "{error}");
        fs::remove_dir(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = ApiToken::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, TokenError::NotAFile { .. }), "{error}");
        fs::remove_file(&path).unwrap();

        private(&path, "ab".repeat(BYTES).as_bytes());
        assert!(ApiToken::load(&path).is_ok());
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = ApiToken::load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    /// Only the superuser can give a file away, and he may read all of them: so this looks from both sides.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_foreign_file_is_refused_unless_this_is_the_superuser() {
        use rustix::process::geteuid;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        private(&path, "ab".repeat(BYTES).as_bytes());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(ApiToken::load(&path).is_ok());
        } else {
            let passwords = Path::new("/etc/hostname");
            assert!(ApiToken::load(passwords).is_err());
        }
    }
}
