//! What "a good peer" means. Pure rules: no I/O, no clock, no randomness of their own.
//!
//! | module | what it decides |
//! |---|---|
//! | [`outcome`] | how one probe ended: a closed list |
//! | [`reliability`] | how a peer did over five time windows |
//! | [`verdict`](mod@verdict) | whether a peer is good now, rule by rule |
//! | [`schedule`] | when to visit it again, and when to forget it |
//! | [`asmap`] | which autonomous system announces an address, by a file of such; its reading is the one exception to "no I/O" |
//! | [`netgroup`] | which addresses belong together, and which may be dialled at all |
//! | [`exclusions`] | networks that are not visited, or not told of |
//! | [`overlay`] | peers that have a name instead of an address |
//! | [`place`] | country and autonomous system of an address |
//! | [`peer`] | [`GoodPeer`]: what the rest of the system is told about a good peer |
//! | [`census`] | what good peers are like, counted |
//! | [`crowding`] | how many good peers of one netgroup are too many |
//! | [`selection`] | a fair, diverse draw among good peers |
//!
//! A probe's result goes through them in that order: its [`Outcome`] updates the [`Reliability`], the
//! schedule gives the next visit, and whoever needs peers asks for the verdict and draws. All times are
//! Unix seconds.

pub mod asmap;
pub mod census;
pub mod crowding;
pub mod exclusions;
pub mod netgroup;
pub mod outcome;
pub mod overlay;
pub mod peer;
pub mod place;
pub mod reliability;
pub mod schedule;
pub mod selection;
pub mod verdict;

pub use netgroup::{Netgroup, Netgroups, Systems};
pub use outcome::{Outcome, Stage};
pub use peer::{GoodPeer, Latency, Transports};
pub use place::{CountryCode, Place};
pub use reliability::{Reliability, Window};
pub use verdict::{GoodPolicy, PeerFacts, Rule, RuleResult, Verdict, verdict};
