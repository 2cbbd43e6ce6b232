//! A fresh node synchronises over encrypted loopback, among peers of all kinds.
//!
//! | part | what it is for |
//! |---|---|
//! | [`four_peers`] | four peers, of which one hangs, is slow, lies or serves what is invalid |
//! | [`header_spam`] | headers without work |
//! | [`signed`] | blocks with signed transactions, and one with a signature that does not hold |
//! | [`peers`] | peers that follow a script, and the nodes and chains around them |
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod four_peers;
mod header_spam;
mod peers;
mod signed;
