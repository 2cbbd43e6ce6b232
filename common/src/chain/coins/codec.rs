//! Coins as bytes, in the database and in undo data.
//!
//! ```text
//! key      txid (32) ‖ output index (4, big-endian, so that a transaction's outputs lie together)
//! value    height × 2 + coinbase (4, little-endian) ‖ base units (8, little-endian) ‖ script
//! ```

use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, TxOut};

use crate::chain::consensus::Coin;

/// Bytes of a key.
const KEY: usize = 36;
/// Bytes of a value before the script.
const VALUE_HEAD: usize = 12;
/// Heights that the format can hold: 2^31 blocks are 40,000 years.
const MAX_HEIGHT: u32 = u32::MAX >> 1;

/// The key of a coin.
pub(in crate::chain) fn encode_outpoint(outpoint: &OutPoint) -> [u8; KEY] {
    let mut key = [0; KEY];
    let (txid, index) = key.split_at_mut(32);
    txid.copy_from_slice(outpoint.txid.as_byte_array());
    index.copy_from_slice(&outpoint.vout.to_be_bytes());
    key
}

/// The value of a coin.
pub(in crate::chain) fn encode_coin(coin: &Coin) -> Vec<u8> {
    let script = coin.output.script_pubkey.as_bytes();
    let mut value = Vec::with_capacity(VALUE_HEAD + script.len());
    let origin = (coin.height.min(MAX_HEIGHT) << 1) | u32::from(coin.coinbase);
    value.extend_from_slice(&origin.to_le_bytes());
    value.extend_from_slice(&coin.output.value.to_sat().to_le_bytes());
    value.extend_from_slice(script);
    value
}

/// The coin of a value; `None` for bytes that are none.
pub(in crate::chain) fn decode_coin(value: &[u8]) -> Option<Coin> {
    let (origin, rest) = value.split_first_chunk::<4>()?;
    let (sats, script) = rest.split_first_chunk::<8>()?;
    let origin = u32::from_le_bytes(*origin);
    Some(Coin {
        output: TxOut {
            value: Amount::from_sat(u64::from_le_bytes(*sats)),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        },
        height: origin >> 1,
        coinbase: origin & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn coins_come_back(
            height in 0..=MAX_HEIGHT,
            coinbase: bool,
            sats: u64,
            script in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let output = TxOut { value: Amount::from_sat(sats), script_pubkey: ScriptBuf::from_bytes(script) };
            let coin = Coin { output, height, coinbase };
            prop_assert_eq!(decode_coin(&encode_coin(&coin)), Some(coin));
        }

        #[test]
        fn short_values_are_refused(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(decode_coin(&value), None);
        }
    }

    #[test]
    fn outputs_of_one_transaction_lie_in_order() {
        let key = |vout| {
            encode_outpoint(&OutPoint {
                txid: Txid::all_zeros(),
                vout,
            })
        };
        assert!(key(1) < key(2) && key(255) < key(256));
    }
}
