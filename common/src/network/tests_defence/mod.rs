//! Every detector against whom it is for, over real sockets on loopback: a node under attack, a hostile peer driven by hand,
//! and an honest one beside it, which must notice nothing.
//!
//! `inventory_spam` has its tests in `tests` and `tests_relay`, `invalid_data` in `tests_peers`; both are met again on the
//! ladder in [`edges`].

mod connections;
mod dialling;
mod edges;
mod floods;
mod headers;
mod slow;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::protocol::version::{Direction, LocalVersion};
use super::security::events::{Detector, Response, SecurityEvent};
use super::session::{Session, SessionError, shake_hands};
use super::tests::{PATIENCE, config, mined, spec};
use super::tests_peers::status_where;
use super::*;
use crate::network::peer::session::unix_now;

/// Where the honest peer is: another subnet than any attacker's.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// A node that is attacked, and an honest peer that has dialled it.
struct Attacked {
    node: NetworkManager,
    metrics: Metrics,
    spec: ChainSpec,
    honest: Session,
}

impl Attacked {
    /// With a chain of a few blocks, on a devnet, which is dialled and dials nobody.
    async fn new() -> Self {
        Self::of(ChainSpec::devnet()).await
    }

    /// The same with these limits.
    async fn of(spec: ChainSpec) -> Self {
        Self::with(alone(), mined(3), spec).await
    }

    async fn with(config: NetworkConfig, chain: Arc<Blockchain>, spec: ChainSpec) -> Self {
        let metrics = Metrics::new("quantumcoin_node");
        let node = NetworkManager::with_config(config, chain, Some(spec.clone()), &metrics);
        let node = node.await.unwrap();
        node.start().await.unwrap();
        let honest = dial(HONEST.octets(), node.listen_addr(), &spec)
            .await
            .unwrap();
        Self {
            node,
            metrics,
            spec,
            honest,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.node.listen_addr()
    }

    /// Somebody dials it from `host`.
    async fn dialled_from(&self, host: [u8; 4]) -> Result<Session, SessionError> {
        dial(host, self.addr(), &self.spec).await
    }

    /// Waits until `detector` told of this response, in status and metrics alike, and gives the event. Nothing was told of
    /// the honest peer.
    async fn told(&self, detector: Detector, response: Response) -> SecurityEvent {
        let is_it =
            |event: &&SecurityEvent| event.detector == detector && event.response == response;
        let status = status_where(&self.node, |status| {
            status.security.events.iter().any(|event| is_it(&event))
        });
        let security = status.await.security;
        let name = detector.as_str();
        let counted = self.counted(name);
        assert!(security.detections[name] >= 1);
        assert!(counted >= security.detections[name], "{counted} in metrics");
        assert!(
            security
                .events
                .iter()
                .all(|event| event.addr.ip() != HONEST)
        );
        security.events.iter().find(is_it).cloned().unwrap()
    }

    /// What the metric says of a detector.
    fn counted(&self, detector: &str) -> u64 {
        let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        let label = format!("quantumcoin_node_security_events_total{{detector=\"{detector}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&label));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// The honest peer is still connected, and gets answers to what it asks.
    async fn honest_peer_is_served(&mut self) {
        let genesis = self.spec.genesis_hash();
        let question = GetHeadersMessage::new(vec![genesis], BlockHash::all_zeros());
        let questions = [
            NetworkMessage::GetHeaders(question),
            NetworkMessage::Ping(77),
        ];
        for question in questions {
            self.honest.writer.write(&question).await.unwrap();
        }
        let (mut headers, mut pong) = (false, false);
        while !(headers && pong) {
            match next(&mut self.honest).await.expect("it is served") {
                NetworkMessage::Headers(list) => headers |= !list.is_empty(),
                NetworkMessage::Pong(77) => pong = true,
                NetworkMessage::Ping(nonce) => {
                    let answer = NetworkMessage::Pong(nonce);
                    self.honest.writer.write(&answer).await.unwrap();
                }
                _ => {}
            }
        }
        let status = self.node.status().await.unwrap();
        let is_honest = |peer: &status::PeerStatus| peer.addr.ip() == HONEST;
        assert!(status.peers.iter().any(is_honest));
    }

    /// Nothing of this was to the honest peer's harm.
    async fn end(mut self) {
        self.honest_peer_is_served().await;
        self.node.shutdown().await;
    }
}

/// Settings of a node that dials nobody by itself.
fn alone() -> NetworkConfig {
    let mut config = config(1);
    config.outbound_target = 0;
    config
}

/// A socket at `host`, which nothing is said through yet.
fn socket(host: [u8; 4]) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    socket
}

/// A peer at `host` dials, and its clock is right.
async fn dial(host: [u8; 4], to: SocketAddr, spec: &ChainSpec) -> Result<Session, SessionError> {
    dial_by(socket(host), to, spec, 0).await
}

/// A peer dials whose clock is so many seconds ahead.
async fn dial_by(
    socket: TcpSocket,
    to: SocketAddr,
    spec: &ChainSpec,
    ahead: i64,
) -> Result<Session, SessionError> {
    let stream = socket.connect(to).await.map_err(SessionError::Connect)?;
    let from = stream.local_addr().map_err(SessionError::Connect)?;
    let local = LocalVersion {
        protocol_version: 70015,
        min_protocol_version: 70010,
        services: 9,
        user_agent: "/test/".to_owned(),
        start_height: 0,
        relay: true,
        nonce: rand::random(),
        now: unix_now() as i64 + ahead,
        our_addr: from,
        their_addr: to,
    };
    let endpoint = Endpoint::new(spec, Arc::new(Identity::generate().unwrap()));
    let handshake = shake_hands(&endpoint, spec.magic(), local, stream, Direction::Outbound);
    let session = timeout(PATIENCE, handshake);
    session.await.expect("a handshake ends")
}

/// What the node says next; `None` when it hung up.
async fn next(session: &mut Session) -> Option<NetworkMessage> {
    let read = timeout(PATIENCE, session.reader.read());
    read.await
        .expect("the node says something or hangs up")
        .ok()
}

/// Reads until the node hangs up.
async fn hung_up(session: &mut Session) {
    let reading = async { while session.reader.read().await.is_ok() {} };
    let end = timeout(PATIENCE, reading);
    end.await.expect("the node hangs up");
}

/// Waits for the answer to a ping: what was said before has been heard.
async fn pong(session: &mut Session) {
    let nonce = rand::random();
    let ping = NetworkMessage::Ping(nonce);
    session.writer.write(&ping).await.unwrap();
    while next(session).await.expect("it stays") != NetworkMessage::Pong(nonce) {}
}
