//! The coins that changed since the last flush.

use std::collections::HashMap;

use bitcoin::OutPoint;

use super::CoinDatabase;
use crate::chain::StoreError;
use crate::chain::consensus::Coin;

/// What became of a coin since the last flush.
#[derive(Debug)]
pub(in crate::chain) struct Change {
    /// The coin as it is; `None` if it was spent.
    pub(in crate::chain) coin: Option<Coin>,
    /// The database has no such coin. A fresh coin that is spent leaves no trace.
    fresh: bool,
}

/// The coins: the database's, as changed since the last flush.
#[derive(Debug)]
pub(in crate::chain) struct CoinCache {
    changes: HashMap<OutPoint, Change>,
    database: Box<dyn CoinDatabase>,
}

impl CoinCache {
    pub(in crate::chain) fn new(database: Box<dyn CoinDatabase>) -> Self {
        Self {
            changes: HashMap::new(),
            database,
        }
    }

    /// The coin, if it is unspent.
    pub(in crate::chain) fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        match self.changes.get(outpoint) {
            Some(change) => Ok(change.coin.clone()),
            None => self.database.coin(outpoint),
        }
    }

    /// Spends a coin and gives it; `None` if there is none.
    pub(in crate::chain) fn take(
        &mut self,
        outpoint: &OutPoint,
    ) -> Result<Option<Coin>, StoreError> {
        if let Some(change) = self.changes.get_mut(outpoint) {
            let coin = change.coin.take();
            if change.fresh {
                self.changes.remove(outpoint);
            }
            return Ok(coin);
        }
        let coin = self.database.coin(outpoint)?;
        if coin.is_some() {
            let spent = Change {
                coin: None,
                fresh: false,
            };
            self.changes.insert(*outpoint, spent);
        }
        Ok(coin)
    }

    /// Creates a coin, or gives back one that was taken.
    pub(in crate::chain) fn put(&mut self, outpoint: OutPoint, coin: Coin) {
        // Without a change, either it never was in the database or its removal has been flushed. With one,
        // what was known of the database still holds.
        self.changes
            .entry(outpoint)
            .or_insert(Change {
                coin: None,
                fresh: true,
            })
            .coin = Some(coin);
    }

    /// How many coins changed since the last flush.
    pub(in crate::chain) fn changed(&self) -> usize {
        self.changes.len()
    }

    /// What changed since the last flush.
    pub(in crate::chain) fn changes(&self) -> impl Iterator<Item = (&OutPoint, &Change)> {
        self.changes.iter()
    }

    /// Forgets the changes, since the database has them now.
    pub(in crate::chain) fn flushed(&mut self) {
        self.changes.clear();
        // What a flush holds is bounded; what one large reorganisation held should not stay for ever.
        self.changes.shrink_to(1 << 18);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use bitcoin::hashes::Hash;
    use bitcoin::{Amount, ScriptBuf, TxOut, Txid};
    use proptest::prelude::*;

    use super::*;

    /// A database in memory, as a model of the real one.
    #[derive(Debug, Clone, Default)]
    struct Model(Arc<Mutex<BTreeMap<OutPoint, Coin>>>);

    impl CoinDatabase for Model {
        fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
            Ok(self.0.lock().unwrap().get(outpoint).cloned())
        }
    }

    fn flush(cache: &mut CoinCache, model: &Model) {
        let mut coins = model.0.lock().unwrap();
        for (outpoint, change) in cache.changes() {
            let before = coins.contains_key(outpoint);
            assert_eq!(before, !change.fresh, "{outpoint}");
            match &change.coin {
                Some(coin) => coins.insert(*outpoint, coin.clone()),
                None => coins.remove(outpoint),
            };
        }
        cache.flushed();
    }

    fn outpoint(n: u32) -> OutPoint {
        OutPoint {
            txid: Txid::all_zeros(),
            vout: n,
        }
    }

    fn coin(value: u64) -> Coin {
        Coin {
            output: TxOut {
                value: Amount::from_sat(value),
                script_pubkey: ScriptBuf::new(),
            },
            height: 1,
            coinbase: false,
        }
    }

    proptest! {
        /// Whatever is created, spent, given back and flushed, the cache says what a plain map says.
        #[test]
        fn agrees_with_a_plain_map(steps in proptest::collection::vec((0..4_u8, 0..8_u32, 1..100_u64), 0..200)) {
            let model = Model::default();
            let mut cache = CoinCache::new(Box::new(model.clone()));
            let plain = RefCell::new(BTreeMap::new());
            for (step, n, value) in steps {
                let place = outpoint(n);
                match step {
                    0 | 1 => if !plain.borrow().contains_key(&place) {
                        cache.put(place, coin(value));
                        plain.borrow_mut().insert(place, coin(value));
                    },
                    2 => prop_assert_eq!(cache.take(&place).unwrap(), plain.borrow_mut().remove(&place)),
                    _ => flush(&mut cache, &model),
                }
                for n in 0..8 {
                    prop_assert_eq!(cache.coin(&outpoint(n)).unwrap(), plain.borrow().get(&outpoint(n)).cloned());
                }
            }
            flush(&mut cache, &model);
            prop_assert_eq!(&*model.0.lock().unwrap(), &*plain.borrow());
        }
    }

    #[test]
    fn a_coin_made_and_spent_between_flushes_leaves_no_change() {
        let mut cache = CoinCache::new(Box::new(Model::default()));
        cache.put(outpoint(1), coin(5));
        assert_eq!(cache.take(&outpoint(1)).unwrap(), Some(coin(5)));
        assert_eq!(cache.take(&outpoint(1)).unwrap(), None);
        assert_eq!(cache.changed(), 0);
    }
}
