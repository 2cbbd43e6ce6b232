//! Blocks to be judged: an honest one from bcoin's miner, changed in one respect and sealed again.

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::{OP_PUSHBYTES_36, OP_RETURN};
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    absolute, transaction,
};

/// What BIP141 puts before the witness commitment.
const COMMITMENT_PREFIX: [u8; 6] = [
    OP_RETURN.to_u8(),
    OP_PUSHBYTES_36.to_u8(),
    0xaa,
    0x21,
    0xa9,
    0xed,
];

/// The reserved value that bcoin's miner takes.
const RESERVED: [u8; 32] = [0; 32];

/// `block` changed by `edit`, with the witness commitment, merkle root and proof of work that it needs.
pub(crate) fn edited(block: &Block, edit: impl FnOnce(&mut Block)) -> Block {
    resealed(block, |block| {
        edit(block);
        commit(block);
    })
}

/// `block` changed by `edit`, with the merkle root and proof of work that it needs.
pub(crate) fn resealed(block: &Block, edit: impl FnOnce(&mut Block)) -> Block {
    remined(block, |block| {
        edit(block);
        block.header.merkle_root = block
            .compute_merkle_root()
            .unwrap_or_else(TxMerkleNode::all_zeros);
    })
}

/// `block` changed by `edit`, with the proof of work that it needs.
pub(crate) fn remined(block: &Block, edit: impl FnOnce(&mut Block)) -> Block {
    let mut block = block.clone();
    edit(&mut block);
    search(&mut block.header, true);
    block
}

/// `block` with a nonce that does not meet its target.
pub(crate) fn unmined(block: &Block) -> Block {
    let mut block = block.clone();
    search(&mut block.header, false);
    block
}

/// Tries nonces until the header meets its own target, or misses it. At regtest's difficulty every second
/// one does either.
fn search(header: &mut Header, meet: bool) {
    header.nonce = 0;
    while header.target().is_met_by(header.block_hash()) != meet {
        header.nonce += 1;
    }
}

/// Puts the right hash into the last commitment, if there is one.
fn commit(block: &mut Block) {
    let Some(hash) = commitment(block) else {
        return;
    };
    let outputs = &mut block.txdata[0].output;
    let last = outputs
        .iter_mut()
        .rev()
        .find(|output| is_commitment(&output.script_pubkey));
    if let Some(output) = last {
        let mut script = output.script_pubkey.to_bytes();
        script[6..38].copy_from_slice(&hash);
        output.script_pubkey = script.into();
    }
}

fn commitment(block: &Block) -> Option<[u8; 32]> {
    let root = block.witness_root()?;
    Some(Block::compute_witness_commitment(&root, &RESERVED).to_byte_array())
}

pub(crate) fn is_commitment(script: &ScriptBuf) -> bool {
    script.len() >= 38 && script.as_bytes().starts_with(&COMMITMENT_PREFIX)
}

/// A commitment to nothing in particular.
pub(crate) fn wrong_commitment() -> TxOut {
    output(0, [&COMMITMENT_PREFIX[..], &[7; 32]].concat())
}

pub(crate) fn output(value: u64, script: Vec<u8>) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: script.into(),
    }
}

/// The script of a witness program.
pub(crate) fn witness(version: u8, length: u8) -> Vec<u8> {
    let opcode = if version == 0 { 0 } else { 0x50 + version };
    let mut script = vec![opcode, length];
    script.resize(2 + usize::from(length), 7);
    script
}

/// `OP_RETURN` and zeros, `length` bytes in all.
pub(crate) fn op_return(length: usize) -> Vec<u8> {
    let mut script = vec![OP_RETURN.to_u8()];
    script.resize(length, 0);
    script
}

/// A coinbase's script that begins with `height` in the usual form and has `length` bytes in all.
pub(crate) fn coinbase_script(height: u32, length: usize) -> ScriptBuf {
    let mut script = Builder::new()
        .push_int(i64::from(height))
        .into_script()
        .into_bytes();
    script.resize(length.max(script.len()), 0);
    script.into()
}

/// The same height, pushed as a number of one byte where the usual form is an opcode.
pub(crate) fn long_height(height: u8) -> ScriptBuf {
    Builder::new()
        .push_slice([height])
        .push_slice(b"lab")
        .into_script()
}

/// A transaction that spends `from` with an empty witness, and pays to witness version 5.
pub(crate) fn spend(from: OutPoint, value: u64) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: from,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![output(value, witness(5, 32))],
    }
}
