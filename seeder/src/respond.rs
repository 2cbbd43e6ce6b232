//! Bytes of a query in, bytes of the response out. Every transport calls [`Responder::respond`] and carries what it
//! says; sizes, cookies and the rate limit are decided here, answers by [`crate::table`] and [`crate::answer`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use hickory_proto::{
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

use crate::{
    answer::{Engine, Question},
    guard::{
        Network,
        cookie::Cookies,
        rate::{Allowance, RateLimiter},
    },
    server::counters::Counters,
    snapshot::Snapshot,
    table::{self, Found, Table, TableError},
    wire::{
        CLASS_IN, MAX_UDP, PLAIN_UDP, code, kind,
        query::{self, Edns, Header, Packet, Query},
        reply::{Opt, Reply},
        tail::{Arena, Layout, Section, View},
    },
    zone::Zone,
};

/// Extended error "Not Authoritative" (RFC 8914, 4.21): goes with REFUSED for names outside our zones.
const NOT_AUTHORITATIVE: u16 = 20;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, of which the source may be forged.
    Udp,
    /// A connection.
    Tcp,
}

/// Everything that answers come from, swapped as a whole.
#[derive(Debug)]
pub struct State {
    /// Decides.
    pub engine: Arc<Engine>,
    /// The good peers.
    pub snapshot: Arc<Snapshot>,
    /// What the engine says about them, written ahead.
    pub table: Arc<Table>,
}

/// The state that answers come from, shared between the follower and the servers.
pub type Shared = Arc<ArcSwap<State>>;

impl State {
    /// Writes the table for a snapshot.
    ///
    /// # Errors
    /// See [`Table::build`].
    pub fn new(engine: Arc<Engine>, snapshot: Snapshot) -> Result<Self, TableError> {
        let table = Table::build(&engine, &snapshot)?;
        Ok(Self {
            engine,
            snapshot: Arc::new(snapshot),
            table: Arc::new(table),
        })
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

/// What a server tells besides its zones, and how it guards itself.
#[derive(Debug)]
pub struct Guards {
    /// Makes cookies.
    pub cookies: Cookies,
    /// Bounds UDP responses; `None` bounds nothing.
    pub rate: Option<RateLimiter>,
    /// The server's name for NSID (RFC 5001), when it tells one.
    pub nsid: Option<Vec<u8>>,
}

/// Answers queries.
#[derive(Debug)]
pub struct Responder {
    state: Shared,
    guards: Guards,
    pub(crate) counters: Counters,
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
}

impl Responder {
    pub(crate) fn new(state: Shared, guards: Guards, counters: Counters) -> Self {
        Self {
            state,
            guards,
            counters,
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
        // No one listens on port 0: the source is forged.
        let packet = match from.addr.port() {
            0 => Packet::Silence,
            _ => query::read(packet),
        };
        let answered = match packet {
            Packet::Silence => false,
            Packet::Broken(header, code) => self.without_question(header, code, None, from, out),
            Packet::CookieOnly(header, edns) => {
                self.without_question(header, code::NOERROR, Some(edns), from, out)
            }
            Packet::Query(query) => self.query(state, &query, from, out),
        };
        if answered {
            self.counters.sent(from.transport, out.len());
        } else {
            self.counters.silent.inc();
        }
        answered
    }

    /// A response of little more than a header: as long as the shortest query, so that it amplifies nothing.
    fn without_question(
        &self,
        header: Header,
        code: u16,
        edns: Option<Edns>,
        from: Asker,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.allowance(edns.as_ref(), from) != Allowance::Full {
            self.counters.limited.inc();
            return false;
        }
        self.counters.response(code);
        let opt = edns.map(|edns| self.opt(&edns, from, None));
        bare(header, &[], code, opt).write(out);
        true
    }

    fn query(&self, state: &State, query: &Query<'_>, from: Asker, out: &mut Vec<u8>) -> bool {
        let edns = query.edns.as_ref();
        let allowance = self.allowance(edns, from);
        if allowance == Allowance::Nothing {
            self.counters.limited.inc();
            return false;
        }
        let mut arena = Arena::default();
        let decision = decide(state, query, &mut arena);
        self.counters
            .query(decision.zone, query.kind, from.transport);
        self.counters.response(decision.code);
        let opt = edns.map(|edns| self.opt(edns, from, decision.why));
        let reply = Reply {
            authoritative: decision.authoritative,
            tail: decision.tail,
            before_apex: decision.before_apex,
            limit: limit(edns, from.transport),
            truncate: allowance == Allowance::Slip,
            ..bare(query.header, query.question, decision.code, opt)
        };
        if reply.write(out).truncated {
            self.counters.truncated.inc();
        }
        true
    }

    /// How much of an answer the client gets.
    fn allowance(&self, edns: Option<&Edns>, from: Asker) -> Allowance {
        let rate = self.guards.rate.as_ref();
        let Some(rate) = rate.filter(|_| from.transport == Transport::Udp) else {
            return Allowance::Full;
        };
        let (client, cookies) = (from.addr.ip(), &self.guards.cookies);
        let cookie = edns.and_then(|edns| edns.cookie);
        if cookie.is_some_and(|cookie| cookies.is_ours(&cookie, client, from.moment.unix)) {
            return Allowance::Full;
        }
        rate.take(Network::of(client), from.moment.micros)
    }

    fn opt(&self, edns: &Edns, from: Asker, error: Option<u16>) -> Opt<'_> {
        let cookies = &self.guards.cookies;
        Opt {
            dnssec_ok: edns.dnssec_ok,
            cookie: edns
                .cookie
                .map(|cookie| cookies.make(cookie.client, from.addr.ip(), from.moment.unix)),
            nsid: self.guards.nsid.as_deref().filter(|_| edns.nsid),
            error,
        }
    }
}

/// A response without records.
const fn bare<'a>(
    header: Header,
    question: &'a [u8],
    code: u16,
    opt: Option<Opt<'a>>,
) -> Reply<'a> {
    Reply {
        header,
        question,
        code,
        authoritative: false,
        tail: None,
        before_apex: 0,
        opt,
        limit: u16::MAX as usize,
        truncate: false,
    }
}

fn limit(edns: Option<&Edns>, transport: Transport) -> usize {
    let limit = match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(PLAIN_UDP, MAX_UDP),
        (Transport::Udp, None) => PLAIN_UDP,
    };
    limit.into()
}

/// Types that no name has, but that mean something else in a question (RFC 6895, 3.1). ANY is answered like a type.
const fn is_meta(kind: u16) -> bool {
    matches!(kind, 0 | kind::OPT | 249..=254)
}

/// What to answer.
struct Decision<'a> {
    /// Index of the zone, for the counters.
    zone: Option<usize>,
    code: u16,
    authoritative: bool,
    tail: Option<(View<'a>, Section)>,
    before_apex: usize,
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

/// Decides an answer; `arena` holds what is not written ahead.
fn decide<'a>(state: &'a State, query: &Query<'_>, arena: &'a mut Arena) -> Decision<'a> {
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Decision::code(code::BADVERS);
    }
    if query.authenticated {
        // We have no keys (RFC 8945, 5.2.1).
        return Decision::code(code::NOTAUTH);
    }
    let found = if query.class == CLASS_IN && !is_meta(query.kind) {
        state.table.find(&query.name, query.kind)
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
            code: tail.code.into(),
            authoritative: tail.authoritative,
            tail: Some((state.table.view(tail), tail.section)),
            before_apex,
            why: None,
        },
        Found::Ask => ask(state, query, arena).unwrap_or(Decision::code(code::SERVFAIL)),
    }
}

/// Has the engine answer. `None` when the answer can't be written.
fn ask<'a>(state: &State, query: &Query<'_>, arena: &'a mut Arena) -> Option<Decision<'a>> {
    let name = Name::read(&mut BinDecoder::new(query.question)).ok()?;
    let question = Question {
        name: &name,
        class: DNSClass::from(query.class),
        kind: RecordType::from(query.kind),
    };
    let answer = state
        .engine
        .answer(&question, &state.snapshot, rand::random());
    let code = u16::from(answer.code);
    if answer.zone.is_none() && code == code::REFUSED {
        return Some(Decision::refused());
    }
    let zone = answer
        .zone
        .and_then(|index| state.engine.zones().get(index));
    let layout = Layout {
        question: Some(&query.name),
        apex: zone.map(Zone::apex_wire),
    };
    let tail = arena.add(&table::parts(&answer).ok()?, layout).ok()?;
    let view = arena.view(&tail);
    Some(Decision {
        zone: answer.zone,
        authoritative: tail.authoritative,
        tail: (!view.head.is_empty()).then_some((view, tail.section)),
        ..Decision::code(code)
    })
}

#[cfg(test)]
pub(crate) mod tests;
