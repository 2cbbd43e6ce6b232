//! Whole nodes and the connections between them: who is kept, replaced, banned, left alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::CompactTarget;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::protocol::addresses::Gossip;
use super::protocol::version::Direction;
use super::security::events::{Detector, Response};
use super::security::offence::Offence;
use super::session::{Session, SessionError};
use super::tests::{PATIENCE, config, copy, hands_as, mined, node, spec, stranger, synced};
use super::*;
use crate::network::peer::session::unix_now;
use crate::wire::Envelope;

/// Reads until the connection ends.
async fn ended(session: &mut Session) {
    let reading = async { while session.reader.read().await.is_ok() {} };
    timeout(PATIENCE, reading)
        .await
        .expect("the connection ends");
}

/// Waits until the node's status is as `wanted` says.
pub(super) async fn status_where(
    node: &NetworkManager,
    wanted: impl Fn(&NetworkStatus) -> bool,
) -> NetworkStatus {
    let look = async {
        loop {
            let status = node.status().await.unwrap();
            if wanted(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    match timeout(PATIENCE, look).await {
        Ok(status) => status,
        Err(_) => panic!("it does not come about: {:?}", node.status().await),
    }
}

fn failures(status: &NetworkStatus, kind: &str) -> u64 {
    status
        .security
        .failed_handshakes
        .get(kind)
        .copied()
        .unwrap_or(0)
}

async fn dial_as(identity: &Arc<Identity>, to: SocketAddr) -> Result<Session, SessionError> {
    let stream = TcpStream::connect(to).await.unwrap();
    hands_as(
        Arc::clone(identity),
        stream,
        Direction::Outbound,
        &spec(),
        0,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_dials_anew_replaces_its_lost_connection() {
    let server = node(&mined(1), config(121)).await;
    let identity = Arc::new(Identity::generate().unwrap());
    let mut lost = dial_as(&identity, server.listen_addr()).await.unwrap();
    let mut anew = dial_as(&identity, server.listen_addr()).await.unwrap();
    ended(&mut lost).await;
    // The new one is served.
    anew.writer.write(&NetworkMessage::Ping(7)).await.unwrap();
    let pong = async { while anew.reader.read().await.unwrap() != NetworkMessage::Pong(7) {} };
    timeout(PATIENCE, pong).await.unwrap();
    let status = server.status().await.unwrap();
    assert_eq!((status.inbound, status.sync.peers), (1, 1));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_every_connection_of_the_host() {
    let chain = mined(1);
    let server = node(&chain, config(122)).await;
    let host = [127, 7, 9, 1];
    let to = server.listen_addr();
    let mut liar = stranger(host, to, &spec()).await.unwrap();
    let mut accomplice = stranger(host, to, &spec()).await.unwrap();
    let mut honest = stranger([127, 7, 9, 2], to, &spec()).await.unwrap();
    let (_, mut header) = chain.header(&chain.tip().hash).unwrap();
    header.bits = CompactTarget::from_consensus(0x1d00_ffff);
    let lie = NetworkMessage::Headers(vec![header]);
    liar.writer.write(&lie).await.unwrap();
    ended(&mut liar).await;
    ended(&mut accomplice).await;
    assert!(stranger(host, to, &spec()).await.is_err());
    honest.writer.write(&NetworkMessage::Ping(1)).await.unwrap();
    assert!(honest.reader.read().await.is_ok());
    let status = status_where(&server, |s| s.inbound == 1).await;
    assert_eq!(status.security.bans.len(), 1);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_outlives_a_restart_and_is_told_with_its_reason() {
    let chain = mined(1);
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(144);
    settings.data_dir = Some(dir.path().to_owned());
    let server = node(&chain, settings.clone()).await;
    let host = [127, 7, 9, 3];
    let (_, mut header) = chain.header(&chain.tip().hash).unwrap();
    header.bits = CompactTarget::from_consensus(0x1d00_ffff);
    let lie = NetworkMessage::Headers(vec![header]);
    let mut liar = stranger(host, server.listen_addr(), &spec()).await.unwrap();
    liar.writer.write(&lie).await.unwrap();
    ended(&mut liar).await;
    let before = status_where(&server, |s| s.security.bans.len() == 1).await;
    server.shutdown().await;

    let again = node(&chain, settings).await;
    let status = again.status().await.unwrap();
    assert_eq!(status.security.bans, before.security.bans);
    let ban = &status.security.bans[0];
    assert_eq!(ban.host, "127.7.9.3");
    assert_eq!(ban.offence, Offence::InvalidHeader);
    let seconds = ban.until.unwrap() - ban.since;
    assert_eq!(seconds, security::standing::LONGEST_BAN);
    assert!(stranger(host, again.listen_addr(), &spec()).await.is_err());
    let event = before.security.events.last().unwrap();
    assert_eq!(event.detector, Detector::InvalidData);
    assert_eq!(event.response, Response::Banned);
    again.shutdown().await;
}

/// All places are taken; who comes then gets one, of those who can spare it, and the number stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_makes_room_and_keeps_those_who_stand_longest() {
    const PLACES: u8 = 16;
    let mut spec = ChainSpec::devnet();
    spec.network_protocol.max_connections = PLACES.into();
    let mut settings = config(145);
    settings.outbound_target = 0;
    let metrics = Metrics::new("quantumcoin_node");
    let full = NetworkManager::with_config(settings, mined(1), Some(spec.clone()), &metrics)
        .await
        .unwrap();
    full.start().await.unwrap();
    let mut peers = Vec::new();
    for host in 1..=PLACES {
        let peer = stranger([127, 7, 13, host], full.listen_addr(), &spec);
        peers.push(peer.await.unwrap());
    }
    status_where(&full, |s| s.inbound == usize::from(PLACES)).await;
    let newcomer = stranger([127, 7, 14, 1], full.listen_addr(), &spec).await;
    let is_newcomer = |p: &status::PeerStatus| p.addr.ip() == IpAddr::from([127, 7, 14, 1]);
    let status = status_where(&full, |s| s.peers.iter().any(is_newcomer)).await;
    assert_eq!(status.inbound, usize::from(PLACES));
    assert_eq!(status.security.refused.get("made_room"), Some(&1));
    for (n, peer) in peers.iter_mut().take(4).enumerate() {
        peer.writer.write(&NetworkMessage::Ping(7)).await.unwrap();
        let pong = async { while peer.reader.read().await.unwrap() != NetworkMessage::Pong(7) {} };
        timeout(PATIENCE, pong)
            .await
            .unwrap_or_else(|_| panic!("peer {n} is gone"));
    }
    drop(newcomer);
    full.shutdown().await;
}

/// Hands every connection on to `target`: a second address of that node.
async fn forward(listener: TcpListener, target: SocketAddr) {
    while let Ok((mut from, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut to = TcpStream::connect(target).await.unwrap();
            // Either side may hang up as it likes.
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_of_a_node_is_left_alone() {
    let good = node(&mined(1), config(123)).await;
    let second = TcpListener::bind("127.7.10.1:0").await.unwrap();
    let second_addr = second.local_addr().unwrap();
    let forwarder = tokio::spawn(forward(second, good.listen_addr()));
    let mut config = config(124);
    config.manual_peers = vec![good.listen_addr()];
    let dir = tempfile::tempdir().unwrap();
    config.data_dir = Some(dir.path().to_owned());
    let fresh = node(&Arc::new(Blockchain::in_memory(spec())), config).await;
    synced(&fresh).await;
    // Now somebody tells of the second address.
    let mut gossip = stranger([127, 7, 10, 2], fresh.listen_addr(), &spec())
        .await
        .unwrap();
    let told = Gossip {
        addr: second_addr,
        services: 9,
        time: unix_now() as u32,
    };
    let told = protocol::addresses::write(&[told], true);
    gossip.writer.write(&told).await.unwrap();
    status_where(&fresh, |s| failures(s, "outbound.duplicate") > 0).await;
    // Many more chances to dial it: each failed dial makes the node look for another address.
    for n in 1..=100 {
        fresh.connect(SocketAddr::from(([127, 7, 11, n], 1))).await;
        status_where(&fresh, |s| failures(s, "outbound.connect") >= n.into()).await;
    }
    let status = fresh.status().await.unwrap();
    assert_eq!(failures(&status, "outbound.duplicate"), 1);
    assert_eq!((status.outbound, status.sync.peers), (1, 2));
    // The node at the other end never took the second connection for a new one of ours.
    assert_eq!(good.status().await.unwrap().inbound, 1);
    forwarder.abort();
    fresh.shutdown().await;
    good.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_does_not_hold_up_the_end() {
    let chain = mined(2_000);
    let server = node(&copy(&chain), config(125)).await;
    let mut session = stranger([127, 7, 12, 1], server.listen_addr(), &spec())
        .await
        .unwrap();
    let genesis = chain.block_at(0).unwrap();
    let all = bitcoin::BlockHash::all_zeros();
    let request = NetworkMessage::GetHeaders(GetHeadersMessage::new(vec![genesis], all));
    for _ in 0..100 {
        session.writer.write(&request).await.unwrap();
    }
    // 16 MB of answers that nobody reads: at some point the node can write no more.
    let sent = |s: &NetworkStatus| s.peers.first().map_or(0, |p| p.bytes_out);
    let mut before = 0;
    loop {
        let now = sent(&status_where(&server, |s| sent(s) > 0).await);
        if now == before {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 16_000_000, "the system took all: {before}");
    let start = Instant::now();
    server.shutdown().await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_not_started_says_so() {
    let chain = Arc::new(Blockchain::in_memory(spec()));
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config(126), chain, None, &metrics)
        .await
        .unwrap();
    let status = timeout(PATIENCE, node.status()).await;
    assert!(status.expect("an answer at once").is_none());
    let synced = node.sync_from_zero().await;
    assert_eq!(synced, Err(SyncError::Stopped));
    node.start().await.unwrap();
    assert!(node.status().await.is_some());
    node.shutdown().await;
    assert!(node.status().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_before_version_is_refused_at_its_first_record() {
    let server = node(&mined(1), config(127)).await;
    let stream = TcpStream::connect(server.listen_addr()).await.unwrap();
    let endpoint = Endpoint::new(&spec(), Arc::new(Identity::generate().unwrap()));
    let mut secured = endpoint.connect(stream).await.unwrap();
    let item = Inventory::Transaction(bitcoin::Txid::from_byte_array([7; 32]));
    let large = NetworkMessage::Inv(vec![item; 20_000]);
    let bytes = Envelope::new(spec().magic()).encode(&large).unwrap();
    // The node may hang up while we write.
    let _ = secured.writer.write_message(&bytes).await;
    let answer = timeout(PATIENCE, secured.reader.read_message()).await;
    assert!(answer.expect("the node hangs up").is_err());
    // As a whole it would have been a message out of turn: "version".
    let status = status_where(&server, |s| !s.security.failed_handshakes.is_empty()).await;
    assert_eq!(failures(&status, "inbound.channel"), 1);
    server.shutdown().await;
}

/// With its one place taken, a node looks who else is there, and begins the next time with whom it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_sends_feelers_and_comes_back_to_its_anchors() {
    let chain = mined(2);
    let first = node(&copy(&chain), config(141)).await;
    let second = node(&copy(&chain), config(142)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(143);
    settings.data_dir = Some(dir.path().to_owned());
    settings.outbound_target = 1;
    settings.block_only_target = 0;
    settings.feeler_every = Duration::from_millis(100);
    settings.manual_peers = vec![first.listen_addr()];
    let mut book = AddressBook::new(true);
    let told = Gossip {
        addr: second.listen_addr(),
        services: 9,
        time: unix_now() as u32,
    };
    book.add(told, "somebody");
    book.rest(second.listen_addr(), unix_now() + 1);
    book.save(dir.path()).unwrap();

    let empty = || Arc::new(Blockchain::in_memory(spec()));
    let full = node(&empty(), settings.clone()).await;
    let status = status_where(&full, |status| status.tried_addresses >= 2).await;
    let outbound = |status: &NetworkStatus| -> Vec<SocketAddr> {
        let peers = status.peers.iter();
        let outbound = peers.filter(|peer| peer.direction == "outbound");
        outbound.map(|peer| peer.addr).collect()
    };
    assert_eq!(outbound(&status), [first.listen_addr()]);
    full.shutdown().await;

    // A session without peers, which saves as it starts, forgets none of it.
    let mut alone = settings.clone();
    alone.manual_peers = Vec::new();
    alone.outbound_target = 0;
    let lonely = node(&empty(), alone).await;
    lonely.shutdown().await;
    // Only as an anchor does it know anybody now.
    let mut book = AddressBook::load(dir.path(), true);
    assert_eq!(book.anchors(), [first.listen_addr()]);
    book.forget(first.listen_addr());
    book.forget(second.listen_addr());
    assert_eq!(book.counts(), (0, 0));
    book.save(dir.path()).unwrap();
    settings.manual_peers = Vec::new();
    let again = node(&empty(), settings).await;
    let status = status_where(&again, |status| status.outbound > 0).await;
    assert_eq!(outbound(&status), [first.listen_addr()]);
    again.shutdown().await;
    first.shutdown().await;
    second.shutdown().await;
}
