//! The chain as one file: to carry it to another machine, or past a network.
//!
//! The format is Bitcoin's `bootstrap.dat`: for each block from height 1 on the network's magic, the length
//! (4 bytes, little-endian) and the serialized block.

use std::io::{self, Read, Write};

use bitcoin::Block;
use bitcoin::block::Header;
use bitcoin::consensus::encode::deserialize;
use thiserror::Error;

use super::{Blockchain, MAX_HEADERS_PER_MESSAGE};
use crate::chain::{BlockError, BlockRef, HeaderError, StoreError};

/// Blocks that are connected at a time, as many as the chain writer hands over.
const RUN_BLOCKS: usize = 64;
/// Serialized bytes after which fewer are.
const RUN_BYTES: u64 = 8 << 20;
/// Bytes before each block.
const HEAD: usize = 8;

/// Why a chain was not exported or imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file can't be read or written.
    #[error("the file can't be read or written: {0}")]
    Io(#[from] io::Error),
    /// The file holds something else.
    #[error(
        "byte {offset}: {what}\n  help: give a file that was made by an export of the same network"
    )]
    Format {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A header of the file was refused.
    #[error("byte {offset}: {source}")]
    Header {
        /// Where the block starts in the file.
        offset: u64,
        /// Why.
        source: HeaderError,
    },
    /// A block of the file was refused.
    #[error("byte {offset}: {source}")]
    Block {
        /// Where the block starts in the file.
        offset: u64,
        /// Why.
        source: BlockError,
    },
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Blockchain {
    /// Writes the verified chain from block 1 on; gives the last block written. `progress` is given each
    /// height.
    ///
    /// # Errors
    /// Where `out` or our own files refuse.
    pub fn export(
        &self,
        out: &mut impl Write,
        mut progress: impl FnMut(u32),
    ) -> Result<BlockRef, TransferError> {
        let mut last = BlockRef {
            height: 0,
            hash: self.spec().genesis_hash(),
        };
        while let Some(hash) = self.block_at(last.height.saturating_add(1)) {
            // A reorganisation in between: what was written is no longer one chain.
            let Some(block) = self.block(&hash)? else {
                break;
            };
            out.write_all(&self.spec().network_protocol.magic_bytes)?;
            // A block is smaller than 4 GB by far.
            out.write_all(&(block.len() as u32).to_le_bytes())?;
            out.write_all(&block)?;
            last = BlockRef {
                height: last.height + 1,
                hash,
            };
            progress(last.height);
        }
        out.flush()?;
        Ok(last)
    }

    /// Takes in the blocks of an exported file, verifying each as if a peer had sent it; gives the tip
    /// after. `now` is our clock, Unix seconds; `progress` is given the height of the tip. Blocks that are
    /// known are passed over.
    ///
    /// # Errors
    /// The first thing that is wrong; what came before it is kept.
    pub fn import(
        &self,
        input: &mut impl Read,
        now: u32,
        mut progress: impl FnMut(u32),
    ) -> Result<BlockRef, TransferError> {
        let mut offset = 0;
        loop {
            let mut run = Vec::new();
            let start = offset;
            while run.len() < RUN_BLOCKS && offset - start < RUN_BYTES {
                match self.read_block(input, offset)? {
                    Some((block, bytes)) => {
                        run.push((offset, block));
                        offset += bytes;
                    }
                    None => break,
                }
            }
            if run.is_empty() {
                self.flush()?;
                return Ok(self.tip());
            }
            self.import_run(run, start, now)?;
            progress(self.tip().height);
        }
    }

    fn import_run(
        &self,
        run: Vec<(u64, Block)>,
        start: u64,
        now: u32,
    ) -> Result<(), TransferError> {
        let (offsets, blocks): (Vec<u64>, Vec<Block>) = run.into_iter().unzip();
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        for part in headers.chunks(MAX_HEADERS_PER_MESSAGE) {
            self.accept_headers(part, now)
                .map_err(|source| TransferError::Header {
                    offset: start,
                    source,
                })?;
        }
        for (offset, result) in offsets.into_iter().zip(self.connect_blocks(&blocks)) {
            result.map_err(|source| TransferError::Block { offset, source })?;
        }
        Ok(())
    }

    /// The next block and how many bytes it took; `None` at the end of the file.
    fn read_block(
        &self,
        input: &mut impl Read,
        offset: u64,
    ) -> Result<Option<(Block, u64)>, TransferError> {
        let format = |what: String| TransferError::Format { offset, what };
        let mut head = Vec::with_capacity(HEAD);
        input.take(HEAD as u64).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(None);
        }
        let Some((magic, length)) = head.split_first_chunk::<4>() else {
            return Err(format("the file is cut off".into()));
        };
        if *magic != self.spec().network_protocol.magic_bytes {
            return Err(format("no block of this network starts here".into()));
        }
        let Ok(length) = <[u8; 4]>::try_from(length).map(u32::from_le_bytes) else {
            return Err(format("the file is cut off".into()));
        };
        if length as usize > self.spec().consensus.max_block_bytes {
            return Err(format(format!("a block of {length} bytes is too large")));
        }
        let mut bytes = Vec::new();
        input.take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() != length as usize {
            return Err(format("the file is cut off within a block".into()));
        }
        let block = deserialize(&bytes).map_err(|error| format(format!("no block: {error}")))?;
        Ok(Some((block, HEAD as u64 + u64::from(length))))
    }
}
