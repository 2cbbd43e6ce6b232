//! TCP (RFC 7766): messages with a length in front, any number on one connection.
//!
//! Each connection is one task that reads, answers and writes in turn, so a slow client slows only itself.
//! Memory is bounded by the connection limits times [`MAX_QUERY`] plus one response.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    guard::Network,
    respond::{Asker, Responder, Transport},
};

/// Most bytes of one query; as for UDP, far above any honest one.
const MAX_QUERY: usize = 4096;

/// How long a connection may wait for the next query, and a query for its last byte. Resolvers that reuse
/// connections ask again within a few seconds.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// The same while half of all places are taken (RFC 7766, 6.2.3 lets a server close idle connections early
/// when short of resources): clients that hold places without asking lose them soon.
const IDLE_CROWDED: Duration = Duration::from_secs(2);

/// How long a client may take to accept a response.
const SEND: Duration = Duration::from_secs(5);

/// Most connections at once, over all listeners: a quarter of the usual 1,024 descriptors.
const MAX_CONNECTIONS: usize = 256;

/// Most connections of one client network (/24 or /56): resolvers behind one address use a few, and a
/// single network can't take all places.
const MAX_PER_NETWORK: usize = 32;

/// Pause after a failed `accept` (no descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `stop`; open connections get their running answer and are closed.
pub(super) async fn serve(
    listener: TcpListener,
    responder: Arc<Responder>,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let Some(place) = limits.take(client.ip()) else {
                    responder.counters.tcp_refused.inc();
                    continue;
                };
                let (responder, stop) = (Arc::clone(&responder), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = converse(stream, client, &responder, &place, &stop).await {
                        tracing::debug!(%error, "DNS connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Each ends by itself: at the token, or at the latest after SEND.
    while connections.join_next().await.is_some() {}
}

async fn converse(
    mut stream: TcpStream,
    client: SocketAddr,
    responder: &Responder,
    place: &Place,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut query, mut response, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let read = tokio::select! {
            read = timeout(place.patience(), read_message(&mut stream, &mut query)) => read,
            () = stop.cancelled() => return Ok(()),
        };
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
        let answered = {
            let from = Asker {
                addr: client,
                transport: Transport::Tcp,
                moment: responder.moment(),
            };
            responder.respond(&responder.state().load(), &query, from, &mut response)
        };
        if !answered {
            return Ok(());
        }
        // A response that is too long for its length field can't be made from our records.
        let length = u16::try_from(response.len()).map_err(io::Error::other)?;
        framed.clear();
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&response);
        timeout(SEND, stream.write_all(&framed))
            .await
            .map_err(io::Error::from)??;
    }
}

/// Reads one message into `query`; `false` when the client is done or sends what no query can be.
async fn read_message(stream: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_QUERY {
        return Ok(false);
    }
    query.resize(length, 0);
    stream.read_exact(query).await?;
    Ok(true)
}

/// Counts connections; clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    open: Arc<Mutex<HashMap<Network, usize>>>,
}

/// A place within the limits, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    network: Network,
    limits: Limits,
}

impl Place {
    /// How long this connection may wait for its next query.
    fn patience(&self) -> Duration {
        let total: usize = self.limits.lock().values().sum();
        if total > MAX_CONNECTIONS / 2 {
            IDLE_CROWDED
        } else {
            IDLE
        }
    }
}

impl Limits {
    /// A place for one more connection from `client`, if there is one.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let network = Network::of(client);
        let mut open = self.lock();
        let total: usize = open.values().sum();
        let here = open.entry(network).or_default();
        if total >= MAX_CONNECTIONS || *here >= MAX_PER_NETWORK {
            if *here == 0 {
                open.remove(&network);
            }
            return None;
        }
        *here += 1;
        Some(Place {
            network,
            limits: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        if let Some(here) = open.get_mut(&self.network) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_by_network_and_in_all_and_given_back() {
        let limits = Limits::default();
        let take = |n: u32, host: u8| {
            let [_, a, b, _] = n.to_be_bytes();
            limits.take(IpAddr::from([10, a, b, host]))
        };
        let crowd: Vec<Place> = (0..MAX_PER_NETWORK)
            .filter_map(|h| take(0, h as u8))
            .collect();
        assert_eq!(crowd.len(), MAX_PER_NETWORK);
        assert!(take(0, 99).is_none(), "the network is full");
        let others: Vec<Place> = (1..=MAX_CONNECTIONS as u32)
            .filter_map(|n| take(n << 8, 1))
            .collect();
        assert_eq!(others.len(), MAX_CONNECTIONS - MAX_PER_NETWORK);
        assert!(take(9999 << 8, 1).is_none(), "all places are taken");
        drop(crowd);
        assert!(take(0, 1).is_some());
        drop(others);
        assert!(
            limits.lock().len() <= 1,
            "nothing is kept for clients that left"
        );
    }

    #[test]
    fn a_crowd_shortens_the_wait() {
        let limits = Limits::default();
        let first = limits.take(IpAddr::from([10, 0, 0, 1])).unwrap();
        assert_eq!(first.patience(), IDLE);
        let mut crowd: Vec<Place> = (0..MAX_CONNECTIONS / 2)
            .filter_map(|n| limits.take(IpAddr::from([10, 1, n as u8, 1])))
            .collect();
        assert_eq!(first.patience(), IDLE_CROWDED);
        crowd.pop();
        assert_eq!(first.patience(), IDLE);
    }
}
