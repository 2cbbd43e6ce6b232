//! The private network under hardship: dying nodes, a dead seeder, junk in DNS. The fresh node must finish.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use labs::private_network::{NetworkOptions, PrivateNetwork};
use quantumcoin::chain::Blockchain;
use quantumcoin::network::discovery::Provider;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Networks take the same addresses: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Longest that a synchronisation may take here.
const PATIENCE: Duration = Duration::from_secs(120);

const BLOCKS: u32 = 2_000;

async fn network(nodes: usize) -> PrivateNetwork {
    let options = NetworkOptions {
        nodes,
        blocks: BLOCKS,
        ..NetworkOptions::default()
    };
    PrivateNetwork::start(&options, |_| {}).await.unwrap()
}

/// A node that knows the chain spec and a resolver, and nobody.
async fn newcomer(network: &PrivateNetwork, dns: SocketAddr) -> NetworkManager {
    let chain = Arc::new(Blockchain::in_memory(Arc::new(network.spec.clone())));
    let mut config = NetworkConfig::new(network.newcomer());
    config.providers = vec![Provider::Server(dns)];
    let metrics = quantumcoin::service::metrics::Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, chain, None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    node
}

/// Waits until the node has verified `height` blocks.
async fn reached(node: &NetworkManager, height: u32) {
    let mut progress = node.progress();
    let now = timeout(PATIENCE, progress.wait_for(|p| p.block_height >= height));
    now.await.expect("the sync goes on").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_of_the_nodes_dies_during_the_sync() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut network = network(6).await;
    let node = newcomer(&network, network.dns_addr).await;
    // It is served by some; two of these die.
    reached(&node, 50).await;
    let serving: Vec<SocketAddr> = node
        .status()
        .await
        .unwrap()
        .peers
        .iter()
        .filter(|p| p.direction == "outbound")
        .map(|p| p.addr)
        .filter(|addr| network.node_addrs().contains(addr))
        .take(2)
        .collect();
    assert_eq!(
        serving.len(),
        2,
        "the newcomer is connected to those who die"
    );
    network.kill_nodes(&serving);
    let after_the_kill = node.progress().borrow().block_height;
    assert!(
        after_the_kill < BLOCKS,
        "they died in the middle, not after the end: {after_the_kill}"
    );
    reached(&node, BLOCKS).await;
    let peers = node.status().await.unwrap().peers;
    assert!(peers.iter().all(|p| !serving.contains(&p.addr)));
    node.shutdown().await;
    network.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeder_dies_after_discovery() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut network = network(4).await;
    let node = newcomer(&network, network.dns_addr).await;
    let mut progress = node.progress();
    timeout(PATIENCE, progress.wait_for(|p| p.peers > 0))
        .await
        .unwrap()
        .unwrap();
    network.stop_seeder().await.unwrap();
    assert_eq!(
        timeout(PATIENCE, node.sync_from_zero())
            .await
            .unwrap()
            .unwrap()
            .height,
        BLOCKS
    );
    node.shutdown().await;
    network.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_names_junk_besides_two_good_nodes() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let network = network(4).await;
    let port = network.spec.network_protocol.default_port;
    // Some accept and say nothing, some refuse, some can't be dialled at all.
    let mut tarpits = Vec::new();
    for n in 0..8 {
        tarpits.push(
            TcpListener::bind((Ipv4Addr::new(127, 77, 0, n), port))
                .await
                .unwrap(),
        );
    }
    let mut answer: Vec<Ipv4Addr> = (0..8).map(|n| Ipv4Addr::new(127, 77, 0, n)).collect();
    answer.extend((0..16).map(|n| Ipv4Addr::new(127, 88, 0, n)));
    answer.extend([[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1]].map(Ipv4Addr::from));
    for addr in network.node_addrs().iter().take(2) {
        if let SocketAddr::V4(addr) = addr {
            answer.push(*addr.ip());
        }
    }
    let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dns_addr = dns.local_addr().unwrap();
    let server = tokio::spawn(answer_with(dns, answer));
    let node = newcomer(&network, dns_addr).await;
    assert_eq!(
        timeout(PATIENCE, node.sync_from_zero())
            .await
            .unwrap()
            .unwrap()
            .height,
        BLOCKS
    );
    server.abort();
    node.shutdown().await;
    network.shutdown().await.unwrap();
}

/// A DNS server that gives everybody the same A records, and nothing else.
async fn answer_with(socket: UdpSocket, addresses: Vec<Ipv4Addr>) {
    let mut buffer = [0; 1_500];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let Some(question) = query.queries.first().cloned() else {
            continue;
        };
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        if question.query_type() == RecordType::A {
            reply.add_answers(
                addresses
                    .iter()
                    .map(|ip| Record::from_rdata(question.name().clone(), 60, RData::A(A(*ip)))),
            );
        }
        reply.add_query(question);
        socket
            .send_to(&reply.to_vec().unwrap(), client)
            .await
            .unwrap();
    }
}
