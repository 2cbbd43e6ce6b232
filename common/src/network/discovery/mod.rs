//! Discovery: from nothing but names to addresses of peers.
//!
//! Every seed of the chain spec is asked for SRV, TXT, A and AAAA at once, through every provider at once; answers are
//! merged. A provider or seed that fails, lies or hangs takes nothing from the others: each seed gives at most
//! [`MAX_PER_SEED`] addresses for each provider, those of each answer are told as soon as they are read, and a round
//! ends within a fixed time. Whose answer others contradict is logged, and stands in [`SeedReport`].
//!
//! | module | what it does |
//! |---|---|
//! | [`records`] | reads what DNS said (pure) |
//! | [`agreement`] | whether answers agree (pure) |
//! | `provider` | whom to ask: the system's resolver or others, over UDP and TCP, TLS or HTTPS |
//! | `trust` | whose signatures and certificates count, and what is asked of them |
//! | `upstream` | the way to one provider: UDP, then TCP as well; or TLS |
//! | `validation` | DNSSEC: how far an answer is proven |
//! | `asking` | one seed through one provider |
//! | `round` | applies `agreement` to a round, and tells the log |
//!
//! [`Discovery`] puts them together. All that is taken from DNS is whom to dial; who answers there proves who he is by
//! himself. So an answer that nobody signed does little harm, and is taken unless [`Dnssec::Require`] says otherwise.

pub mod agreement;
mod asking;
mod provider;
pub mod records;
mod round;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_secure;
#[cfg(test)]
mod tests_server;
mod trust;
mod upstream;
mod validation;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::warn;

use crate::chain_spec::ChainSpec;
use asking::{Heard, Resolver, Rules, ask_seed};

pub use agreement::Standing;
pub use provider::{Provider, ProviderError};
pub use records::Candidate;
pub use trust::{DnsTrust, Dnssec, TrustError, Validation};

/// Most addresses taken of one seed through one provider, so that one poisoned seed can't fill the store.
pub const MAX_PER_SEED: usize = 32;

/// Why discovery could not even begin.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// A provider's resolver could not be made.
    #[error("resolver {provider} can't be used: {reason}")]
    Provider {
        /// Which.
        provider: Provider,
        /// Why.
        reason: String,
    },
}

/// What one round found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Addresses: those first that a zone signed, then those that most providers named, then the best described; each
    /// address once.
    pub candidates: Vec<Candidate>,
    /// What each seed answered, seed by seed.
    pub seeds: Vec<SeedReport>,
}

/// What one seed answered through one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeedReport {
    /// The seed's name.
    pub seed: String,
    /// Who was asked.
    pub provider: String,
    /// Addresses in the answers, before merging.
    pub addresses: usize,
    /// Questions out of four that got an answer, an empty one included.
    pub answered: usize,
    /// Microseconds until the first answer with an address.
    pub first_answer_us: Option<u64>,
    /// How far its answers are proven: the worst of them; `None` when there was none.
    pub validation: Option<Validation>,
    /// The last failure.
    pub error: Option<String>,
    /// How this answer stands to those of the other providers for the same seed.
    pub standing: Standing,
    /// The providers whose answers for this seed overlap this one.
    pub agrees_with: Vec<String>,
    /// How many of the addresses other providers named for this seed too.
    pub shared: usize,
    /// How the seed, by all providers together, stands to the other seeds.
    pub seed_standing: Standing,
}

impl SeedReport {
    /// Of a seed that has not answered yet.
    fn new(seed: &str, provider: &Provider) -> Self {
        Self {
            seed: seed.to_owned(),
            provider: provider.to_string(),
            addresses: 0,
            answered: 0,
            first_answer_us: None,
            validation: None,
            error: None,
            standing: Standing::Silent,
            agrees_with: Vec::new(),
            shared: 0,
            seed_standing: Standing::Silent,
        }
    }
}

/// Asks DNS seeds. Cheap to keep; each round asks anew.
#[derive(Debug)]
pub struct Discovery {
    resolvers: Vec<Resolver>,
    rules: Rules,
}

impl Discovery {
    /// As [`Self::with_trust`], with what is trusted by default.
    ///
    /// # Errors
    /// When no provider can be used.
    pub fn new(spec: &ChainSpec, providers: &[Provider]) -> Result<Self, DiscoveryError> {
        Self::with_trust(spec, providers, &DnsTrust::default())
    }

    /// Prepares resolvers for `providers`, each once; a provider that can't be used is left out with a warning.
    ///
    /// # Errors
    /// When no provider can be used.
    pub fn with_trust(
        spec: &ChainSpec,
        providers: &[Provider],
        trust: &DnsTrust,
    ) -> Result<Self, DiscoveryError> {
        let mut resolvers: Vec<Resolver> = Vec::new();
        let mut last = None;
        for provider in providers {
            // Asked twice, a liar would confirm himself.
            if resolvers.iter().any(|known| known.provider == *provider) {
                continue;
            }
            match Resolver::new(provider, trust) {
                Ok(resolver) => resolvers.push(resolver),
                Err(reason) => {
                    warn!(%provider, reason, "resolver left out");
                    last = Some(DiscoveryError::Provider {
                        provider: provider.clone(),
                        reason,
                    });
                }
            }
        }
        match last {
            Some(error) if resolvers.is_empty() => Err(error),
            _ => Ok(Self {
                resolvers,
                rules: Rules {
                    default_port: spec.network_protocol.default_port,
                    allow_private: spec.network_protocol.allow_private_addresses,
                },
            }),
        }
    }

    /// Asks all `seeds` (as `name` or `name:port`). `early` hears of addresses as each answer comes, so
    /// that dialling need not wait for the slowest seed; in all it hears of every candidate. A listener that does not
    /// listen loses what it could have heard, and does not make the round longer.
    pub async fn run(
        &self,
        seeds: &[String],
        early: Option<&mpsc::Sender<Vec<Candidate>>>,
    ) -> Found {
        let mut asked = FuturesUnordered::new();
        for (row, seed) in seeds.iter().enumerate() {
            for (column, resolver) in self.resolvers.iter().enumerate() {
                let rules = self.rules;
                asked.push(async move {
                    let heard = ask_seed(resolver, seed, rules, early).await;
                    ((row, column), heard)
                });
            }
        }
        let mut round = Vec::new();
        while let Some(heard) = asked.next().await {
            round.push(heard);
        }
        drop(asked);
        round.sort_by_key(|(place, _)| *place);
        let mut round: Vec<Heard> = round.into_iter().map(|(_, heard)| heard).collect();
        let providers: Vec<&Provider> = self.resolvers.iter().map(|r| &r.provider).collect();
        round::judge(&mut round, &providers);
        let candidates = merge(&round);
        let seeds: Vec<SeedReport> = round.into_iter().map(|heard| heard.report).collect();
        round::log(&seeds);
        Found { candidates, seeds }
    }
}

/// Each address once, with what is said of it: first what zones signed, then by those whom others confirm, before those
/// whom others contradict.
fn merge(round: &[Heard]) -> Vec<Candidate> {
    let mut by_trust: Vec<&Heard> = round.iter().collect();
    by_trust.sort_by_key(|heard| (!heard.is_secure(), heard.report.standing));
    let mut merged: HashMap<SocketAddr, Merged<'_>> = HashMap::new();
    for heard in by_trust {
        for candidate in &heard.candidates {
            let known = merged.entry(candidate.addr).or_insert_with(|| Merged {
                candidate: candidate.clone(),
                providers: BTreeSet::new(),
                secure: false,
            });
            known.candidate.merge(candidate);
            known.providers.insert(heard.report.provider.as_str());
            known.secure |= heard.is_secure();
        }
    }
    let mut merged: Vec<Merged<'_>> = merged.into_values().collect();
    merged.sort_by_key(|known| {
        let Candidate { addr, node_id, .. } = known.candidate;
        let named_by = Reverse(known.providers.len());
        (!known.secure, named_by, node_id.is_none(), addr)
    });
    let candidates = merged.into_iter().map(|known| Candidate {
        named_by: known.providers.len(),
        ..known.candidate
    });
    candidates.collect()
}

/// An address, and who named it.
struct Merged<'a> {
    candidate: Candidate,
    providers: BTreeSet<&'a str>,
    /// Whether a zone signed it.
    secure: bool,
}
