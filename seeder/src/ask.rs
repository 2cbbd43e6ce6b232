//! One question to one server, over UDP or TCP, and nothing remembered.
//!
//! A resolver library would hide what is looked for here: whether this one server answers, over which transport, with
//! which flags and sections.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

/// The port that resolvers and name servers are asked at (RFC 1035, 4.2).
pub(crate) const DNS_PORT: u16 = 53;

/// Longest wait for an answer: what `dig` and resolvers give a server, less the patience of a person before a screen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// A datagram may get lost; the question is sent again after that long.
const RESEND: Duration = Duration::from_secs(1);

/// Most bytes that we take over UDP, which no path cuts (DNS Flag Day 2020).
const PAYLOAD: u16 = 1232;

/// Bytes that are kept of a datagram: more than we say that we take, for servers that don't mind it.
const DATAGRAM: usize = 4096;

/// Questions under way at once, of the whole program: as many as a check of some zones has, and half of the TCP
/// connections that a seeder grants one network. It also bounds our open files, whatever a parent answers.
const AT_ONCE: usize = 32;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Linux `errno` of "too many open files" in the system and in this process, and "no buffer space" (`errno.h`), which
/// have no stable kind of their own.
const EXHAUSTED: [i32; 3] = [23, 24, 105];

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// Over UDP alone.
    Udp,
    /// Over TCP alone.
    Tcp,
    /// Over UDP, and over TCP when the answer is cut off.
    Either,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Either => "UDP or TCP",
        })
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What name.
    pub(crate) name: Name,
    /// Which type.
    pub(crate) kind: RecordType,
    /// Whether the server is to ask others for us.
    pub(crate) recursion: bool,
}

impl Question {
    /// To a resolver.
    pub(crate) fn of_resolver(name: &Name, kind: RecordType) -> Self {
        Self {
            name: name.clone(),
            kind,
            recursion: true,
        }
    }

    /// To a name server, about what it knows by itself.
    pub(crate) fn of_server(name: &Name, kind: RecordType) -> Self {
        Self {
            recursion: false,
            ..Self::of_resolver(name, kind)
        }
    }

    fn query(&self) -> Query {
        Query::query(self.name.clone(), self.kind)
    }

    /// Signatures are always asked for: whoever does not know them leaves them out.
    fn message(&self, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.add_query(self.query());
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
        message
    }

    /// The response to it, if `bytes` are that: anybody can send us datagrams.
    fn answered_by(&self, id: u16, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let metadata = &message.metadata;
        let [query] = message.queries.as_slice() else {
            return None;
        };
        let right = metadata.id == id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == OpCode::Query
            && query.query_class() == DNSClass::IN
            && query.query_type() == self.kind
            && query.name() == &self.name;
        right.then_some(message)
    }
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// The system knows no way there.
    #[error("there is no way to it from here ({0})")]
    NoRoute(String),
    /// This process may open no more sockets.
    #[error(
        "this system gives no more sockets ({0}); `ulimit -n` shows how many files may be open"
    )]
    NoSocket(String),
    /// Nothing came.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The machine is there and says that nobody listens.
    #[error("nobody listens there")]
    Closed,
    /// It was not its turn before all questions had to end.
    #[error("not asked: the questions before took too long")]
    Late,
    /// Something came that answers no such question.
    #[error("what it sends is no answer to the question")]
    Garbled,
    /// A denial that names no zone which denies: a resolver hands on the SOA (RFC 2308, 3), a firewall or portal that
    /// answers in its place has none.
    #[error(
        "it denies everything, as a firewall or portal on the way does that answers in its place"
    )]
    Hollow,
    /// No such question can be written.
    #[error("the question can't be written: {0}")]
    Question(String),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof,
        };
        match error.kind() {
            ConnectionRefused | ConnectionReset | ConnectionAborted | UnexpectedEof
            | BrokenPipe => Self::Closed,
            _ if EXHAUSTED.contains(&error.raw_os_error().unwrap_or_default()) => {
                Self::NoSocket(error.to_string())
            }
            _ => Self::NoRoute(error.to_string()),
        }
    }
}

/// Asks a server once; over UDP the question is sent up to three times.
///
/// # Errors
/// [`AskError`]; an answer with an error code is an answer.
pub(crate) async fn ask(
    server: SocketAddr,
    question: &Question,
    via: Via,
) -> Result<Message, AskError> {
    // It is never closed; the wait for an answer begins when it is our turn.
    let _place = PLACES.acquire().await;
    let over_tcp = || async {
        let asked = timeout(PATIENCE, by_tcp(server, question)).await;
        asked.unwrap_or(Err(AskError::Silent))
    };
    if via == Via::Tcp {
        return over_tcp().await;
    }
    let message = by_udp(server, question).await?;
    if via == Via::Either && message.metadata.truncation {
        return over_tcp().await;
    }
    Ok(message)
}

async fn by_udp(server: SocketAddr, question: &Question) -> Result<Message, AskError> {
    // A port of its own for each question, and only this server's datagrams come.
    let socket = connected(server).await?;
    let id = rand::random();
    let query = written(question, id)?;
    let end = Instant::now() + PATIENCE;
    let mut buffer = vec![0; DATAGRAM];
    let mut failure = AskError::Silent;
    while Instant::now() < end {
        socket.send(&query).await?;
        let again = end.min(Instant::now() + RESEND);
        while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
            let length = received?;
            let bytes = buffer.get(..length).unwrap_or_default();
            match question.answered_by(id, bytes) {
                Some(message) => return Ok(message),
                None => failure = AskError::Garbled,
            }
        }
    }
    Err(failure)
}

/// A socket of any port for datagrams to and from one server.
pub(crate) async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn by_tcp(server: SocketAddr, question: &Question) -> Result<Message, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    let id = rand::random();
    let query = written(question, id)?;
    let length = u16::try_from(query.len()).map_err(|_| AskError::Garbled)?;
    let framed = [&length.to_be_bytes(), query.as_slice()].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let message = question.answered_by(id, &answer);
    message.ok_or(AskError::Garbled)
}

fn written(question: &Question, id: u16) -> Result<Vec<u8>, AskError> {
    let written = question.message(id).to_vec();
    written.map_err(|error| AskError::Question(error.to_string()))
}

/// Does several things at once and gives what came of each, in their order.
pub(crate) async fn all<T, F>(asked: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, one) in asked.into_iter().enumerate() {
        tasks.spawn(async move { (index, one.await) });
    }
    let mut done = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        // Nobody ends them but we, and they don't panic.
        done.extend(joined);
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, one)| one).collect()
}

/// The address by which this machine itself reaches a listening address: loopback for a wildcard.
pub(crate) const fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The data of the records of one owner and type.
pub(crate) fn of<'a>(
    records: &'a [Record],
    owner: &'a Name,
    kind: RecordType,
) -> impl Iterator<Item = &'a RData> {
    let mine = records
        .iter()
        .filter(move |record| record.name == *owner && record.record_type() == kind);
    mine.map(|record| &record.data)
}

#[cfg(test)]
mod tests;
