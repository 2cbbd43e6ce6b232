//! Dial-backs between whole nodes, and with peers that lie or ask too much, over real sockets on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::nat::{NatMode, NatSettings, Reachability};
use super::peer::session::Call;
use super::protocol::dial_back::{DialBack, Outcome};
use super::protocol::version::Direction;
use super::session::Session;
use super::tests::{PATIENCE, config, hands, mined, node, spec, stranger};
use super::tests_peers::status_where;
use super::*;

/// A node that asks its peers to dial it back, and nobody else anything.
fn asking(host: u8) -> NetworkConfig {
    let mut config = config(host);
    config.nat = NatSettings {
        mode: NatMode::On,
        stun_servers: Vec::new(),
        protocols: Vec::new(),
    };
    config
}

/// A peer that answers every request with this outcome, and dials nobody; the port that it was asked to dial comes back.
async fn liar(host: u8, outcome: Outcome) -> (SocketAddr, tokio::task::JoinHandle<u16>) {
    let listener = TcpListener::bind((std::net::Ipv4Addr::new(127, 7, 0, host), 0));
    let listener = listener.await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut session = hands(stream, Direction::Inbound, &spec(), 0).await.unwrap();
        let (nonce, port) = request(&mut session).await;
        let answer = DialBack::Result { nonce, outcome }.to_message();
        session.writer.write(&answer).await.unwrap();
        // It stays, so that nothing else changes.
        tokio::spawn(async move { while session.reader.read().await.is_ok() {} });
        port
    });
    (addr, task)
}

async fn request(session: &mut Session) -> (u64, u16) {
    let read = async {
        loop {
            let message = session.reader.read().await.unwrap();
            if let Some(Ok(DialBack::Request { nonce, port })) = DialBack::read(&message) {
                return (nonce, port);
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it asks")
}

async fn outcome(session: &mut Session) -> Outcome {
    let read = async {
        loop {
            let message = session.reader.read().await.unwrap();
            if let Some(Ok(DialBack::Result { outcome, .. })) = DialBack::read(&message) {
                return outcome;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it answers")
}

async fn ask(session: &mut Session, port: u16) -> Outcome {
    let request = DialBack::Request { nonce: 7, port }.to_message();
    session.writer.write(&request).await.unwrap();
    outcome(session).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_that_dial_back_make_a_node_reachable_and_a_liar_changes_nothing() {
    let chain = mined(1);
    let (one, two) = (
        node(&chain, config(201)).await,
        node(&chain, config(202)).await,
    );
    let (liar, asked) = liar(203, Outcome::Unreachable).await;
    let mut settings = asking(200);
    settings.manual_peers = vec![liar, one.listen_addr()];
    let asker = node(&chain, settings).await;
    let port = timeout(PATIENCE, asked).await.unwrap().unwrap();
    assert_eq!(port, asker.listen_addr().port());
    let status = status_where(&asker, |status| status.nat.confirmed_by == 1).await;
    assert_eq!(status.nat.reachable, Reachability::Unknown);
    asker.connect(two.listen_addr()).await;
    let status = status_where(&asker, |status| status.nat.confirmed_by == 2).await;
    assert_eq!(status.nat.reachable, Reachability::Reachable);
    assert_eq!(status.nat.advertised, Some(asker.listen_addr()));
    for node in [asker, one, two] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_says_that_he_has_reached_us_is_not_believed() {
    let (one, first) = liar(211, Outcome::Reached).await;
    let (two, second) = liar(212, Outcome::Reached).await;
    let mut settings = asking(210);
    settings.manual_peers = vec![one, two];
    let asker = node(&mined(1), settings).await;
    for asked in [first, second] {
        timeout(PATIENCE, asked).await.unwrap().unwrap();
    }
    let status = asker.status().await.unwrap();
    assert_eq!(status.nat.confirmed_by, 0);
    assert_eq!(status.nat.reachable, Reachability::Unknown);
    asker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_peers_can_t_reach_is_not_advertised() {
    let (one, _first) = liar(221, Outcome::Unreachable).await;
    let (two, _second) = liar(222, Outcome::Unreachable).await;
    let mut settings = asking(220);
    settings.manual_peers = vec![one, two];
    let asker = node(&mined(1), settings).await;
    let unreachable = |status: &NetworkStatus| status.nat.reachable == Reachability::Unreachable;
    let status = status_where(&asker, unreachable).await;
    assert_eq!(status.nat.advertised, None);
    asker.shutdown().await;
}

/// Whoever asks has nobody dialled but himself, and himself once.
#[tokio::test(flavor = "multi_thread")]
async fn no_third_party_is_dialled() {
    let server = node(&mined(1), config(230)).await;
    let (asker, victim) = ([127, 7, 9, 31], [127, 7, 9, 32]);
    let bystander = TcpListener::bind(SocketAddr::from((victim, 0)))
        .await
        .unwrap();
    let port = bystander.local_addr().unwrap().port();
    let own = TcpListener::bind(SocketAddr::from((asker, port)))
        .await
        .unwrap();
    let mut session = stranger(asker, server.listen_addr(), &spec())
        .await
        .unwrap();
    // Somebody listens there who is not the one that asks: that is seen, and nothing more.
    let dialled = async {
        let (stream, from) = timeout(PATIENCE, own.accept()).await.unwrap().unwrap();
        assert_eq!(from.ip(), server.listen_addr().ip());
        let _ = hands(stream, Direction::Inbound, &spec(), 0).await;
    };
    let (outcome, ()) = tokio::join!(ask(&mut session, port), dialled);
    assert_eq!(outcome, Outcome::Unreachable);
    assert_eq!(
        ask(&mut session, port).await,
        Outcome::Refused,
        "once is enough"
    );
    let mut again = stranger(asker, server.listen_addr(), &spec())
        .await
        .unwrap();
    assert_eq!(
        ask(&mut again, port).await,
        Outcome::Refused,
        "of each host"
    );
    let mut other = stranger([127, 7, 9, 33], server.listen_addr(), &spec())
        .await
        .unwrap();
    assert_eq!(
        ask(&mut other, 22).await,
        Outcome::Refused,
        "a port of the system"
    );
    // All answers have come, so whoever was to be dialled has been.
    let quiet = Duration::from_millis(1);
    assert!(timeout(quiet, bystander.accept()).await.is_err());
    assert!(timeout(quiet, own.accept()).await.is_err());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_back_message_of_another_shape_ends_the_connection() {
    let server = node(&mined(1), config(240)).await;
    let mut session = stranger([127, 7, 9, 41], server.listen_addr(), &spec())
        .await
        .unwrap();
    let NetworkMessage::Unknown { command, .. } =
        (DialBack::Request { nonce: 0, port: 0 }).to_message()
    else {
        panic!("a command of our own");
    };
    let payload = vec![0; 3];
    let junk = NetworkMessage::Unknown { command, payload };
    session.writer.write(&junk).await.unwrap();
    let ended = async { while session.reader.read().await.is_ok() {} };
    timeout(PATIENCE, ended).await.expect("the connection ends");
    server.shutdown().await;
}

/// Whoever does not answer when all are called is taken for gone.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_called_and_stay_silent_go() {
    let server = node(&mined(1), config(250)).await;
    let mut there = stranger([127, 7, 9, 51], server.listen_addr(), &spec())
        .await
        .unwrap();
    let silent = stranger([127, 7, 9, 52], server.listen_addr(), &spec())
        .await
        .unwrap();
    status_where(&server, |status| status.inbound == 2).await;
    let mut call = Call::default();
    call.add([127, 7, 9, 52].into());
    server.local.call(call);
    let answering = tokio::spawn(async move {
        while let Ok(message) = there.reader.read().await {
            if let NetworkMessage::Ping(nonce) = message {
                there
                    .writer
                    .write(&NetworkMessage::Pong(nonce))
                    .await
                    .unwrap();
            }
        }
    });
    let status = status_where(&server, |status| status.inbound == 1).await;
    assert_eq!(
        status.peers[0].addr.ip(),
        SocketAddr::from(([127, 7, 9, 51], 0)).ip()
    );
    drop(silent);
    answering.abort();
    server.shutdown().await;
}
