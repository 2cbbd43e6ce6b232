//! Transactions between whole nodes, over real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn, SendCmpct};
use bitcoin::{OutPoint, Transaction};
use tokio::time::timeout;

use super::protocol::transactions::{MAX_ANNOUNCED_AT_ONCE, TxRef};
use super::session::Session;
use super::tests::{PATIENCE, config, copy, node, spec, stranger};
use super::tests_sync::reaches;
use super::*;
use crate::chain::mempool::MempoolError;
use crate::chain::miner::mine_block_of;
use crate::chain::tests::wallet::Wallet;

/// What a peer that serves compact blocks says of it.
const SERVES_COMPACT: SendCmpct = SendCmpct {
    send_compact: false,
    version: 2,
};

/// A chain whose first coinbases are mature, and the wallet that mined it.
pub(super) fn mature() -> (Arc<Blockchain>, Wallet) {
    let chain = Arc::new(Blockchain::in_memory(spec()));
    let mut wallet = Wallet::new(1);
    wallet.mine(&chain, 105);
    (chain, wallet)
}

/// A transaction, and another that spends an output of it.
fn family(chain: &Blockchain, wallet: &mut Wallet) -> (Transaction, Transaction) {
    let parent = wallet.transaction(chain, 1, 10_000);
    wallet.own(&parent);
    let spent = wallet.coins().last().cloned().unwrap();
    let child = wallet.pay(chain, &[spent], 10_000);
    (parent, child)
}

/// A node that announces quickly, connected to these.
async fn relaying(chain: &Arc<Blockchain>, host: u8, peers: &[SocketAddr]) -> NetworkManager {
    let mut config = config(host);
    config.relay_delay = Duration::from_millis(50);
    config.manual_peers = peers.to_vec();
    node(chain, config).await
}

/// Waits until the condition holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

pub(super) fn holds(node: &NetworkManager, tx: &Transaction) -> bool {
    node.pool().find(TxRef::Wtxid(tx.compute_wtxid())).is_some()
}

/// Waits until one offence of this kind is noted, and nothing else.
async fn offended(node: &NetworkManager, kind: &'static str) {
    let noted = async {
        loop {
            let offences = node.status().await.unwrap().security.offences;
            if !offences.is_empty() {
                return offences;
            }
            tokio::task::yield_now().await;
        }
    };
    let noted = timeout(PATIENCE, noted).await.expect("an offence");
    assert_eq!(noted, [(kind, 1)].into());
}

/// Reads until a message fits.
async fn read<T>(
    session: &mut Session,
    mut fits: impl FnMut(NetworkMessage) -> Option<T>,
) -> Option<T> {
    let reading = async {
        loop {
            let message = session.reader.read().await.ok()?;
            if let Some(found) = fits(message) {
                return Some(found);
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_spreads_is_mined_elsewhere_and_leaves_every_pool() {
    let (chain, mut wallet) = mature();
    let (middle_chain, end_chain) = (copy(&chain), copy(&chain));
    let end = relaying(&end_chain, 103, &[]).await;
    let middle = relaying(&middle_chain, 102, &[end.listen_addr()]).await;
    let first = relaying(&chain, 101, &[middle.listen_addr()]).await;
    let (parent, child) = family(&chain, &mut wallet);
    for tx in [&parent, &child] {
        first.submit_transaction(tx.clone()).await.unwrap();
    }
    let again = first.submit_transaction(parent.clone()).await.unwrap_err();
    assert_eq!(again, SubmitError::Refused(MempoolError::AlreadyKnown));
    until("both reach the end of the line", || {
        holds(&end, &parent) && holds(&end, &child)
    })
    .await;

    let (_, above) = end_chain.header(&end_chain.tip().hash).unwrap();
    let block = mine_block_of(&end_chain, wallet.script(), above.time + 1, |on, bytes| {
        end.pool().template(on, bytes)
    });
    let block = block.unwrap();
    assert_eq!(&block.txdata[1..], [parent.clone(), child.clone()]);
    reaches(&first, block.block_hash()).await;
    reaches(&middle, block.block_hash()).await;
    until("every pool is empty", || {
        [&first, &middle, &end]
            .iter()
            .all(|node| node.pool().size() == (0, 0))
    })
    .await;
    let made = OutPoint {
        txid: child.compute_txid(),
        vout: 0,
    };
    assert!(chain.coin(&made).unwrap().is_some());
    for node in [&first, &middle, &end] {
        let status = node.status().await.unwrap();
        assert!(status.security.offences.is_empty(), "{status:?}");
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_kept_and_its_parent_asked_of_whoever_sent_it() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 111, &[]).await;
    let (parent, child) = family(&chain, &mut wallet);
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 11, 1], to, &spec()).await.unwrap();
    let orphan = NetworkMessage::Tx(child.clone());
    session.writer.write(&orphan).await.unwrap();
    let wanted = Inventory::WitnessTransaction(parent.compute_txid());
    let asked = read(&mut session, |message| match message {
        NetworkMessage::GetData(items) if items.contains(&wanted) => Some(items),
        _ => None,
    });
    assert_eq!(asked.await, Some(vec![wanted]));
    let answer = NetworkMessage::Tx(parent.clone());
    session.writer.write(&answer).await.unwrap();
    until("both are in the pool", || {
        holds(&server, &parent) && holds(&server, &child)
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_served_by_both_names_and_missing_ones_named() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 121, &[]).await;
    let tx = wallet.transaction(&chain, 1, 10_000);
    let missing = Inventory::WTx(wallet.transaction(&chain, 1, 10_000).compute_wtxid());
    server.submit_transaction(tx.clone()).await.unwrap();
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 12, 1], to, &spec()).await.unwrap();
    let items = vec![
        Inventory::WitnessTransaction(tx.compute_txid()),
        missing,
        Inventory::WTx(tx.compute_wtxid()),
    ];
    let question = NetworkMessage::GetData(items);
    session.writer.write(&question).await.unwrap();
    for _ in 0..2 {
        let served = read(&mut session, |message| match message {
            NetworkMessage::Tx(tx) => Some(tx),
            _ => None,
        });
        assert_eq!(served.await.as_ref(), Some(&tx));
    }
    let lacks = read(&mut session, |message| match message {
        NetworkMessage::NotFound(items) => Some(items),
        _ => None,
    });
    assert_eq!(lacks.await, Some(vec![missing]));
    server.shutdown().await;
}

/// More blocks than are read at a time, one of them unknown, and a transaction in between: each is answered in order.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_served_as_they_are_stored_and_in_the_order_of_the_question() {
    let (chain, _) = mature();
    let server = relaying(&chain, 141, &[]).await;
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 14, 1], to, &spec()).await.unwrap();
    let hashes: Vec<_> = (1..=40).map(|h| chain.block_at(h).unwrap()).collect();
    let unknown = bitcoin::BlockHash::all_zeros();
    let mut items: Vec<_> = hashes
        .iter()
        .copied()
        .map(Inventory::WitnessBlock)
        .collect();
    items.insert(20, Inventory::WTx(bitcoin::Wtxid::all_zeros()));
    items.insert(7, Inventory::WitnessBlock(unknown));
    let missing = vec![items[7], items[21]];
    let question = NetworkMessage::GetData(items);
    session.writer.write(&question).await.unwrap();
    for hash in &hashes {
        let served = read(&mut session, |message| match message {
            NetworkMessage::Block(block) => Some(block),
            _ => None,
        });
        let stored = chain.block(hash).unwrap().unwrap();
        assert_eq!(served.await.map(|block| serialize(&block)), Some(stored));
    }
    let lacks = read(&mut session, |message| match message {
        NetworkMessage::NotFound(items) => Some(items),
        _ => None,
    });
    assert_eq!(lacks.await, Some(missing));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_what_no_chain_can_hold_is_slowed_down_then_dropped_and_not_banned() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 131, &[]).await;
    let tx = wallet.transaction(&chain, 1, 10_000);
    let [first, second] = [1, 2].map(|less| {
        let mut tx = tx.clone();
        tx.output[0].value -= bitcoin::Amount::from_sat(less);
        NetworkMessage::Tx(tx)
    });
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 13, 1], to, &spec()).await.unwrap();
    session.writer.write(&first).await.unwrap();
    offended(&server, "invalid_transaction").await;
    session
        .writer
        .write(&NetworkMessage::Ping(7))
        .await
        .unwrap();
    let pong = read(&mut session, |message| match message {
        NetworkMessage::Pong(nonce) => Some(nonce),
        _ => None,
    });
    assert_eq!(pong.await, Some(7), "once may be a defect");
    session.writer.write(&second).await.unwrap();
    let end = read(&mut session, |_| None::<()>).await;
    assert_eq!(end, None, "the connection is over");
    assert_eq!(server.pool().size(), (0, 0));
    let again = stranger([127, 7, 13, 1], to, &spec()).await;
    assert!(again.is_ok(), "a defect is no proof of hostility");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_of_more_than_a_thousand_is_a_flood() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 141, &[]).await;
    let item = Inventory::WTx(wallet.transaction(&chain, 1, 10_000).compute_wtxid());
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 14, 1], to, &spec()).await.unwrap();
    let most = NetworkMessage::Inv(vec![item; MAX_ANNOUNCED_AT_ONCE]);
    session.writer.write(&most).await.unwrap();
    let asked = read(&mut session, |message| match message {
        NetworkMessage::GetData(items) => Some(items),
        _ => None,
    });
    assert_eq!(asked.await, Some(vec![item]), "asked for once");
    let more = NetworkMessage::Inv(vec![item; MAX_ANNOUNCED_AT_ONCE + 1]);
    session.writer.write(&more).await.unwrap();
    assert_eq!(read(&mut session, |_| None::<()>).await, None);
    offended(&server, "inventory_spam").await;
    server.shutdown().await;
}

/// A node that has the first of two transactions of a new block, and a peer that has the block and told of it;
/// the node has asked for it in compact form.
async fn asked_for_a_compact_block(host: u8) -> (NetworkManager, Session, bitcoin::Block) {
    let (chain, mut wallet) = mature();
    let server = relaying(&copy(&chain), host, &[]).await;
    let txs: Vec<_> = (0..2)
        .map(|_| wallet.transaction(&chain, 1, 10_000))
        .collect();
    server.submit_transaction(txs[0].clone()).await.unwrap();
    let block = wallet.block(&chain, txs, 20_000);
    let to = server.listen_addr();
    let mut session = stranger([127, 7, host, 2], to, &spec()).await.unwrap();
    let announcement = NetworkMessage::Headers(vec![block.header]);
    for message in [NetworkMessage::SendCmpct(SERVES_COMPACT), announcement] {
        session.writer.write(&message).await.unwrap();
    }
    let item = Inventory::CompactBlock(block.block_hash());
    asked(&mut session, vec![item]).await;
    (server, session, block)
}

/// Waits until the peer is asked for this.
async fn asked(session: &mut Session, items: Vec<Inventory>) {
    let found = read(session, |message| match message {
        NetworkMessage::GetData(asked) => Some(asked),
        _ => None,
    });
    assert_eq!(found.await, Some(items));
}

async fn send_compact(session: &mut Session, block: &bitcoin::Block) {
    let compact_block = HeaderAndShortIds::from_block(block, 3, 2, &[]).unwrap();
    let message = NetworkMessage::CmpctBlock(CmpctBlock { compact_block });
    session.writer.write(&message).await.unwrap();
    let wanted = read(session, |message| match message {
        NetworkMessage::GetBlockTxn(request) => Some(request.txs_request.indexes),
        _ => None,
    });
    assert_eq!(wanted.await, Some(vec![2]), "the one that it lacks");
}

async fn send_transactions(session: &mut Session, block: &bitcoin::Block, places: &[usize]) {
    let transactions = BlockTransactions {
        block_hash: block.block_hash(),
        transactions: places.iter().map(|n| block.txdata[*n].clone()).collect(),
    };
    let message = NetworkMessage::BlockTxn(BlockTxn { transactions });
    session.writer.write(&message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_block_comes_in_compact_form_and_only_what_is_missing_is_sent() {
    let (server, mut session, block) = asked_for_a_compact_block(151).await;
    send_compact(&mut session, &block).await;
    send_transactions(&mut session, &block, &[2]).await;
    reaches(&server, block.block_hash()).await;

    // And it serves what it has got.
    let item = Inventory::CompactBlock(block.block_hash());
    let question = NetworkMessage::GetData(vec![item]);
    session.writer.write(&question).await.unwrap();
    let served = read(&mut session, |message| match message {
        NetworkMessage::CmpctBlock(compact) => Some(compact.compact_block),
        _ => None,
    });
    let served = served.await.unwrap();
    assert_eq!(served.header, block.header);
    let expected = HeaderAndShortIds::from_block(&block, served.nonce, 2, &[]).unwrap();
    assert_eq!(served, expected);
    let request = |indexes| {
        let block_hash = block.block_hash();
        let txs_request = BlockTransactionsRequest {
            block_hash,
            indexes,
        };
        NetworkMessage::GetBlockTxn(GetBlockTxn { txs_request })
    };
    session.writer.write(&request(vec![1, 2])).await.unwrap();
    let served = read(&mut session, |message| match message {
        NetworkMessage::BlockTxn(answer) => Some(answer.transactions.transactions),
        _ => None,
    });
    assert_eq!(served.await.as_deref(), Some(&block.txdata[1..]));
    session.writer.write(&request(vec![3])).await.unwrap();
    assert_eq!(read(&mut session, |_| None::<()>).await, None);
    offended(&server, "protocol").await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compact_block_that_does_not_fit_is_asked_for_whole_and_nobody_is_blamed() {
    let (server, mut session, block) = asked_for_a_compact_block(152).await;
    send_compact(&mut session, &block).await;
    send_transactions(&mut session, &block, &[1]).await;
    asked(
        &mut session,
        vec![Inventory::WitnessBlock(block.block_hash())],
    )
    .await;
    let whole = NetworkMessage::Block(block.clone());
    session.writer.write(&whole).await.unwrap();
    reaches(&server, block.block_hash()).await;
    let status = server.status().await.unwrap();
    assert!(status.security.offences.is_empty(), "{status:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_wrong_number_of_transactions_the_whole_block_is_asked_for() {
    let (server, mut session, block) = asked_for_a_compact_block(153).await;
    send_compact(&mut session, &block).await;
    send_transactions(&mut session, &block, &[1, 2]).await;
    let whole = Inventory::WitnessBlock(block.block_hash());
    asked(&mut session, vec![whole]).await;
    session
        .writer
        .write(&NetworkMessage::Block(block.clone()))
        .await
        .unwrap();
    reaches(&server, block.block_hash()).await;
    let status = server.status().await.unwrap();
    assert!(status.security.offences.is_empty(), "{status:?}");
    server.shutdown().await;
}

/// Two blocks that were found shortly after each other: both are asked for in compact form, and their rests may come
/// in any order. The second is sent twice, as to one that asked twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_compact_blocks_of_one_peer_wait_side_by_side() {
    let (chain, mut wallet) = mature();
    let server = relaying(&copy(&chain), 154, &[]).await;
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let txs = (0..2)
            .map(|_| wallet.transaction(&chain, 1, 10_000))
            .collect();
        let block = wallet.block(&chain, txs, 20_000);
        crate::chain::tests::wallet::add(&chain, &block).unwrap();
        blocks.push(block);
    }
    let to = server.listen_addr();
    let mut session = stranger([127, 7, 154, 2], to, &spec()).await.unwrap();
    let headers = blocks.iter().map(|block| block.header).collect();
    let announcement = NetworkMessage::Headers(headers);
    for message in [NetworkMessage::SendCmpct(SERVES_COMPACT), announcement] {
        session.writer.write(&message).await.unwrap();
    }
    let items = blocks
        .iter()
        .map(|block| Inventory::CompactBlock(block.block_hash()));
    asked(&mut session, items.collect()).await;
    for block in &blocks {
        let compact_block = HeaderAndShortIds::from_block(block, 3, 2, &[]).unwrap();
        let message = NetworkMessage::CmpctBlock(CmpctBlock { compact_block });
        session.writer.write(&message).await.unwrap();
        let wanted = read(&mut session, |message| match message {
            NetworkMessage::GetBlockTxn(request) => Some(request.txs_request),
            _ => None,
        });
        let expected = BlockTransactionsRequest {
            block_hash: block.block_hash(),
            indexes: vec![1, 2],
        };
        assert_eq!(wanted.await, Some(expected));
    }
    for block in blocks.iter().rev() {
        send_transactions(&mut session, block, &[1, 2]).await;
    }
    reaches(&server, chain.tip().hash).await;
    let status = server.status().await.unwrap();
    assert!(status.security.offences.is_empty(), "{status:?}");
    server.shutdown().await;
}

/// A peer that answers with another witness than the one that counts can't keep the transaction from others.
#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_answer_does_not_hide_the_transaction_that_others_have() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 155, &[]).await;
    let tx = wallet.transaction(&chain, 1, 10_000);
    let mut spoilt = tx.clone();
    // Larger than what is relayed, under the same txid.
    spoilt.input[0].witness.push(vec![0; 150_000]);
    let to = server.listen_addr();
    let mut hostile = stranger([127, 7, 155, 1], to, &spec()).await.unwrap();
    let mut honest = stranger([127, 7, 155, 2], to, &spec()).await.unwrap();
    let named = Inventory::Transaction(tx.compute_txid());
    let item = Inventory::WitnessTransaction(tx.compute_txid());
    let announcement = NetworkMessage::Inv(vec![named]);
    hostile.writer.write(&announcement).await.unwrap();
    asked(&mut hostile, vec![item]).await;
    honest.writer.write(&announcement).await.unwrap();
    hostile
        .writer
        .write(&NetworkMessage::Tx(spoilt))
        .await
        .unwrap();
    asked(&mut honest, vec![item]).await;
    honest
        .writer
        .write(&NetworkMessage::Tx(tx.clone()))
        .await
        .unwrap();
    until("it is in the pool", || holds(&server, &tx)).await;
    server.shutdown().await;
}

/// Own transactions are told to peers that we dial, not to whoever dials us later; and not once they spread.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_does_not_learn_which_transactions_are_our_own() {
    let (chain, mut wallet) = mature();
    let listener = relaying(&copy(&chain), 156, &[]).await;
    let server = relaying(&chain, 157, &[]).await;
    let tx = wallet.transaction(&chain, 1, 10_000);
    server.submit_transaction(tx.clone()).await.unwrap();
    let to = server.listen_addr();
    let mut curious = stranger([127, 7, 156, 1], to, &spec()).await.unwrap();
    // Another transaction, told after the time at which the own one would have been.
    let mut helper = stranger([127, 7, 156, 2], to, &spec()).await.unwrap();
    let other = wallet.transaction(&chain, 1, 10_000);
    helper
        .writer
        .write(&NetworkMessage::Tx(other.clone()))
        .await
        .unwrap();
    let told = read(&mut curious, |message| match message {
        NetworkMessage::Inv(items) => Some(items),
        _ => None,
    });
    let named = |tx: &Transaction| Inventory::Transaction(tx.compute_txid());
    let by_wtxid = |tx: &Transaction| Inventory::WTx(tx.compute_wtxid());
    let told = told.await.unwrap();
    assert!(
        told == [named(&other)] || told == [by_wtxid(&other)],
        "{told:?}"
    );
    server.connect(listener.listen_addr()).await;
    until("a peer of our choice has it", || holds(&listener, &tx)).await;
    assert_eq!(server.pool().known().own().count(), 0, "it spreads");
    for node in [&server, &listener] {
        node.shutdown().await;
    }
}

/// Who sends an orphan first and leaves can't take it away: it is asked of the others who announced it as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_asked_of_others_who_have_it_too() {
    let (chain, mut wallet) = mature();
    let server = relaying(&chain, 158, &[]).await;
    let (parent, child) = family(&chain, &mut wallet);
    let to = server.listen_addr();
    let mut first = stranger([127, 7, 158, 1], to, &spec()).await.unwrap();
    let mut other = stranger([127, 7, 158, 2], to, &spec()).await.unwrap();
    let named = Inventory::Transaction(child.compute_txid());
    other
        .writer
        .write(&NetworkMessage::Inv(vec![named]))
        .await
        .unwrap();
    let orphan = NetworkMessage::Tx(child.clone());
    first.writer.write(&orphan).await.unwrap();
    drop(first);
    let item = Inventory::WitnessTransaction(child.compute_txid());
    asked(&mut other, vec![item]).await;
    other.writer.write(&orphan).await.unwrap();
    let item = Inventory::WitnessTransaction(parent.compute_txid());
    asked(&mut other, vec![item]).await;
    let answer = NetworkMessage::Tx(parent.clone());
    other.writer.write(&answer).await.unwrap();
    until("both are in the pool", || {
        holds(&server, &parent) && holds(&server, &child)
    })
    .await;
    server.shutdown().await;
}
