//! Defects that were found in review: each test says what holds now, and why it did not.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{Amount, Block, Transaction};

use super::files::small;
use super::reorganise::{forest, open};
use super::spending::{block_at, mature};
use super::wallet::{Wallet, add, block_on, seal};
use super::{NOW, devnet, feed, grow};
use crate::chain::{BlockError, BlockRef, Blockchain};

fn headers(chain: &Blockchain, blocks: &[Block]) {
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
}

/// The second copy counts as a side block: its standing (without undo data) replaces that of the connected
/// block, and the directory can't be opened again.
#[test]
fn a_block_that_comes_twice_in_a_batch_leaves_a_directory_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = grow(&devnet(), 3, 1);
    let chain = small(dir.path()).unwrap();
    headers(&chain, &blocks);
    let batch = [&blocks[0], &blocks[0], &blocks[1], &blocks[2]].map(Clone::clone);
    assert!(chain.connect_blocks(&batch).iter().all(Result::is_ok));
    let tip = chain.tip();
    assert_eq!(tip.height, 3);
    drop(chain);
    let chain = small(dir.path()).unwrap();
    assert_eq!(chain.tip(), tip);
    assert_eq!(chain.check_files(true, |_| ()).unwrap().blocks, 3);
}

/// Also the last block of a batch, which the hub can hand over twice.
#[test]
fn a_batch_that_comes_twice_leaves_a_directory_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = grow(&devnet(), 3, 1);
    let chain = small(dir.path()).unwrap();
    headers(&chain, &blocks);
    let batch = [blocks.clone(), blocks.clone()].concat();
    assert!(chain.connect_blocks(&batch).iter().all(Result::is_ok));
    let tip = chain.tip();
    drop(chain);
    assert_eq!(small(dir.path()).unwrap().tip(), tip);
}

/// `connect_blocks` promises what `connect_block` does for each in order.
#[test]
fn a_fork_within_a_batch_is_taken_in() {
    let source = devnet();
    let base = grow(&source, 1, 1);
    let at = |chain: &Blockchain, tag| {
        feed(chain, &base);
        grow(chain, 2, tag)
    };
    let (a, b) = (at(&devnet(), 2), at(&devnet(), 3));
    let chain = devnet();
    headers(&chain, &base);
    headers(&chain, &a);
    headers(&chain, &b);
    let batch = [&base[0], &a[0], &b[0], &b[1]].map(Clone::clone);
    for result in chain.connect_blocks(&batch) {
        result.unwrap();
    }
    assert_eq!(chain.tip().hash, b[1].block_hash());
}

/// Of equals, the first stays: an invalid block on top of the second must not change that.
#[test]
fn an_invalid_block_does_not_turn_a_tie() {
    let (a, b) = (grow(&devnet(), 3, 1), grow(&devnet(), 4, 2));
    let chain = devnet();
    feed(&chain, &a);
    feed(&chain, &b[..3]);
    assert_eq!(chain.tip().hash, a[2].block_hash());
    let mut bad = b[3].clone();
    bad.txdata[0].output[0].value += Amount::from_sat(1);
    seal(&mut bad);
    add(&chain, &bad).unwrap_err();
    assert_eq!(chain.tip().hash, a[2].block_hash());
}

/// A lookup that fails half-way through a transaction leaves coins taken, so the writer must stop, also where
/// an earlier block of the run has a bad signature. Otherwise the coins are lost: a valid block that spends
/// them is refused and its header condemned, and the next flush writes them off.
#[test]
fn a_failed_lookup_stops_the_writer_also_after_a_bad_signature() {
    let (source, mut wallet) = mature();
    let base: Vec<Block> = (1..=105).map(|height| block_at(&source, height)).collect();
    let dir = tempfile::tempdir().unwrap();
    let chain = small(dir.path()).unwrap();
    feed(&chain, &base);
    let tip = chain.tip();
    let coins = wallet.coins().to_vec();
    let coins_before = chain.coins();

    let mut spent = wallet.transaction(&chain, 1, 500);
    let mut items = spent.input[0].witness.to_vec();
    items[0][50] ^= 4;
    spent.input[0].witness = bitcoin::Witness::from_slice(&items);
    let bad = wallet.block(&chain, vec![spent], 500);
    chain.accept_headers(&[bad.header], NOW).unwrap();
    let two = wallet.pay(&chain, &coins[1..3], 500);
    let parent = BlockRef {
        height: tip.height + 1,
        hash: bad.block_hash(),
    };
    let next = block_on(&chain, parent, wallet.script(), vec![two], 500, 0);
    chain.accept_headers(&[next.header], NOW).unwrap();

    chain.fail_lookups_of(coins[2].0, false);
    let results = chain.connect_blocks(&[bad, next]);
    assert!(results.iter().all(Result::is_err));
    assert_eq!(chain.tip(), tip);
    // Either nothing goes on, or all is as it was.
    let one = wallet.pay(&chain, &coins[1..2], 500);
    let good = wallet.block(&chain, vec![one], 500);
    match add(&chain, &good) {
        Ok(_) | Err(BlockError::Store(_)) => {}
        Err(error) => panic!("a valid block was refused: {error}"),
    }
    drop(chain);
    let chain = small(dir.path()).unwrap();
    if chain.tip() == tip {
        assert!(chain.coins() == coins_before, "coins were lost on disk");
    }
}

/// Coins move before signatures are checked, on other threads and in code of others. A panic there must not
/// be followed by a flush of coins that are half moved (closing the node flushes twice).
#[test]
fn after_a_panic_in_the_middle_of_a_run_nothing_is_flushed() {
    let (source, mut wallet) = mature();
    let base: Vec<Block> = (1..=105).map(|height| block_at(&source, height)).collect();
    let dir = tempfile::tempdir().unwrap();
    let chain = small(dir.path()).unwrap();
    feed(&chain, &base);
    let coins = wallet.coins().to_vec();
    let (tip, before) = (chain.tip(), chain.coins());
    let txs = [
        wallet.transaction(&chain, 1, 500),
        wallet.transaction(&chain, 1, 500),
    ];
    let block = wallet.block(&chain, txs.to_vec(), 1_000);
    chain.accept_headers(&[block.header], NOW).unwrap();
    chain.fail_lookups_of(coins[1].0, true);
    let connect = || chain.connect_blocks(std::slice::from_ref(&block));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(connect)).unwrap_err();
    let _ = chain.flush();
    drop(chain);
    let chain = small(dir.path()).unwrap();
    assert_eq!(chain.tip(), tip);
    assert!(chain.coins() == before, "coins were lost on disk");
}

/// Holds: wherever the disk stops a reorganisation, opening goes on with it.
#[test]
fn a_reorganisation_that_the_disk_stops_is_finished_at_opening() {
    let forest = forest(&[4, 6]);
    let (_, a) = &forest.branches[0];
    let (winner, b) = &forest.branches[1];
    for stop in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let chain = open(dir.path());
        feed(&chain, &forest.base);
        feed(&chain, a);
        headers(&chain, b);
        for block in &b[..4] {
            chain.connect_block(block).unwrap();
        }
        let input = b[stop].txdata[1].input.last().unwrap().previous_output;
        chain.fail_lookups_of(input, false);
        let stopped = chain.connect_block(&b[4]);
        println!(
            "{stop}: {:?}, tip {}",
            stopped.as_ref().err(),
            chain.tip().height
        );
        drop(chain);
        let chain = open(dir.path());
        let done = if stopped.is_ok() { &b[5..] } else { &b[4..] };
        for block in done {
            add(&chain, block).unwrap();
        }
        assert_eq!(chain.tip(), winner.tip());
        assert!(chain.coins() == winner.coins());
        chain.check_files(true, |_| ()).unwrap();
    }
}

/// Two transaction ids side by side are 64 bytes, and these can be a transaction: then a body with it alone
/// has the same merkle root (Suhas Daftuar, "Weaknesses in Bitcoin's Merkle Root Construction", 3.1; Bitcoin
/// Core's `IsBlockMutated`). Whoever grinds a transaction's id (witnesses are not part of it: about 4 million
/// hashes) and has it mined next to the coinbase can make others condemn a valid header for ever.
#[test]
fn a_body_of_inner_merkle_nodes_does_not_condemn_the_header() {
    let (chain, mut wallet) = mature();
    let (block, mutated) = ambiguous(&chain, &mut wallet);
    chain.accept_headers(&[block.header], NOW).unwrap();
    let error = chain.connect_block(&mutated).unwrap_err();
    println!("{error}");
    assert_eq!(mutated.block_hash(), block.block_hash());
    // The true block comes from an honest peer.
    chain.connect_block(&block).unwrap();
}

/// A valid block on the tip, and another body that its header commits to as well.
fn ambiguous(chain: &Blockchain, wallet: &mut Wallet) -> (Block, Block) {
    let spent: Vec<_> = wallet.coins()[..1].to_vec();
    let mut tx = wallet.pay(chain, &spent, 1_000);
    grind(&mut tx);
    let outputs: Vec<_> = spent.into_iter().map(|(_, output)| output).collect();
    tx.input[0].witness.clear();
    wallet.sign(chain, &mut tx, 0, &outputs);
    let mut block = wallet.block(chain, vec![tx.clone()], 1_000);
    while block.txdata[0].compute_txid().to_byte_array()[4] != 1 {
        block.txdata[0].output[0].value -= Amount::from_sat(1);
    }
    seal(&mut block);
    let pair = [
        block.txdata[0].compute_txid().to_byte_array(),
        tx.compute_txid().to_byte_array(),
    ]
    .concat();
    let inner: Transaction = deserialize(&pair).unwrap();
    assert_eq!(serialize(&inner), pair);
    let mutated = Block {
        header: block.header,
        txdata: vec![inner],
    };
    // It survives the wire.
    let mutated = deserialize(&serialize(&mutated)).unwrap();
    (block, mutated)
}

/// Tries lock times (without effect, since the sequences are final) until the id is the second half of a
/// transaction of 64 bytes with one input and one output.
fn grind(tx: &mut Transaction) {
    use rayon::iter::{IntoParallelIterator, ParallelIterator};
    let mut stripped = tx.clone();
    stripped.input[0].witness.clear();
    let bytes = serialize(&stripped);
    let mut start = sha256d::Hash::engine();
    start.input(&bytes[..bytes.len() - 4]);
    let lock_time = (0..u32::MAX).into_par_iter().find_any(|n| {
        let mut engine = start.clone();
        engine.input(&n.to_le_bytes());
        let id = sha256d::Hash::from_engine(engine).to_byte_array();
        let script = usize::from(id[9]);
        script <= 4 && id[14 + script] == 1 && usize::from(id[23 + script]) == 4 - script
    });
    tx.lock_time = LockTime::from_consensus(lock_time.unwrap());
}
