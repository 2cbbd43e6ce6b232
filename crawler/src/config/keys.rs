//! The settings of a crawler, described: keys of the file, flags, variables, defaults and words come from here. [`super::Start`]
//! and [`super::Settings`] have a field for each.

use ipnet::IpNet;
use quantumcoin::network::discovery::Provider;
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::service::config::flags::Scope;
use quantumcoin::service::config::{Fallback, Flag, Key, Kind, Program, Section};
use quantumcoin::service::logging;

use crate::seeders::SeederUrl;

/// What a crawler's operator may set.
pub static PROGRAM: Program = Program {
    name: "quantumcoin-crawler",
    prefix: "QTC_CRAWLER_",
    sections: &[
        Section::new("", "", TOP),
        Section::new("pace", "How hard the crawler works.", PACE),
        Section::new(
            "intake",
            "How many new addresses are believed: guards against one peer, or one owner of many, filling the store.",
            INTAKE,
        ),
        Section::new(
            "limits",
            "Time limits of one visit, in milliseconds.",
            LIMITS,
        ),
        Section::new(
            "schedule",
            "When a peer is visited again, in seconds.",
            SCHEDULE,
        ),
        Section::new(
            "good",
            "What a good peer is. Whoever reads the store judges by it.",
            GOOD,
        ),
        Section::new(
            "geo",
            "Databases in MaxMind's format; without them nothing is known of places.",
            GEO,
        ),
        Section::new(
            "proxies",
            "SOCKS5 proxies to peers that have a name instead of an address; those of networks without one are not visited.",
            PROXIES,
        ),
    ],
};

/// Most of what a `u32` holds.
const COUNT: Kind = Kind::Integer(0, u32::MAX as i64);

/// Seconds of a schedule: at least one, or peers would be visited without end.
const SECONDS: Kind = Kind::Integer(1, u32::MAX as i64);

/// Milliseconds that something may take: at most an hour, which no visit is worth.
const MILLIS: Kind = Kind::Integer(1, 3_600_000);

/// Dials a second; more than one machine's network stack has sockets for.
const DIALS: Kind = Kind::Integer(1, 100_000);

/// Probes at once: what Linux lets a process open at most (`fs.nr_open`).
const IN_FLIGHT: Kind = Kind::Integer(1, 1_048_576);

/// Addresses known at most: a thousand times the largest networks of today.
const ADDRESSES: Kind = Kind::Integer(1, 100_000_000);

const NETWORK: Kind = Kind::Parsed {
    form: "a network",
    example: "127.0.0.1/32",
    check: |text| {
        let read = text.parse::<IpNet>();
        read.map(drop).map_err(|_| String::new())
    },
};

const PEER: Kind = Kind::Parsed {
    form: "an address with port",
    example: "192.0.2.1:8333",
    check: |text| {
        let read = text.parse::<PeerAddress>();
        read.map(drop).map_err(|_| String::new())
    },
};

const SEEDER: Kind = Kind::Parsed {
    form: "a seeder's HTTP address",
    example: "http://127.0.0.1:9353",
    check: |text| {
        text.parse::<SeederUrl>()
            .map(drop)
            .map_err(|error| error.to_string())
    },
};

const RESOLVER: Kind = Kind::Parsed {
    form: "a resolver",
    example: "9.9.9.9:53",
    check: |text| {
        text.parse::<Provider>()
            .map(drop)
            .map_err(|error| error.to_string())
    },
};

const LOG: Kind = Kind::Parsed {
    form: "a log filter",
    example: "info,quantumcoin=debug",
    check: logging::check_filter,
};

const NONE: &str = "none";

const TOP: &[Key] = &[
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
        "Chain spec file of another network",
    )
    .flag("chain-spec", "FILE")
    .shared("QTC_CHAIN_SPEC")
    .also(&["spec", "chainspec"]),
    Key::new(
        "data_dir",
        Kind::Path,
        Fallback::Words(
            "by the XDG rules, one folder for each network",
            "\"/var/lib/quantumcoin-crawler/mainnet\"",
        ),
        "Where the store lives",
    )
    .flag("data-dir", "DIR")
    .also(&["datadir", "store"]),
    Key::new(
        "http",
        Kind::Socket,
        Fallback::Is("\"127.0.0.1:8380\""),
        "Where the dashboard listens; `once` has one only with the flag",
    )
    .start_flag("http", "ADDR:PORT")
    .also(&["listen", "dashboard"]),
    Key::new(
        "seed_addr",
        Kind::List(&PEER),
        Fallback::Words(NONE, "[\"192.0.2.1:8333\"]"),
        "Address to start from",
    )
    .start_flag("seed-addr", "ADDR")
    .also(&["seed_addrs", "seeds", "connect"]),
    Key::new(
        "resolver",
        Kind::List(&RESOLVER),
        Fallback::Is("[\"system\"]"),
        "Resolver for the DNS seeds: `system`, `ADDR`, `ADDR:PORT`, `tls://ADDR#NAME` or `https://ADDR/PATH#NAME`",
    )
    .start_flag("resolver", "ADDR")
    .also(&["resolvers"]),
    Key::new(
        "dns",
        Kind::Switch,
        Fallback::Is("true"),
        "Ask the DNS seeds",
    )
    .start_flag("no-dns", "")
    .also(&["no_dns"]),
    Key::new(
        "bootstrap",
        Kind::Switch,
        Fallback::Is("true"),
        "Start from the chain spec's bootstrap nodes",
    )
    .start_flag("no-bootstrap", "")
    .also(&["no_bootstrap"]),
    Key::new(
        "contact",
        Kind::Text,
        Fallback::Words(NONE, "\"https://example.org/crawler\""),
        "Contact that the user agent carries, for those who wonder who visits them",
    ),
    Key::new(
        "do_not_probe",
        Kind::Path,
        Fallback::Words(NONE, "\"/etc/quantumcoin/do-not-probe.txt\""),
        "File with addresses and networks that are not visited, one on each line, # for comments",
    ),
    Key::new(
        "trusted_proxies",
        Kind::List(&NETWORK),
        Fallback::Is("[]"),
        "Proxies in front of the dashboard: of whose X-Forwarded-For is believed whom a request comes from",
    ),
    Key::new(
        "seeders",
        Kind::List(&SEEDER),
        Fallback::Words(
            "the one at 127.0.0.1:9353, if it answers there",
            "[\"http://127.0.0.1:9353\"]",
        ),
        "Seeders whose status the dashboard shows",
    ),
    Key::new(
        "log",
        LOG,
        Fallback::Is("\"info\""),
        "Log level or filter; the variable QTC_LOG goes before it",
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

const PACE: &[Key] = &[
    Key::new(
        "dials_per_second",
        DIALS,
        Fallback::Is("100"),
        "Dials a second in all, so that no hoster takes us for a scanner",
    )
    .start_flag("dials-per-second", "N"),
    Key::new(
        "dials_per_subnet_minute",
        COUNT,
        Fallback::Is("30"),
        "Dials a minute to one subnet (IPv4 /24, IPv6 /48); 0 for no limit, as on a devnet",
    ),
    Key::new(
        "max_in_flight",
        IN_FLIGHT,
        Fallback::Is("1000"),
        "Probes in progress at once; lowered at start when file descriptors are short",
    ),
    Key::new(
        "block_every",
        COUNT,
        Fallback::Is("50"),
        "Visits of a peer between two in which it has to show an old block, on average; 0 for never",
    ),
];

const INTAKE: &[Key] = &[
    Key::new(
        "per_peer_hour",
        COUNT,
        Fallback::Is("100"),
        "New addresses an hour from one peer; a whole answer while fewer than 5,000 are known",
    ),
    Key::new(
        "per_netgroup_hour",
        COUNT,
        Fallback::Is("5000"),
        "New addresses an hour from one netgroup (IPv4 /16, IPv6 /32)",
    ),
    Key::new(
        "per_hour",
        COUNT,
        Fallback::Is("200000"),
        "New addresses an hour in all",
    ),
    Key::new(
        "max_addresses",
        ADDRESSES,
        Fallback::Is("2000000"),
        "Addresses known at most; the worst makes room",
    ),
];

const TIMEOUT: Fallback = Fallback::Words("the chain spec's connection timeout", "10000");

const LIMITS: &[Key] = &[
    Key::new("connect_ms", MILLIS, TIMEOUT, "TCP connect"),
    Key::new("secure_ms", MILLIS, TIMEOUT, "The secure handshake"),
    Key::new(
        "answer_ms",
        MILLIS,
        Fallback::Is("10000"),
        "One answer of the conversation: version, headers, pong",
    ),
    Key::new(
        "addresses_ms",
        MILLIS,
        Fallback::Is("3000"),
        "An answer to getaddr; some nodes send none, which is no failure",
    ),
    Key::new(
        "chain_ms",
        MILLIS,
        Fallback::Is("120000"),
        "The whole chain proof, while the crawler itself downloads headers",
    ),
    Key::new(
        "block_ms",
        MILLIS,
        Fallback::Is("30000"),
        "A block of some megabytes",
    ),
    Key::new(
        "proxy_ms",
        MILLIS,
        Fallback::Is("30000"),
        "A proxy's way to a peer; it may have to build a circuit first",
    ),
];

const SCHEDULE: &[Key] = &[
    Key::new(
        "good_min_secs",
        SECONDS,
        Fallback::Is("1200"),
        "Shortest time to the next visit after a pass; 10 on a devnet",
    ),
    Key::new(
        "good_max_secs",
        SECONDS,
        Fallback::Is("1800"),
        "Longest time to the next visit after a pass; 15 on a devnet",
    ),
    Key::new(
        "backoff_first_secs",
        SECONDS,
        Fallback::Is("1800"),
        "Time to the next visit after the first failure, doubled with each further one; 10 on a devnet",
    ),
    Key::new(
        "backoff_cap_secs",
        SECONDS,
        Fallback::Is("86400"),
        "Longest time to the next visit after a failure; 300 on a devnet",
    ),
    Key::new(
        "expire_after_tries",
        SECONDS,
        Fallback::Is("6"),
        "Failed tries after which an address that never passed is forgotten",
    ),
    Key::new(
        "dead_after_secs",
        SECONDS,
        Fallback::Is("2592000"),
        "Time since the last pass after which an address is forgotten",
    ),
];

const GOOD: &[Key] = &[
    Key::new(
        "max_age_secs",
        SECONDS,
        Fallback::Is("7200"),
        "Longest time since the last passed visit, in seconds",
    ),
    Key::new(
        "max_lag_blocks",
        COUNT,
        Fallback::Is("12"),
        "Most blocks below the network's median height",
    ),
    Key::new(
        "min_protocol_version",
        COUNT,
        Fallback::Words("the chain spec's", "70010"),
        "Lowest protocol version",
    ),
    Key::new(
        "allow_private_addresses",
        Kind::Switch,
        Fallback::Words("the chain spec's: false but on devnets", "false"),
        "Whether loopback and private addresses may be good",
    ),
    Key::new(
        "max_netgroup_percent",
        Kind::Integer(1, 100),
        Fallback::Is("10"),
        "Most of the good set that one netgroup may hold, in percent, but always up to sixteen peers; 100 on a devnet",
    ),
    Key::new(
        "newcomer_probes",
        COUNT,
        Fallback::Is("3"),
        "Up to this many visits, half of them passed is enough",
    ),
    Key::new(
        "windows",
        Kind::Rows(5, WINDOW),
        Fallback::Is(
            "[{ reliability = 0.85, count = 2.0 }, { reliability = 0.7, count = 4.0 }, \
             { reliability = 0.55, count = 8.0 }, { reliability = 0.45, count = 16.0 }, \
             { reliability = 0.35, count = 32.0 }]",
        ),
        "Reliability in the last 2 hours, 8 hours, day, week and 30 days: one row that holds is enough",
    ),
];

const WINDOW: &[Key] = &[
    Key::new(
        "reliability",
        Kind::Number(0.0, 1.0),
        Fallback::Is("0.85"),
        "Share of passed visits, weighted by age",
    ),
    Key::new(
        "count",
        Kind::Number(0.0, 1e9),
        Fallback::Is("2.0"),
        "Visits, weighted by age, that it takes",
    ),
];

const GEO: &[Key] = &[
    Key::new(
        "countries",
        Kind::Path,
        Fallback::Words(NONE, "\"/usr/share/GeoIP/GeoLite2-Country.mmdb\""),
        "Countries",
    ),
    Key::new(
        "systems",
        Kind::Path,
        Fallback::Words(NONE, "\"/usr/share/GeoIP/GeoLite2-ASN.mmdb\""),
        "Autonomous systems; with it, netgroups are autonomous systems",
    )
    .also(&["asn"]),
];

const PROXIES: &[Key] = &[
    Key::new(
        "onion",
        Kind::Socket,
        Fallback::Words(NONE, "\"127.0.0.1:9050\""),
        "To onion services: Tor's SocksPort",
    )
    .also(&["tor"]),
    Key::new(
        "i2p",
        Kind::Socket,
        Fallback::Words(NONE, "\"127.0.0.1:4447\""),
        "To destinations of I2P",
    ),
];

/// Flags of all commands.
#[derive(Debug)]
pub struct Everywhere;

impl Scope for Everywhere {
    const GLOBAL: bool = true;

    fn program() -> &'static Program {
        &PROGRAM
    }

    fn has(flag: &Flag) -> bool {
        !flag.start
    }
}

/// Flags of `run` and `once`.
#[derive(Debug)]
pub struct OfStart;

impl Scope for OfStart {
    const GLOBAL: bool = false;

    fn program() -> &'static Program {
        &PROGRAM
    }

    fn has(flag: &Flag) -> bool {
        flag.start
    }
}
