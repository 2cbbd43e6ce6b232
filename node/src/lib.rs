//! The QuantumCoin full node as a value: [`Node::bind`], [`Node::run`], stop by its token.
//!
//! | module | what it is for |
//! |---|---|
//! | [`config`] | what an operator may set: file, environment, flags |
//! | [`api`] | HTTP on loopback: JSON to read and to command the node, and its page |
//! | [`advice`] | what is not as it should be, and how to mend it (pure) |
//! | `disk` | room on the disk, for health and metrics |
//! | [`miner`] | the CPU miner of devnets |
//! | [`client`] | asks the API of a running node (for the command line) |
//! | [`network_test`] | checks a running network from outside |

pub mod advice;
pub mod api;
pub mod client;
pub mod config;
mod disk;
pub mod miner;
pub mod network_test;
mod node;

pub use config::{NodeConfig, Settings};
pub use node::{Node, NodeError};
