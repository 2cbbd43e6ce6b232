//! Whatever we encode decodes to itself, and no bytes make the decoder panic.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version as BlockVersion};
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use bitcoin::p2p::message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory};
use bitcoin::p2p::message_compact_blocks::SendCmpct;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::NetworkMessage;

use super::{decode, envelope, framed, vectors};

fn block_hash() -> impl Strategy<Value = BlockHash> {
    any::<[u8; 32]>().prop_map(BlockHash::from_byte_array)
}

fn header() -> impl Strategy<Value = Header> {
    (
        any::<i32>(),
        block_hash(),
        any::<[u8; 32]>(),
        any::<[u32; 3]>(),
    )
        .prop_map(
            |(version, prev_blockhash, root, [time, bits, nonce])| Header {
                version: BlockVersion::from_consensus(version),
                prev_blockhash,
                merkle_root: TxMerkleNode::from_byte_array(root),
                time,
                bits: CompactTarget::from_consensus(bits),
                nonce,
            },
        )
}

fn script() -> impl Strategy<Value = ScriptBuf> {
    vec(any::<u8>(), 0..300).prop_map(ScriptBuf::from_bytes)
}

fn input() -> impl Strategy<Value = TxIn> {
    let witness = vec(vec(any::<u8>(), 0..300), 0..4);
    (any::<[u8; 32]>(), any::<[u32; 2]>(), script(), witness).prop_map(
        |(txid, [vout, sequence], script_sig, witness)| TxIn {
            previous_output: OutPoint {
                txid: Txid::from_byte_array(txid),
                vout,
            },
            script_sig,
            sequence: Sequence(sequence),
            witness: Witness::from_slice(&witness),
        },
    )
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let output = (any::<u64>(), script()).prop_map(|(value, script_pubkey)| TxOut {
        value: Amount::from_sat(value),
        script_pubkey,
    });
    (
        any::<i32>(),
        any::<u32>(),
        vec(input(), 1..4),
        vec(output, 0..4),
    )
        .prop_map(|(version, lock_time, input, output)| Transaction {
            version: Version(version),
            lock_time: LockTime::from_consensus(lock_time),
            input,
            output,
        })
}

fn inventory() -> impl Strategy<Value = Inventory> {
    prop_oneof![
        block_hash().prop_map(Inventory::Block),
        block_hash().prop_map(Inventory::WitnessBlock),
        any::<[u8; 32]>().prop_map(|hash| Inventory::Transaction(Txid::from_byte_array(hash))),
        any::<[u8; 32]>().prop_map(|hash| Inventory::Unknown { inv_type: 77, hash }),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    (any::<[u8; 16]>(), any::<u16>(), any::<u64>()).prop_map(|(ip, port, services)| {
        let socket = SocketAddr::new(Ipv6Addr::from(ip).into(), port);
        Address {
            services: ServiceFlags::from(services),
            address: Ipv6Addr::from(ip).segments(),
            port: socket.port(),
        }
    })
}

fn address_v2() -> impl Strategy<Value = AddrV2Message> {
    let addr = prop_oneof![
        any::<u32>().prop_map(|ip| AddrV2::Ipv4(Ipv4Addr::from(ip))),
        any::<u128>().prop_map(|ip| AddrV2::Ipv6(Ipv6Addr::from(ip | 1 << 127))),
        any::<[u8; 32]>().prop_map(AddrV2::TorV3),
        (7..=255_u8, vec(any::<u8>(), 0..512)).prop_map(|(id, bytes)| AddrV2::Unknown(id, bytes)),
    ];
    (any::<u32>(), any::<u64>(), addr, any::<u16>()).prop_map(|(time, services, addr, port)| {
        AddrV2Message {
            time,
            services: ServiceFlags::from(services),
            addr,
            port,
        }
    })
}

fn version() -> impl Strategy<Value = VersionMessage> {
    (
        any::<u64>(),
        any::<i64>(),
        [address(), address()],
        any::<u64>(),
        "[ -~]{0,256}",
        any::<i32>(),
    )
        .prop_map(
            |(services, timestamp, [receiver, sender], nonce, user_agent, start_height)| {
                VersionMessage {
                    version: 70_015,
                    services: ServiceFlags::from(services),
                    timestamp,
                    receiver,
                    sender,
                    nonce,
                    user_agent,
                    start_height,
                    relay: true,
                }
            },
        )
}

fn message() -> impl Strategy<Value = NetworkMessage> {
    use NetworkMessage as M;
    let locator = || (vec(block_hash(), 0..=101), block_hash());
    prop_oneof![
        version().prop_map(M::Version),
        any::<u64>().prop_map(M::Ping),
        any::<u64>().prop_map(M::Pong),
        (0..=i64::MAX).prop_map(M::FeeFilter),
        (any::<bool>(), any::<u64>()).prop_map(|(send_compact, version)| M::SendCmpct(SendCmpct {
            send_compact,
            version
        })),
        vec((any::<u32>(), address()), 0..20).prop_map(M::Addr),
        vec(address_v2(), 0..20).prop_map(M::AddrV2),
        vec(inventory(), 0..50).prop_map(M::Inv),
        vec(inventory(), 0..50).prop_map(M::GetData),
        vec(inventory(), 0..50).prop_map(M::NotFound),
        locator().prop_map(|(hashes, stop)| M::GetHeaders(GetHeadersMessage::new(hashes, stop))),
        locator().prop_map(|(hashes, stop)| M::GetBlocks(GetBlocksMessage::new(hashes, stop))),
        vec(header(), 0..50).prop_map(M::Headers),
        transaction().prop_map(M::Tx),
        (header(), vec(transaction(), 0..4))
            .prop_map(|(header, txdata)| M::Block(Block { header, txdata })),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(message in message()) {
        let bytes = envelope().encode(&message).unwrap();
        prop_assert_eq!(envelope().decode(&bytes).unwrap(), message);
    }

    #[test]
    fn junk_never_panics(bytes in vec(any::<u8>(), 0..500)) {
        let _ = envelope().decode(&bytes);
    }

    #[test]
    fn junk_payloads_never_panic_and_what_decodes_encodes(
        choice in any::<prop::sample::Index>(),
        payload in vec(any::<u8>(), 0..500),
    ) {
        let commands = ["addr", "addrv2", "block", "blocktxn", "cmpctblock", "getblocktxn",
            "getheaders", "headers", "inv", "reject", "tx", "version"];
        let command = commands[choice.index(commands.len())];
        if let Ok(message) = decode(command, &payload) && command != "reject" {
            let again = envelope().encode(&message).unwrap();
            prop_assert_eq!(envelope().decode(&again).unwrap(), message);
        }
    }

    /// Vectors with a few bytes changed get deeper than junk.
    #[test]
    fn changed_vectors_never_panic(
        choice in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let vectors = vectors();
        let (command, mut payload) = vectors[choice.index(vectors.len())].clone();
        for (at, value) in changes {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        let _ = envelope().decode(&framed(command, &payload));
    }
}
