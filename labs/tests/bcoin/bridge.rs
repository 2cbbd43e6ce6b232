//! The bridge: our encrypted transport on one side, Bitcoin's plaintext on the other.
//!
//! Both carry the same messages with the same 24-byte envelope, so a record's content is written to the
//! plaintext side as it is, and back. Nothing is rewritten, no message is left out or made up.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::transport::{Endpoint, Identity, MAX_MESSAGE, Secured};
use quantumcoin::wire::limits::ENVELOPE_HEADER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From bcoin to our node.
    ToUs,
    /// From our node to bcoin.
    ToBcoin,
}

/// Messages passed, by direction and command.
type Counts = Arc<Mutex<BTreeMap<(Way, String), u64>>>;

/// A listener that passes each connection on. Dropping it ends all of them.
pub(crate) struct Bridge {
    /// Where our node finds it.
    pub(crate) addr: SocketAddr,
    counts: Counts,
    task: JoinHandle<()>,
}

impl Bridge {
    /// Listens on 127.7.21.`host`: each bridge has an address of its own, since bans are by address.
    pub(crate) async fn start(spec: &ChainSpec, host: u8, bcoin: SocketAddr) -> Self {
        let listener = TcpListener::bind((format!("127.7.21.{host}"), 0))
            .await
            .unwrap();
        let addr = listener.local_addr().unwrap();
        let endpoint = Endpoint::new(spec, Arc::new(Identity::generate().unwrap()));
        let counts = Counts::default();
        let counting = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (endpoint, counts) = (endpoint.clone(), Arc::clone(&counting));
                connections.spawn(async move {
                    // However it ends, both sides are closed; the test sees what came of it.
                    let _ = relay(&endpoint, stream, bcoin, &counts).await;
                });
            }
        });
        Self { addr, counts, task }
    }

    /// How many messages with this command went that way.
    pub(crate) fn count(&self, way: Way, command: &str) -> u64 {
        let counts = self.counts.lock().unwrap();
        counts.get(&(way, command.to_owned())).copied().unwrap_or(0)
    }

    /// Prints what passed.
    pub(crate) fn print(&self) {
        for way in [Way::ToBcoin, Way::ToUs] {
            let counts = self.counts.lock().unwrap();
            let these: Vec<String> = counts
                .iter()
                .filter(|((direction, _), _)| *direction == way)
                .map(|((_, command), count)| format!("{command} {count}"))
                .collect();
            println!("passed {way:?}: {}", these.join(", "));
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    endpoint: &Endpoint,
    stream: TcpStream,
    bcoin: SocketAddr,
    counts: &Counts,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let Secured {
        mut reader,
        mut writer,
        ..
    } = endpoint.accept(stream).await?;
    let plain = TcpStream::connect(bcoin).await?;
    plain.set_nodelay(true)?;
    let (mut from_bcoin, mut to_bcoin) = plain.into_split();
    let out = async {
        loop {
            let message = reader.read_message().await?;
            note(counts, Way::ToBcoin, &message);
            to_bcoin.write_all(&message).await?;
        }
    };
    let back = async {
        loop {
            let message = read_envelope(&mut from_bcoin).await?;
            note(counts, Way::ToUs, &message);
            writer.write_message(&message).await?;
        }
    };
    tokio::select! {
        ended = out => ended,
        ended = back => ended,
    }
}

/// One whole message: header, and the payload that it announces.
async fn read_envelope(from: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![0; ENVELOPE_HEADER];
    from.read_exact(&mut message).await?;
    let length = u32::from_le_bytes(message[16..20].try_into()?) as usize;
    if ENVELOPE_HEADER + length > MAX_MESSAGE {
        return Err(io::Error::other(format!("bcoin sends {length} bytes at once")).into());
    }
    message.resize(ENVELOPE_HEADER + length, 0);
    from.read_exact(&mut message[ENVELOPE_HEADER..]).await?;
    Ok(message)
}

fn note(counts: &Counts, way: Way, message: &[u8]) {
    let command = String::from_utf8_lossy(message.get(4..16).unwrap_or_default());
    let command = command.trim_end_matches('\0').to_owned();
    *counts.lock().unwrap().entry((way, command)).or_default() += 1;
}
