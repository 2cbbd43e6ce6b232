//! What several targets need: a script of bytes that says what happens, framed messages, and a directory for files.

use std::path::PathBuf;
use std::process;

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::Magic;
use quantumcoin::wire::Envelope;

/// The magic bytes of all messages in here.
const MAGIC: [u8; 4] = *b"QTCM";

/// Reads what is to happen from a fuzzer's bytes; over when they are.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    /// The next `N` bytes, if there are so many.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    /// The next two bytes, as are the numbers below, the lowest first.
    pub fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }
}

/// A directory of this process that exists and is for `target` alone; below `TMPDIR`, which is fast when it is in memory.
///
/// # Panics
/// If it can't be made.
pub fn scratch(target: &str) -> PathBuf {
    let name = format!("quantumcoin-fuzz-{target}-{}", process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory for files");
    dir
}

/// The envelope of [`framed`].
#[must_use]
pub fn envelope() -> Envelope {
    Envelope::new(Magic::from_bytes(MAGIC))
}

/// Any payload under a right header.
#[must_use]
pub fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(command.as_bytes());
    bytes.resize(16, 0);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    bytes.extend_from_slice(payload);
    bytes
}
