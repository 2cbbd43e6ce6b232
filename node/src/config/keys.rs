//! The settings of a node, described: keys of the file, flags, variables, defaults and words come from here. [`super::Settings`]
//! has a field for each.

use quantumcoin::network::discovery::Provider;
use quantumcoin::service::config::flags::Scope;
use quantumcoin::service::config::{Fallback, Flag, Key, Kind, Program, Section};
use quantumcoin::service::logging;

use super::nat;

/// Shortest and longest half-life of penalties, in seconds. In less than a minute everything is forgotten as it happens; in
/// more than a week a host's score is that of whoever had the address before.
const PENALTY_HALF_LIFE: Kind = Kind::Integer(60, 7 * 24 * 3_600);

/// Most outbound connections that may be written; how many fit is a matter of the network's own limit.
const MOST_OUTBOUND: i64 = 10_000;

/// Seconds between mined blocks: a timer's least step, and a day.
const MINE_EVERY: Kind = Kind::Number(0.001, 86_400.0);

const RESOLVER: Kind = Kind::Parsed {
    form: "a resolver",
    example: "tls://9.9.9.9#dns.quad9.net",
    check: |text| {
        text.parse::<Provider>()
            .map(drop)
            .map_err(|error| error.to_string())
    },
};

const STUN_SERVER: Kind = Kind::Parsed {
    form: "a STUN server",
    example: "stun.example.org:3478",
    check: nat::check_stun_server,
};

const LOG: Kind = Kind::Parsed {
    form: "a log filter",
    example: "info,quantumcoin::network=debug",
    check: logging::check_filter,
};

/// What a node's operator may set.
pub static PROGRAM: Program = Program {
    name: "quantumcoin-node",
    prefix: "QTC_NODE_",
    sections: &[Section::new("", "", KEYS)],
};

const NONE: &str = "none";

const KEYS: &[Key] = &[
    Key::new(
        "network",
        Kind::Text,
        Fallback::Is("\"mainnet\""),
        "Built-in network: mainnet, testnet or devnet",
    )
    .flag("network", "NETWORK")
    .shared("QTC_NETWORK"),
    Key::new(
        "chain_spec",
        Kind::Path,
        Fallback::Words(NONE, "\"/etc/quantumcoin/chain_spec.toml\""),
        "Chain spec file, in place of a built-in network",
    )
    .flag("chain-spec", "FILE")
    .shared("QTC_CHAIN_SPEC")
    .also(&["spec", "chainspec"]),
    Key::new(
        "data_dir",
        Kind::Path,
        Fallback::Words("by XDG, one folder for each network", "\"/var/lib/quantumcoin-node/mainnet\""),
        "Where chain, identity and address book are kept",
    )
    .flag("data-dir", "DIR")
    .also(&["datadir"]),
    Key::new(
        "listen",
        Kind::Socket,
        Fallback::Words("0.0.0.0 and the network's port; devnet: 127.0.0.1", "\"[::]:8333\""),
        "Where to listen for peers; the unspecified address of IPv6, ::, takes IPv4 too",
    )
    .flag("listen", "ADDR:PORT")
    .also(&["bind", "port"]),
    Key::new(
        "http",
        Kind::Socket,
        Fallback::Is("\"127.0.0.1:8332\""),
        "Where the HTTP API listens",
    )
    .flag("http", "ADDR:PORT")
    .also(&["rpc", "api"]),
    Key::new(
        "http_public",
        Kind::Switch,
        Fallback::Is("false"),
        "Let the HTTP API listen beyond loopback, in the clear: whoever can reach it reads what the node knows, and \
         whoever is on the way reads the token",
    )
    .flag("http-public", "WHETHER"),
    Key::new(
        "http_name",
        Kind::List(&Kind::Text),
        Fallback::Words(NONE, "[\"node.example.org\"]"),
        "Name, beside addresses and localhost, by which the HTTP API may be asked for",
    )
    .flag("http-name", "NAME"),
    Key::new(
        "resolver",
        Kind::List(&RESOLVER),
        Fallback::Words(
            "the system's and the public ones",
            "[\"system\", \"tls://9.9.9.9#dns.quad9.net\"]",
        ),
        "Resolver for seed names, in place of the system's and the public ones: `system`, `ADDR`, `ADDR:PORT`, \
         `tls://ADDR#NAME` or `https://ADDR/PATH#NAME`",
    )
    .flag("resolver", "RESOLVER")
    .also(&["resolvers", "dns"]),
    Key::new(
        "resolver_ca",
        Kind::Path,
        Fallback::Words(NONE, "\"/etc/quantumcoin/resolver-ca.pem\""),
        "Certificates (PEM) of authorities that certify resolvers of yours, beside the public ones",
    )
    .flag("resolver-ca", "FILE"),
    Key::new(
        "dnssec",
        Kind::Choice(&["off", "signed", "require"]),
        Fallback::Is("\"signed\""),
        "What is asked of the signatures of DNS answers",
    )
    .flag("dnssec", "WHICH"),
    Key::new(
        "trust_anchor",
        Kind::Path,
        Fallback::Words("the root zone's", "\"/etc/quantumcoin/anchor.key\""),
        "DNSKEY records to trust in place of the root zone's",
    )
    .flag("trust-anchor", "FILE"),
    Key::new(
        "dns_seed",
        Kind::List(&Kind::Text),
        Fallback::Words("the chain spec's", "[\"seed.example.org\"]"),
        "DNS seed, in place of the chain spec's",
    )
    .flag("dns-seed", "NAME")
    .also(&["dns_seeds", "seed", "seeds"]),
    Key::new(
        "connect",
        Kind::List(&Kind::Socket),
        Fallback::Words(NONE, "[\"192.0.2.1:8333\"]"),
        "Peer to be connected to at all times",
    )
    .flag("connect", "ADDR:PORT")
    .also(&["addnode", "peers"]),
    Key::new(
        "external_address",
        Kind::Socket,
        Fallback::Words("found out", "\"203.0.113.7:8333\""),
        "The address to announce to others, when it is not the one listened on",
    )
    .flag("external-address", "ADDR:PORT")
    .also(&["externalip", "external"]),
    Key::new(
        "nat",
        Kind::Choice(&["auto", "on", "off"]),
        Fallback::Is("\"auto\""),
        "Whether to find out our address by STUN, and to ask the gateway for a port that leads here: auto does so on \
         networks of public addresses, unless it listens on loopback",
    )
    .flag("nat", "WHICH"),
    Key::new(
        "stun_server",
        Kind::List(&STUN_SERVER),
        Fallback::Words("the public ones", "[\"stun.example.org:3478\"]"),
        "STUN server, in place of the public ones; `none` asks none",
    )
    .flag("stun-server", "HOST:PORT")
    .also(&["stun", "stun_servers"]),
    Key::new(
        "port_mapping",
        Kind::List(&Kind::Choice(&["pcp", "nat-pmp", "upnp", "none"])),
        Fallback::Is("[\"pcp\", \"nat-pmp\", \"upnp\"]"),
        "How to ask the gateway for a port; `none` does not ask",
    )
    .flag("port-mapping", "WHICH")
    .also(&["upnp", "port_mappings"]),
    Key::new(
        "transports",
        Kind::Choice(&["all", "noise", "tls"]),
        Fallback::Is("\"all\""),
        "How to speak with peers: noise and tls both, or one of them where the network lets nothing else through",
    )
    .flag("transports", "WHICH")
    .also(&["transport"]),
    Key::new(
        "outbound",
        Kind::Integer(0, MOST_OUTBOUND),
        Fallback::Is("8"),
        "Outbound connections to keep",
    )
    .flag("outbound", "N")
    .also(&["max_outbound", "maxconnections"]),
    Key::new(
        "as_map",
        Kind::Path,
        Fallback::Words(NONE, "\"/etc/quantumcoin/asmap.dat\""),
        "Map of autonomous systems, as Bitcoin Core's -asmap: peers are spread over systems instead of /16 and /32",
    )
    .flag("as-map", "FILE")
    .also(&["asmap"]),
    Key::new(
        "penalty_half_life",
        PENALTY_HALF_LIFE,
        Fallback::Is("3600"),
        "Seconds in which what is held against a host halves",
    )
    .flag("penalty-half-life", "SECONDS"),
    Key::new(
        "mine_every",
        MINE_EVERY,
        Fallback::Words("does not mine", "2.0"),
        "Mine a block so often, in seconds (devnets only)",
    )
    .flag("mine-every", "SECONDS"),
    Key::new(
        "log",
        LOG,
        Fallback::Is("\"info\""),
        "Log level or filter, e.g. `debug` or `info,quantumcoin::network=debug`; the variable QTC_LOG goes before it",
    )
    .flag("log", "FILTER"),
    Key::new(
        "log_format",
        Kind::Choice(&["auto", "human", "json"]),
        Fallback::Is("\"auto\""),
        "How log lines look; auto: for people on a terminal, JSON elsewhere",
    )
    .flag("log-format", "FORMAT")
    .shared("QTC_LOG_FORMAT"),
];

/// All flags of `run`.
#[derive(Debug)]
pub struct OfRun;

impl Scope for OfRun {
    const GLOBAL: bool = false;

    fn program() -> &'static Program {
        &PROGRAM
    }

    fn has(_: &Flag) -> bool {
        true
    }
}
