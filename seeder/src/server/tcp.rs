//! TCP (RFC 7766), plain or within TLS (RFC 7858): messages with a length in front, any number on one connection.
//!
//! Each connection is one task that reads, answers and writes in turn, so a slow client slows only itself. Queries that have come
//! together are answered together. Whoever does not take its answers may lose its place as one that does not ask. A plain connection
//! that has said nothing yet holds a socket and less than a kilobyte, and later one more, one in TLS what rustls holds too; how many there
//! are is bounded (`places`), and those in their handshake are among them.
//!
//! What a client does not take lies in the system's buffers, also when we have closed the connection. So one that ends
//! while its answers wait is reset, which throws them away: the buffers are full then, of some ten answers at least, and whoever
//! reads empties them within a round trip. One that ends otherwise may have answers on their way, and is closed so that they arrive; of
//! those that are never taken, the system lets go after `SEND`.

mod places;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

pub(super) use self::places::Places;
use self::places::{MAX_CONNECTIONS, Place};
use super::{counters::Handshake, tls::Tls};
use crate::respond::{Asker, Responder, Transport};

/// Most bytes of one query; as for UDP, far above any honest one.
const MAX_QUERY: usize = 4096;

/// Bytes of queries that are read at once: a dozen.
const READ: usize = 1024;

/// Bytes of responses that are written at once.
const WRITE: usize = 16 << 10;

/// How long a connection may wait for the next query, and a query for its last byte. Resolvers that reuse
/// connections ask again within a few seconds.
const IDLE: Duration = Duration::from_secs(10);

/// The same while half of all places are taken (RFC 7766, 6.2.3 lets a server close idle connections early
/// when short of resources): clients that hold places without asking lose them soon.
const IDLE_CROWDED: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take: several round trips around the world, lost packets among them.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a client may take nothing of the responses that are written.
const SEND: Duration = Duration::from_secs(5);

/// How long connections may take to end once we stop; a round trip suffices for what is answered already. The systemd
/// unit ends what is left after 10 s (`TimeoutStopSec`), in the middle of whatever it does.
const DRAIN: Duration = Duration::from_secs(3);

/// Most connections that are held at once: those that have places, and as many whose places have been taken and that have not
/// ended yet. In a crowd that comes faster than they end, the system holds the newcomers back.
const MAX_TASKS: usize = 2 * MAX_CONNECTIONS;

/// Pause after a failed `accept` (no descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `stop`, within TLS if there is one; open connections get their running answer and are closed.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    responder: Arc<Responder>,
    places: Places,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let is_full = connections.len() >= MAX_TASKS;
        let accepted = tokio::select! {
            accepted = listener.accept(), if !is_full => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let Some(place) = places.take(client.ip(), tls.is_some()) else {
                    responder.counters.tcp_refused.inc();
                    continue;
                };
                let visit = Visit::new(client, Arc::clone(&responder), place, stop.clone());
                let tls = tls.clone();
                connections.spawn(async move {
                    if let Err(error) = visit.receive(stream, tls).await {
                        tracing::debug!(%error, "DNS connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drain(connections).await;
}

/// Waits for connections that end by themselves, as all do at the token when their answers are taken, and ends the rest.
async fn drain(mut connections: JoinSet<()>) {
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// Who talks to whom.
struct Visit {
    client: SocketAddr,
    responder: Arc<Responder>,
    place: Place,
    stop: CancellationToken,
    /// Whether answers wait for the client to take them.
    unsent: AtomicBool,
}

/// What messages are carried by.
trait Carrier: AsyncRead + AsyncWrite + Unpin {
    /// Has all that was not taken thrown away when it is closed.
    fn forget(&self) -> io::Result<()>;
}

impl Carrier for TcpStream {
    fn forget(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Carrier for TlsStream<TcpStream> {
    fn forget(&self) -> io::Result<()> {
        let (stream, _) = self.get_ref();
        stream.set_zero_linger()
    }
}

/// Has the system give up on a client that takes nothing of what it is sent, whether the connection is open or closed. By itself it
/// tries for a quarter of an hour.
fn bound_patience(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(SEND.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
            tracing::debug!(%error, "a DNS connection keeps the system's patience");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

impl Visit {
    const fn new(
        client: SocketAddr,
        responder: Arc<Responder>,
        place: Place,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            responder,
            place,
            stop,
            unsent: AtomicBool::new(false),
        }
    }

    /// From the first byte to the last. What talks is in a box of its own, which those that say nothing don't have.
    async fn receive(self, stream: TcpStream, tls: Option<Arc<Tls>>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        bound_patience(&stream);
        if let Some(tls) = tls {
            return Box::pin(self.shake_hands(stream, tls)).await;
        }
        match self.awaited(self.patience(), stream.readable()).await? {
            None => Ok(()),
            Some(()) => Box::pin(self.converse(stream, Transport::Tcp)).await,
        }
    }

    /// What comes within `idle`; `None` when nothing does, when another has got the place, or when we stop.
    async fn awaited<T>(
        &self,
        idle: Duration,
        coming: impl Future<Output = io::Result<T>>,
    ) -> io::Result<Option<T>> {
        tokio::select! {
            come = timeout(idle, coming) => come.ok().transpose(),
            () = self.place.lost() => {
                self.responder.counters.tcp_evicted.inc();
                Ok(None)
            }
            () = self.stop.cancelled() => Ok(None),
        }
    }

    async fn shake_hands(&self, stream: TcpStream, tls: Arc<Tls>) -> io::Result<()> {
        let counters = &self.responder.counters;
        let now = || self.responder.moment().micros;
        let shaking = tls.accept(stream, self.client, now);
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE.min(self.patience()), shaking) => shaken,
            () = self.place.lost() => {
                counters.tcp_evicted.inc();
                return Ok(());
            }
            () = self.stop.cancelled() => return Ok(()),
        };
        let Ok(shaken) = shaken else {
            counters.handshake(Handshake::Late);
            return Ok(());
        };
        let stream = shaken.map_err(|(result, error)| {
            counters.handshake(result);
            error
        })?;
        counters.handshake(Handshake::Done);
        self.place.end_handshake();
        self.converse(stream, Transport::Tls).await
    }

    /// How long the client may be silent now.
    fn patience(&self) -> Duration {
        if self.place.is_crowded() {
            IDLE_CROWDED
        } else {
            IDLE
        }
    }

    async fn converse(&self, stream: impl Carrier, transport: Transport) -> io::Result<()> {
        let mut stream = BufReader::with_capacity(READ, stream);
        let result = self.answer_all(&mut stream, transport).await;
        if self.unsent.load(Ordering::Relaxed) {
            // Fails for one that is gone already.
            let _ = stream.get_ref().forget();
            return result;
        }
        // TLS takes leave (RFC 8446, 6.1). Zero is one try: whoever does not take it at once is not waited for.
        let _ = timeout(Duration::ZERO, stream.shutdown()).await;
        result
    }

    async fn answer_all<S>(&self, stream: &mut BufReader<S>, transport: Transport) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let idle = self.patience();
            // The first byte: until then nothing is held but the reader's buffer.
            let begun = async { stream.fill_buf().await.map(|bytes| !bytes.is_empty()) };
            if self.awaited(idle, begun).await? != Some(true) {
                return Ok(());
            }
            let answering = self.answer(stream, transport, idle);
            let more = tokio::select! {
                answered = answering => answered?,
                () = self.place.lost() => {
                    self.responder.counters.tcp_evicted.inc();
                    return Ok(());
                }
            };
            if !more {
                return Ok(());
            }
        }
    }

    /// Answers all queries that have come; `false` when the connection is to be closed.
    async fn answer<S>(
        &self,
        stream: &mut BufReader<S>,
        transport: Transport,
        idle: Duration,
    ) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut query, mut response, mut framed) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut more = tokio::select! {
                // What has come is answered, also when we stop.
                biased;
                read = timeout(idle, read_message(stream, &mut query)) => read.unwrap_or(Ok(false))?,
                // What has been answered is sent still.
                () = self.stop.cancelled() => false,
            };
            if more {
                self.place.set_busy();
                more = self.respond(&query, transport, idle, &mut response);
            }
            if more {
                // A response that is too long for its length field can't be made from our records.
                let length = u16::try_from(response.len()).map_err(io::Error::other)?;
                framed.extend_from_slice(&length.to_be_bytes());
                framed.extend_from_slice(&response);
            }
            let last = !more || !holds_message(stream.buffer());
            if last || framed.len() >= WRITE {
                self.send(stream, &mut framed).await?;
            }
            if last {
                return Ok(more);
            }
        }
    }

    async fn send(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        framed: &mut Vec<u8>,
    ) -> io::Result<()> {
        // Before it is taken: or a crowd that never reads would hold all places for as long as each may take.
        self.place.set_waiting();
        self.unsent.store(true, Ordering::Relaxed);
        let mut rest = framed.as_slice();
        while !rest.is_empty() {
            // Each part has its time: whoever reads slowly is not cut off.
            let taken = timeout(SEND, writer.write(rest)).await;
            match taken.map_err(io::Error::from)?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => rest = rest.get(taken..).unwrap_or_default(),
            }
        }
        // What TLS has encrypted lies in its own buffer until then.
        let flushed = timeout(SEND, writer.flush()).await;
        flushed.map_err(io::Error::from)??;
        self.unsent.store(false, Ordering::Relaxed);
        framed.clear();
        Ok(())
    }

    fn respond(
        &self,
        query: &[u8],
        transport: Transport,
        idle: Duration,
        response: &mut Vec<u8>,
    ) -> bool {
        let from = Asker {
            addr: self.client,
            transport,
            moment: self.responder.moment(),
            idle,
        };
        let state = self.responder.state().load();
        self.responder.respond(&state, query, from, response)
    }
}

/// Whether a whole query has come. Of one that has come in part, the answers before it must not wait.
fn holds_message(buffer: &[u8]) -> bool {
    match buffer {
        [high, low, rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// Reads one message into `query`; `false` when the client is done or sends what no query can be.
async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    query: &mut Vec<u8>,
) -> io::Result<bool> {
    let length = match reader.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > MAX_QUERY {
        return Ok(false);
    }
    query.resize(length, 0);
    reader.read_exact(query).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
