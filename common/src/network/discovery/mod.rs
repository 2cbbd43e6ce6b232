//! Discovery: from nothing but names to addresses of peers.
//!
//! Every seed of the chain spec is asked for SRV, TXT, A and AAAA at once, through every provider at once;
//! answers are merged. A provider or seed that fails, lies or hangs takes nothing from the others: each
//! seed gives at most [`MAX_PER_SEED`] addresses for each provider, and every question has a deadline.
//!
//! [`records`] reads what DNS said (pure); [`Discovery`] asks.

pub mod records;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Record, RecordType};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::chain_spec::ChainSpec;

pub use records::Candidate;

/// Most addresses taken of one seed through one provider, so that one poisoned seed can't fill the store.
pub const MAX_PER_SEED: usize = 32;

/// How long one question may take, retries included.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Where questions go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The resolvers that the operating system names.
    System,
    /// This resolver (or authoritative server), over UDP, and TCP where an answer is truncated.
    Server(SocketAddr),
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Server(addr) => addr.fmt(f),
        }
    }
}

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
    /// Addresses, best described first; each address once.
    pub candidates: Vec<Candidate>,
    /// What each seed answered.
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
    /// The last failure.
    pub error: Option<String>,
}

/// Asks DNS seeds. Cheap to keep; each round asks anew.
#[derive(Debug)]
pub struct Discovery {
    resolvers: Vec<(Provider, Arc<TokioResolver>)>,
    default_port: u16,
    allow_private: bool,
}

impl Discovery {
    /// Prepares resolvers for `providers`; a provider that can't be used is left out with a warning.
    ///
    /// # Errors
    /// When no provider can be used.
    pub fn new(spec: &ChainSpec, providers: &[Provider]) -> Result<Self, DiscoveryError> {
        let mut resolvers = Vec::new();
        let mut last = None;
        for provider in providers {
            match resolver(provider) {
                Ok(resolver) => resolvers.push((provider.clone(), Arc::new(resolver))),
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
                default_port: spec.network_protocol.default_port,
                allow_private: spec.network_protocol.allow_private_addresses,
            }),
        }
    }

    /// Asks all `seeds` (as `name` or `name:port`). `early` hears of addresses as each answer comes, so
    /// that dialling need not wait for the slowest seed.
    pub async fn run(
        &self,
        seeds: &[String],
        early: Option<&mpsc::Sender<Vec<Candidate>>>,
    ) -> Found {
        let mut rounds = FuturesUnordered::new();
        for seed in seeds {
            for (provider, resolver) in &self.resolvers {
                rounds.push(self.ask_seed(seed, provider, Arc::clone(resolver), early));
            }
        }
        let mut merged: HashMap<SocketAddr, Candidate> = HashMap::new();
        let mut found = Found::default();
        while let Some((candidates, report)) = rounds.next().await {
            for candidate in candidates {
                merged
                    .entry(candidate.addr)
                    .or_insert_with(|| candidate.clone())
                    .merge(&candidate);
            }
            found.seeds.push(report);
        }
        log_loners(&found.seeds);
        found.candidates = merged.into_values().collect();
        found
            .candidates
            .sort_by_key(|c| (c.node_id.is_none(), c.addr));
        found
    }

    /// Asks one seed for all four types and merges what it says.
    async fn ask_seed(
        &self,
        seed: &str,
        provider: &Provider,
        resolver: Arc<TokioResolver>,
        early: Option<&mpsc::Sender<Vec<Candidate>>>,
    ) -> (Vec<Candidate>, SeedReport) {
        let (name, port) = split_port(seed, self.default_port);
        let told_by: Arc<str> = name.into();
        let start = Instant::now();
        let mut report = SeedReport {
            seed: name.to_owned(),
            provider: provider.to_string(),
            addresses: 0,
            answered: 0,
            first_answer_us: None,
            error: None,
        };
        let apex = format!("{}.", name.trim_end_matches('.'));
        let questions = [
            (format!("_qtc._tcp.{apex}"), RecordType::SRV),
            (apex.clone(), RecordType::TXT),
            (apex.clone(), RecordType::A),
            (apex, RecordType::AAAA),
        ];
        let mut answers: FuturesUnordered<_> = questions
            .into_iter()
            .map(|(name, rtype)| {
                let resolver = Arc::clone(&resolver);
                async move { (rtype, ask(&resolver, name, rtype).await) }
            })
            .collect();
        let mut merged: HashMap<SocketAddr, Candidate> = HashMap::new();
        while let Some((rtype, answer)) = answers.next().await {
            match answer {
                Ok(records) => {
                    report.answered += 1;
                    let mut read = records::read(&records, port, self.allow_private);
                    for candidate in &mut read {
                        candidate.seed = Arc::clone(&told_by);
                    }
                    if !read.is_empty() && report.first_answer_us.is_none() {
                        report.first_answer_us = Some(start.elapsed().as_micros() as u64);
                    }
                    if let Some(early) = early {
                        let room = MAX_PER_SEED.saturating_sub(merged.len());
                        // The listener may have heard enough and gone; the merged answer still counts.
                        let _ = early.send(read.iter().take(room).cloned().collect()).await;
                    }
                    for candidate in read {
                        if merged.len() < MAX_PER_SEED || merged.contains_key(&candidate.addr) {
                            merged
                                .entry(candidate.addr)
                                .or_insert_with(|| candidate.clone())
                                .merge(&candidate);
                        }
                    }
                }
                Err(error) => {
                    debug!(seed = name, %provider, ?rtype, error, "seed gave no answer");
                    report.error = Some(error);
                }
            }
        }
        report.addresses = merged.len();
        info!(
            seed = name,
            %provider,
            addresses = report.addresses,
            answered = report.answered,
            error = report.error.as_deref().unwrap_or("none"),
            "asked a DNS seed"
        );
        (merged.into_values().collect(), report)
    }
}

/// Asks one question. An empty answer is an answer.
async fn ask(
    resolver: &TokioResolver,
    name: String,
    rtype: RecordType,
) -> Result<Vec<Record>, String> {
    match tokio::time::timeout(QUESTION_TIMEOUT, resolver.lookup(name, rtype)).await {
        Ok(Ok(lookup)) => {
            let mut records = lookup.answers().to_vec();
            records.extend_from_slice(lookup.additionals());
            if rtype == RecordType::SRV {
                add_targets(resolver, &mut records).await;
            }
            Ok(records)
        }
        Ok(Err(error)) if error.is_no_records_found() && !error.is_nx_domain() => Ok(Vec::new()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", QUESTION_TIMEOUT.as_secs())),
    }
}

/// Resolves SRV targets whose addresses did not come along.
async fn add_targets(resolver: &TokioResolver, records: &mut Vec<Record>) {
    let mut lookups: FuturesUnordered<_> = records::targets_without_address(records)
        .into_iter()
        .take(MAX_PER_SEED)
        .map(|target| async move {
            tokio::time::timeout(QUESTION_TIMEOUT, resolver.lookup_ip(target)).await
        })
        .collect();
    let mut extra = Vec::new();
    while let Some(result) = lookups.next().await {
        if let Ok(Ok(lookup)) = result {
            extra.extend_from_slice(lookup.as_lookup().answers());
        }
    }
    drop(lookups);
    records.append(&mut extra);
}

/// A provider or seed that is alone with its answer is worth a line: it may lie, or be the only one up.
fn log_loners(seeds: &[SeedReport]) {
    let answering: Vec<_> = seeds.iter().filter(|s| s.addresses > 0).collect();
    if seeds.len() > 1
        && let [only] = answering.as_slice()
    {
        warn!(seed = %only.seed, provider = %only.provider, "only one seed gave addresses");
    }
}

/// Splits `name:port`; the chain spec has checked the form.
fn split_port(seed: &str, default_port: u16) -> (&str, u16) {
    match seed.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(default_port)),
        None => (seed, default_port),
    }
}

fn resolver(provider: &Provider) -> Result<TokioResolver, String> {
    let mut builder = match provider {
        Provider::System => TokioResolver::builder_tokio().map_err(|e| e.to_string())?,
        Provider::Server(addr) => {
            let mut udp = ConnectionConfig::udp();
            let mut tcp = ConnectionConfig::tcp();
            udp.port = addr.port();
            tcp.port = addr.port();
            let server = NameServerConfig::new(addr.ip(), true, vec![udp, tcp]);
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(vec![server]),
                TokioRuntimeProvider::default(),
            )
        }
    };
    configure(builder.options_mut());
    builder.build().map_err(|e| e.to_string())
}

fn configure(options: &mut ResolverOpts) {
    options.timeout = Duration::from_secs(2);
    options.attempts = 1;
    options.edns0 = true;
    // Each round must see the seed as it is now.
    options.cache_size = 0;
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_may_name_a_port() {
        assert_eq!(split_port("seed1.quantumcoin.network:9000", 8333).1, 9000);
        assert_eq!(split_port("seed1.quantumcoin.network", 8333).1, 8333);
    }
}
