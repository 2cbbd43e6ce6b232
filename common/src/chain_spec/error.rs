//! Why a chain spec was not loaded, in words that say where to look and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a chain spec was not loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainSpecError {
    /// The file is there but can't be read.
    #[error("{}: can't read the chain spec: {source}\n  help: check the file's owner and permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No file at a path that was asked for by name.
    #[error("{}: no such chain spec\n  help: check the path, or leave it out to use the built-in mainnet", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path names a directory or a device.
    #[error("{}: not a file\n  help: name the chain spec's TOML file itself, e.g. {}", path.display(), path.join("chain_spec.toml").display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than a chain spec can be.
    #[error("{}: {bytes} bytes or more; a chain spec has at most {limit}\n  help: this is probably another file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes found before reading stopped.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file holds bytes that are no text.
    #[error("{}:{line}: byte {offset} is not UTF-8 text\n  help: save the file as UTF-8; if it is not a text file, name another", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The byte's offset in the file, from 0.
        offset: usize,
    },
    /// The text is no valid chain spec.
    #[error(transparent)]
    Invalid(#[from] Box<SpecFault>),
}

/// One fault in a chain spec's text, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{origin}:{line}:{column}: {}{problem}\n  help: {remedy}",
    key_prefix(key)
)]
#[non_exhaustive]
pub struct SpecFault {
    /// What the text is called, usually a path.
    pub origin: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key in dotted form, e.g. `network_protocol.default_port`; empty where no key could be read.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}
