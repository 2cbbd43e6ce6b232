//! An unspent output.

use bitcoin::TxOut;

/// An output that a transaction may spend, with what the rules ask about its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Value and script.
    pub output: TxOut,
    /// Height of the block that created it.
    pub height: u32,
    /// Whether a coinbase created it: then it has to mature.
    pub coinbase: bool,
}
