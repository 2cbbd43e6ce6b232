//! Every cap, from below and from above.

use crate::transport::MAX_MESSAGE;
use crate::wire::limits::*;
use crate::wire::{NetworkMessage, WireError};

use super::{decode, envelope, framed};

const COMMANDS: [&str; 25] = [
    "version",
    "verack",
    "ping",
    "pong",
    "getaddr",
    "addr",
    "sendaddrv2",
    "addrv2",
    "sendheaders",
    "getheaders",
    "headers",
    "getblocks",
    "inv",
    "getdata",
    "notfound",
    "block",
    "tx",
    "mempool",
    "feefilter",
    "sendcmpct",
    "cmpctblock",
    "getblocktxn",
    "blocktxn",
    "wtxidrelay",
    "reject",
];

fn compact_size(count: usize) -> Vec<u8> {
    bitcoin::consensus::serialize(&bitcoin::VarInt::from(count))
}

#[test]
fn every_command_has_a_cap_that_the_transport_can_carry() {
    for command in COMMANDS {
        let max = max_payload(command).unwrap();
        assert!(ENVELOPE_HEADER + max <= MAX_MESSAGE, "{command}");
    }
    assert_eq!(max_payload("alert"), None);
    const { assert!(ENVELOPE_HEADER + MAX_UNKNOWN <= MAX_MESSAGE) };
}

/// The cap is checked before anything else about the payload: with no payload there at all, a length
/// above the cap is refused as too long, and one at the cap as cut off.
#[test]
fn every_cap_is_checked_before_the_payload_is_looked_at() {
    for command in COMMANDS.into_iter().chain(["alert", "unheard-of"]) {
        let max = max_payload(command).unwrap_or(MAX_UNKNOWN);
        let with_length = |length: usize| {
            let mut header = framed(command, &[]);
            header[16..20].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            envelope().decode(&header)
        };
        for length in [max + 1, u32::MAX as usize] {
            let error = with_length(length).unwrap_err();
            assert!(
                matches!(error, WireError::TooLong { length: l, max: m, .. }
                    if l == length && m == max),
                "{command}: {error}"
            );
        }
        if max > 0 {
            let error = with_length(max).unwrap_err();
            assert!(
                matches!(error, WireError::Truncated { .. }),
                "{command}: {error}"
            );
        }
    }
}

/// A count, its cap, and payloads that reach it and pass it by one, all bytes being there.
struct Counted {
    command: &'static str,
    before: Vec<u8>,
    entry: Vec<u8>,
    after: Vec<u8>,
    cap: usize,
}

impl Counted {
    fn payload(&self, count: usize) -> Vec<u8> {
        let mut bytes = [self.before.clone(), compact_size(count)].concat();
        for _ in 0..count {
            bytes.extend_from_slice(&self.entry);
        }
        bytes.extend_from_slice(&self.after);
        bytes
    }
}

fn counted() -> Vec<Counted> {
    let simple = |command, size, cap| Counted {
        command,
        before: vec![],
        entry: vec![0; size],
        after: vec![],
        cap,
    };
    let locator = |command| Counted {
        command,
        before: vec![0; 4],
        entry: vec![0; 32],
        after: vec![0; 32],
        cap: MAX_LOCATOR,
    };
    vec![
        simple("headers", HEADER_ENTRY, MAX_HEADERS),
        simple("inv", INVENTORY_ENTRY, MAX_INVENTORY),
        simple("getdata", INVENTORY_ENTRY, MAX_INVENTORY),
        simple("notfound", INVENTORY_ENTRY, MAX_INVENTORY),
        simple("addr", ADDRESS_ENTRY, MAX_ADDRESSES),
        Counted {
            command: "addrv2",
            before: vec![],
            entry: vec![0, 0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 0, 0],
            after: vec![],
            cap: MAX_ADDRESSES,
        },
        locator("getheaders"),
        locator("getblocks"),
        Counted {
            command: "version",
            before: vec![0; 80],
            entry: vec![b'a'],
            after: vec![0; 5],
            cap: MAX_USER_AGENT,
        },
        Counted {
            command: "getblocktxn",
            before: vec![0; 32],
            entry: vec![0],
            after: vec![],
            cap: MAX_BLOCK_TRANSACTIONS,
        },
        Counted {
            command: "cmpctblock",
            before: vec![0; 88],
            entry: vec![0; 6],
            after: vec![0],
            cap: MAX_BLOCK_TRANSACTIONS,
        },
        // One input with a witness of so many empty items.
        Counted {
            command: "tx",
            before: [&[1, 0, 0, 0, 0, 1, 1][..], &[0; 41], &[0]].concat(),
            entry: vec![0],
            after: vec![0; 4],
            cap: MAX_WITNESS_ITEMS,
        },
    ]
}

#[test]
fn every_count_passes_at_its_cap_and_not_above() {
    for case in counted() {
        let (command, cap) = (case.command, case.cap);
        decode(command, &case.payload(cap)).unwrap_or_else(|error| panic!("{command}: {error}"));
        let error = decode(command, &case.payload(cap + 1)).unwrap_err();
        assert!(
            matches!(error, WireError::TooMany { max, .. } if max == cap)
                || matches!(error, WireError::TooLong { .. }),
            "{command}: {error}"
        );
    }
}

/// A claim without the bytes is refused whatever the cap.
#[test]
fn every_count_without_its_bytes_is_refused() {
    for case in counted() {
        for claim in [1, case.cap, u32::MAX as usize, usize::MAX] {
            let mut payload = case.before.clone();
            payload.extend(compact_size(claim));
            let error = decode(case.command, &payload).unwrap_err();
            assert!(
                matches!(error, WireError::TooMany { max: 0, .. }),
                "{} claims {claim}: {error}",
                case.command
            );
        }
    }
}

#[test]
fn counts_inside_transactions_are_refused_without_their_bytes() {
    let claim = [0xfe, 0xff, 0xff, 0xff, 0x7f];
    let input = [0; 41];
    let cases: [(&str, Vec<u8>); 5] = [
        ("inputs", [&[1, 0, 0, 0][..], &claim].concat()),
        (
            "input script",
            [&[1, 0, 0, 0, 1][..], &[0; 36], &claim, &[0; 40]].concat(),
        ),
        (
            "outputs",
            [&[1, 0, 0, 0, 1][..], &input, &claim, &[0; 40]].concat(),
        ),
        (
            "output script",
            [
                &[1, 0, 0, 0, 1][..],
                &input,
                &[1],
                &[0; 8],
                &claim,
                &[0; 40],
            ]
            .concat(),
        ),
        (
            "witness item",
            [
                &[1, 0, 0, 0, 0, 1, 1][..],
                &input,
                &[0, 1],
                &claim,
                &[0; 40],
            ]
            .concat(),
        ),
    ];
    for (what, transaction) in cases {
        let error = decode("tx", &transaction).unwrap_err();
        assert!(
            matches!(error, WireError::TooMany { .. }),
            "{what}: {error}"
        );
        let block = [&[0; 80][..], &[1], &transaction].concat();
        let error = decode("block", &block).unwrap_err();
        assert!(
            matches!(error, WireError::TooMany { .. }),
            "{what} in a block: {error}"
        );
    }
}

#[test]
fn a_block_of_the_largest_size_passes_and_one_byte_more_does_not() {
    // One transaction whose only output script fills the block.
    let block = |size: usize| {
        let head = [&[0; 80][..], &[1, 1, 0, 0, 0, 1], &[0; 41], &[1], &[0; 8]].concat();
        let script = size - head.len() - 5 - 4;
        [head, compact_size(script), vec![0; script], vec![0; 4]].concat()
    };
    let largest = block(MAX_BLOCK);
    assert_eq!(largest.len(), MAX_BLOCK);
    assert!(matches!(
        decode("block", &largest),
        Ok(NetworkMessage::Block(_))
    ));
    let sent = envelope().encode_block(&largest).unwrap();
    assert_eq!(sent, framed("block", &largest));
    let error = decode("block", &block(MAX_BLOCK + 1)).unwrap_err();
    assert!(matches!(error, WireError::TooLong { .. }), "{error}");
    let error = envelope().encode_block(&block(MAX_BLOCK + 1)).unwrap_err();
    assert!(matches!(error, WireError::OwnMessage { .. }), "{error}");
    assert!(!error.is_peer_fault());
}
