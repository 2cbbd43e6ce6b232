//! A chain spec as TOML text, with bits and magic bytes in hexadecimal as people write them.

use std::fmt::Display;

use toml::Value;

use super::ChainSpec;

pub(super) fn to_toml(spec: &ChainSpec) -> String {
    let protocol = &spec.network_protocol;
    let consensus = &spec.consensus;
    let genesis = &spec.genesis;
    let mut out = Lines(String::new());
    out.text("network", &spec.network);
    out.text("name", &spec.name);
    out.text("symbol", &spec.symbol);
    out.key("decimals", spec.decimals);
    out.text("address_prefix", &spec.address_prefix);

    out.table("network_protocol");
    let [a, b, c, d] = protocol.magic_bytes;
    out.key(
        "magic_bytes",
        format_args!("[{a:#04X}, {b:#04X}, {c:#04X}, {d:#04X}]"),
    );
    out.key("protocol_version", protocol.protocol_version);
    out.key("default_port", protocol.default_port);
    out.key("max_connections", protocol.max_connections);
    out.key("connection_timeout", protocol.connection_timeout);
    out.key("min_protocol_version", protocol.min_protocol_version);
    out.key("max_connections_per_ip", protocol.max_connections_per_ip);
    out.key(
        "max_connections_per_subnet",
        protocol.max_connections_per_subnet,
    );
    out.key("max_messages_per_minute", protocol.max_messages_per_minute);
    out.key("max_bytes_per_minute", protocol.max_bytes_per_minute);
    out.key("allow_private_addresses", protocol.allow_private_addresses);

    out.table("discovery");
    out.list("dns_seeds", &spec.discovery.dns_seeds);
    out.list("bootstrap_nodes", &spec.discovery.bootstrap_nodes);

    out.table("consensus");
    out.key("target_spacing", consensus.target_spacing);
    out.key("asert_half_life", consensus.asert_half_life);
    out.key(
        "pow_limit_bits",
        format_args!("{:#010x}", consensus.pow_limit_bits),
    );
    out.key("initial_subsidy", consensus.initial_subsidy);
    out.key("halving_interval", consensus.halving_interval);
    out.key("max_money", consensus.max_money);
    out.key("max_block_bytes", consensus.max_block_bytes);
    out.key("coinbase_maturity", consensus.coinbase_maturity);
    out.key("max_future_seconds", consensus.max_future_seconds);
    out.text("minimum_chain_work", &consensus.minimum_chain_work);

    out.table("genesis");
    out.key("version", genesis.version);
    out.key("time", genesis.time);
    out.key("bits", format_args!("{:#010x}", genesis.bits));
    out.key("nonce", genesis.nonce);
    out.key("extra_nonce", genesis.extra_nonce);
    out.text("message", &genesis.message);
    out.text("merkle_root", &genesis.merkle_root);
    out.text("hash", &genesis.hash);
    out.0
}

struct Lines(String);

impl Lines {
    fn table(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, Value::from(value));
    }

    fn list<T: ToString>(&mut self, key: &str, values: &[T]) {
        let values = values
            .iter()
            .map(|value| Value::from(value.to_string()))
            .collect();
        self.key(key, Value::Array(values));
    }
}
