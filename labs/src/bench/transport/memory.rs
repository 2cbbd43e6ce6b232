//! What connections hold in memory, measured in a process of its own.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use quantumcoin::transport::DialBy;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::handshakes::endpoint;
use super::tcp::TcpPairs;
use crate::bench::machine;

/// The figures, and the part that gives each.
pub(super) const FIGURES: [(&str, &str); 3] = [
    ("idle_connection_kib", "noise"),
    ("idle_tls_connection_kib", "tls"),
    ("handshake_connection_kib", "handshake"),
];

/// Connections of each kind; both ends are in the process.
const CONNECTIONS: usize = 400;

/// Most of the first message of Noise: its length and all but the last bytes.
const PART_OF_MESSAGE_1: usize = 1_200;

/// What runs in a process of its own: memory that was given back is used again, so each kind needs a fresh one.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Part {
    /// Connections by Noise at rest.
    Noise,
    /// Connections by TLS at rest.
    Tls,
    /// Connections in the middle of their first message.
    Handshake,
}

impl Part {
    pub(in crate::bench) fn run(self) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let kib = runtime.block_on(async {
            match self {
                Self::Noise => idle(DialBy::Noise).await,
                Self::Tls => idle(DialBy::Tls).await,
                Self::Handshake => in_handshake().await,
            }
        })?;
        Ok(json!({ "kib": kib }))
    }
}

fn rss() -> anyhow::Result<f64> {
    machine::rss_kib().context("memory is known on Linux")
}

/// An end of a connection over which one small message went each way.
async fn idle(by: DialBy) -> anyhow::Result<f64> {
    let pairs = TcpPairs::new().await?;
    let before = rss()?;
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let (mut near, mut far) = pairs.connect(by).await?;
        // A head without a body.
        let message = [0; 24];
        near.writer.write_message(&message).await?;
        far.reader.read_message().await?;
        far.writer.write_message(&message).await?;
        near.reader.read_message().await?;
        held.push((near, far));
    }
    let after = rss()?;
    Ok((after - before) / (2 * CONNECTIONS) as f64)
}

/// A connection that has sent nearly all of its first message and waits.
async fn in_handshake() -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let accepts = endpoint()?;
    let before = rss()?;
    let (mut tasks, mut held) = (JoinSet::new(), Vec::with_capacity(CONNECTIONS));
    for _ in 0..CONNECTIONS {
        let mut near = TcpStream::connect(addr).await?;
        let (far, _) = listener.accept().await?;
        let accepts = accepts.clone();
        tasks.spawn(async move { accepts.accept(far).await.map(drop) });
        near.write_all(&[0x04, 0xc0]).await?;
        near.write_all(&[7; PART_OF_MESSAGE_1]).await?;
        held.push(near);
    }
    // Until all have read what came.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let after = rss()?;
    anyhow::ensure!(tasks.len() == CONNECTIONS, "all of them wait");
    Ok((after - before) / CONNECTIONS as f64)
}
