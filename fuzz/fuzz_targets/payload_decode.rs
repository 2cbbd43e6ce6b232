//! Any payload under a right header, so that the fuzzer reaches every payload decoder (headers, blocks,
//! transactions, compact blocks, addresses and the rest). What decodes must encode and decode to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quantumcoin::wire::NetworkMessage;
use quantumcoin_fuzz::{envelope, framed};

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
    let envelope = envelope();
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
