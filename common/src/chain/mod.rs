//! To be filled.

/// A block and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Distance from genesis.
    pub height: u32,
    /// Its header's hash.
    pub hash: bitcoin::BlockHash,
}
