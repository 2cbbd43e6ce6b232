//! The loops over real sockets.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::respond::tests::responder;

const QUERY: &[u8] =
    b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x05seed1\x0bquantumcoin\x07network\0\0\x06\0\x01";

type Loop = fn(&UdpSocket, &Responder, &CancellationToken);

/// A loop on `listen`, asked at `at` by sockets that take answers from there only.
fn answers(prepare: fn(&UdpSocket) -> io::Result<()>, serve: Loop, listen: &str, at: Ipv4Addr) {
    let socket = UdpSocket::bind(listen).unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    prepare(&socket).unwrap();
    let server = SocketAddr::from((at, socket.local_addr().unwrap().port()));
    let stop = CancellationToken::new();
    let (responder, ended) = (responder(), stop.clone());
    let running = std::thread::spawn(move || serve(&socket, &responder, &ended));
    let clients: Vec<UdpSocket> = (0..100)
        .map(|_| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(server).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            client
        })
        .collect();
    for client in &clients {
        // What gets no answer takes no other's.
        client.send(b"junk").unwrap();
        client.send(QUERY).unwrap();
    }
    for client in &clients {
        let mut answer = [0; 600];
        let length = client.recv(&mut answer).unwrap();
        assert!(length > QUERY.len());
        assert_eq!(answer[..2], QUERY[..2]);
        assert_eq!(answer[12..QUERY.len()], QUERY[12..]);
    }
    stop.cancel();
    running.join().unwrap();
}

#[test]
fn one_at_a_time() {
    answers(
        single::prepare,
        single::serve,
        "127.0.0.1:0",
        Ipv4Addr::LOCALHOST,
    );
}

#[cfg(target_os = "linux")]
#[test]
fn many_at_once() {
    answers(
        batch::prepare,
        batch::serve,
        "127.0.0.1:0",
        Ipv4Addr::LOCALHOST,
    );
}

/// On Linux all of 127.0.0.0/8 are addresses of the loopback interface; without a word on where the query went the answer would
/// come from 127.0.0.1.
#[cfg(target_os = "linux")]
#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    answers(
        batch::prepare,
        batch::serve,
        "0.0.0.0:0",
        Ipv4Addr::new(127, 0, 0, 77),
    );
}
