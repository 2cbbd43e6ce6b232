//! Asks the API of a running node, for the command line: waits where the node says that it is asked too fast, and says of each
//! refusal what helps.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use axum::http::{Method, StatusCode};
use quantumcoin::service::client::{self, ClientError};
use serde_json::Value;

/// Times that a request is made again because the node answers no more of them just now.
const TRIES: u32 = 10;

/// Pause before that: what the node says is a whole second, and there is room again long before.
const PAUSE: Duration = Duration::from_millis(250);

/// The JSON at `path` of the node whose API is at `addr`.
///
/// # Errors
/// When no node answers there, or it answers with an error.
pub async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<Value> {
    send(addr, Method::GET, path, None, None).await
}

/// Has the node do something, with its token.
///
/// # Errors
/// When no node answers there, or it refuses.
pub async fn send(
    addr: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let mut tries = 0;
    loop {
        let answer = client::send(addr, method.clone(), path, token, body).await;
        match answer {
            Err(error) if is_pace(&error) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer.map_err(explain),
        }
    }
}

fn is_pace(error: &ClientError) -> bool {
    error.status() == Some(StatusCode::TOO_MANY_REQUESTS)
}

/// Whether no node answers there, of an error of this module.
#[must_use]
pub fn is_absent(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<ClientError>();
    error.is_some_and(ClientError::is_absent)
}

fn explain(error: ClientError) -> anyhow::Error {
    let help = match (&error, error.status()) {
        (ClientError::Connect { .. }, _) => "is a node running, with this address as --http?",
        (_, Some(StatusCode::UNAUTHORIZED)) => {
            "that is another node's token: name this one's data directory (--data-dir, --network) or --token-file"
        }
        (ClientError::Broken { .. }, _) => "is it a node that listens there (--http)?",
        _ => return error.into(),
    };
    let words = format!("{error}\n  help: {help}");
    anyhow!(error).context(words)
}
