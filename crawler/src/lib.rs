//! Visits every peer of a QuantumCoin network and records its reachability.
//!
//! | module | what it is for |
//! |---|---|
//! | [`crawler`] | [`Crawler`]: bind, run, once |
//! | `engine` | the loop: due addresses, visits, results |
//! | [`frontier`] | the due queue, and which new addresses are believed (pure) |
//! | [`probe`] | one visit to one peer |
//! | [`geo`] | country and autonomous system of an address |
//! | [`names`] | names of known peers of overlay networks (pure) |
//! | [`politeness`] | how fast we dial (pure) |
//! | [`weather`] | is it them or is it us (pure) |
//! | [`observer`] | one picture of the network for everybody who asks |
//! | [`alerts`] | what an operator should look at (pure) |
//! | [`progress`] | how the crawl is going, and what the DNS seeds answered |
//! | [`roster`] | all probed peers in memory: search, order, distributions |
//! | [`seeders`] | what the seeders say of themselves |
//! | [`dashboard`] | the pages and the JSON API |
//! | [`report`] | what a crawl found |
//! | [`cli`] | the command line |
//!
//! A probe's way: frontier -> probe -> weather -> store. What is known lives in the store; the frontier in
//! memory is only its time-ordered index.

pub mod alerts;
pub mod cli;
pub mod config;
pub mod crawler;
pub mod dashboard;
mod disk;
mod engine;
pub mod frontier;
pub mod geo;
pub mod metrics;
pub mod names;
pub mod observer;
pub mod politeness;
pub mod probe;
pub mod progress;
pub mod report;
pub mod roster;
pub mod seeders;
pub mod weather;

pub use config::{CrawlerConfig, Settings};
pub use crawler::{Crawler, CrawlerError};
pub use report::CrawlReport;
