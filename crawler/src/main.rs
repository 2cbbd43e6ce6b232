//! The crawler's program; see the library for everything.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    quantumcoin_crawler::cli::main().await
}
