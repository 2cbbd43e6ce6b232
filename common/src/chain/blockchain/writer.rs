//! The writer's part: what a connected block changes besides the headers, and flushing it.

use std::collections::HashMap;

use bitcoin::BlockHash;
use bitcoin::consensus::encode::serialize;

use super::{Blockchain, State};
use crate::chain::StoreError;
use crate::chain::coins::{CoinCache, NoDatabase, Undo};
use crate::chain::store::{BlockReader, BlockStore, Standing};
use crate::chain::tree::Location;

/// What is changed under the writer's lock.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` for a chain without files.
    files: Option<BlockStore>,
    /// The coins as the verified tip leaves them.
    pub(super) coins: CoinCache,
    /// By height of the verified chain, from block 1 on.
    undo: Vec<UndoPlace>,
    /// What became known of blocks since the last flush.
    standings: HashMap<BlockHash, Standing>,
    /// Something failed half-way: memory may not agree with the files, and nothing more is done.
    broken: bool,
}

/// Where a block's undo data is.
#[derive(Debug)]
pub(super) enum UndoPlace {
    Memory(Undo),
    File(Location),
}

impl Writer {
    pub(super) fn in_memory() -> Self {
        Self {
            files: None,
            coins: CoinCache::new(Box::new(NoDatabase)),
            undo: Vec::new(),
            standings: HashMap::new(),
            broken: false,
        }
    }

    /// `undo` has the places of the undo data of the verified chain, from block 1 on.
    pub(super) fn on_disk(files: BlockStore, undo: Vec<Location>) -> Self {
        Self {
            coins: CoinCache::new(Box::new(files.database().clone())),
            files: Some(files),
            undo: undo.into_iter().map(UndoPlace::File).collect(),
            ..Self::in_memory()
        }
    }

    pub(super) fn reader(&self) -> Option<BlockReader> {
        self.files.as_ref().map(BlockStore::reader)
    }

    pub(super) fn files(&self) -> Option<&BlockStore> {
        self.files.as_ref()
    }

    /// Where the undo data of the verified block at `height` is.
    pub(super) fn undo_at(&self, height: u32) -> Option<&UndoPlace> {
        self.undo.get((height as usize).checked_sub(1)?)
    }

    pub(super) fn files_mut(&mut self) -> Option<&mut BlockStore> {
        self.files.as_mut()
    }

    /// Refuses to go on after a failure.
    pub(super) fn check_running(&self) -> Result<(), StoreError> {
        match &self.files {
            Some(files) if self.broken => Err(files.stopped_error()),
            _ => Ok(()),
        }
    }

    /// Something failed half-way.
    pub(super) fn stop(&mut self) {
        self.broken = true;
    }

    pub(super) fn is_dirty(&self) -> bool {
        let written = self.files.as_ref().is_some_and(BlockStore::is_dirty);
        !self.broken && (written || !self.standings.is_empty())
    }

    /// The undo data of the block that is connected last goes.
    pub(super) fn pop_undo(&mut self) -> Option<UndoPlace> {
        self.undo.pop()
    }

    /// The block is connected, as the one after the last.
    pub(super) fn push_undo(
        &mut self,
        hash: BlockHash,
        block: Location,
        undo: Undo,
    ) -> Result<(), StoreError> {
        let place = match &mut self.files {
            None => UndoPlace::Memory(undo),
            Some(files) => UndoPlace::File(files.append_undo(&undo, &hash)?),
        };
        let standing = Standing {
            block: Some(block),
            undo: match &place {
                UndoPlace::File(location) => Some(*location),
                UndoPlace::Memory(_) => None,
            },
            invalid: false,
        };
        self.undo.push(place);
        self.note(hash, standing);
        Ok(())
    }

    /// Notes what became known of a block, for the next flush.
    pub(super) fn note(&mut self, hash: BlockHash, standing: Standing) {
        if self.files.is_some() {
            self.standings.insert(hash, standing);
        }
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn replace_blocks_file(&mut self, file: std::fs::File) {
        if let Some(files) = &mut self.files {
            files.replace_blocks_file(file);
        }
    }
}

impl Blockchain {
    /// A block as it is kept.
    pub(super) fn encode_block(&self, block: &bitcoin::Block) -> Vec<u8> {
        let bytes = serialize(block);
        match &self.reader {
            Some(reader) => reader.record(&bytes),
            None => bytes,
        }
    }

    /// Keeps a block, given as [`Self::encode_block`] made it.
    pub(super) fn keep_block(
        &self,
        writer: &mut Writer,
        bytes: &[u8],
    ) -> Result<Location, StoreError> {
        if let Some(files) = &mut writer.files {
            return files.append_block(bytes);
        }
        let State { blocks, .. } = &mut *self.write();
        blocks.push(bytes.to_vec());
        // Fewer than 2^32 blocks: there are not so many headers.
        Ok(Location {
            file: 0,
            offset: (blocks.len() - 1) as u32,
        })
    }

    /// Flushes if enough has gathered.
    pub(super) fn flush_if_wanted(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let changed = writer.coins.changed();
        let wanted = writer
            .files
            .as_ref()
            .is_some_and(|files| files.wants_flush(changed));
        if wanted {
            self.flush_writer(writer)
        } else {
            Ok(())
        }
    }

    /// Makes everything durable: the headers first, since a block on disk whose header is not would have to
    /// bring it along.
    pub(super) fn flush_writer(&self, writer: &mut Writer) -> Result<(), StoreError> {
        writer.check_running()?;
        let Some(files) = &mut writer.files else {
            return Ok(());
        };
        let headers = match &mut *self.lock_headers() {
            Some(headers) => headers.sync()?,
            None => 0,
        };
        files.flush(
            headers,
            &writer.coins,
            writer.standings.iter(),
            self.connected(),
        )?;
        writer.coins.flushed();
        writer.standings.clear();
        Ok(())
    }
}
