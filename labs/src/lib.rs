//! Laboratories: whole networks on one machine, made of the programs' real code.
//!
//! [`private_network`] brings up nodes, a crawler and a seeder on loopback; the demonstration
//! (`cargo run --release --example p2p_network`) shows it to people, and `tests/` breaks it on purpose.

pub mod private_network;
