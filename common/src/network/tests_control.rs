//! What an operator does to a running node, over real sockets; and what metrics say of it and of a crowd of strangers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bitcoin::p2p::message::NetworkMessage;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::control::{ControlError, MAX_KEPT_PEERS, PeerRef, Stay};
use super::protocol::version::{Direction, LocalVersion};
use super::security::operator::Network;
use super::session::{Session, SessionError, shake_hands};
use super::tests::{PATIENCE, config, copy, mined, node, spec, stranger, synced};
use super::tests_peers::status_where;
use super::*;

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

/// Settings of a node that dials nobody by itself.
fn alone(host: u8) -> NetworkConfig {
    let mut config = config(host);
    config.outbound_target = 0;
    config
}

async fn ended(session: &mut Session) {
    let reading = async { while session.reader.read().await.is_ok() {} };
    timeout(PATIENCE, reading)
        .await
        .expect("the connection ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_added_for_good_dropped_and_added_once() {
    let chain = mined(3);
    let good = node(&chain, alone(161)).await;
    let fresh = node(&copy(&chain), alone(162)).await;
    let addr = good.listen_addr();
    fresh.add_peer(addr, Stay::Kept).await.unwrap();
    let again = fresh.add_peer(addr, Stay::Kept).await;
    assert_eq!(again, Err(ControlError::AlreadyThere(addr)));
    let status = status_where(&fresh, |s| s.outbound == 1).await;
    let peer = &status.peers[0];
    assert!(peer.kept && peer.addr == addr, "{peer:?}");

    let dropped = fresh.drop_peer(PeerRef::Id(peer.id)).await.unwrap();
    assert_eq!(
        (dropped.addr, dropped.was_kept, dropped.connections),
        (addr, true, 1)
    );
    status_where(&good, |s| s.inbound == 0).await;
    let gone = fresh.drop_peer(PeerRef::Addr(addr)).await;
    assert_eq!(gone, Err(ControlError::NoSuchPeer(PeerRef::Addr(addr))));
    let unknown = fresh.drop_peer(PeerRef::Id(77)).await;
    assert!(unknown.unwrap_err().to_string().contains("number 77"));

    fresh.add_peer(addr, Stay::Once).await.unwrap();
    // Beyond the places that there are, which are none here.
    let status = status_where(&fresh, |s| s.outbound == 1).await;
    assert!(!status.peers[0].kept);
    let again = fresh.add_peer(addr, Stay::Once).await;
    assert_eq!(again, Err(ControlError::AlreadyThere(addr)));
    fresh.shutdown().await;
    assert_eq!(
        fresh.add_peer(addr, Stay::Once).await,
        Err(ControlError::Stopped)
    );
    good.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_a_peer_is_refused_and_there_is_an_end_to_them() {
    let server = node(&mined(1), alone(163)).await;
    let add = async |addr: &str| server.add_peer(addr.parse().unwrap(), Stay::Kept).await;
    for wrong in ["127.0.0.1:0", "0.0.0.0:8333", "224.0.0.1:8333", "[::]:1"] {
        let refused = add(wrong).await;
        assert!(
            matches!(refused, Err(ControlError::NotDialable(_))),
            "{wrong}: {refused:?}"
        );
    }
    let own = server.listen_addr();
    let refused = server.add_peer(own, Stay::Once).await;
    assert_eq!(refused, Err(ControlError::Ours(own)));
    for port in 1..=MAX_KEPT_PEERS {
        add(&format!("127.7.99.1:{port}")).await.unwrap();
    }
    assert_eq!(add("127.7.99.1:1000").await, Err(ControlError::TooManyKept));
    let nat = server.look_at_nat_again().await;
    assert_eq!(nat, Err(ControlError::NatOff));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_network_is_hung_up_on_and_kept_out_over_a_restart() {
    let chain = mined(1);
    let dir = tempfile::tempdir().unwrap();
    let mut settings = alone(164);
    settings.data_dir = Some(dir.path().to_owned());
    let kept: SocketAddr = "127.7.66.9:8333".parse().unwrap();
    settings.manual_peers = vec![kept];
    let server = node(&chain, settings.clone()).await;
    let to = server.listen_addr();
    let mut one = stranger([127, 7, 66, 1], to, &spec()).await.unwrap();
    let mut other = stranger([127, 7, 66, 2], to, &spec()).await.unwrap();
    let mut friend = stranger([127, 7, 67, 1], to, &spec()).await.unwrap();
    status_where(&server, |s| s.inbound == 3).await;

    let banned = server
        .ban(network("127.7.66.77/24"), Some(3_600), "scrapers")
        .await
        .unwrap();
    assert_eq!(banned.connections, 2);
    ended(&mut one).await;
    ended(&mut other).await;
    friend.writer.write(&NetworkMessage::Ping(1)).await.unwrap();
    assert!(friend.reader.read().await.is_ok());
    assert!(stranger([127, 7, 66, 3], to, &spec()).await.is_err());
    for stay in [Stay::Kept, Stay::Once] {
        let refused = server.add_peer(kept, stay).await.unwrap_err();
        assert!(refused.to_string().contains("127.7.66.0/24"), "{refused}");
    }
    server.shutdown().await;

    // The same settings again: the ban weighs more than the list of peers.
    let server = node(&chain, settings).await;
    let to = server.listen_addr();
    let status = server.status().await.unwrap();
    let ban = &status.security.operator_bans[0];
    assert_eq!(ban.network.to_string(), "127.7.66.0/24");
    assert_eq!(ban.reason, "scrapers");
    assert_eq!(ban.until, Some(ban.since + 3_600));
    assert!(status.security.bans.is_empty());
    assert!(stranger([127, 7, 66, 3], to, &spec()).await.is_err());
    let not = server.unban(network("127.7.66.0/25")).await;
    assert!(matches!(not, Err(ControlError::NotBanned(_))), "{not:?}");
    server.unban(network("127.7.66.0/24")).await.unwrap();
    stranger([127, 7, 66, 3], to, &spec()).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_banned_for_an_offence_is_let_in_again() {
    let chain = mined(1);
    let server = node(&chain, alone(165)).await;
    let (host, to) = ([127, 7, 68, 1], server.listen_addr());
    let (_, mut header) = chain.header(&chain.tip().hash).unwrap();
    header.bits = bitcoin::CompactTarget::from_consensus(0x1d00_ffff);
    let mut liar = stranger(host, to, &spec()).await.unwrap();
    let lie = NetworkMessage::Headers(vec![header]);
    liar.writer.write(&lie).await.unwrap();
    ended(&mut liar).await;
    status_where(&server, |s| s.security.bans.len() == 1).await;
    let addr = SocketAddr::from((host, 8333));
    let refused = server.add_peer(addr, Stay::Once).await.unwrap_err();
    assert!(refused.to_string().contains("invalid_header"), "{refused}");
    server
        .unban(Network::host(IpAddr::from(host)))
        .await
        .unwrap();
    stranger(host, to, &spec()).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_book_is_told_in_figures() {
    let chain = mined(1);
    let good = node(&chain, alone(166)).await;
    let fresh = node(&copy(&chain), {
        let mut settings = alone(167);
        settings.manual_peers = vec![good.listen_addr()];
        settings
    })
    .await;
    synced(&fresh).await;
    let look = async {
        loop {
            let book = fresh.book().await.unwrap();
            if book.addresses > 0 {
                return book;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let book = timeout(PATIENCE, look).await.unwrap();
    assert_eq!((book.tried.ipv4, book.tried.ipv6, book.new.ipv4), (1, 0, 0));
    assert_eq!((book.tried.netgroups, book.seen.day, book.noise), (1, 1, 1));
    fresh.shutdown().await;
    good.shutdown().await;
}

/// A stranger with a user agent and services of its own choice.
async fn stranger_called(
    user_agent: &str,
    host: [u8; 4],
    to: SocketAddr,
) -> Result<Session, SessionError> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    let stream = socket.connect(to).await.map_err(SessionError::Connect)?;
    let from = stream.local_addr().map_err(SessionError::Connect)?;
    let local = LocalVersion {
        protocol_version: 70015,
        min_protocol_version: 70010,
        services: rand::random(),
        user_agent: user_agent.to_owned(),
        start_height: rand::random_range(0..1_000_000),
        relay: true,
        nonce: rand::random(),
        now: 0,
        our_addr: from,
        their_addr: to,
    };
    let endpoint = Endpoint::new(&spec(), Arc::new(Identity::generate().unwrap()));
    let magic = spec().magic();
    let handshake = shake_hands(&endpoint, magic, local, stream, Direction::Outbound);
    timeout(PATIENCE, handshake)
        .await
        .expect("a handshake ends")
}

/// The series of a scrape: each line up to its value.
fn series(metrics: &Metrics) -> BTreeSet<String> {
    let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.rsplit_once(' '));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// A hundred strangers, each with an address, an identity, services and a user agent of its own, some of which say nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_makes_no_new_series() {
    let metrics = Metrics::new("quantumcoin_node");
    let server = NetworkManager::with_config(alone(168), mined(1), None, &metrics)
        .await
        .unwrap();
    server.start().await.unwrap();
    let to = server.listen_addr();
    let nonsense = NetworkMessage::Unknown {
        command: "nonsense".try_into().unwrap(),
        payload: vec![1; 9],
    };
    let visit = async |n: u32, agent: &str| {
        // Each from a subnet of its own, which no limit counts together.
        let mut peer = stranger_called(agent, [127, 8, n as u8 + 1, 1], to)
            .await
            .unwrap();
        // Whether it is listened to, or hung up on at once, is not what this is about.
        let _ = peer.writer.write(&nonsense).await;
        let _ = peer.writer.write(&NetworkMessage::Ping(n.into())).await;
        peer
    };
    // The kinds of things that happen at all.
    let mut first = visit(0, "/first:1/").await;
    ended_or_pong(&mut first).await;
    drop(first);
    status_where(&server, |s| s.inbound == 0).await;
    let before = series(&metrics);
    assert!(before.len() > 60, "{before:#?}");
    let mut crowd = Vec::new();
    for n in 1..=100 {
        let agent = format!("/{}{{\"n\\={n}<script>/", rand::random::<u128>());
        crowd.push(visit(n, &agent).await);
    }
    for peer in &mut crowd {
        ended_or_pong(peer).await;
    }
    let after = series(&metrics);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    let told = after
        .iter()
        .any(|name| name.contains("127.8") || name.contains("script"));
    assert!(!told, "{after:#?}");
    server.shutdown().await;
}

/// Until the node has looked at what was said, or has hung up.
async fn ended_or_pong(peer: &mut Session) {
    let reading = async {
        while !matches!(
            peer.reader.read().await,
            Err(_) | Ok(NetworkMessage::Pong(_))
        ) {}
    };
    timeout(PATIENCE, reading).await.expect("it is answered");
}
