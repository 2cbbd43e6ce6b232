//! The same blocks before both judges: each verdict and its reason must be what the table says.

use std::sync::Arc;

use bitcoin::Block;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use tempfile::TempDir;

use crate::cases::{
    Case, bodies, coinbases, commitments, headers, now, outputs, subsidies_at_150, subsidies_at_151,
};
use crate::foreign::{Bcoin, ForeignBlock, Settings};
use crate::spec;

#[test]
#[ignore = "labs/bcoin/run.sh installs bcoin and runs this"]
fn both_judge_alike_but_where_the_rules_differ() {
    let spec = spec();
    let mut bcoin = Bcoin::start(&spec, Settings::default());

    // Twelve blocks, so that the median has its eleven, and the height still fits one opcode.
    bcoin.mine(12, None);
    let honest = bcoin.template();
    let parent = bcoin.chain(12).remove(0).block();
    let mut cases = headers(&honest, median(&mut bcoin), parent.header.time);
    cases.extend(coinbases(&honest));
    cases.extend(commitments(&honest));
    cases.extend(bodies(&honest));
    cases.extend(outputs(&honest));
    let whole = |base: &[Block], block: &Block| on_a_chain(&spec, base, block);
    let mut tally = judge(&mut bcoin, &cases, whole);

    // Around a halving: ours is one block later.
    bcoin.mine(137, None);
    let cases = subsidies_at_150(&bcoin.template());
    tally.add(judge(&mut bcoin, &cases, whole));
    bcoin.mine(1, None);
    let cases = subsidies_at_151(&bcoin.template());
    tally.add(judge(&mut bcoin, &cases, whole));
    tally.print();
}

/// How the verdicts fell.
#[derive(Default)]
pub(crate) struct Tally {
    accepted: usize,
    refused: usize,
    different: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.different += other.different;
    }

    pub(crate) fn print(&self) {
        println!(
            "{} candidates: both accept {}, both refuse {}, differ by design {}",
            self.accepted + self.refused + self.different,
            self.accepted,
            self.refused,
            self.different
        );
    }
}

/// Puts each case before both judges, on the chain that bcoin has now. `ours` is given that chain from block 1
/// on and the case's block, and gives the name of our error, empty for acceptance.
pub(crate) fn judge(
    bcoin: &mut Bcoin,
    cases: &[Case],
    ours: impl Fn(&[Block], &Block) -> String,
) -> Tally {
    let base: Vec<Block> = bcoin.chain(1).iter().map(ForeignBlock::block).collect();
    let mut tally = Tally::default();
    for case in cases {
        let theirs = bcoin.judge(&case.block).err().unwrap_or_default();
        let ours = ours(&base, &case.block);
        println!(
            "{:<8}{:<45} bcoin: {:<36} ours: {}",
            if case.differs.is_empty() {
                "agree"
            } else {
                "differ"
            },
            case.what,
            shown(&theirs),
            shown(&ours)
        );
        if !case.differs.is_empty() {
            println!("        {}", case.differs);
        }
        assert_eq!(theirs, case.theirs, "bcoin on: {}", case.what);
        assert_eq!(ours, case.ours, "ours on: {}", case.what);
        match (theirs.is_empty(), ours.is_empty()) {
            (true, true) => tally.accepted += 1,
            (false, false) => tally.refused += 1,
            _ => tally.different += 1,
        }
        assert_eq!(
            theirs.is_empty() == ours.is_empty(),
            case.differs.is_empty()
        );
    }
    tally
}

fn shown(reason: &str) -> &str {
    if reason.is_empty() {
        "accepted"
    } else {
        reason
    }
}

/// The name of the error with which a chain of `base` refuses `block`; empty if it accepts.
fn on_a_chain(spec: &ChainSpec, base: &[Block], block: &Block) -> String {
    let dir = TempDir::new().unwrap();
    let chain = Blockchain::open(Arc::new(spec.clone()), dir.path()).unwrap();
    let headers: Vec<_> = base.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, now()).unwrap();
    for result in chain.connect_blocks(base) {
        result.unwrap();
    }
    if let Err(error) = chain.accept_headers(&[block.header], now()) {
        return name(&error);
    }
    let verdict = chain.connect_block(block);
    let expected = if verdict.is_ok() {
        block.block_hash()
    } else {
        block.header.prev_blockhash
    };
    assert_eq!(
        chain.tip().hash,
        expected,
        "the tip moves if and only if the block is accepted"
    );
    verdict.err().map(|error| name(&error)).unwrap_or_default()
}

/// The variant of an error.
pub(crate) fn name(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

/// The median time of bcoin's last eleven blocks.
pub(crate) fn median(bcoin: &mut Bcoin) -> u32 {
    let blocks = bcoin.chain(0);
    let mut times: Vec<u32> = blocks
        .iter()
        .rev()
        .take(11)
        .map(|block| block.block().header.time)
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
