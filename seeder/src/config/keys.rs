//! The settings of a seeder, described: keys of the file, flags, variables, defaults and words come from here.
//! [`super::Layers`] has a field for each.

use quantumcoin::service::{
    config::{Fallback, Flag, Key, Kind, Program, Section, flags::Scope},
    logging,
};

use crate::{
    snapshot::Slice,
    zone::{ServerAddress, label},
};

/// What a seeder's operator may set.
pub static PROGRAM: Program = Program {
    name: "quantumcoin-seeder",
    prefix: "QTC_SEEDER_",
    sections: &[
        Section::new("", "", TOP),
        Section {
            name: "tls",
            text: "DNS over TLS; without this section there is none. It needs certificate and key.",
            repeated: false,
            optional: true,
            keys: TLS,
        },
        Section {
            name: "zone",
            text: "A zone that differs from the others, as often as there are such zones; what is left out is as above. These \
                   zones are served beside those that zones names, and alone when it names none. What flags or variables \
                   say counts for all zones.",
            repeated: true,
            optional: true,
            keys: ZONE,
        },
    ],
};

/// Seconds that resolvers may keep peers: `zone::MIN_TTL`, and a day.
const TTL: Kind = Kind::Integer(60, 86_400);

const SERVER_ADDRESS: Kind = Kind::Parsed {
    form: "an address of a name server",
    example: "ns1.seed.example.org=192.0.2.53",
    check: |text| {
        let read = text.parse::<ServerAddress>();
        read.map(drop).map_err(|error| error.to_string())
    },
};

const FILTER: Kind = Kind::Parsed {
    form: "a filter of service bits",
    example: "x9",
    check: |text| match label::filter(text.as_bytes()) {
        Some(_) => Ok(()),
        None => Err(String::new()),
    },
};

const SLICE: Kind = Kind::Parsed {
    form: "a share of the peers",
    example: "2/4",
    check: |text| {
        let read = text.parse::<Slice>();
        read.map(drop).map_err(|error| error.to_string())
    },
};

const SECRET: Kind = Kind::Parsed {
    form: "32 hexadecimal digits, as `openssl rand -hex 16` prints them",
    example: "…",
    check: |text| match super::cookie_secret(text) {
        Ok(_) => Ok(()),
        Err(_) => Err("the secret has another form".to_owned()),
    },
};

const IDENTITY: Kind = Kind::Parsed {
    form: "a text of at most 255 bytes",
    example: "fra1",
    check: |text| match text.len() {
        0..=super::MAX_IDENTITY => Ok(()),
        long => Err(format!("the text has {long} bytes")),
    },
};

const LOG: Kind = Kind::Parsed {
    form: "a log filter",
    example: "info,quantumcoin=debug",
    check: logging::check_filter,
};

const NONE: &str = "none";

/// An example of a secret; nobody should use it.
const SECRET_EXAMPLE: &str = "\"000102030405060708090a0b0c0d0e0f\"";

const TOP: &[Key] = &[
    Key::new(
        "listen",
        Kind::List(&Kind::Socket),
        Fallback::Is("[\"0.0.0.0:53\", \"[::]:53\"]"),
        "Address for UDP and TCP",
    )
    .flag("listen", "ADDR")
    .also(&["bind", "port"]),
    Key::new(
        "store",
        Kind::Path,
        Fallback::Words(
            "in the crawler's data directory",
            "\"/var/lib/quantumcoin-crawler/mainnet/crawl.sqlite\"",
        ),
        "The crawler's store; it may come into being later",
    )
    .flag("store", "PATH"),
    Key::new(
        "network",
        Kind::Text,
        Fallback::Is("\"mainnet\""),
        "Built-in network: mainnet, testnet or devnet",
    )
    .flag("network", "NAME")
    .shared("QTC_NETWORK"),
    Key::new(
        "chain_spec",
        Kind::Path,
        Fallback::Words(NONE, "\"/etc/quantumcoin/chain_spec.toml\""),
        "Chain spec of another network",
    )
    .flag("chain-spec", "FILE")
    .shared("QTC_CHAIN_SPEC")
    .also(&["spec", "chainspec"]),
    Key::new(
        "zones",
        Kind::List(&Kind::Text),
        Fallback::Words("the chain spec's DNS seeds", "[\"seed.example.org\"]"),
        "Zone to serve",
    )
    .flag("zone", "NAME")
    .variable("QTC_SEEDER_ZONE"),
    Key::new(
        "name_servers",
        Kind::List(&Kind::Text),
        Fallback::Words("ns1.ZONE", "[\"ns1.seed.example.org\"]"),
        "Name server of the zones",
    )
    .flag("ns", "NAME")
    .variable("QTC_SEEDER_NS")
    .also(&["ns", "nameservers", "name_server"]),
    Key::new(
        "name_server_addresses",
        Kind::List(&SERVER_ADDRESS),
        Fallback::Words(
            "the listen addresses that are not wildcards",
            "[\"192.0.2.53\", \"ns1.seed.example.org=2001:db8::53\"]",
        ),
        "Address of the name servers inside the zones, or of the one that is named (glue)",
    )
    .flag("ns-address", "[NAME=]IP")
    .variable("QTC_SEEDER_NS_ADDRESS")
    .also(&["ns_address", "ns_addresses", "glue"]),
    Key::new(
        "keys",
        Kind::Path,
        Fallback::Words("none, zones are not signed", "\"/var/lib/quantumcoin-seeder/keys\""),
        "Directory of DNSSEC keys; zones that have keys there are signed (see `keys`)",
    )
    .flag("keys", "DIR"),
    Key::new(
        "contact",
        Kind::Text,
        Fallback::Words("hostmaster@ZONE", "\"hostmaster@example.org\""),
        "Mail address of the operator, for the SOA",
    )
    .flag("contact", "MAIL")
    .also(&["mail", "mbox", "email"]),
    Key::new(
        "http",
        Kind::Socket,
        Fallback::Is("\"127.0.0.1:9353\""),
        "Where to serve metrics, health and status",
    )
    .flag("http", "ADDR")
    .also(&["metrics"]),
    Key::new(
        "ttl",
        TTL,
        Fallback::Is("60"),
        "Seconds that resolvers may keep peers, at least 60",
    )
    .flag("ttl", "SECONDS"),
    Key::new(
        "refresh_seconds",
        Kind::Integer(1, 60),
        Fallback::Is("15"),
        "Seconds between two looks at the store, 1 to 60",
    )
    .flag("refresh-seconds", "SECONDS")
    .also(&["refresh"]),
    Key::new(
        "audit_seconds",
        Kind::Integer(0, 86_400),
        Fallback::Is("300"),
        "Seconds between two audits of itself, 60 to 86400; 0 for none",
    )
    .also(&["audit"]),
    Key::new(
        "audit_addresses",
        Kind::List(&Kind::Socket),
        Fallback::Words(
            "those of the name servers, or those that are listened on",
            "[\"192.0.2.53:53\"]",
        ),
        "Where it asks itself",
    ),
    Key::new(
        "udp_workers",
        Kind::Integer(0, super::MAX_WORKERS as i64),
        Fallback::Is("0"),
        "Threads for each UDP address; 0 takes one for each core that the process may use",
    )
    .also(&["workers", "threads"]),
    Key::new(
        "rate_limit",
        Kind::Integer(0, u32::MAX as i64),
        Fallback::Is("200"),
        "UDP responses a second for a client network (/24 or /56) that has not shown a cookie; 0 sets no limit",
    ),
    Key::new(
        "cookie_secret",
        SECRET,
        Fallback::Words("a new one at each start", SECRET_EXAMPLE),
        "Secret of DNS cookies, which servers of one anycast address share; make one by `openssl rand -hex 16`",
    )
    .secret(),
    Key::new(
        "version",
        IDENTITY,
        Fallback::Words("not told", "\"none of your business\""),
        "Answer to CHAOS version.bind",
    ),
    Key::new(
        "id",
        IDENTITY,
        Fallback::Words("not told", "\"fra1\""),
        "Answer to CHAOS id.server, and to NSID (RFC 5001)",
    ),
    Key::new(
        "log",
        LOG,
        Fallback::Words("info for `run`, warn for the other commands", "\"info\""),
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

const TLS: &[Key] = &[
    Key::new(
        "listen",
        Kind::List(&Kind::Socket),
        Fallback::Words(
            "port 853 on every address",
            "[\"0.0.0.0:853\", \"[::]:853\"]",
        ),
        "Address for DNS over TLS",
    ),
    Key::new(
        "certificate",
        Kind::Path,
        Fallback::Words(
            "must be set",
            "\"/etc/quantumcoin-seeder/tls/fullchain.pem\"",
        ),
        "File with the server's certificate and those that lead to its authority, in PEM",
    )
    .also(&["cert"]),
    Key::new(
        "key",
        Kind::Path,
        Fallback::Words("must be set", "\"/etc/quantumcoin-seeder/tls/privkey.pem\""),
        "File with the private key of the first of them, in PEM",
    ),
];

const OTHERS: &str = "as for all zones";

const ZONE: &[Key] = &[
    Key::new(
        "name",
        Kind::Text,
        Fallback::Words("must be set", "\"seed2.example.org\""),
        "The zone's name",
    ),
    Key::new(
        "name_servers",
        Kind::List(&Kind::Text),
        Fallback::Words(OTHERS, "[\"ns.elsewhere.example\"]"),
        "Its name servers",
    )
    .also(&["ns"]),
    Key::new(
        "name_server_addresses",
        Kind::List(&SERVER_ADDRESS),
        Fallback::Words(OTHERS, "[]"),
        "Addresses of those within it",
    )
    .also(&["ns_address"]),
    Key::new(
        "contact",
        Kind::Text,
        Fallback::Words(OTHERS, "\"ops@example.org\""),
        "Mail address of its operator",
    ),
    Key::new(
        "ttl",
        TTL,
        Fallback::Words(OTHERS, "120"),
        "Seconds that resolvers may keep its peers",
    ),
    Key::new(
        "keys",
        Kind::Path,
        Fallback::Words(OTHERS, "\"/var/lib/quantumcoin-seeder/keys-of-seed2\""),
        "Directory of its DNSSEC keys",
    ),
    Key::new(
        "slice",
        SLICE,
        Fallback::Words("all peers", "\"2/4\""),
        "Which of several disjoint shares of the peers it serves",
    ),
    Key::new(
        "services",
        FILTER,
        Fallback::Words("any", "\"x1\""),
        "Service bits that all of its peers have",
    ),
    Key::new(
        "filters",
        Kind::List(&FILTER),
        Fallback::Words("the customary ones", "[\"x1\", \"x9\", \"x409\"]"),
        "Filters that are written ahead; others are answered all the same, only slower",
    ),
];

/// All flags, of all commands.
#[derive(Debug)]
pub struct Everywhere;

impl Scope for Everywhere {
    const GLOBAL: bool = true;

    fn program() -> &'static Program {
        &PROGRAM
    }

    fn has(_: &Flag) -> bool {
        true
    }
}
