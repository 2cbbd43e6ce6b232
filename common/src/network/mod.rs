//! The peer-to-peer network.

pub mod address_book;
pub mod discovery;
pub mod protocol;
pub mod security;
