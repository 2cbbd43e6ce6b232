//! Tables of the good verdict: each rule fails alone.

use super::*;

const NOW: i64 = 1_800_000_000;

fn good_peer() -> PeerFacts {
    let mut reliability = Reliability::default();
    reliability.update(None, true);
    PeerFacts {
        addr: "8.8.8.8:8333".parse().unwrap(),
        last_outcome: Some(Outcome::Ok),
        last_ok_at: Some(NOW - 60),
        protocol_version: Some(70_015),
        proved_height: Some(1_000),
        reliability,
        banned: false,
    }
}

fn failing(peer: &PeerFacts, median: Option<u32>) -> Vec<Rule> {
    let v = verdict(&GoodPolicy::default(), peer, median, NOW);
    assert_eq!(
        v.is_good(),
        is_good(&GoodPolicy::default(), peer, median, NOW)
    );
    v.rules
        .into_iter()
        .filter(|r| !r.passed)
        .map(|r| r.rule)
        .collect()
}

#[test]
fn good_after_the_first_passed_probe() {
    assert_eq!(failing(&good_peer(), Some(1_000)), []);
    assert_eq!(failing(&good_peer(), None), []);
}

#[test]
fn each_rule_fails_alone() {
    let change = |f: &dyn Fn(&mut PeerFacts)| {
        let mut peer = good_peer();
        f(&mut peer);
        failing(&peer, Some(1_000))
    };
    assert_eq!(
        change(&|p| p.last_outcome = Some(Outcome::Refused)),
        [Rule::LastProbe]
    );
    assert_eq!(change(&|p| p.last_outcome = None), [Rule::LastProbe]);
    assert_eq!(change(&|p| p.last_ok_at = Some(NOW - 7_201)), [Rule::Fresh]);
    assert_eq!(change(&|p| p.last_ok_at = Some(NOW - 7_200)), []);
    assert_eq!(
        change(&|p| p.proved_height = None),
        [Rule::Chain, Rule::Height]
    );
    assert_eq!(
        change(&|p| p.protocol_version = Some(70_009)),
        [Rule::Version]
    );
    assert_eq!(change(&|p| p.proved_height = Some(987)), [Rule::Height]);
    assert_eq!(change(&|p| p.proved_height = Some(988)), []);
    assert_eq!(
        change(&|p| p.addr = "10.0.0.1:8333".parse().unwrap()),
        [Rule::Routable]
    );
    assert_eq!(
        change(&|p| p.reliability = Reliability::default()),
        [Rule::Record]
    );
}

/// A node that is long dead but has a good month behind it: the defect that sipa's seeder is known for.
#[test]
fn a_dead_node_with_a_good_month_is_not_good() {
    let mut peer = good_peer();
    for _ in 0..2_000 {
        peer.reliability.update(Some(1_500.0), true);
    }
    peer.reliability.update(Some(86_400.0), false);
    peer.last_outcome = Some(Outcome::TimeoutConnect);
    assert!(peer.reliability.windows[4].reliability > 0.9);
    assert_eq!(failing(&peer, Some(1_000)), [Rule::LastProbe]);
}

#[test]
fn newcomers_need_half_and_veterans_a_record() {
    let record = |results: &[bool], age: f64| {
        let mut peer = good_peer();
        peer.reliability = Reliability::default();
        for &success in results {
            peer.reliability.update(Some(age), success);
        }
        failing(&peer, None)
    };
    assert_eq!(record(&[false, true], 1_500.0), []);
    assert_eq!(record(&[false, false, true], 1_500.0), [Rule::Record]);
    assert_eq!(record(&[true, false, true], 1_500.0), []);
    // Four probes a day apart: no window has seen enough of them.
    assert_eq!(record(&[true; 4], 86_400.0), [Rule::Record]);
    assert_eq!(record(&[true; 4], 60.0), []);
    // Half of the many fails every row but the longest windows' ones.
    let flapping: Vec<bool> = (0..100).map(|i| i % 2 == 0).collect();
    assert_eq!(record(&flapping, 1_500.0), []);
    let mostly_down: Vec<bool> = (0..100).map(|i| i % 4 == 3).collect();
    assert_eq!(record(&mostly_down, 1_500.0), [Rule::Record]);
}

#[test]
fn median_is_the_lower_middle() {
    assert_eq!(median_height(&mut []), None);
    assert_eq!(median_height(&mut [7]), Some(7));
    assert_eq!(median_height(&mut [9, 1]), Some(1));
    assert_eq!(median_height(&mut [1_000_000, 5, 6]), Some(6));
    assert_eq!(median_height(&mut [4, 1, 3, 2]), Some(2));
}

#[test]
fn details_name_the_figures() {
    let v = verdict(&GoodPolicy::default(), &good_peer(), Some(1_005), NOW);
    let text: Vec<_> = v.rules.iter().map(|r| r.detail.as_str()).collect();
    assert!(
        text.contains(&"height 1000, median 1005, at most 12 behind allowed"),
        "{text:?}"
    );
    assert!(
        text.contains(&"passed 60 s ago, at most 7200 s allowed"),
        "{text:?}"
    );
}
