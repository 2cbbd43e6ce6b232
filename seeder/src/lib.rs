//! The DNS seeder: an authoritative name server whose answers are the good peers of the last crawl.
//!
//! ```text
//! store ──(follow, read-only)──> snapshot ──> table ──(arc-swap)──> respond ──> server (UDP, TCP, TLS)
//!                                      zone, answer ──┘                └──> HTTP: status, metrics, health
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | what an operator may set: flags, TOML file, defaults |
//! | [`zone`] | the names of one zone and the records made for them (pure) |
//! | [`snapshot`] | the good peers at one moment, drawn into variants (pure) |
//! | [`answer`] | the engine: a question and a snapshot in, the records of the answer out (pure) |
//! | [`wire`] | queries and responses as bytes (pure) |
//! | [`table`] | the engine's answers, written ahead as bytes (pure) |
//! | [`dnssec`] | keys, signatures, proofs of what does not exist |
//! | [`guard`] | cookies and the rate limit (pure, but for the state of the latter) |
//! | [`respond`] | bytes in, bytes out: what every transport calls |
//! | [`state`] | all of that at a moment: setup, snapshot, keys, table |
//! | [`setup`] | what a configuration makes of a seeder; a reload makes another |
//! | [`follow`] | keeps snapshot and table up to date with the store, through all of the store's troubles |
//! | [`tls`] | certificate and key of DNS over TLS |
//! | [`server`] | sockets: [`Seeder`] binds and runs them; nothing in there decides what to answer |
//! | [`check`] | looks at all of it from outside, and tells an operator what to mend |
//! | `audit` | a running seeder looks at itself: asks its own names, dials what it is told |
//! | `ask` | one question to one name server, for these two |
//! | `words` | times as people read them |
//! | [`cli`] | the program's commands |
//!
//! A query costs a parse, a look into a hash table, a copy, and a patch of id, flags and OPT: [`table`] holds what the
//! engine would say, for all names that resolvers usually ask for. What is not in there is asked of the engine itself,
//! so that both give the same answers by construction. Nothing on the usual path allocates or takes a lock.

pub mod answer;
mod ask;
mod audit;
pub mod check;
pub mod cli;
pub mod config;
pub mod dnssec;
pub mod follow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod guard;
pub mod respond;
pub mod server;
pub mod setup;
pub mod snapshot;
pub mod state;
mod status;
pub mod table;
pub mod tls;
pub mod wire;
mod words;
pub mod zone;

pub use config::SeederConfig;
pub use server::{Control, Seeder, SeederError};
