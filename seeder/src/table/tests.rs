use hickory_proto::rr::Name;
use quantumcoin::{reachability::GoodPeer, store::GoodSet};
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    answer::{Engine, Identity},
    snapshot::{Policy, Snapshot},
    wire::kind,
    zone::ZoneOptions,
};

fn snapshot(peers: u32) -> Snapshot {
    let policy = Policy {
        network: "devnet".to_owned(),
        default_port: 8333,
        one_per_netgroup: true,
        variants: 64,
        host_memory: 100,
        selections: vec![crate::snapshot::Selection::default()],
    };
    let peer = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let six = format!("[2400:{:x}:{c:x}::1]:8333", 1 + u16::from_be_bytes([a, b]));
        let four = format!("{}.{c}.{b}.{a}:8333", 1 + n % 120);
        [four, six].map(|addr| GoodPeer {
            services: 0xfff,
            quality: 0.9,
            height: 100_000,
            ..GoodPeer::unknown(addr.parse().unwrap())
        })
    };
    let set = GoodSet {
        peers: (0..peers).flat_map(peer).collect(),
        generation: 1,
        newest_probe_at: Some(1),
        ..GoodSet::default()
    };
    Snapshot::build(set, &policy, None, 1000, &mut StdRng::seed_from_u64(1))
}

fn zone(apex: &str) -> Zone {
    Zone::new(apex, &ZoneOptions::default()).unwrap()
}

fn name(text: &str) -> WireName {
    WireName::of(&Name::from_ascii(text).unwrap())
}

#[test]
fn four_zones_fit_in_the_memory_that_is_promised() {
    let zones = [1, 2, 3, 4].map(|n| zone(&format!("seed{n}.quantumcoin.network")));
    let engine = Engine::new(zones.into(), Identity::default());
    let table = Table::build(&engine, &snapshot(2500), &[], 0).unwrap();
    // 15 filters and 4 types with 64 variants each, NS, SOA and ANY of each zone.
    assert!(table.answers() > 4 * 14 * 4 * 64, "{}", table.answers());
    // The addresses and texts are the same in all four and kept once.
    assert!(table.bytes() < 8 << 20, "{}", table.bytes());
}

#[test]
fn a_zone_within_another_answers_for_its_own_names() {
    let zones = ["example.", "x9.example.", "seed.example."].map(zone);
    let engine = Engine::new(zones.into(), Identity::default());
    let table = Table::build(&engine, &snapshot(9), &[], 0).unwrap();
    for (asked, index) in [
        ("example.", 0),
        ("x1.example.", 0),
        ("x9.example.", 1),
        ("_qtc._tcp.x9.example.", 1),
        ("no.x9.example.", 1),
        ("no.example.", 0),
        ("ns1.seed.example.", 2),
    ] {
        match table.find(&name(asked), kind::TXT) {
            Found::Tail {
                zone, before_apex, ..
            } => {
                assert_eq!(zone, index, "{asked}");
                let apex = ["example.", "x9.example.", "seed.example."][index];
                assert_eq!(before_apex, asked.len() - apex.len(), "{asked}");
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
    assert!(matches!(table.find(&name("org."), kind::A), Found::NotOurs));
    assert!(matches!(
        table.find(&name("x77.example."), kind::A),
        Found::Ask
    ));
    assert!(matches!(
        table.find(&name("p4aaaai.n.example."), kind::A),
        Found::Ask
    ));
}
