//! From the bytes of a query to the bytes of a response: hickory-server's request and response types around
//! our [`Engine`].
//!
//! [`Handler::reply`] is what a transport calls. It looks at the header first, so that nothing is parsed, and
//! nothing allocated, for packets that can't be queries; then hickory parses, [`RequestHandler`] asks the
//! engine, fits the answer to the client's limits and hands it to an [`Outbox`].

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use hickory_server::{
    net::{NetError, runtime::Time, runtime::TokioTime, xfer::Protocol},
    proto::{
        ProtoError,
        op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode},
        rr::{Record, RecordType},
        serialize::binary::BinEncoder,
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponse, MessageResponseBuilder},
};

use super::counters::{Counters, Transport};
use crate::{
    answer::{Answer, Engine, Question},
    follow::Shared,
};

/// Bytes of a DNS header (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// Largest UDP response that we send, whatever the client claims: it passes every usual path without
/// fragments (DNS flag day 2020), and bounds how much a forged query can be amplified.
pub(crate) const MAX_UDP: u16 = 1232;

/// Largest UDP response to a client without EDNS (RFC 1035, 4.2.1).
const PLAIN_UDP: u16 = 512;

/// Most additional records of a query that we parse: OPT and TSIG, and two to spare for extensions.
const MAX_ADDITIONALS: u16 = 4;

/// Answers queries.
#[derive(Debug)]
pub(crate) struct Handler {
    engine: Engine,
    snapshot: Shared,
    pub(crate) counters: Counters,
}

impl Handler {
    pub(crate) const fn new(engine: Engine, snapshot: Shared, counters: Counters) -> Self {
        Self {
            engine,
            snapshot,
            counters,
        }
    }

    pub(crate) const fn snapshot(&self) -> &Shared {
        &self.snapshot
    }

    pub(crate) fn zone_names(&self) -> Vec<String> {
        self.engine
            .zones()
            .iter()
            .map(|zone| zone.apex().to_string())
            .collect()
    }

    /// The response to one packet; `None` is silence.
    pub(crate) async fn reply(
        &self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let response = match look(packet) {
            Look::Silence => None,
            Look::Error(code) => self.bare(packet, code),
            Look::Query => {
                let protocol = match transport {
                    Transport::Udp => Protocol::Udp,
                    Transport::Tcp => Protocol::Tcp,
                };
                match Request::from_bytes(packet.to_vec(), client, protocol) {
                    Err(_) => self.bare(packet, ResponseCode::FormErr),
                    Ok(request) => {
                        let outbox = Outbox::default();
                        self.handle_request::<_, TokioTime>(&request, outbox.clone())
                            .await;
                        outbox.take()
                    }
                }
            }
        };
        match &response {
            None => self.counters.silent.inc(),
            Some(bytes) => self
                .counters
                .response_bytes
                .with_label_values(&[transport.as_str()])
                .inc_by(bytes.len() as u64),
        }
        response
    }

    /// A response of a header alone, for what can't be parsed or is not for us. It is as long as the
    /// shortest query, so it amplifies nothing.
    fn bare(&self, packet: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
        self.counters.response(code);
        let [id_high, id_low, flags, ..] = *packet else {
            return None;
        };
        // QR set; opcode and RD as asked.
        let flags = 0x80 | (flags & 0x79);
        Some(vec![
            id_high,
            id_low,
            flags,
            code.low(),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ])
    }

    /// The answer and the response's OPT, before the size is looked at.
    fn decide(&self, request: &Request) -> (Metadata, Answer, Option<Edns>) {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_version(0);
            edns.set_max_payload(MAX_UDP);
            // RFC 3225, 3: copied, though we don't sign yet.
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let answer = self.ask(request);
        metadata.response_code = answer.code;
        metadata.authoritative = answer.authoritative;
        (metadata, answer, edns)
    }

    fn ask(&self, request: &Request) -> Answer {
        let [query] = request.queries.queries() else {
            return Answer::error(ResponseCode::FormErr);
        };
        if request.version() != 0 {
            return Answer::error(ResponseCode::BADVERS);
        }
        if request
            .additionals
            .iter()
            .any(|record| record.record_type() == RecordType::TSIG)
        {
            // We have no keys (RFC 8945, 5.2.1).
            return Answer::error(ResponseCode::NotAuth);
        }
        let original = query.original();
        let question = Question {
            name: original.name(),
            class: original.query_class(),
            kind: original.query_type(),
        };
        let answer = self
            .engine
            .answer(&question, &self.snapshot.load(), rand::random());
        let transport = if request.protocol() == Protocol::Udp {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        self.counters.query(answer.zone, question.kind, transport);
        answer
    }

    /// Leaves out what does not fit: first the additional section, then everything, with TC set so that the
    /// client comes back over TCP. A part of a set is never sent.
    fn fit(
        &self,
        request: &Request,
        metadata: &mut Metadata,
        answer: &mut Answer,
        edns: Option<&Edns>,
    ) {
        if request.protocol() != Protocol::Udp {
            return;
        }
        let limit = match &request.edns {
            Some(asked) => asked.max_payload().clamp(PLAIN_UDP, MAX_UDP),
            None => PLAIN_UDP,
        };
        let too_large = |answer: &Answer| {
            let mut bytes = Vec::with_capacity(usize::from(MAX_UDP));
            let written = write(message(request, *metadata, answer, edns), &mut bytes);
            written.is_err() || bytes.len() > usize::from(limit)
        };
        if !too_large(answer) {
            return;
        }
        answer.additionals.clear();
        if !too_large(answer) {
            return;
        }
        answer.answers.clear();
        answer.authorities.clear();
        metadata.truncation = true;
        self.counters.truncated.inc();
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let (mut metadata, mut answer, edns) = self.decide(request);
        self.fit(request, &mut metadata, &mut answer, edns.as_ref());
        self.counters.response(metadata.response_code);
        let sent = out
            .send_response(message(request, metadata, &answer, edns.as_ref()))
            .await;
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "a response could not be sent");
            ResponseInfo::from(Header {
                metadata,
                counts: HeaderCounts::default(),
            })
        })
    }
}

impl Answer {
    /// A code and nothing else.
    fn error(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            zone: None,
        }
    }
}

/// Takes one response out of a [`RequestHandler`].
#[derive(Debug, Clone, Default)]
struct Outbox(Arc<Mutex<Option<Vec<u8>>>>);

impl Outbox {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait::async_trait]
impl ResponseHandler for Outbox {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(usize::from(MAX_UDP));
        let info = write(response, &mut bytes)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        Ok(info)
    }
}

/// What to do with a packet, by its header alone.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Not a query: no answer, or two servers could talk to each other for ever.
    Silence,
    /// A query that needs no parsing to be turned down.
    Error(ResponseCode),
    /// One question, of a sane shape.
    Query,
}

fn look(packet: &[u8]) -> Look {
    let Some(header) = packet.first_chunk::<HEADER>() else {
        return Look::Silence;
    };
    let [
        _,
        _,
        flags,
        _,
        q_high,
        q_low,
        an_high,
        an_low,
        ns_high,
        ns_low,
        ar_high,
        ar_low,
    ] = *header;
    if flags & 0x80 != 0 {
        return Look::Silence;
    }
    if OpCode::from_u8((flags >> 3) & 0x0f) != OpCode::Query {
        return Look::Error(ResponseCode::NotImp);
    }
    let questions = u16::from_be_bytes([q_high, q_low]);
    let answers = u16::from_be_bytes([an_high, an_low]);
    let authorities = u16::from_be_bytes([ns_high, ns_low]);
    let additionals = u16::from_be_bytes([ar_high, ar_low]);
    // IXFR brings one SOA in its authority section (RFC 1995, 3).
    if questions != 1 || answers != 0 || authorities > 1 || additionals > MAX_ADDITIONALS {
        return Look::Error(ResponseCode::FormErr);
    }
    Look::Query
}

/// The response as hickory writes it.
fn message<'q, 'a>(
    request: &'q Request,
    metadata: Metadata,
    answer: &'a Answer,
    edns: Option<&'q Edns>,
) -> MessageResponse<
    'q,
    'a,
    impl Iterator<Item = &'a Record> + Send + 'a,
    impl Iterator<Item = &'a Record> + Send + 'a,
    impl Iterator<Item = &'a Record> + Send + 'a,
    impl Iterator<Item = &'a Record> + Send + 'a,
> {
    MessageResponseBuilder::new(&request.queries, edns).build(
        metadata,
        answer.answers.iter(),
        answer.authorities.iter(),
        std::iter::empty(),
        answer.additionals.iter(),
    )
}

fn write<'a>(
    response: MessageResponse<
        '_,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    >,
    bytes: &mut Vec<u8>,
) -> Result<ResponseInfo, ProtoError> {
    response.destructive_emit(&mut BinEncoder::new(bytes))
}

#[cfg(test)]
mod tests;
