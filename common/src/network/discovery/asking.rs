//! Asks: one seed through one provider, four questions at once, within [`SEED_TIMEOUT`] in all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::records::{self, Candidate};
use super::trust::{DnsTrust, Dnssec, Validation};
use super::upstream::Upstream;
use super::validation::{Answer, Conversation};
use super::{MAX_PER_SEED, Provider, SeedReport};

/// How long one seed may take through one provider, with everything: retries, TCP, keys, targets of SRV. Since all are
/// asked at once, it is also how long a round takes at most.
pub(super) const SEED_TIMEOUT: Duration = Duration::from_secs(5);

/// When an answer that is there is no longer held back to be validated.
const VALIDATION_ENDS: Duration = Duration::from_secs(4);

const _: () = assert!(VALIDATION_ENDS.as_secs() < SEED_TIMEOUT.as_secs());

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

impl Heard {
    /// Whether all of it is signed by the zone.
    pub(super) fn is_secure(&self) -> bool {
        self.report.validation == Some(Validation::Secure)
    }
}

/// A provider, and the way to it.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) provider: Provider,
    upstream: Upstream,
    trust: DnsTrust,
}

impl Resolver {
    /// Opens nothing yet; an error is one of the configuration.
    pub(super) fn new(provider: &Provider, trust: &DnsTrust) -> Result<Self, String> {
        Ok(Self {
            provider: provider.clone(),
            upstream: Upstream::new(provider, trust)?,
            trust: trust.clone(),
        })
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

/// An answer and how far it is proven, or why there is none.
type Reply = Result<(Answer, Validation), String>;

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
    let conversation =
        Conversation::new(&resolver.upstream, &resolver.trust, start + VALIDATION_ENDS);
    let conversation = &conversation;
    let mut tally = Tally::new(name, resolver);
    let mut share = Share::default();
    let mut pending = FuturesUnordered::new();
    let (mut four_left, mut targets_left) = (0, 0);
    match four_questions(name, port) {
        Ok(questions) => {
            for question in questions {
                four_left += 1;
                pending.push(ask(conversation, question, deadline));
            }
        }
        Err(error) => tally.report.error = Some(error),
    }
    while let Some((question, reply)) = pending.next().await {
        if question.of_four {
            four_left -= 1;
        } else {
            targets_left -= 1;
        }
        let Answer {
            records: answers,
            additionals,
            ..
        } = tally.take(&question, reply);
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
                    pending.push(ask(conversation, question, deadline));
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
        tally
            .report
            .first_answer_us
            .get_or_insert(start.elapsed().as_micros() as u64);
        if let Some(early) = early {
            // The listener may have heard enough and gone, or not listen; the merged answer still counts.
            let _ = timeout_at(deadline, early.send(news)).await;
        }
    }
    let settled = tally.no_names + tally.report.answered;
    let mut report = tally.report;
    report.addresses = share.taken.len();
    info!(
        seed = name,
        provider = %resolver.provider,
        addresses = report.addresses,
        answered = report.answered,
        validation = report.validation.map_or("none", Validation::as_str),
        error = report.error.as_deref().unwrap_or("none"),
        "asked a DNS seed"
    );
    Heard {
        denies: settled == QUESTIONS && share.taken.is_empty(),
        candidates: share.taken.into_values().collect(),
        report,
    }
}

/// What came of the questions so far.
struct Tally {
    report: SeedReport,
    /// Questions out of the four to which there is no such name.
    no_names: usize,
    dnssec: Dnssec,
}

impl Tally {
    fn new(seed: &str, resolver: &Resolver) -> Self {
        Self {
            report: SeedReport::new(seed, &resolver.provider),
            no_names: 0,
            dnssec: resolver.trust.dnssec,
        }
    }

    /// Writes down a reply, and returns what may be used of it.
    fn take(&mut self, question: &Question, reply: Reply) -> Answer {
        let refused = match reply {
            Ok((answer, validation)) => {
                self.report.validation = self.report.validation.max(Some(validation));
                match refusal(validation, self.dnssec) {
                    None => {
                        self.count(question, &answer);
                        return answer;
                    }
                    Some(reason) => reason.to_owned(),
                }
            }
            Err(error) => error,
        };
        let report = &mut self.report;
        debug!(
            seed = %report.seed,
            provider = %report.provider,
            ?question,
            refused,
            "no answer"
        );
        if question.of_four {
            report.error = Some(refused);
        }
        Answer::default()
    }

    fn count(&mut self, question: &Question, answer: &Answer) {
        if !question.of_four {
            return;
        }
        if answer.no_name {
            self.no_names += 1;
            // It explains less than any other failure does.
            let nothing = || "there is no such name".to_owned();
            self.report.error.get_or_insert_with(nothing);
        } else {
            self.report.answered += 1;
        }
    }
}

/// Why an answer can't be used.
fn refusal(validation: Validation, dnssec: Dnssec) -> Option<&'static str> {
    let required = dnssec == Dnssec::Require;
    match validation {
        Validation::Bogus => Some("bogus: its DNSSEC signatures are wrong or missing"),
        Validation::Insecure if required => {
            Some("insecure: the zone is not signed, and DNSSEC is required")
        }
        Validation::Indeterminate if required => Some(
            "indeterminate: DNSSEC is required, and the resolver hands on no signatures (or no \
             trust anchor is above the name)",
        ),
        _ => None,
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

/// Asks one question.
async fn ask(
    conversation: &Conversation<'_>,
    question: Question,
    deadline: Instant,
) -> (Question, Reply) {
    let asked = conversation.ask(&question.name, question.rtype);
    let reply = match timeout_at(deadline, asked).await {
        Ok(reply) => reply.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", SEED_TIMEOUT.as_secs())),
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
