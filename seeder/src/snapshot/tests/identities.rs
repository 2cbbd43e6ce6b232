//! Nodes that have several addresses or names.

use super::*;

/// Names cost nothing: whoever has a thousand for one node gets one place for it.
#[test]
fn a_node_with_many_names_is_told_by_one() {
    let names: Vec<OverlayName> = (0..200).map(onion).collect();
    let named = names
        .iter()
        .map(|name| (name.stand_in().into(), *name))
        .collect();
    let mut peers: Vec<GoodPeer> = (0..60).map(|n| peer(v4(20 + n, 1, 1, 1), 0x1001)).collect();
    peers.extend(names.iter().zip(0..).map(|(name, n)| GoodPeer {
        node_id: Some(if n < 199 { [1; 32] } else { [2; 32] }),
        ..peer((name.stand_in(), PORT).into(), 0x1001)
    }));
    let set = GoodSet {
        peers,
        names: named,
        ..GoodSet::default()
    };
    let snapshot = Snapshot::build(
        set,
        &policy(true),
        None,
        1000,
        &mut StdRng::seed_from_u64(3),
    );
    for filter in [0, 0x1000] {
        for pick in 0..64 {
            let texts = snapshot.select(&Selection::default(), filter, Family::Text, pick, TEXTS);
            let ids: HashSet<_> = texts.iter().filter_map(|peer| peer.node_id).collect();
            assert_eq!((texts.len(), ids.len()), (TEXTS, 2));
        }
    }
}

#[test]
fn twins_take_no_places_from_the_least_that_an_answer_holds() {
    // Three netgroups; in one of them a crowd has one identity.
    let mut peers: Vec<GoodPeer> = (0..100)
        .map(|n| GoodPeer {
            node_id: Some([1; 32]),
            ..peer(v4(9, 9, n, 1), 0x1001)
        })
        .collect();
    peers.extend((0..10).map(|n| peer(v4(9, 9, 200 + n, 1), 0x1001)));
    peers.extend([peer(v4(30, 1, 1, 1), 0x1001), peer(v4(31, 1, 1, 1), 0x1001)]);
    let snapshot = build(peers, &policy(true), None, 1000);
    for filter in [0, 0x1000] {
        for pick in 0..64 {
            let chosen = snapshot.select(
                &Selection::default(),
                filter,
                Family::V4,
                pick * 3,
                ADDRESSES,
            );
            assert!(chosen.len() >= LEAST, "filter {filter:x}: {}", chosen.len());
            let twins = chosen.iter().filter(|peer| peer.node_id.is_some());
            assert!(twins.count() <= 1);
        }
    }
}

#[test]
fn one_identity_is_in_an_answer_once() {
    // A third has one identity, and a crowd in one netgroup too.
    let mut peers: Vec<GoodPeer> = (0..120)
        .map(|n| peer(v4(20 + n, 1, 1, 1), 0x1001))
        .collect();
    peers.extend((0..100).map(|n| peer(v4(9, 9, n, 1), 0x1001)));
    for (peer, n) in peers.iter_mut().zip(0..) {
        peer.node_id = Some([if n % 3 == 0 { 7 } else { n }; 32]);
    }
    let snapshot = build(peers, &policy(true), None, 1000);
    // The second is not drawn ahead.
    for filter in [0, 0x1000] {
        for pick in 0..64 {
            let chosen =
                snapshot.select(&Selection::default(), filter, Family::V4, pick, ADDRESSES);
            let ids: HashSet<_> = chosen.iter().map(|peer| peer.node_id).collect();
            assert_eq!((chosen.len(), ids.len()), (ADDRESSES, ADDRESSES));
        }
    }
}

/// Somebody hands connections on to a node, from many addresses.
#[test]
fn who_hands_on_to_a_node_gets_none_of_its_places() {
    let node = v4(200, 1, 1, 1);
    let shown = |addr, quality| GoodPeer {
        quality,
        node_id: Some([1; 32]),
        ..peer(addr, 0x1001)
    };
    let others = || (0..30).map(|n| peer(v4(20 + n, 1, 1, 1), 0x1001));
    let forwarders = |quality| (0..50).map(move |n| shown(v4(60 + n, 1, 1, 1), quality));
    let told = |snapshot: &Snapshot| -> HashSet<SocketAddr> {
        let of = |filter, pick| {
            snapshot.select(&Selection::default(), filter, Family::V4, pick, ADDRESSES)
        };
        // The second is not drawn ahead.
        let all = [0, 0x1000].map(|filter| (0..64).map(move |pick| of(filter, pick)));
        let peers = all.into_iter().flatten().flatten();
        let mine = peers.filter(|peer| peer.node_id == Some([1; 32]));
        mine.map(|peer| peer.addr).collect()
    };
    let first: Vec<GoodPeer> = forwarders(0.6)
        .chain([shown(node, 0.8)])
        .chain(others())
        .collect();
    let snapshot = build(first, &policy(true), None, 1000);
    assert_eq!(told(&snapshot), [node].into());
    assert_eq!(snapshot.len(), 31);
    // A bad day of the node does not hand its places over, its end does.
    let second = forwarders(0.85).chain([shown(node, 0.7)]).chain(others());
    let snapshot = build(second.collect(), &policy(true), Some(&snapshot), 1010);
    assert_eq!(told(&snapshot), [node].into());
    let third = forwarders(0.8).chain(others()).collect();
    let snapshot = build(third, &policy(true), Some(&snapshot), 1020);
    assert_eq!(told(&snapshot), [v4(60, 1, 1, 1)].into());
}
