//! `quantumcoin-node`: runs a full node, and asks a running one.

mod cli;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    cli::main().await
}
