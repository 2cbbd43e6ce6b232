//! One test for each body rule, and tampering.

use bitcoin::{Amount, OutPoint, Sequence, TxIn, TxOut, Witness};
use proptest::prelude::*;

use super::*;
use crate::chain::consensus::p2mldsa_script;
use crate::chain::error::TransactionError;
use crate::chain::miner::{assemble, find_nonce};
use crate::chain_spec::ChainSpec;

const HEIGHT: u32 = 7;

fn rules() -> Rules {
    Rules::new(&ChainSpec::devnet())
}

/// A valid block at `height` that pays `value`.
fn block_at(height: u32, value: u64) -> Block {
    let genesis = ChainSpec::devnet().genesis_block();
    let header = bitcoin::block::Header {
        prev_blockhash: genesis.block_hash(),
        ..genesis.header
    };
    let payout = TxOut {
        value: Amount::from_sat(value),
        script_pubkey: p2mldsa_script([5; 32]),
    };
    let mut block = assemble(header, height, payout, Vec::new());
    find_nonce(&mut block.header).unwrap();
    block
}

/// A valid block, changed; then merkle root and proof of work are made right again.
fn changed(change: impl FnOnce(&mut Block)) -> Block {
    let mut block = block_at(HEIGHT, 1_000);
    change(&mut block);
    block.header.merkle_root = root(&block);
    find_nonce(&mut block.header).unwrap();
    block
}

fn root(block: &Block) -> bitcoin::TxMerkleNode {
    merkle_root(
        block
            .txdata
            .iter()
            .map(|tx| tx.compute_txid().to_raw_hash()),
    )
    .root
}

/// Makes the witness commitment fit the block's witnesses again.
fn recommit(block: &mut Block) {
    let script = commitment_script(block);
    block.txdata[0].output.last_mut().unwrap().script_pubkey = script;
}

fn error(block: &Block) -> BlockError {
    check_block(&rules(), block)
        .and_then(|()| check_block_at(block, HEIGHT))
        .and_then(|()| check_payout(&rules(), block, HEIGHT, 0))
        .unwrap_err()
}

/// The block breaks a rule that its header commits to: peer's fault, and the header is condemned.
fn condemned(block: &Block) -> BlockError {
    let error = error(block);
    assert!(error.is_peer_fault() && error.condemns_header(), "{error}");
    error
}

/// The body may have been changed on the way: peer's fault, but the header stays.
fn mutated(block: &Block) -> BlockError {
    let error = error(block);
    assert!(error.is_peer_fault() && !error.condemns_header(), "{error}");
    error
}

fn spend() -> Transaction {
    let input = TxIn {
        previous_output: OutPoint {
            txid: block_at(1, 1).txdata[0].compute_txid(),
            vout: 0,
        },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    let mut tx = block_at(1, 5).txdata.remove(0);
    tx.input = vec![input];
    tx.output.truncate(1);
    tx
}

#[test]
fn a_valid_block_passes_at_every_kind_of_height() {
    for height in [
        1, 16, 17, 127, 128, 255, 256, 32_767, 32_768, 105_120, 8_388_608,
    ] {
        let block = block_at(height, subsidy(&rules(), height));
        check_block(&rules(), &block).unwrap();
        check_block_at(&block, height).unwrap();
        assert!(block.check_witness_commitment(), "the library agrees");
        let mut version_2 = block.clone();
        version_2.header.version = bitcoin::block::Version::TWO;
        let theirs = version_2.bip34_block_height();
        // The library does not read the one-byte pushes of heights up to 16.
        assert!(
            height <= 16 || theirs == Ok(u64::from(height)),
            "{theirs:?}"
        );
    }
}

#[test]
fn proof_of_work_is_checked() {
    let mut block = block_at(HEIGHT, 1);
    let target = block.header.target();
    while target.is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    assert!(matches!(error(&block), BlockError::ProofOfWork { .. }));
    // Easier than the limit is none.
    let mut block = block_at(HEIGHT, 1);
    block.header.bits = bitcoin::CompactTarget::from_consensus(0x217f_ffff);
    assert!(matches!(error(&block), BlockError::ProofOfWork { .. }));
}

#[test]
fn merkle_root_binds_the_transactions() {
    let mut block = block_at(HEIGHT, 1);
    block.txdata[0].output[0].value = Amount::from_sat(2);
    assert!(matches!(mutated(&block), BlockError::MerkleRoot { .. }));
}

#[test]
fn duplicated_transactions_do_not_condemn_the_header() {
    // An honest header over three transactions, and the same with the last one twice.
    let honest = changed(|block| {
        let mut other = spend();
        other.output[0].value = Amount::from_sat(4);
        block.txdata.extend([spend(), other]);
        recommit(block);
    });
    let mut twin = honest.clone();
    twin.txdata.push(honest.txdata[2].clone());
    assert_eq!(twin.block_hash(), honest.block_hash());
    assert_eq!(root(&twin), honest.header.merkle_root);
    assert!(matches!(mutated(&twin), BlockError::DuplicateTransactions));
}

#[test]
fn an_empty_block_is_refused() {
    let block = changed(|block| block.txdata.clear());
    assert!(matches!(condemned(&block), BlockError::Empty));
}

#[test]
fn size_is_bounded() {
    let padded = |bytes: usize| {
        changed(|block| {
            let burn = TxOut {
                value: Amount::ZERO,
                script_pubkey: ScriptBuf::from_bytes(vec![0x6a; 83]),
            };
            let outputs = &mut block.txdata[0].output;
            let commitment = outputs.pop().unwrap();
            // 92 bytes each; the count grows to five bytes.
            outputs.extend(vec![burn; (bytes - 400) / 92]);
            outputs.push(commitment);
        })
    };
    let most = rules().max_block_bytes;
    let fits = padded(most);
    assert!(fits.total_size() > most - 1_000 && fits.total_size() <= most);
    assert!(check_block(&rules(), &fits).is_ok());
    assert!(matches!(
        condemned(&padded(most + 1_000)),
        BlockError::TooLarge {
            by_witness: false,
            ..
        }
    ));
}

#[test]
fn a_size_blown_up_by_witness_does_not_condemn_the_header() {
    let mut block = block_at(HEIGHT, 1);
    block.txdata[0].input[0].witness = Witness::from_slice(&[vec![0; 4_000_000]]);
    assert!(matches!(
        mutated(&block),
        BlockError::TooLarge {
            by_witness: true,
            ..
        }
    ));
}

#[test]
fn the_first_transaction_must_be_a_coinbase() {
    let block = changed(|block| block.txdata = vec![spend()]);
    assert!(matches!(mutated(&block), BlockError::FirstNotCoinbase));
}

#[test]
fn only_the_first_may_be_a_coinbase() {
    let block = changed(|block| {
        block.txdata.push(block_at(HEIGHT, 2).txdata.remove(0));
        recommit(block);
    });
    assert!(matches!(
        condemned(&block),
        BlockError::SecondCoinbase { index: 1 }
    ));
}

#[test]
fn a_coinbase_may_pay_the_fees_too() {
    let most = subsidy(&rules(), HEIGHT);
    let block = block_at(HEIGHT, most + 7);
    assert!(check_payout(&rules(), &block, HEIGHT, 7).is_ok());
    assert!(matches!(
        check_payout(&rules(), &block, HEIGHT, 6),
        Err(BlockError::Subsidy { paid, allowed }) if paid == most + 7 && allowed == most + 6
    ));
}

#[test]
fn every_transaction_is_checked_by_itself() {
    for bad in [1, 2] {
        let block = changed(|block| {
            let mut other = spend();
            other.output[0].value = Amount::from_sat(4);
            block.txdata.extend([spend(), other]);
            block.txdata[bad].output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51]);
            recommit(block);
        });
        let error = condemned(&block);
        let BlockError::Transaction {
            index,
            txid,
            source,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*index, bad);
        assert_eq!(*txid, block.txdata[bad].compute_txid());
        assert_eq!(*source, TransactionError::Output { index: 0 });
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("transaction {bad} ({txid}): output 0")),
            "{text}"
        );
    }
}

#[test]
fn a_transactions_fault_does_not_condemn_under_a_broken_commitment() {
    // The witnesses are checked first, so that what follows is a fact about the header's block.
    let mut block = changed(|block| {
        let mut bad = spend();
        bad.output.clear();
        block.txdata.push(bad);
        recommit(block);
    });
    assert!(matches!(
        condemned(&block),
        BlockError::Transaction { index: 1, .. }
    ));
    block.txdata[1].input[0].witness = Witness::from_slice(&[[9_u8; 4]]);
    assert!(matches!(mutated(&block), BlockError::WitnessCommitment));
}

#[test]
fn the_coinbase_script_has_2_to_100_bytes() {
    let with_length = |length: usize| {
        changed(|block| {
            let mut script = height_script(HEIGHT).into_bytes();
            script.resize(length, 0);
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(script);
        })
    };
    assert!(matches!(
        condemned(&with_length(1)),
        BlockError::CoinbaseScript { bytes: 1 }
    ));
    assert!(matches!(
        condemned(&with_length(101)),
        BlockError::CoinbaseScript { bytes: 101 }
    ));
    assert!(check_block(&rules(), &with_length(2)).is_ok());
    assert!(check_block(&rules(), &with_length(100)).is_ok());
}

#[test]
fn the_coinbase_names_its_height() {
    for height in [HEIGHT - 1, HEIGHT + 1, 300] {
        assert!(matches!(
            condemned(&block_at(height, 1)),
            BlockError::CoinbaseHeight { height: HEIGHT }
        ));
    }
}

#[test]
fn the_height_push_is_the_shortest() {
    // 7 as OP_PUSHBYTES_1 07 in place of OP_7.
    let block = changed(|block| {
        block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![1, 7, 0]);
    });
    assert!(matches!(
        condemned(&block),
        BlockError::CoinbaseHeight { .. }
    ));
}

#[test]
fn the_witness_commitment_is_mandatory() {
    let block = changed(|block| block.txdata[0].output.truncate(1));
    assert!(matches!(condemned(&block), BlockError::NoWitnessCommitment));
}

#[test]
fn the_reserved_value_is_one_item_of_32_bytes() {
    for items in [
        vec![],
        vec![vec![0; 31]],
        vec![vec![0; 33]],
        vec![vec![0; 32], vec![]],
    ] {
        let mut block = block_at(HEIGHT, 1);
        block.txdata[0].input[0].witness = Witness::from_slice(&items);
        assert!(
            matches!(mutated(&block), BlockError::WitnessReservedValue),
            "{items:?}"
        );
    }
}

#[test]
fn the_commitment_binds_the_witnesses() {
    let mut block = block_at(HEIGHT, 1);
    block.txdata[0].input[0].witness = Witness::from_slice(&[[1_u8; 32]]);
    assert!(matches!(mutated(&block), BlockError::WitnessCommitment));

    let mut block = changed(|block| {
        block.txdata.push(spend());
        recommit(block);
    });
    block.txdata[1].input[0].witness = Witness::from_slice(&[[9_u8; 4]]);
    assert!(matches!(mutated(&block), BlockError::WitnessCommitment));
}

#[test]
fn the_last_commitment_counts() {
    let block = changed(|block| {
        let right = block.txdata[0].output[1].clone();
        let mut wrong = right.clone();
        let mut script = wrong.script_pubkey.into_bytes();
        script[20] ^= 1;
        wrong.script_pubkey = ScriptBuf::from_bytes(script);
        block.txdata[0].output.insert(1, wrong);
    });
    assert!(check_block(&rules(), &block).is_ok());
}

#[test]
fn outputs_are_of_allowed_kinds() {
    let block = changed(|block| {
        let old_style = TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
        };
        block.txdata[0].output.insert(1, old_style);
    });
    assert!(matches!(condemned(&block), BlockError::Output { index: 1 }));
}

#[test]
fn values_are_bounded_one_by_one_and_in_sum() {
    let cap = rules().max_money;
    for values in [
        vec![cap + 1],
        vec![cap, 1],
        vec![u64::MAX, u64::MAX],
        vec![1 << 63, 1 << 63],
    ] {
        let block = changed(|block| {
            let payout = block.txdata[0].output[0].clone();
            let extra = values.iter().map(|value| TxOut {
                value: Amount::from_sat(*value),
                ..payout.clone()
            });
            block.txdata[0].output.splice(0..1, extra);
        });
        assert!(matches!(condemned(&block), BlockError::Value), "{values:?}");
    }
}

#[test]
fn the_coinbase_pays_at_most_the_subsidy() {
    let most = subsidy(&rules(), HEIGHT);
    assert!(check_payout(&rules(), &block_at(HEIGHT, most), HEIGHT, 0).is_ok());
    assert!(check_payout(&rules(), &block_at(HEIGHT, 0), HEIGHT, 0).is_ok());
    let error = condemned(&block_at(HEIGHT, most + 1));
    assert!(
        matches!(error, BlockError::Subsidy { paid, allowed } if paid == most + 1 && allowed == most)
    );
}

proptest! {
    /// Whatever single bit of a serialized block is flipped: it does not decode, or it is another block, or
    /// it is refused, without condemning the true header.
    #[test]
    fn no_flipped_bit_passes(position in 0_usize..1_000_000, bit in 0_u8..8) {
        let block = block_at(HEIGHT, 1_000);
        let mut bytes = bitcoin::consensus::encode::serialize(&block);
        let position = position % bytes.len();
        bytes[position] ^= 1 << bit;
        if let Ok(found) = bitcoin::consensus::encode::deserialize::<Block>(&bytes) {
            if found.block_hash() == block.block_hash() {
                prop_assert!(!error(&found).condemns_header());
            } else {
                // Changed in its header: its merkle root or work may still hold (time, nonce, version),
                // but then it is another block, which needs a header of its own.
                prop_assert!(position < 80);
            }
        }
    }
}
