//! Real blocks and transactions of Bitcoin: they decode, encode to the same bytes and hash to what is known.

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Block, CompactTarget, Transaction};
use data_encoding::HEXLOWER;

use super::*;
use crate::chain_spec::compact;

const DATA: &str = include_str!("testdata/bitcoin.txt");

fn entries() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    DATA.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, hex)| (name, HEXLOWER.decode(hex.as_bytes()).unwrap()))
}

fn bytes(name: &str) -> Vec<u8> {
    entries().find(|(found, _)| *found == name).unwrap().1
}

fn block(name: &str) -> Block {
    let block: Block = deserialize(&bytes(name)).unwrap();
    assert_eq!(serialize(&block), bytes(name));
    block
}

fn tx(name: &str) -> Transaction {
    let tx: Transaction = deserialize(&bytes(name)).unwrap();
    assert_eq!(serialize(&tx), bytes(name));
    assert_eq!(tx.total_size(), bytes(name).len());
    tx
}

/// The hash, the root and the work that our own functions find in a block.
fn check_known(block: &Block, hash: &str, work: u128) {
    assert_eq!(block.block_hash().to_string(), hash);
    let txids = block
        .txdata
        .iter()
        .map(|tx| tx.compute_txid().to_raw_hash());
    let root = merkle_root(txids);
    assert_eq!(root.root, block.header.merkle_root);
    assert!(!root.mutated);
    let target = compact::target_of(block.header.bits).unwrap();
    assert!(compact::hash_number(&block.block_hash()) <= target);
    assert_eq!(work_of(block.header.bits), work);
}

#[test]
fn a_mainnet_block_of_2009() {
    let block = block("mainnet_block");
    check_known(
        &block,
        "00000000b0c5a240b2a61d2e75692224efd4cbecdf6eaf4cc2cf477ca7c270e7",
        0x1_0001_0001,
    );
    assert_eq!(block.txdata.len(), 2);
    assert_eq!(block.header.time, 1_231_965_655);
    // One flipped bit anywhere in the header is another block, without work.
    let header = serialize(&block.header);
    for bit in 0..header.len() * 8 {
        let mut header = header.clone();
        header[bit / 8] ^= 1 << (bit % 8);
        let header: bitcoin::block::Header = deserialize(&header).unwrap();
        let target = compact::target_of(CompactTarget::from_consensus(0x1d00_ffff)).unwrap();
        assert!(
            compact::hash_number(&header.block_hash()) > target,
            "bit {bit}"
        );
    }
}

#[test]
fn a_mainnet_block_cut_anywhere_does_not_decode() {
    let bytes = bytes("mainnet_block");
    for length in 0..bytes.len() {
        assert!(
            deserialize::<Block>(&bytes[..length]).is_err(),
            "{length} bytes"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(deserialize::<Block>(&longer).is_err());
}

#[test]
fn testnet_block_100_000() {
    let block = block("testnet_block_100000");
    // The hash is this test's own computation; root and work prove the header.
    let hash = block.block_hash().to_string();
    check_known(&block, &hash, work_of(block.header.bits));
    assert_eq!(
        block.txdata[0].compute_txid().to_string(),
        "d574f343976d8e70d91cb278d21044dd8a396019e6db70755a0a50e4783dba38"
    );
    // BIP34: the height starts the coinbase's script, in our form too.
    let script = block.txdata[0].input[0].script_sig.as_bytes();
    assert!(script.starts_with(height_script(100_000).as_bytes()));
}

/// A mainnet transaction with inputs of three kinds names the ids of the transactions that it spends.
#[test]
fn mainnet_transactions_hash_to_what_spends_them() {
    let spending = tx("spending");
    let spent = ["spent_1", "spent_2", "spent_3"].map(tx);
    assert_eq!(spending.input.len(), 3);
    for input in &spending.input {
        let source = spent
            .iter()
            .find(|tx| tx.compute_txid() == input.previous_output.txid);
        let vout = usize::try_from(input.previous_output.vout).unwrap();
        assert!(source.unwrap().output.get(vout).is_some());
    }
    // Witnesses are no part of the id, but of the witness id.
    let mut stripped = spending.clone();
    for input in &mut stripped.input {
        input.witness.clear();
    }
    assert_eq!(stripped.compute_txid(), spending.compute_txid());
    assert_ne!(stripped.compute_wtxid(), spending.compute_wtxid());
}

#[test]
fn mainnet_transactions_of_each_kind_have_their_known_weight() {
    let mut count = 0;
    for (name, _) in entries() {
        let Some(rest) = name.strip_prefix("weight_") else {
            continue;
        };
        let weight: u64 = rest.split('_').next().unwrap().parse().unwrap();
        assert_eq!(tx(name).weight().to_wu(), weight, "{name}");
        count += 1;
    }
    assert_eq!(count, 6);
}

/// Bitcoin's scripts are not ours: such a transaction is refused for what it is.
#[test]
fn our_rules_refuse_bitcoins_transactions() {
    let rules = Rules::new(&ChainSpec::mainnet());
    for (name, _) in entries().filter(|(name, _)| !name.contains("block")) {
        assert!(check_transaction(&rules, &tx(name)).is_err(), "{name}");
    }
}
