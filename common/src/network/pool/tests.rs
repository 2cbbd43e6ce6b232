use super::known::names;
use super::*;
use crate::chain::BlockRef;
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
    pool.accept(chain, tx.clone(), Origin::Local).is_ok()
}

/// Whether it is known by both names; it never is by one alone.
fn is_known(pool: &TransactionPool, tx: &Transaction) -> bool {
    let known = names(tx).map(|name| pool.known().contains(&name));
    assert_eq!(known[0], known[1]);
    known[0]
}

fn reference(parent: BlockRef, block: &Block) -> BlockRef {
    BlockRef {
        height: parent.height + 1,
        hash: block.block_hash(),
    }
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
    drop(pool.follow(&chain));
    assert!(!holds(&pool, &mined) && holds(&pool, &waits));
    // A longer chain without either.
    let first = block_on(&chain, fork, wallet.script(), Vec::new(), 0, 1);
    let first_ref = reference(fork, &first);
    add(&chain, &first).unwrap();
    let second = block_on(&chain, first_ref, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &second).unwrap();
    assert_eq!(chain.tip().hash, second.block_hash());
    drop(pool.follow(&chain));
    assert!(holds(&pool, &mined) && holds(&pool, &waits));
    assert_eq!(pool.lock().tip, chain.tip().hash);
    assert_eq!(pool.size().0, 2);
}

#[test]
fn what_a_reorganisation_takes_back_returns_to_an_empty_pool() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let fork = chain.tip();
    let mined = wallet.transaction(&chain, 1, 10_000);
    let block = wallet.block(&chain, vec![mined.clone()], 10_000);
    add(&chain, &block).unwrap();
    drop(pool.follow(&chain));
    let first = block_on(&chain, fork, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &first).unwrap();
    let above = reference(fork, &first);
    let second = block_on(&chain, above, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &second).unwrap();
    drop(pool.follow(&chain));
    assert!(holds(&pool, &mined));
}

#[test]
fn what_waits_to_be_looked_at_again_stays_the_users_own_and_goes_into_no_template() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let fork = chain.tip();
    let mined = wallet.transaction(&chain, 1, 10_000);
    wallet.own(&mined);
    let spent = wallet.coins().last().cloned().unwrap();
    let child = wallet.pay(&chain, &[spent], 10_000);
    assert!(accept(&pool, &chain, &mined));
    let block = wallet.block(&chain, vec![mined.clone()], 10_000);
    add(&chain, &block).unwrap();
    assert!(accept(&pool, &chain, &child));
    let first = block_on(&chain, fork, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &first).unwrap();
    let above = reference(fork, &first);
    let second = block_on(&chain, above, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &second).unwrap();
    let (from, tip) = pool.behind(&chain).unwrap();
    pool.step(&chain, from, tip);
    assert!(pool.lock().unsettled && pool.behind(&chain).is_none());
    let template = pool.template(tip, 1_000_000);
    assert!(template.transactions.is_empty(), "not looked at yet");
    drop(pool.follow(&chain));
    assert_eq!(pool.template(tip, 1_000_000).transactions.len(), 2);
    let own: Vec<_> = pool.known().own().map(|own| own.txid).collect();
    assert!(own.contains(&child.compute_txid()), "{own:?}");
}

#[test]
fn what_left_the_pool_unconfirmed_is_welcome_again() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let coin = wallet.coins()[0].clone();
    let low = wallet.transaction(&chain, 1, 10_000);
    assert!(accept(&pool, &chain, &low) && is_known(&pool, &low));
    // Replaced by one that spends the same and pays more.
    let high = wallet.pay(&chain, &[coin], 40_000);
    assert!(accept(&pool, &chain, &high) && is_known(&pool, &high));
    assert!(!is_known(&pool, &low), "it may be asked for again");
    // In conflict with a block.
    let block = wallet.block(&chain, vec![low.clone()], 10_000);
    add(&chain, &block).unwrap();
    drop(pool.follow(&chain));
    assert!(
        !is_known(&pool, &high),
        "a reorganisation may bring it back"
    );
    assert!(is_known(&pool, &low), "a late announcement is no news");
    assert_eq!(pool.size(), (0, 0));
    // Expired.
    let waits = wallet.transaction(&chain, 1, 10_000);
    assert!(accept(&pool, &chain, &waits));
    pool.expire(unix_now() + 15 * 24 * 3600);
    assert!(!is_known(&pool, &waits) && pool.size() == (0, 0));
}

#[test]
fn what_a_reorganisation_loses_is_welcome_again() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let fork = chain.tip();
    let coin = wallet.coins()[0].clone();
    let mined = wallet.transaction(&chain, 1, 10_000);
    let other = wallet.pay(&chain, &[coin], 40_000);
    let block = wallet.block(&chain, vec![mined.clone()], 10_000);
    add(&chain, &block).unwrap();
    drop(pool.follow(&chain));
    let first = block_on(&chain, fork, wallet.script(), vec![other], 40_000, 1);
    add(&chain, &first).unwrap();
    let above = reference(fork, &first);
    let second = block_on(&chain, above, wallet.script(), Vec::new(), 0, 1);
    add(&chain, &second).unwrap();
    drop(pool.follow(&chain));
    assert_eq!(pool.size(), (0, 0));
    assert!(!is_known(&pool, &mined));
}

#[test]
fn own_transactions_are_told_until_somebody_has_them() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let txs: Vec<_> = (0..4)
        .map(|_| wallet.transaction(&chain, 1, 10_000))
        .collect();
    for tx in &txs[..3] {
        assert!(accept(&pool, &chain, tx));
    }
    pool.accept(&chain, txs[3].clone(), Origin::Peer(1))
        .unwrap();
    let own = || -> Vec<_> { pool.known().own().map(|own| own.txid).collect() };
    let expected: Vec<_> = txs[..3].iter().map(Transaction::compute_txid).collect();
    assert_eq!(own(), expected, "a peer's is not ours");
    assert!(pool.give(names(&txs[0])[1]).is_some());
    assert_eq!(own(), expected[1..], "somebody asked for it");
    pool.known().spreads(&names(&txs[1])[0]);
    assert_eq!(own(), expected[2..], "somebody announced it");
    assert!(pool.find(names(&txs[2])[0]).is_some());
    assert_eq!(own(), expected[2..], "looking is not asking");
    let block = wallet.block(&chain, vec![txs[2].clone()], 10_000);
    add(&chain, &block).unwrap();
    drop(pool.follow(&chain));
    assert!(own().is_empty(), "it is in a block");
}

#[test]
fn a_panic_of_the_pool_is_not_the_chains() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Blockchain::open(Arc::new(ChainSpec::devnet()), dir.path()).unwrap();
    let mut wallet = Wallet::new(1);
    wallet.mine(&chain, 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        apart(chain.view(), |_| panic!("a defect of the pool"));
    }));
    assert!(panicked.is_err());
    assert_eq!(wallet.mine(&chain, 1).len(), 1, "blocks need no pool");
}

/// The pool follows while the chain changes to and fro, and never stops on the way.
#[test]
fn a_pool_that_follows_while_the_chain_is_reorganised_ends_at_its_tip() {
    let (chain, mut wallet) = mature();
    let pool = TransactionPool::new(&chain);
    let chain = Arc::new(chain);
    let waits = wallet.transaction(&chain, 1, 10_000);
    assert!(accept(&pool, &chain, &waits));
    let writing = {
        let (chain, script) = (Arc::clone(&chain), wallet.script());
        std::thread::spawn(move || {
            let mut fork = chain.tip();
            for round in 0..20 {
                // Two blocks, and then three others in their place.
                let mut last = fork;
                for (branch, length) in [(1, 2), (2, 3)] {
                    last = fork;
                    for _ in 0..length {
                        let salt = 2 * round + branch;
                        let block = block_on(&chain, last, script.clone(), Vec::new(), 0, salt);
                        add(&chain, &block).unwrap();
                        last = reference(last, &block);
                    }
                }
                fork = last;
            }
        })
    };
    while !writing.is_finished() {
        let view = pool.follow(&chain);
        let shared = pool.lock();
        assert_eq!(shared.tip, view.tip().hash());
        assert_eq!(view.tip().hash(), chain.tip().hash, "never the midst of it");
        assert!(!shared.unsettled && shared.mempool.get(&waits.compute_txid()).is_some());
    }
    writing.join().unwrap();
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
    drop(pool.follow(&chain));
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
    drop(pool.follow(&chain));
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
        parent = reference(parent, &block);
    }
    assert_eq!(chain.tip(), parent);
    drop(pool.follow(&chain));
    assert_eq!(pool.size(), (0, 0));
    assert!(accept(&pool, &chain, &waits), "it is welcome again");
}
