use std::net::IpAddr;

use hickory_proto::rr::{Name, RData};

use super::*;

fn zone(apex: &str, servers: &[&str]) -> Zone {
    let name_servers: Vec<String> = servers.iter().map(|s| (*s).to_owned()).collect();
    let options = ZoneOptions {
        name_servers: &name_servers,
        ..ZoneOptions::default()
    };
    Zone::new(apex, &options).unwrap()
}

fn place(zone: &Zone, name: &str) -> Place {
    zone.place(&WireName::of(&Name::from_ascii(name).unwrap()))
}

#[test]
fn each_kind_of_name_has_its_place_in_any_case() {
    let zone = zone("Seed1.QuantumCoin.Network", &[]);
    let host = Place::Host(IpAddr::from([127, 0, 0, 1]));
    let expected = [
        ("", Place::Apex),
        ("x9.", Place::Filter(9)),
        ("X9.", Place::Filter(9)),
        ("xc08.", Place::Filter(0xc08)),
        ("x0.", Place::Nothing),
        ("x09.", Place::Nothing),
        ("_tcp.", Place::Hollow),
        ("_udp.", Place::Nothing),
        ("_qtc._tcp.", Place::Service(0)),
        ("_QTC._Tcp.", Place::Service(0)),
        ("_btc._tcp.", Place::Nothing),
        ("_tcp.x9.", Place::Hollow),
        ("_qtc._tcp.x9.", Place::Service(9)),
        ("_qtc._tcp.xg.", Place::Nothing),
        ("n.", Place::Hollow),
        ("p4aaaai.n.", host),
        ("P4AAAAI.N.", host),
        ("p4aaaaj.n.", Place::Nothing),
        ("p4aaaai.x9.", Place::Nothing),
        ("a.p4aaaai.n.", Place::Nothing),
        ("ns1.", Place::NameServer),
        ("NS1.", Place::NameServer),
        ("ns2.", Place::Nothing),
        ("www.", Place::Nothing),
        ("a.ns1.", Place::Nothing),
    ];
    for (prefix, place_of) in expected {
        for apex in ["seed1.quantumcoin.network.", "sEED1.quantumCOIN.network."] {
            let name = format!("{prefix}{apex}");
            assert_eq!(place(&zone, &name), place_of, "{name}");
        }
    }
}

#[test]
fn a_name_that_only_ends_alike_is_not_in_the_zone() {
    let zone = zone("seed1.example", &[]);
    let contains = |name: &str| {
        let name = WireName::of(&Name::from_ascii(name).unwrap());
        name.below(zone.apex_wire()).is_some()
    };
    assert!(contains("a.seed1.example."));
    assert!(contains("SEED1.example."));
    assert!(!contains("xseed1.example."));
    assert!(!contains("example."));
    assert!(!contains("."));
}

#[test]
fn names_above_a_name_server_exist() {
    let zone = zone(
        "seed.example",
        &["a.dns.seed.example", "ns.elsewhere.example"],
    );
    assert_eq!(place(&zone, "dns.seed.example."), Place::Hollow);
    assert_eq!(place(&zone, "a.dns.seed.example."), Place::NameServer);
    assert_eq!(place(&zone, "b.dns.seed.example."), Place::Nothing);
    assert_eq!(
        place(&zone, "ns1.seed.example."),
        Place::Nothing,
        "only what is configured"
    );
}

#[test]
fn the_contact_becomes_a_name() {
    let contact = |text: &str| {
        let options = ZoneOptions {
            contact: text,
            ..ZoneOptions::default()
        };
        Zone::new("seed.example", &options).map(|zone| {
            match &zone.denial(1).records().unwrap()[0].data {
                RData::SOA(soa) => soa.rname.to_string(),
                other => panic!("{other}"),
            }
        })
    };
    assert_eq!(contact("").unwrap(), "hostmaster.seed.example.");
    assert_eq!(contact("ops@example.net").unwrap(), "ops.example.net.");
    assert_eq!(
        contact("dns.ops@example.net").unwrap(),
        "dns\\.ops.example.net."
    );
    assert_eq!(contact("ops.example.net").unwrap(), "ops.example.net.");
    assert!(contact("@example.net").is_err());
}

#[test]
fn what_can_not_be_served_is_refused_in_words() {
    let words =
        |apex: &str, options: &ZoneOptions<'_>| Zone::new(apex, options).unwrap_err().to_string();
    assert!(words("", &ZoneOptions::default()).contains("empty"));
    assert!(words(".", &ZoneOptions::default()).contains("root"));
    assert!(words("a..b", &ZoneOptions::default()).contains("a..b"));
    let own = ["Seed.Example".to_owned()];
    let options = ZoneOptions {
        name_servers: &own,
        ..ZoneOptions::default()
    };
    assert!(words("seed.example", &options).contains("ns1.seed.example"));
    let options = ZoneOptions {
        ttl: 30,
        ..ZoneOptions::default()
    };
    assert!(
        words("seed.example", &options).contains("60"),
        "the policy asks for at least 60 s"
    );
}

#[test]
fn each_name_server_has_its_addresses() {
    let servers = [
        "ns1.seed.example",
        "ns2.seed.example",
        "ns.elsewhere.example",
    ]
    .map(str::to_owned);
    let addresses = [
        "192.0.2.1",
        "NS2.seed.example=192.0.2.2",
        "ns2.seed.example.=2001:db8::2",
    ];
    let addresses = addresses.map(|text| text.parse().unwrap());
    let options = ZoneOptions {
        name_servers: &servers,
        name_server_addresses: &addresses,
        ..ZoneOptions::default()
    };
    let zone = Zone::new("seed.example", &options).unwrap();
    let of = |server: &str| -> Vec<String> {
        let server = WireName::of(&Name::from_ascii(server).unwrap());
        zone.addresses_of(&server)
            .map(|ip| ip.to_string())
            .collect()
    };
    assert_eq!(
        of("ns1.seed.example."),
        ["192.0.2.1"],
        "what has no name is for all"
    );
    assert_eq!(
        of("ns2.seed.example."),
        ["192.0.2.1", "192.0.2.2", "2001:db8::2"]
    );
    assert!(of("ns.elsewhere.example.").is_empty());
    assert_eq!(zone.name_server_addresses().len(), 3);
    let glue: Vec<String> = zone
        .glue()
        .iter()
        .flat_map(|set| set.records().unwrap())
        .map(|record| format!("{} {}", record.name, record.data))
        .collect();
    assert_eq!(
        glue,
        [
            "ns1.seed.example. 192.0.2.1",
            "ns2.seed.example. 192.0.2.1",
            "ns2.seed.example. 192.0.2.2",
            "ns2.seed.example. 2001:db8::2"
        ]
    );
}
