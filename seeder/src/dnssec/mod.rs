//! DNSSEC: keys, signatures, and proofs that something does not exist (RFC 4033 to 4035, RFC 9364).
//!
//! ```text
//! key files (BIND's format) ──> keyring ──(now)──> Signer ──> RRSIG ┐
//!                             zone, snapshot ──> denial ──> NSEC ───┴──> table
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`key`] | one key: DNSKEY, key tag, DS, signing |
//! | [`times`] | when a key is published, signs, and goes |
//! | [`keyfile`] | keys on disk, as BIND's tools write and read them |
//! | [`keyring`] | the keys of all zones, and which of them count at a moment |
//! | `leaving` | which zones are to become unsigned |
//! | [`sign`] | RRSIG records |
//! | [`denial`] | the chain of NSEC records |
//! | [`prove`] | adds to an answer what a validator needs |
//!
//! All answers that are written ahead are signed then, so that a query costs no more than one of an unsigned zone. What the
//! engine answers on demand is signed on demand, out of a budget ([`prove::Budget`]): signing must not be a way to use us up.
//!
//! Every name of the zone takes part in the NSEC chain, also the 2^64 filters: their order can be computed, so each NSEC names
//! the true neighbours and resolvers that use the chain aggressively (RFC 8198) deny nothing that exists.
//!
//! What happens when: a key file that is damaged or of another zone is an error at start, and at a reload keeps the old keys;
//! a signed zone never turns unsigned while the program runs. Signatures outlive a week without the program.

pub mod denial;
pub mod key;
pub mod keyfile;
pub mod keyring;
pub(crate) mod leaving;
pub mod prove;
pub mod sign;
pub mod times;

/// Record types of DNSSEC by number.
pub mod kind {
    /// Delegation signer.
    pub const DS: u16 = 43;
    /// Signature.
    pub const RRSIG: u16 = 46;
    /// Next name.
    pub const NSEC: u16 = 47;
    /// Public key.
    pub const DNSKEY: u16 = 48;
    /// DS that the parent shall publish (RFC 7344).
    pub const CDS: u16 = 59;
    /// DNSKEY of which the parent shall publish the DS (RFC 7344).
    pub const CDNSKEY: u16 = 60;
}
