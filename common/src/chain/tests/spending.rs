//! Blocks with transactions: what they do to the coins, and what is refused.

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, OutPoint, Sequence, Transaction};

use super::wallet::{Wallet, add, block_on, seal};
use super::{devnet, feed};
use crate::chain::consensus::subsidy;
use crate::chain::{BlockError, Blockchain, TransactionError};

/// A chain whose first coinbases are mature, and the wallet that mined it.
pub(super) fn mature() -> (Blockchain, Wallet) {
    let chain = devnet();
    let mut wallet = Wallet::new(1);
    wallet.mine(&chain, 105);
    (chain, wallet)
}

/// The block is refused for this fault of its transaction at `index`, its header is condemned, and the coins
/// are as before.
fn refused(chain: &Blockchain, block: &bitcoin::Block, index: usize) -> TransactionError {
    let (tip, coins) = (chain.tip(), chain.coins());
    let error = add(chain, block).unwrap_err();
    assert!(error.is_peer_fault() && !error.is_mutation(), "{error}");
    assert_eq!((chain.tip(), chain.best_header()), (tip, tip));
    assert!(chain.coins() == coins, "the coins changed");
    assert!(matches!(
        chain.connect_block(block),
        Err(BlockError::KnownInvalid { .. })
    ));
    match error {
        BlockError::Transaction {
            index: found,
            txid,
            source,
        } => {
            assert_eq!((found, txid), (index, block.txdata[index].compute_txid()));
            source
        }
        error => panic!("{error}"),
    }
}

#[test]
fn coins_move_with_their_transactions() {
    let (chain, mut wallet) = mature();
    let before = chain.coins();
    assert_eq!(before.len(), 105);
    let tx = wallet.transaction(&chain, 2, 500);
    let spent: Vec<OutPoint> = tx.input.iter().map(|i| i.previous_output).collect();
    assert!(chain.coin(&spent[0]).unwrap().unwrap().coinbase);
    let block = wallet.block(&chain, vec![tx.clone()], 500);
    add(&chain, &block).unwrap();
    // Two spent; two and the coinbase's one created.
    assert_eq!(chain.coins().len(), 105 - 2 + 2 + 1);
    for outpoint in &spent {
        assert_eq!(chain.coin(outpoint).unwrap(), None);
    }
    let made = OutPoint {
        txid: tx.compute_txid(),
        vout: 1,
    };
    let coin = chain.coin(&made).unwrap().unwrap();
    assert_eq!((coin.height, coin.coinbase), (106, false));
    assert_eq!(coin.output, tx.output[1]);
    // No coin appears or vanishes: what exists is what was mined.
    let supply: u64 = chain
        .coins()
        .values()
        .map(|c| c.output.value.to_sat())
        .sum();
    let mined: u64 = (1..=106).map(|height| subsidy(chain.rules(), height)).sum();
    assert_eq!(supply, mined);
}

#[test]
fn a_coin_can_be_spent_in_the_block_that_makes_it_but_not_before() {
    let (chain, mut wallet) = mature();
    let first = wallet.transaction(&chain, 1, 100);
    let made = OutPoint {
        txid: first.compute_txid(),
        vout: 0,
    };
    let second = wallet.pay(&chain, &[(made, first.output[0].clone())], 100);
    let reversed = wallet.block(&chain, vec![second.clone(), first.clone()], 200);
    assert!(matches!(
        refused(&chain, &reversed, 1),
        TransactionError::MissingCoin { index: 0, outpoint } if outpoint == made
    ));
    let block = block_on(
        &chain,
        chain.tip(),
        wallet.script(),
        vec![first, second],
        200,
        1,
    );
    add(&chain, &block).unwrap();
    assert_eq!(chain.coin(&made).unwrap(), None);
}

#[test]
fn nothing_is_spent_twice() {
    let (chain, mut wallet) = mature();
    let spent = wallet.coins()[0].clone();
    let other = wallet.coins()[1].clone();
    let one = wallet.pay(&chain, std::slice::from_ref(&spent), 100);
    let two = wallet.pay(&chain, &[other, spent.clone()], 200);
    let both = wallet.block(&chain, vec![one.clone(), two.clone()], 300);
    assert!(matches!(
        refused(&chain, &both, 2),
        TransactionError::MissingCoin { index: 1, outpoint } if outpoint == spent.0
    ));
    add(
        &chain,
        &block_on(
            &chain,
            chain.tip(),
            wallet.script(),
            vec![one.clone()],
            100,
            1,
        ),
    )
    .unwrap();
    wallet.own(&one);
    let later = wallet.block(&chain, vec![two], 200);
    assert!(matches!(
        refused(&chain, &later, 1),
        TransactionError::MissingCoin { index: 1, .. }
    ));
}

#[test]
fn a_coinbase_matures_after_a_hundred_blocks() {
    let chain = devnet();
    let mut wallet = Wallet::new(1);
    wallet.mine(&chain, 99);
    let spent = wallet.coins()[0].clone();
    // The coinbase of block 1 in block 100: 99 blocks later.
    let early = wallet.pay(&chain, std::slice::from_ref(&spent), 100);
    let block = wallet.block(&chain, vec![early.clone()], 100);
    assert!(matches!(
        refused(&chain, &block, 1),
        TransactionError::Immature { .. }
    ));
    let block = block_on(&chain, chain.tip(), wallet.script(), Vec::new(), 0, 1);
    add(&chain, &block).unwrap();
    add(&chain, &wallet.block(&chain, vec![early], 100)).unwrap();
    assert_eq!(chain.tip().height, 101);
}

#[test]
fn fees_go_to_the_coinbase_and_no_more() {
    let (chain, mut wallet) = mature();
    let tx = wallet.transaction(&chain, 1, 700);
    let greedy = wallet.block(&chain, vec![tx.clone()], 701);
    let coins = chain.coins();
    assert!(matches!(
        add(&chain, &greedy),
        Err(BlockError::Subsidy { paid, allowed }) if paid == allowed + 1
    ));
    assert!(chain.coins() == coins);
    add(
        &chain,
        &block_on(&chain, chain.tip(), wallet.script(), vec![tx], 700, 1),
    )
    .unwrap();
}

#[test]
fn outputs_cannot_exceed_inputs() {
    let (chain, wallet) = mature();
    let spent = wallet.coins()[0].clone();
    let mut tx = wallet.pay(&chain, std::slice::from_ref(&spent), 0);
    tx.output[0].value += Amount::from_sat(1);
    wallet.sign(&chain, &mut tx, 0, &[spent.1]);
    let block = wallet.block(&chain, vec![tx], 0);
    assert!(matches!(
        refused(&chain, &block, 1),
        TransactionError::Overspent { .. }
    ));
}

#[test]
fn a_transaction_waits_for_its_lock_time() {
    let (chain, wallet) = mature();
    let spent = wallet.coins()[0].clone();
    let locked = |height: u32| -> Transaction {
        let mut tx = wallet.pay(&chain, std::slice::from_ref(&spent), 0);
        tx.lock_time = LockTime::from_height(height).unwrap();
        tx.input[0].sequence = Sequence::ZERO;
        wallet.sign(&chain, &mut tx, 0, std::slice::from_ref(&spent.1));
        tx
    };
    // The next block has height 106: a lock at 105 is over, one at 106 is not.
    assert!(matches!(
        refused(&chain, &wallet.block(&chain, vec![locked(106)], 0), 1),
        TransactionError::NotFinal { height: 106, .. }
    ));
    add(&chain, &wallet.block(&chain, vec![locked(105)], 0)).unwrap();
}

#[test]
fn every_signature_counts() {
    let (chain, mut wallet) = mature();
    let mut tx = wallet.transaction(&chain, 3, 300);
    let mut items = tx.input[2].witness.to_vec();
    items[0][100] ^= 1;
    tx.input[2].witness = bitcoin::Witness::from_slice(&items);
    let good = wallet.transaction(&chain, 1, 100);
    let block = wallet.block(&chain, vec![good, tx], 400);
    assert!(matches!(
        refused(&chain, &block, 2),
        TransactionError::Signature { index: 2 }
    ));
}

#[test]
fn a_changed_witness_under_an_honest_header_condemns_nothing() {
    let (chain, mut wallet) = mature();
    let tx = wallet.transaction(&chain, 1, 100);
    let honest = wallet.block(&chain, vec![tx], 100);
    let mut changed = honest.clone();
    let mut items = changed.txdata[1].input[0].witness.to_vec();
    items[0][7] ^= 1;
    changed.txdata[1].input[0].witness = bitcoin::Witness::from_slice(&items);
    assert_eq!(changed.block_hash(), honest.block_hash());
    let error = add(&chain, &changed).unwrap_err();
    assert!(error.is_mutation() && error.is_peer_fault(), "{error}");
    add(&chain, &honest).unwrap();
}

#[test]
fn a_repeated_transaction_under_an_honest_header_condemns_nothing() {
    // CVE-2012-2459: three transactions, the last of which is repeated.
    let (chain, mut wallet) = mature();
    let transactions = vec![
        wallet.transaction(&chain, 1, 100),
        wallet.transaction(&chain, 1, 100),
    ];
    let honest = wallet.block(&chain, transactions, 200);
    let mut changed = honest.clone();
    changed.txdata.push(honest.txdata[2].clone());
    assert_eq!(changed.compute_merkle_root(), honest.compute_merkle_root());
    assert!(matches!(
        add(&chain, &changed),
        Err(BlockError::DuplicateTransactions)
    ));
    add(&chain, &honest).unwrap();
}

#[test]
fn a_batch_ends_at_the_first_bad_block_and_keeps_what_came_before() {
    let (source, mut wallet) = mature();
    let base: Vec<_> = (1..=105).map(|height| block_at(&source, height)).collect();
    let mut blocks = wallet.spend_some(&source, 8);
    let chain = devnet();
    feed(&chain, &base);
    let expected = {
        let until = devnet();
        feed(&until, &base);
        feed(&until, &blocks[..5]);
        until.coins()
    };
    // A bad signature in the sixth; the others stay as they were, the seventh's parent is another now.
    let bad = &mut blocks[5];
    let mut items = bad.txdata[1].input[0].witness.to_vec();
    items[0][9] ^= 1;
    bad.txdata[1].input[0].witness = bitcoin::Witness::from_slice(&items);
    seal(bad);
    for index in 6..8 {
        blocks[index].header.prev_blockhash = blocks[index - 1].block_hash();
        seal(&mut blocks[index]);
    }
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, super::NOW).unwrap();
    let results = chain.connect_blocks(&blocks);
    assert_eq!(results.len(), 8);
    assert!(results[..5].iter().all(Result::is_ok));
    assert!(matches!(
        results[5],
        Err(BlockError::Transaction { index: 1, .. })
    ));
    for result in &results[6..] {
        assert!(
            matches!(result, Err(BlockError::KnownInvalid { .. })),
            "{result:?}"
        );
    }
    assert_eq!(chain.tip().height, 110);
    assert_eq!(chain.best_header(), chain.tip());
    assert!(chain.coins() == expected);
}

pub(super) fn block_at(chain: &Blockchain, height: u32) -> bitcoin::Block {
    let bytes = chain
        .block(&chain.block_at(height).unwrap())
        .unwrap()
        .unwrap();
    bitcoin::consensus::encode::deserialize(&bytes).unwrap()
}

#[test]
fn signatures_that_were_checked_before_are_not_checked_again() {
    let (chain, mut wallet) = mature();
    let mut tx = wallet.transaction(&chain, 1, 500);
    // The output changes after the signature: only who skips the check takes it.
    tx.output[0].value -= Amount::from_sat(1);
    let block = wallet.block(&chain, vec![tx.clone()], 500);
    // Another transaction is noted, so that the set is not empty.
    chain.note_signatures(wallet.transaction(&chain, 1, 500).compute_wtxid());
    let error = add(&chain, &block).unwrap_err();
    assert!(error.is_peer_fault(), "{error}");
    let (chain, wallet) = mature();
    chain.note_signatures(tx.compute_wtxid());
    let block = wallet.block(&chain, vec![tx], 500);
    add(&chain, &block).unwrap();
}
