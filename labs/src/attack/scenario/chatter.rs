//! Peers that say too much.

use std::net::{Ipv4Addr, SocketAddr};

use bitcoin::Txid;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use quantumcoin::network::protocol::addresses::{Gossip, MAX_ADDRESSES, write};
use quantumcoin::wire::limits::MAX_INVENTORY;
use quantumcoin::wire::services;

use super::peer::Hostile;
use crate::attack::dial::unix_seconds;

/// Entries of an inventory that is within what may be announced at once.
const INVENTORY: u64 = 1_000;

/// Entries of one that is not, and is no more bytes than a minute may bring.
const LONG_INVENTORY: u64 = 5_000;

/// Pings without end.
pub(super) async fn pings(peer: &mut Hostile) -> anyhow::Result<()> {
    peer.flood(NetworkMessage::Ping).await
}

/// Settings without end from every other host, and from the rest the largest message there is: the names of 50,000 things
/// that it was never asked for.
pub(super) async fn messages(peer: &mut Hostile, host: u32) -> anyhow::Result<()> {
    if host.is_multiple_of(2) {
        let rate = |number| NetworkMessage::FeeFilter(number as i64 % 1_000);
        return peer.flood(rate).await;
    }
    let missing: Vec<_> = names(0, MAX_INVENTORY as u64).collect();
    peer.flood(|_| NetworkMessage::NotFound(missing.clone()))
        .await
}

/// Names of transactions that nobody has, in lists as long as they may be or longer, as the host is even or odd.
pub(super) async fn inventories(peer: &mut Hostile, host: u32) -> anyhow::Result<()> {
    let entries = if host.is_multiple_of(2) {
        INVENTORY
    } else {
        LONG_INVENTORY
    };
    // What one host names no other does.
    let first = u64::from(host) << 40;
    let list = |number| names(first + number * entries, entries).collect();
    peer.flood(|number| NetworkMessage::Inv(list(number))).await
}

/// Addresses that nobody has, as many at once as a message holds.
pub(super) async fn addresses(peer: &mut Hostile, host: u32) -> anyhow::Result<()> {
    let first = host << 20;
    peer.flood(|number| {
        let number = first + number as u32 * MAX_ADDRESSES as u32;
        let list: Vec<_> = (number..number + MAX_ADDRESSES as u32)
            .map(invented)
            .collect();
        write(&list, true)
    })
    .await
}

/// Says once that the node at `addr` speaks TLS and no Noise, and is a quiet peer then.
pub(super) async fn slander(peer: &mut Hostile, addr: SocketAddr) -> anyhow::Result<()> {
    let told = Gossip {
        addr,
        services: serving() | services::TLS,
        time: unix_seconds() as u32,
    };
    peer.act(&write(&[told], true)).await?;
    peer.hold().await
}

fn names(first: u64, count: u64) -> impl Iterator<Item = Inventory> {
    (first..first + count).map(|number| {
        let mut name = [0x3c; 32];
        let (start, _) = name.split_at_mut(8);
        start.copy_from_slice(&number.to_le_bytes());
        Inventory::WitnessTransaction(Txid::from_byte_array(name))
    })
}

/// A public address from 11.0.0.0 on.
fn invented(number: u32) -> Gossip {
    let ip = Ipv4Addr::from(0x0b00_0000 + number % 0x1000_0000);
    Gossip {
        addr: SocketAddr::from((ip, 8_333)),
        services: serving() | services::NOISE,
        time: unix_seconds() as u32,
    }
}

fn serving() -> u64 {
    services::NETWORK.to_u64() | services::WITNESS.to_u64()
}
