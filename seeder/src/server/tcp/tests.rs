//! How long a connection may take for what, and when it loses its place, by a clock that goes on when all wait.

use std::{future::pending, net::IpAddr};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use socket2::SockRef;
use tokio::{
    io::{DuplexStream, duplex},
    net::TcpSocket,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::respond::tests::responder;

impl Carrier for DuplexStream {
    fn forget(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, and what the server's side of it ends with.
struct Dialogue {
    client: DuplexStream,
    server: JoinHandle<io::Result<()>>,
}

/// Connections to one seeder.
struct Bench {
    places: Places,
    responder: Arc<Responder>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        Self {
            places: Places::default(),
            responder: Arc::new(responder()),
            stop: CancellationToken::new(),
        }
    }

    fn take(&self, network: u16) -> Option<Place> {
        let [high, low] = network.to_be_bytes();
        self.places.take(IpAddr::from([10, high, low, 1]), false)
    }

    fn visit(&self, network: u16) -> Visit {
        let client = SocketAddr::from(([10, 0, 0, 1], 5353));
        let responder = Arc::clone(&self.responder);
        Visit::new(
            client,
            responder,
            self.take(network).unwrap(),
            self.stop.clone(),
        )
    }

    /// A real connection, both of whose ends hold as little as the system lets them: less than ten answers.
    async fn connect_for_real(&self, network: u16) -> (TcpStream, JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let client = socket.connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (server, _) = accepted.unwrap();
        SockRef::from(&server).set_send_buffer_size(1).unwrap();
        let visit = self.visit(network);
        (client.unwrap(), tokio::spawn(visit.receive(server, None)))
    }

    /// A connection that takes 256 bytes of what is written to it, until somebody reads: less than one answer.
    fn connect(&self, network: u16) -> Dialogue {
        let (client, server) = duplex(256);
        let visit = self.visit(network);
        let server = async move { visit.converse(server, Transport::Tcp).await };
        Dialogue {
            client,
            server: tokio::spawn(server),
        }
    }

    /// As many connections from elsewhere as make a crowd.
    fn crowd(&self) -> Vec<Place> {
        let all = (1000..1300).map(|network| self.take(network).unwrap());
        let crowd: Vec<Place> = all.collect();
        assert!(crowd[0].is_crowded());
        crowd
    }
}

fn question() -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("seed1.quantumcoin.network.").unwrap();
    message.add_query(Query::query(name, RecordType::AAAA));
    let bytes = message.to_vec().unwrap();
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

impl Dialogue {
    async fn ask(&mut self) {
        self.client.write_all(&question()).await.unwrap();
    }

    async fn answer(&mut self) -> Message {
        let mut bytes = vec![0; self.client.read_u16().await.unwrap().into()];
        self.client.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.len() > 256, "what does not read is waited for");
        Message::from_vec(&bytes).unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn whoever_takes_no_answers_makes_room_for_who_comes() {
    let bench = Bench::new();
    let mut stuck = Vec::new();
    for _ in 0..64 {
        let mut dialogue = bench.connect(0);
        dialogue.ask().await;
        stuck.push(dialogue);
    }
    // Goes by when all of them wait.
    sleep(SECOND).await;
    let mut newcomer = bench.connect(0);
    newcomer.ask().await;
    assert_eq!(newcomer.answer().await.answers.len(), 24);
    sleep(SECOND).await;
    let ended: Vec<bool> = stuck.iter().map(|one| one.server.is_finished()).collect();
    assert!(
        ended[0] && !ended[1..].contains(&true),
        "the first asked first: {ended:?}"
    );
    assert_eq!(bench.responder.counters.tcp_evicted.get(), 1);
}

/// A short idle time is for those that are idle.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_its_answer_in_a_crowd_too() {
    let bench = Bench::new();
    let crowd = bench.crowd();
    let mut slow = bench.connect(0);
    slow.ask().await;
    sleep(2 * IDLE_CROWDED).await;
    assert_eq!(slow.answer().await.answers.len(), 24);
    let began = Instant::now();
    assert_eq!(slow.client.read(&mut [0; 16]).await.unwrap(), 0);
    assert!((IDLE_CROWDED..2 * IDLE_CROWDED).contains(&began.elapsed()));
    drop(crowd);
}

#[tokio::test(start_paused = true)]
async fn all_waiting_ends() {
    let bench = Bench::new();
    let began = Instant::now();
    let mut deaf = bench.connect(0);
    deaf.ask().await;
    let error = deaf.server.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((SEND..SEND + SECOND).contains(&began.elapsed()));
    let question = question();
    for part in [0, 1, 2, question.len() - 1] {
        let began = Instant::now();
        let mut silent = bench.connect(0);
        silent.client.write_all(&question[..part]).await.unwrap();
        silent.server.await.unwrap().unwrap();
        let patience = if part == 0 { IDLE } else { 2 * IDLE };
        assert!(
            began.elapsed() >= IDLE && began.elapsed() < patience + SECOND,
            "{part}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_is_not_up_to_the_clients() {
    let began = Instant::now();
    let mut connections = JoinSet::new();
    connections.spawn(sleep(SECOND));
    drain(connections).await;
    assert!(
        (SECOND..2 * SECOND).contains(&began.elapsed()),
        "nobody else is waited for"
    );
    let began = Instant::now();
    let mut connections = JoinSet::new();
    connections.spawn(pending());
    drain(connections).await;
    assert!((DRAIN..DRAIN + SECOND).contains(&began.elapsed()));
}

/// What is answered when we stop is taken by who reads, and who does not read is not waited for long.
#[tokio::test(start_paused = true)]
async fn what_is_answered_at_the_end_is_sent() {
    let bench = Bench::new();
    let mut slow = bench.connect(0);
    slow.ask().await;
    sleep(SECOND).await;
    bench.stop.cancel();
    sleep(SECOND).await;
    assert_eq!(slow.answer().await.answers.len(), 24);
    assert_eq!(slow.client.read(&mut [0; 16]).await.unwrap(), 0);
    slow.server.await.unwrap().unwrap();
}

/// More answers than a real connection holds, asked by what the reader takes at once: data that nobody has read would reset it.
fn many() -> Vec<u8> {
    let many = question().repeat(22);
    assert!(many.len() <= READ);
    many
}

/// All that a client finds that has not read until now.
async fn rest(mut client: TcpStream) -> (usize, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let read = client.read_to_end(&mut bytes).await;
    (bytes.len(), read.err().map(|error| error.kind()))
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_are_thrown_away() {
    let bench = Bench::new();
    let (mut client, server) = bench.connect_for_real(0).await;
    client.write_all(&many()).await.unwrap();
    let error = server.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let (_, end) = rest(client).await;
    assert_eq!(end, Some(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn whoever_loses_its_place_while_answers_wait_is_reset() {
    let bench = Bench::new();
    let (mut client, server) = bench.connect_for_real(0).await;
    client.write_all(&many()).await.unwrap();
    // What comes first has been written with as much behind it as there is room for.
    client.readable().await.unwrap();
    let others: Vec<Place> = (0..64).map(|_| bench.take(0).unwrap()).collect();
    server.await.unwrap().unwrap();
    assert_eq!(bench.responder.counters.tcp_evicted.get(), 1);
    let (_, end) = rest(client).await;
    assert_eq!(end, Some(io::ErrorKind::ConnectionReset));
    drop(others);
}

#[tokio::test]
async fn answers_on_their_way_arrive_whoever_gets_the_place() {
    let bench = Bench::new();
    let (mut client, server) = bench.connect_for_real(0).await;
    client.write_all(&question()).await.unwrap();
    client.readable().await.unwrap();
    let others: Vec<Place> = (0..64).map(|_| bench.take(0).unwrap()).collect();
    server.await.unwrap().unwrap();
    assert_eq!(bench.responder.counters.tcp_evicted.get(), 1);
    let (length, end) = rest(client).await;
    assert_eq!(end, None);
    assert!(length > 512, "{length}");
    drop(others);
}

/// What a flood of silent connections costs, besides sockets.
#[tokio::test]
async fn a_connection_that_says_nothing_holds_little() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (_client, accepted) = tokio::join!(client, listener.accept());
    let (server, _) = accepted.unwrap();
    let task = bench.visit(0).receive(server, None);
    let size = size_of_val(&task);
    println!("{size} bytes");
    assert!(size <= 1024, "{size} bytes");
}
