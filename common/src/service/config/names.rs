//! Which keys belong to which program, so that a line in the wrong file is told where it belongs. Each program's tests
//! compare its description with this list.

/// Keys of `quantumcoin-node`.
pub const NODE: &[&str] = &[
    "network",
    "chain_spec",
    "data_dir",
    "listen",
    "http",
    "http_public",
    "http_name",
    "resolver",
    "resolver_ca",
    "dnssec",
    "trust_anchor",
    "dns_seed",
    "connect",
    "external_address",
    "nat",
    "stun_server",
    "port_mapping",
    "transports",
    "outbound",
    "as_map",
    "penalty_half_life",
    "mine_every",
    "log",
    "log_format",
];

/// Keys of `quantumcoin-crawler`.
pub const CRAWLER: &[&str] = &[
    "network",
    "chain_spec",
    "data_dir",
    "http",
    "seed_addr",
    "resolver",
    "dns",
    "bootstrap",
    "contact",
    "do_not_probe",
    "trusted_proxies",
    "seeders",
    "log",
    "log_format",
    "pace.dials_per_second",
    "pace.dials_per_subnet_minute",
    "pace.max_in_flight",
    "pace.block_every",
    "intake.per_peer_hour",
    "intake.per_netgroup_hour",
    "intake.per_hour",
    "intake.max_addresses",
    "limits.connect_ms",
    "limits.secure_ms",
    "limits.answer_ms",
    "limits.addresses_ms",
    "limits.chain_ms",
    "limits.block_ms",
    "limits.proxy_ms",
    "schedule.good_min_secs",
    "schedule.good_max_secs",
    "schedule.backoff_first_secs",
    "schedule.backoff_cap_secs",
    "schedule.expire_after_tries",
    "schedule.dead_after_secs",
    "good.max_age_secs",
    "good.max_lag_blocks",
    "good.min_protocol_version",
    "good.allow_private_addresses",
    "good.max_netgroup_percent",
    "good.newcomer_probes",
    "good.windows",
    "geo.countries",
    "geo.systems",
    "proxies.onion",
    "proxies.i2p",
];

/// Keys of `quantumcoin-seeder`.
pub const SEEDER: &[&str] = &[
    "listen",
    "store",
    "network",
    "chain_spec",
    "zones",
    "name_servers",
    "name_server_addresses",
    "keys",
    "contact",
    "http",
    "ttl",
    "refresh_seconds",
    "audit_seconds",
    "audit_addresses",
    "udp_workers",
    "rate_limit",
    "cookie_secret",
    "version",
    "id",
    "log",
    "log_format",
    "tls.listen",
    "tls.certificate",
    "tls.key",
    "zone.name",
    "zone.name_servers",
    "zone.name_server_addresses",
    "zone.contact",
    "zone.ttl",
    "zone.keys",
    "zone.slice",
    "zone.services",
    "zone.filters",
];

const PROGRAMS: [(&str, &[&str]); 3] = [
    ("quantumcoin-node", NODE),
    ("quantumcoin-crawler", CRAWLER),
    ("quantumcoin-seeder", SEEDER),
];

/// Another program that has this key, or this section.
pub(super) fn other_program(own: &str, path: &str, is_section: bool) -> Option<&'static str> {
    let has = |keys: &[&str]| {
        keys.iter().any(|key| match key.strip_prefix(path) {
            Some(rest) if is_section => rest.starts_with('.'),
            Some(rest) => rest.is_empty(),
            None => false,
        })
    };
    let mut others = PROGRAMS.iter().filter(|(name, _)| *name != own);
    others.find(|(_, keys)| has(keys)).map(|(name, _)| *name)
}
