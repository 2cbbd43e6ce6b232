//! `bench verify`: what the chain's signature checks lose against the bare library.
//!
//! Both sides check the same signatures on all cores. The chain's side is what happens to a batch of blocks:
//! [`check_signatures`] for each transaction, spread by rayon, with the signature hashes and the programs of
//! the keys. The bare side is a loop over ready messages, an equal share on each core.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_lc_rs::signature::{ML_DSA_44, UnparsedPublicKey};
use bitcoin::{Block, BlockHash, OutPoint, Transaction};
use quantumcoin::chain::consensus::{Coin, Rules, check_signatures};
use quantumcoin::chain::p2mldsa::SignatureHasher;
use rayon::prelude::*;

use super::report::{Figure, Goal, Report};
use super::rounds;
use crate::chain_generator::{ChainOptions, Generator};

/// Blocks that the transactions come from, and for a quick run: 8,000 and 3,700 signatures.
const BLOCKS: u32 = 1_600;
const QUICK_BLOCKS: u32 = 800;

/// Pairs of runs in each round, whose times are added: a run takes a fraction of a second.
const RUNS: usize = 3;

/// Runs the benchmark.
///
/// # Errors
/// Where a signature does not hold.
pub fn run(quick: bool) -> anyhow::Result<Report> {
    let blocks = if quick { QUICK_BLOCKS } else { BLOCKS };
    eprintln!("making {blocks} blocks with transactions");
    let data = Data::make(blocks)?;
    let signatures = data.bare.len();
    // Once without a clock: memory and caches are as warm for one side as for the other.
    data.check()?;
    data.check_bare()?;

    let rounds = rounds(quick, super::report::FULL_ROUNDS);
    let mut measured = Measured::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let (mut our_time, mut bare_time) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..RUNS {
            our_time += timed(|| data.check())?;
            bare_time += timed(|| data.check_bare())?;
        }
        let checks = (RUNS * signatures) as f64;
        measured.ours.push(checks / our_time.as_secs_f64());
        measured.bare.push(checks / bare_time.as_secs_f64());
        measured
            .ratio
            .push(bare_time.as_secs_f64() / our_time.as_secs_f64());
    }
    Ok(measured.report(quick, rounds, signatures as u64))
}

/// Figures of all rounds.
#[derive(Default)]
pub(super) struct Measured {
    ours: Vec<f64>,
    bare: Vec<f64>,
    ratio: Vec<f64>,
}

impl Measured {
    pub(super) fn report(self, quick: bool, rounds: usize, signatures: u64) -> Report {
        let figures = vec![
            Figure::count("signatures", "signatures in each run", signatures),
            Figure::measured("verify_per_s", "checks of the chain, 1/s", 0, self.ours),
            Figure::measured(
                "bare_verify_per_s",
                "checks of the bare library, 1/s",
                0,
                self.bare,
            ),
            Figure::measured("ratio", "chain to bare library", 3, self.ratio)
                .with_goal(Goal::AtLeast(0.9)),
        ];
        Report::new("verify", quick, rounds, figures)
    }
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The same signatures in two forms.
struct Data {
    rules: Rules,
    genesis: BlockHash,
    transactions: Vec<(Transaction, Vec<Coin>)>,
    bare: Vec<Signature>,
}

struct Signature {
    message: [u8; 32],
    public_key: Vec<u8>,
    signature: Vec<u8>,
}

impl Data {
    fn make(blocks: u32) -> anyhow::Result<Self> {
        let generator = Generator::new(ChainOptions {
            blocks,
            ..ChainOptions::default()
        });
        let spec = Arc::clone(generator.spec());
        let mut data = Self {
            rules: Rules::new(&spec),
            genesis: spec.genesis_hash(),
            transactions: Vec::new(),
            bare: Vec::new(),
        };
        let mut coins = HashMap::new();
        for (block, height) in generator.zip(1..) {
            data.take(block?, height, &mut coins)?;
        }
        ensure!(!data.bare.is_empty(), "no transactions were made");
        Ok(data)
    }

    fn take(
        &mut self,
        block: Block,
        height: u32,
        coins: &mut HashMap<OutPoint, Coin>,
    ) -> anyhow::Result<()> {
        for (number, transaction) in block.txdata.into_iter().enumerate() {
            let txid = transaction.compute_txid();
            for (vout, output) in (0..).zip(transaction.output.iter().cloned()) {
                let coin = Coin {
                    output,
                    height,
                    coinbase: number == 0,
                };
                coins.insert(OutPoint { txid, vout }, coin);
            }
            if number == 0 {
                continue;
            }
            let spent = transaction
                .input
                .iter()
                .map(|input| coins.remove(&input.previous_output))
                .collect::<Option<Vec<_>>>()
                .context("a transaction spends what is not there")?;
            let outputs = spent.iter().map(|coin| &coin.output);
            let hasher = SignatureHasher::new(self.genesis, &transaction, outputs)
                .context("as many coins as inputs")?;
            for (index, input) in transaction.input.iter().enumerate() {
                let item = |number| input.witness.nth(number).map(<[u8]>::to_vec);
                self.bare.push(Signature {
                    message: hasher.hash(index).context("an input has a hash")?,
                    signature: item(0).context("a witness has a signature")?,
                    public_key: item(1).context("a witness has a key")?,
                });
            }
            self.transactions.push((transaction, spent));
        }
        Ok(())
    }

    /// As the chain does it.
    fn check(&self) -> anyhow::Result<()> {
        self.transactions
            .par_iter()
            .try_for_each(|(tx, coins)| check_signatures(&self.rules, tx, coins))?;
        Ok(())
    }

    /// As fast as it can be.
    fn check_bare(&self) -> anyhow::Result<()> {
        let cores = rayon::current_num_threads().max(1);
        let share = self.bare.len().div_ceil(cores).max(1);
        let all_hold = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .bare
                .chunks(share)
                .map(|part| scope.spawn(move || part.iter().all(Signature::holds)))
                .collect();
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .all(|held| matches!(held, Ok(true)))
        });
        ensure!(all_hold, "a signature does not hold");
        Ok(())
    }
}

impl Signature {
    fn holds(&self) -> bool {
        UnparsedPublicKey::new(&ML_DSA_44, &self.public_key)
            .verify(&self.message, &self.signature)
            .is_ok()
    }
}
