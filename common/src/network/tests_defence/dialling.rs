//! What a node finds out about those whom it dials: slander, a weaker transport, another identity.

use std::path::Path;

use super::*;
use crate::network::address_book::AddressBook;
use crate::network::protocol::addresses::Gossip;
use crate::network::tests::node;
use crate::network::tests_sync::reaches;
use crate::transport::TransportKind;
use crate::wire::services::TLS;

const BLOCKS: u32 = 5;

/// Settings of a node that keeps its files in `dir`, and its host apart from those whom it dials.
fn kept_in(dir: &Path) -> NetworkConfig {
    let mut config = config(2);
    config.data_dir = Some(dir.to_owned());
    config
}

/// A node without blocks to which somebody has told that the node at `addr` speaks TLS alone.
async fn told_of(addr: SocketAddr, dir: &Path) -> Attacked {
    let mut book = AddressBook::new(true);
    let gossip = Gossip {
        addr,
        services: 9 | TLS,
        time: unix_now() as u32,
    };
    assert!(book.add(gossip, "somebody"));
    book.save(dir).unwrap();
    let empty = Arc::new(Blockchain::in_memory(spec()));
    Attacked::with(kept_in(dir), empty, ChainSpec::devnet()).await
}

/// How it is connected to the node at `addr`.
async fn transport(attacked: &Attacked, addr: SocketAddr) -> &'static str {
    let status = status_where(&attacked.node, |status| status.outbound == 1).await;
    let mut peers = status.peers.iter();
    peers.find(|peer| peer.addr == addr).unwrap().transport
}

#[tokio::test(flavor = "multi_thread")]
async fn downgrade_is_found_out_and_the_node_dialled_by_noise() {
    let chain = mined(BLOCKS);
    let slandered = node(&chain, config(3)).await;
    let dir = tempfile::tempdir().unwrap();
    let attacked = told_of(slandered.listen_addr(), dir.path()).await;
    let event = attacked
        .told(Detector::Downgrade, Response::DialledByNoise)
        .await;
    assert_eq!(event.addr, slandered.listen_addr());
    reaches(&attacked.node, chain.tip().hash).await;
    assert_eq!(transport(&attacked, slandered.listen_addr()).await, "noise");
    attacked.end().await;
    slandered.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transport_fallback_is_told_and_the_node_is_of_use() {
    let chain = mined(BLOCKS);
    let mut settings = config(4);
    settings.transports = &[TransportKind::Tls];
    let old = node(&chain, settings).await;
    let dir = tempfile::tempdir().unwrap();
    let attacked = told_of(old.listen_addr(), dir.path()).await;
    let event = attacked.told(Detector::TransportFallback, Response::Told);
    assert_eq!(event.await.addr, old.listen_addr());
    reaches(&attacked.node, chain.tip().hash).await;
    assert_eq!(transport(&attacked, old.listen_addr()).await, "tls");
    attacked.end().await;
    old.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_changed_is_told_when_another_node_answers_at_an_address() {
    let mut settings = config(5);
    let chain = mined(BLOCKS);
    let first = node(&chain, settings.clone()).await;
    let addr = first.listen_addr();
    settings.listen_addr = addr;
    let dir = tempfile::tempdir().unwrap();
    let dials = || {
        let mut config = kept_in(dir.path());
        config.manual_peers = vec![addr];
        let empty = Arc::new(Blockchain::in_memory(spec()));
        Attacked::with(config, empty, ChainSpec::devnet())
    };
    let before = dials().await;
    assert_eq!(transport(&before, addr).await, "noise");
    let quiet = before.node.status().await.unwrap().security;
    assert!(quiet.events.is_empty(), "{quiet:?}");
    reaches(&before.node, chain.tip().hash).await;
    before.end().await;
    first.shutdown().await;

    let other = node(&chain, settings).await;
    let after = dials().await;
    let event = after.told(Detector::IdentityChanged, Response::Told).await;
    assert_eq!(event.addr, addr);
    assert!(event.detail.contains(&other.node_id().to_string()));
    // It does not know the key that was expected, so it was asked for its own.
    let failed = after
        .node
        .status()
        .await
        .unwrap()
        .security
        .failed_handshakes;
    assert_eq!(failed.get("outbound.known_key"), Some(&1));
    reaches(&after.node, chain.tip().hash).await;
    after.end().await;
    other.shutdown().await;
}
