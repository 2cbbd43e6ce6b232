//! A wallet that mines, spends and builds blocks, for chains with transactions.

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};

use super::NOW;
use crate::chain::consensus::{commitment_script, merkle_root, subsidy};
use crate::chain::miner::{assemble, find_nonce};
use crate::chain::p2mldsa::SpendingKey;
use crate::chain::{BlockError, BlockRef, Blockchain};

/// A key with the outputs that it may spend, oldest first.
pub(crate) struct Wallet {
    key: SpendingKey,
    coins: Vec<(OutPoint, TxOut)>,
}

impl Wallet {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: SpendingKey::from_seed(&[seed; 32]).unwrap(),
            coins: Vec::new(),
        }
    }

    /// The wallet of this seed, with all that it owns on the chain, oldest first.
    pub(crate) fn of(chain: &Blockchain, seed: u8) -> Self {
        let mut wallet = Self::new(seed);
        let mut coins: Vec<_> = chain.coins().into_iter().collect();
        coins.retain(|(_, coin)| coin.output.script_pubkey == wallet.script());
        coins.sort_by_key(|(_, coin)| coin.height);
        wallet.coins = coins
            .into_iter()
            .map(|(key, coin)| {
                let txid = bitcoin::Txid::from_slice(&key[..32]).unwrap();
                let vout = u32::from_be_bytes(key[32..].try_into().unwrap());
                (OutPoint { txid, vout }, coin.output)
            })
            .collect();
        wallet
    }

    pub(crate) fn script(&self) -> ScriptBuf {
        self.key.script()
    }

    pub(crate) fn coins(&self) -> &[(OutPoint, TxOut)] {
        &self.coins
    }

    /// Mines blocks with nothing but a coinbase; their outputs become the wallet's.
    pub(crate) fn mine(&mut self, chain: &Blockchain, count: usize) -> Vec<Block> {
        (0..count)
            .map(|_| {
                let block = self.block(chain, Vec::new(), 0);
                add(chain, &block).unwrap();
                self.own(&block.txdata[0]);
                block
            })
            .collect()
    }

    /// Mines `count` blocks of one transaction each, which spends the wallet's oldest coin.
    pub(crate) fn spend_some(&mut self, chain: &Blockchain, count: usize) -> Vec<Block> {
        (0..count)
            .map(|_| {
                let tx = self.transaction(chain, 1, 1_000);
                let block = self.block(chain, vec![tx.clone()], 1_000);
                add(chain, &block).unwrap();
                self.own(&block.txdata[0]);
                self.own(&tx);
                block
            })
            .collect()
    }

    /// A signed transaction that spends the `inputs` oldest coins to two outputs of the wallet.
    pub(crate) fn transaction(
        &mut self,
        chain: &Blockchain,
        inputs: usize,
        fee: u64,
    ) -> Transaction {
        let spent: Vec<_> = self.coins.drain(..inputs).collect();
        self.pay(chain, &spent, fee)
    }

    /// A signed transaction that spends these coins to two outputs of the wallet.
    pub(crate) fn pay(
        &self,
        chain: &Blockchain,
        spent: &[(OutPoint, TxOut)],
        fee: u64,
    ) -> Transaction {
        let total: u64 = spent.iter().map(|(_, output)| output.value.to_sat()).sum();
        let half = (total - fee) / 2;
        let output = |value| TxOut {
            value: Amount::from_sat(value),
            script_pubkey: self.script(),
        };
        let mut tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: spent.iter().map(|(outpoint, _)| input(*outpoint)).collect(),
            output: vec![output(half), output(total - fee - half)],
        };
        let outputs: Vec<TxOut> = spent.iter().map(|(_, output)| output.clone()).collect();
        for index in 0..tx.input.len() {
            self.sign(chain, &mut tx, index, &outputs);
        }
        tx
    }

    pub(crate) fn sign(
        &self,
        chain: &Blockchain,
        tx: &mut Transaction,
        index: usize,
        spent: &[TxOut],
    ) {
        let genesis = chain.spec().genesis_hash();
        self.key.sign_input(genesis, tx, spent, index).unwrap();
    }

    /// A block on the tip that holds `transactions` and pays the subsidy and `fees`.
    pub(crate) fn block(
        &self,
        chain: &Blockchain,
        transactions: Vec<Transaction>,
        fees: u64,
    ) -> Block {
        block_on(chain, chain.tip(), self.script(), transactions, fees, 0)
    }

    /// Takes note of the outputs that are the wallet's.
    pub(crate) fn own(&mut self, tx: &Transaction) {
        let txid = tx.compute_txid();
        for (vout, output) in (0..).zip(&tx.output) {
            if output.script_pubkey == self.script() {
                self.coins.push((OutPoint { txid, vout }, output.clone()));
            }
        }
    }
}

pub(crate) fn input(previous_output: OutPoint) -> TxIn {
    TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}

/// A block on any known block; `salt` makes it differ from others.
pub(crate) fn block_on(
    chain: &Blockchain,
    parent: BlockRef,
    payout: ScriptBuf,
    transactions: Vec<Transaction>,
    fees: u64,
    salt: u32,
) -> Block {
    let (_, above) = chain.header(&parent.hash).unwrap();
    let height = parent.height + 1;
    let header = Header {
        prev_blockhash: parent.hash,
        time: above.time + 600 + salt,
        nonce: 0,
        ..above
    };
    let payout = TxOut {
        value: Amount::from_sat(subsidy(chain.rules(), height) + fees),
        script_pubkey: payout,
    };
    let mut block = assemble(header, height, payout, transactions);
    find_nonce(&mut block.header).unwrap();
    block
}

/// Makes commitment, merkle root and proof of work fit the block's transactions.
pub(crate) fn seal(block: &mut Block) {
    let commitment = commitment_script(block);
    block.txdata[0].output.last_mut().unwrap().script_pubkey = commitment;
    let leaves = block
        .txdata
        .iter()
        .map(|tx| tx.compute_txid().to_raw_hash());
    block.header.merkle_root = merkle_root(leaves).root;
    find_nonce(&mut block.header).unwrap();
    assert_ne!(block.header.merkle_root, bitcoin::TxMerkleNode::all_zeros());
}

/// Gives the chain a block with its header.
pub(crate) fn add(chain: &Blockchain, block: &Block) -> Result<BlockRef, BlockError> {
    chain.accept_headers(&[block.header], NOW).unwrap();
    chain.connect_block(block)
}
