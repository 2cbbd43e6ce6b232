//! Attacks with headers: chains that cost nothing to make, and blocks that nobody gets.

use bitcoin::block::Header;

use super::*;
use crate::chain::miner::mine_block;

/// Blocks of the node's own chain: 144 more than the attacker's longest one, and some.
const OURS: u32 = 700;

/// Headers of a chain of the attacker's.
const THEIRS: u32 = 500;

/// The headers of a chain that nobody has, another one for each `tag`.
fn chain_of(blocks: u32, tag: u8) -> Vec<Header> {
    let chain = Blockchain::in_memory(spec());
    let payout = bitcoin::ScriptBuf::from_bytes([&[0x53, 0x20][..], &[tag; 32]].concat());
    let start = unix_now() as u32 - 2 * blocks;
    for n in 0..blocks {
        mine_block(&chain, payout.clone(), start + n).unwrap();
    }
    let genesis = chain.block_at(0).unwrap();
    chain.headers_after(&[genesis], BlockHash::all_zeros(), blocks as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn low_work_headers_are_heard_to_two_thousand_and_then_the_peer_goes() {
    let attacked = Attacked::with(alone(), mined(OURS), ChainSpec::devnet()).await;
    let mut liar = attacked.dialled_from([127, 8, 20, 1]).await.unwrap();
    for tag in 1..=4 {
        let message = NetworkMessage::Headers(chain_of(THEIRS, tag));
        liar.writer.write(&message).await.unwrap();
    }
    pong(&mut liar).await;
    let quiet = attacked.node.status().await.unwrap().security;
    assert!(quiet.events.is_empty(), "{quiet:?}");
    let one_more = NetworkMessage::Headers(chain_of(1, 5));
    liar.writer.write(&one_more).await.unwrap();
    hung_up(&mut liar).await;
    attacked
        .told(Detector::LowWorkHeaders, Response::Disconnected)
        .await;
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.sync.header_height, OURS, "none of it was followed");
    attacked.end().await;
}

/// Three time-outs, which double: 14 s.
#[tokio::test(flavor = "multi_thread")]
async fn block_withholding_costs_the_connection_in_the_end() {
    let mut attacked = Attacked::new().await;
    let mut liar = attacked.dialled_from([127, 8, 20, 2]).await.unwrap();
    let message = NetworkMessage::Headers(chain_of(20, 1));
    liar.writer.write(&message).await.unwrap();
    // It listens to what it is asked for, and says nothing.
    let mut asked = 0;
    while let Some(message) = next(&mut liar).await {
        if matches!(message, NetworkMessage::GetData(_)) {
            asked += 1;
            attacked.honest_peer_is_served().await;
        }
    }
    assert!(asked >= 3, "asked {asked} times");
    attacked
        .told(Detector::BlockWithholding, Response::Disconnected)
        .await;
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.security.offences, [("block_withholding", 1)].into());
    assert!(status.security.bans.is_empty(), "it may be a slow line");
    attacked.end().await;
}
