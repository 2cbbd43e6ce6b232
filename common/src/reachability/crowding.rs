//! How many good peers of one netgroup are too many. Pure.
//!
//! An owner of one netgroup can run ten thousand good peers in it. Drawn by netgroup ([`super::selection`]) they gain nothing,
//! but not everybody who reads a good set draws so. Here each netgroup is cut to a share of what is left when all are cut.

use std::collections::HashMap;

use super::{GoodPeer, Netgroup};

/// So many peers of one netgroup are never too many: a young network may have all of its nodes with a few hosters.
pub const NEVER_CROWDED: usize = 16;

/// Leaves out of each netgroup the peers that are more than `percent` of all that stay; those of the best quality stay.
/// Returns how many were left out.
pub fn thin_out(peers: &mut Vec<GoodPeer>, percent: u8) -> usize {
    let mut sizes: HashMap<Netgroup, usize> = HashMap::new();
    for peer in peers.iter() {
        *sizes.entry(peer.netgroup()).or_default() += 1;
    }
    let most = most(sizes.values().copied(), percent);
    if sizes.values().all(|size| *size <= most) {
        return 0;
    }
    let before = peers.len();
    // The address decides between equals, so that two looks at one crawl see the same set.
    peers.sort_by(|a, b| {
        let better = b.quality.total_cmp(&a.quality);
        better.then_with(|| a.addr.cmp(&b.addr))
    });
    let mut kept: HashMap<Netgroup, usize> = HashMap::new();
    peers.retain(|peer| {
        let kept = kept.entry(peer.netgroup()).or_default();
        *kept += 1;
        *kept <= most
    });
    before - peers.len()
}

/// Most peers of a netgroup, so that none holds more than this share when all are cut to it.
fn most(sizes: impl Iterator<Item = usize> + Clone, percent: u8) -> usize {
    let percent = usize::from(percent.clamp(1, 100));
    let mut most = sizes.clone().max().unwrap_or(0);
    // Each step cuts less than the one before and none goes below the answer.
    loop {
        let stay: usize = sizes.clone().map(|size| size.min(most)).sum();
        let next = (stay * percent / 100).max(NEVER_CROWDED);
        if next >= most {
            return most;
        }
        most = next;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn peer(group: u8, host: u16, quality: f64) -> GoodPeer {
        let [c, d] = host.to_be_bytes();
        GoodPeer {
            quality,
            ..GoodPeer::unknown(SocketAddr::from(([9, group, c, d], 8333)))
        }
    }

    fn of(peers: &[GoodPeer], group: u8) -> usize {
        let group = Netgroup::V4([9, group]);
        let all = peers.iter();
        all.filter(|p| Netgroup::of(p.addr.ip()) == group).count()
    }

    #[test]
    fn ten_thousand_of_one_owner_are_a_tenth_of_what_is_left() {
        let honest = (1..=200).flat_map(|group| (0..5).map(move |host| peer(group, host, 0.5)));
        let mut peers: Vec<GoodPeer> = honest.collect();
        peers.extend((0..10_000).map(|host| peer(0, host, 1.0)));
        let left_out = thin_out(&mut peers, 10);
        let swarm = of(&peers, 0);
        assert_eq!((peers.len() - swarm, left_out), (1_000, 10_000 - swarm));
        assert!((100..=111).contains(&swarm), "{swarm}");
    }

    #[test]
    fn the_best_stay() {
        let honest = (1..=200).map(|group| peer(group, 1, 0.5));
        let mut peers: Vec<GoodPeer> = honest.collect();
        let quality = |host: u16| f64::from(host) / 1_000.0;
        peers.extend((0..1_000).map(|host| peer(0, host, quality(host))));
        thin_out(&mut peers, 10);
        let least = 1_000 - of(&peers, 0);
        let group = Netgroup::V4([9, 0]);
        let all = peers.iter();
        let mut crowd = all.filter(|p| Netgroup::of(p.addr.ip()) == group);
        assert!(crowd.all(|peer| peer.quality >= quality(least as u16)));
    }

    #[test]
    fn a_young_network_with_few_hosters_stays_whole() {
        let hosts = |group| (0..16).map(move |host| peer(group, host, 0.5));
        let mut peers: Vec<GoodPeer> = hosts(1).chain(hosts(2)).collect();
        assert_eq!(thin_out(&mut peers, 10), 0);
        let mut one: Vec<GoodPeer> = (0..500).map(|host| peer(1, host, 0.5)).collect();
        assert_eq!(thin_out(&mut one, 100), 0);
        assert_eq!(thin_out(&mut one, 10), 484);
    }

    #[test]
    fn a_system_with_many_netgroups_is_one() {
        let of_system = |group| GoodPeer {
            place: crate::reachability::Place {
                system: Some(64_500),
                country: None,
            },
            ..peer(group, 1, 0.5)
        };
        let mut peers: Vec<GoodPeer> = (0..200).map(of_system).collect();
        peers.extend((0..40).map(|group| GoodPeer::unknown(([8, group, 0, 1], 1).into())));
        assert_eq!(thin_out(&mut peers, 10), 184);
        assert_eq!(peers.len(), 56);
    }

    proptest! {
        #[test]
        fn no_netgroup_holds_more_than_its_share(
            sizes in prop::collection::vec(0usize..2_000, 0..60), percent in 1u8..=100,
        ) {
            let most = most(sizes.iter().copied(), percent);
            let stay: usize = sizes.iter().map(|size| (*size).min(most)).sum();
            let largest = sizes.iter().copied().max().unwrap_or(0);
            let share = stay * usize::from(percent) / 100;
            prop_assert!(most.min(largest) <= share.max(NEVER_CROWDED));
            // And no more are left out than must be.
            let more: usize = sizes.iter().map(|size| (*size).min(most + 1)).sum();
            let due = (more * usize::from(percent) / 100).max(NEVER_CROWDED);
            prop_assert!(most >= largest || most + 1 > due);
        }
    }
}
