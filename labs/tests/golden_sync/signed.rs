//! The same with blocks that hold signed transactions.

use std::sync::Arc;

use bitcoin::Witness;
use labs::chain_generator::{ChainOptions, Generator};
use quantumcoin::chain::Blockchain;
use tokio::time::timeout;

use crate::peers::{
    Manner, PATIENCE, Scripted, Tale, config, copy, node, node_with, status_where, unix_now,
    write_book,
};

/// Transactions begin at height 104.
const BLOCKS: u32 = 200;

/// A chain with four signed transactions in each of its last blocks.
fn signed() -> Blockchain {
    let generator = Generator::new(ChainOptions {
        blocks: BLOCKS,
        transactions: 4,
        seed: 3,
    });
    let chain = Blockchain::in_memory(Arc::clone(generator.spec()));
    for block in generator {
        let block = block.unwrap();
        chain.accept_headers(&[block.header], unix_now()).unwrap();
        chain.connect_block(&block).unwrap();
    }
    chain
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_transactions_and_one_signature_that_does_not_hold() {
    const BAD: u32 = 150;
    let truth = signed();
    let spec = Arc::clone(truth.spec());
    let mut nodes = Vec::new();
    for host in 1..=3 {
        nodes.push(node([127, 9, 30, host], copy(&truth, BLOCKS)).await);
    }
    let tale = Tale::spoilt(&truth, BAD, |block| {
        let input = &mut block.txdata[1].input[0];
        let mut items = input.witness.to_vec();
        items[0][1_000] ^= 1;
        input.witness = Witness::from_slice(&items);
    });
    let told = Arc::clone(&tale);
    let manner = Manner {
        height: BLOCKS as i32,
        pause: std::time::Duration::ZERO,
    };
    let liar = Scripted::listen([127, 9, 30, 4], &spec, manner, move |m| told.answer(m)).await;
    let directory = tempfile::tempdir().unwrap();
    write_book(directory.path(), [liar.addr]);
    let mut settings = config([127, 9, 30, 100]);
    settings.data_dir = Some(directory.path().to_owned());
    let chain = Arc::new(Blockchain::in_memory(spec));
    let fresh = node_with(settings, &chain).await;
    let status = status_where(&fresh, |s| s.outbound == 0 && s.security.bans.len() == 1).await;
    assert_eq!(status.security.offences["invalid_block"], 1);
    assert_eq!(status.sync.tip, truth.block_at(BAD - 1).unwrap());
    assert!(chain.header_work(&tale.tip()).is_none(), "known invalid");
    for node in &nodes {
        fresh.connect(node.listen_addr()).await;
    }
    let report = timeout(PATIENCE, fresh.sync_from_zero()).await;
    let report = report.expect("the sync ends").unwrap();
    assert_eq!((report.height, report.tip), (BLOCKS, truth.tip().hash));
    let status = fresh.status().await.unwrap();
    assert_eq!(status.security.bans.len(), 1);
    fresh.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}
