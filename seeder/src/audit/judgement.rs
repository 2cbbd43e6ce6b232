//! What an audit means.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{ask::Via, status::AuditReport};

/// Least share of the served peers that should answer. Of those whose last probe passed within the hour, nearly all do; a half tells of
/// a crawl that lies or stands still, or of a network of ours that lets nothing out.
const LEAST_SHARE: f64 = 0.5;

/// So many dials say something about all.
const LEAST_DIALS: usize = 8;

/// All that an audit has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Findings {
    /// Each address with each transport.
    pub(super) ways: Vec<Way>,
    /// What came of dialling whom these told of.
    pub(super) dials: Dials,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) server: SocketAddr,
    pub(super) via: Via,
    /// What is wrong with the answers, in words; empty when all are right.
    pub(super) wrong: Vec<String>,
    /// This machine has no way to such addresses.
    pub(super) no_route: bool,
    /// The addresses of peers in them.
    pub(super) told: BTreeSet<IpAddr>,
}

/// How dials ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dials {
    /// With the network's handshake.
    pub(super) answered: usize,
    /// Otherwise.
    pub(super) silent: usize,
    /// They could not even begin: this machine has no way to such addresses, which says nothing of the peers.
    pub(super) no_route: usize,
}

impl Dials {
    /// Peers that could have answered.
    pub(super) const fn dialled(&self) -> usize {
        self.answered + self.silent
    }

    /// Share of these that did.
    pub(super) fn share(&self) -> Option<f64> {
        (self.dialled() > 0).then(|| self.answered as f64 / self.dialled() as f64)
    }
}

impl Findings {
    /// Ways that should have answered, and did not or wrongly. What this machine has no way to says nothing, as long as there is
    /// another way.
    pub(super) fn failed_ways(&self) -> usize {
        self.failed().count()
    }

    fn failed(&self) -> impl Iterator<Item = &Way> {
        let all = self.ways.iter().all(|way| way.no_route);
        self.ways
            .iter()
            .filter(move |way| !way.wrong.is_empty() && (all || !way.no_route))
    }

    /// What an operator should look at; `None` when all is well.
    pub(super) fn words(&self) -> Option<String> {
        let all = self.failures();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn failures(&self) -> Vec<String> {
        let wrong = self.failed().filter_map(Way::words);
        wrong.chain(self.dials.words()).collect()
    }

    /// All that is shown of it, found at `at`, Unix seconds.
    pub(super) fn report(&self, at: i64) -> AuditReport {
        AuditReport {
            at,
            ways: self.ways.len(),
            failed_ways: self.failed_ways(),
            dialled: self.dials.dialled(),
            answered: self.dials.answered,
            failures: self.failures(),
        }
    }
}

impl Way {
    fn words(&self) -> Option<String> {
        let (first, others) = self.wrong.split_first()?;
        let more = match others.len() {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        Some(format!("{} over {}: {first}{more}", self.server, self.via))
    }
}

impl Dials {
    fn words(&self) -> Option<String> {
        let (share, dialled) = (self.share()?, self.dialled());
        if dialled < LEAST_DIALS || share >= LEAST_SHARE {
            return None;
        }
        Some(format!(
            "of {dialled} served peers that were dialled {} answered: is the crawler's network well, and may this machine dial out?",
            self.answered
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dials(answered: usize, silent: usize) -> Findings {
        Findings {
            dials: Dials {
                answered,
                silent,
                no_route: 5,
            },
            ..Findings::default()
        }
    }

    #[test]
    fn peers_that_do_not_answer_are_told_when_they_are_many() {
        for (answered, silent) in [(0, 0), (0, 7), (4, 4), (8, 0)] {
            assert_eq!(
                dials(answered, silent).words(),
                None,
                "{answered} and {silent}"
            );
        }
        let words = dials(3, 5).words().unwrap();
        assert!(
            words.contains("of 8 served peers that were dialled 3 answered"),
            "{words}"
        );
        assert_eq!(
            dials(0, 0).dials.share(),
            None,
            "without a route nothing is known"
        );
    }

    #[test]
    fn a_wrong_way_is_told_with_its_first_fault() {
        let way = |wrong: &[&str]| Way {
            server: "192.0.2.1:53".parse().unwrap(),
            via: Via::Tcp,
            wrong: wrong.iter().map(|words| (*words).to_owned()).collect(),
            no_route: false,
            told: BTreeSet::new(),
        };
        let findings = |ways: Vec<Way>| Findings {
            ways,
            ..Findings::default()
        };
        assert_eq!(findings(vec![way(&[])]).words(), None);
        assert_eq!(
            findings(vec![way(&["a"]), way(&[]), way(&["b", "c"])])
                .words()
                .unwrap(),
            "192.0.2.1:53 over TCP: a; 192.0.2.1:53 over TCP: b (and 1 more)"
        );
        let mut without = way(&["no route"]);
        without.no_route = true;
        assert_eq!(
            findings(vec![way(&[]), without.clone()]).words(),
            None,
            "there is another way"
        );
        assert_eq!(findings(vec![without]).failed_ways(), 1);
    }
}
