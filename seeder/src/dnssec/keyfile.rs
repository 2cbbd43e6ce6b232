//! Keys on disk, in the format that BIND's dnssec-keygen writes and that Knot, ldns and PowerDNS import: `K<zone>+<algorithm>+<tag>`
//! with `.private` and `.key`. Keys that these tools made can be put beside ours.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use hickory_proto::rr::Name;

use super::{
    key::{Algorithm, Key, KeyError, SECRET},
    times::{self, Times},
};
use crate::wire::name::WireName;

/// Most bytes of a key file; they have a few hundred.
const MAX_FILE: u64 = 16 << 10;

/// The first line of a private key file.
const FORMAT: &str = "Private-key-format: v1.3";

/// A key file that can't be read, used or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct KeyFileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is missing or has another form.
    #[error("no valid line `{0}`; is it a key file of BIND (Private-key-format v1)?")]
    Line(&'static str),
    /// Another algorithm.
    #[error("algorithm {0} is not supported: use 13 (ECDSAP256SHA256) or 15 (ED25519)")]
    Algorithm(String),
    /// The two files are not of one key.
    #[error("{0}; the .private and the .key file must come from the same key")]
    Key(#[from] KeyError),
    /// The file's name says another key.
    #[error("the file holds the key {0}; rename it or put the right file in its place")]
    Name(String),
    /// Others than its owner can read it.
    #[cfg(unix)]
    #[error(
        "the private key is readable by others (mode {0:o}); `chmod 600` it, and think of a new key"
    )]
    Open(u32),
    /// The file of a zone that is to become unsigned does not say since when.
    #[error("no line `Since: YYYYMMDDHHMMSS`; remove it, and write it again with `keys unsign`")]
    Since,
    /// It is there already.
    #[error("exists already")]
    Exists,
}

pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, KeyFileError>;
}

impl<T, E: Into<Fault>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, KeyFileError> {
        self.map_err(|fault| KeyFileError {
            path: path.to_owned(),
            fault: fault.into(),
        })
    }
}

/// The name of a key's files without `.key` and `.private`.
#[must_use]
pub fn stem(key: &Key) -> String {
    format!(
        "K{:?}+{:03}+{:05}",
        key.zone,
        key.algorithm().number(),
        key.tag()
    )
}

/// Writes the two files of a new key.
///
/// # Errors
/// [`KeyFileError`], also when they exist.
pub fn write(dir: &Path, key: &Key) -> Result<PathBuf, KeyFileError> {
    let path = dir.join(stem(key));
    let (private, public) = (
        path.with_added_extension("private"),
        path.with_added_extension("key"),
    );
    for path in [&private, &public] {
        if path.exists() {
            return Err(Fault::Exists).at(path);
        }
    }
    // A public key alone is passed over by whoever reads meanwhile.
    put(&public, &public_text(key), 0o644).at(&public)?;
    put(&private, &private_text(key), 0o600).at(&private)?;
    Ok(path)
}

/// Writes the two files again with the key's times.
///
/// # Errors
/// [`KeyFileError`].
pub fn rewrite(dir: &Path, key: &Key) -> Result<(), KeyFileError> {
    let path = dir.join(stem(key));
    let private = path.with_added_extension("private");
    put(&private, &private_text(key), 0o600).at(&private)?;
    let public = path.with_added_extension("key");
    put(&public, &public_text(key), 0o644).at(&public)
}

/// A whole file at once: whoever reads it finds the old one or the new one. A file that is replaced keeps its mode and owner, and a new
/// one belongs to whom the directory belongs, so that a daemon can read what root has made.
pub(super) fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let scratch = path.with_added_extension("new");
    match fs::remove_file(&scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&scratch)?;
    file.write_all(text.as_bytes())?;
    #[cfg(unix)]
    belong(&file, path)?;
    file.sync_all()?;
    fs::rename(&scratch, path)
}

#[cfg(unix)]
fn belong(file: &fs::File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let replaced = fs::metadata(path).ok();
    if let Some(old) = &replaced {
        file.set_permissions(old.permissions())?;
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let model = match replaced {
        Some(old) => old,
        None => fs::metadata(directory)?,
    };
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (model.uid(), model.gid()) {
        fchown(file, Some(model.uid()), Some(model.gid()))?;
    }
    Ok(())
}

fn moments(times: &Times) -> [(&'static str, Option<i64>); 7] {
    [
        ("Created", times.created),
        ("Publish", times.publish),
        ("Activate", times.activate),
        ("Inactive", times.inactive),
        ("Delete", times.delete),
        ("SyncPublish", times.sync_publish),
        ("SyncDelete", times.sync_delete),
    ]
}

fn private_text(key: &Key) -> String {
    let algorithm = key.algorithm();
    let mut text = format!(
        "{FORMAT}\nAlgorithm: {} ({})\nPrivateKey: {}\n",
        algorithm.number(),
        algorithm.name(),
        BASE64.encode(key.secret())
    );
    for (name, moment) in moments(&key.times) {
        if let Some(moment) = moment {
            // Writing to a String never fails.
            let _ = writeln!(text, "{name}: {}", times::written(moment));
        }
    }
    text
}

fn public_text(key: &Key) -> String {
    let role = if key.is_entry_point() { "key" } else { "zone" };
    let mut text = format!(
        "; This is a {role}-signing key, keyid {}, for {:?}\n",
        key.tag(),
        key.zone
    );
    for (name, moment) in moments(&key.times) {
        if let Some(moment) = moment {
            let _ = writeln!(text, "; {name}: {}", times::written(moment));
        }
    }
    let _ = writeln!(
        text,
        "{:?} IN DNSKEY {} 3 {} {}",
        key.zone,
        key.flags,
        key.algorithm().number(),
        BASE64.encode(key.public())
    );
    text
}

/// Reads the keys of the zones that are `wanted` from a directory, in the order of their files' names.
///
/// # Errors
/// [`KeyFileError`] for the first that can't be used.
pub fn read_all(dir: &Path, wanted: impl Fn(&WireName) -> bool) -> Result<Vec<Key>, KeyFileError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).at(dir)? {
        let path = entry.at(dir)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with('K') && name.ends_with(".private") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        let public = path.with_extension("key");
        let record = read_text(&public).at(&public)?;
        // Others' may be of algorithms that we don't know.
        if owner(&record).is_some_and(|zone| wanted(&zone)) {
            keys.push(read(&path)?);
        }
    }
    Ok(keys)
}

/// Reads a key from its `.private` file and the `.key` file beside it.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<Key, KeyFileError> {
    is_private(path).at(path)?;
    let public = path.with_extension("key");
    let record = read_text(&public).at(&public)?;
    let (zone, flags, algorithm, point) = parse_public(&record).at(&public)?;
    let text = read_text(path).at(path)?;
    let (secret, times) = parse_private(&text, algorithm).at(path)?;
    let key = Key::from_parts(zone, algorithm, flags, secret, point, times).at(path)?;
    let stem = stem(&key);
    if path.file_stem().and_then(|stem| stem.to_str()) == Some(&stem) {
        Ok(key)
    } else {
        Err(Fault::Name(stem)).at(path)
    }
}

pub(super) fn read_text(path: &Path) -> Result<String, Fault> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?
        .take(MAX_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(unix)]
fn is_private(path: &Path) -> Result<(), Fault> {
    match mode_open_to_others(path)? {
        None => Ok(()),
        Some(mode) => Err(Fault::Open(mode)),
    }
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> Result<(), Fault> {
    Ok(())
}

/// The mode of a file with a private key, when others than its owner and group may use it.
///
/// # Errors
/// When there is no such file, or nobody may look.
#[cfg(unix)]
pub(crate) fn mode_open_to_others(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    // The group may: that is how a daemon gets keys that root has made.
    Ok((mode & 0o007 != 0).then_some(mode))
}

/// Other systems have no such modes.
#[cfg(not(unix))]
pub(crate) fn mode_open_to_others(path: &Path) -> io::Result<Option<u32>> {
    fs::metadata(path).map(|_| None)
}

/// The zone of a public key file.
fn owner(text: &str) -> Option<WireName> {
    let line = text.lines().find(|line| is_record(line))?;
    let mut zone = Name::from_ascii(line.split_whitespace().next()?).ok()?;
    zone.set_fqdn(true);
    Some(WireName::of(&zone))
}

fn is_record(line: &str) -> bool {
    !line.starts_with(';') && line.contains("DNSKEY")
}

/// Zone, flags, algorithm and public key of a line `ZONE [TTL] [IN] DNSKEY FLAGS 3 ALGORITHM KEY…`.
fn parse_public(text: &str) -> Result<(WireName, u16, Algorithm, Vec<u8>), Fault> {
    const LINE: Fault = Fault::Line("ZONE IN DNSKEY FLAGS 3 ALGORITHM KEY");
    let zone = owner(text).ok_or(LINE)?;
    let line = text.lines().find(|line| is_record(line)).ok_or(LINE)?;
    let (_, record) = line.split_once("DNSKEY").ok_or(LINE)?;
    let mut fields = record.split_whitespace();
    let mut number = || fields.next()?.parse::<u16>().ok();
    let (Some(flags), Some(3), Some(algorithm)) = (number(), number(), number()) else {
        return Err(LINE);
    };
    let known = u8::try_from(algorithm).ok().and_then(Algorithm::of_number);
    let algorithm = known.ok_or_else(|| Fault::Algorithm(algorithm.to_string()))?;
    let key = BASE64
        .decode(fields.collect::<String>().as_bytes())
        .map_err(|_| LINE)?;
    Ok((zone, flags, algorithm, key))
}

fn parse_private(text: &str, algorithm: Algorithm) -> Result<([u8; SECRET], Times), Fault> {
    let field = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name == wanted).then(|| value.trim()))
    };
    let version = field("Private-key-format").unwrap_or_default();
    if !version.starts_with("v1") {
        return Err(Fault::Line("Private-key-format: v1.3"));
    }
    let found = field("Algorithm").unwrap_or_default();
    let number = found
        .split(' ')
        .next()
        .and_then(|number| number.parse::<u8>().ok());
    if number != Some(algorithm.number()) {
        return Err(Fault::Algorithm(found.to_owned()));
    }
    let secret = field("PrivateKey").and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let secret = secret.and_then(|bytes| bytes.try_into().ok());
    let secret = secret.ok_or(Fault::Line("PrivateKey: BASE64"))?;
    let moment = |name: &'static str| match field(name) {
        None => Ok(None),
        Some(text) => times::read(text).map(Some).ok_or(Fault::Line(name)),
    };
    let times = Times {
        created: moment("Created")?,
        publish: moment("Publish")?,
        activate: moment("Activate")?,
        inactive: moment("Inactive")?,
        delete: moment("Delete")?,
        sync_publish: moment("SyncPublish")?,
        sync_delete: moment("SyncDelete")?,
    };
    Ok((secret, times))
}

#[cfg(test)]
mod tests;
