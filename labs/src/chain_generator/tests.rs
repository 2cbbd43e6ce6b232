//! The generator: always the same, never the same with another seed, and valid.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::{Block, OutPoint};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::consensus::{
    Coin, Rules, check_signatures, check_spends, check_transaction,
};

use super::files::{self, Summary};
use super::{ChainOptions, Generator};

fn options(blocks: u32) -> ChainOptions {
    ChainOptions {
        blocks,
        ..ChainOptions::default()
    }
}

fn blocks(options: ChainOptions) -> Vec<Block> {
    Generator::new(options).collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_chain_and_another_another() {
    let first = files::summarize(&options(110)).unwrap();
    assert_eq!(files::summarize(&options(110)).unwrap(), first);
    let other = ChainOptions {
        seed: 1,
        ..options(110)
    };
    assert_ne!(files::summarize(&other).unwrap().digest, first.digest);
}

#[test]
fn a_longer_chain_begins_with_the_shorter() {
    let long = blocks(options(250));
    assert_eq!(blocks(options(120)), long[..120]);
}

/// The digest that other runs, machines and releases must come to. Where it changes on purpose,
/// `files::FORMAT` changes with it.
#[test]
fn the_chain_is_what_it_was() {
    let summary = files::summarize(&options(130)).unwrap();
    assert_eq!(
        summary,
        Summary {
            blocks: 130,
            transactions: 27 * 4,
            signatures: 27 * 4 * 4 / 3,
            bytes: 589_211,
            digest: "2156e6ec6d7a76de2eee2d6268393273837c1d96e0688887b66828969afd90a9".into(),
        }
    );
}

#[test]
fn every_transaction_holds() {
    let spec = quantumcoin::chain_spec::ChainSpec::devnet();
    let rules = Rules::new(&spec);
    let mut coins: HashMap<OutPoint, Coin> = HashMap::new();
    let (mut within_block, mut two_inputs) = (0, 0);
    for (block, height) in blocks(options(180)).into_iter().zip(1..) {
        for (number, tx) in block.txdata.iter().enumerate() {
            if number > 0 {
                let spent: Vec<Coin> = tx
                    .input
                    .iter()
                    .map(|input| coins.remove(&input.previous_output).unwrap())
                    .collect();
                check_transaction(&rules, tx).unwrap();
                let fee = check_spends(&rules, tx, &spent, height).unwrap();
                assert!(fee * 1_000 >= 2_000 * tx.total_size() as u64, "{fee}");
                check_signatures(&rules, tx, &spent).unwrap();
                within_block += spent.iter().filter(|coin| coin.height == height).count();
                two_inputs += usize::from(spent.len() == 2);
            }
            for (vout, output) in (0..).zip(tx.output.iter().cloned()) {
                let coin = Coin {
                    output,
                    height,
                    coinbase: number == 0,
                };
                let txid = tx.compute_txid();
                coins.insert(OutPoint { txid, vout }, coin);
            }
        }
    }
    assert!(within_block > 10, "{within_block} spends within a block");
    assert!(two_inputs > 50, "{two_inputs} transactions of two inputs");
}

#[test]
fn a_blockchain_takes_it() {
    let blocks = blocks(options(300));
    let chain = Blockchain::in_memory(Arc::clone(Generator::new(options(0)).spec()));
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    let now = headers.last().unwrap().time;
    chain.accept_headers(&headers, now).unwrap();
    for part in blocks.chunks(64) {
        for result in chain.connect_blocks(part) {
            result.unwrap();
        }
    }
    assert_eq!(chain.tip().height, 300);
    assert_eq!(chain.tip().hash, blocks.last().unwrap().block_hash());
}

#[test]
fn files_give_back_what_was_written_and_damage_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let options = options(112);
    let (dir, summary) = files::cached(&options, root.path()).unwrap();
    let read: Vec<Vec<u8>> = files::read(&dir).unwrap().map(Result::unwrap).collect();
    let made: Vec<Vec<u8>> = blocks(options)
        .iter()
        .map(bitcoin::consensus::encode::serialize)
        .collect();
    assert!(read == made);
    assert_eq!(files::verify(&dir).unwrap(), summary);
    // A directory that is there is not overwritten by hand …
    assert!(files::write(&options, &dir).is_err());
    // … but a damaged one in the cache is made anew.
    let path = dir.join("blocks-000.dat");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(files::verify(&dir).is_err());
    assert_eq!(files::cached(&options, root.path()).unwrap().1, summary);
    assert_eq!(files::verify(&dir).unwrap(), summary);
}

#[test]
fn coinbases_alone() {
    let options = ChainOptions {
        transactions: 0,
        ..options(110)
    };
    let summary = files::summarize(&options).unwrap();
    assert_eq!((summary.transactions, summary.signatures), (0, 0));
}
