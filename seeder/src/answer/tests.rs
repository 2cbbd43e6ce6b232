use std::{collections::HashSet, net::SocketAddr};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::SRV},
};
use quantumcoin::{
    reachability::{GoodPeer, Transports, overlay::OverlayName},
    store::GoodSet,
};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    snapshot::Policy,
    zone::{MIN_TTL, NEGATIVE_TTL, ZoneOptions},
};

const APEX: &str = "seed1.quantumcoin.network.";
const NOW: i64 = 1_800_000_000;

fn peer(addr: &str, services: u64) -> GoodPeer {
    GoodPeer {
        services,
        protocol_version: 70_015,
        user_agent: "/x:1/".into(),
        height: 1200,
        transports: Transports::NOISE,
        node_id: Some(crate::snapshot::tests::id_of(addr)),
        quality: 0.9,
        last_ok_at: NOW,
        ..GoodPeer::unknown(addr.parse().unwrap())
    }
}

fn snapshot(peers: Vec<GoodPeer>) -> Snapshot {
    draw(GoodSet {
        peers,
        generation: 1,
        newest_probe_at: Some(NOW),
        ..GoodSet::default()
    })
}

fn draw(set: GoodSet) -> Snapshot {
    let policy = Policy {
        variants: 8,
        ..crate::snapshot::tests::policy(false)
    };
    Snapshot::build(set, &policy, None, NOW, &mut StdRng::seed_from_u64(1))
}

fn crawl() -> Snapshot {
    let mut peers: Vec<GoodPeer> = (1..=30)
        .map(|n| {
            peer(
                &format!("10.0.{n}.1:8333"),
                if n % 2 == 0 { 9 } else { 0x400 },
            )
        })
        .collect();
    peers.extend((1..=30).map(|n| peer(&format!("[2001:db8:{n}::1]:8333"), 9)));
    peers.push(peer("10.9.9.9:18444", 9));
    snapshot(peers)
}

fn engine() -> Engine {
    let addresses = ["192.0.2.53".parse().unwrap()];
    let options = ZoneOptions {
        name_server_addresses: &addresses,
        ..ZoneOptions::default()
    };
    let zones = [APEX, "seed2.quantumcoin.network."].map(|apex| Zone::new(apex, &options).unwrap());
    let identity = Identity {
        version: Some("seeder".to_owned()),
        id: None,
    };
    Engine::new(zones.into(), identity)
}

/// An answer as hickory shows it.
#[derive(Debug)]
struct Shown {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

fn show(answer: Answer) -> Shown {
    let records = |sets: &[RrSet]| sets.iter().flat_map(|set| set.records().unwrap()).collect();
    Shown {
        code: ResponseCode::from(0, answer.code),
        authoritative: answer.authoritative,
        answers: records(answer.answer.as_slice()),
        authorities: records(answer.denial.as_slice()),
        additionals: records(&answer.additionals),
    }
}

fn ask_in(snapshot: &Snapshot, class: DNSClass, name: &str, kind: RecordType) -> Shown {
    let name = WireName::of(&Name::from_ascii(name).unwrap());
    let question = Question {
        name: &name,
        class: class.into(),
        kind: kind.into(),
    };
    show(engine().answer(&question, snapshot, 3))
}

fn ask(name: &str, kind: RecordType) -> Shown {
    ask_in(&crawl(), DNSClass::IN, name, kind)
}

fn below(prefix: &str) -> String {
    format!("{prefix}.{APEX}")
}

fn texts(answer: &Shown) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect(),
        other => panic!("{other}"),
    };
    answer.answers.iter().map(text).collect()
}

/// The right shape of "no": SOA of the apex, kept for a minute, with a serial that is a time.
fn assert_denies(answer: &Shown, code: ResponseCode) {
    assert_eq!(answer.code, code);
    assert!(answer.authoritative);
    assert!(answer.answers.is_empty() && answer.additionals.is_empty());
    let [soa] = answer.authorities.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(
        soa.name.to_string(),
        APEX,
        "owned by the apex, not by the query name"
    );
    assert_eq!(soa.ttl, NEGATIVE_TTL);
    let RData::SOA(soa) = &soa.data else {
        panic!("{soa}")
    };
    assert_eq!(soa.minimum, NEGATIVE_TTL);
    assert_eq!(i64::from(soa.serial), NOW, "a real serial");
}

#[test]
fn addresses_are_those_of_default_port_peers() {
    for (kind, v4) in [(RecordType::A, true), (RecordType::AAAA, false)] {
        let answer = ask(APEX, kind);
        assert_eq!(answer.code, ResponseCode::NoError);
        assert!(answer.authoritative && answer.authorities.is_empty());
        assert_eq!(answer.answers.len(), ADDRESSES);
        for record in &answer.answers {
            assert_eq!((record.record_type(), record.ttl), (kind, MIN_TTL));
            assert_eq!(matches!(record.data, RData::A(_)), v4);
            assert!(
                !record.data.to_string().starts_with("10.9.9.9"),
                "another port"
            );
        }
    }
}

#[test]
fn a_filter_in_any_case_gives_peers_with_all_its_bits() {
    let allowed: HashSet<String> = (1..=15).map(|n| format!("10.0.{}.1", 2 * n)).collect();
    for name in ["x9", "X9", "x1", "x8"] {
        let answer = ask(&below(name), RecordType::A);
        assert_eq!(answer.answers.len(), 15, "{name}");
        assert!(
            answer
                .answers
                .iter()
                .all(|r| allowed.contains(&r.data.to_string())),
            "{name}"
        );
    }
    let pruned = ask(&below("x400"), RecordType::A);
    assert_eq!(
        pruned.answers.len(),
        15,
        "a filter without NODE_NETWORK is answered"
    );
    assert_denies(&ask(&below("x409"), RecordType::A), ResponseCode::NoError);
    assert!(
        texts(&ask(&below("x9"), RecordType::TXT))
            .iter()
            .all(|t| t.contains(" s=9 "))
    );
}

#[test]
fn services_name_ports_and_bring_the_addresses_of_their_targets() {
    let only = snapshot(vec![
        peer("10.9.9.9:18444", 9),
        peer("[2001:db8::7]:8333", 9),
    ]);
    for name in [below("_qtc._tcp"), below("_QTC._tcp.X9")] {
        let answer = ask_in(&only, DNSClass::IN, &name, RecordType::SRV);
        assert_eq!(
            (answer.answers.len(), answer.additionals.len()),
            (2, 2),
            "{name}"
        );
        for record in &answer.answers {
            let RData::SRV(SRV {
                port,
                target,
                priority,
                ..
            }) = &record.data
            else {
                panic!("{record}")
            };
            assert_eq!(*priority, 10);
            let glue = answer
                .additionals
                .iter()
                .find(|glue| glue.name == *target)
                .unwrap();
            let expected: SocketAddr = if *port == 18444 {
                "10.9.9.9:18444"
            } else {
                "[2001:db8::7]:8333"
            }
            .parse()
            .unwrap();
            assert_eq!(glue.data.to_string(), expected.ip().to_string());
            // The target resolves by itself too, and only to its own family.
            let name = target.to_ascii();
            let found = ask_in(&only, DNSClass::IN, &name, glue.record_type());
            assert_eq!(found.answers, vec![glue.clone()]);
            let other = RecordType::from(family_type(!expected.is_ipv4()));
            assert_denies(
                &ask_in(&only, DNSClass::IN, &name, other),
                ResponseCode::NoError,
            );
        }
    }
    let many = ask(&below("_qtc._tcp"), RecordType::SRV);
    assert_eq!(many.answers.len(), SERVICES);
}

#[test]
fn two_peers_at_one_address_share_the_target() {
    let both = snapshot(vec![peer("10.9.9.9:18444", 9), peer("10.9.9.9:8333", 9)]);
    let answer = ask_in(&both, DNSClass::IN, &below("_qtc._tcp"), RecordType::SRV);
    assert_eq!((answer.answers.len(), answer.additionals.len()), (2, 1));
}

#[test]
fn host_names_resolve_only_to_addresses_of_the_crawl() {
    let name = |ip: [u8; 4]| below(&format!("{}.n", crate::zone::label::of_host(ip.into())));
    assert_eq!(ask(&name([10, 9, 9, 9]), RecordType::A).answers.len(), 1);
    assert_denies(
        &ask(&name([8, 8, 8, 8]), RecordType::A),
        ResponseCode::NXDomain,
    );
}

#[test]
fn a_text_tells_one_peer() {
    let answer = ask_in(
        &snapshot(vec![peer("10.9.9.9:18444", 0x409)]),
        DNSClass::IN,
        APEX,
        RecordType::TXT,
    );
    let id = "MTAuOS45Ljk6MTg0NDQHBwcHBwcHBwcHBwcHBwcHBwc";
    assert_eq!(
        texts(&answer),
        [format!(
            "v=qtc1 a=10.9.9.9:18444 s=409 t=noise k={id} h=1200"
        )]
    );
    let six = GoodPeer {
        node_id: None,
        transports: Transports::NONE,
        ..peer("[2001:db8::7]:8333", 0)
    };
    let answer = ask_in(&snapshot(vec![six]), DNSClass::IN, APEX, RecordType::TXT);
    assert_eq!(texts(&answer), ["v=qtc1 a=[2001:db8::7]:8333 s=0 h=1200"]);
    assert_eq!(ask(APEX, RecordType::TXT).answers.len(), TEXTS);
}

/// The longest addresses that there are at the default port, and two names: no client need come over TCP for them, not even to the longest customary filter.
#[test]
fn texts_with_names_fit_in_a_datagram() {
    let names = [OverlayName::Onion([7; 32]), OverlayName::I2p([8; 32])];
    let stand_ins = names.map(|name| format!("[{}]:8333", name.stand_in()));
    let six = |n| format!("[2001:db8:1000:{n}:8888:9999:aaaa:bbbb]:8333");
    let addrs = (1001..1020).map(six).chain(stand_ins);
    let peers = addrs.map(|addr| GoodPeer {
        transports: Transports::NOISE.union(Transports::TLS),
        height: 1_234_567,
        ..peer(&addr, 0xc49)
    });
    let set = GoodSet {
        peers: peers.collect(),
        names: names.map(|name| (name.stand_in().into(), name)).into(),
        ..GoodSet::default()
    };
    let answer = ask_in(&draw(set), DNSClass::IN, &below("xc48"), RecordType::TXT);
    let told = texts(&answer);
    let named = told
        .iter()
        .filter(|text| text.contains(".onion:8333") || text.contains(".b32.i2p:8333"));
    assert_eq!((told.len(), named.count()), (TEXTS, 2));
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(
        Name::from_ascii(below("xc48")).unwrap(),
        RecordType::TXT,
    ));
    message.add_answers(answer.answers);
    message.set_edns(Edns::new());
    let length = message.to_vec().unwrap().len();
    assert!(length <= 1232, "{length}");
}

#[test]
fn the_apex_has_its_servers_with_addresses_and_its_authority() {
    let answer = ask(APEX, RecordType::NS);
    let [server] = answer.answers.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(server.data.to_string(), "ns1.seed1.quantumcoin.network.");
    let [glue] = answer.additionals.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(glue.name.to_string(), "ns1.seed1.quantumcoin.network.");
    assert_eq!(glue.data.to_string(), "192.0.2.53");
    assert_eq!(ask(&below("ns1"), RecordType::A).answers.len(), 1);
    assert_denies(&ask(&below("ns1"), RecordType::AAAA), ResponseCode::NoError);
    let answer = ask(APEX, RecordType::SOA);
    assert_eq!(answer.answers.len(), 1);
    assert!(answer.authorities.is_empty());
}

#[test]
fn what_does_not_exist_is_denied_as_such() {
    for name in [
        "www",
        "a.x9",
        "_udp",
        "_qtc._udp",
        "x0",
        "x09",
        "_dns-sd._udp",
        "p4aaaai",
    ] {
        for kind in [
            RecordType::A,
            RecordType::TXT,
            RecordType::ANY,
            RecordType::SOA,
        ] {
            assert_denies(&ask(&below(name), kind), ResponseCode::NXDomain);
        }
    }
}

#[test]
fn an_existing_name_without_the_type_is_no_data() {
    let missing = [
        (APEX.to_owned(), RecordType::CAA),
        (APEX.to_owned(), RecordType::MX),
        (APEX.to_owned(), RecordType::DS),
        (APEX.to_owned(), RecordType::SRV),
        (APEX.to_owned(), RecordType::Unknown(65_000)),
        (below("x9"), RecordType::NS),
        (below("x9"), RecordType::SOA),
        (below("_tcp"), RecordType::A),
        (below("_tcp"), RecordType::ANY),
        (below("_tcp.x9"), RecordType::SRV),
        (below("n"), RecordType::A),
        (below("_qtc._tcp"), RecordType::A),
    ];
    for (name, kind) in missing {
        assert_denies(&ask(&name, kind), ResponseCode::NoError);
    }
}

#[test]
fn names_that_are_not_ours_are_refused() {
    for name in [
        ".",
        "network.",
        "quantumcoin.network.",
        "seed9.quantumcoin.network.",
        "example.",
    ] {
        let answer = ask(name, RecordType::A);
        assert_eq!(answer.code, ResponseCode::Refused, "{name}");
        assert!(!answer.authoritative && answer.authorities.is_empty());
    }
}

#[test]
fn any_gets_one_small_record() {
    let answer = ask(APEX, RecordType::ANY);
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.answers[0].record_type(), RecordType::HINFO);
}

#[test]
fn transfers_and_message_types_are_turned_down() {
    assert_eq!(ask(APEX, RecordType::AXFR).code, ResponseCode::Refused);
    assert_eq!(ask(APEX, RecordType::IXFR).code, ResponseCode::Refused);
    assert_eq!(ask(APEX, RecordType::OPT).code, ResponseCode::FormErr);
    assert_eq!(
        ask(APEX, RecordType::Unknown(254)).code,
        ResponseCode::NotImp
    );
}

#[test]
fn the_class_matters() {
    let crawl = crawl();
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY, DNSClass::NONE] {
        let answer = ask_in(&crawl, class, APEX, RecordType::A);
        assert_eq!(answer.code, ResponseCode::Refused, "{class}");
        assert!(answer.answers.is_empty());
    }
    let version = ask_in(&crawl, DNSClass::CH, "VERSION.bind.", RecordType::TXT);
    assert_eq!(texts(&version), ["seeder"]);
    assert_eq!(version.answers[0].dns_class, DNSClass::CH);
    let id = ask_in(&crawl, DNSClass::CH, "id.server.", RecordType::TXT);
    assert_eq!(id.code, ResponseCode::Refused, "not configured");
}

#[test]
fn nobody_to_serve_is_no_data_not_junk() {
    let empty = snapshot(Vec::new());
    for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
        assert_denies(
            &ask_in(&empty, DNSClass::IN, APEX, kind),
            ResponseCode::NoError,
        );
    }
    let services = ask_in(&empty, DNSClass::IN, &below("_qtc._tcp"), RecordType::SRV);
    assert_denies(&services, ResponseCode::NoError);
}

#[test]
fn the_deeper_of_two_nested_zones_answers() {
    let options = ZoneOptions::default();
    let zones = ["quantumcoin.network", "seed1.quantumcoin.network"]
        .map(|apex| Zone::new(apex, &options).unwrap());
    let engine = Engine::new(zones.into(), Identity::default());
    let name = WireName::of(&Name::from_ascii(APEX).unwrap());
    let question = Question {
        name: &name,
        class: CLASS_IN,
        kind: SOA,
    };
    assert_eq!(engine.answer(&question, &crawl(), 0).zone, Some(1));
}
