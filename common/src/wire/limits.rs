//! How large each message may be, and how many things it may hold.
//!
//! # Security
//! Every cap is checked before the payload is read, so a peer cannot make us look at more bytes than its
//! command can honestly have. The caps are on what a peer may *say*; how often is `network::security`'s
//! business. A message must fit the transport's 4 MiB, which a test asserts.

/// Bytes of the envelope before the payload.
pub const ENVELOPE_HEADER: usize = 24;

/// Bytes of a block hash or transaction id.
const HASH: usize = 32;

/// Most bytes of a CompactSize whose value fits in 32 bits.
const COUNT: usize = 5;

/// Headers in one `headers`: what Bitcoin's protocol sends at most in answer to `getheaders`.
pub const MAX_HEADERS: usize = 2_000;

/// Bytes of one entry of `headers`: the header and a transaction count, always zero.
pub const HEADER_ENTRY: usize = 81;

/// Entries of `inv`, `getdata` and `notfound` (Bitcoin's `MAX_INV_SZ`). Unasked inventories have a lower
/// limit, which `network::protocol` applies since only it knows what was asked for.
pub const MAX_INVENTORY: usize = 50_000;

/// Bytes of one inventory entry: type and hash.
pub const INVENTORY_ENTRY: usize = 4 + HASH;

/// Addresses in one `addr` or `addrv2` (BIP 155).
pub const MAX_ADDRESSES: usize = 1_000;

/// Bytes of one `addr` entry: time, services, address, port.
pub const ADDRESS_ENTRY: usize = 4 + 8 + 16 + 2;

/// Most bytes of one network address in `addrv2` (BIP 155).
pub const MAX_ADDRESS_BYTES: usize = 512;

/// Most bytes of one `addrv2` entry: time, services as CompactSize, network id, length, address, port.
const MAX_ADDRESS_V2_ENTRY: usize = 4 + 9 + 1 + 3 + MAX_ADDRESS_BYTES + 2;

/// Least bytes of one `addrv2` entry: the same with an empty address.
pub(crate) const MIN_ADDRESS_V2_ENTRY: usize = 4 + 1 + 1 + 1 + 2;

/// Hashes in a block locator (Bitcoin Core's `MAX_LOCATOR_SZ`): ten single steps and doublings, enough
/// for 2^91 blocks.
pub const MAX_LOCATOR: usize = 101;

/// Bytes of a `version`: 86 fixed ones and a user agent; more than ten times what one needs.
pub const MAX_VERSION: usize = 4_000;

/// Bytes of a user agent (BIP 14; Bitcoin Core's `MAX_SUBVERSION_LENGTH`).
pub const MAX_USER_AGENT: usize = 256;

/// Bytes of a serialized block: Bitcoin's weight limit, of which this chain uses less; the consensus
/// rules apply the chain's own limit.
pub const MAX_BLOCK: usize = 4_000_000;

/// Bytes of a transaction: it must fit a block.
pub const MAX_TRANSACTION: usize = MAX_BLOCK;

/// Least bytes of a transaction: version, two counts, one output of nothing and lock time would be 19;
/// the codec also takes one without outputs.
pub(crate) const MIN_TRANSACTION: usize = 4 + 1 + 1 + 4;

/// Least bytes of an input: outpoint, empty script, sequence.
pub(crate) const MIN_INPUT: usize = 36 + 1 + 4;

/// Least bytes of an output: value and empty script.
pub(crate) const MIN_OUTPUT: usize = 8 + 1;

/// Items of one input's witness. The codec makes four bytes of memory of each item before it has seen
/// it; no script of the chain takes more than a thousand stack items (Bitcoin's `MAX_STACK_SIZE`), and
/// the rest is room.
pub const MAX_WITNESS_ITEMS: usize = 10_000;

/// Transactions that a block, and so a compact block or a request for its transactions, can name. BIP
/// 152 counts them in 16 bits; the least transaction that can be valid (one input, one output) has 60
/// bytes, of which 66,666 fill a block, and the codec refuses requests above 62,500.
pub const MAX_BLOCK_TRANSACTIONS: usize = 60_000;

/// Bytes of a `reject` (BIP 61): two short texts, a code and a hash. Read only, never sent.
pub const MAX_REJECT: usize = 1_024;

/// Bytes of a message whose command we do not know. Such messages are for the future; until we know
/// them they may not cost anything.
pub const MAX_UNKNOWN: usize = 4_096;

/// The most bytes that the payload of `command` may have; `None` if we do not know the command.
#[must_use]
pub fn max_payload(command: &str) -> Option<usize> {
    Some(match command {
        "verack" | "getaddr" | "mempool" | "sendheaders" | "sendaddrv2" | "wtxidrelay" => 0,
        "ping" | "pong" | "feefilter" => 8,
        "sendcmpct" => 9,
        "version" => MAX_VERSION,
        "addr" => COUNT + MAX_ADDRESSES * ADDRESS_ENTRY,
        "addrv2" => COUNT + MAX_ADDRESSES * MAX_ADDRESS_V2_ENTRY,
        "inv" | "getdata" | "notfound" => COUNT + MAX_INVENTORY * INVENTORY_ENTRY,
        "getheaders" | "getblocks" => 4 + COUNT + (MAX_LOCATOR + 1) * HASH,
        "headers" => COUNT + MAX_HEADERS * HEADER_ENTRY,
        "tx" => MAX_TRANSACTION,
        "block" | "cmpctblock" | "blocktxn" => MAX_BLOCK,
        "getblocktxn" => HASH + COUNT + MAX_BLOCK_TRANSACTIONS * 3,
        "reject" => MAX_REJECT,
        _ => return None,
    })
}
