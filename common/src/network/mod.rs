//! The peer-to-peer network.

pub mod protocol;
