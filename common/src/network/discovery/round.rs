//! What the answers of one round say of each other: the rule of [`agreement`] applied to providers and to seeds, and
//! told to the log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tracing::warn;

use super::agreement::{self, Answer};
use super::asking::Heard;
use super::{Provider, SeedReport, Standing, Validation};

/// Judges a whole round, in which each seed's answers, one for each of the `providers`, stand together.
pub(super) fn judge(heard: &mut [Heard], providers: &[&Provider]) {
    for of_seed in heard.chunks_mut(providers.len().max(1)) {
        judge_providers(of_seed, providers);
    }
    judge_seeds(heard, providers.len().max(1));
}

/// Providers were asked for the same name.
fn judge_providers(of_seed: &mut [Heard], providers: &[&Provider]) {
    let answers: Vec<Answer> = of_seed
        .iter()
        .zip(providers)
        .map(|(heard, provider)| Answer {
            addresses: (heard.denies || !heard.candidates.is_empty()).then(|| addresses(heard)),
            witness: **provider != Provider::System,
            secure: heard.is_secure(),
        })
        .collect();
    for (heard, verdict) in of_seed.iter_mut().zip(agreement::judge(&answers)) {
        heard.report.standing = verdict.standing;
        heard.report.shared = verdict.shared;
        heard.report.agrees_with = verdict
            .agrees_with
            .iter()
            .filter_map(|index| providers.get(*index))
            .map(ToString::to_string)
            .collect();
    }
}

/// Seeds may serve disjoint slices of one network, which still share netgroups. What a suspect provider said, and where
/// others agree, what nobody confirmed, is left out: a liar who says the same of every seed would make the one that
/// still works look alone. A seed without an address is no witness of anything: it is down.
fn judge_seeds(heard: &mut [Heard], providers: usize) {
    let suspects: BTreeSet<String> = heard
        .iter()
        .filter(|one| one.report.standing.is_suspect())
        .map(|one| one.report.provider.clone())
        .collect();
    let some_agree = heard
        .iter()
        .any(|one| one.report.standing == Standing::Agrees);
    let counts = |one: &&Heard| {
        let confirmed = one.report.standing == Standing::Agrees || !some_agree;
        confirmed && !suspects.contains(&one.report.provider)
    };
    let answers: Vec<Answer> = heard
        .chunks(providers)
        .map(|of_seed| {
            let named: BTreeSet<_> = of_seed.iter().filter(counts).flat_map(addresses).collect();
            Answer {
                addresses: Some(named).filter(|named| !named.is_empty()),
                witness: true,
                // A zone signs its own words; of other seeds it knows nothing.
                secure: false,
            }
        })
        .collect();
    for (of_seed, verdict) in heard.chunks_mut(providers).zip(agreement::judge(&answers)) {
        for one in of_seed {
            one.report.seed_standing = verdict.standing;
        }
    }
}

fn addresses(heard: &Heard) -> BTreeSet<SocketAddr> {
    heard.candidates.iter().map(|one| one.addr).collect()
}

/// Security events: who is contradicted by others or by signatures, and when all that we know comes from one party alone.
/// At most three lines for each provider and seed in a round, and rounds are a minute apart.
pub(super) fn log(reports: &[SeedReport]) {
    log_bogus(reports);
    let (mut providers, mut seeds) = (BTreeMap::new(), BTreeMap::new());
    let (mut providers_with, mut seeds_with) = (BTreeSet::new(), BTreeSet::new());
    for report in reports {
        let (provider, seed) = (report.provider.as_str(), report.seed.as_str());
        let against: &mut Vec<&str> = providers.entry(provider).or_default();
        if report.standing.is_suspect() {
            against.push(seed);
        }
        seeds.insert(seed, report.seed_standing);
        if report.addresses > 0 {
            providers_with.insert(provider);
            seeds_with.insert(seed);
        }
    }
    for (provider, against) in &providers {
        if !against.is_empty() {
            warn!(
                target: "security", event = "dns_disagreement", party = "provider", provider = *provider,
                seeds = %against.join(","),
                "a resolver's answers contradict those of others"
            );
        }
    }
    for (seed, standing) in &seeds {
        if standing.is_suspect() {
            warn!(
                target: "security", event = "dns_disagreement", party = "seed", seed = *seed,
                standing = standing.as_str(),
                "a DNS seed's answer contradicts those of others"
            );
        }
    }
    for (party, asked, with) in [
        ("provider", providers.len(), &providers_with),
        ("seed", seeds.len(), &seeds_with),
    ] {
        if let Some(only) = with.first()
            && with.len() == 1
            && asked > 1
        {
            warn!(
                target: "security", event = "dns_single_source", party, only = *only, asked,
                "all addresses of this round come from one alone"
            );
        }
    }
}

fn log_bogus(reports: &[SeedReport]) {
    let mut seeds: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for report in reports {
        if report.validation == Some(Validation::Bogus) {
            let provider = report.provider.as_str();
            seeds.entry(provider).or_default().push(&report.seed);
        }
    }
    for (provider, seeds) in seeds {
        warn!(
            target: "security", event = "dns_bogus", provider, seeds = %seeds.join(","),
            "answers with wrong or missing DNSSEC signatures were dropped"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Standing::{Agrees, Alone, Silent, Unclear};
    use super::*;
    use crate::network::discovery::Candidate;

    fn providers() -> Vec<Provider> {
        std::iter::once(Provider::System)
            .chain((1..5).map(|n| Provider::Server(SocketAddr::from(([127, 0, 0, n], 53)))))
            .collect()
    }

    fn heard(seed: &str, provider: &Provider, named: std::ops::Range<u8>) -> Heard {
        let mut report = SeedReport::new(seed, provider);
        report.addresses = named.len();
        let candidates = named.map(|n| Candidate {
            addr: SocketAddr::from(([20, n, 0, 1], 8333)),
            seed: Arc::from(seed),
            services: None,
            transports: None,
            node_id: None,
            named_by: 1,
        });
        Heard {
            candidates: candidates.collect(),
            report,
            denies: false,
        }
    }

    fn judged(rounds: &[(&str, [std::ops::Range<u8>; 5])]) -> Vec<SeedReport> {
        let providers = providers();
        let mut all = Vec::new();
        for (seed, answers) in rounds {
            for (provider, named) in providers.iter().zip(answers) {
                all.push(heard(seed, provider, named.clone()));
            }
        }
        judge(&mut all, &providers.iter().collect::<Vec<_>>());
        let reports: Vec<_> = all.into_iter().map(|one| one.report).collect();
        log(&reports);
        reports
    }

    #[test]
    fn a_liar_does_not_make_the_good_seed_look_alone() {
        // The liar, the last, says the same of every name; but for one, the seeds are down.
        let reports = judged(&[
            ("a", [1..6, 1..6, 3..8, 0..0, 90..99]),
            ("b", [0..0, 0..0, 0..0, 0..0, 90..99]),
            ("c", [0..0, 0..0, 0..0, 0..0, 90..99]),
        ]);
        let standings: Vec<_> = reports.iter().map(|r| r.standing).collect();
        assert_eq!(standings[..5], [Agrees, Agrees, Agrees, Silent, Alone]);
        assert_eq!(standings[5..10], [Silent, Silent, Silent, Silent, Unclear]);
        assert_eq!(reports[0].agrees_with, ["127.0.0.1:53", "127.0.0.2:53"]);
        assert_eq!(reports[0].shared, 5);
        assert_eq!(reports[0].seed_standing, Unclear);
        assert_eq!(reports[5].seed_standing, Silent);
    }

    #[test]
    fn a_poisoned_seed_stands_alone() {
        let good = || [0..0, 1..9, 2..10, 1..9, 2..10];
        let bad = || [0..0, 90..99, 90..99, 90..99, 90..99];
        let reports = judged(&[("a", good()), ("b", bad()), ("c", good())]);
        let seeds: Vec<_> = reports.iter().map(|r| r.seed_standing).collect();
        assert_eq!(seeds[..5], [Agrees; 5]);
        assert_eq!(seeds[5..10], [Alone; 5]);
        assert_eq!(seeds[10..], [Agrees; 5]);
        assert!(reports.iter().all(|r| !r.standing.is_suspect()));
    }

    #[test]
    fn a_round_without_questions_is_no_round() {
        judge(&mut [], &[]);
        log(&[]);
    }
}
