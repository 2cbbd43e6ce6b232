//! The shape of a payload, checked without allocating: every count against its cap and against the
//! bytes that are there.
//!
//! The `bitcoin` crate's decoder believes counts to a point: a transaction of 87 bytes whose witness
//! claims 4,000,000 items makes it allocate 16 MB, a vector's claimed length up to 1 MB. After this scan
//! a count is never larger than the bytes behind it can fill, so what the decoder allocates is a small
//! multiple of what arrived. [`limits`] bounds that too.

use bitcoin::consensus::encode;

use super::error::WireError;
use super::limits::{
    self, ADDRESS_ENTRY, HEADER_ENTRY, INVENTORY_ENTRY, MAX_ADDRESS_BYTES, MAX_ADDRESSES,
    MAX_BLOCK_TRANSACTIONS, MAX_HEADERS, MAX_INVENTORY, MAX_LOCATOR, MAX_USER_AGENT,
    MAX_WITNESS_ITEMS, MIN_ADDRESS_V2_ENTRY, MIN_INPUT, MIN_OUTPUT, MIN_TRANSACTION,
};

/// Bytes of a block header.
const HEADER: usize = 80;
/// Bytes of a hash.
const HASH: usize = 32;
/// Bytes of a BIP 152 short transaction id.
const SHORT_ID: usize = 6;

/// Checks that `payload` has the shape of `command`, to its last byte. Commands without counts pass.
pub(super) fn check(command: &str, payload: &[u8]) -> Result<(), WireError> {
    let mut scan = Scan {
        command,
        rest: payload,
    };
    match command {
        "version" => scan.version()?,
        "addr" => scan.entries("addresses", MAX_ADDRESSES, ADDRESS_ENTRY)?,
        "addrv2" => scan.addresses_v2()?,
        "inv" | "getdata" | "notfound" => {
            scan.entries("inventory entries", MAX_INVENTORY, INVENTORY_ENTRY)?;
        }
        "headers" => scan.entries("headers", MAX_HEADERS, HEADER_ENTRY)?,
        "getheaders" | "getblocks" => {
            scan.skip(4)?;
            scan.entries("locator hashes", MAX_LOCATOR, HASH)?;
            scan.skip(HASH)?;
        }
        "tx" => scan.transaction()?,
        "block" => {
            scan.skip(HEADER)?;
            scan.transactions()?;
        }
        "cmpctblock" => scan.compact_block()?,
        "getblocktxn" => scan.block_transactions_request()?,
        "blocktxn" => {
            scan.skip(HASH)?;
            scan.transactions()?;
        }
        "reject" => {
            scan.bytes("bytes of command")?;
            scan.skip(1)?;
            scan.bytes("bytes of reason")?;
            scan.skip(HASH)?;
        }
        _ => return Ok(()),
    }
    scan.end()
}

/// What is left of a payload.
struct Scan<'a> {
    command: &'a str,
    rest: &'a [u8],
}

impl Scan<'_> {
    fn version(&mut self) -> Result<(), WireError> {
        self.skip(4 + 8 + 8 + 26 + 26 + 8)?;
        let length = self.count("bytes of user agent", MAX_USER_AGENT, 1)?;
        self.skip(length + 4 + 1)
    }

    fn addresses_v2(&mut self) -> Result<(), WireError> {
        for _ in 0..self.count("addresses", MAX_ADDRESSES, MIN_ADDRESS_V2_ENTRY)? {
            self.skip(4)?;
            self.compact_size()?;
            self.skip(1)?;
            let length = self.count("bytes of address", MAX_ADDRESS_BYTES, 1)?;
            self.skip(length + 2)?;
        }
        Ok(())
    }

    fn compact_block(&mut self) -> Result<(), WireError> {
        self.skip(HEADER + 8)?;
        self.entries("short ids", MAX_BLOCK_TRANSACTIONS, SHORT_ID)?;
        let least = 1 + MIN_TRANSACTION;
        for _ in 0..self.count("prefilled transactions", MAX_BLOCK_TRANSACTIONS, least)? {
            self.compact_size()?;
            self.transaction()?;
        }
        Ok(())
    }

    fn block_transactions_request(&mut self) -> Result<(), WireError> {
        self.skip(HASH)?;
        for _ in 0..self.count("transaction indexes", MAX_BLOCK_TRANSACTIONS, 1)? {
            self.compact_size()?;
        }
        Ok(())
    }

    fn transactions(&mut self) -> Result<(), WireError> {
        for _ in 0..self.count("transactions", MAX_BLOCK_TRANSACTIONS, MIN_TRANSACTION)? {
            self.transaction()?;
        }
        Ok(())
    }

    /// A transaction with or without witness (BIP 144): an input count of zero is the witness marker.
    fn transaction(&mut self) -> Result<(), WireError> {
        self.skip(4)?;
        let mut inputs = self.inputs()?;
        let has_witness = inputs == 0;
        if has_witness {
            self.skip(1)?;
            inputs = self.inputs()?;
        }
        for _ in 0..self.count("outputs", usize::MAX, MIN_OUTPUT)? {
            self.skip(8)?;
            self.bytes("bytes of output script")?;
        }
        if has_witness {
            for _ in 0..inputs {
                for _ in 0..self.count("witness items", MAX_WITNESS_ITEMS, 1)? {
                    self.bytes("bytes of witness item")?;
                }
            }
        }
        self.skip(4)
    }

    fn inputs(&mut self) -> Result<usize, WireError> {
        let inputs = self.count("inputs", usize::MAX, MIN_INPUT)?;
        for _ in 0..inputs {
            self.skip(36)?;
            self.bytes("bytes of input script")?;
            self.skip(4)?;
        }
        Ok(inputs)
    }

    /// A count and as many entries of `size` bytes.
    fn entries(&mut self, what: &'static str, cap: usize, size: usize) -> Result<(), WireError> {
        let count = self.count(what, cap, size)?;
        self.skip(count * size)
    }

    /// A length and as many bytes.
    fn bytes(&mut self, what: &'static str) -> Result<(), WireError> {
        let length = self.count(what, usize::MAX, 1)?;
        self.skip(length)
    }

    /// A count of things of `least` bytes or more: at most `cap` and at most what the rest can hold. So
    /// `count * least` is at most the length of the payload.
    fn count(&mut self, what: &'static str, cap: usize, least: usize) -> Result<usize, WireError> {
        let count = self.compact_size()?;
        let max = cap.min(self.rest.len() / least);
        match usize::try_from(count) {
            Ok(number) if number <= max => Ok(number),
            _ => Err(WireError::TooMany {
                command: self.command.to_owned(),
                what,
                count,
                max,
            }),
        }
    }

    /// A CompactSize in its shortest form, as the codec demands.
    fn compact_size(&mut self) -> Result<u64, WireError> {
        let (value, least) = match self.take::<1>()? {
            [0xfd] => (u64::from(u16::from_le_bytes(self.take()?)), 0xfd),
            [0xfe] => (u64::from(u32::from_le_bytes(self.take()?)), 0x1_0000),
            [0xff] => (u64::from_le_bytes(self.take()?), 0x1_0000_0000),
            [small] => (u64::from(small), 0),
        };
        if value < least {
            let source = encode::Error::NonMinimalVarInt;
            return Err(WireError::Malformed {
                command: self.command.to_owned(),
                source,
            });
        }
        Ok(value)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.too_short(N));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), WireError> {
        let Some(rest) = self.rest.get(count..) else {
            return Err(self.too_short(count));
        };
        self.rest = rest;
        Ok(())
    }

    fn end(&self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(WireError::TrailingBytes {
                command: self.command.to_owned(),
                count,
            }),
        }
    }

    fn too_short(&self, expected: usize) -> WireError {
        WireError::Truncated {
            expected,
            actual: self.rest.len(),
        }
    }
}

// A payload that passes the scan fits its command's cap, so the multiplications above cannot overflow.
const _: () = assert!(limits::MAX_BLOCK < usize::MAX / INVENTORY_ENTRY);
