//! The DNS seeder: an authoritative name server whose answers are the good peers of the last crawl.
//!
//! ```text
//! store ──(follow, read-only)──> snapshot ──(arc-swap)──> answer ──> server (UDP, TCP)
//!                                                   zone ──┘          └──> HTTP: status, metrics, health
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | what an operator may set: flags, TOML file, defaults |
//! | [`zone`] | the names of one zone and the records made for them (pure) |
//! | [`snapshot`] | the good peers at one moment, drawn into variants (pure) |
//! | [`answer`] | the engine: a question and a snapshot in, the answer out (pure) |
//! | [`follow`] | keeps the snapshot up to date with the store, through all of the store's troubles |
//! | [`server`] | sockets: [`Seeder`] binds and runs them; nothing in there decides what to answer |
//! | [`cli`] | the program's commands |

pub mod answer;
pub mod cli;
pub mod config;
pub mod follow;
pub mod server;
pub mod snapshot;
pub mod zone;

pub use config::SeederConfig;
pub use server::{Seeder, SeederError};
