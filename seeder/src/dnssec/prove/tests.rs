use super::*;

#[test]
fn signatures_on_demand_are_a_second_s_worth_at_once_and_then_their_rate() {
    let allowance = Allowance::default();
    let take = |now: u64| {
        (0..5000)
            .filter(|_| Budget::OnDemand(&allowance, now).take())
            .count() as u64
    };
    assert_eq!(take(0), ON_DEMAND_PER_S + 1);
    assert_eq!(take(0), 0);
    assert_eq!(take(500_000), ON_DEMAND_PER_S / 2);
    assert!((0..5000).all(|_| Budget::Unlimited.take()));
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
