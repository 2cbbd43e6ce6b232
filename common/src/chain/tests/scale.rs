//! A million headers: time to check, time to load, memory. Run by hand, best with optimisation:
//! `cargo test --release -p quantumcoin-common --lib million -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use bitcoin::block::Header;

use crate::chain::Blockchain;
use crate::chain::miner::find_nonce;
use crate::chain_spec::ChainSpec;

/// Resident memory in MB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
        .unwrap_or(0)
        / 1024
}

#[test]
#[ignore = "takes a while; a measurement"]
fn a_million_headers() {
    // The testnet's limit with ASERT at work: blocks exactly on schedule stay at the limit.
    let spec = Arc::new(ChainSpec::testnet());
    let mut header = spec.genesis_block().header;
    let count = 1_000_000;
    let headers: Vec<Header> = (0..count)
        .map(|_| {
            header = Header {
                prev_blockhash: header.block_hash(),
                time: header.time + 600,
                ..header
            };
            find_nonce(&mut header).unwrap();
            header
        })
        .collect();
    let now = header.time;
    let start = Instant::now();
    let memory_only = Blockchain::in_memory(Arc::clone(&spec));
    for part in headers.chunks(2_000) {
        memory_only.accept_headers(part, now).unwrap();
    }
    let checked = start.elapsed();
    drop(memory_only);
    let dir = tempfile::tempdir().unwrap();
    let chain = Blockchain::open(Arc::clone(&spec), dir.path()).unwrap();
    let before = resident();
    let start = Instant::now();
    for part in headers.chunks(2_000) {
        chain.accept_headers(part, now).unwrap();
    }
    let stored = start.elapsed();
    let memory = resident() - before;
    drop(chain);
    let start = Instant::now();
    let chain = Blockchain::open(spec, dir.path()).unwrap();
    let loaded = start.elapsed();
    assert_eq!(chain.best_header().height, count);
    println!(
        "{count} headers: checked in {checked:?}, checked and stored in {stored:?}, loaded in {loaded:?}, {memory} MB resident"
    );
    assert!(memory < 150, "{memory} MB");
}
