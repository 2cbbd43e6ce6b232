//! How the crawl is going: what waits, what is due, who was asked for addresses.
//!
//! The engine tells [`Progress`] every few seconds; whoever asks the DNS seeds tells what they answered. Both go to the
//! observer, which shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use quantumcoin::network::discovery::{Candidate, Discovery, Found, SeedReport};
use tokio::sync::{mpsc, watch};

/// Candidates that wait while they are sorted by seed: as many answers as all seeds give at once.
const WAITING: usize = 64;

/// How the crawl is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Addresses that are held, whether ever tried or not.
    pub known: usize,
    /// Those that were never tried.
    pub untried: usize,
    /// Those whose visit is due and has not begun.
    pub due: usize,
    /// Visits under way.
    pub in_flight: usize,
    /// When the visit was due that has waited longest, Unix seconds.
    pub oldest_due: Option<i64>,
    /// Our own network seems to be down by some road.
    pub network_down: bool,
    /// The engine has told anything yet.
    pub is_known: bool,
}

/// What one DNS seed answered when it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedAnswer {
    /// The seed's name.
    pub seed: String,
    /// When, Unix seconds.
    pub at: i64,
    /// Addresses that it named, by all resolvers.
    pub addrs: BTreeSet<SocketAddr>,
    /// Resolvers that were asked.
    pub resolvers: usize,
    /// Those that had an answer.
    pub answered: usize,
    /// How far the worst of the answers is proven; empty where there was none.
    pub validation: &'static str,
    /// The last failure.
    pub error: Option<String>,
}

/// What all seeds answered; the observer reads, the one who asks writes.
pub(crate) type SeedAnswers = watch::Sender<Arc<Vec<SeedAnswer>>>;

/// Asks all `seeds`, and notes what each of them answered.
pub(crate) async fn ask(
    discovery: &Discovery,
    seeds: &[String],
    answers: &SeedAnswers,
    now: impl Fn() -> i64,
) -> Found {
    let (early, mut heard) = mpsc::channel::<Vec<Candidate>>(WAITING);
    let sort = async {
        let mut by_seed: BTreeMap<Arc<str>, BTreeSet<SocketAddr>> = BTreeMap::new();
        while let Some(candidates) = heard.recv().await {
            for candidate in candidates {
                let of_seed = by_seed.entry(candidate.seed).or_default();
                of_seed.insert(candidate.addr);
            }
        }
        by_seed
    };
    let run = async {
        let found = discovery.run(seeds, Some(&early)).await;
        drop(early);
        found
    };
    let (found, by_seed) = tokio::join!(run, sort);
    answers.send_replace(Arc::new(join(&found.seeds, &by_seed, now())));
    found
}

/// One line for each seed, in the order in which they were asked.
fn join(
    reports: &[SeedReport],
    addrs: &BTreeMap<Arc<str>, BTreeSet<SocketAddr>>,
    at: i64,
) -> Vec<SeedAnswer> {
    let mut answers: Vec<SeedAnswer> = Vec::new();
    for report in reports {
        let known = answers.iter().position(|answer| answer.seed == report.seed);
        let place = known.unwrap_or(answers.len());
        if known.is_none() {
            answers.push(SeedAnswer {
                seed: report.seed.clone(),
                at,
                addrs: addrs.get(report.seed.as_str()).cloned().unwrap_or_default(),
                resolvers: 0,
                answered: 0,
                validation: "",
                error: None,
            });
        }
        let Some(answer) = answers.get_mut(place) else {
            continue;
        };
        answer.resolvers += 1;
        answer.answered += usize::from(report.answered > 0);
        if let Some(validation) = report.validation {
            answer.validation = validation.as_str();
        }
        if report.error.is_some() {
            answer.error.clone_from(&report.error);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use quantumcoin::network::discovery::{Standing, Validation};

    use super::*;

    fn report(seed: &str, provider: &str, answered: usize, error: Option<&str>) -> SeedReport {
        SeedReport {
            seed: seed.to_owned(),
            provider: provider.to_owned(),
            addresses: 0,
            answered,
            first_answer_us: None,
            validation: (answered > 0).then_some(Validation::Insecure),
            error: error.map(str::to_owned),
            standing: Standing::Silent,
            agrees_with: Vec::new(),
            shared: 0,
            seed_standing: Standing::Silent,
        }
    }

    #[test]
    fn what_resolvers_say_of_a_seed_is_one_line() {
        let addr: SocketAddr = "192.0.2.1:8333".parse().unwrap();
        let addrs = BTreeMap::from([("a.example".into(), BTreeSet::from([addr]))]);
        let reports = [
            report("a.example", "one", 4, None),
            report("a.example", "two", 0, Some("timed out")),
            report("b.example", "one", 0, Some("no such name")),
        ];
        let answers = join(&reports, &addrs, 77);
        assert_eq!(answers.len(), 2);
        let [a, b] = &answers[..] else { panic!() };
        assert_eq!(
            (a.resolvers, a.answered, a.addrs.len(), a.at),
            (2, 1, 1, 77)
        );
        assert_eq!(a.error.as_deref(), Some("timed out"));
        assert_eq!((b.answered, b.addrs.len(), b.validation), (0, 0, ""));
    }
}
