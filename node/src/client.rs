//! Asks the API of a running node: one GET over a fresh connection, no more than the command line needs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer taken: status with 125 peers is about 50 kB.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// How long the node may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The JSON at `path` of the node whose API is at `addr`.
///
/// # Errors
/// When no node answers there, or it answers with an error.
pub async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<serde_json::Value> {
    let answer = tokio::time::timeout(TIMEOUT, fetch(addr, path))
        .await
        .with_context(|| {
            format!(
                "the node at {addr} did not answer within {} s",
                TIMEOUT.as_secs()
            )
        })?;
    let body = answer.with_context(|| {
        format!("no node answers at http://{addr}: is it running, with this address as --http?")
    })?;
    serde_json::from_slice(&body).with_context(|| format!("http://{addr}{path} gave no JSON"))
}

async fn fetch(addr: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    // HTTP/1.0 keeps the answer free of chunks and ends it with the connection.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer is not HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("it answered {}", head.lines().next().unwrap_or_default());
    }
    Ok(answer.split_off(end + 4))
}
