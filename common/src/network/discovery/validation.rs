//! Asks one provider about one seed, and says how far each answer is proven (RFC 4035).
//!
//! An answer is asked for with its signatures and, unless nobody wants to know, validated up to a trust anchor. Keys
//! and delegations on the way there are asked of the same provider, each once. A provider that hands on no signatures
//! (some routers do not) is found out by the anchor's own keys: when not even they come with good signatures, nothing of
//! what it says can be judged, and all of it is [`Validation::Indeterminate`]. When they do, what does not validate is
//! [`Validation::Bogus`].
//!
//! Who sits on the way can take away all signatures too and bring about the former; against that helps an encrypted
//! provider, or [`Dnssec::Require`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::{Stream, once};
use hickory_resolver::caching_client::CachingClient;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordType};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::trust::{Anchors, DnsTrust, Dnssec, Validation};
use super::upstream::Upstream;

/// How long a provider may take to show that it hands on signatures. A root's keys are one question, or two when they
/// come by TCP.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long the way up to the anchor may take: some six to twelve questions, one after the other.
const VALIDATION_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Most questions to one provider about one seed, those for keys and delegations included. Ours need about 20, and with
/// eight SRV targets in unsigned zones 50; without a limit a stranger's answer of many names would make us ask for each.
const MAX_QUESTIONS: usize = 96;

/// Most aliases of a name that are followed, as hickory does.
const MAX_ALIASES: usize = 8;

/// Most bytes of answers kept of one seed through one provider. Ours have about 20 KiB.
const MAX_BYTES: usize = 512 * 1_024;

/// What is asked of one provider about one seed.
pub(super) struct Conversation<'a> {
    memory: Memory,
    trust: &'a DnsTrust,
    /// When what is not validated yet counts as [`Validation::Indeterminate`].
    until: Instant,
}

/// An answer with all that counts of it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// None, when the name has none of the type.
    pub(super) records: Vec<Record>,
    /// Those with addresses of SRV targets may be among them.
    pub(super) additionals: Vec<Record>,
    /// There is no such name.
    pub(super) no_name: bool,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(upstream: &Upstream, trust: &'a DnsTrust, until: Instant) -> Self {
        let memory = Memory {
            upstream: upstream.clone(),
            shared: Arc::default(),
            signatures: trust.dnssec != Dnssec::Off,
            view: None,
        };
        Self {
            memory,
            trust,
            until,
        }
    }

    /// The answer and how far it is proven. A bogus one is empty.
    pub(super) async fn ask(
        &self,
        name: &Name,
        rtype: RecordType,
    ) -> Result<(Answer, Validation), NetError> {
        let query = Query::query(name.clone(), rtype);
        if let Some(local) = self.memory.upstream.hosts().lookup_static_host(&query) {
            return Ok((answer(name, Ok(local))?, Validation::Indeterminate));
        }
        let plain = lookup(self.memory.clone(), query.clone());
        let (plain, can_be_judged) = join(plain, self.can_judge(name)).await;
        let plain = answer(name, plain)?;
        if !can_be_judged {
            return Ok((plain, Validation::Indeterminate));
        }
        Ok(match self.validate(query).await {
            (Validation::Secure, proven) => (proven, Validation::Secure),
            (Validation::Bogus, _) => (Answer::default(), Validation::Bogus),
            (validation, _) => (plain, validation),
        })
    }

    /// Whether answers about `name` can be judged: the provider hands on the signatures of an anchor above it.
    async fn can_judge(&self, name: &Name) -> bool {
        let anchors = self.trust.anchors();
        match anchors.zone_above(name) {
            Some(zone) if self.trust.dnssec != Dnssec::Off => {
                let probe = self.hands_on_signatures(anchors, zone);
                timeout_at(self.within(PROBE_TIMEOUT), probe).await == Ok(true)
            }
            _ => false,
        }
    }

    /// How far the answer is proven, and if it is secure, what is proven of it.
    async fn validate(&self, query: Query) -> (Validation, Answer) {
        let name = query.name().clone();
        let (validating, gap) = self.validating(self.trust.anchors());
        let looked_up = timeout_at(self.within(VALIDATION_TIMEOUT), lookup(validating, query));
        let Ok(looked_up) = looked_up.await else {
            return (Validation::Indeterminate, Answer::default());
        };
        match state(&name, &looked_up) {
            // What could not be asked is no proof of anything.
            Validation::Bogus if gap.load(Ordering::Relaxed) => {
                (Validation::Indeterminate, Answer::default())
            }
            Validation::Secure => {
                let answer = answer(&name, looked_up).unwrap_or_default();
                (Validation::Secure, proven(answer))
            }
            other => (other, Answer::default()),
        }
    }

    fn within(&self, time: Duration) -> Instant {
        (Instant::now() + time).min(self.until)
    }

    /// Whether the keys of `zone`, an anchor's, come with good signatures.
    async fn hands_on_signatures(&self, anchors: &Anchors, zone: &Name) -> bool {
        let (validating, _) = self.validating(anchors);
        let query = Query::query(zone.clone(), RecordType::DNSKEY);
        let Ok(keys) = validating.lookup(query, options()).first_answer().await else {
            return false;
        };
        let mut keys = keys
            .answers
            .iter()
            .filter(|key| key.record_type() == RecordType::DNSKEY)
            .peekable();
        keys.peek().is_some() && keys.all(|key| key.proof.is_secure())
    }

    /// A validator, and whether it lacked an answer.
    fn validating(&self, anchors: &Anchors) -> (DnssecDnsHandle<Memory>, Arc<AtomicBool>) {
        let gap = Arc::new(AtomicBool::new(false));
        let memory = Memory {
            view: Some(Arc::clone(&gap)),
            ..self.memory.clone()
        };
        let keys = Arc::clone(anchors.keys());
        (DnssecDnsHandle::with_trust_anchor(memory, keys), gap)
    }
}

/// As a resolver does: follows aliases.
async fn lookup<H: DnsHandle>(handle: H, query: Query) -> Result<Lookup, NetError> {
    CachingClient::new(0, handle, true)
        .lookup(query, options())
        .await
}

fn options() -> DnsRequestOptions {
    let mut options = DnsRequestOptions::default();
    // Lest the client above takes signatures away before they are looked at.
    options.edns_set_dnssec_ok = true;
    options
}

/// That there is nothing is an answer.
fn answer(name: &Name, looked_up: Result<Lookup, NetError>) -> Result<Answer, NetError> {
    match looked_up {
        Ok(lookup) => Ok(Answer {
            records: about(name, lookup.answers()).cloned().collect(),
            additionals: lookup.additionals().to_vec(),
            no_name: false,
        }),
        Err(error) if error.is_no_records_found() => Ok(Answer {
            no_name: error.is_nx_domain(),
            ..Answer::default()
        }),
        Err(error) => Err(error),
    }
}

/// What is proven of a secure answer: of its additionals, some may not be.
fn proven(mut answer: Answer) -> Answer {
    answer.records.retain(|record| record.proof.is_secure());
    answer.additionals.retain(|record| record.proof.is_secure());
    answer
}

/// The records of `name` and of what it is an alias for; others were not asked for, and nothing follows from their
/// being proven.
fn about<'a>(name: &Name, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    let mut names = vec![name.clone()];
    while names.len() <= MAX_ALIASES {
        let next = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if names.contains(&record.name) => {
                Some(&target.0).filter(|target| !names.contains(target))
            }
            _ => None,
        });
        let Some(next) = next else { break };
        names.push(next.clone());
    }
    records
        .iter()
        .filter(move |record| names.contains(&record.name))
}

/// How far a validator's answer is proven.
fn state(name: &Name, looked_up: &Result<Lookup, NetError>) -> Validation {
    match looked_up {
        Ok(lookup) => worst(about(name, lookup.answers())),
        Err(NetError::Dns(DnsError::NoRecordsFound(denial))) => {
            worst(denial.authorities.iter().flat_map(|records| records.iter()))
        }
        Err(NetError::Dns(DnsError::DnssecBogus)) => Validation::Bogus,
        Err(NetError::Dns(DnsError::Nsec { proof, .. })) => of_proof(*proof),
        Err(_) => Validation::Indeterminate,
    }
}

/// Signatures aside, which have no proof of their own. Of nothing, nothing is proven.
fn worst<'a>(records: impl Iterator<Item = &'a Record>) -> Validation {
    records
        .filter(|record| record.record_type() != RecordType::RRSIG)
        .map(|record| of_proof(record.proof))
        .max()
        .unwrap_or(Validation::Insecure)
}

fn of_proof(proof: Proof) -> Validation {
    match proof {
        Proof::Secure => Validation::Secure,
        Proof::Insecure => Validation::Insecure,
        Proof::Indeterminate => Validation::Indeterminate,
        Proof::Bogus => Validation::Bogus,
    }
}

/// Asks a provider, each question once, and no more than is good for either.
#[derive(Clone)]
struct Memory {
    upstream: Upstream,
    shared: Arc<Mutex<Known>>,
    signatures: bool,
    /// A validator's view: additionals without signatures are left out, which it would spend a question or more on each
    /// to find worthless. Here stands whether it lacked an answer.
    view: Option<Arc<AtomicBool>>,
}

#[derive(Default)]
struct Known {
    answers: HashMap<(LowerName, RecordType), Asked>,
    bytes: usize,
}

/// A question, and its answer as soon as it is there.
type Asked = Arc<OnceCell<Result<DnsResponse, NetError>>>;

impl Memory {
    async fn recall(&self, query: Query) -> Result<DnsResponse, NetError> {
        let key = (LowerName::new(query.name()), query.query_type());
        let asked = {
            let mut known = self.known();
            let too_much = known.answers.len() == MAX_QUESTIONS || known.bytes >= MAX_BYTES;
            match known.answers.entry(key) {
                Entry::Occupied(asked) => Arc::clone(asked.get()),
                Entry::Vacant(_) if too_much => {
                    return Err(NetError::from("too much would have to be asked"));
                }
                Entry::Vacant(place) => Arc::clone(place.insert(Asked::default())),
            }
        };
        let ask = async {
            let answer = self.upstream.ask(query, self.signatures).await;
            if let Ok(answer) = &answer {
                self.known().bytes += answer.as_buffer().len();
            }
            answer
        };
        asked.get_or_init(|| ask).await.clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DnsHandle for Memory {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let memory = self.clone();
        Box::pin(once(async move {
            let query = request.queries.first().cloned();
            let query = query.ok_or_else(|| NetError::from("no question in the request"))?;
            let mut answer = memory.recall(query).await;
            if let Some(gap) = &memory.view {
                match &mut answer {
                    Ok(answer) => keep_signed(&mut answer.additionals),
                    Err(error) if error.is_no_records_found() => {}
                    Err(_) => gap.store(true, Ordering::Relaxed),
                }
            }
            answer
        }))
    }
}

/// Leaves out what has no signature beside it.
fn keep_signed(records: &mut Vec<Record>) {
    let signature = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            Some((record.name.clone(), covered(signature)))
        }
        _ => None,
    };
    let signed: HashSet<_> = records.iter().filter_map(signature).collect();
    records.retain(|record| {
        let key = (record.name.clone(), record.record_type());
        key.1 == RecordType::RRSIG || signed.contains(&key)
    });
}

fn covered(signature: &RRSIG) -> RecordType {
    signature.input().type_covered
}
