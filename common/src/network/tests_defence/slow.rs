//! Attacks by slowness. The minutes that they take are passed over by the runtime's clock, which jumps when the attack
//! stands; the sockets are real.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bitcoin::p2p::message_blockdata::Inventory;
use futures_util::FutureExt;

use super::*;
use crate::network::tests_stall::large_block;

/// Time jumps by `step` again and again until `detector` has found something: how soon the attack stands is for the machine
/// to say.
async fn found_later(attacked: &Attacked, detector: Detector, step: Duration) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        let security = attacked.node.status().await.unwrap().security;
        if security.detections.contains_key(detector.as_str()) {
            return;
        }
    }
    panic!("{detector:?}: {:?}", attacked.node.status().await);
}

/// It asks for 24 MB and takes what fits into the buffers of the system.
#[tokio::test]
async fn slow_reader_loses_its_connection_after_a_minute() {
    let mut attacked = Attacked::with(alone(), large_block(), ChainSpec::devnet()).await;
    let host = [127, 8, 30, 1];
    let socket = socket(host);
    socket.set_recv_buffer_size(4_096).unwrap();
    let slow = dial_by(socket, attacked.addr(), &attacked.spec, 0).await;
    let mut slow = slow.unwrap();
    let tip = attacked.node.progress().borrow().tip;
    let question = NetworkMessage::GetData(vec![Inventory::WitnessBlock(tip); 60]);
    slow.writer.write(&question).await.unwrap();
    status_where(&attacked.node, |status| {
        let mut peers = status.peers.iter();
        peers.any(|peer| peer.addr.ip() == IpAddr::from(host) && peer.bytes_out > 300_000)
    })
    .await;
    attacked.honest_peer_is_served().await;
    // A minute and a little.
    found_later(&attacked, Detector::SlowReader, Duration::from_secs(61)).await;
    let event = attacked.told(Detector::SlowReader, Response::Disconnected);
    assert_eq!(event.await.addr.ip(), IpAddr::from(host));
    let status = status_where(&attacked.node, |status| status.inbound == 1).await;
    assert!(status.security.bans.is_empty(), "it may be a slow line");
    attacked.end().await;
}

/// It begins a message of 1.8 MB, of which some reach the node, and sends no more.
#[tokio::test]
async fn slow_writer_loses_its_connection_after_a_minute() {
    let mut attacked = Attacked::new().await;
    let host = [127, 8, 30, 2];
    let socket = socket(host);
    socket.set_send_buffer_size(4_096).unwrap();
    let slow = dial_by(socket, attacked.addr(), &attacked.spec, 0).await;
    let mut slow = slow.unwrap();
    let item = Inventory::WitnessTransaction(bitcoin::Txid::all_zeros());
    let long = NetworkMessage::Inv(vec![item; 50_000]);
    let begun = slow.writer.write(&long).now_or_never();
    assert!(begun.is_none(), "the buffer took all of it");
    attacked.honest_peer_is_served().await;
    // As often as the node looks.
    found_later(&attacked, Detector::SlowWriter, Duration::from_secs(15)).await;
    let event = attacked.told(Detector::SlowWriter, Response::Disconnected);
    assert_eq!(event.await.addr.ip(), IpAddr::from(host));
    let status = status_where(&attacked.node, |status| status.inbound == 1).await;
    assert!(status.security.bans.is_empty(), "it may be a slow line");
    attacked.end().await;
}
