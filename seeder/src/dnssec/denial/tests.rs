use std::net::SocketAddr;

use hickory_proto::{
    rr::Name,
    serialize::binary::{BinDecodable, BinDecoder},
};
use proptest::prelude::*;
use quantumcoin::{reachability::GoodPeer, store::GoodSet};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    answer::{Engine, Identity, Question},
    snapshot::Policy,
    zone::ZoneOptions,
};

fn zone() -> Zone {
    let addresses = ["192.0.2.53".parse().unwrap()];
    let servers = [
        "ns1.seed.example".to_owned(),
        "a.dns.seed.example".to_owned(),
        "ns.example.org".to_owned(),
    ];
    let options = ZoneOptions {
        name_servers: &servers,
        name_server_addresses: &addresses,
        ..ZoneOptions::default()
    };
    Zone::new("seed.example", &options).unwrap()
}

fn snapshot() -> Snapshot {
    let peers = [
        ("10.1.0.1:8333", 9),
        ("10.2.0.1:9999", 0x400),
        ("[2400::1]:8333", 0x1234),
    ];
    let peer = |(addr, services): (&str, u64)| GoodPeer {
        services,
        ..GoodPeer::unknown(addr.parse::<SocketAddr>().unwrap())
    };
    let set = GoodSet {
        peers: peers.map(peer).into(),
        generation: 1,
        newest_probe_at: Some(1),
        ..GoodSet::default()
    };
    let policy = Policy {
        network: "devnet".to_owned(),
        default_port: 8333,
        one_per_netgroup: false,
        variants: 2,
        host_memory: 100,
        selections: vec![crate::snapshot::Selection::default()],
    };
    Snapshot::build(set, &policy, None, 1000, &mut StdRng::seed_from_u64(1))
}

fn chain() -> Chain {
    Chain::new(&zone(), vec![kind::DNSKEY])
}

fn name(text: &str) -> WireName {
    WireName::of(&Name::from_ascii(text).unwrap())
}

fn rdata(record: &RrSet) -> &[u8] {
    record.rdata.iter().next().unwrap()
}

fn next(record: &RrSet) -> WireName {
    WireName::read(rdata(record)).unwrap().0
}

fn show(path: &Path) -> String {
    path.iter()
        .rev()
        .map(|label| format!("{}.", label.escape_ascii()))
        .collect()
}

fn labels(text: &str) -> Path {
    path(&name(&format!("{text}.seed.example.")), zone().apex_wire())
}

#[test]
fn the_chain_goes_through_all_names_and_back_to_the_apex() {
    let chain = chain();
    let mut at = Path::new();
    let mut seen = vec![show(&at)];
    // The first filters, then the last of all.
    for _ in 0..15 {
        at = chain.after(&at);
        seen.push(show(&at));
    }
    let expected = [
        "",
        "_tcp.",
        "_qtc._tcp.",
        "dns.",
        "a.dns.",
        "n.",
        "~.n.",
        "ns1.",
        "x1.",
        "_tcp.x1.",
        "_qtc._tcp.x1.",
        "x10.",
        "_tcp.x10.",
        "_qtc._tcp.x10.",
        "x100.",
        "_tcp.x100.",
    ];
    assert_eq!(seen, expected);
    let last = labels("_qtc._tcp.xffffffffffffffff");
    assert_eq!(chain.before(&labels("zebra")), last);
    assert_eq!(chain.after(&last), Path::new(), "the apex again");
}

#[test]
fn types_are_those_that_the_engine_answers() {
    let (zone, snapshot, chain) = (zone(), snapshot(), chain());
    let engine = Engine::new(vec![zone.clone()], Identity::default());
    for label in [
        "",
        "x9.",
        "x400.",
        "x1234.",
        "x4000.",
        "x77.",
        "_tcp.",
        "_qtc._tcp.",
        "_qtc._tcp.x9.",
        "_qtc._tcp.x77.",
        "_tcp.x9.",
        "n.",
        "ns1.",
        "dns.",
        "a.dns.",
        "biaqaai.n.",
    ] {
        let asked = Name::from_ascii(format!("{label}seed.example.")).unwrap();
        let wire = WireName::of(&asked);
        let record = chain.at(&wire, &zone, &snapshot).unwrap();
        let next = next(&record).as_bytes().len();
        let map = &rdata(&record)[next..];
        assert_eq!(usize::from(map[1]), map.len() - 2);
        let has = |kind: u16| {
            let byte = map.get(2 + usize::from(kind / 8)).copied().unwrap_or(0);
            byte & (0x80 >> (kind % 8)) != 0
        };
        for kind in [A, AAAA, NS, SOA, TXT, SRV, 15, 257] {
            let question = Question {
                name: &wire,
                class: CLASS_IN,
                kind,
            };
            let answered = engine.answer(&question, &snapshot, 0).answer.is_some();
            // CAA is beyond the first window.
            assert_eq!(has(kind) && kind < 256, answered, "{label} {kind}");
        }
        assert!(has(kind::RRSIG) && has(kind::NSEC));
        assert_eq!(has(kind::DNSKEY), label.is_empty());
    }
}

#[test]
fn gaps_deny_what_is_in_them() {
    let (zone, snapshot, chain) = (zone(), snapshot(), chain());
    let gaps = chain.gaps();
    assert!(gaps.is_sorted_by_key(|(begin, _)| begin));
    let shown: Vec<_> = gaps
        .iter()
        .map(|(begin, _)| begin.escape_ascii().to_string())
        .collect();
    assert_eq!(shown, ["", "_tcp", "dns", "n", "ns1", "x"]);
    for text in ["0", "a", "dnsx", "nope", "ns2", "zebra", "www", "1-"] {
        let begin = gaps
            .iter()
            .rev()
            .find(|(begin, _)| begin.as_slice() <= text.as_bytes())
            .unwrap();
        let example = begin.1.unwrap();
        let of = |name: &WireName| -> Vec<_> {
            let records = chain.around(name, &zone, &snapshot).unwrap();
            records
                .iter()
                .map(|record| (record.owner, record.rdata.clone()))
                .collect()
        };
        let (there, deeper) = (
            name(&format!("{text}.seed.example.")),
            name(&format!("a.b.{text}.seed.example.")),
        );
        assert_eq!(of(&there), of(&example), "{text}");
        assert_eq!(of(&deeper), of(&example), "{text}");
    }
}

/// Whether an NSEC record covers a name, by hickory's order of names.
fn covers(record: &RrSet, name: &Name) -> bool {
    let hickory = |name: &WireName| Name::read(&mut BinDecoder::new(name.as_bytes())).unwrap();
    let (owner, next) = (hickory(&record.owner), hickory(&next(record)));
    let last = next == Name::from_ascii("seed.example.").unwrap();
    owner < *name && (*name < next || last)
}

proptest! {
    #[test]
    fn what_does_not_exist_is_covered_and_what_exists_is_not(
        text in "([a-z0-9_]{1,3}|x[0-9a-g]{0,18}|n|_tcp|_qtc|x[1-9a-f][0-9a-f]{0,16})(\\.(n|_tcp|x[1-9a-f][0-9a-f]{0,15}|ns1|dns|[a-z]))?"
    ) {
        let (zone, snapshot, chain) = (zone(), snapshot(), chain());
        let asked = Name::from_ascii(format!("{text}.seed.example.")).unwrap();
        let wire = WireName::of(&asked);
        let exists = match zone.place(&wire) {
            Place::Nothing => false,
            Place::Host(ip) => snapshot.knows_host(ip),
            _ => true,
        };
        prop_assert_eq!(chain.exists(&labels(&text), &snapshot), exists);
        if exists {
            let record = chain.at(&wire, &zone, &snapshot).unwrap();
            prop_assert_eq!(record.owner, wire);
            prop_assert!(!covers(&record, &asked));
        } else {
            let records = chain.around(&wire, &zone, &snapshot).unwrap();
            prop_assert!(covers(&records[0], &asked), "{:?} {:?}", records[0].owner, next(&records[0]));
            for record in &records {
                let (owner, next) = (labels_of(&record.owner), labels_of(&next(record)));
                prop_assert!(next.is_empty() || owner < next);
                if !is_at_hosts(&owner) || next.len() < 2 {
                    // The next of the one is what comes behind it: nothing lies between.
                    prop_assert_eq!(chain.after(&owner), next);
                }
            }
            let wildcard = (0..wire.labels())
                .map(|above| Name::from_ascii(format!("*.{}", shown(&wire, above + 1))).unwrap())
                .find(|wildcard| {
                    let parent = WireName::of(&wildcard.base_name());
                    parent == *zone.apex_wire() || chain.exists(&labels_of(&parent), &snapshot)
                })
                .unwrap();
            prop_assert!(records.iter().any(|record| covers(record, &wildcard)), "{wildcard}");
        }
    }

    /// Labels of any bytes and every length, where hosts are and below a host, also below an apex that leaves little room.
    #[test]
    fn whatever_is_asked_for_among_hosts_is_covered(
        label in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'['), Just(b'@'), Just(0xff)], 1..=63),
        full in any::<bool>(), below_host in any::<bool>(), long in any::<bool>(),
    ) {
        let apex = if long {
            // With `n` and a label of 33 bytes it has 255.
            format!("{0}.{0}.{0}.{1}.example.", "a".repeat(50), "b".repeat(55))
        } else {
            "seed.example.".to_owned()
        };
        let zone = Zone::new(&apex, &ZoneOptions::default()).unwrap();
        let (snapshot, chain) = (snapshot(), Chain::new(&zone, vec![kind::DNSKEY]));
        let above = format!("{}n.{apex}", if below_host { "biaqaai." } else { "" });
        let above = Name::from_ascii(above).unwrap();
        let room = MAX_LABEL.min(MAX_NAME - WireName::of(&above).as_bytes().len() - 1);
        let mut label = label;
        label.truncate(room);
        if full {
            label.resize(room, *label.last().unwrap());
        }
        let asked = Name::from_labels(std::iter::once(label.as_slice()).chain(above.iter())).unwrap();
        let wire = WireName::of(&asked.to_lowercase());
        prop_assume!(!chain.exists(&path(&wire, zone.apex_wire()), &snapshot));
        let records = chain.around(&wire, &zone, &snapshot).unwrap();
        let hickory = |name: &WireName| Name::read(&mut BinDecoder::new(name.as_bytes())).unwrap();
        let (owner, next) = (hickory(&records[0].owner), hickory(&next(&records[0])));
        prop_assert!(owner < asked && asked < next, "{} {} {}", owner, asked, next);
        let below = Name::from_labels(std::iter::once(&b"~"[..]).chain(asked.iter()));
        if let Ok(below) = below {
            prop_assert!(below < next, "{} {}", below, next);
        }
        // No host but the one that is asked for, or below which it lies.
        let hosts = (0..400_u32).map(|n| {
            let ip = IpAddr::from((n * 10_737_003).to_be_bytes());
            Name::from_ascii(format!("{}.n.{apex}", label::of_host(ip))).unwrap()
        });
        for host in hosts.filter(|host| !host.zone_of(&asked)) {
            prop_assert!(!(owner < host && host < next), "{} to {} denies {}", owner, next, host);
        }
    }

    /// Against the list of all filters of up to three digits among ten thousand, as sorted by bytes.
    #[test]
    fn neighbours_of_filters_are_those_of_the_sorted_list(label in "x?[0-9a-gx]{0,4}") {
        let mut all: Vec<Vec<u8>> = (1..=0xffff_u32).map(|n| format!("x{n:x}").into_bytes()).collect();
        all.sort();
        let label = label.as_bytes();
        let before = all.iter().rev().find(|known| known.as_slice() <= label);
        let floor = filters::floor(label);
        // Below the last step of the way there are longer ones, which the list has not.
        match (before, &floor) {
            (None, None) => {}
            (Some(before), Some(floor)) => {
                prop_assert!(floor.as_slice() <= label && floor >= before);
                prop_assert!(floor == before || floor.starts_with(before) && floor.len() == 17);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let after = all.iter().find(|known| known.as_slice() > label);
        let ceiling = filters::ceiling(label);
        match (after, &ceiling) {
            (None, None) => {}
            (Some(after), Some(ceiling)) => {
                prop_assert!(ceiling.as_slice() > label && ceiling <= after);
                prop_assert!(ceiling == after || ceiling.len() > 5);
            }
            (None, Some(ceiling)) => prop_assert!(ceiling.len() > 5),
            (Some(after), None) => prop_assert!(false, "{after:?}"),
        }
    }
}

fn labels_of(name: &WireName) -> Path {
    path(name, zone().apex_wire())
}

fn shown(name: &WireName, skip: usize) -> String {
    (skip..name.labels())
        .map(|index| format!("{}.", name.label(index).unwrap().escape_ascii()))
        .collect()
}

/// A host that comes later is not denied by what was said before: no record reaches over another name that a host could have.
#[test]
fn hosts_that_come_later_are_not_denied() {
    let (zone, snapshot, chain) = (zone(), snapshot(), chain());
    let hosts: Vec<Name> = (0..2000_u32)
        .map(|n| {
            let ip = IpAddr::from((n * 2_147_001).to_be_bytes());
            Name::from_ascii(format!("{}.n.seed.example.", label::of_host(ip))).unwrap()
        })
        .collect();
    let asked = ["biaqaai.n", "n", "ns1", "_qtc._tcp"];
    let mut records: Vec<RrSet> = asked
        .iter()
        .map(|text| {
            chain
                .at(&name(&format!("{text}.seed.example.")), &zone, &snapshot)
                .unwrap()
        })
        .collect();
    for text in [
        "aaaaaaa.n",
        "no.n",
        "zzzzzzz.n",
        "a.b.n",
        "na",
        "nn",
        "m",
        "a.biaqaai.n",
        "2.n",
    ] {
        let asked = name(&format!("{text}.seed.example."));
        records.extend(chain.around(&asked, &zone, &snapshot).unwrap());
    }
    for record in &records {
        let denied = hosts.iter().filter(|host| covers(record, host)).count();
        // But for the one that was asked for.
        assert!(
            denied <= 1,
            "{:?} to {:?} denies {denied}",
            record.owner,
            next(record)
        );
    }
}

#[test]
fn labels_have_one_before_them() {
    for (label, before) in [
        (&b"ab"[..], Some(&b"aa\xff"[..])),
        (b"a\0", Some(b"a")),
        (b"\x01", Some(b"\0\xff")),
        (b"\0", None),
        (b"", None),
    ] {
        assert_eq!(label_before(label, MAX_LABEL).as_deref(), before);
    }
    assert_eq!(label_before(&[b'b'; 63], MAX_LABEL).unwrap().len(), 63);
    assert_eq!(label_before(b"a[", MAX_LABEL).unwrap(), b"a@\xff");
}

#[test]
fn labels_have_one_behind_them() {
    for (label, after) in [
        (&b"ab"[..], Some(&b"ac"[..])),
        (b"a", Some(b"a\0")),
        (b"a@", Some(b"a[")),
        (b"a\xff", Some(b"b")),
        (b"\xff\xff", None),
    ] {
        assert_eq!(label_after(label, 2).as_deref(), after);
    }
}

/// The last of all labels below a host: the record must not run on over the hosts behind it.
#[test]
fn the_last_label_below_a_host_denies_no_other_host() {
    let (zone, snapshot, chain) = (zone(), snapshot(), chain());
    let host = name("biaqaai.n.seed.example.");
    let asked = host.below_labels(&[&[0xff; 63]]).unwrap();
    let records = chain.around(&asked, &zone, &snapshot).unwrap();
    assert_eq!(
        next(&records[0]),
        zone.apex_wire()
            .below_labels(&[b"biaqaai\0", b"n"])
            .unwrap()
    );
    let asked = zone.apex_wire().below_labels(&[&[0xff; 63], b"n"]).unwrap();
    let records = chain.around(&asked, &zone, &snapshot).unwrap();
    assert_eq!(next(&records[0]), name("ns1.seed.example."));
}
