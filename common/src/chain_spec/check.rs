//! What the values of a chain spec must satisfy, beyond their types.
//!
//! Each rule names the key that a person should look at and what to write there.

use std::collections::BTreeSet;
use std::str::FromStr;

use bitcoin::{BlockHash, CompactTarget, TxMerkleNode};
use ruint::aliases::U256;

use super::{
    ChainSpec, ConsensusSpec, GenesisSpec, MAX_ADDRESS_PREFIX_BYTES, NetworkProtocol, compact,
    genesis,
};

/// A value that breaks a rule.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) problem: String,
    pub(super) remedy: String,
    /// Whether to point at the key rather than at its value.
    pub(super) at_key: bool,
}

pub(super) type Check = Result<(), Fault>;

/// Most DNS seeds or bootstrap nodes: a start must not turn into a scan.
const MAX_SEEDS: usize = 64;

/// Every rule that needs no other spec.
pub(super) fn values(spec: &ChainSpec) -> Check {
    identity(spec)?;
    protocol(&spec.network_protocol)?;
    discovery(spec)?;
    consensus(&spec.consensus)?;
    money(&spec.consensus)?;
    first_block(&spec.genesis, &spec.consensus)
}

fn identity(spec: &ChainSpec) -> Check {
    let network = &spec.network;
    ensure(
        (1..=32).contains(&network.len())
            && network.starts_with(|first: char| first.is_ascii_lowercase())
            && network
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
        "network",
        || format!("{network:?} is no network name"),
        "use 1 to 32 of a-z, 0-9 and -, a letter first",
    )?;
    for (key, text, longest) in [("name", &spec.name, 64), ("symbol", &spec.symbol, 12)] {
        ensure(
            (1..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control),
            key,
            || format!("{text:?} is empty, too long or has control characters"),
            &format!("use 1 to {longest} printable characters"),
        )?;
    }
    // 10^18 is the largest power of ten that fits a signed 64-bit amount.
    ensure(
        spec.decimals <= 18,
        "decimals",
        || format!("{} decimal places", spec.decimals),
        "use at most 18",
    )?;
    ensure(
        is_address_prefix(&spec.address_prefix),
        "address_prefix",
        || format!("{:?} can't start an address", spec.address_prefix),
        &format!(
            "use 1 to {MAX_ADDRESS_PREFIX_BYTES} of a-z and 0-9, a letter first; mainnet's is \"qtc\""
        ),
    )
}

/// Whether addresses may start with this: letters and digits, lower-case, a letter first. BIP173 allows more,
/// all of it a source of confusion.
pub(crate) fn is_address_prefix(prefix: &str) -> bool {
    (1..=MAX_ADDRESS_PREFIX_BYTES).contains(&prefix.len())
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn protocol(p: &NetworkProtocol) -> Check {
    ensure(
        p.magic_bytes != [0; 4],
        "network_protocol.magic_bytes",
        || "all zero: any run of zeros would look like a message".into(),
        "choose four bytes that no other network uses, mainnet's are [0x51, 0x54, 0x43, 0x4D]",
    )?;
    ensure(
        p.protocol_version >= 1,
        "network_protocol.protocol_version",
        || "0 is no protocol version".into(),
        "write 70015",
    )?;
    ensure(
        (1..=p.protocol_version).contains(&p.min_protocol_version),
        "network_protocol.min_protocol_version",
        || {
            format!(
                "{} is not from 1 to our own version {}",
                p.min_protocol_version, p.protocol_version
            )
        },
        "write the oldest version to talk to, at most protocol_version",
    )?;
    ensure(
        p.default_port != 0,
        "network_protocol.default_port",
        || "port 0 can't be connected to".into(),
        "write a port from 1 to 65535; mainnet's is 8333",
    )?;
    in_range(
        "network_protocol.max_connections",
        p.max_connections as u64,
        1,
        100_000,
    )?;
    in_range(
        "network_protocol.connection_timeout",
        p.connection_timeout,
        1,
        600,
    )?;
    in_range(
        "network_protocol.max_connections_per_ip",
        p.max_connections_per_ip as u64,
        1,
        100_000,
    )?;
    ensure(
        p.max_connections_per_ip <= p.max_connections_per_subnet,
        "network_protocol.max_connections_per_subnet",
        || {
            format!(
                "{} is less than max_connections_per_ip = {}: one address would fill its sub-net",
                p.max_connections_per_subnet, p.max_connections_per_ip
            )
        },
        "keep max_connections_per_ip <= max_connections_per_subnet <= max_connections",
    )?;
    ensure(
        p.max_connections_per_subnet <= p.max_connections,
        "network_protocol.max_connections_per_subnet",
        || {
            format!(
                "{} is more than max_connections = {}",
                p.max_connections_per_subnet, p.max_connections
            )
        },
        "keep max_connections_per_ip <= max_connections_per_subnet <= max_connections",
    )?;
    in_range(
        "network_protocol.max_messages_per_minute",
        p.max_messages_per_minute.into(),
        1,
        1_000_000,
    )?;
    // At least one `addrv2` message of 1,000 entries and its kin; at most 64 GB.
    in_range(
        "network_protocol.max_bytes_per_minute",
        p.max_bytes_per_minute,
        65_536,
        1 << 36,
    )
}

fn discovery(spec: &ChainSpec) -> Check {
    let seeds = &spec.discovery.dns_seeds;
    let nodes = &spec.discovery.bootstrap_nodes;
    for (key, count) in [
        ("discovery.dns_seeds", seeds.len()),
        ("discovery.bootstrap_nodes", nodes.len()),
    ] {
        ensure(
            count <= MAX_SEEDS,
            key,
            || format!("{count} entries"),
            &format!("use at most {MAX_SEEDS}"),
        )?;
    }
    let mut seen = BTreeSet::new();
    for (index, seed) in seeds.iter().enumerate() {
        let key = format!("discovery.dns_seeds[{index}]");
        seed_name(&key, seed)?;
        ensure(
            seen.insert(seed.to_ascii_lowercase()),
            &key,
            || format!("{seed:?} is here twice"),
            "delete one",
        )?;
    }
    for (index, node) in nodes.iter().enumerate() {
        ensure(
            node.port() != 0 && !node.ip().is_unspecified() && !node.ip().is_multicast(),
            &format!("discovery.bootstrap_nodes[{index}]"),
            || format!("{node} can't be connected to"),
            "write a node's own address and port, e.g. \"192.0.2.1:8333\"",
        )?;
    }
    Ok(())
}

fn seed_name(key: &str, seed: &str) -> Check {
    let (host, port) = match seed.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (seed, None),
    };
    ensure(
        port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        }),
        key,
        || format!("{seed:?} has no valid port after the colon"),
        "write name or name:port with a port from 1 to 65535; IP addresses belong to bootstrap_nodes",
    )?;
    ensure(
        is_host_name(host),
        key,
        || format!("{host:?} is no host name"),
        "write a DNS name such as seed1.quantumcoin.network; IP addresses belong to bootstrap_nodes",
    )
}

/// RFC 1123, section 2.1: letters, digits and inner hyphens, labels of 1 to 63, 253 in all, and not a
/// dotted number (the last label has a letter).
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
}

fn consensus(c: &ConsensusSpec) -> Check {
    in_range("consensus.target_spacing", c.target_spacing, 1, 86_400)?;
    // ASERT's exponent is exact in 64 bits within these bounds; 0 switches it off.
    in_range(
        "consensus.asert_half_life",
        c.asert_half_life,
        0,
        u32::MAX.into(),
    )?;
    canonical_bits("consensus.pow_limit_bits", c.pow_limit_bits)?;
    in_range(
        "consensus.halving_interval",
        c.halving_interval.into(),
        1,
        u32::MAX.into(),
    )?;
    // A coinbase with commitment needs about 200 bytes; 32 MiB is the largest message of this protocol family.
    in_range(
        "consensus.max_block_bytes",
        c.max_block_bytes as u64,
        1_000,
        32 << 20,
    )?;
    in_range(
        "consensus.coinbase_maturity",
        c.coinbase_maturity.into(),
        1,
        1_000_000,
    )?;
    in_range(
        "consensus.max_future_seconds",
        c.max_future_seconds,
        1,
        86_400,
    )?;
    let work = &c.minimum_chain_work;
    ensure(
        work.len() == 64 && work.bytes().all(|b| b.is_ascii_hexdigit()),
        "consensus.minimum_chain_work",
        || {
            format!(
                "{} characters that are not 64 hexadecimal digits",
                work.chars().count()
            )
        },
        "write 64 hex digits, most significant first, without 0x",
    )?;
    // Chain work is kept in 128 bits: more hashes than can ever be made.
    ensure(
        work.starts_with(&"0".repeat(32)),
        "consensus.minimum_chain_work",
        || "2^128 or more hashes: no chain can have this work".into(),
        "write the digits most significant first; the first 32 are zero",
    )
}

/// All subsidies together must fit the cap, and the cap a signed 64-bit amount.
fn money(c: &ConsensusSpec) -> Check {
    in_range("consensus.max_money", c.max_money, 1, i64::MAX as u64)?;
    let sum: u128 = (0..64)
        .map(|era| u128::from(c.initial_subsidy >> era) * u128::from(c.halving_interval))
        .sum();
    ensure(
        sum <= u128::from(c.max_money),
        "consensus.initial_subsidy",
        || {
            format!(
                "all subsidies sum to {sum}, more than max_money = {}",
                c.max_money
            )
        },
        "lower initial_subsidy or halving_interval, or raise max_money",
    )
}

fn first_block(g: &GenesisSpec, c: &ConsensusSpec) -> Check {
    const MINE: &str = "make a genesis block for these values with `quantumcoin-node genesis mine`, or restore the values that it was mined with";
    ensure(
        g.version >= 1,
        "genesis.version",
        || format!("{} is no header version", g.version),
        "write 1",
    )?;
    ensure(
        u64::from(g.time) > c.target_spacing,
        "genesis.time",
        || "the anchor's parent time, one spacing earlier, would lie before 1970".into(),
        "write the time in Unix seconds",
    )?;
    let target = canonical_bits("genesis.bits", g.bits)?;
    ensure(
        target <= canonical_bits("consensus.pow_limit_bits", c.pow_limit_bits)?,
        "genesis.bits",
        || {
            format!(
                "{:#010x} is easier than pow_limit_bits = {:#010x}",
                g.bits, c.pow_limit_bits
            )
        },
        "write pow_limit_bits' value or a harder one",
    )?;
    ensure(
        (1..=genesis::MAX_MESSAGE_BYTES).contains(&g.message.len()),
        "genesis.message",
        || format!("{} bytes", g.message.len()),
        &format!("write 1 to {} bytes of text", genesis::MAX_MESSAGE_BYTES),
    )?;
    let merkle_root = digest::<TxMerkleNode>("genesis.merkle_root", &g.merkle_root)?;
    let hash = digest::<BlockHash>("genesis.hash", &g.hash)?;
    let block = genesis::block(g);
    ensure(
        block.header.merkle_root == merkle_root,
        "genesis.merkle_root",
        || {
            format!(
                "bits, extra_nonce and message give the merkle root {}",
                block.header.merkle_root
            )
        },
        MINE,
    )?;
    let computed = block.block_hash();
    ensure(
        compact::hash_number(&computed) <= target,
        "genesis.nonce",
        || {
            format!(
                "no proof of work: the header hashes to {computed}, above the target of bits = {:#010x}",
                g.bits
            )
        },
        MINE,
    )?;
    ensure(
        computed == hash,
        "genesis.hash",
        || format!("the header hashes to {computed}"),
        MINE,
    )
}

fn digest<T: FromStr>(key: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault {
        key: key.into(),
        problem: format!("{text:?} is not 64 hexadecimal digits"),
        remedy: "write the 64 hex digits as block explorers show them, without 0x".into(),
        at_key: false,
    })
}

fn canonical_bits(key: &str, bits: u32) -> Result<U256, Fault> {
    compact::target_of(CompactTarget::from_consensus(bits)).ok_or_else(|| Fault {
        key: key.into(),
        problem: format!("{bits:#010x} is not the canonical compact form of a target"),
        remedy:
            "write a compact target such as 0x1d00ffff (mainnet) or 0x207fffff (lowest difficulty)"
                .into(),
        at_key: false,
    })
}

fn in_range(key: &str, value: u64, least: u64, most: u64) -> Check {
    ensure(
        (least..=most).contains(&value),
        key,
        || format!("{value} is out of range"),
        &format!("write a number from {least} to {most}"),
    )
}

pub(super) fn ensure(
    holds: bool,
    key: &str,
    problem: impl FnOnce() -> String,
    remedy: &str,
) -> Check {
    if holds {
        Ok(())
    } else {
        fail(key, problem(), remedy)
    }
}

pub(super) fn fail(key: &str, problem: String, remedy: &str) -> Check {
    Err(Fault {
        key: key.into(),
        problem,
        remedy: remedy.into(),
        at_key: !key.contains('.'),
    })
}
