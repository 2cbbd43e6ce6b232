use super::*;

#[test]
fn signatures_on_demand_are_bounded_by_transport_and_by_network() {
    let allowance = SigningAllowance::default();
    let take = |tcp: bool, first: u8, now: u64| {
        let mut taken = 0;
        for host in 0..10_000_u32 {
            let [_, _, a, b] = host.to_be_bytes();
            let network = Network::of(std::net::IpAddr::from([first, a, b, 1]));
            let budget = Budget::OnDemand {
                allowance: &allowance,
                tcp,
                network,
                now,
            };
            taken += u64::from(budget.take());
        }
        taken
    };
    assert_eq!(take(false, 10, 0), ON_DEMAND_PER_S + 1);
    assert_eq!(take(false, 11, 0), 0);
    assert_eq!(take(true, 12, 0), ON_DEMAND_PER_S + 1, "TCP has its own");
    assert_eq!(take(false, 13, 500_000), ON_DEMAND_PER_S / 2);
    assert!((0..5000).all(|_| Budget::Unlimited.take()));

    let allowance = SigningAllowance::default();
    let network = Network::of(std::net::IpAddr::from([10, 0, 0, 1]));
    let one = || Budget::OnDemand {
        allowance: &allowance,
        tcp: true,
        network,
        now: 0,
    };
    let taken = (0..10_000).filter(|_| one().take()).count();
    assert_eq!(
        taken as u32,
        2 * NETWORK_PER_S.get() + 1,
        "a burst of two seconds"
    );
}

#[test]
fn sets_are_the_same_whatever_their_order() {
    let set = |rdata: &[&[u8]], ttl| RrSet {
        owner: WireName::read(b"\x01a\x00").unwrap().0,
        kind: 1,
        class: 1,
        ttl,
        rdata: rdata.iter().collect(),
    };
    let first = identity(&set(&[b"ab", b"c"], 60));
    assert_eq!(first, identity(&set(&[b"c", b"ab"], 60)));
    for other in [
        set(&[b"a", b"bc"], 60),
        set(&[b"ab", b"c"], 61),
        set(&[b"ab"], 60),
    ] {
        assert_ne!(first, identity(&other));
    }
}
