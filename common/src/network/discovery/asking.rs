//! Asks: one seed through one provider, four questions at once, within [`SEED_TIMEOUT`] in all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use super::records::{self, Candidate};
use super::{MAX_PER_SEED, Provider, SeedReport};

/// How long one seed may take through one provider, with everything: retries, TCP, targets of SRV. Since all are asked
/// at once, it is also how long a round takes at most.
pub(super) const SEED_TIMEOUT: Duration = Duration::from_secs(5);

/// How long UDP alone is given. Then TCP is tried beside it: some networks lose UDP, or fragments of it, without a word.
const TCP_AFTER: Duration = Duration::from_secs(1);

/// One attempt over UDP or TCP. Two attempts fit in [`SEED_TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Most name servers of the system that are asked at once. With fewer, those that are dead would use up the time.
const MAX_SYSTEM_SERVERS: usize = 4;

/// Questions that every seed is asked.
const QUESTIONS: usize = 4;

/// Places of [`MAX_PER_SEED`] that are kept for each answer still to come, so that no type crowds out another: A comes
/// first and could fill all, but TXT and SRV alone tell identities and other ports.
const KEPT_PER_QUESTION: usize = MAX_PER_SEED / QUESTIONS;

const _: () = assert!(KEPT_PER_QUESTION * QUESTIONS <= MAX_PER_SEED);

/// How addresses of a network are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) default_port: u16,
    pub(super) allow_private: bool,
}

/// What one seed said through one provider.
#[derive(Debug)]
pub(super) struct Heard {
    /// At most [`MAX_PER_SEED`], each once.
    pub(super) candidates: Vec<Candidate>,
    pub(super) report: SeedReport,
    /// Every question was answered, and there is no address in any answer.
    pub(super) denies: bool,
}

/// A provider's resolvers. Each question goes over UDP first, so both are needed at hand.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) provider: Provider,
    /// UDP, and TCP where an answer is truncated.
    udp: TokioResolver,
    tcp: TokioResolver,
}

impl Resolver {
    /// Opens nothing yet; an error is one of the system's configuration.
    pub(super) fn new(provider: &Provider) -> Result<Self, String> {
        let (config, mut options) = match provider {
            Provider::System => read_system_conf().map_err(|e| e.to_string())?,
            Provider::Server(addr) => (server_config(*addr), ResolverOpts::default()),
        };
        configure(&mut options, provider, config.name_servers.len());
        let mut tcp_config = config.clone();
        for server in &mut tcp_config.name_servers {
            server
                .connections
                .retain(|connection| connection.protocol == ProtocolConfig::Tcp);
        }
        let build = |config| {
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options.clone())
                .build()
                .map_err(|e| e.to_string())
        };
        Ok(Self {
            provider: provider.clone(),
            udp: build(config)?,
            tcp: build(tcp_config)?,
        })
    }

    /// Over UDP; over TCP as well when that fails, or takes long. Whichever answers first has answered.
    async fn lookup(&self, name: &Name, rtype: RecordType) -> Result<Lookup, NetError> {
        let mut by_udp = pin!(self.udp.lookup(name.clone(), rtype));
        match timeout(TCP_AFTER, by_udp.as_mut()).await {
            Ok(answer) if !is_silence(&answer) => return answer,
            Ok(_) => return self.tcp.lookup(name.clone(), rtype).await,
            Err(_) => {}
        }
        let by_tcp = pin!(self.tcp.lookup(name.clone(), rtype));
        match select(by_udp, by_tcp).await {
            Either::Left((answer, tcp)) if is_silence(&answer) => tcp.await,
            Either::Right((answer, udp)) if is_silence(&answer) => udp.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }
}

/// Whether nobody answered, or only with what is no DNS. A refusal is an answer, and the same over TCP.
fn is_silence(answer: &Result<Lookup, NetError>) -> bool {
    !matches!(answer, Ok(_) | Err(NetError::Dns(_)))
}

fn server_config(addr: SocketAddr) -> ResolverConfig {
    let mut udp = ConnectionConfig::udp();
    let mut tcp = ConnectionConfig::tcp();
    udp.port = addr.port();
    tcp.port = addr.port();
    let server = NameServerConfig::new(addr.ip(), true, vec![udp, tcp]);
    ResolverConfig::from_name_servers(vec![server])
}

fn configure(options: &mut ResolverOpts, provider: &Provider, servers: usize) {
    options.timeout = ATTEMPT_TIMEOUT;
    options.attempts = 1;
    options.edns0 = true;
    // Each round must see the seed as it is now.
    options.cache_size = 0;
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
    options.num_concurrent_reqs = servers.clamp(1, MAX_SYSTEM_SERVERS);
    if let Provider::Server(_) = provider {
        // The hosts file is the system's word, not this provider's.
        options.use_hosts_file = ResolveHosts::Never;
        // Who forges answers without seeing questions must guess their letters' case too. Not for the system's
        // resolver: some routers answer in lower case, and speak no TCP either.
        options.case_randomization = true;
    }
}

/// One question, and how its answer is read.
#[derive(Debug)]
struct Question {
    name: Name,
    rtype: RecordType,
    /// The port of plain addresses in the answer.
    port: u16,
    /// One of the four; else it asks for the address of an SRV target.
    of_four: bool,
}

#[derive(Debug)]
enum Reply {
    /// None, when the name has none of this type.
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// There is no such name.
    NoName,
    Failed(String),
}

/// Asks one seed (`name` or `name:port`) for all four types and merges what it says. `early` hears of each address as
/// soon as it has a place.
pub(super) async fn ask_seed(
    resolver: &Resolver,
    seed: &str,
    rules: Rules,
    early: Option<&mpsc::Sender<Vec<Candidate>>>,
) -> Heard {
    let (name, port) = split_port(seed, rules.default_port);
    let told_by: Arc<str> = name.into();
    let start = Instant::now();
    let deadline = start + SEED_TIMEOUT;
    let mut report = SeedReport::new(name, &resolver.provider);
    let mut share = Share::default();
    let mut pending = FuturesUnordered::new();
    let (mut four_left, mut targets_left, mut settled) = (0, 0, 0);
    match four_questions(name, port) {
        Ok(questions) => {
            for question in questions {
                four_left += 1;
                pending.push(ask(resolver, question, deadline));
            }
        }
        Err(error) => report.error = Some(error),
    }
    while let Some((question, reply)) = pending.next().await {
        if question.of_four {
            four_left -= 1;
        } else {
            targets_left -= 1;
        }
        let (answers, additionals) = match reply {
            Reply::Records {
                answers,
                additionals,
            } => {
                report.answered += usize::from(question.of_four);
                (answers, additionals)
            }
            Reply::NoName => {
                if question.of_four {
                    settled += 1;
                    report.error = Some("there is no such name".to_owned());
                }
                (Vec::new(), Vec::new())
            }
            Reply::Failed(error) => {
                debug!(seed = name, provider = %resolver.provider, ?question, error, "no answer");
                if question.of_four {
                    report.error = Some(error);
                }
                (Vec::new(), Vec::new())
            }
        };
        if question.of_four && question.rtype == RecordType::SRV {
            for (target, port) in records::targets_without_address(&answers, &additionals) {
                for rtype in [RecordType::A, RecordType::AAAA] {
                    let question = Question {
                        name: target.clone(),
                        rtype,
                        port,
                        of_four: false,
                    };
                    targets_left += 1;
                    pending.push(ask(resolver, question, deadline));
                }
            }
        }
        let mut read = records::read(
            question.rtype,
            &answers,
            &additionals,
            question.port,
            rules.allow_private,
        );
        for candidate in &mut read {
            candidate.seed = Arc::clone(&told_by);
        }
        // The targets of SRV together have one share.
        let to_come = four_left + usize::from(question.of_four && targets_left > 0);
        let news = share.take(read, to_come);
        if news.is_empty() {
            continue;
        }
        report
            .first_answer_us
            .get_or_insert(start.elapsed().as_micros() as u64);
        if let Some(early) = early {
            // The listener may have heard enough and gone, or not listen; the merged answer still counts.
            let _ = timeout_at(deadline, early.send(news)).await;
        }
    }
    settled += report.answered;
    report.addresses = share.taken.len();
    info!(
        seed = name,
        provider = %resolver.provider,
        addresses = report.addresses,
        answered = report.answered,
        error = report.error.as_deref().unwrap_or("none"),
        "asked a DNS seed"
    );
    Heard {
        denies: settled == QUESTIONS && share.taken.is_empty(),
        candidates: share.taken.into_values().collect(),
        report,
    }
}

fn four_questions(seed: &str, port: u16) -> Result<[Question; QUESTIONS], String> {
    let apex = format!("{}.", seed.trim_end_matches('.'));
    let question = |name: &str, rtype| {
        let name = Name::from_utf8(name).map_err(|error| error.to_string())?;
        Ok::<_, String>(Question {
            name,
            rtype,
            port,
            of_four: true,
        })
    };
    Ok([
        question(&format!("_qtc._tcp.{apex}"), RecordType::SRV)?,
        question(&apex, RecordType::TXT)?,
        question(&apex, RecordType::A)?,
        question(&apex, RecordType::AAAA)?,
    ])
}

/// Asks one question. That there is nothing is an answer.
async fn ask(resolver: &Resolver, question: Question, deadline: Instant) -> (Question, Reply) {
    let lookup = resolver.lookup(&question.name, question.rtype);
    let reply = match timeout_at(deadline, lookup).await {
        Ok(Ok(lookup)) => Reply::Records {
            answers: lookup.answers().to_vec(),
            additionals: lookup.additionals().to_vec(),
        },
        Ok(Err(error)) if error.is_nx_domain() => Reply::NoName,
        Ok(Err(error)) if error.is_no_records_found() => Reply::Records {
            answers: Vec::new(),
            additionals: Vec::new(),
        },
        Ok(Err(error)) => Reply::Failed(error.to_string()),
        Err(_) => Reply::Failed(format!("no answer within {} s", SEED_TIMEOUT.as_secs())),
    };
    (question, reply)
}

/// The addresses that are taken of one seed through one provider.
#[derive(Debug, Default)]
struct Share {
    taken: HashMap<SocketAddr, Candidate>,
    /// Those that found no place, which are taken when others need less than was kept for them.
    spare: Vec<Candidate>,
}

impl Share {
    /// Takes what was `read` in an answer, as far as there is room beside what is kept for answers `to_come`. Returns
    /// what is new, or better described than before.
    fn take(&mut self, read: Vec<Candidate>, to_come: usize) -> Vec<Candidate> {
        let room = MAX_PER_SEED.saturating_sub(to_come * KEPT_PER_QUESTION);
        let mut news = Vec::new();
        let waiting = std::mem::take(&mut self.spare);
        for candidate in read.into_iter().chain(waiting) {
            if let Some(known) = self.taken.get_mut(&candidate.addr) {
                let before = known.clone();
                known.merge(&candidate);
                if *known != before {
                    news.push(known.clone());
                }
            } else if self.taken.len() < room {
                self.taken.insert(candidate.addr, candidate.clone());
                news.push(candidate);
            } else {
                self.spare.push(candidate);
            }
        }
        news
    }
}

/// Splits `name:port`; the chain spec has checked the form.
fn split_port(seed: &str, default_port: u16) -> (&str, u16) {
    match seed.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(default_port)),
        None => (seed, default_port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seeds_may_name_a_port() {
        let named = split_port("seed1.quantumcoin.network:9000", 8333);
        assert_eq!(named, ("seed1.quantumcoin.network", 9000));
        let bare = split_port("seed1.quantumcoin.network", 8333);
        assert_eq!(bare, ("seed1.quantumcoin.network", 8333));
    }

    #[test]
    fn a_seed_that_is_no_name_is_told_of() {
        let long = "a".repeat(64);
        assert!(four_questions(&long, 8333).is_err());
        let questions = four_questions("seed1.test.", 8333).unwrap();
        let names = questions.map(|question| question.name.to_ascii());
        assert_eq!(names[0], "_qtc._tcp.seed1.test.");
        assert_eq!(names[1..], ["seed1.test."; 3]);
    }

    fn plain(n: u8) -> Candidate {
        Candidate {
            addr: SocketAddr::from(([9, 9, 9, n], 8333)),
            seed: Arc::default(),
            services: None,
            transports: None,
            node_id: None,
            named_by: 1,
        }
    }

    fn described(n: u8) -> Candidate {
        Candidate {
            node_id: Some([n; 32]),
            ..plain(n)
        }
    }

    #[test]
    fn no_type_crowds_out_another() {
        let mut share = Share::default();
        assert_eq!(share.take((0..24).map(plain).collect(), 3).len(), 8);
        assert_eq!(share.take((100..124).map(described).collect(), 2).len(), 8);
        assert!(
            share.take(Vec::new(), 1).len() >= 8,
            "others take what was kept"
        );
        assert_eq!(share.take((200..202).map(plain).collect(), 0).len(), 8);
        assert_eq!(share.taken.len(), MAX_PER_SEED);
        assert!(share.taken.contains_key(&plain(201).addr));
    }

    #[test]
    fn a_better_description_is_news() {
        let mut share = Share::default();
        assert_eq!(share.take(vec![plain(1)], 3), [plain(1)]);
        assert_eq!(share.take(vec![described(1)], 2), [described(1)]);
        assert!(share.take(vec![plain(1), described(1)], 1).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_taken_was_told_early_and_is_bounded(
            answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), QUESTIONS)
        ) {
            let (mut share, mut told) = (Share::default(), HashMap::new());
            for (at, answer) in answers.iter().enumerate() {
                let read = answer.iter().copied().map(plain).collect();
                let to_come = QUESTIONS - 1 - at;
                for candidate in share.take(read, to_come) {
                    told.insert(candidate.addr, candidate);
                }
                prop_assert!(share.taken.len() + to_come * KEPT_PER_QUESTION <= MAX_PER_SEED);
                prop_assert_eq!(&share.taken, &told);
            }
            let named: std::collections::HashSet<_> = answers.iter().flatten().collect();
            prop_assert_eq!(share.taken.len(), named.len().min(MAX_PER_SEED));
        }
    }
}
