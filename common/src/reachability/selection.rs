//! A fair, diverse draw among good peers.
//!
//! Two stages, so that filling one network with peers gains nothing: first netgroups are drawn, each with
//! the weight of its best peer however many it holds, then one peer inside each. Weights grow with quality
//! but stay within one to two, so a few excellent peers never take over the answers. The caller gives
//! the randomness.

use std::collections::BTreeMap;

use rand::Rng;

use super::{GoodPeer, Netgroup};

/// What a draw may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Most peers.
    pub count: usize,
    /// Whether at most one peer of a netgroup is drawn. Off on devnets, where all share one.
    pub one_per_netgroup: bool,
}

/// Draws distinct peers in random order.
pub fn draw<'a, R: Rng + ?Sized>(
    peers: &'a [GoodPeer],
    params: Draw,
    rng: &mut R,
) -> Vec<&'a GoodPeer> {
    let mut groups: BTreeMap<(Netgroup, usize), Vec<&GoodPeer>> = BTreeMap::new();
    for (index, peer) in peers.iter().enumerate() {
        let distinct = if params.one_per_netgroup { 0 } else { index };
        groups
            .entry((peer.netgroup(), distinct))
            .or_default()
            .push(peer);
    }
    let mut drawn: Vec<(f64, &GoodPeer)> = groups
        .into_values()
        .filter_map(|members| {
            let heaviest = members.iter().map(|p| weight(p)).fold(0.0, f64::max);
            let member = best_key(&members, rng)?;
            Some((key(heaviest, rng), member))
        })
        .collect();
    drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
    drawn.truncate(params.count);
    drawn.into_iter().map(|(_, peer)| peer).collect()
}

/// One to two: the most that quality may favour a peer over another.
fn weight(peer: &GoodPeer) -> f64 {
    1.0 + peer.quality.clamp(0.0, 1.0)
}

/// Efraimidis and Spirakis (2006): taking the largest `u^(1/w)` is a weighted draw without replacement.
fn key<R: Rng + ?Sized>(weight: f64, rng: &mut R) -> f64 {
    rng.random::<f64>()
        .powf(weight.max(f64::MIN_POSITIVE).recip())
}

fn best_key<'a, R: Rng + ?Sized>(members: &[&'a GoodPeer], rng: &mut R) -> Option<&'a GoodPeer> {
    members
        .iter()
        .map(|peer| (key(weight(peer), rng), *peer))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, peer)| peer)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::net::{Ipv4Addr, SocketAddr};

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn peer(ip: [u8; 4], quality: f64) -> GoodPeer {
        GoodPeer {
            quality,
            ..GoodPeer::unknown(SocketAddr::from((Ipv4Addr::from(ip), 8333)))
        }
    }

    const DIVERSE: Draw = Draw {
        count: 10,
        one_per_netgroup: true,
    };

    #[test]
    fn quality_is_favoured_within_bounds() {
        let peers: Vec<GoodPeer> = (0..100)
            .map(|i| peer([20 + i, 0, 0, 1], if i < 5 { 1.0 } else { 0.0 }))
            .collect();
        let mut hits: HashMap<SocketAddr, u32> = HashMap::new();
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..20_000 {
            for p in draw(&peers, DIVERSE, &mut rng) {
                *hits.entry(p.addr).or_default() += 1;
            }
        }
        let mean = |range: std::ops::Range<usize>| {
            let n = range.len() as f64;
            f64::from(range.map(|i| hits[&peers[i].addr]).sum::<u32>()) / n
        };
        let ratio = mean(0..5) / mean(5..100);
        assert!((1.5..=2.0).contains(&ratio), "best against worst: {ratio}");
    }

    #[test]
    fn a_crowded_netgroup_gains_nothing() {
        let mut peers: Vec<GoodPeer> = (0..50).map(|i| peer([20 + i, 0, 0, 1], 0.5)).collect();
        peers.extend((0..=255).map(|i| peer([9, 9, 9, i], 0.5)));
        let mut rng = StdRng::seed_from_u64(7);
        let crowded = (0..10_000)
            .filter(|_| {
                draw(&peers, DIVERSE, &mut rng)
                    .iter()
                    .any(|p| p.addr.ip() == Ipv4Addr::new(9, 9, 9, 9))
            })
            .count();
        let whole = (0..10_000)
            .filter(|_| {
                draw(&peers, DIVERSE, &mut rng)
                    .iter()
                    .any(|p| Netgroup::of(p.addr.ip()) == Netgroup::V4([9, 9]))
            })
            .count();
        // 10 of 51 groups: about 1,961 of 10,000 draws hold it, as any other group.
        assert!((1_700..2_250).contains(&whole), "{whole}");
        assert!(crowded < 50, "{crowded}");
    }

    #[test]
    fn a_devnet_of_one_netgroup_still_fills_the_answer() {
        let peers: Vec<GoodPeer> = (1..=8).map(|i| peer([127, 0, 0, i], 1.0)).collect();
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(draw(&peers, DIVERSE, &mut rng).len(), 1);
        let relaxed = Draw {
            count: 5,
            one_per_netgroup: false,
        };
        assert_eq!(draw(&peers, relaxed, &mut rng).len(), 5);
    }

    proptest! {
        #[test]
        fn draws_are_distinct_bounded_and_diverse(
            ips in prop::collection::vec((any::<[u8; 4]>(), -1f64..2.0), 0..100),
            count in 0usize..40, one_per_netgroup in any::<bool>(), seed in any::<u64>(),
        ) {
            let peers: Vec<GoodPeer> = ips.iter().map(|(ip, q)| peer(*ip, *q)).collect();
            let groups: HashSet<Netgroup> = peers.iter().map(|p| Netgroup::of(p.addr.ip())).collect();
            let params = Draw { count, one_per_netgroup };
            let drawn = draw(&peers, params, &mut StdRng::seed_from_u64(seed));
            let possible = if one_per_netgroup { groups.len() } else { peers.len() };
            prop_assert_eq!(drawn.len(), possible.min(count));
            let distinct: HashSet<*const GoodPeer> = drawn.iter().map(|p| std::ptr::from_ref(*p)).collect();
            prop_assert_eq!(distinct.len(), drawn.len());
            if one_per_netgroup {
                let seen: HashSet<Netgroup> = drawn.iter().map(|p| Netgroup::of(p.addr.ip())).collect();
                prop_assert_eq!(seen.len(), drawn.len());
            }
        }
    }
}
