//! The first block, rebuilt from the numbers in `[genesis]`.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Witness, transaction,
};

use super::GenesisSpec;

/// Most bytes of the message: one direct push; with the two numbers before it the script has at most 86 of
/// the 100 bytes that a coinbase script may have.
pub(super) const MAX_MESSAGE_BYTES: usize = 75;

/// The block that `genesis` describes; its merkle root is computed.
pub(super) fn block(genesis: &GenesisSpec) -> Block {
    let coinbase = coinbase(genesis);
    let header = Header {
        version: Version::from_consensus(genesis.version),
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: coinbase.compute_txid().to_raw_hash().into(),
        time: genesis.time,
        bits: CompactTarget::from_consensus(genesis.bits),
        nonce: genesis.nonce,
    };
    Block {
        header,
        txdata: vec![coinbase],
    }
}

fn coinbase(genesis: &GenesisSpec) -> Transaction {
    let mut message = PushBytesBuf::new();
    for byte in genesis.message.bytes().take(MAX_MESSAGE_BYTES) {
        // Fails beyond 2^32 bytes only.
        let _ = message.push(byte);
    }
    let script_sig = Builder::new()
        .push_slice(genesis.bits.to_le_bytes())
        .push_slice(genesis.extra_nonce.to_le_bytes())
        .push_slice(message)
        .into_script();
    Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: ScriptBuf::from_bytes(vec![OP_RETURN.to_u8()]),
        }],
    }
}
