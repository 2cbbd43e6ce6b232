use std::net::SocketAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, rdata},
};
use tokio::net::TcpListener;

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question() -> Question {
    Question::of_server(&name("seed.test."), RecordType::SOA)
}

/// The response of a server to a query.
fn response(query: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.add_queries(query.queries);
    change(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn only_the_response_to_the_question_is_taken() {
    let question = question();
    let query = question.message(7).to_vec().unwrap();
    let taken = |bytes: &[u8]| question.answered_by(7, bytes).is_some();
    assert!(taken(&response(&query, |_| {})));
    assert!(taken(&response(&query, |message| {
        message.queries[0].name = name("SEED.test.");
    })));
    assert!(!taken(&query), "a query is no response");
    assert!(!taken(&response(&query, |message| message.metadata.id = 8)));
    assert!(!taken(&response(&query, |message| message.queries.clear())));
    assert!(!taken(&response(&query, |message| {
        message.queries[0].name = name("other.test.");
    })));
    assert!(!taken(&response(&query, |message| {
        message.queries[0].query_type = RecordType::NS;
    })));
    assert!(!taken(&response(&query, |message| {
        message.metadata.op_code = OpCode::Notify;
    })));
    assert!(!taken(b"\x00\x07"));
}

#[test]
fn a_server_is_not_asked_to_ask_others() {
    let server = question().message(1);
    assert!(!server.metadata.recursion_desired);
    let resolver = Question::of_resolver(&name("a."), RecordType::A).message(1);
    assert!(resolver.metadata.recursion_desired);
    assert!(resolver.edns.unwrap().flags().dnssec_ok);
}

/// A server that answers the first datagram with `first` and what follows rightly.
async fn udp(first: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let bytes = first(&buffer[..length]);
        if !bytes.is_empty() {
            socket.send_to(&bytes, from).await.unwrap();
        }
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let right = response(&buffer[..length], |_| {});
            socket.send_to(&right, from).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn lost_and_forged_datagrams_do_no_harm() {
    for first in [Vec::new(), vec![1, 2, 3]] {
        let server = udp(move |_| first).await;
        let answer = ask(server, &question(), Via::Udp).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    }
}

#[tokio::test]
async fn what_is_cut_off_comes_over_tcp() {
    let server = udp(|query| response(query, |message| message.metadata.truncation = true)).await;
    let listener = TcpListener::bind(server).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let answer = response(&query, |message| {
            let record =
                Record::from_rdata(name("seed.test."), 1, RData::A(rdata::A::new(192, 0, 2, 1)));
            message.add_answer(record);
        });
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let whole = ask(server, &question(), Via::Either).await.unwrap();
    let (zone, other) = (name("SEED.test."), name("test."));
    let found: Vec<_> = of(&whole.answers, &zone, RecordType::A).collect();
    assert_eq!(found.len(), 1, "the owner's case does not matter");
    assert!(of(&whole.answers, &other, RecordType::A).next().is_none());
}

#[tokio::test]
async fn silence_and_closed_ports_are_told_apart() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    assert_eq!(
        ask(addr, &question(), Via::Udp).await,
        Err(AskError::Silent)
    );
    // TCP of that port is nobody's, or whoever got it meanwhile does not speak DNS.
    drop(silent);
    assert_eq!(
        ask(addr, &question(), Via::Udp).await,
        Err(AskError::Closed)
    );
    assert_eq!(
        ask(addr, &question(), Via::Tcp).await,
        Err(AskError::Closed)
    );
}

/// By a clock that goes on when all wait: the last is done first.
#[tokio::test(start_paused = true)]
async fn several_things_come_back_in_their_order() {
    let waits = [30, 1, 10].map(|wait| async move {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        wait
    });
    assert_eq!(all(waits).await, [30, 1, 10]);
}

#[test]
fn a_lack_of_sockets_is_no_lack_of_a_way() {
    let of = |number| AskError::from(io::Error::from_raw_os_error(number));
    assert!(matches!(of(24), AskError::NoSocket(_)));
    // ENETUNREACH.
    assert!(matches!(of(101), AskError::NoRoute(_)));
}

#[tokio::test]
async fn few_questions_are_under_way_at_once() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let asked = (0..2 * AT_ONCE).map(move |_| async move {
        let answer = ask(server, &question(), Via::Udp).await;
        answer.is_ok()
    });
    let asked = tokio::spawn(all(asked));
    // Each asks from a port of its own and sends its question again after a second: who is under way shows by ports.
    let mut ports = std::collections::BTreeSet::new();
    let mut buffer = [0; 1500];
    for _ in 0..2 * AT_ONCE {
        let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
        ports.insert(from);
    }
    assert!(ports.len() <= AT_ONCE, "{}", ports.len());
    let answering = tokio::spawn(async move {
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let right = response(&buffer[..length], |_| {});
            socket.send_to(&right, from).await.unwrap();
        }
    });
    assert!(asked.await.unwrap().into_iter().all(|answered| answered));
    answering.abort();
}

#[test]
fn wildcards_are_reached_by_loopback() {
    let reached = |addr: &str| reachable(addr.parse().unwrap()).to_string();
    assert_eq!(reached("0.0.0.0:53"), "127.0.0.1:53");
    assert_eq!(reached("[::]:53"), "[::1]:53");
    assert_eq!(reached("192.0.2.1:53"), "192.0.2.1:53");
}
