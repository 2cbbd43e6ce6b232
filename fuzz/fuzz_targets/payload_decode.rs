//! Any payload under a right header, so that the fuzzer reaches every payload decoder (headers, blocks,
//! transactions, compact blocks, addresses and the rest). What decodes must encode and decode to itself.
#![no_main]

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::Magic;
use libfuzzer_sys::fuzz_target;
use quantumcoin::wire::{Envelope, NetworkMessage};

const COMMANDS: [&str; 18] = [
    "headers",
    "block",
    "tx",
    "cmpctblock",
    "blocktxn",
    "getblocktxn",
    "version",
    "addr",
    "addrv2",
    "inv",
    "getdata",
    "notfound",
    "getheaders",
    "getblocks",
    "reject",
    "sendcmpct",
    "feefilter",
    "ping",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((selector, payload)) = bytes.split_first() else {
        return;
    };
    let command = COMMANDS[usize::from(*selector) % COMMANDS.len()];
    let envelope = Envelope::new(Magic::from_bytes(*b"QTCM"));
    let Ok(message) = envelope.decode(&framed(command, payload)) else {
        return;
    };
    if matches!(message, NetworkMessage::Reject(_)) {
        return;
    }
    let again = envelope.encode(&message).expect("what decodes encodes");
    assert_eq!(
        envelope.decode(&again).expect("what encodes decodes"),
        message
    );
});

fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"QTCM".to_vec();
    bytes.extend_from_slice(command.as_bytes());
    bytes.resize(16, 0);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    bytes.extend_from_slice(payload);
    bytes
}
