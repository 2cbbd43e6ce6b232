//! Laboratories: whole networks on one machine, made of the programs' real code, and measurements of them.
//!
//! | part | what it is for |
//! |---|---|
//! | [`private_network`] | nodes, a crawler and a seeder on loopback; the demonstration shows it to people, `tests/` breaks it on purpose |
//! | [`chain_generator`] | block chains with real signed transactions, the same bytes each time |
//! | [`simulation`] | hundreds of nodes in one thread, by a seed: churn, walls, attackers |
//! | [`attack`] | what strangers can do to a node, measured |
//! | [`internet`] | up to a million peers of every kind, with a known truth, for the crawler |
//! | [`network`] | whole networks through what happens to networks: honest work, partition, rest, first contact |
//! | `nat` | nodes behind routers of every kind, with other people's STUN servers and gateways (Linux) |
//! | [`mod@bench`] | what the programs cost: time, processor, memory |
//! | [`cli`] | the program `labs` |

pub mod attack;
pub mod bench;
pub mod chain_generator;
pub mod cli;
pub mod internet;
#[cfg(target_os = "linux")]
pub mod nat;
pub mod network;
pub mod private_network;
pub mod simulation;
