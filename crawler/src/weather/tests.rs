use super::*;

const LOST: Outcome = Outcome::TimeoutConnect;

#[test]
fn ipv6_can_be_down_alone() {
    use Road::{V4, V6};
    let mut w = Weathers::default();
    for i in 1..SUSPECTS {
        assert_eq!(w.observe(V6, i, Outcome::Unreachable, true, 0).change, None);
        assert_eq!(w.observe(V4, i, Outcome::Ok, true, 0).count, [i]);
    }
    let ruling = w.observe(V6, SUSPECTS, Outcome::Unreachable, true, 1);
    assert_eq!((ruling.void.len(), ruling.change), (SUSPECTS, Some(true)));
    assert!(w.is_down(V6) && !w.is_down(V4));
    assert!(!w.is_frozen(1), "the rest goes on");
    // A failure by IPv4 counts, and what connects by it says nothing of IPv6.
    assert_eq!(w.observe(V4, 98, Outcome::Refused, true, 2).count, [98]);
    assert_eq!(w.observe(V6, 99, Outcome::Unreachable, true, 2).void, [99]);
    let ruling = w.observe(V6, 100, Outcome::Ok, true, 3);
    assert_eq!((ruling.count, ruling.change), (vec![100], Some(false)));
}

#[test]
fn when_nothing_connects_by_any_road_the_crawl_is_frozen() {
    use Road::{V4, V6};
    let mut w = Weathers::default();
    w.observe(V6, 0, Outcome::Ok, true, 0);
    for i in 0..SUSPECTS {
        w.observe(V4, i, LOST, true, 10);
    }
    assert!(w.is_down(V4));
    // IPv6 has few good peers: it is not down by itself, but has not connected since.
    assert!(!w.is_frozen(10 + HOLD_SECS) && w.is_frozen(11 + HOLD_SECS));
    w.observe(V6, 0, Outcome::Refused, true, 100);
    assert!(!w.is_frozen(100));
    let mut alone = Weathers::default();
    for i in 0..SUSPECTS {
        alone.observe(V4, i, LOST, true, 10);
    }
    assert!(alone.is_frozen(10), "nobody ever connected by another road");
}

#[test]
fn on_a_small_network_canaries_tell_whose_failure_it_is() {
    let mut w = Weather::default();
    // Two more good peers fail as well: we are down.
    assert_eq!(w.observe(1, LOST, true, 0).count.len(), 0);
    assert!(!w.wants_canaries(CANARIES_AFTER_SECS - 1) && w.wants_canaries(CANARIES_AFTER_SECS));
    assert_eq!(w.canaries_sent(2, 5), None);
    assert!(!w.wants_canaries(CANARIES_AFTER_SECS));
    assert_eq!(w.observe(2, LOST, true, 8).change, None);
    let ruling = w.observe(3, LOST, true, 9);
    assert_eq!((ruling.void, ruling.change), (vec![1, 2, 3], Some(true)));
    // Back again, one of them answers: it was the peer.
    assert_eq!(w.observe(4, Outcome::Ok, true, 10).change, Some(false));
    assert_eq!(w.observe(5, LOST, true, 20).count.len(), 0);
    assert_eq!(w.canaries_sent(2, 25), None);
    assert_eq!(w.observe(6, Outcome::Ok, true, 26).count, [5, 6]);
    // Nobody else is there to ask: the failure counts after a minute, and the next one is asked about anew.
    assert_eq!(w.observe(7, LOST, true, 30).count.len(), 0);
    assert_eq!(w.canaries_sent(0, 35), None);
    assert_eq!(w.release(30 + HOLD_SECS + 1), [7]);
    assert_eq!(w.observe(8, LOST, true, 100).count.len(), 0);
    assert!(w.wants_canaries(110));
}

#[test]
fn when_all_good_peers_have_failed_already_no_canary_is_needed() {
    let mut w = Weather::default();
    for i in 1..=4 {
        assert_eq!(w.observe(i, LOST, true, i).change, None);
    }
    let ruling = w.canaries_sent(0, 6).unwrap();
    assert_eq!((ruling.void.len(), ruling.change), (4, Some(true)));
    assert!(w.is_down());
}

#[test]
fn a_road_that_is_down_alone_for_long_is_doubted() {
    use Road::{V4, V6};
    let mut w = Weathers::default();
    w.observe(V6, 0, LOST, true, 0);
    w.observe(V6, 1, LOST, true, 1);
    assert!(w.canaries_sent(V6, 0, 5).is_some());
    w.observe(V4, 2, Outcome::Ok, true, 10);
    assert_eq!(w.observe(V6, 3, LOST, true, ALONE_SECS).void, [3]);
    // Its peers are gone, and that counts until anybody connects.
    let ruling = w.observe(V6, 4, LOST, true, ALONE_SECS + 6);
    assert_eq!((ruling.count, ruling.change), (vec![4], Some(false)));
    for i in 5..50 {
        assert_eq!(w.observe(V6, i, LOST, true, ALONE_SECS + 7).count, [i]);
    }
    w.observe(V6, 50, Outcome::Ok, true, ALONE_SECS + 8);
    assert_eq!(w.observe(V6, 51, LOST, true, ALONE_SECS + 9).count.len(), 0);
    // While nothing else connects either, it is us for as long as it takes.
    let mut alone = Weathers::default();
    for i in 0..SUSPECTS {
        alone.observe(V6, i, LOST, true, 0);
    }
    assert_eq!(alone.observe(V6, 9, LOST, true, 10 * ALONE_SECS).void, [9]);
}

#[test]
fn a_proxy_that_is_down_is_a_road_that_is_down() {
    let mut w = Weathers::default();
    w.observe(Road::Onion, 1, LOST, true, 0);
    let ruling = w.observe(Road::Onion, 2, Outcome::ProxyDown, true, 1);
    assert_eq!(
        (ruling.void, ruling.count, ruling.change),
        (vec![1], vec![2], Some(true))
    );
    assert!(w.is_down(Road::Onion) && !w.is_down(Road::I2p));
    let ruling = w.observe(Road::Onion, 3, Outcome::ProxyDown, true, 2);
    assert_eq!((ruling.count, ruling.change), (vec![3], None));
    assert_eq!(
        w.observe(Road::Onion, 4, Outcome::Ok, true, 3).change,
        Some(false)
    );
}

#[test]
fn a_single_dead_peer_counts_as_soon_as_anything_connects() {
    let mut w = Weather::default();
    assert_eq!(
        w.observe(1, Outcome::TimeoutConnect, true, 0).count.len(),
        0
    );
    let ruling = w.observe(2, Outcome::Ok, true, 1);
    assert_eq!((ruling.count, ruling.change), (vec![1, 2], None));
}

#[test]
fn a_collapse_freezes_and_a_connection_thaws() {
    let mut w = Weather::default();
    for i in 1..SUSPECTS {
        assert_eq!(w.observe(i, Outcome::TimeoutConnect, true, 0).void.len(), 0);
    }
    let ruling = w.observe(SUSPECTS, Outcome::Unreachable, true, 1);
    assert_eq!((ruling.void.len(), ruling.change), (SUSPECTS, Some(true)));
    assert!(w.is_down());
    assert_eq!(w.observe(99, Outcome::TimeoutConnect, false, 2).void, [99]);
    // A refusal comes from the other side as well.
    let ruling = w.observe(100, Outcome::Refused, false, 3);
    assert_eq!((ruling.count, ruling.change), (vec![100], Some(false)));
    assert!(!w.is_down());
}

#[test]
fn dead_strangers_are_no_sign() {
    let mut w = Weather::default();
    for i in 0..1_000 {
        assert_eq!(w.observe(i, Outcome::TimeoutConnect, false, 0).count, [i]);
    }
    assert!(!w.is_down());
}

#[test]
fn slow_deaths_are_no_collapse() {
    let mut w = Weather::default();
    let mut counted = 0;
    for i in 0..100i64 {
        counted += w
            .observe(i, Outcome::TimeoutConnect, true, i * 20)
            .count
            .len();
    }
    assert!(!w.is_down());
    assert_eq!(counted + w.drain().len(), 100);
}

#[test]
fn killed_peers_on_a_living_host_refuse_and_count() {
    let mut w = Weather::default();
    for i in 0..50 {
        assert_eq!(w.observe(i, Outcome::Refused, true, 0).count, [i]);
    }
    assert!(!w.is_down());
}
