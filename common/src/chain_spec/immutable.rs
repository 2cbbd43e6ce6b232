//! The rules between a spec and the built-in ones.

use super::ChainSpec;
use super::check::{Check, ensure, fail};

/// The rules between this spec and the built-in ones: mainnet is immutable, and no other network may pass
/// for a built-in one. `given` tells whether the text has a key.
pub(super) fn against_built_ins(spec: &ChainSpec, given: impl Fn(&str) -> bool) -> Check {
    let mainnet = ChainSpec::mainnet();
    if spec.network == mainnet.network {
        return immutable(spec, &mainnet);
    }
    for table in ["network_protocol", "consensus", "genesis"] {
        ensure(
            given(table),
            "network",
            || format!("network \"{}\" has no [{table}] of its own", spec.network),
            "a network other than mainnet needs its own [network_protocol], [consensus] and [genesis]; copy them from a built-in spec and change them",
        )?;
    }
    for other in [mainnet, ChainSpec::testnet(), ChainSpec::devnet()] {
        let magic = spec.network_protocol.magic_bytes;
        ensure(
            spec.network == other.network || magic != other.network_protocol.magic_bytes,
            "network_protocol.magic_bytes",
            || {
                format!(
                    "these are {}'s magic bytes, but this network is \"{}\"",
                    other.network, spec.network
                )
            },
            "choose four bytes that no other network uses",
        )?;
    }
    Ok(())
}

fn immutable(spec: &ChainSpec, mainnet: &ChainSpec) -> Check {
    let (a, b) = (&spec.consensus, &mainnet.consensus);
    let (g, h) = (&spec.genesis, &mainnet.genesis);
    let differing = [
        (
            "network_protocol.magic_bytes",
            spec.network_protocol.magic_bytes != mainnet.network_protocol.magic_bytes,
        ),
        ("decimals", spec.decimals != mainnet.decimals),
        (
            "address_prefix",
            spec.address_prefix != mainnet.address_prefix,
        ),
        (
            "consensus.target_spacing",
            a.target_spacing != b.target_spacing,
        ),
        (
            "consensus.asert_half_life",
            a.asert_half_life != b.asert_half_life,
        ),
        (
            "consensus.pow_limit_bits",
            a.pow_limit_bits != b.pow_limit_bits,
        ),
        (
            "consensus.initial_subsidy",
            a.initial_subsidy != b.initial_subsidy,
        ),
        (
            "consensus.halving_interval",
            a.halving_interval != b.halving_interval,
        ),
        ("consensus.max_money", a.max_money != b.max_money),
        (
            "consensus.max_block_bytes",
            a.max_block_bytes != b.max_block_bytes,
        ),
        (
            "consensus.coinbase_maturity",
            a.coinbase_maturity != b.coinbase_maturity,
        ),
        (
            "consensus.max_future_seconds",
            a.max_future_seconds != b.max_future_seconds,
        ),
        (
            "consensus.minimum_chain_work",
            a.minimum_chain_work != b.minimum_chain_work,
        ),
        ("consensus", a != b),
        ("genesis.message", g.message != h.message),
        ("genesis.time", g.time != h.time),
        ("genesis.bits", g.bits != h.bits),
        ("genesis", g != h),
    ];
    match differing.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((key, _)) => fail(
            key,
            "differs from the built-in mainnet, whose consensus and genesis no file can change"
                .into(),
            "restore mainnet's value, or give this network another name: network = \"mynet\"",
        ),
    }
}
