//! The API of real nodes over real sockets: what it answers, what it does, what it refuses, and the program that asks it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod commands;
mod document;
mod hostile;
mod metrics;
mod program;
mod world;
