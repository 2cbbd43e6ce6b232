//! Puts a response together: header, question, the parts of a tail that fit, OPT, TSIG.

use super::{
    HEADER, MAX_UDP,
    kind::OPT,
    option,
    query::Header,
    tail::{Section, View, fitting},
    tsig::Tsig,
};

/// Bytes of a server's cookie with the client's before it (RFC 9018, 4).
pub const COOKIE: usize = 24;

/// Bytes of an OPT record without options (RFC 6891, 6.1.2).
const OPT_FIXED: usize = 11;

/// Bytes of an option without its value (RFC 6891, 6.1.2).
const OPTION_FIXED: usize = 4;

/// The option that explains a response code (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Padded responses are whole blocks of that many bytes (RFC 8467, 4.1).
pub const PADDING_BLOCK: usize = 468;

const QR: u8 = 0x80;
const AA: u8 = 0x04;
const TC: u8 = 0x02;

/// The OPT record of a response.
#[derive(Debug, Clone, Copy)]
pub struct Opt<'a> {
    /// DO, as the query had it (RFC 3225, 3).
    pub dnssec_ok: bool,
    /// Client's and server's cookie.
    pub cookie: Option<[u8; COOKIE]>,
    /// The server's name, when it was asked for.
    pub nsid: Option<&'a [u8]>,
    /// Extended error (RFC 8914), by number.
    pub error: Option<u16>,
    /// How long the connection may be idle (RFC 7828), in units of 100 ms, when that was asked.
    pub keepalive: Option<u16>,
    /// Fill the response up to whole blocks, so that its length tells an onlooker little (RFC 7830).
    pub pad: bool,
}

/// A response, not yet written.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// Of the query.
    pub header: Header,
    /// The question as it was asked; empty when it could not be read.
    pub question: &'a [u8],
    /// Response code, 12 bits (RFC 6891, 6.1.3).
    pub code: u16,
    /// The AA bit.
    pub authoritative: bool,
    /// What follows the question.
    pub tail: Option<(View<'a>, Section)>,
    /// Bytes of the question before the zone's apex, for pointers that have to be set.
    pub before_apex: usize,
    /// The OPT record, when the query had one.
    pub opt: Option<Opt<'a>>,
    /// The TSIG record of a query whose key is not known, when that is the answer.
    pub unknown_key: Option<&'a Tsig<'a>>,
    /// Most bytes that the client takes.
    pub limit: usize,
    /// Send no more than the TC bit, whatever would fit.
    pub truncate: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Whether the TC bit is set.
    pub truncated: bool,
}

impl Opt<'_> {
    /// Without options.
    #[must_use]
    pub const fn bare(dnssec_ok: bool) -> Self {
        Self {
            dnssec_ok,
            cookie: None,
            nsid: None,
            error: None,
            keepalive: None,
            pad: false,
        }
    }

    /// Without padding.
    fn len(&self) -> usize {
        let options = [
            self.nsid.map(<[u8]>::len),
            self.cookie.map(|_| COOKIE),
            self.error.map(|_| 2),
            self.keepalive.map(|_| 2),
        ];
        let options = options.iter().flatten();
        OPT_FIXED + options.map(|value| OPTION_FIXED + value).sum::<usize>()
    }

    /// Writes the record into a message of at most `limit` bytes, of which `behind` will follow it.
    fn write(&self, out: &mut Vec<u8>, code: u16, limit: usize, behind: usize) {
        let length = self.len();
        let padding = padding(out.len() + length + behind, limit).filter(|_| self.pad);
        let options = length - OPT_FIXED + padding.map_or(0, |bytes| OPTION_FIXED + bytes);
        out.push(0);
        put(out, OPT);
        put(out, MAX_UDP);
        out.push((code >> 4) as u8);
        out.push(0);
        put(out, if self.dnssec_ok { 0x8000 } else { 0 });
        // A few dozen bytes, and less than a block of padding.
        put(out, options as u16);
        if let Some(cookie) = &self.cookie {
            put(out, option::COOKIE);
            put(out, COOKIE as u16);
            out.extend_from_slice(cookie);
        }
        if let Some(name) = self.nsid {
            put(out, option::NSID);
            put(out, name.len() as u16);
            out.extend_from_slice(name);
        }
        if let Some(error) = self.error {
            put(out, EXTENDED_ERROR);
            put(out, 2);
            put(out, error);
        }
        if let Some(tenths) = self.keepalive {
            put(out, option::KEEPALIVE);
            put(out, 2);
            put(out, tenths);
        }
        if let Some(bytes) = padding {
            put(out, option::PADDING);
            put(out, bytes as u16);
            out.resize(out.len() + bytes, 0);
        }
    }
}

impl Reply<'_> {
    /// Writes the response into `out`, which is emptied first. Nothing is allocated when `out` has room.
    ///
    /// What does not fit is left out: of the additional section, whole records from its end; otherwise everything, with TC set,
    /// so that the client comes back over TCP. A part of a set is never sent.
    pub fn write(&self, out: &mut Vec<u8>) -> Written {
        let room = self
            .limit
            .saturating_sub(HEADER + self.question.len() + self.opt.map_or(0, |opt| opt.len()));
        let tsig = self.unknown_key.filter(|tsig| tsig.len() <= room);
        let behind = tsig.map_or(0, Tsig::len);
        let room = room - behind;
        let signed = self.opt.is_some_and(|opt| opt.dnssec_ok);
        let fits =
            |view: &View<'_>| view.head.len() + if signed { view.proof.len() } else { 0 } <= room;
        let tail = self.tail.filter(|(view, _)| !self.truncate && fits(view));
        let truncated = self.truncate
            || (self.tail.is_some() && tail.is_none())
            || (self.unknown_key.is_some() && tsig.is_none());

        out.clear();
        self.write_header(out, truncated);
        out.extend_from_slice(self.question);
        let mut additionals = u16::from(self.opt.is_some()) + u16::from(tsig.is_some());
        if let Some((view, section)) = tail {
            let [head, proof, _] = view.counts;
            let before = out.len();
            out.extend_from_slice(view.head);
            let mut records = u16::from(head);
            if signed {
                out.extend_from_slice(view.proof);
                records += u16::from(proof);
            }
            self.set_pointers(out, before, view.pointers);
            // Sets of a signed zone may not come without their signatures (RFC 4035, 3.1.1), which would cost more than they save:
            // whoever validates asks for them again.
            let bare = signed && proof > 0;
            let extra = if bare { &[] } else { view.extra };
            let (length, extra_records) = fitting(extra, room - (out.len() - before));
            out.extend_from_slice(extra.get(..length).unwrap_or_default());
            additionals += extra_records;
            let at = if section == Section::Answer { 6 } else { 8 };
            set(out, at, records);
        }
        set(out, 10, additionals);
        if let Some(opt) = &self.opt {
            opt.write(out, self.code, self.limit, behind);
        }
        if let Some(tsig) = tsig {
            tsig.write(out);
        }
        Written { truncated }
    }

    fn write_header(&self, out: &mut Vec<u8>, truncated: bool) {
        let Header {
            id,
            opcode_and_rd,
            cd,
        } = self.header;
        let aa = if self.authoritative { AA } else { 0 };
        let tc = if truncated { TC } else { 0 };
        out.extend_from_slice(&id);
        out.push(QR | opcode_and_rd | aa | tc);
        out.push(cd | (self.code & 0x0f) as u8);
        out.extend_from_slice(&[0, u8::from(!self.question.is_empty()), 0, 0, 0, 0, 0, 0]);
    }

    fn set_pointers(&self, out: &mut [u8], start: usize, pointers: &[u16]) {
        let apex = 0xc000 | (HEADER + self.before_apex) as u16;
        for at in pointers {
            set(out, start + usize::from(*at), apex);
        }
    }
}

/// Bytes in the padding option of a message that has `length` bytes without it, so that it ends with a block; `None`
/// where that would take it beyond `limit`.
#[must_use]
pub const fn padding(length: usize, limit: usize) -> Option<usize> {
    let least = length + OPTION_FIXED;
    let whole = least.next_multiple_of(PADDING_BLOCK);
    if whole > limit {
        return None;
    }
    Some(whole - least)
}

pub(super) fn put(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Nothing when `at` lies outside, as pointers of a proof that was left out do.
fn set(out: &mut [u8], at: usize, number: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}
