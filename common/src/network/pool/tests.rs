use super::*;
use crate::chain::miner::mine_block_of;
use crate::chain::tests::wallet::{Wallet, add, block_on};
use crate::chain_spec::ChainSpec;

/// A chain whose first coinbases are mature, and the wallet that mined it.
fn mature() -> (Blockchain, Wallet) {
    let chain = Blockchain::in_memory(Arc::new(ChainSpec::devnet()));
    let mut wallet = Wallet::new(1);
    wallet.mine(&chain, 105);
    (chain, wallet)
}

fn accept(pool: &TransactionPool, chain: &Blockchain, tx: &Transaction) -> bool {
    let coins = |outpoint: &OutPoint| coin(chain, outpoint);
    let mut shared = pool.lock();
    let result = shared
        .mempool
        .accept(tx.clone(), coins, &context(chain), Origin::Local);
    result.is_ok()
}

fn holds(pool: &TransactionPool, tx: &Transaction) -> bool {
    let by_txid = pool.find(TxRef::Txid(tx.compute_txid()));
    let by_wtxid = pool.find(TxRef::Wtxid(tx.compute_wtxid()));
    assert_eq!(by_txid, by_wtxid);
    by_txid.is_some_and(|found| *found == *tx)
}

#[test]
fn what_a_block_holds_leaves_and_what_a_reorganisation_takes_back_returns() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let fork = chain.tip();
    let (mined, waits) = (
        wallet.transaction(&chain, 1, 10_000),
        wallet.transaction(&chain, 1, 20_000),
    );
    assert!(accept(&pool, &chain, &mined) && accept(&pool, &chain, &waits));
    let block = wallet.block(&chain, vec![mined.clone()], 10_000);
    add(&chain, &block).unwrap();
    assert!(holds(&pool, &mined), "it has not been told");
    pool.follow(&chain);
    assert!(!holds(&pool, &mined) && holds(&pool, &waits));
    // A longer chain without either.
    let first = block_on(&chain, fork, wallet.script(), Vec::new(), 0, 1);
    let first_ref = crate::chain::BlockRef {
        height: fork.height + 1,
        hash: first.block_hash(),
    };
    add(&chain, &first).unwrap();
    let second = block_on(&chain, first_ref, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &second).unwrap();
    assert_eq!(chain.tip().hash, second.block_hash());
    pool.follow(&chain);
    assert!(holds(&pool, &mined) && holds(&pool, &waits));
    assert_eq!(pool.lock().tip, chain.tip().hash);
    assert_eq!(pool.size().0, 2);
}

#[test]
fn a_template_is_given_for_the_block_that_the_pool_knows_and_makes_a_valid_block() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let tx = wallet.transaction(&chain, 2, 10_000);
    assert!(accept(&pool, &chain, &tx));
    let parent = chain.tip().hash;
    let (_, above) = chain.header(&parent).unwrap();
    let block = mine_block_of(&chain, wallet.script(), above.time + 1, |on, bytes| {
        assert_eq!(on, parent);
        pool.template(on, bytes)
    });
    let block = block.unwrap();
    assert_eq!(block.txdata[1], tx);
    let subsidy = crate::chain::consensus::subsidy(chain.rules(), 106);
    assert_eq!(block.txdata[0].output[0].value.to_sat(), subsidy + 10_000);
    // It has not heard of that block, so it does not give the same transaction again.
    let next = pool.template(chain.tip().hash, 1_000_000);
    assert!(next.transactions.is_empty());
    pool.follow(&chain);
    assert_eq!(pool.size(), (0, 0));
}

#[test]
fn a_chain_that_moved_further_than_is_read_at_once_is_followed_to_its_end() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let (mined, waits) = (
        wallet.transaction(&chain, 1, 10_000),
        wallet.transaction(&chain, 1, 20_000),
    );
    assert!(accept(&pool, &chain, &mined) && accept(&pool, &chain, &waits));
    wallet.mine(&chain, 2 * BLOCKS_AT_ONCE);
    let block = wallet.block(&chain, vec![mined.clone()], 10_000);
    add(&chain, &block).unwrap();
    pool.follow(&chain);
    assert_eq!(pool.lock().tip, block.block_hash());
    assert!(!holds(&pool, &mined) && holds(&pool, &waits));
}

#[test]
fn a_reorganisation_deeper_than_is_kept_in_mind_empties_the_pool() {
    let (chain, mut wallet) = mature();
    let fork = chain.tip();
    let waits = wallet.transaction(&chain, 1, 20_000);
    wallet.mine(&chain, BLOCKS_AT_ONCE + 1);
    let pool = TransactionPool::new(&chain);
    assert!(accept(&pool, &chain, &waits));
    let mut parent = fork;
    for _ in 0..BLOCKS_AT_ONCE + 2 {
        let block = block_on(&chain, parent, wallet.script(), Vec::new(), 0, 1);
        add(&chain, &block).unwrap();
        parent = crate::chain::BlockRef {
            height: parent.height + 1,
            hash: block.block_hash(),
        };
    }
    assert_eq!(chain.tip(), parent);
    pool.follow(&chain);
    assert_eq!(pool.size(), (0, 0));
    assert!(accept(&pool, &chain, &waits), "it is welcome again");
}
