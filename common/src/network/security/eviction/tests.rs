//! Each rule and its edges, what holds for any crowd, and attackers who connect in a loop.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// Inbound places by the chain spec: 125 without 8 full outbound, 2 block-only and 1 feeler.
const PLACES: usize = 114;

/// All that merit can protect.
const BY_MERIT: usize = 28;

/// Later than all that happens in the tests of single rules.
const NOW: u64 = 1_000_000;

fn at(second: u64) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + Duration::from_secs(second)
}

fn ms(n: u32) -> Option<Duration> {
    Some(Duration::from_millis(n.into()))
}

/// Of a netgroup of its own, younger the higher its number, and without any merit.
fn peer(id: u32) -> Candidate<u32> {
    Candidate {
        id,
        netgroup: id.into(),
        since: at(id.into()),
        ping: None,
        last_transaction: None,
        last_block: None,
        penalised: false,
    }
}

fn choose_now(crowd: &[Candidate<u32>]) -> Option<u32> {
    choose(crowd.to_vec(), at(NOW))
}

/// Those that are left when newcomers have pushed out all they could: exactly those that merit protects.
fn remaining(mut crowd: Vec<Candidate<u32>>) -> Vec<u32> {
    while let Some(id) = choose_now(&crowd) {
        crowd.retain(|peer| peer.id != id);
    }
    let mut ids: Vec<_> = crowd.iter().map(|peer| peer.id).collect();
    ids.sort_unstable();
    ids
}

/// Four peers that the netgroup protects, 0 to 3, and `others`, whom it does not.
fn with_four(others: impl IntoIterator<Item = Candidate<u32>>) -> Vec<Candidate<u32>> {
    (0..4).map(peer).chain(others).collect()
}

fn ids(groups: impl IntoIterator<Item = std::ops::Range<u32>>) -> Vec<u32> {
    groups.into_iter().flatten().collect()
}

#[test]
fn of_nobody_nobody_goes() {
    assert_eq!(choose_now(&[]), None);
}

#[test]
fn when_merit_protects_all_nobody_goes_and_of_one_more_he_does() {
    let mut crowd: Vec<_> = (0..28).map(peer).collect();
    for (n, peer) in (0..).zip(&mut crowd) {
        match n {
            0..4 => {}
            4..12 => peer.ping = ms(n),
            12..16 => peer.last_transaction = Some(at(100)),
            _ => peer.last_block = Some(at(100)),
        }
    }
    assert_eq!(choose_now(&crowd), None);
    let oldest = Candidate {
        since: at(0),
        ..peer(28)
    };
    crowd.push(oldest);
    assert_eq!(choose_now(&crowd), Some(28));
}

#[test]
fn the_longest_standing_of_the_four_lowest_netgroups_are_protected() {
    let crowd = (0..30).map(|n| Candidate {
        netgroup: u64::from(100 - n % 10),
        ..peer(n)
    });
    assert_eq!(remaining(crowd.collect()), [6, 7, 8, 9]);
}

#[test]
fn the_eight_lowest_pings_are_protected() {
    let pinged = (10..30).map(|n| Candidate {
        ping: ms(100 - n),
        ..peer(n)
    });
    let silent = (40..50).map(peer);
    let crowd = with_four(pinged.chain(silent));
    assert_eq!(remaining(crowd), ids([0..4, 22..30]));
}

#[test]
fn the_four_that_last_gave_transactions_are_protected() {
    let useful = (10..30).map(|n| Candidate {
        last_transaction: Some(at(1_000 - u64::from(n))),
        ..peer(n)
    });
    let crowd = with_four(useful.chain((40..50).map(peer)));
    assert_eq!(remaining(crowd), ids([0..4, 10..14]));
}

#[test]
fn the_twelve_that_last_gave_blocks_are_protected() {
    let useful = (10..30).map(|n| Candidate {
        last_block: Some(at(1_000 - u64::from(n))),
        ..peer(n)
    });
    let crowd = with_four(useful.chain((40..50).map(peer)));
    assert_eq!(remaining(crowd), ids([0..4, 10..22]));
}

#[test]
fn who_is_protected_already_takes_no_place_of_another_criterion() {
    let mut crowd = with_four((10..50).map(|n| Candidate {
        ping: ms(n),
        last_transaction: Some(at(1_000 - u64::from(n))),
        last_block: Some(at(1_000 - u64::from(n))),
        ..peer(n)
    }));
    for best in &mut crowd[..4] {
        best.ping = ms(1);
        best.last_transaction = Some(at(2_000));
        best.last_block = Some(at(2_000));
    }
    assert_eq!(remaining(crowd), ids([0..4, 10..34]));
}

#[test]
fn a_criterion_protects_one_of_a_netgroup_the_best_and_of_equals_the_longest_standing() {
    let neighbours = (10..20).map(|n| Candidate {
        netgroup: 1_000,
        ping: ms(if n < 15 { 2 } else { 1 }),
        ..peer(n)
    });
    let others = (20..40).map(|n| Candidate {
        ping: ms(n),
        ..peer(n)
    });
    let crowd = with_four(neighbours.chain(others));
    assert_eq!(remaining(crowd), ids([0..4, 15..16, 20..27]));
}

#[test]
fn of_equal_merits_the_longest_standing_are_protected_and_of_equals_the_lowest_ids() {
    let equal = |since: fn(u32) -> u64| {
        let peers = (10..40).rev().map(move |n| Candidate {
            since: at(since(n)),
            ping: ms(1),
            ..peer(n)
        });
        remaining(with_four(peers))
    };
    assert_eq!(equal(|n| u64::from(100 - n)), ids([0..4, 32..40]));
    assert_eq!(equal(|_| 50), ids([0..4, 10..18]));
}

#[test]
fn of_those_left_the_longer_standing_half_is_protected_rounded_down() {
    // The largest netgroup is that of the old ones, and it is not looked at.
    let old = |n| Candidate {
        netgroup: 1_000,
        ..peer(n)
    };
    let crowd = with_four((10..15).map(old).chain((15..20).map(peer)));
    assert_eq!(choose_now(&crowd), Some(19));
    let crowd = with_four((10..16).map(old).chain((16..21).map(peer)));
    assert_eq!(choose_now(&crowd), Some(20), "one old is in the other half");
    let crowd = with_four((10..17).map(old).chain((17..21).map(peer)));
    assert_eq!(choose_now(&crowd), Some(16), "two are");
    let crowd = with_four((10..11).map(old));
    assert_eq!(choose_now(&crowd), Some(10), "of one, none");
}

#[test]
fn the_youngest_of_the_largest_netgroup_goes() {
    let group = |n| match n {
        20 | 22 | 24 => 1_000,
        21 | 23 => 1_001,
        n => n.into(),
    };
    let crowd = with_four((10..26).map(|n| Candidate {
        netgroup: group(n),
        ..peer(n)
    }));
    assert_eq!(choose_now(&crowd), Some(24));
}

#[test]
fn of_two_largest_netgroups_the_one_with_the_youngest_member_loses_it() {
    // Whichever hash is lower.
    for (a, b) in [(1_000, 1_001), (1_001, 1_000)] {
        let group = |n| match n {
            19 | 23 => a,
            20 | 22 => b,
            n => n.into(),
        };
        let crowd = with_four((10..25).map(|n| Candidate {
            netgroup: group(n),
            ..peer(n)
        }));
        assert_eq!(choose_now(&crowd), Some(23));
    }
}

#[test]
fn of_those_that_differ_in_nothing_the_one_with_the_highest_id_goes() {
    let twins: Vec<_> = (0..10)
        .map(|n| Candidate {
            netgroup: 5,
            since: at(5),
            ..peer(n)
        })
        .collect();
    assert_eq!(choose_now(&twins), Some(9));
}

#[test]
fn a_penalised_peer_goes_whatever_it_excels_in() {
    let mut crowd: Vec<_> = (0..3).map(peer).collect();
    assert_eq!(choose_now(&crowd), None);
    crowd[0] = Candidate {
        ping: ms(0),
        last_transaction: Some(at(NOW)),
        last_block: Some(at(NOW)),
        penalised: true,
        ..crowd[0]
    };
    assert_eq!(choose_now(&crowd), Some(0));
}

#[test]
fn of_several_penalised_peers_it_is_the_youngest_of_their_largest_netgroup() {
    let group = |n| match n {
        3 | 5 => 1_000,
        6..30 => 1_001,
        n => n.into(),
    };
    let mut crowd: Vec<_> = (0..40)
        .map(|n| Candidate {
            netgroup: group(n),
            penalised: [0, 3, 5, 6].contains(&n),
            ..peer(n)
        })
        .collect();
    assert_eq!(choose_now(&crowd), Some(5));
    crowd.retain(|peer| peer.id != 5);
    assert_eq!(choose_now(&crowd), Some(6), "all are alone: the youngest");
}

#[test]
fn times_in_the_future_are_as_good_as_now_and_no_better() {
    let latest = |n: u64| NOW + n;
    let transaction = |n: u64| Candidate {
        last_transaction: Some(at(latest(n))),
        ..peer(10 + n as u32)
    };
    let crowd = with_four((0..6).map(transaction));
    assert_eq!(remaining(crowd), ids([0..4, 10..14]));
    let block = |n: u64| Candidate {
        last_block: Some(at(latest(n))),
        ..peer(10 + n as u32)
    };
    let crowd = with_four((0..14).map(block));
    assert_eq!(remaining(crowd), ids([0..4, 10..22]));
    let came = |n: u32| Candidate {
        since: at(latest(u64::from(20 - n))),
        ..peer(n)
    };
    let crowd = with_four((10..16).map(came));
    assert_eq!(
        choose_now(&crowd),
        Some(15),
        "all came now: the id decides, and not who is latest"
    );
}

/// All places of a node, and what happens when one more peer comes.
struct Node {
    places: usize,
    peers: Vec<Candidate<u32>>,
    clock: u64,
}

impl Node {
    fn new(places: usize, honest: impl IntoIterator<Item = Candidate<u32>>) -> Self {
        Self {
            places,
            peers: honest.into_iter().collect(),
            clock: 10_000,
        }
    }

    /// Whether it was let in.
    fn arrives(&mut self, newcomer: Candidate<u32>) -> bool {
        self.clock += 1;
        if self.peers.len() >= self.places {
            let Some(id) = choose(self.peers.clone(), at(self.clock)) else {
                return false;
            };
            self.peers.retain(|peer| peer.id != id);
        }
        let since = at(self.clock);
        self.peers.push(Candidate { since, ..newcomer });
        true
    }

    /// Those of an attacker excel in all, at any time.
    fn flatter(&mut self, is_attacker: impl Fn(&Candidate<u32>) -> bool) {
        let now = Some(at(self.clock));
        for peer in self.peers.iter_mut().filter(|peer| is_attacker(peer)) {
            peer.ping = ms(0);
            peer.last_transaction = now;
            peer.last_block = now;
        }
    }

    fn count(&self, which: impl Fn(&Candidate<u32>) -> bool) -> usize {
        self.peers.iter().filter(|peer| which(peer)).count()
    }
}

const FIRST_ATTACKER: u32 = 1_000;

fn is_attacker(peer: &Candidate<u32>) -> bool {
    peer.id >= FIRST_ATTACKER
}

#[test]
fn who_connects_in_a_loop_from_one_netgroup_never_pushes_out_the_30_longest_standing() {
    // A third of them are even of his netgroup; and he excels in all where they excel in nothing.
    let honest = (0..30).map(|n| Candidate {
        netgroup: if n % 3 == 0 { 7 } else { n.into() },
        ..peer(n)
    });
    let mut node = Node::new(PLACES, honest);
    for n in 0..10_000 {
        let newcomer = Candidate {
            netgroup: 7,
            ..peer(FIRST_ATTACKER + n)
        };
        assert!(node.arrives(newcomer));
        node.flatter(is_attacker);
        assert_eq!(node.count(|peer| peer.id < 30), 30, "newcomer {n}");
    }
}

#[test]
fn who_connects_in_a_loop_from_one_netgroup_gets_five_places() {
    for lowest in [true, false] {
        let mut node = Node::new(PLACES, (0..PLACES as u32).map(|n| peer(n + 1)));
        for n in 0..1_000 {
            let newcomer = Candidate {
                netgroup: if lowest { 0 } else { u64::MAX },
                ..peer(FIRST_ATTACKER + n)
            };
            assert!(node.arrives(newcomer));
            node.flatter(is_attacker);
        }
        // One place more than he has by merit: the one that each newcomer takes from the one before.
        let by_merit = if lowest { 4 } else { 3 };
        assert_eq!(node.count(is_attacker), by_merit + 1);
    }
}

#[test]
fn who_held_all_places_from_many_netgroups_loses_those_that_others_deserve_more() {
    let mut node = Node::new(
        PLACES,
        (0..PLACES as u32).map(|n| Candidate {
            ping: ms(50),
            last_transaction: Some(at(5_000)),
            ..peer(FIRST_ATTACKER + n)
        }),
    );
    for n in 0..20 {
        let mut honest = Candidate {
            netgroup: u64::from(10_000 + n),
            ..peer(n)
        };
        if n < 8 {
            honest.ping = ms(20);
        } else {
            honest.last_block = Some(at(6_000));
        }
        assert!(node.arrives(honest));
    }
    // None of them is pushed out again by those that he sends now.
    for n in 0..1_000 {
        assert!(node.arrives(peer(FIRST_ATTACKER + 1_000 + n)));
    }
    assert_eq!(node.count(|peer| !is_attacker(peer)), 20);
}

/// Some of the crowd's times are in the future.
const CROWD_NOW: u64 = 150;

/// Few values, so that many are equal.
fn any_peer() -> impl Strategy<Value = Candidate<u32>> {
    let time = || option::of((0_u64..200).prop_map(at));
    let ping = option::of((0_u32..50).prop_map(|n| Duration::from_millis(n.into())));
    let penalised = prop::bool::weighted(0.1);
    (0_u64..40, 0_u64..200, ping, time(), time(), penalised).prop_map(
        |(netgroup, since, ping, last_transaction, last_block, penalised)| Candidate {
            id: 0,
            netgroup,
            since: at(since),
            ping,
            last_transaction,
            last_block,
            penalised,
        },
    )
}

fn any_crowd() -> impl Strategy<Value = Vec<Candidate<u32>>> {
    vec(any_peer(), 0..150).prop_map(|mut crowd| {
        for (id, peer) in (0..).zip(&mut crowd) {
            peer.id = id;
        }
        crowd
    })
}

fn blameless(crowd: &[Candidate<u32>]) -> Vec<Candidate<u32>> {
    let forgiven = crowd.iter().map(|peer| Candidate {
        penalised: false,
        ..*peer
    });
    forgiven.collect()
}

fn choose_of(crowd: &[Candidate<u32>]) -> Option<u32> {
    choose(crowd.to_vec(), at(CROWD_NOW))
}

/// In how many other netgroups somebody does better than `of`, or `None` if somebody in its own one does. Less is
/// better; of equals, who came earlier.
fn better_groups<M: Ord>(
    crowd: &[Candidate<u32>],
    of: &Candidate<u32>,
    merit: impl Fn(&Candidate<u32>) -> Option<M>,
) -> Option<usize> {
    let key = |peer: &Candidate<u32>| {
        merit(peer).map(|merit| (merit, peer.since.min(at(CROWD_NOW)), peer.id))
    };
    let own = key(of)?;
    let better = crowd
        .iter()
        .filter(|peer| key(peer).is_some_and(|key| key < own));
    let groups: BTreeSet<_> = better.map(|peer| peer.netgroup).collect();
    (!groups.contains(&of.netgroup)).then_some(groups.len())
}

/// How long ago; what is yet to come is now.
fn since(time: Option<Instant>) -> Option<Duration> {
    time.map(|time| at(CROWD_NOW).saturating_duration_since(time))
}

fn age(peer: &Candidate<u32>) -> Option<Duration> {
    since(Some(peer.since))
}

proptest! {
    #[test]
    fn one_of_the_candidates_goes_and_nobody_only_when_few_are_there(crowd in any_crowd()) {
        match choose_of(&crowd) {
            Some(id) => prop_assert!(crowd.iter().any(|peer| peer.id == id)),
            None => {
                prop_assert!(crowd.len() <= BY_MERIT);
                prop_assert!(crowd.iter().all(|peer| !peer.penalised));
            }
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        (crowd, shuffled) in any_crowd()
            .prop_flat_map(|crowd| (Just(crowd.clone()), Just(crowd).prop_shuffle())),
    ) {
        prop_assert_eq!(choose_of(&crowd), choose_of(&shuffled));
        prop_assert_eq!(choose_of(&blameless(&crowd)), choose_of(&blameless(&shuffled)));
    }

    /// Who is among the best of all is so as well among those that earlier criteria left.
    #[test]
    fn who_is_among_the_best_in_anything_never_goes(crowd in any_crowd()) {
        let crowd = blameless(&crowd);
        if let Some(id) = choose_of(&crowd) {
            let goes = &crowd[id as usize];
            let better = [
                (better_groups(&crowd, goes, |peer| Some(peer.netgroup)), 4),
                (better_groups(&crowd, goes, |peer| peer.ping), 8),
                (better_groups(&crowd, goes, |peer| since(peer.last_transaction)), 4),
                (better_groups(&crowd, goes, |peer| since(peer.last_block)), 12),
            ];
            for (groups, places) in better {
                prop_assert!(groups.is_none_or(|groups| groups >= places), "{better:?}");
            }
            let older = crowd.iter().filter(|peer| peer.id != id && age(peer) >= age(goes));
            prop_assert!(older.count() >= crowd.len().saturating_sub(BY_MERIT) / 2);
        }
    }

    #[test]
    fn merit_protects_28_at_most_and_four_of_a_netgroup(crowd in any_crowd()) {
        let crowd = blameless(&crowd);
        let remaining = remaining(crowd.clone());
        prop_assert!(remaining.len() <= BY_MERIT);
        let mut groups = BTreeMap::new();
        for id in remaining {
            *groups.entry(crowd[id as usize].netgroup).or_insert(0) += 1;
        }
        prop_assert!(groups.values().all(|count| *count <= 4), "{groups:?}");
    }

    #[test]
    fn penalised_ones_go_first_as_if_alone(crowd in any_crowd()) {
        let penalised: Vec<_> = crowd.iter().filter(|peer| peer.penalised).copied().collect();
        if let Some(id) = choose_of(&penalised) {
            prop_assert_eq!(choose_of(&crowd), Some(id));
            let goes = &crowd[id as usize];
            let size = |of: &Candidate<u32>| {
                penalised.iter().filter(|peer| peer.netgroup == of.netgroup).count()
            };
            for peer in &penalised {
                prop_assert!(size(peer) <= size(goes));
                prop_assert!(size(peer) < size(goes) || age(peer) >= age(goes));
            }
        } else {
            prop_assert_eq!(choose_of(&crowd), choose_of(&blameless(&crowd)));
        }
    }

    #[test]
    fn a_penalty_for_the_one_that_goes_changes_nothing(crowd in any_crowd()) {
        let mut crowd = blameless(&crowd);
        if let Some(id) = choose_of(&crowd) {
            crowd[id as usize].penalised = true;
            prop_assert_eq!(choose_of(&crowd), Some(id));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Honest peers of netgroups of their own, and newcomers of a few others, who excel in whatever they like.
    #[test]
    fn an_attacker_gets_what_merit_protects_and_one_place_more(
        netgroups in 1_u64..12,
        places in 40_usize..130,
        honest in vec(any_peer(), 130),
        newcomers in vec(any_peer(), 1..600),
        key in any::<u64>(),
    ) {
        let hashed = |netgroup: u64| (netgroup + 1).wrapping_mul(key | 1);
        let honest = (0..).zip(honest).take(places);
        let mut node = Node::new(places, honest.map(|(id, peer)| Candidate {
            id,
            netgroup: hashed(id.into()),
            penalised: false,
            ..peer
        }));
        for (n, newcomer) in (FIRST_ATTACKER..).zip(newcomers) {
            let newcomer = Candidate {
                id: n,
                netgroup: hashed(1_000 + newcomer.netgroup % netgroups),
                penalised: false,
                ..newcomer
            };
            node.arrives(newcomer);
            let attackers = node.count(is_attacker);
            prop_assert!(attackers <= BY_MERIT.min(4 * netgroups as usize) + 1, "{attackers}");
        }
    }

    /// However many netgroups newcomers have, and whatever they excel in.
    #[test]
    fn the_30_longest_standing_stay(
        honest in vec(any_peer(), 30),
        newcomers in vec((any_peer(), any::<u64>()), 1..600),
    ) {
        let honest = (0..).zip(honest).map(|(id, peer)| Candidate {
            id,
            penalised: false,
            ..peer
        });
        let mut node = Node::new(PLACES, honest);
        for (n, (newcomer, netgroup)) in (FIRST_ATTACKER..).zip(newcomers) {
            let is_in = node.arrives(Candidate { id: n, netgroup, ..newcomer });
            prop_assert!(is_in);
            prop_assert_eq!(node.count(|peer| !is_attacker(peer)), 30);
        }
    }
}
