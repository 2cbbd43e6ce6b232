//! What the connections of a whole node are for: what is said over them, and what is not.

use std::net::SocketAddr;

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::protocol::addresses::{self, Gossip};
use super::protocol::version::Direction;
use super::session::Session;
use super::tests::{PATIENCE, config, copy, hands, mine, mined, node, spec, stranger};
use super::tests_peers::status_where;
use super::tests_relay::{holds, mature, until};
use super::*;
use crate::network::peer::session::unix_now;

fn gossip(addr: SocketAddr) -> Gossip {
    Gossip {
        addr,
        services: 9,
        time: unix_now() as u32,
    }
}

/// Reads until a message is as `wanted`; gives all that came, that one the last.
async fn read_until(
    session: &mut Session,
    wanted: impl Fn(&NetworkMessage) -> bool,
) -> Vec<NetworkMessage> {
    let mut heard = Vec::new();
    let reading = async {
        loop {
            let message = session.reader.read().await.expect("the connection stands");
            let last = wanted(&message);
            heard.push(message);
            if last {
                return;
            }
        }
    };
    if timeout(PATIENCE, reading).await.is_err() {
        panic!("it did not come: {heard:?}");
    }
    heard
}

fn is_told(message: &NetworkMessage, of: SocketAddr) -> bool {
    let told = addresses::read(message, unix_now() as u32);
    told.iter().any(|gossip| gossip.addr == of)
}

/// With its place for a full peer taken, a node dials the next for blocks alone. Somebody there hears of blocks, and of no
/// addresses and transactions, which others hear of at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_only_peer_is_told_of_blocks_and_of_nothing_else() {
    let (chain, mut wallet) = mature();
    let first_chain = copy(&chain);
    // It dials nobody, or it would be a third who exchanges addresses, and not each of them hears of each.
    let mut listens = config(151);
    listens.outbound_target = 0;
    let first = node(&first_chain, listens).await;
    let listener = TcpListener::bind("127.7.0.152:0").await.unwrap();
    let hidden_addr = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut book = AddressBook::new(true);
    book.add(gossip(hidden_addr), "somebody");
    book.save(dir.path()).unwrap();
    let mut settings = config(153);
    settings.data_dir = Some(dir.path().to_owned());
    settings.outbound_target = 1;
    settings.block_only_target = 1;
    settings.manual_peers = vec![first.listen_addr()];
    let ours = node(&copy(&chain), settings).await;
    let hidden = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let session = hands(stream, Direction::Inbound, &spec(), 105).await;
            // It may have been dialled for the full place, which the other got.
            if let Ok(session) = session
                && !session.version.relay
            {
                return session;
            }
        }
    };
    let mut hidden = timeout(PATIENCE, hidden).await.expect("it is dialled");
    let purposes = |status: &NetworkStatus| {
        let mut purposes: Vec<_> = status.peers.iter().filter_map(|p| p.purpose).collect();
        purposes.sort_unstable();
        purposes == [connections::Purpose::Full, connections::Purpose::BlockOnly]
    };
    status_where(&ours, purposes).await;

    // Somebody comes who exchanges addresses, and hears of one that another tells.
    let mut listens = stranger([127, 7, 15, 1], ours.listen_addr(), &spec())
        .await
        .unwrap();
    listens
        .writer
        .write(&NetworkMessage::GetAddr)
        .await
        .unwrap();
    read_until(&mut listens, |m| is_told(m, hidden_addr)).await;
    let mut tells = stranger([127, 7, 16, 1], ours.listen_addr(), &spec())
        .await
        .unwrap();
    let addr = SocketAddr::from(([127, 7, 17, 1], 1));
    let message = addresses::write(&[gossip(addr)], true);
    tells.writer.write(&message).await.unwrap();
    // The two who exchange addresses both hear of it; the other is the full peer.
    read_until(&mut listens, |m| is_told(m, addr)).await;

    // A transaction of the node's user goes to the full peer.
    let tx = wallet.transaction(&chain, 1, 10_000);
    ours.submit_transaction(tx.clone()).await.unwrap();
    until("it is relayed", || holds(&first, &tx)).await;
    // Who asks for it over a hidden connection learns nothing, and what he sends goes nowhere.
    let name = Inventory::WTx(tx.compute_wtxid());
    let question = NetworkMessage::GetData(vec![name]);
    hidden.writer.write(&question).await.unwrap();
    let missing = NetworkMessage::NotFound(vec![name]);
    let mut heard = read_until(&mut hidden, |m| *m == missing).await;
    let marked = wallet.transaction(&chain, 1, 10_000);
    let marked_message = NetworkMessage::Tx(marked.clone());
    hidden.writer.write(&marked_message).await.unwrap();

    // And it tells of an address, which is not believed.
    let junk = SocketAddr::from(([127, 7, 18, 1], 1));
    let message = addresses::write(&[gossip(junk)], true);
    hidden.writer.write(&message).await.unwrap();
    mine(&first_chain, 1);
    let is_block = |m: &NetworkMessage| match m {
        NetworkMessage::Headers(headers) => !headers.is_empty(),
        NetworkMessage::Inv(items) => matches!(items[..], [Inventory::Block(_)]),
        _ => false,
    };
    heard.extend(read_until(&mut hidden, is_block).await);
    let unwanted = heard.iter().find(|message| {
        matches!(
            message,
            NetworkMessage::GetAddr
                | NetworkMessage::Addr(_)
                | NetworkMessage::AddrV2(_)
                | NetworkMessage::FeeFilter(_)
                | NetworkMessage::Tx(_)
        ) || matches!(message, NetworkMessage::Inv(_) if !is_block(message))
    });
    assert_eq!(unwanted, None);
    assert!(!holds(&ours, &marked) && !holds(&first, &marked));
    ours.shutdown().await;
    assert!(!AddressBook::load(dir.path(), true).knows(junk));
    // Whom nobody else knows of it begins with the next time.
    let book = AddressBook::load(dir.path(), true);
    assert_eq!(book.anchors(), [hidden_addr]);
    first.shutdown().await;
}

/// Who dials a node and is silent about addresses hears nothing of them; who asks hears where the node itself is as well, and
/// all who ask hear the same.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_told_to_those_who_exchange_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = AddressBook::new(true);
    for n in 0..200 {
        let addr = SocketAddr::from(([127, 7, 19, n], 1));
        book.add(gossip(addr), &n.to_string());
    }
    book.save(dir.path()).unwrap();
    let mut settings = config(154);
    settings.data_dir = Some(dir.path().to_owned());
    settings.outbound_target = 0;
    let ours = node(&mined(1), settings).await;
    let is_answer = |message: &NetworkMessage| addresses::read(message, 0).len() > 1;
    let mut answers = Vec::new();
    for n in 1..=2 {
        let mut asks = stranger([127, 7, 20, n], ours.listen_addr(), &spec())
            .await
            .unwrap();
        asks.writer.write(&NetworkMessage::GetAddr).await.unwrap();
        let heard = read_until(&mut asks, is_answer).await;
        answers.push(addresses::read(heard.last().unwrap(), unix_now() as u32));
        read_until(&mut asks, |m| is_told(m, ours.listen_addr())).await;
    }
    assert_eq!(answers[0].len(), 64);
    assert_eq!(answers[0], answers[1]);
    let mut silent = stranger([127, 7, 20, 3], ours.listen_addr(), &spec())
        .await
        .unwrap();
    silent.writer.write(&NetworkMessage::Ping(5)).await.unwrap();
    let heard = read_until(&mut silent, |m| *m == NetworkMessage::Pong(5)).await;
    assert!(heard.iter().all(|m| addresses::read(m, 0).is_empty()));
    ours.shutdown().await;
}
