//! Which autonomous system (AS) announces an address, by a map in Bitcoin Core's format (`-asmap`).
//!
//! One operator may own many /16s and /32s, but they all lie in few ASes. So where a map is configured,
//! diversity is counted by AS, and by [`Netgroup`](super::Netgroup) for what the map does not know.
//!
//! # The format
//! A file is a program in bits, the lowest bit of each byte first. It reads the 128 bits of an IPv6 address from
//! the highest one, an IPv4 address as `::ffff:a.b.c.d`, and ends with an AS:
//!
//! | bits | instruction | what it does |
//! |---|---|---|
//! | `0` | RETURN as | ends with this AS |
//! | `10` | JUMP n | reads one bit of the address: 0 goes on with the half that comes next, 1 skips its `n` bits |
//! | `110` | MATCH p | reads 1–8 bits of the address; if they differ from `p`, ends with the last DEFAULT's, if any |
//! | `111` | DEFAULT as | is what a failing MATCH ends with from here on |
//!
//! A number is of one of several widths: as many 1s as there are narrower widths, a 0 unless it is
//! the last one, and so many bits, the highest first. Each width goes on counting where the one before it
//! ended. Source: Bitcoin Core, `src/util/asmap.cpp` and `contrib/asmap/asmap.py`.
//!
//! # Trust
//! A map decides who counts as one party, so it must come from who is trusted. But no file does harm by its
//! form: the check reads every instruction once and remembers at most one place for each bit of an address,
//! and what it accepts can't be left, whichever address is looked up.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Size of a map in bytes, at most.
///
/// It is held in memory as it is, and checking takes time in proportion. Maps of the whole internet have 1 to
/// 2 MB (988,387 bytes in 2019, bitcoin/bitcoin#16702); more than 8 times that is another file.
const MAX_BYTES: usize = 16 << 20;

/// Bits of an address: those of IPv6, in which IPv4 is mapped.
const ADDRESS_BITS: u32 = 128;

/// The longest MATCH, in bits (`MATCH_BIT_SIZES` in Bitcoin Core).
const MATCH_BITS: u32 = 8;

/// Zero bits after the last instruction, at most: they only fill up the last byte.
const MAX_PADDING: usize = 7;

/// ASes, `ASN_BIT_SIZES` in Bitcoin Core: 1 to 33,521,664. Higher ones can't be in a map.
const AS: Code = Code {
    first: 1,
    widths: (15, 24),
};

/// What a MATCH compares, `MATCH_BIT_SIZES`: a 1, and then the bits that are expected.
const MATCH: Code = Code {
    first: 2,
    widths: (1, MATCH_BITS),
};

/// Lengths of the first half of a JUMP, `JUMP_BIT_SIZES`; 17 bits is the shortest RETURN.
const JUMP: Code = Code {
    first: 17,
    widths: (5, 30),
};

/// Where maps come from, for messages.
const HELP: &str = "take a map from https://github.com/bitcoin-core/asmap-data, or make one from a list in \
                    text form by `asmap-tool.py encode` of Bitcoin Core (contrib/asmap)";

/// A map from addresses to autonomous systems. Checked whole when it is read: a lookup never fails.
pub struct AsMap {
    /// Passed [`check`].
    bytes: Box<[u8]>,
}

/// Why a map can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsMapError {
    /// The file can't be read.
    #[error("{}: can't read the AS map: {source}\n  help: check path, owner and permissions; {}", path.display(), HELP)]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Larger than any map of the internet.
    #[error(
        "{origin}: more than {limit} bytes, which no AS map has\n  help: this is probably another file; {}",
        HELP
    )]
    TooLarge {
        /// The file, or `AS map` for bytes that came from elsewhere.
        origin: String,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not a map, or a damaged one.
    #[error(
        "{origin}: no AS map, or a damaged one: bit {bit}: {fault}\n  help: compare its SHA-256 with the published one; {}",
        HELP
    )]
    Malformed {
        /// The file, or `AS map` for bytes that came from elsewhere.
        origin: String,
        /// Offset in bits, from 0. A byte's lowest bit comes first.
        bit: usize,
        /// What is wrong there.
        fault: AsMapFault,
    },
}

/// What is wrong at one place of a map. Bitcoin Core refuses the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AsMapFault {
    /// The bytes end within an instruction, or before one that must follow.
    #[error("the file ends before its last RETURN")]
    Ends,
    /// More than a byte's rest after the last instruction, or a rest that is not zero.
    #[error("something follows the last RETURN")]
    Padding,
    /// The second half of a JUMP would lie behind the end.
    #[error("a JUMP leads past the end")]
    PastEnd,
    /// Two JUMPs cross: the inner one leads into the second half of the outer one.
    #[error("a JUMP leads out of the half that it is in")]
    Crossing,
    /// The first half of a JUMP does not end where the second begins.
    #[error("the first half of a JUMP runs into the second")]
    Overlap,
    /// Bits between the two halves of a JUMP.
    #[error("no instruction leads here")]
    Unreachable,
    /// An address has no bits left to be read.
    #[error("more bits are asked for than an address has")]
    AddressEnds,
    /// Another DEFAULT or a RETURN follows at once.
    #[error("a DEFAULT without effect comes before this")]
    IdleDefault,
    /// Only one of two adjacent MATCHes may have less than 8 bits.
    #[error("a second MATCH of less than 8 bits in a row")]
    ShortMatches,
}

impl AsMap {
    /// Reads and checks a map. It waits for the disk.
    ///
    /// # Errors
    /// When the file can't be read, or is no map.
    pub fn load(path: &Path) -> Result<Self, AsMapError> {
        let failed = |source| AsMapError::Io {
            path: path.into(),
            source,
        };
        // Opening a pipe could wait for ever.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a file");
            return Err(failed(error));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .map_err(failed)?
            .take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Self::checked(bytes, path.display().to_string())
    }

    /// Checks a map.
    ///
    /// # Errors
    /// When the bytes are no map.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, AsMapError> {
        Self::checked(bytes, "AS map".into())
    }

    fn checked(bytes: Vec<u8>, origin: String) -> Result<Self, AsMapError> {
        if bytes.len() > MAX_BYTES {
            return Err(AsMapError::TooLarge {
                origin,
                limit: MAX_BYTES,
            });
        }
        match check(&bytes) {
            Ok(()) => Ok(Self {
                bytes: bytes.into(),
            }),
            Err((bit, fault)) => Err(AsMapError::Malformed { origin, bit, fault }),
        }
    }

    /// The AS that announces the address; `None` when the map does not know.
    ///
    /// IPv4-mapped IPv6 is IPv4. An IPv4 address in a tunnel's prefix (6to4, Teredo, NAT64) is not looked for,
    /// as [`netgroup`](super::netgroup) does not; Bitcoin Core does. Published maps are often filled up, so
    /// that reserved addresses have an AS too: ask for routable ones only
    /// ([`is_routable`](super::netgroup::is_routable)).
    pub fn lookup(&self, ip: IpAddr) -> Option<u32> {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.find(ip.into()).flatten()
    }

    /// The outer `None` would mean that the bytes end within the program, which [`check`] rules out.
    fn find(&self, address: u128) -> Option<Option<u32>> {
        // The next bit to be read is the highest one.
        let mut unread = address;
        let mut default = None;
        let mut reader = Reader::new(&self.bytes);
        // Each instruction lies behind the one before, so this ends whatever the bytes are.
        loop {
            match reader.instruction()? {
                Instruction::Return(system) => return Some(Some(system)),
                Instruction::Default(system) => default = Some(system),
                Instruction::Jump(first_half) => {
                    if unread >> (ADDRESS_BITS - 1) == 1 {
                        reader.at += first_half;
                    }
                    unread <<= 1;
                }
                Instruction::Match { length, pattern } => {
                    if unread >> (ADDRESS_BITS - length) != u128::from(pattern) {
                        return Some(default);
                    }
                    unread <<= length;
                }
            }
        }
    }
}

impl fmt::Debug for AsMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsMap")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The second half of a JUMP whose first half is being checked.
struct SecondHalf {
    /// Its first bit.
    start: usize,
    /// Bits of the address that are left there.
    unread: u32,
}

/// What an instruction may depend on in the one that runs before it.
enum Before {
    Default,
    Match { short: bool },
    Other,
}

/// Whether every address can be looked up, by the rules of `SanityCheckASMap` in Bitcoin Core. Otherwise where
/// and what is wrong.
///
/// Instructions are read in the order of the file, each once. First halves come before second ones, so those
/// that are still to come are a stack with the nearest on top; each of its entries has fewer bits of the address
/// left than the one below, hence there are at most 128.
fn check(bytes: &[u8]) -> Result<(), (usize, AsMapFault)> {
    let mut reader = Reader::new(bytes);
    let mut second_halves: Vec<SecondHalf> = Vec::new();
    let mut unread = ADDRESS_BITS;
    let mut before = Before::Other;
    loop {
        let at = reader.at;
        let next_half = second_halves.last().map(|half| half.start);
        if let Some(start) = next_half
            && start <= at
        {
            return Err((start, AsMapFault::Overlap));
        }
        let instruction = reader.instruction().ok_or((at, AsMapFault::Ends))?;
        before = match (instruction, before) {
            (Instruction::Return(_) | Instruction::Default(_), Before::Default) => {
                return Err((at, AsMapFault::IdleDefault));
            }
            (Instruction::Default(_), _) => Before::Default,
            (Instruction::Return(_), _) => {
                let Some(half) = second_halves.pop() else {
                    return check_padding(reader);
                };
                if reader.at > half.start {
                    return Err((half.start, AsMapFault::Overlap));
                }
                if reader.at < half.start {
                    return Err((reader.at, AsMapFault::Unreachable));
                }
                unread = half.unread;
                Before::Other
            }
            (Instruction::Jump(first_half), _) => {
                unread = unread.checked_sub(1).ok_or((at, AsMapFault::AddressEnds))?;
                let start = reader.at + first_half;
                if start >= reader.end() {
                    return Err((at, AsMapFault::PastEnd));
                }
                if next_half.is_some_and(|outer| outer <= start) {
                    return Err((at, AsMapFault::Crossing));
                }
                second_halves.push(SecondHalf { start, unread });
                Before::Other
            }
            (Instruction::Match { length, .. }, before) => {
                unread = unread
                    .checked_sub(length)
                    .ok_or((at, AsMapFault::AddressEnds))?;
                let short = length < MATCH_BITS;
                if short && matches!(before, Before::Match { short: true }) {
                    return Err((at, AsMapFault::ShortMatches));
                }
                Before::Match { short }
            }
        };
    }
}

/// Whether only zeros that fill up the last byte are left.
fn check_padding(mut reader: Reader<'_>) -> Result<(), (usize, AsMapFault)> {
    let at = reader.at;
    let mut clean = reader.end() - at <= MAX_PADDING;
    while clean && let Some(bit) = reader.bit() {
        clean = !bit;
    }
    if clean {
        Ok(())
    } else {
        Err((at, AsMapFault::Padding))
    }
}

/// How numbers of one kind are written.
struct Code {
    /// The lowest number.
    first: u32,
    /// The lowest and the highest width in bits; all between them occur.
    widths: (u32, u32),
}

enum Instruction {
    Return(u32),
    /// Bits to skip when the address's bit is 1.
    Jump(usize),
    /// The lower `length` bits of `pattern`, the others being 0.
    Match {
        length: u32,
        pattern: u32,
    },
    Default(u32),
}

/// Reads bits; `None` when there are no more.
struct Reader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn end(&self) -> usize {
        self.bytes.len() * 8
    }

    fn instruction(&mut self) -> Option<Instruction> {
        if !self.bit()? {
            return Some(Instruction::Return(self.number(&AS)?));
        }
        if !self.bit()? {
            return Some(Instruction::Jump(self.number(&JUMP)? as usize));
        }
        if self.bit()? {
            return Some(Instruction::Default(self.number(&AS)?));
        }
        let number = self.number(&MATCH)?;
        let length = number.ilog2();
        Some(Instruction::Match {
            length,
            pattern: number ^ (1 << length),
        })
    }

    fn number(&mut self, code: &Code) -> Option<u32> {
        let (mut width, widest) = code.widths;
        let mut number = code.first;
        while width < widest && self.bit()? {
            number += 1 << width;
            width += 1;
        }
        for place in (0..width).rev() {
            number += u32::from(self.bit()?) << place;
        }
        Some(number)
    }

    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = (byte >> (self.at % 8)) & 1 == 1;
        self.at += 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests;
