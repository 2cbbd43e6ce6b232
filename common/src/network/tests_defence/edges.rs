//! Limits at their edges, and the ladder from a pause to a ban for ever, over real sockets and restarts. What needs addresses
//! that a loopback network has not, or a minute, is tested beside the limits: `security::{limits, ledger, standing}`.

use std::net::Ipv6Addr;
use std::path::Path;

use bitcoin::{Amount, CompactTarget};
use serde_json::Value;

use super::*;
use crate::network::config::{BLOCK_ONLY_TARGET, OUTBOUND_TARGET};
use crate::network::security::offence::Offence;
use crate::network::security::standing::file::FILE_NAME;
use crate::network::security::standing::{FIRST_BAN, LONGEST_BAN};
use crate::network::tests_relay::mature;

/// Connections of a node in all, on every network of ours.
const IN_ALL: usize = 125;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_twenty_five_in_all_of_which_eleven_places_are_for_those_we_choose() {
    // It is told of nobody whom it could choose.
    let settings = config(1);
    let ours = settings.outbound_places();
    assert_eq!(ours, OUTBOUND_TARGET + BLOCK_ONLY_TARGET + 1);
    let attacked = Attacked::with(settings, mined(3), ChainSpec::devnet()).await;
    let inbound = IN_ALL - ours;
    let mut held = Vec::new();
    for n in 1..inbound as u8 {
        held.push(attacked.dialled_from([127, 8, 40, n]).await.unwrap());
    }
    let full = status_where(&attacked.node, |status| status.inbound == inbound).await;
    assert_eq!(full.security.refused.get("made_room"), None);
    let one_more = attacked.dialled_from([127, 8, 41, 1]).await.unwrap();
    let made_room = |status: &NetworkStatus| status.security.refused.contains_key("made_room");
    let status = status_where(&attacked.node, made_room).await;
    assert_eq!(status.inbound, inbound);
    assert_eq!(status.security.refused, [("made_room", 1)].into());
    drop(one_more);
    attacked.end().await;
}

/// Who comes by IPv4 to a socket of IPv6 shows an IPv4-mapped address, and is nobody else for that.
#[tokio::test(flavor = "multi_thread")]
async fn mapped_addresses_count_as_what_they_are() {
    let mut settings = alone();
    settings.listen_addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let mut spec = ChainSpec::devnet();
    spec.network_protocol.max_connections_per_subnet = 10;
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(settings, mined(1), Some(spec.clone()), &metrics);
    let node = node.await.unwrap();
    node.start().await.unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, node.listen_addr().port()));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(dial([127, 8, 43, 1], to, &spec).await.unwrap());
    }
    assert!(dial([127, 8, 43, 1], to, &spec).await.is_err());
    for host in 2..9 {
        held.push(dial([127, 8, 43, host], to, &spec).await.unwrap());
    }
    assert!(dial([127, 8, 43, 9], to, &spec).await.is_err());
    let status = status_where(&node, |status| status.inbound == 10).await;
    let refused = [("per_ip", 1), ("per_subnet", 1)].into();
    assert_eq!(status.security.refused, refused);
    assert!(status.peers.iter().all(|peer| peer.addr.is_ipv4()));
    node.shutdown().await;
}

/// The whole /64 of a host is one address, and a /48 one subnet, which `labs network limits` shows: loopback has no other
/// addresses of IPv6.
#[tokio::test(flavor = "multi_thread")]
async fn three_connections_of_an_ipv6_host_and_no_more() {
    let mut settings = alone();
    settings.listen_addr = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(settings, mined(1), None, &metrics);
    let node = node.await.unwrap();
    node.start().await.unwrap();
    let dials = || {
        let socket = TcpSocket::new_v6().unwrap();
        dial_by(socket, node.listen_addr(), node.local.spec.as_ref(), 0)
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(dials().await.unwrap());
    }
    assert!(dials().await.is_err());
    let status = node.status().await.unwrap();
    assert_eq!(status.security.refused, [("per_ip", 1)].into());
    assert_eq!(status.inbound, 3);
    node.shutdown().await;
}

/// The host that climbs.
const CLIMBER: [u8; 4] = [127, 8, 42, 1];

/// As if so many seconds had passed since the node was stopped: everything that its file tells of was so much earlier.
fn pass(dir: &Path, seconds: u64) {
    let path = dir.join(FILE_NAME);
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let hosts = file["hosts"].as_object_mut().unwrap();
    for record in hosts.values_mut() {
        let times = ["/score/at", "/ban/since", "/ban/until"];
        for time in times {
            if let Some(value) = record.pointer_mut(time)
                && let Some(at) = value.as_u64()
            {
                *value = at.saturating_sub(seconds).into();
            }
        }
    }
    std::fs::write(path, file.to_string()).unwrap();
}

/// Says something once over a new connection, which ends.
async fn offends(attacked: &Attacked, message: &NetworkMessage) {
    let mut session = attacked.dialled_from(CLIMBER).await.unwrap();
    session.writer.write(message).await.unwrap();
    hung_up(&mut session).await;
}

/// The ban that stands against the climber, which is kept out: its offence, and how long it is from its beginning.
async fn ban(attacked: &Attacked) -> (Offence, Option<u64>) {
    let status = status_where(&attacked.node, |status| status.security.bans.len() == 1).await;
    assert!(attacked.dialled_from(CLIMBER).await.is_err());
    let ban = &status.security.bans[0];
    assert_eq!(ban.host, "127.8.42.1");
    (ban.offence, ban.until.map(|until| until - ban.since))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_is_climbed_step_by_step_and_a_restart_is_no_way_down() {
    let (chain, mut wallet) = mature();
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut settings = alone();
        settings.data_dir = Some(dir.path().to_owned());
        Attacked::with(settings, Arc::clone(&chain), ChainSpec::devnet())
    };
    let tx = wallet.transaction(&chain, 1, 10_000);
    // Each is signed for another value, so no chain can hold it.
    let invalid = |less: u64| {
        let mut tx = tx.clone();
        tx.output[0].value -= Amount::from_sat(less);
        NetworkMessage::Tx(tx)
    };
    let detector = Detector::InvalidData;

    // Read more slowly, then dropped, twice.
    let attacked = start().await;
    let mut session = attacked.dialled_from(CLIMBER).await.unwrap();
    session.writer.write(&invalid(1)).await.unwrap();
    attacked.told(detector, Response::Throttled).await;
    pong(&mut session).await;
    session.writer.write(&invalid(2)).await.unwrap();
    hung_up(&mut session).await;
    attacked.told(detector, Response::Disconnected).await;
    attacked.end().await;

    // The points are remembered.
    let attacked = start().await;
    offends(&attacked, &invalid(3)).await;
    let none = attacked.node.status().await.unwrap().security.bans;
    assert_eq!(none, []);
    offends(&attacked, &invalid(4)).await;
    attacked.told(detector, Response::Banned).await;
    let first = (Offence::InvalidTransaction, Some(FIRST_BAN));
    assert_eq!(ban(&attacked).await, first);
    attacked.end().await;

    let attacked = start().await;
    assert_eq!(ban(&attacked).await, first, "it outlives a restart");
    attacked.end().await;

    // The next ones are twice as long each.
    for doubled in 1..=2 {
        pass(dir.path(), FIRST_BAN << (doubled - 1));
        let attacked = start().await;
        let none = attacked.node.status().await.unwrap().security.bans;
        assert_eq!(none, []);
        for _ in 0..2 {
            offends(&attacked, &NetworkMessage::Verack).await;
        }
        let next = (Offence::Protocol, Some(FIRST_BAN << doubled));
        assert_eq!(ban(&attacked).await, next);
        attacked.end().await;
    }

    // A proof keeps it out for a day, and one more for ever.
    let (_, mut header) = chain.header(&chain.tip().hash).unwrap();
    header.bits = CompactTarget::from_consensus(0x1d00_ffff);
    let proof = NetworkMessage::Headers(vec![header]);
    pass(dir.path(), FIRST_BAN << 2);
    for lasts in [Some(LONGEST_BAN), None] {
        let attacked = start().await;
        offends(&attacked, &proof).await;
        assert_eq!(ban(&attacked).await, (Offence::InvalidHeader, lasts));
        let response = match lasts {
            Some(_) => Response::Banned,
            None => Response::BannedForever,
        };
        attacked.told(detector, response).await;
        attacked.end().await;
        pass(dir.path(), LONGEST_BAN);
    }
    pass(dir.path(), 1_000 * LONGEST_BAN);
    let attacked = start().await;
    assert_eq!(ban(&attacked).await, (Offence::InvalidHeader, None));
    attacked.end().await;
}
