//! Addresses of one identity ("twins"): of each family, and of the default port and others, one is served.
//!
//! Whoever hands connections on to somebody else's node shows that node's identity, and would share its places in answers: with many
//! such addresses nearly all of them. So the one that was served before stays as long as it is good; else the one
//! that has been reachable longest comes first, which is what quality grows with; and of equals the lower address. An
//! address that hands on is good at most as long as the node is, and came later.

use std::{
    cmp::Reverse,
    collections::HashSet,
    mem::{Discriminant, discriminant},
    net::SocketAddr,
};

use quantumcoin::reachability::{
    GoodPeer,
    overlay::{OverlayKind, kind_of},
};

/// An address that was served, and the node that was there: with another node it is another one.
pub(super) type Served = (SocketAddr, Option<[u8; 32]>);

/// What makes two addresses of a node serve the same clients.
type Way = (bool, Option<Discriminant<OverlayKind>>, bool);

/// Lets one address of each identity and way stay, and puts the peers in an order that is no secret: shuffle them.
pub(super) fn keep_one_of_each(
    peers: &mut Vec<GoodPeer>,
    default_port: u16,
    served: &HashSet<Served>,
) {
    // Numbers from 0 up have bits that grow with them.
    let quality = |peer: &GoodPeer| peer.quality.max(0.0).to_bits();
    peers.sort_by_cached_key(|peer| {
        let before = served.contains(&(peer.addr, peer.node_id));
        (Reverse(before), Reverse(quality(peer)), peer.addr)
    });
    let mut seen = HashSet::new();
    peers.retain(|peer| {
        let way = way(peer.addr, default_port);
        peer.node_id.is_none_or(|id| seen.insert((id, way)))
    });
}

fn way(addr: SocketAddr, default_port: u16) -> Way {
    let named = kind_of(addr.ip()).map(|kind| discriminant(&kind));
    (addr.is_ipv4(), named, addr.port() == default_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 8333;

    fn twin(addr: &str, quality: f64) -> GoodPeer {
        GoodPeer {
            quality,
            node_id: Some([1; 32]),
            ..GoodPeer::unknown(addr.parse().unwrap())
        }
    }

    fn kept(mut peers: Vec<GoodPeer>, served: &[&str]) -> Vec<String> {
        let served = served
            .iter()
            .map(|addr| (addr.parse().unwrap(), Some([1; 32])));
        let served = served.collect();
        keep_one_of_each(&mut peers, PORT, &served);
        let mut kept: Vec<String> = peers.iter().map(|peer| peer.addr.to_string()).collect();
        kept.sort();
        kept
    }

    #[test]
    fn the_longest_proven_address_is_kept() {
        let old = || twin("10.0.0.9:8333", 0.9);
        let late = |n: u8| twin(&format!("10.{n}.0.1:8333"), 0.8);
        for place in 0..3 {
            let mut peers = vec![late(1), late(2)];
            peers.insert(place, old());
            assert_eq!(kept(peers, &[]), ["10.0.0.9:8333"], "wherever it stands");
        }
        assert_eq!(kept(vec![late(2), late(1)], &[]), ["10.1.0.1:8333"]);
    }

    #[test]
    fn who_was_served_stays_while_it_is_good() {
        let (old, new) = (twin("10.9.0.1:8333", 0.8), twin("10.1.0.1:8333", 0.9));
        let both = || vec![new.clone(), old.clone()];
        assert_eq!(kept(both(), &["10.9.0.1:8333"]), ["10.9.0.1:8333"]);
        assert_eq!(
            kept(vec![new.clone()], &["10.9.0.1:8333"]),
            ["10.1.0.1:8333"]
        );
    }

    /// Somebody whose own node was served for long begins to hand connections on.
    #[test]
    fn an_address_with_another_node_than_before_is_new() {
        let (node, proxy) = (twin("10.9.0.1:8333", 0.7), twin("10.1.0.1:8333", 0.9));
        let served = [(node.addr, Some([1; 32])), (proxy.addr, Some([2; 32]))].into();
        let mut peers = vec![proxy, node.clone()];
        keep_one_of_each(&mut peers, PORT, &served);
        assert_eq!(peers, [node]);
    }

    #[test]
    fn each_way_has_its_own() {
        let all = [
            "10.0.0.1:8333",
            "10.0.0.1:9000",
            "[2001:db8::1]:8333",
            "[2001:db8::1]:9000",
        ];
        let peers = || all.iter().map(|addr| twin(addr, 0.5)).collect();
        assert_eq!(kept(peers(), &[]), all);
        let names = [
            quantumcoin::reachability::overlay::OverlayName::Onion([7; 32]),
            quantumcoin::reachability::overlay::OverlayName::I2p([8; 32]),
        ];
        let named = names.map(|name| twin(&format!("[{}]:8333", name.stand_in()), 0.5));
        assert_eq!(kept(named.to_vec(), &[]).len(), 2);
        // Nobody knows whose these are.
        let unknown: Vec<GoodPeer> = (1..=3)
            .map(|n| GoodPeer::unknown(SocketAddr::from(([10, n, 0, 1], PORT))))
            .collect();
        assert_eq!(kept(unknown, &[]).len(), 3);
    }
}
