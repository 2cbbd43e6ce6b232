//! Opening, closing and refusing a data directory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bitcoin::hashes::{Hash, sha256};

use super::{devnet, feed, grow};
use crate::chain::store::Limits;
use crate::chain::{BlockError, Blockchain, StoreError};
use crate::chain_spec::ChainSpec;

fn open(dir: &Path) -> Result<Blockchain, StoreError> {
    Blockchain::open(Arc::new(ChainSpec::devnet()), dir)
}

/// Small files and rare flushes, so that a short chain has several of one and none of the other.
pub(super) fn small(dir: &Path) -> Result<Blockchain, StoreError> {
    let limits = Limits {
        roll_bytes: 4_000,
        flush_changes: usize::MAX,
        flush_bytes: u64::MAX,
    };
    Blockchain::open_with(Arc::new(ChainSpec::devnet()), dir, limits)
}

#[test]
fn a_chain_is_the_same_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/there/yet");
    let chain = open(&path).unwrap();
    let blocks = grow(&chain, 50, 1);
    let ahead = grow(&devnet(), 3, 2);
    chain
        .accept_headers(&[ahead[0].header, ahead[1].header], super::NOW)
        .unwrap();
    let tip = chain.tip();
    drop(chain);
    let chain = open(&path).unwrap();
    assert_eq!((chain.tip(), chain.best_header()), (tip, tip));
    assert!(
        chain.header(&ahead[1].block_hash()).is_some(),
        "side headers are kept too"
    );
    for block in &blocks {
        let bytes = chain.block(&block.block_hash()).unwrap().unwrap();
        assert_eq!(bytes, bitcoin::consensus::encode::serialize(block));
    }
    grow(&chain, 5, 1);
    assert_eq!(chain.tip().height, 55);
}

#[test]
fn files_roll_over_and_reorganisations_last() {
    let dir = tempfile::tempdir().unwrap();
    let chain = small(dir.path()).unwrap();
    let (a, b) = (grow(&devnet(), 40, 1), grow(&devnet(), 45, 2));
    feed(&chain, &a);
    feed(&chain, &b);
    let tip = chain.tip();
    assert_eq!(tip.hash, b[44].block_hash());
    drop(chain);
    let files = fs::read_dir(dir.path()).unwrap().flatten();
    let count = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("blk"))
        .count();
    assert!(count >= 5, "{count} files");
    let chain = small(dir.path()).unwrap();
    assert_eq!(chain.tip(), tip);
    assert_eq!(chain.block_at(10), Some(b[9].block_hash()));
    assert!(chain.has_block(&a[39].block_hash()));
    assert_eq!(
        chain.block(&a[39].block_hash()).unwrap(),
        None,
        "not on the chain"
    );
}

#[test]
fn equal_branches_keep_the_first_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    let (a, b) = (grow(&devnet(), 10, 1), grow(&devnet(), 10, 2));
    feed(&chain, &a);
    feed(&chain, &b);
    drop(chain);
    assert_eq!(open(dir.path()).unwrap().tip().hash, a[9].block_hash());
}

#[test]
fn dropped_side_headers_leave_the_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path()).unwrap();
    chain.set_max_side_headers(30);
    let blocks = grow(&chain, 40, 1);
    for tag in 2..8 {
        let side: Vec<_> = grow(&devnet(), 20, tag)
            .iter()
            .map(|block| block.header)
            .collect();
        chain.accept_headers(&side, super::NOW).unwrap();
    }
    let (tip, known) = (chain.tip(), chain.known_headers());
    drop(chain);
    let chain = open(dir.path()).unwrap();
    assert_eq!((chain.tip(), chain.known_headers()), (tip, known));
    assert!(known <= 1 + 40 + 30);
    assert!(chain.block(&blocks[0].block_hash()).unwrap().is_some());
}

#[test]
fn a_second_process_is_told_to_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }) && !error.is_peer_fault());
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[test]
fn another_networks_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let error = Blockchain::open(Arc::new(ChainSpec::testnet()), dir.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::WrongNetwork { found, .. } if found.starts_with("devnet ")),
        "{error}"
    );
    // The refusal changed nothing.
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let state = dir.path().join("chain.state");
    let text = fs::read_to_string(&state)
        .unwrap()
        .replace("format 2", "format 3");
    fs::write(&state, text).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerFormat {
                found: 3,
                supported: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_directory_of_the_first_format_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    grow(&chain, 20, 1);
    let (tip, coins) = (chain.tip(), chain.coins());
    drop(chain);
    // That format had no database and no undo data, and kept its marks in the state file.
    fs::remove_dir_all(dir.path().join("coins")).unwrap();
    fs::remove_file(dir.path().join("rev00000.dat")).unwrap();
    let state = dir.path().join("chain.state");
    let text = fs::read_to_string(&state).unwrap();
    let chain_line = text.lines().nth(1).unwrap();
    let length = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    let body = format!(
        "quantumcoin-chain format 1\n{chain_line}\nheaders_bytes {}\nblocks_file 0\nblocks_bytes {}\n",
        length("headers.dat"),
        length("blk00000.dat")
    );
    let sum = sha256::Hash::hash(body.as_bytes());
    fs::write(&state, format!("{body}checksum {sum}\n")).unwrap();
    let chain = open(dir.path()).unwrap();
    assert_eq!(chain.tip(), tip);
    assert!(chain.coins() == coins);
    chain.check_files(true, |_| ()).unwrap();
    drop(chain);
    let text = fs::read_to_string(&state).unwrap();
    assert!(text.starts_with("quantumcoin-chain format 2\n"), "{text}");
    assert_eq!(open(dir.path()).unwrap().tip(), tip);
}

#[test]
fn a_lost_state_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    grow(&chain, 2, 1);
    drop(chain);
    fs::remove_file(dir.path().join("chain.state")).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_writing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    grow(&chain, 10, 1);
    chain.flush().unwrap();
    let tip = chain.tip();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    chain.replace_blocks_file(full);
    let next = grow(&devnet(), 11, 1).pop().unwrap();
    // The devnet is deterministic: the same miner makes the same block.
    assert_eq!(next.header.prev_blockhash, tip.hash);
    chain.accept_headers(&[next.header], super::NOW).unwrap();
    let error = chain.connect_block(&next).unwrap_err();
    assert!(
        matches!(error, BlockError::Store(StoreError::DiskFull { .. })),
        "{error:?}"
    );
    assert!(!error.is_peer_fault());
    assert_eq!(chain.tip(), tip);
    assert!(matches!(
        chain.connect_block(&next),
        Err(BlockError::Store(StoreError::Stopped { .. }))
    ));
    assert!(matches!(chain.flush(), Err(StoreError::Stopped { .. })));
    drop(chain);
    let chain = open(dir.path()).unwrap();
    assert_eq!(chain.tip(), tip);
    feed(&chain, &[next]);
}
