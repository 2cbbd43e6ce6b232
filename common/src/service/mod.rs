//! What each program needs around its own work: logging, signals, health, metrics, an HTTP shell, the look of pages, a client of the other programs, sockets
//! bound with errors in words, files written whole or not at all, data directories, the choice of the network, settings
//! with their command line, and word to the service manager.
//!
//! A program puts the parts together in its `main`: [`logging::init`] first, then [`shutdown::signals`] for
//! the token that ends everything, [`spec::choose`] for the network, [`metrics::Metrics`] and
//! [`health::Health`] handed to the parts that report into them, and [`http::HttpServer`] with
//! [`http::shell`] (plus the program's own routes) to show them. Nothing in here knows a program.

pub mod bind;
pub mod cli;
pub mod client;
pub mod config;
pub mod dirs;
pub mod files;
pub mod health;
pub mod http;
pub mod logging;
pub mod look;
pub mod metrics;
pub mod output;
pub mod shutdown;
pub mod spec;
pub mod supervisor;
