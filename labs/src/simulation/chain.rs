//! Blocks, of which only height and parent matter.

/// Names a block.
pub(super) type BlockId = usize;

/// All blocks that were ever found.
#[derive(Debug)]
pub(super) struct Chain {
    /// Height and parent of each.
    blocks: Vec<(u32, BlockId)>,
}

/// The first block.
pub(super) const GENESIS: BlockId = 0;

impl Chain {
    pub(super) fn new() -> Self {
        Self {
            blocks: vec![(0, GENESIS)],
        }
    }

    /// Somebody found a block on `parent`.
    pub(super) fn find(&mut self, parent: BlockId) -> BlockId {
        self.blocks.push((self.height(parent) + 1, parent));
        self.blocks.len() - 1
    }

    pub(super) fn height(&self, block: BlockId) -> u32 {
        self.blocks.get(block).map_or(0, |(height, _)| *height)
    }
}
