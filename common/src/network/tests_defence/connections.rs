//! Attacks that come before anything is said: with connections, handshakes, identities and clocks.

use std::net::IpAddr;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::network::security::limits::MAX_PENDING_PER_SUBNET;
use crate::transport::tests::handshake::dial_as_another;

/// Places of a subnet on mainnet.
const PER_SUBNET: usize = 10;

/// The spec of a devnet with mainnet's number.
fn few_of_a_subnet() -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    spec.network_protocol.max_connections_per_subnet = PER_SUBNET;
    spec
}

async fn opened(host: [u8; 4], to: SocketAddr) -> TcpStream {
    socket(host).connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_flood_a_fourth_connection_of_a_host_is_refused() {
    let attacked = Attacked::new().await;
    let host = [127, 8, 1, 1];
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(attacked.dialled_from(host).await.unwrap());
    }
    assert!(attacked.dialled_from(host).await.is_err());
    let event = attacked.told(Detector::ConnectionFlood, Response::Refused);
    assert_eq!(event.await.addr.ip(), IpAddr::from(host));
    for session in &mut held {
        pong(session).await;
    }
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_flood_a_host_that_comes_and_goes_has_to_wait() {
    let attacked = Attacked::new().await;
    let host = [127, 8, 1, 2];
    let refused_for_its_rate = async {
        loop {
            drop(opened(host, attacked.addr()).await);
            let status = attacked.node.status().await.unwrap();
            if status.security.refused.contains_key("rate") {
                return;
            }
        }
    };
    timeout(PATIENCE, refused_for_its_rate).await.unwrap();
    let event = attacked.told(Detector::ConnectionFlood, Response::Refused);
    assert_eq!(event.await.addr.ip(), IpAddr::from(host));
    // Its neighbour need not.
    let neighbour = attacked.dialled_from([127, 8, 1, 3]).await;
    pong(&mut neighbour.unwrap()).await;
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subnet_sybil_the_eleventh_connection_of_a_subnet_is_refused() {
    let attacked = Attacked::of(few_of_a_subnet()).await;
    let mut held = Vec::new();
    for host in 1..=PER_SUBNET as u8 {
        let session = attacked.dialled_from([127, 8, 2, host]).await;
        held.push(session.unwrap());
    }
    assert!(attacked.dialled_from([127, 8, 2, 99]).await.is_err());
    let event = attacked.told(Detector::SubnetSybil, Response::Refused);
    assert_eq!(event.await.addr.ip(), IpAddr::from([127, 8, 2, 99]));
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.inbound, PER_SUBNET + 1, "and the honest one");
    let elsewhere = attacked.dialled_from([127, 8, 3, 99]).await;
    pong(&mut elsewhere.unwrap()).await;
    attacked.end().await;
}

/// They connect and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn handshake_flood_one_more_than_a_subnet_may_have_is_refused() {
    let attacked = Attacked::new().await;
    let mut crowd = Vec::new();
    for host in 1..=MAX_PENDING_PER_SUBNET as u8 + 1 {
        crowd.push(opened([127, 8, 4, host], attacked.addr()).await);
    }
    let event = attacked.told(Detector::HandshakeFlood, Response::Refused);
    let last = crowd.last().unwrap().local_addr().unwrap();
    assert_eq!(event.await.addr, last);
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.security.refused.get("handshakes"), Some(&1));
    // Who comes from elsewhere meanwhile is let in.
    let newcomer = attacked.dialled_from([127, 8, 5, 1]).await;
    pong(&mut newcomer.unwrap()).await;
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_identity_is_refused_and_the_second_keeps_the_host_out() {
    let attacked = Attacked::new().await;
    let host = [127, 8, 6, 1];
    for response in [Response::Disconnected, Response::Banned] {
        let stream = opened(host, attacked.addr()).await;
        let _connection = dial_as_another(stream).await;
        let event = attacked.told(Detector::ForgedIdentity, response).await;
        assert_eq!(event.addr.ip(), IpAddr::from(host));
    }
    assert!(attacked.dialled_from(host).await.is_err());
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.security.offences["forged_identity"], 2);
    assert_eq!(status.security.refused.get("banned"), Some(&1));
    assert_eq!(status.inbound, 1, "the honest one");
    attacked.end().await;
}

/// That a clock is wrong is told and no more.
#[tokio::test(flavor = "multi_thread")]
async fn clock_skew_is_told_and_who_is_right_to_ten_minutes_is_not_talked_of() {
    let attacked = Attacked::new().await;
    let (to, spec) = (attacked.addr(), &attacked.spec);
    let mut sessions = Vec::new();
    // Half a minute of room, should this machine be slow.
    for (host, ahead) in [(1, 570), (2, -570), (3, 3_600), (4, -3_600)] {
        let session = dial_by(socket([127, 8, 7, host]), to, spec, ahead).await;
        sessions.push(session.unwrap());
    }
    let event = attacked.told(Detector::ClockSkew, Response::Told).await;
    assert_eq!(event.addr.ip(), IpAddr::from([127, 8, 7, 3]));
    for session in &mut sessions {
        pong(session).await;
    }
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.security.detections["clock_skew"], 2);
    assert_eq!(status.inbound, 5);
    assert!(status.security.offences.is_empty(), "it is no offence");
    assert_eq!(status.security.clock_slow_by, None, "they have no say");
    attacked.end().await;
}
