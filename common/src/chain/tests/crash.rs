//! `kill -9` at random moments: what was flushed is there again, and the tip is consistent.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::NOW;
use super::wallet::Wallet;
use crate::chain::store::Limits;
use crate::chain::{Blockchain, StoreError};
use crate::chain_spec::ChainSpec;

/// Names the directory in which the child of this test mines until it is killed.
const CHILD_DIR: &str = "QTC_TEST_CRASH_DIR";
const RUNS: u32 = 50;

fn open(dir: &Path) -> Result<Blockchain, StoreError> {
    // Small files and few changes, so that kills hit roll-overs and flushes of their own too.
    let limits = Limits {
        roll_bytes: 20_000,
        flush_changes: 9,
        flush_bytes: 1 << 20,
    };
    Blockchain::open_with(Arc::new(ChainSpec::devnet()), dir, limits)
}

/// The child: mines for ever and says after each flush what must survive.
#[test]
fn child_mines_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let chain = open(Path::new(&dir)).unwrap();
    let mut wallet = Wallet::of(&chain, 5);
    // What was mined first can be spent from here on.
    wallet.mine(
        &chain,
        105_usize.saturating_sub(chain.tip().height as usize),
    );
    for round in 0.. {
        wallet.spend_some(&chain, 1 + round % 7);
        chain.flush().unwrap();
        let tip = chain.tip();
        println!("flushed {} {}", tip.height, tip.hash);
    }
}

#[test]
fn fifty_kills_lose_nothing_that_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    // Not a sleep but a byte count decides when the child dies: after that many of its lines.
    let mut seed = 0x9e37_79b9_u32;
    let mut last_height = 0;
    for run in 0..RUNS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lines = (seed >> 24) as usize % 12;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "chain::tests::crash::child_mines_until_killed",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut flushed = None;
        let mut line = String::new();
        let mut seen = 0;
        while seen <= lines {
            line.clear();
            assert!(
                output.read_line(&mut line).unwrap() > 0,
                "run {run}: the child ended by itself"
            );
            // The test harness' own output shares the first line.
            if let Some(at) = line.find("flushed ") {
                let mut words = line[at..].split_whitespace().skip(1);
                let height: u32 = words.next().unwrap().parse().unwrap();
                flushed = Some((height, words.next().unwrap().to_owned()));
                seen += 1;
            }
        }
        // A varying moment within its work, without a clock.
        for _ in 0..(seed >> 8) % 200_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let chain = open(dir.path()).unwrap_or_else(|error| panic!("run {run}: {error}"));
        let (height, hash) = flushed.unwrap();
        assert_eq!(
            chain.block_at(height).map(|hash| hash.to_string()),
            Some(hash),
            "run {run}"
        );
        assert!(chain.tip().height >= last_height.max(height));
        consistent(&chain);
        // Undo data of every block, and the coins that all of them leave.
        chain
            .check_files(false, |_| ())
            .unwrap_or_else(|error| panic!("run {run}: {error}"));
        last_height = chain.tip().height;
    }
    // The survivor goes on.
    let chain = open(dir.path()).unwrap();
    Wallet::of(&chain, 5).spend_some(&chain, 3);
    assert_eq!(chain.tip().height, last_height + 3);
}

/// Every block of the verified chain is there, decodes, and follows the one before.
fn consistent(chain: &Blockchain) {
    let mut parent = chain.spec().genesis_hash();
    for height in 1..=chain.tip().height {
        let hash = chain.block_at(height).unwrap();
        let bytes = chain.block(&hash).unwrap().unwrap();
        let block: bitcoin::Block = bitcoin::consensus::encode::deserialize(&bytes).unwrap();
        assert_eq!(
            (block.block_hash(), block.header.prev_blockhash),
            (hash, parent)
        );
        chain.check_block(block).verdict().unwrap();
        parent = hash;
    }
    assert!(chain.best_header().height >= chain.tip().height);
    assert!(chain.accept_headers(&[], NOW).is_ok());
}
