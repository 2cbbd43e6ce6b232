//! The QuantumCoin full node as a value: [`Node::bind`], [`Node::run`], stop by its token.
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | what an operator may set: file, environment, flags |
//! | [`api`] | HTTP on loopback: status, peers, tip, metrics, health |
//! | [`miner`] | the CPU miner of devnets |
//! | [`network_test`] | checks a running network from outside |

pub mod api;
pub mod config;
pub mod miner;
pub mod network_test;
mod node;

pub use config::{NodeConfig, Settings};
pub use node::{Node, NodeError};
