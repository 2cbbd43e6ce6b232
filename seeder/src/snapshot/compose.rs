//! Who may stand beside whom in one answer.
//!
//! A draw ([`quantumcoin::reachability::selection`]) gives one peer a netgroup. What else shows that peers belong together is looked at
//! here: an identity that several addresses have, and the country. The first is never in an answer twice; of a country there is at most one
//! half, unless the others run out: a client that is unlucky with one operator or one country shall find others in the same answer.

use std::collections::VecDeque;

use quantumcoin::reachability::{CountryCode, GoodPeer};

use super::ADDRESSES;

/// How many that have no place in an answer are passed over for it: enough to find others where one country has nine tenths of all
/// peers, and few enough that a network of one country costs no more than a walk.
const LOOK_AHEAD: usize = 10 * ADDRESSES;

/// Whether a peer may join an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It may.
    Well,
    /// Only if there is nobody else: its country has its share already.
    Crowded,
    /// Its identity is in the answer.
    Twin,
}

/// The peers of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Company<'a> {
    members: Vec<&'a GoodPeer>,
}

impl<'a> Company<'a> {
    pub(super) fn fit(&self, peer: &GoodPeer) -> Fit {
        if peer.node_id.is_some()
            && self
                .members
                .iter()
                .any(|other| other.node_id == peer.node_id)
        {
            return Fit::Twin;
        }
        let crowded = |country: CountryCode| {
            let same = self
                .members
                .iter()
                .filter(|other| other.place.country == Some(country));
            // So at each length no more than half, rounded up.
            same.count() > self.members.len() / 2
        };
        if peer.place.country.is_some_and(crowded) {
            Fit::Crowded
        } else {
            Fit::Well
        }
    }

    pub(super) fn join(&mut self, peer: &'a GoodPeer) {
        self.members.push(peer);
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn into_members(self) -> Vec<&'a GoodPeer> {
        self.members
    }
}

/// Cuts a draw into answers, at most so many, in its order as far as the rules allow.
pub(super) fn compose(order: Vec<&GoodPeer>, answers: usize) -> Vec<Vec<&GoodPeer>> {
    let mut waiting = VecDeque::from(order);
    let mut composed = Vec::new();
    while composed.len() < answers && !waiting.is_empty() {
        composed.push(next(&mut waiting));
    }
    composed
}

/// One answer of those who have waited longest; never empty, since the first of all may always join.
fn next<'a>(waiting: &mut VecDeque<&'a GoodPeer>) -> Vec<&'a GoodPeer> {
    let mut company = Company::default();
    let mut passed = Vec::new();
    while company.len() < ADDRESSES && passed.len() < LOOK_AHEAD {
        let Some(peer) = waiting.pop_front() else {
            break;
        };
        match company.fit(peer) {
            Fit::Well => company.join(peer),
            Fit::Crowded | Fit::Twin => passed.push(peer),
        }
    }
    // Rather many of one country than few peers.
    passed.retain(|peer| {
        let joins = company.len() < ADDRESSES && company.fit(peer) != Fit::Twin;
        if joins {
            company.join(peer);
        }
        !joins
    });
    for peer in passed.into_iter().rev() {
        waiting.push_front(peer);
    }
    company.into_members()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn peer(n: u8, country: Option<&str>, node_id: Option<u8>) -> GoodPeer {
        let mut peer = GoodPeer::unknown(SocketAddr::from(([20, n, 1, 1], 8333)));
        peer.place.country = country.map(|code| code.parse().unwrap());
        peer.node_id = node_id.map(|byte| [byte; 32]);
        peer
    }

    fn count(answer: &[&GoodPeer], country: &str) -> usize {
        let country = Some(country.parse().unwrap());
        answer
            .iter()
            .filter(|peer| peer.place.country == country)
            .count()
    }

    #[test]
    fn a_country_has_half_of_an_answer_at_most() {
        let peers: Vec<GoodPeer> = (0..200)
            .map(|n| peer(n, Some(if n % 10 == 0 { "CH" } else { "US" }), None))
            .collect();
        let answers = compose(peers.iter().collect(), 1);
        assert_eq!(answers[0].len(), ADDRESSES);
        assert_eq!(count(&answers[0], "US"), ADDRESSES / 2);
        // And in what a shorter answer takes of it.
        assert_eq!(count(&answers[0][..8], "US"), 4);
    }

    #[test]
    fn a_network_of_one_country_is_served_all_the_same() {
        let peers: Vec<GoodPeer> = (0..200).map(|n| peer(n, Some("DE"), None)).collect();
        let answers = compose(peers.iter().collect(), 5);
        assert!(answers.len() == 5 && answers.iter().all(|answer| answer.len() == ADDRESSES));
    }

    #[test]
    fn an_identity_is_in_an_answer_once() {
        let mut peers: Vec<GoodPeer> = (0..100).map(|n| peer(n, None, Some(7))).collect();
        peers.extend((100..130).map(|n| peer(n, None, Some(n))));
        let answers = compose(peers.iter().collect(), 2);
        for answer in &answers {
            let twins = answer.iter().filter(|peer| peer.node_id == Some([7; 32]));
            assert_eq!(twins.count(), 1);
        }
        assert_eq!((answers[0].len(), answers[1].len()), (ADDRESSES, 8));
    }

    proptest! {
        #[test]
        fn nobody_is_twice_in_the_answers_and_the_first_is_in_the_first(
            raw in proptest::collection::vec((0..3_u8, 0..6_u8), 1..200), answers in 1..9_usize,
        ) {
            let countries = [None, Some("CH"), Some("US")];
            let peers: Vec<GoodPeer> = raw.iter().zip(0..).map(|((country, id), n)| {
                peer(n, countries[usize::from(*country)], (*id > 2).then_some(*id + n / 8))
            }).collect();
            let composed = compose(peers.iter().collect(), answers);
            prop_assert!(composed.len() <= answers);
            prop_assert_eq!(composed[0][0].addr, peers[0].addr);
            let mut seen = std::collections::HashSet::new();
            for answer in &composed {
                prop_assert!(!answer.is_empty() && answer.len() <= ADDRESSES);
                prop_assert!(answer.iter().all(|peer| seen.insert(peer.addr)));
                let ids: Vec<_> = answer.iter().filter_map(|peer| peer.node_id).collect();
                let distinct: std::collections::HashSet<_> = ids.iter().collect();
                prop_assert_eq!(ids.len(), distinct.len());
            }
        }
    }
}
