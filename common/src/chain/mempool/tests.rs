//! Tests of the pool: a bench with a key, coins and signed transactions.

use std::collections::HashMap;

use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, absolute, block, transaction,
};

use super::entry::{Sum, memory_of};
use super::*;
use crate::chain::consensus::Coin;
use crate::chain::p2mldsa::SpendingKey;
use crate::chain_spec::ChainSpec;

mod acceptance;
mod blocks;
mod orphans;
mod property;
mod replacement;
mod room;
mod selection;

/// Bytes of a payment of one input and one output.
const PAYMENT: usize = 3_835;
const NOW: u64 = 1_800_000_000;
const HEIGHT: u32 = 200;

/// A chain of coins, a pool over it, and a key that owns everything.
struct Bench {
    rules: Rules,
    key: SpendingKey,
    /// Unspent in the chain.
    coins: HashMap<OutPoint, Coin>,
    /// Every output that was ever made here.
    outputs: HashMap<OutPoint, TxOut>,
    pool: Mempool,
    context: Context,
    funded: u32,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let rules = Rules::new(&ChainSpec::devnet());
        Self {
            pool: Mempool::new(rules.clone(), limits),
            rules,
            key: SpendingKey::from_seed(&[7; 32]).unwrap(),
            coins: HashMap::new(),
            outputs: HashMap::new(),
            context: Context {
                next_height: HEIGHT,
                median_time: NOW as u32,
                now: NOW,
            },
            funded: 0,
        }
    }

    /// A confirmed coin of this value.
    fn fund(&mut self, value: u64) -> OutPoint {
        self.fund_at(value, 1, false)
    }

    fn fund_at(&mut self, value: u64, height: u32, coinbase: bool) -> OutPoint {
        self.funded += 1;
        let mut id = [0xee; 32];
        id[..4].copy_from_slice(&self.funded.to_le_bytes());
        let outpoint = OutPoint::new(Txid::from_byte_array(id), 0);
        let output = self.output(value);
        self.outputs.insert(outpoint, output.clone());
        let coin = Coin {
            output,
            height,
            coinbase,
        };
        self.coins.insert(outpoint, coin);
        outpoint
    }

    fn output(&self, value: u64) -> TxOut {
        TxOut {
            value: Amount::from_sat(value),
            script_pubkey: self.key.script(),
        }
    }

    /// Not signed.
    fn draft(&self, inputs: &[OutPoint], outputs: &[u64]) -> Transaction {
        let input = |previous_output: &OutPoint| TxIn {
            previous_output: *previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
            witness: Witness::new(),
        };
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: inputs.iter().map(input).collect(),
            output: outputs.iter().map(|value| self.output(*value)).collect(),
        }
    }

    fn sign(&mut self, mut tx: Transaction) -> Transaction {
        let spent: Vec<TxOut> = tx
            .input
            .iter()
            .map(|input| self.outputs[&input.previous_output].clone())
            .collect();
        for index in 0..tx.input.len() {
            self.key
                .sign_input(self.rules.genesis_hash, &mut tx, &spent, index)
                .unwrap();
        }
        let txid = tx.compute_txid();
        for (vout, output) in (0..).zip(&tx.output) {
            let outpoint = OutPoint { txid, vout };
            self.outputs.insert(outpoint, output.clone());
        }
        tx
    }

    /// Signed, with all of the inputs' value but `fee` in `outputs` equal parts; what does not divide is
    /// in the first.
    fn pay(&mut self, inputs: &[OutPoint], outputs: u64, fee: u64) -> Transaction {
        let value: u64 = inputs
            .iter()
            .map(|outpoint| self.outputs[outpoint].value.to_sat())
            .sum();
        let part = (value - fee) / outputs;
        let mut parts = vec![part; outputs as usize];
        parts[0] = value - fee - part * (outputs - 1);
        let draft = self.draft(inputs, &parts);
        self.sign(draft)
    }

    /// A payment of a coin of its own.
    fn payment(&mut self, fee: u64) -> Transaction {
        let coin = self.fund(1_000_000_000);
        self.pay(&[coin], 1, fee)
    }

    fn accept(&mut self, tx: &Transaction) -> Result<Accepted, MempoolError> {
        self.accept_from(tx, Origin::Local)
    }

    fn accept_from(&mut self, tx: &Transaction, origin: Origin) -> Result<Accepted, MempoolError> {
        let coins = &self.coins;
        let result = self.pool.accept(
            tx.clone(),
            |outpoint| coins.get(outpoint).cloned(),
            &self.context,
            origin,
        );
        self.check();
        result
    }

    fn retry(&mut self) -> Option<Retried> {
        let coins = &self.coins;
        let retried = self
            .pool
            .retry_orphan(|outpoint| coins.get(outpoint).cloned(), &self.context);
        self.check();
        retried
    }

    fn holds(&self, tx: &Transaction) -> bool {
        self.pool.get(&tx.compute_txid()).is_some()
    }

    /// A block with these transactions; the coins are left as they are.
    fn block(&self, txs: &[Transaction]) -> Block {
        let mut coinbase = self.draft(&[OutPoint::null()], &[1_000]);
        coinbase.input[0].script_sig =
            ScriptBuf::from_bytes(self.context.next_height.to_le_bytes().to_vec());
        Block {
            header: block::Header {
                version: block::Version::TWO,
                prev_blockhash: BlockHash::all_zeros(),
                merkle_root: TxMerkleNode::all_zeros(),
                time: NOW as u32,
                bits: CompactTarget::from_consensus(0),
                nonce: 0,
            },
            txdata: [&[coinbase], txs].concat(),
        }
    }

    /// Connects a block with these transactions to chain and pool, and gives it with what it spent.
    fn connect(&mut self, txs: &[Transaction]) -> (Block, Vec<(OutPoint, Coin)>) {
        let block = self.block(txs);
        let mut spent = Vec::new();
        for tx in &block.txdata {
            for input in tx.input.iter().filter(|_| !tx.is_coinbase()) {
                let coin = self.coins.remove(&input.previous_output).unwrap();
                spent.push((input.previous_output, coin));
            }
            let txid = tx.compute_txid();
            for (vout, output) in (0..).zip(&tx.output) {
                let coin = Coin {
                    output: output.clone(),
                    height: self.context.next_height,
                    coinbase: tx.is_coinbase(),
                };
                self.outputs.insert(OutPoint { txid, vout }, output.clone());
                self.coins.insert(OutPoint { txid, vout }, coin);
            }
        }
        self.context.next_height += 1;
        self.pool.block_connected(&block, self.context.now);
        self.check();
        (block, spent)
    }

    /// Takes the tip back from chain and pool.
    fn disconnect(&mut self, block: &Block, spent: Vec<(OutPoint, Coin)>) {
        for tx in &block.txdata {
            let txid = tx.compute_txid();
            for vout in 0..tx.output.len() as u32 {
                self.coins.remove(&OutPoint { txid, vout });
            }
        }
        let made: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
        self.coins.extend(
            spent
                .into_iter()
                .filter(|(outpoint, _)| !made.contains(&outpoint.txid)),
        );
        self.context.next_height -= 1;
        self.pool.block_disconnected(block);
        self.check();
    }

    fn revalidate(&mut self) -> Revalidated {
        let coins = &self.coins;
        let result = self
            .pool
            .revalidate(|outpoint| coins.get(outpoint).cloned(), &self.context);
        self.check();
        result
    }

    /// What must hold at any time, computed from nothing but the transactions.
    fn check(&self) {
        let pool = &self.pool;
        let entries: Vec<&Entry> = pool.iter().collect();
        let by_txid: HashMap<Txid, &Entry> =
            entries.iter().map(|entry| (entry.txid, *entry)).collect();
        assert_eq!(by_txid.len(), entries.len());
        let mut all = Sum::default();
        let mut memory = 0;
        let mut spenders: HashMap<OutPoint, Txid> = HashMap::new();
        for entry in &entries {
            assert_eq!(entry.txid, entry.tx.compute_txid());
            assert_eq!(entry.bytes, entry.tx.total_size());
            assert_eq!(pool.get(&entry.txid).unwrap().id, entry.id);
            assert_eq!(pool.get_by_wtxid(&entry.wtxid).unwrap().id, entry.id);
            assert!(pool.is_verified(&entry.wtxid));
            for input in &entry.tx.input {
                let double = spenders.insert(input.previous_output, entry.txid);
                assert_eq!(double, None, "spent twice in the pool");
                match by_txid.get(&input.previous_output.txid) {
                    Some(parent) => {
                        assert!(parent.id < entry.id && entry.parents.contains(&parent.id));
                    }
                    // In between, coins may be gone; what needs them was set aside then.
                    None => assert!(self.coins.contains_key(&input.previous_output)),
                }
            }
            self.check_family(entry, &by_txid);
            all.add(entry.own());
            memory += memory_of(&entry.tx);
        }
        assert_eq!(pool.graph.sum(), all);
        assert_eq!(
            (pool.len(), pool.bytes(), pool.fees()),
            (all.count, all.bytes, all.fee)
        );
        assert_eq!(pool.memory(), memory);
        assert!(memory <= pool.limits.max_memory);
        let worst = entries.iter().map(|entry| entry.score()).min();
        assert_eq!(
            pool.graph
                .worst()
                .map(|id| pool.graph.entry(id).unwrap().score()),
            worst
        );
        pool.orphans.check(&pool.limits);
    }

    /// Sums over relatives, by asking each pair whether one descends from the other.
    fn check_family(&self, entry: &Entry, by_txid: &HashMap<Txid, &Entry>) {
        let descends = |child: &Entry, ancestor: &Entry| {
            let mut open = vec![child];
            while let Some(next) = open.pop() {
                if next.id == ancestor.id {
                    return true;
                }
                let inputs = next.tx.input.iter();
                open.extend(inputs.filter_map(|i| by_txid.get(&i.previous_output.txid)));
            }
            false
        };
        let (mut ancestors, mut descendants) = (Sum::default(), Sum::default());
        for other in by_txid.values() {
            if descends(entry, other) {
                ancestors.add(other.own());
            }
            if descends(other, entry) {
                descendants.add(other.own());
            }
        }
        assert_eq!(entry.ancestors, ancestors);
        assert_eq!(entry.descendants, descendants);
        let limits = &self.pool.limits;
        assert!(ancestors.count <= limits.max_ancestors);
        assert!(descendants.count <= limits.max_descendants);
        assert!(ancestors.bytes.max(descendants.bytes) <= limits.max_family_bytes);
    }
}

/// An output of a transaction.
fn out(tx: &Transaction, vout: u32) -> OutPoint {
    OutPoint {
        txid: tx.compute_txid(),
        vout,
    }
}
