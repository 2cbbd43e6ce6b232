mod identities;

use std::collections::HashSet;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::{view::draw_variants, *};

pub(crate) const PORT: u16 = 8333;

pub(crate) fn policy(one_per_netgroup: bool) -> Policy {
    Policy {
        network: "devnet".to_owned(),
        default_port: PORT,
        one_per_netgroup,
        variants: VARIANTS,
        host_memory: 100,
        selections: vec![Selection::default()],
    }
}

/// An identity that no other address has.
pub(crate) fn id_of(addr: &str) -> [u8; 32] {
    let mut id = [7; 32];
    id.iter_mut()
        .zip(addr.bytes())
        .for_each(|(own, byte)| *own = byte);
    id
}

fn peer(addr: SocketAddr, services: u64) -> GoodPeer {
    GoodPeer {
        services,
        quality: 0.9,
        height: 7,
        ..GoodPeer::unknown(addr)
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> SocketAddr {
    SocketAddr::from(([a, b, c, d], PORT))
}

fn build(peers: Vec<GoodPeer>, policy: &Policy, previous: Option<&Snapshot>, now: i64) -> Snapshot {
    let set = GoodSet {
        peers,
        generation: 1,
        newest_probe_at: Some(now),
        ..GoodSet::default()
    };
    Snapshot::build(set, policy, previous, now, &mut StdRng::seed_from_u64(3))
}

#[test]
fn answers_rotate_over_all_peers() {
    let peers: Vec<GoodPeer> = (0..200).map(|n| peer(v4(20 + n, 1, 1, 1), 9)).collect();
    let snapshot = build(peers, &policy(true), None, 1000);
    let mut seen = HashSet::new();
    for pick in 0..64 {
        let chosen = snapshot.select(&Selection::default(), 0, Family::V4, pick, ADDRESSES);
        assert_eq!(chosen.len(), ADDRESSES);
        let distinct: HashSet<_> = chosen.iter().map(|p| p.addr).collect();
        assert_eq!(distinct.len(), ADDRESSES, "nobody twice in one answer");
        seen.extend(distinct);
    }
    assert!(
        seen.len() > 190,
        "{} of 200 peers in 64 answers",
        seen.len()
    );
}

#[test]
fn an_answer_has_one_peer_a_netgroup_but_at_least_eight() {
    let mut peers: Vec<GoodPeer> = (0..100).map(|n| peer(v4(9, 9, n, 1), 1)).collect();
    peers.push(peer(v4(30, 1, 1, 1), 1));
    let snapshot = build(peers.clone(), &policy(true), None, 1000);
    for filter in [0, 1] {
        let chosen = snapshot.select(&Selection::default(), filter, Family::V4, 5, ADDRESSES);
        assert_eq!(chosen.len(), LEAST, "two netgroups, topped up");
        assert!(
            chosen.iter().any(|p| p.addr == v4(30, 1, 1, 1)),
            "the other netgroup is in"
        );
    }
    peers.extend((0..50).map(|n| peer(v4(40 + n, 1, 1, 1), 1)));
    let snapshot = build(peers, &policy(true), None, 1000);
    for pick in 0..64 {
        let chosen = snapshot.select(&Selection::default(), 0, Family::V4, pick, ADDRESSES);
        let groups: HashSet<_> = chosen.iter().map(|p| p.netgroup()).collect();
        assert_eq!(groups.len(), chosen.len());
    }
}

#[test]
fn odd_filters_are_answered_by_the_same_rules_as_usual_ones() {
    // 0x1000 is not drawn ahead.
    let mut peers: Vec<GoodPeer> = (0..100).map(|n| peer(v4(9, 9, n, 1), 0x1001)).collect();
    peers.extend((0..4).map(|n| peer(v4(40 + n, 1, 1, 1), 0x1001)));
    peers.extend((0..50).map(|n| peer(v4(100 + n, 1, 1, 1), 1)));
    let snapshot = build(peers, &policy(true), None, 1000);
    for pick in [0, 7, 153, u64::MAX] {
        let chosen = snapshot.select(&Selection::default(), 0x1000, Family::V4, pick, ADDRESSES);
        assert!(chosen.iter().all(|p| p.services & 0x1000 != 0));
        assert_eq!(chosen.len(), LEAST);
        let groups: HashSet<_> = chosen.iter().map(|p| p.netgroup()).collect();
        assert_eq!(
            groups.len(),
            5,
            "each netgroup is in before any comes twice"
        );
    }
    assert!(
        snapshot
            .select(&Selection::default(), 0x2000, Family::V4, 1, ADDRESSES)
            .is_empty()
    );
}

#[test]
fn a_filter_for_pruned_nodes_is_answered() {
    // NODE_NETWORK_LIMITED without NODE_NETWORK.
    let peers = (0..10).map(|n| peer(v4(20 + n, 1, 1, 1), 0x400)).collect();
    let snapshot = build(peers, &policy(true), None, 1000);
    assert_eq!(
        snapshot
            .select(&Selection::default(), 0x400, Family::V4, 1, ADDRESSES)
            .len(),
        10
    );
    assert!(
        snapshot
            .select(&Selection::default(), 0x1, Family::V4, 1, ADDRESSES)
            .is_empty()
    );
}

#[test]
fn addresses_name_default_ports_only_and_services_any() {
    let odd = SocketAddr::from(([20, 1, 1, 1], 9999));
    let six: SocketAddr = "[2001:db8::1]:8333".parse().unwrap();
    let peers = vec![peer(v4(21, 1, 1, 1), 1), peer(odd, 1), peer(six, 1)];
    let snapshot = build(peers, &policy(true), None, 1000);
    for filter in [0, 1] {
        let of = |family| -> HashSet<SocketAddr> {
            snapshot
                .select(&Selection::default(), filter, family, 9, ADDRESSES)
                .iter()
                .map(|p| p.addr)
                .collect()
        };
        assert_eq!(of(Family::V4), HashSet::from([v4(21, 1, 1, 1)]));
        assert_eq!(of(Family::V6), HashSet::from([six]));
        assert_eq!(of(Family::Any).len(), 3);
    }
}

#[test]
fn hosts_stay_resolvable_for_a_while_after_they_left() {
    let policy = policy(true);
    let first = build(vec![peer(v4(21, 1, 1, 1), 1)], &policy, None, 1000);
    let second = build(vec![peer(v4(22, 1, 1, 1), 1)], &policy, Some(&first), 1100);
    assert!(second.knows_host(IpAddr::from([21, 1, 1, 1])));
    assert!(second.knows_host(IpAddr::from([22, 1, 1, 1])));
    let third = build(vec![peer(v4(22, 1, 1, 1), 1)], &policy, Some(&second), 1101);
    assert!(
        !third.knows_host(IpAddr::from([21, 1, 1, 1])),
        "100 s are over"
    );
    assert!(
        !third.knows_host(IpAddr::from([8, 8, 8, 8])),
        "never one of ours"
    );
}

#[test]
fn the_serial_always_grows() {
    let policy = policy(true);
    let first = Snapshot::empty(&policy, 1000);
    assert_eq!(first.serial, 1000);
    let second = build(vec![], &policy, Some(&first), 1000);
    assert_eq!(second.serial, 1001, "the same second");
    let third = build(vec![], &policy, Some(&second), 500);
    assert_eq!(third.serial, 1002, "the clock went back");
    let fourth = build(vec![], &policy, Some(&third), 2000);
    assert_eq!(fourth.serial, 2000);
    let late = build(vec![], &policy, None, i64::from(u32::MAX));
    let wrapped = build(vec![], &policy, Some(&late), i64::from(u32::MAX) + 5);
    assert_eq!(wrapped.serial, 4, "RFC 1982: greater than 2^32 - 1");
}

#[test]
fn bootstrap_nodes_are_served_without_claims_about_them() {
    let nodes = [v4(21, 1, 1, 1), v4(22, 1, 1, 1)];
    let mut rng = StdRng::seed_from_u64(1);
    let snapshot = Snapshot::bootstrap(&nodes, &policy(true), None, 1000, &mut rng);
    assert_eq!((snapshot.origin, snapshot.stale), (Origin::Bootstrap, true));
    assert_eq!(
        snapshot
            .select(&Selection::default(), 0, Family::V4, 0, ADDRESSES)
            .len(),
        2
    );
    assert!(
        snapshot
            .select(&Selection::default(), 1, Family::V4, 0, ADDRESSES)
            .is_empty()
    );
    let none = Snapshot::bootstrap(&[], &policy(true), None, 1000, &mut rng);
    assert_eq!((none.origin, none.len()), (Origin::Nothing, 0));
}

proptest! {
    #[test]
    fn whatever_the_peers_a_selection_fits_and_is_bounded(
        raw in proptest::collection::hash_set((any::<u32>(), any::<bool>()), 0..120),
        services in any::<u64>(), filter in any::<u64>(), pick in any::<u64>(),
        grouped in any::<bool>(), limit in 0..30_usize,
    ) {
        let peers: Vec<GoodPeer> = raw
            .iter()
            .map(|(ip, port)| {
                let addr = SocketAddr::from((std::net::Ipv4Addr::from(*ip), if *port { PORT } else { 1 }));
                peer(addr, services.rotate_left(*ip % 64))
            })
            .collect();
        let small = Policy { variants: 3, ..policy(grouped) };
        let snapshot = build(peers, &small, None, 1);
        for filter in [0, 1, filter & services, filter] {
            for family in FAMILIES {
                let chosen = snapshot.select(&Selection::default(), filter, family, pick, limit);
                prop_assert!(chosen.len() <= limit.max(LEAST));
                prop_assert!(chosen.iter().all(|p| fits(p, filter, family, PORT)));
                let distinct: HashSet<_> = chosen.iter().map(|p| p.addr).collect();
                prop_assert_eq!(distinct.len(), chosen.len());
                let fitting =
                    snapshot.peers().iter().filter(|p| fits(p, filter, family, PORT)).count();
                prop_assert!(chosen.len() >= fitting.min(LEAST).min(limit));
            }
        }
    }
}

/// 100,000 answers out of 5,000 good peers in as many netgroups, of which each of 64 variants is handed out eight times before
/// the next drawing. A peer's due share is its weight, one to two, among all weights.
#[test]
fn every_peer_gets_its_due_share() {
    const PEERS: u32 = 5000;
    const ANSWERS: usize = 100_000;
    const TURNS: usize = 8;
    let peers: Vec<GoodPeer> = (0..PEERS)
        .map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            GoodPeer {
                quality: f64::from(n % 101) / 100.0,
                ..peer(v4(20 + a, b, 1, 1), 9)
            }
        })
        .collect();
    let index: HashMap<SocketAddr, u32> = peers.iter().map(|peer| peer.addr).zip(0..).collect();
    let weights: f64 = peers.iter().map(|peer| 1.0 + peer.quality).sum();
    let mut rng = StdRng::seed_from_u64(11);
    let mut served = vec![0_usize; PEERS as usize];
    let mut answers = 0;
    while answers < ANSWERS {
        let variants = draw_variants(&peers, &index, &policy(true), &mut rng);
        assert_eq!(variants.len(), VARIANTS);
        for variant in &variants {
            let groups: HashSet<_> = variant
                .iter()
                .map(|n| peers[*n as usize].netgroup())
                .collect();
            assert_eq!(groups.len(), ADDRESSES, "nobody twice, and no netgroup");
            for peer in variant {
                served[*peer as usize] += TURNS;
            }
        }
        assert!(variants.windows(2).all(|pair| pair[0] != pair[1]));
        answers += variants.len() * TURNS;
    }
    let places = (answers * ADDRESSES) as f64;
    for (peer, served) in peers.iter().zip(served) {
        let due = places * (1.0 + peer.quality) / weights;
        let ratio = served as f64 / due;
        assert!((0.5..=2.0).contains(&ratio), "{}: {ratio}", peer.quality);
    }
}

fn onion(n: u8) -> OverlayName {
    OverlayName::Onion([n; 32])
}

/// With overlay peers `onions` and one of I2P; their netgroup is one.
fn with_names(addresses: u8, onions: u8, policy: &Policy) -> Snapshot {
    let names = (0..onions).map(onion).chain([OverlayName::I2p([9; 32])]);
    let named: HashMap<IpAddr, OverlayName> =
        names.map(|name| (name.stand_in().into(), name)).collect();
    let mut peers: Vec<GoodPeer> = (0..addresses)
        .map(|n| peer(v4(20 + n, 1, 1, 1), 0x1001))
        .collect();
    peers.extend(named.keys().map(|ip| peer((*ip, PORT).into(), 0x1001)));
    // Nobody knows how this one is called.
    peers.push(peer((onion(200).stand_in(), PORT).into(), 0x1001));
    let set = GoodSet {
        peers,
        names: named,
        ..GoodSet::default()
    };
    Snapshot::build(set, policy, None, 1000, &mut StdRng::seed_from_u64(3))
}

#[test]
fn peers_with_names_are_told_in_texts_alone() {
    let snapshot = with_names(60, 20, &policy(true));
    assert_eq!(snapshot.len(), 81);
    let mut told = HashSet::new();
    // The second is not drawn ahead.
    for filter in [0, 1, 0x1000] {
        for pick in 0..64 {
            let of = |family| snapshot.select(&Selection::default(), filter, family, pick, TEXTS);
            for family in [Family::V4, Family::V6, Family::Any] {
                assert!(of(family).iter().all(|peer| !is_stand_in(peer.addr.ip())));
            }
            let texts = of(Family::Text);
            assert_eq!(texts.len(), TEXTS);
            let names: Vec<_> = texts
                .iter()
                .filter_map(|peer| snapshot.address(peer).name())
                .collect();
            assert_eq!(names.len(), OVERLAY_TEXTS, "filter {filter:x}");
            if filter < 0x1000 {
                let kinds: HashSet<_> = names.iter().map(std::mem::discriminant).collect();
                assert_eq!(kinds.len(), 2, "one of each network");
            }
            told.extend(names);
        }
    }
    assert!(
        told.len() > 18 && !told.contains(&onion(200)),
        "{}",
        told.len()
    );
    assert!(!snapshot.knows_host(onion(1).stand_in().into()));
}

#[test]
fn a_network_of_names_alone_is_told_whole() {
    let snapshot = with_names(0, 20, &policy(true));
    let select =
        |filter, family, pick| snapshot.select(&Selection::default(), filter, family, pick, TEXTS);
    for filter in [0, 0x1000] {
        let mut told = HashSet::new();
        for pick in 0..64 {
            let texts = select(filter, Family::Text, pick);
            assert_eq!(texts.len(), 7, "as many as fit in a datagram");
            told.extend(texts.iter().map(|peer| peer.addr));
        }
        assert!(told.len() > 18, "{}", told.len());
        assert!(select(filter, Family::V6, 3).is_empty());
        assert!(!snapshot.has(&Selection::default(), filter, Family::Any));
        assert!(snapshot.has(&Selection::default(), filter, Family::Text));
    }
}

#[test]
fn slices_are_disjoint_and_together_everybody() {
    let slices: Vec<Selection> = (1..=3)
        .map(|n| Selection {
            slice: format!("{n}/3").parse().unwrap(),
            ..Selection::default()
        })
        .collect();
    let policy = Policy {
        selections: slices.clone(),
        ..policy(true)
    };
    let peers: Vec<GoodPeer> = (0..180)
        .map(|n| peer(v4(20 + n, 1, 1, 1), 0x1009))
        .collect();
    let snapshot = build(peers, &policy, None, 1000);
    let mut seen = HashSet::new();
    for slice in &slices {
        let mut own = HashSet::new();
        // The last is not drawn ahead.
        for filter in [0, 9, 0x1000] {
            for pick in 0..180 {
                let chosen = snapshot.select(slice, filter, Family::V4, pick, ADDRESSES);
                assert_eq!(chosen.len(), ADDRESSES);
                own.extend(chosen.iter().map(|peer| peer.addr));
            }
        }
        assert!(
            own.iter()
                .all(|addr| slice.holds(*addr, 9) && seen.insert(*addr))
        );
    }
    assert!(seen.len() > 170, "{} of 180", seen.len());
    let other = Selection {
        services: 1,
        ..Selection::default()
    };
    assert!(
        snapshot
            .select(&other, 0, Family::V4, 0, ADDRESSES)
            .is_empty(),
        "never drawn"
    );
}

#[test]
fn a_zone_may_demand_services_and_name_its_filters() {
    let selection = Selection {
        services: 1,
        filters: vec![0x20],
        ..Selection::default()
    };
    let policy = Policy {
        selections: vec![selection.clone()],
        ..policy(true)
    };
    let peers = (0..90).map(|n| peer(v4(20 + n, 1, 1, 1), [0x20, 0x21, 0x1][usize::from(n % 3)]));
    let snapshot = build(peers.collect(), &policy, None, 1000);
    for filter in [0, 0x20, 0x1, 0x9] {
        let chosen = snapshot.select(&selection, filter, Family::V4, 1, ADDRESSES);
        assert!(chosen.iter().all(|peer| peer.services & 1 == 1));
        assert_eq!(chosen.is_empty(), filter == 9);
        assert_eq!(snapshot.has(&selection, filter, Family::V4), filter != 9);
    }
    assert!(snapshot.variants(&selection, 0x20, Family::V4) > 1);
    assert_eq!(
        snapshot.variants(&selection, 0x1, Family::V4),
        1,
        "not drawn ahead"
    );
}

#[test]
fn who_is_kept_is_drawn_anew_where_zones_serve_others() {
    let peers = (0..90).map(|n| peer(v4(20 + n, 1, 1, 1), 9)).collect();
    let mut snapshot = build(peers, &policy(true), None, 1000);
    let half = Selection {
        slice: "1/2".parse().unwrap(),
        ..Selection::default()
    };
    let other = Policy {
        selections: vec![half.clone()],
        ..policy(true)
    };
    snapshot.keep(&other, 2000, &mut StdRng::seed_from_u64(1));
    assert!(snapshot.stale && snapshot.knows_host(IpAddr::from([20, 1, 1, 1])));
    let chosen = snapshot.select(&half, 0, Family::V4, 1, ADDRESSES);
    assert!(chosen.len() == ADDRESSES && chosen.iter().all(|peer| half.holds(peer.addr, 9)));
}
