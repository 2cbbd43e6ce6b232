//! The strict reader of queries.
//!
//! | packet | is |
//! |---|---|
//! | shorter than a header, or a response | silence: an answer could make two servers talk for ever |
//! | another opcode than QUERY | NOTIMP, a header alone: what follows may have any shape |
//! | no question | FORMERR, or a request for a cookie if it brings one (RFC 7873, 5.4) |
//! | two questions and more (RFC 9619), answers, records cut off, bytes left over, a compressed QNAME, two OPTs, an OPT with another owner than the root, an option that does not fit, a cookie of a wrong length, a TSIG that is not the last or can't be read | FORMERR, a header alone |
//! | all else | a query, whatever it asks for |

use super::{
    HEADER,
    code::{FORMERR, NOTIMP},
    kind,
    name::WireName,
    option,
    tsig::Tsig,
};

/// Most records after the question that are read: OPT, TSIG, the SOA of IXFR, and two to spare.
const MAX_RECORDS: u16 = 5;

/// The root's name (RFC 1035, 3.1).
const ROOT: &[u8] = &[0];

/// What of the query's header comes back in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client's number.
    pub id: [u8; 2],
    /// OPCODE and RD, in their places in the third byte.
    pub opcode_and_rd: u8,
    /// CD, in its place in the fourth byte (RFC 4035, 3.1.6).
    pub cd: u8,
}

/// A packet, read.
#[derive(Debug)]
pub enum Packet<'a> {
    /// Nothing that is answered.
    Silence,
    /// Answered by a header with this code.
    Broken(Header, u16),
    /// No question, but a cookie.
    CookieOnly(Header, Edns, Option<Tsig<'a>>),
    /// One question.
    Query(Query<'a>),
}

/// One question and what came with it.
#[derive(Debug)]
pub struct Query<'a> {
    /// Of the header.
    pub header: Header,
    /// Name, type and class as they were asked.
    pub question: &'a [u8],
    /// The name, in lower case.
    pub name: &'a WireName,
    /// QTYPE.
    pub kind: u16,
    /// QCLASS.
    pub class: u16,
    /// The OPT record.
    pub edns: Option<Edns>,
    /// The TSIG record.
    pub tsig: Option<Tsig<'a>>,
}

/// What an OPT record says (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// EDNS version; options are read for 0 only.
    pub version: u8,
    /// Largest UDP payload that the client takes, as it says.
    pub payload: u16,
    /// The DO bit (RFC 3225): the client wants signatures.
    pub dnssec_ok: bool,
    /// Whether the server's name is asked for (RFC 5001).
    pub nsid: bool,
    /// The first COOKIE option.
    pub cookie: Option<Cookie>,
    /// Whether the client asks how long its connection may be idle (RFC 7828). One that names a time itself, which only
    /// servers may, does not.
    pub keepalive: bool,
    /// Whether the query was padded, so that the response has to be as well (RFC 7830, 4).
    pub padding: bool,
}

/// A COOKIE option (RFC 7873).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// The client's part.
    pub client: [u8; 8],
    /// The part that a server like us has given (RFC 9018, 4); another length is none of ours.
    pub server: Option<[u8; 16]>,
}

/// Reads a packet; `name` is where its name is put.
#[must_use]
pub fn read<'a>(packet: &'a [u8], name: &'a mut WireName) -> Packet<'a> {
    let Some([id0, id1, flags, more, counts @ ..]) = packet.first_chunk::<HEADER>() else {
        return Packet::Silence;
    };
    if flags & 0x80 != 0 {
        return Packet::Silence;
    }
    let header = Header {
        id: [*id0, *id1],
        opcode_and_rd: flags & 0x79,
        cd: more & 0x10,
    };
    if flags & 0x78 != 0 {
        return Packet::Broken(header, NOTIMP);
    }
    let [q0, q1, a0, a1, n0, n1, r0, r1] = *counts;
    let questions = u16::from_be_bytes([q0, q1]);
    let answers = u16::from_be_bytes([a0, a1]);
    // At most MAX_RECORDS each, so that the sum fits.
    let authorities = u16::from_be_bytes([n0, n1]);
    let additionals = u16::from_be_bytes([r0, r1]);
    let bounded = authorities <= 1 && additionals < MAX_RECORDS;
    let body = packet.get(HEADER..).unwrap_or_default();
    let read = match questions {
        0 if bounded && answers == 0 => without_question(header, body, authorities, additionals),
        1 if bounded && answers == 0 => with_question(header, body, authorities, additionals, name),
        _ => None,
    };
    match read {
        Some(packet) => packet,
        None => Packet::Broken(header, FORMERR),
    }
}

fn without_question(
    header: Header,
    body: &[u8],
    authorities: u16,
    additionals: u16,
) -> Option<Packet<'_>> {
    let records = records(body, authorities, additionals, None)?;
    let edns = records.edns?;
    edns.cookie?;
    Some(Packet::CookieOnly(header, edns, records.tsig))
}

fn with_question<'a>(
    header: Header,
    body: &'a [u8],
    authorities: u16,
    additionals: u16,
    name: &'a mut WireName,
) -> Option<Packet<'a>> {
    let used = name.read_in_place(body)?;
    let name: &WireName = name;
    let (question, rest) = body.split_at_checked(used + 4)?;
    let [k0, k1, c0, c1] = *question.last_chunk::<4>()?;
    let records = records(rest, authorities, additionals, Some(name))?;
    Some(Packet::Query(Query {
        header,
        question,
        name,
        kind: u16::from_be_bytes([k0, k1]),
        class: u16::from_be_bytes([c0, c1]),
        edns: records.edns,
        tsig: records.tsig,
    }))
}

/// What is of interest among the records after the question.
#[derive(Debug, Default)]
struct Records<'a> {
    edns: Option<Edns>,
    tsig: Option<Tsig<'a>>,
}

/// `question` is the name that was asked for, if any.
fn records<'a>(
    mut rest: &'a [u8],
    authorities: u16,
    additionals: u16,
    question: Option<&WireName>,
) -> Option<Records<'a>> {
    let mut found = Records::default();
    for index in 0..authorities + additionals {
        let record = record(&mut rest)?;
        let additional = index >= authorities;
        match record.kind {
            kind::OPT => {
                if !additional || record.owner != ROOT || found.edns.is_some() {
                    return None;
                }
                found.edns = Some(edns(&record)?);
            }
            // The last of all (RFC 8945, 5.1).
            kind::TSIG => {
                if !additional || index + 1 < authorities + additionals {
                    return None;
                }
                let Record {
                    owner,
                    class,
                    ttl,
                    data,
                    ..
                } = record;
                found.tsig = Some(Tsig::read(owner, class, ttl, data, question)?);
            }
            _ => {}
        }
    }
    rest.is_empty().then_some(found)
}

struct Record<'a> {
    owner: &'a [u8],
    kind: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'a [u8],
}

fn record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let bytes = *rest;
    let (owner, after) = bytes.split_at_checked(name_length(bytes)?)?;
    let (fixed, after) = after.split_at_checked(10)?;
    let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *fixed.first_chunk::<10>()?;
    let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
    *rest = after;
    Some(Record {
        owner,
        kind: u16::from_be_bytes([k0, k1]),
        class: u16::from_be_bytes([c0, c1]),
        ttl: [t0, t1, t2, t3],
        data,
    })
}

/// Bytes of a name that is passed over: labels up to the root or to one pointer, which is not followed.
fn name_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < super::name::MAX_NAME {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            size @ 1..=63 => at += 1 + usize::from(size),
            192..=255 => return bytes.get(at + 1).map(|_| at + 2),
            64..=191 => return None,
        }
    }
    None
}

fn edns(record: &Record<'_>) -> Option<Edns> {
    let [_, version, flags, _] = record.ttl;
    let mut edns = Edns {
        version,
        payload: record.class,
        dnssec_ok: flags & 0x80 != 0,
        nsid: false,
        cookie: None,
        keepalive: false,
        padding: false,
    };
    if version != 0 {
        return Some(edns);
    }
    let mut rest = record.data;
    while !rest.is_empty() {
        let (fixed, after) = rest.split_at_checked(4)?;
        let [o0, o1, l0, l1] = *fixed.first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        match u16::from_be_bytes([o0, o1]) {
            option::NSID => edns.nsid = true,
            // All but the first are passed over (RFC 7873, 5.2).
            option::COOKIE if edns.cookie.is_none() => edns.cookie = Some(cookie(data)?),
            option::KEEPALIVE => edns.keepalive = data.is_empty(),
            option::PADDING => edns.padding = true,
            _ => {}
        }
        rest = after;
    }
    Some(edns)
}

/// 8 bytes of the client, then none or 8 to 32 of a server (RFC 7873, 4).
fn cookie(data: &[u8]) -> Option<Cookie> {
    let (client, server) = data.split_first_chunk::<8>()?;
    matches!(server.len(), 0 | 8..=32).then(|| Cookie {
        client: *client,
        server: server.try_into().ok(),
    })
}

#[cfg(test)]
mod tests;
