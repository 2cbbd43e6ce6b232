//! TCP (RFC 7766): messages with a length in front, any number on one connection.
//!
//! Each connection is one task that reads, answers and writes in turn, so a slow client slows only itself. Queries that have come
//! together are answered together. A connection that waits holds a kilobyte; how many there are is bounded (`places`).

mod places;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::places::Place;
pub(super) use self::places::Places;
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

/// How long a client may take to accept a response.
const SEND: Duration = Duration::from_secs(5);

/// Pause after a failed `accept` (no descriptors left), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `stop`; open connections get their running answer and are closed.
pub(super) async fn serve(
    listener: TcpListener,
    responder: Arc<Responder>,
    places: Places,
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
                let Some(place) = places.take(client.ip()) else {
                    responder.counters.tcp_refused.inc();
                    continue;
                };
                let (responder, stop) = (Arc::clone(&responder), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = converse(stream, client, &responder, &place, &stop).await {
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
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::with_capacity(READ, reader);
    let conversation = Conversation {
        client,
        responder,
        place,
    };
    loop {
        let patience = if place.is_crowded() {
            IDLE_CROWDED
        } else {
            IDLE
        };
        tokio::select! {
            // The first byte: until then nothing is held but the reader's buffer.
            read = timeout(patience, reader.fill_buf()) => match read {
                Ok(Ok([])) | Err(_) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            },
            () = place.lost() => {
                responder.counters.tcp_evicted.inc();
                return Ok(());
            }
            () = stop.cancelled() => return Ok(()),
        }
        let answering = conversation.answer(&mut reader, &mut writer, stop);
        let more = tokio::select! {
            answered = timeout(patience, answering) => answered.unwrap_or(Ok(false))?,
            () = place.lost() => {
                responder.counters.tcp_evicted.inc();
                return Ok(());
            }
        };
        if !more {
            return Ok(());
        }
        place.waits();
    }
}

/// Who talks to whom.
struct Conversation<'a> {
    client: SocketAddr,
    responder: &'a Responder,
    place: &'a Place,
}

impl Conversation<'_> {
    /// Answers all queries that have come; `false` when the connection is to be closed.
    async fn answer(
        &self,
        reader: &mut BufReader<ReadHalf<'_>>,
        writer: &mut WriteHalf<'_>,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        let (mut query, mut response, mut framed) = (Vec::new(), Vec::new(), Vec::new());
        let mut more = true;
        while more && (framed.is_empty() || holds_message(reader.buffer())) {
            more = tokio::select! {
                // What has come is answered, also when we stop.
                biased;
                read = read_message(reader, &mut query) => read?,
                // What has been answered is sent still.
                () = stop.cancelled() => false,
            };
            if more {
                self.place.is_busy();
                more = self.respond(&query, &mut response);
            }
            if more {
                // A response that is too long for its length field can't be made from our records.
                let length = u16::try_from(response.len()).map_err(io::Error::other)?;
                framed.extend_from_slice(&length.to_be_bytes());
                framed.extend_from_slice(&response);
            }
            if framed.len() >= WRITE {
                send(writer, &mut framed).await?;
            }
        }
        send(writer, &mut framed).await?;
        Ok(more)
    }

    fn respond(&self, query: &[u8], response: &mut Vec<u8>) -> bool {
        let from = Asker {
            addr: self.client,
            transport: Transport::Tcp,
            moment: self.responder.moment(),
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

async fn send(writer: &mut WriteHalf<'_>, framed: &mut Vec<u8>) -> io::Result<()> {
    timeout(SEND, writer.write_all(framed))
        .await
        .map_err(io::Error::from)??;
    framed.clear();
    Ok(())
}

/// Reads one message into `query`; `false` when the client is done or sends what no query can be.
async fn read_message(
    reader: &mut BufReader<ReadHalf<'_>>,
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
