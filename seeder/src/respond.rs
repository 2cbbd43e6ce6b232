//! Bytes of a query in, bytes of the response out. Every transport calls [`Responder::respond`] and carries what it
//! says; sizes, cookies and the rate limit are decided here, answers by [`crate::table`] and [`crate::answer`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    SeederConfig,
    answer::{self, Question},
    dnssec::{
        kind as dnssec_kind,
        prove::{Budget, ProveError, SigningAllowance},
    },
    follow::unix_now,
    guard::{Network, rate::Allowance},
    server::counters::Counters,
    setup::{Guards, Setup},
    snapshot::Snapshot,
    state::{Shared, State},
    table::{self, Found},
    wire::{
        CLASS_IN, MAX_STREAM, MAX_UDP, PLAIN_UDP, code,
        name::WireName,
        query::{self, Edns, Header, Packet, Query},
        reply::{Opt, Reply},
        tail::{Arena, Layout, Parts, Section, View},
    },
    zone::Zone,
};
use arc_swap::ArcSwap;
use quantumcoin::service::metrics::Metrics;

/// Extended error "Not Authoritative" (RFC 8914, 4.21): goes with REFUSED for names outside our zones.
const NOT_AUTHORITATIVE: u16 = 20;

/// What every query gets that is signed with a key, whatever else is wrong with it: we have none (RFC 8945, 5.2.1).
const UNKNOWN_KEY: u16 = code::NOTAUTH;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, of which the source may be forged.
    Udp,
    /// A connection.
    Tcp,
    /// A connection that nobody else can read.
    Tls,
}

impl Transport {
    /// Whether messages come on a connection, which shows the client's address and takes answers of any size.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// A moment by two clocks; read once for a batch of queries.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The low half of Unix time in seconds, for cookies.
    pub unix: u32,
    /// Microseconds of a clock that never goes back, for rates.
    pub micros: u64,
}

/// Answers queries.
#[derive(Debug)]
pub struct Responder {
    state: Shared,
    pub(crate) counters: Counters,
    signing: SigningAllowance,
    began: Instant,
}

/// Who asks, how and when.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The client's address.
    pub addr: SocketAddr,
    /// How the query came.
    pub transport: Transport,
    /// When.
    pub moment: Moment,
    /// How long its connection may wait for the next query; nothing over UDP.
    pub idle: Duration,
}

impl Responder {
    pub(crate) fn new(state: Shared, counters: Counters) -> Self {
        Self {
            state,
            counters,
            signing: Default::default(),
            began: Instant::now(),
        }
    }

    /// What answers come from now.
    #[must_use]
    pub const fn state(&self) -> &Shared {
        &self.state
    }

    /// This moment.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            // The low half is meant.
            unix: unix.as_secs() as u32,
            micros: u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// Writes the response to `packet` into `out`; `false` is silence. Nothing is allocated for usual queries when `out` has
    /// room for [`MAX_UDP`] bytes.
    pub fn respond(&self, state: &State, packet: &[u8], from: Asker, out: &mut Vec<u8>) -> bool {
        let mut name = WireName::root();
        // No one listens on port 0: the source is forged.
        let packet = match from.addr.port() {
            0 => Packet::Silence,
            _ => query::read(packet, &mut name),
        };
        let guards = &state.setup.guards;
        let answered = match packet {
            Packet::Silence => {
                self.counters.silent.inc();
                false
            }
            Packet::Broken(header, code) => {
                self.without_question(guards, bare(header, &[], code), None, from, out)
            }
            Packet::CookieOnly(header, edns, tsig) => {
                let code = tsig.map_or(code::NOERROR, |_| UNKNOWN_KEY);
                let reply = Reply {
                    unknown_key: tsig.as_ref(),
                    limit: limit(Some(&edns), from.transport),
                    ..bare(header, &[], code)
                };
                self.without_question(guards, reply, Some(edns), from, out)
            }
            Packet::Query(query) => self.query(state, &query, from, out),
        };
        if answered {
            self.counters.sent(from.transport, out.len());
        }
        answered
    }

    /// A response of little more than a header: as long as the shortest query, so that it amplifies nothing.
    fn without_question(
        &self,
        guards: &Guards,
        reply: Reply<'_>,
        edns: Option<Edns>,
        from: Asker,
        out: &mut Vec<u8>,
    ) -> bool {
        if allowance(guards, edns.as_ref(), from) != Allowance::Full {
            self.counters.limited.inc();
            return false;
        }
        self.counters.response(reply.code);
        let opt = edns.map(|edns| opt(guards, &edns, from, None));
        Reply { opt, ..reply }.write(out);
        true
    }

    fn query(&self, state: &State, query: &Query<'_>, from: Asker, out: &mut Vec<u8>) -> bool {
        let edns = query.edns.as_ref();
        let guards = &state.setup.guards;
        let allowance = allowance(guards, edns, from);
        if allowance == Allowance::Nothing {
            self.counters.limited.inc();
            return false;
        }
        if allowance == Allowance::Slip {
            // No more than the question had: neither cookie nor name, and nothing is decided or signed.
            let opt = edns.map(|edns| Opt::bare(edns.dnssec_ok));
            self.counters.slipped.inc();
            Reply {
                opt,
                truncate: true,
                ..bare(query.header, query.question, code::NOERROR)
            }
            .write(out);
            return true;
        }
        let mut arena = None;
        let budget = Budget::OnDemand {
            allowance: &self.signing,
            tcp: from.transport.is_stream(),
            network: Network::of(from.addr.ip()),
            now: from.moment.micros,
        };
        let mut decision = decide(state, query, &mut arena, &budget);
        if decision.truncate && from.transport.is_stream() {
            // There is no other transport to send it to.
            decision = Decision::code(code::SERVFAIL);
        }
        let queries = &state.setup.queries;
        queries.count(decision.zone, query.kind, from.transport);
        self.counters.response(decision.code);
        let opt = edns.map(|edns| opt(guards, edns, from, decision.why));
        let reply = Reply {
            authoritative: decision.authoritative,
            tail: decision.tail,
            before_apex: decision.before_apex,
            limit: limit(edns, from.transport),
            truncate: decision.truncate,
            opt,
            unknown_key: query.tsig.as_ref(),
            ..bare(query.header, query.question, decision.code)
        };
        if reply.write(out).truncated {
            self.counters.truncated.inc();
        }
        true
    }
}

/// How much of an answer the client gets.
fn allowance(guards: &Guards, edns: Option<&Edns>, from: Asker) -> Allowance {
    let rate = guards.rate.as_ref();
    let Some(rate) = rate.filter(|_| from.transport == Transport::Udp) else {
        return Allowance::Full;
    };
    let (client, cookies) = (from.addr.ip(), &guards.cookies);
    let cookie = edns.and_then(|edns| edns.cookie);
    if cookie.is_some_and(|cookie| cookies.is_ours(&cookie, client, from.moment.unix)) {
        return Allowance::Full;
    }
    rate.take(Network::of(client), from.moment.micros)
}

fn opt<'a>(guards: &'a Guards, edns: &Edns, from: Asker, error: Option<u16>) -> Opt<'a> {
    let cookies = &guards.cookies;
    Opt {
        dnssec_ok: edns.dnssec_ok,
        cookie: edns
            .cookie
            .map(|cookie| cookies.make(cookie.client, from.addr.ip(), from.moment.unix)),
        nsid: guards.nsid.as_deref().filter(|_| edns.nsid),
        error,
        keepalive: (edns.keepalive && from.transport.is_stream())
            .then(|| u16::try_from(from.idle.as_millis() / 100).unwrap_or(u16::MAX)),
        pad: edns.padding && from.transport == Transport::Tls,
    }
}

/// The answer to one query without a server: what a seeder with this configuration would say about this snapshot.
///
/// # Errors
/// When the configuration can't be used, and for what gets no answer.
pub(crate) fn answer_once(
    config: &SeederConfig,
    snapshot: Snapshot,
    query: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let counters = Counters::new(&Metrics::new("query"))?;
    let setup = Arc::new(Setup::new(config, &counters, None)?);
    let state = State::new(setup, Arc::new(snapshot), unix_now(), None)?;
    let responder = Responder::new(Arc::new(ArcSwap::from_pointee(state)), counters);
    let from = Asker {
        addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        transport: Transport::Tcp,
        moment: responder.moment(),
        idle: Duration::ZERO,
    };
    let mut out = Vec::new();
    let answered = responder.respond(&responder.state.load(), query, from, &mut out);
    anyhow::ensure!(answered, "such a query gets no answer");
    Ok(out)
}

/// A response without records.
const fn bare(header: Header, question: &[u8], code: u16) -> Reply<'_> {
    Reply {
        header,
        question,
        code,
        authoritative: false,
        tail: None,
        before_apex: 0,
        opt: None,
        unknown_key: None,
        limit: MAX_STREAM as usize,
        truncate: false,
    }
}

fn limit(edns: Option<&Edns>, transport: Transport) -> usize {
    let limit = match (transport, edns) {
        (Transport::Tcp | Transport::Tls, _) => MAX_STREAM,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(PLAIN_UDP, MAX_UDP),
        (Transport::Udp, None) => PLAIN_UDP,
    };
    limit.into()
}

/// Types of the proofs themselves, for which a signed zone's answers differ.
const fn is_proof(kind: u16) -> bool {
    matches!(kind, dnssec_kind::NSEC | dnssec_kind::RRSIG)
}

/// What to answer.
struct Decision<'a> {
    /// Index of the zone, for the counters.
    zone: Option<usize>,
    code: u16,
    authoritative: bool,
    tail: Option<(View<'a>, Section)>,
    before_apex: usize,
    /// Whether the client has to come back over TCP.
    truncate: bool,
    /// Extended error.
    why: Option<u16>,
}

impl Decision<'_> {
    const fn code(code: u16) -> Self {
        Self {
            zone: None,
            code,
            authoritative: false,
            tail: None,
            before_apex: 0,
            truncate: false,
            why: None,
        }
    }

    const fn refused() -> Self {
        Self {
            why: Some(NOT_AUTHORITATIVE),
            ..Self::code(code::REFUSED)
        }
    }
}

/// Decides an answer; `arena` comes to hold what is not written ahead.
fn decide<'a>(
    state: &'a State,
    query: &Query<'_>,
    arena: &'a mut Option<Arena>,
    budget: &Budget<'_>,
) -> Decision<'a> {
    if query.tsig.is_some() {
        return Decision::code(UNKNOWN_KEY);
    }
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Decision::code(code::BADVERS);
    }
    let found = if query.class == CLASS_IN && answer::meta_type(query.kind).is_none() {
        state.table.find(query.name, query.kind)
    } else {
        Found::Ask
    };
    match found {
        Found::NotOurs => Decision::refused(),
        Found::Tail {
            tail,
            zone,
            before_apex,
        } => Decision {
            zone: Some(zone),
            authoritative: tail.authoritative,
            tail: Some((state.table.view(tail), tail.section)),
            before_apex,
            ..Decision::code(tail.code.into())
        },
        Found::Ask => ask(state, query, arena, budget).unwrap_or(Decision::code(code::SERVFAIL)),
    }
}

/// Has the engine answer. `None` when the answer can't be written.
fn ask<'a>(
    state: &State,
    query: &Query<'_>,
    arena: &'a mut Option<Arena>,
    budget: &Budget<'_>,
) -> Option<Decision<'a>> {
    let engine = &state.setup.engine;
    let question = Question {
        name: query.name,
        class: query.class,
        kind: query.kind,
    };
    let answer = engine.answer(&question, &state.snapshot, rand::random());
    let (code, index) = (u16::from(answer.code), answer.zone);
    if index.is_none() && code == code::REFUSED {
        return Some(Decision::refused());
    }
    let mut parts = table::parts(answer);
    match prove(state, query, index, &mut parts, budget) {
        Ok(()) => {}
        Err(ProveError::Budget) => {
            // Over UDP the client is sent to TCP, of which the allowance is another.
            return Some(Decision {
                zone: index,
                truncate: true,
                ..Decision::code(code::NOERROR)
            });
        }
        Err(error) => {
            // A fault of this program; said once for each table, since anybody may ask again.
            if state.first_complaint() {
                tracing::error!(%error, "an answer can't be proved");
            }
            return None;
        }
    }
    let zone = index.and_then(|index| engine.zones().get(index));
    let layout = Layout {
        question: Some(query.name),
        apex: zone.map(Zone::apex_wire),
    };
    let arena = arena.insert(Arena::default());
    let tail = arena.add(&parts, layout).ok()?;
    let view = arena.view(&tail);
    Some(Decision {
        zone: index,
        authoritative: tail.authoritative,
        tail: (!view.head.is_empty()).then_some((view, tail.section)),
        ..Decision::code(code)
    })
}

/// Fills in the proof that a client wants, if the zone is signed. Codes such as NOTIMP have no records, and so nothing to prove.
fn prove(
    state: &State,
    query: &Query<'_>,
    zone: Option<usize>,
    parts: &mut Parts,
    budget: &Budget<'_>,
) -> Result<(), ProveError> {
    let wanted = query.edns.is_some_and(|edns| edns.dnssec_ok) || is_proof(query.kind);
    let index = zone.filter(|_| wanted && !parts.head.is_empty());
    let prover = index.and_then(|index| state.provers.get(index)?.as_ref());
    let zone = index.and_then(|index| state.setup.engine.zones().get(index));
    match (prover, zone) {
        (Some(prover), Some(zone)) => {
            let snapshot = &state.snapshot;
            prover.prove(parts, query.name, query.kind, zone, snapshot, budget)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
