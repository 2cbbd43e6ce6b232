//! The unspent outputs (UTXO set): the changes since the last flush, over a database.
//!
//! | part | what it is for |
//! |---|---|
//! | [`CoinCache`] | looks up, creates, spends and restores coins; keeps the changes until they are flushed |
//! | [`CoinDatabase`] | the face of the database below it |
//! | [`Undo`] | what a block spent, so that it can be taken back |
//! | [`connect`], [`disconnect`] | what a block does to the coins, and the reverse |
//! | `codec` | coins as bytes |

mod cache;
mod codec;
mod spend;
mod undo;

use std::fmt::Debug;

use bitcoin::OutPoint;

pub(super) use self::cache::{Change, CoinCache};
pub(super) use self::codec::{decode_coin, encode_coin, encode_outpoint};
pub(super) use self::spend::{connect, created, disconnect};
pub(super) use self::undo::Undo;
use super::StoreError;
use super::consensus::Coin;

/// Where coins are kept between flushes. The real one is fjall's; a chain without files has [`NoDatabase`],
/// so that all its coins stay in the cache.
pub(super) trait CoinDatabase: Debug + Send {
    /// The coin, or `None` where it does not exist or is spent.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError>;
}

/// The database of a chain without files: empty for ever.
#[derive(Debug)]
pub(super) struct NoDatabase;

impl CoinDatabase for NoDatabase {
    fn coin(&self, _: &OutPoint) -> Result<Option<Coin>, StoreError> {
        Ok(None)
    }
}
