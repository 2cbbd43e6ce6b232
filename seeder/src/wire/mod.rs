//! DNS messages as bytes, for the path that every query takes.
//!
//! [`name`] and [`query`] read, without allocation and without trust; [`rrset`] is what answers are made of; [`tail`] holds
//! what follows the question in a response, written ahead; [`reply`] puts a response together; [`tsig`] is for clients that think
//! we have keys. hickory-proto shows records to
//! people and is the oracle of the tests.
//!
//! ```text
//! query  = header | question | [OPT] | [TSIG]
//! reply  = header | question as asked | tail | [OPT] | [TSIG]
//! ```
//!
//! A tail never holds the name that was asked: its owner is a pointer to the question, whose case ("0x20" bits
//! that some resolvers check) therefore comes back.

pub mod name;
pub mod query;
pub mod reply;
pub mod rrset;
pub mod tail;
pub mod tsig;

/// Bytes of a message's header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;

/// Largest UDP response that we send, whatever the client claims: it passes every usual path without fragments
/// (DNS flag day 2020), and bounds how much a forged query can be amplified.
pub const MAX_UDP: u16 = 1232;

/// Largest UDP response to a client without EDNS (RFC 1035, 4.2.1), and the least limit that EDNS may name
/// (RFC 6891, 6.2.3).
pub const PLAIN_UDP: u16 = 512;

/// Largest message over a stream: what its length field of two bytes can say (RFC 1035, 4.2.2).
pub const MAX_STREAM: u16 = u16::MAX;

/// Record types by number (IANA, "Resource Record TYPEs").
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Host information; what answers ANY.
    pub const HINFO: u16 = 13;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// EDNS (RFC 6891); lives in messages only.
    pub const OPT: u16 = 41;
    /// Message authentication (RFC 8945); lives in messages only.
    pub const TSIG: u16 = 250;
    /// Zone transfer (RFC 5936).
    pub const AXFR: u16 = 252;
    /// Transfer of what has changed (RFC 1995).
    pub const IXFR: u16 = 251;
    /// Any type (RFC 8482).
    pub const ANY: u16 = 255;
}

/// The Internet class.
pub const CLASS_IN: u16 = 1;

/// The CHAOS class, which questions about the server itself have.
pub const CLASS_CH: u16 = 3;

/// The class that stands for any (RFC 1035, 3.2.5).
pub const CLASS_ANY: u16 = 255;

/// Options of EDNS by number (IANA, "DNS EDNS0 Option Codes").
pub mod option {
    /// Name server identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// Cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// How long a connection may be idle (RFC 7828).
    pub const KEEPALIVE: u16 = 11;
    /// Bytes that hide a message's length (RFC 7830).
    pub const PADDING: u16 = 12;
}

/// Response codes (IANA, "DNS RCODEs").
pub mod code {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// Format error.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// No such name.
    pub const NXDOMAIN: u16 = 3;
    /// Not implemented.
    pub const NOTIMP: u16 = 4;
    /// Refused.
    pub const REFUSED: u16 = 5;
    /// Not authoritative, or not authorised (RFC 8945).
    pub const NOTAUTH: u16 = 9;
    /// Bad EDNS version.
    pub const BADVERS: u16 = 16;
}
