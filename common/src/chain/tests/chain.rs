//! Growth, fork choice and refusal, without files.

use std::time::Instant;

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, BlockHash, Witness};

use super::{NOW, devnet, feed, grow};
use crate::chain::consensus::p2mldsa_script;
use crate::chain::miner::{MineError, find_nonce, mine_block};
use crate::chain::{BlockError, Blockchain, HeaderError, MAX_HEADERS_PER_MESSAGE};
use crate::chain_spec::ChainSpec;

fn headers(blocks: &[Block]) -> Vec<Header> {
    blocks.iter().map(|block| block.header).collect()
}

/// Makes `block`'s header right for its changed transactions.
fn repair(block: &mut Block) {
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    find_nonce(&mut block.header).unwrap();
}

#[test]
fn six_hundred_blocks_in_two_seconds() {
    let chain = devnet();
    let mut tips = chain.subscribe();
    let start = Instant::now();
    let blocks = grow(&chain, 600, 1);
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    assert_eq!(chain.tip().height, 600);
    assert_eq!(chain.tip(), chain.best_header());
    assert_eq!(chain.tip().hash, blocks[599].block_hash());
    assert!(tips.has_changed().unwrap());
    assert_eq!(*tips.borrow_and_update(), chain.tip());

    // A second chain takes it in as a peer would: headers, then blocks.
    let other = devnet();
    while other.best_header().height < 600 {
        let headers = chain.headers_after(&other.locator(), BlockHash::all_zeros(), 250);
        assert_eq!(
            other.accept_headers(&headers, NOW).unwrap().new,
            headers.len()
        );
    }
    assert_eq!(other.tip().height, 0);
    let missing = other.missing_blocks(&other.best_header().hash, 1_000);
    assert_eq!(missing.len(), 600);
    for wanted in missing {
        let bytes = chain.block(&wanted.hash).unwrap().unwrap();
        let block: Block = bitcoin::consensus::encode::deserialize(&bytes).unwrap();
        assert_eq!(other.connect_block(&block).unwrap(), wanted);
    }
    assert_eq!(other.tip(), chain.tip());
    assert!(
        other
            .missing_blocks(&other.best_header().hash, 1)
            .is_empty()
    );
}

#[test]
fn starts_at_genesis() {
    let chain = devnet();
    let genesis = ChainSpec::devnet().genesis_hash();
    assert_eq!((chain.tip().height, chain.tip().hash), (0, genesis));
    assert_eq!(chain.locator(), [genesis]);
    assert_eq!(chain.block_at(0), Some(genesis));
    assert_eq!(chain.block_at(1), None);
    assert!(chain.has_block(&genesis));
    let bytes = chain.block(&genesis).unwrap().unwrap();
    assert_eq!(
        bytes,
        bitcoin::consensus::encode::serialize(&ChainSpec::devnet().genesis_block())
    );
    assert_eq!(chain.accept_headers(&[], NOW).unwrap().last, chain.tip());
    assert_eq!(chain.block(&BlockHash::all_zeros()).unwrap(), None);
}

#[test]
fn the_longer_branch_wins_and_the_first_of_equals_stays() {
    let (left, right) = (devnet(), devnet());
    let common = grow(&left, 5, 0);
    feed(&right, &common);
    let a = grow(&left, 10, 1);
    let b = grow(&right, 12, 2);

    let chain = devnet();
    feed(&chain, &common);
    let mut tips = chain.subscribe();
    feed(&chain, &a);
    feed(&chain, &b[..10]);
    assert_eq!(
        chain.tip().hash,
        a[9].block_hash(),
        "equal work: first seen stays"
    );
    tips.mark_unchanged();
    feed(&chain, &b[10..11]);
    assert_eq!(
        chain.tip().hash,
        b[10].block_hash(),
        "more work: reorganised"
    );
    assert_eq!(tips.borrow_and_update().hash, b[10].block_hash());
    for (height, block) in (6..).zip(&b[..11]) {
        assert_eq!(chain.block_at(height), Some(block.block_hash()));
    }
    assert!(a.iter().all(|block| chain.has_block(&block.block_hash())));
    // And back again.
    let more = grow(&left, 2, 1);
    feed(&chain, &more);
    assert_eq!(chain.tip().hash, more[1].block_hash());
    assert_eq!(chain.block_at(6), Some(a[0].block_hash()));
    assert_eq!(chain.tip().height, 17);
}

#[test]
fn blocks_can_be_fetched_towards_any_header() {
    // Two chains that part after the third block; the right one has more work.
    let (left, right) = (devnet(), devnet());
    let common = grow(&left, 3, 0);
    feed(&right, &common);
    let (short, long) = (grow(&left, 2, 1), grow(&right, 4, 2));
    let (left_tip, right_tip) = (left.tip(), right.tip());
    let chain = devnet();
    for part in [&common, &short, &long] {
        chain.accept_headers(&headers(part), NOW).unwrap();
    }
    let towards = |tip: &BlockHash| -> Vec<BlockHash> {
        let missing = chain.missing_blocks(tip, 100);
        missing.iter().map(|b| b.hash).collect()
    };
    let hashes =
        |blocks: &[Block]| -> Vec<BlockHash> { blocks.iter().map(Block::block_hash).collect() };
    assert_eq!(
        towards(&left_tip.hash),
        hashes(&[&common[..], &short[..]].concat())
    );
    assert_eq!(chain.missing_blocks(&left_tip.hash, 2).len(), 2);
    assert_eq!(towards(&common[1].block_hash()), hashes(&common[..2]));
    assert_eq!(chain.fork_height(&left_tip.hash, &right_tip.hash), Some(3));
    assert_eq!(chain.fork_height(&right_tip.hash, &left_tip.hash), Some(3));
    assert_eq!(
        chain.fork_height(&short[0].block_hash(), &left_tip.hash),
        Some(4)
    );
    assert_eq!(
        chain.fork_height(&left_tip.hash, &BlockHash::all_zeros()),
        None
    );

    // The chain of less work is connected, while the other's blocks are withheld.
    for block in common.iter().chain(&short) {
        chain.connect_block(block).unwrap();
    }
    assert_eq!((chain.tip(), chain.best_header()), (left_tip, right_tip));
    assert!(towards(&left_tip.hash).is_empty());
    assert_eq!(chain.branch(&left_tip.hash), None, "that is where we are");
    assert_eq!(chain.branch(&long[0].block_hash()), None, "less work");
    let branch = chain.branch(&right_tip.hash).unwrap();
    assert_eq!(branch.first_missing.hash, long[0].block_hash());
    assert_eq!(Some(branch.work), chain.header_work(&right_tip.hash));
    assert_eq!(towards(&right_tip.hash), hashes(&long));
    assert_eq!(chain.missing_blocks(&BlockHash::all_zeros(), 1), []);
}

#[test]
fn headers_lead_and_blocks_follow() {
    let source = devnet();
    let blocks = grow(&source, 20, 1);
    let chain = devnet();
    chain.accept_headers(&headers(&blocks), NOW).unwrap();
    assert_eq!((chain.best_header().height, chain.tip().height), (20, 0));
    // Only the next one can be connected.
    let error = chain.connect_block(&blocks[1]).unwrap_err();
    assert!(matches!(error, BlockError::ParentNotConnected { .. }) && !error.is_peer_fault());
    chain.connect_block(&blocks[0]).unwrap();
    chain.connect_block(&blocks[0]).unwrap();
    assert_eq!(
        chain
            .missing_blocks(&chain.best_header().hash, 3)
            .iter()
            .map(|b| b.height)
            .collect::<Vec<_>>(),
        [2, 3, 4]
    );
    // Peers are told of verified blocks only.
    assert_eq!(
        chain.headers_after(&[], BlockHash::all_zeros(), 100).len(),
        1
    );
    // Known headers again are no news.
    let again = chain.accept_headers(&headers(&blocks), NOW).unwrap();
    assert_eq!((again.new, again.last), (0, source.tip()));
}

#[test]
fn a_block_needs_its_header_first() {
    let blocks = grow(&devnet(), 1, 1);
    let error = devnet().connect_block(&blocks[0]).unwrap_err();
    assert!(matches!(error, BlockError::UnknownHeader { .. }) && !error.is_peer_fault());
}

#[test]
fn lists_of_headers_are_bounded_and_continuous() {
    let blocks = grow(&devnet(), 3, 1);
    let all = headers(&blocks);
    let chain = devnet();
    let error = chain
        .accept_headers(&vec![all[0]; MAX_HEADERS_PER_MESSAGE + 1], NOW)
        .unwrap_err();
    assert!(matches!(error, HeaderError::TooMany { .. }) && error.is_peer_fault());
    let error = chain.accept_headers(&[all[0], all[2]], NOW).unwrap_err();
    assert!(matches!(error, HeaderError::NotContinuous { index: 1 }) && error.is_peer_fault());
    let error = chain.accept_headers(&all[1..], NOW).unwrap_err();
    assert!(matches!(error, HeaderError::UnknownParent { .. }) && !error.is_peer_fault());
    assert_eq!(chain.best_header().height, 0);
}

#[test]
fn headers_before_a_bad_one_are_kept() {
    let blocks = grow(&devnet(), 5, 1);
    let mut list = headers(&blocks[..3]);
    let mut bad = Header {
        time: 1,
        ..blocks[3].header
    };
    find_nonce(&mut bad).unwrap();
    list.push(bad);
    let chain = devnet();
    assert!(matches!(
        chain.accept_headers(&list, NOW),
        Err(HeaderError::TimeTooOld { .. })
    ));
    assert_eq!(chain.best_header().height, 3);
}

#[test]
fn an_invalid_block_condemns_its_branch() {
    let source = devnet();
    let good = grow(&source, 4, 1);
    let chain = devnet();
    feed(&chain, &good[..2]);
    // A block that pays too much, and headers on top of it that make it the longest chain.
    let mut bad = good[2].clone();
    bad.txdata[0].output[0].value = Amount::from_sat(u64::MAX >> 12);
    repair(&mut bad);
    let mut branch = vec![bad.header];
    for _ in 0..3 {
        let parent = branch[branch.len() - 1];
        let mut child = Header {
            prev_blockhash: parent.block_hash(),
            time: parent.time + 1,
            ..parent
        };
        find_nonce(&mut child).unwrap();
        branch.push(child);
    }
    chain.accept_headers(&headers(&good), NOW).unwrap();
    chain.accept_headers(&branch, NOW).unwrap();
    assert_eq!(chain.best_header().height, 6);
    assert!(chain.connect_block(&bad).unwrap_err().is_peer_fault());
    // The best chain is the honest one again, and the branch is closed for good.
    assert_eq!(chain.best_header(), source.tip());
    assert!(matches!(
        chain.connect_block(&bad),
        Err(BlockError::KnownInvalid { .. })
    ));
    let error = chain.accept_headers(&branch, NOW).unwrap_err();
    assert!(matches!(error, HeaderError::KnownInvalid { .. }) && error.is_peer_fault());
    feed(&chain, &good[2..]);
    assert_eq!(chain.tip(), source.tip());
}

#[test]
fn a_changed_body_does_not_poison_the_header() {
    let blocks = grow(&devnet(), 2, 1);
    let chain = devnet();
    chain.accept_headers(&headers(&blocks), NOW).unwrap();
    let mut tampered = Vec::new();
    let mut value = blocks[0].clone();
    value.txdata[0].output[0].value = Amount::from_sat(1);
    tampered.push(value);
    let mut witness = blocks[0].clone();
    witness.txdata[0].input[0].witness = Witness::from_slice(&[[7_u8; 32]]);
    tampered.push(witness);
    let mut twice = blocks[0].clone();
    twice.txdata.push(twice.txdata[0].clone());
    tampered.push(twice);
    let mut none = blocks[0].clone();
    none.txdata.clear();
    tampered.push(none);
    for body in tampered {
        assert_eq!(body.block_hash(), blocks[0].block_hash());
        let error = chain.connect_block(&body).unwrap_err();
        assert!(error.is_peer_fault() && error.is_mutation(), "{error}");
        assert_eq!(chain.best_header().height, 2);
    }
    feed(&chain, &blocks);
    assert_eq!(chain.tip().height, 2);
}

#[test]
fn locators_thin_out_and_find_the_fork() {
    let (left, right) = (devnet(), devnet());
    let common = grow(&left, 300, 0);
    feed(&right, &common);
    grow(&left, 50, 1);
    grow(&right, 80, 2);
    let locator = left.locator();
    assert!(locator.len() < 25, "{}", locator.len());
    assert_eq!(locator[0], left.tip().hash);
    assert_eq!(*locator.last().unwrap(), left.spec().genesis_hash());
    let offered = right.headers_after(&locator, BlockHash::all_zeros(), MAX_HEADERS_PER_MESSAGE);
    assert!(
        offered.len() >= 80,
        "all of the branch and a little of what is common"
    );
    left.accept_headers(&offered, NOW).unwrap();
    assert_eq!(left.best_header(), right.tip());

    let stop = right.block_at(310).unwrap();
    let some = right.headers_after(&[right.block_at(300).unwrap()], stop, 100);
    assert_eq!((some.len(), some.last().unwrap().block_hash()), (10, stop));
    // Unknown hashes and endless locators fall back to the genesis block.
    let strange = vec![BlockHash::all_zeros(); 100_000];
    let first = right.headers_after(&strange, BlockHash::all_zeros(), 1);
    assert_eq!(first[0].prev_blockhash, right.spec().genesis_hash());
}

/// A branch of headers without blocks.
fn branch(from: &Header, count: usize, salt: u8) -> Vec<Header> {
    let mut list: Vec<Header> = Vec::new();
    for n in 0..count {
        let parent = list.last().copied().unwrap_or(*from);
        let mut header = Header {
            prev_blockhash: parent.block_hash(),
            merkle_root: Hash::hash(&[salt, (n % 256) as u8]),
            time: parent.time + 1,
            ..parent
        };
        find_nonce(&mut header).unwrap();
        list.push(header);
    }
    list
}

#[test]
fn side_chains_are_bounded_and_cannot_crowd_out_the_winner() {
    let mut chain = devnet();
    chain.set_max_side_headers(100);
    let blocks = grow(&chain, 60, 1);
    let genesis = chain.spec().genesis_block().header;
    for salt in 0..20 {
        let spam = branch(&genesis, 20, salt);
        assert_eq!(chain.accept_headers(&spam, NOW).unwrap().new, 20);
        assert!(
            chain.known_headers() <= 1 + 60 + 100,
            "{}",
            chain.known_headers()
        );
    }
    // What was verified is still there, with its blocks.
    assert_eq!((chain.tip().height, chain.best_header().height), (60, 60));
    for block in &blocks {
        assert!(chain.has_block(&block.block_hash()));
        assert!(chain.block(&block.block_hash()).unwrap().is_some());
    }
    // A chain that will win gets through in pieces, however much spam there is.
    let winner = branch(&genesis, 70, 200);
    for part in winner.chunks(25) {
        chain.accept_headers(part, NOW).unwrap();
        chain
            .accept_headers(&branch(&genesis, 5, part[0].nonce as u8), NOW)
            .unwrap();
    }
    assert_eq!(chain.best_header().hash, winner[69].block_hash());
    // Verified side chains take none of the room.
    let mut split = devnet();
    feed(&split, &grow(&devnet(), 40, 1));
    feed(&split, &grow(&devnet(), 41, 2));
    split.set_max_side_headers(30);
    for salt in 0..4 {
        split
            .accept_headers(&branch(&genesis, 20, salt), NOW)
            .unwrap();
        assert!(split.known_headers() <= 1 + 40 + 41 + 30);
    }
    // A side chain that alone passes the bound is refused.
    let mut small = devnet();
    small.set_max_side_headers(10);
    grow(&small, 30, 1);
    let error = small
        .accept_headers(&branch(&genesis, 20, 9), NOW)
        .unwrap_err();
    assert!(matches!(error, HeaderError::TooManySideHeaders { .. }) && !error.is_peer_fault());
    assert_eq!(small.tip().height, 30);
}

#[test]
fn blocks_are_fetched_once_the_minimum_work_is_there() {
    let mut spec = ChainSpec::devnet();
    // Ten blocks' worth, the genesis block included.
    spec.consensus.minimum_chain_work = format!("{:064x}", 20);
    let chain = Blockchain::in_memory(std::sync::Arc::new(spec));
    let blocks = grow(&devnet(), 9, 1);
    chain.accept_headers(&headers(&blocks[..8]), NOW).unwrap();
    assert!(
        chain
            .missing_blocks(&chain.best_header().hash, 10)
            .is_empty()
    );
    chain.accept_headers(&headers(&blocks[8..]), NOW).unwrap();
    assert_eq!(chain.missing_blocks(&chain.best_header().hash, 10).len(), 9);
}

#[test]
fn the_miner_is_for_devnets() {
    let mainnet = Blockchain::in_memory(std::sync::Arc::new(ChainSpec::mainnet()));
    let error = mine_block(&mainnet, p2mldsa_script([1; 32]), NOW).unwrap_err();
    assert!(matches!(error, MineError::TooHard { .. }), "{error}");
}

#[test]
fn the_miner_wants_a_payout_that_can_hold_coins() {
    for script in [vec![], vec![0x51], vec![0x6a]] {
        let payout = bitcoin::ScriptBuf::from_bytes(script);
        assert!(matches!(
            mine_block(&devnet(), payout, NOW),
            Err(MineError::Payout)
        ));
    }
}

#[test]
fn the_miner_reports_a_clock_that_is_behind() {
    let chain = devnet();
    grow(&chain, 12, 1);
    let error = mine_block(&chain, p2mldsa_script([1; 32]), NOW - 10_000).unwrap_err();
    assert!(
        matches!(error, MineError::Header(HeaderError::TimeTooNew { .. })),
        "{error}"
    );
}
