//! The shared core of QuantumCoin: everything that its node, crawler and DNS seeder have in common.
//!
//! | room | what it is for |
//! |---|---|
//! | [`chain_spec`] | every number that a whole network shares: loaded, checked, built in |
//! | [`chain`] | consensus rules (pure), block storage, the [`chain::Blockchain`] that owns both, a devnet miner |
//! | [`wire`] | the message envelope and its limits (no I/O) |
//! | [`transport`] | post-quantum hybrid Noise: handshake, records, node identity |
//! | [`network`] | [`network::NetworkManager`]: discovery, address book, peers, conversations, defence |
//! | [`reachability`] | what "a good peer" means (pure): outcomes, reliability windows, verdict, selection |
//! | [`store`] | the crawl in SQLite; the only place with SQL |
//! | [`service`] | what each program needs: logging, metrics, health, HTTP shell, signals |
//!
//! Arrows run one way: `network` uses `transport`, `wire` and `chain`; `store` uses `reachability`;
//! everything may use `chain_spec`; nothing in here knows the programs. See `docs/architecture.md`.

pub mod chain;
pub mod chain_spec;
pub mod network;
pub mod reachability;
mod recent;
pub mod service;
pub mod store;
pub mod transport;
pub mod wire;
