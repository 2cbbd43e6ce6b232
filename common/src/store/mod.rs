//! The crawl in SQLite: the only place with SQL.
//!
//! | module | what it is for |
//! |---|---|
//! | `schema` | opening a file: ours, of the right version and network, or a clear refusal |
//! | [`model`] | what is written: probes, sightings, samples, events |
//! | [`Ban`] | networks that the operator has banned |
//! | `batch` | one batch of writes as a few multi-row statements in one transaction |
//! | `writer` | [`Store`]: the one writer task behind a bounded channel |
//! | `reader` | [`StoreReader`]: read-only, the good set and its generation |
//! | `address_row` | rows of addresses, and the ring of each one's probes |
//! | `peer_lines` | rows of peers as pages and exports show them |
//! | `peer_row` | how a probe changes what is known about a peer |
//! | [`queries`] | what the dashboard, the status command and `explain` ask |
//! | `roll_up` | sums by hour and by day, and what is given up after a time |
//! | `days` | the network day by day |
//! | `names` | names of peers of overlay networks |
//! | `due` | addresses for the due queue |
//! | `candidates` | peers that may be good, kept up to date in memory |
//! | `export` | all peers, batch by batch |
//! | `summaries` | a few columns of all peers, for somebody who keeps them in memory; who came and went |
//! | `codec` | addresses as columns |
//!
//! One program writes (the crawler), any number read (its dashboard, the seeder). The file is in WAL mode,
//! so readers never block the writer. A batch is committed at least each second or each
//! [`BATCH_PROBES`] probes; killing the process loses at most the batch that was not committed yet.

mod address_row;
mod bans;
mod batch;
mod candidates;
mod codec;
mod days;
mod due;
mod error;
mod export;
pub mod model;
mod names;
mod peer_lines;
mod peer_row;
pub mod queries;
mod reader;
mod roll_up;
mod schema;
mod summaries;
mod writer;

#[cfg(test)]
mod tests;

pub use bans::{Ban, REASON_CHARS};
pub use batch::{BATCH_PROBES, PROBES_KEPT};
pub use days::Day;
pub use error::StoreError;
pub use model::{
    Census, CrawlRun, Heard, NetworkSample, Observation, ProbeRecord, Sighting, StoredAddress,
    Write,
};
pub use reader::{GoodSet, StoreReader};
pub use schema::StoreOptions;
pub use summaries::{Churn, PeerSummary};
pub use writer::{Store, WriterHealth};
