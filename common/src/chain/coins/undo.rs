//! What a block spent, so that it can be taken back.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::codec::{decode_coin, encode_coin};
use crate::chain::consensus::Coin;

/// The coins that a block spent, by transaction (the coinbase left out) and input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::chain) struct Undo {
    pub(in crate::chain) spent: Vec<Vec<Coin>>,
}

impl Undo {
    /// As bytes: the block's hash, then for each transaction a count and each coin with its length.
    pub(in crate::chain) fn encode(&self, block: &BlockHash) -> Vec<u8> {
        let mut bytes = block.to_byte_array().to_vec();
        put_count(&mut bytes, self.spent.len());
        for coins in &self.spent {
            put_count(&mut bytes, coins.len());
            for coin in coins {
                let coin = encode_coin(coin);
                put_count(&mut bytes, coin.len());
                bytes.extend_from_slice(&coin);
            }
        }
        bytes
    }

    /// Back from bytes; `None` where they are not this block's undo data.
    pub(in crate::chain) fn decode(bytes: &[u8], block: &BlockHash) -> Option<Self> {
        let mut rest = bytes.strip_prefix(block.as_byte_array().as_slice())?;
        let transactions = take_count(&mut rest)?;
        let mut spent = Vec::new();
        for _ in 0..transactions {
            let count = take_count(&mut rest)?;
            let mut coins = Vec::new();
            for _ in 0..count {
                let length = take_count(&mut rest)?;
                let (coin, after) = rest.split_at_checked(length)?;
                coins.push(decode_coin(coin)?);
                rest = after;
            }
            spent.push(coins);
        }
        rest.is_empty().then_some(Self { spent })
    }
}

/// Counts of a block fit 32 bits by far.
fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&(count as u32).to_le_bytes());
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}

#[cfg(test)]
mod tests {
    use bitcoin::{Amount, ScriptBuf, TxOut};
    use proptest::prelude::*;

    use super::*;

    fn undo(values: &[Vec<u64>]) -> Undo {
        let coin = |value: &u64| Coin {
            output: TxOut {
                value: Amount::from_sat(*value),
                script_pubkey: ScriptBuf::from_bytes(vec![7; (*value % 43) as usize]),
            },
            height: *value as u32 >> 1,
            coinbase: value.is_multiple_of(2),
        };
        Undo {
            spent: values
                .iter()
                .map(|tx| tx.iter().map(coin).collect())
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn comes_back(values in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..5), 0..5)) {
            let (undo, hash) = (undo(&values), BlockHash::hash(b"one"));
            let bytes = undo.encode(&hash);
            prop_assert_eq!(Undo::decode(&bytes, &hash), Some(undo));
            prop_assert_eq!(Undo::decode(&bytes, &BlockHash::hash(b"another")), None);
            for end in 0..bytes.len() {
                prop_assert_eq!(Undo::decode(&bytes[..end], &hash), None);
            }
        }

        #[test]
        fn junk_is_refused_without_allocating_what_it_claims(junk in proptest::collection::vec(any::<u8>(), 0..80)) {
            let hash = BlockHash::hash(b"one");
            let bytes = [hash.as_byte_array().as_slice(), &junk].concat();
            if let Some(undo) = Undo::decode(&bytes, &hash) {
                prop_assert_eq!(undo.encode(&hash), bytes);
            }
        }
    }
}
