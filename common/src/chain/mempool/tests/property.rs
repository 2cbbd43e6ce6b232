//! The pool against a model that computes everything from scratch, over random histories.
//!
//! The model is a list in the order of acceptance. It knows no sums, no indices and no families: each
//! question is answered by looking through the list.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

use super::*;

/// Small, so that random histories meet them: about 12 payments, families of 5, 6 replaced.
fn limits() -> Limits {
    Limits {
        max_memory: 12 * (PAYMENT + 2_200),
        max_ancestors: 5,
        max_descendants: 5,
        max_replaced: 6,
        ..Limits::default()
    }
}

#[derive(Debug, Clone)]
struct Known {
    tx: Transaction,
    txid: Txid,
    bytes: usize,
    fee: u64,
}

#[derive(Debug, Clone, Default)]
struct Model {
    txs: Vec<Known>,
}

/// What the model says of a transaction.
#[derive(Debug, PartialEq)]
enum Verdict {
    Taken {
        replaced: BTreeSet<Txid>,
        evicted: BTreeSet<Txid>,
    },
    Refused,
}

impl Model {
    fn find(&self, txid: Txid) -> Option<&Known> {
        self.txs.iter().find(|known| known.txid == txid)
    }

    fn ancestors(&self, tx: &Transaction) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        for input in &tx.input {
            if let Some(parent) = self.find(input.previous_output.txid) {
                found.insert(parent.txid);
                found.extend(self.ancestors(&parent.tx));
            }
        }
        found
    }

    /// Itself included.
    fn descendants(&self, txid: Txid) -> BTreeSet<Txid> {
        self.txs
            .iter()
            .filter(|known| known.txid == txid || self.ancestors(&known.tx).contains(&txid))
            .map(|known| known.txid)
            .collect()
    }

    fn drop(&mut self, txids: &BTreeSet<Txid>) {
        self.txs.retain(|known| !txids.contains(&known.txid));
    }

    fn conflicts(&self, tx: &Transaction) -> Vec<&Known> {
        let spends = |known: &&Known| {
            let mut inputs = known.tx.input.iter();
            inputs.any(|a| {
                tx.input
                    .iter()
                    .any(|b| a.previous_output == b.previous_output)
            })
        };
        self.txs.iter().filter(spends).collect()
    }

    fn memory(&self) -> usize {
        self.txs.iter().map(|known| memory_of(&known.tx)).sum()
    }

    /// Higher is better; of equals the older.
    fn score(&self, known: &Known) -> FeeRate {
        let family = self.descendants(known.txid);
        let members = || family.iter().filter_map(|txid| self.find(*txid));
        let fee = members().map(|member| member.fee).sum();
        let bytes = members().map(|member| member.bytes).sum();
        FeeRate::new(known.fee, known.bytes).max(FeeRate::new(fee, bytes))
    }

    fn accept(&mut self, tx: &Transaction, fee: u64, floor: u64, limits: &Limits) -> Verdict {
        let (txid, bytes) = (tx.compute_txid(), tx.total_size());
        let rate = FeeRate::new(fee, bytes);
        if self.find(txid).is_some() || u128::from(fee) * 1_000 < u128::from(floor) * bytes as u128
        {
            return Verdict::Refused;
        }
        let ancestors = self.ancestors(tx);
        let conflicts = self.conflicts(tx);
        let replaced: BTreeSet<Txid> = conflicts
            .iter()
            .flat_map(|known| self.descendants(known.txid))
            .collect();
        let lost: u64 = replaced
            .iter()
            .map(|txid| self.find(*txid).unwrap().fee)
            .sum();
        let old_parents: BTreeSet<Txid> = conflicts
            .iter()
            .flat_map(|known| known.tx.input.iter())
            .map(|input| input.previous_output.txid)
            .collect();
        let mut parents = tx.input.iter().map(|input| input.previous_output.txid);
        let refused = ancestors.len() + 1 > limits.max_ancestors
            || replaced.intersection(&ancestors).next().is_some()
            || replaced.len() > limits.max_replaced
            || conflicts
                .iter()
                .any(|known| FeeRate::new(known.fee, known.bytes) >= rate)
            || !conflicts.is_empty()
                && (fee < lost + bytes as u64
                    || parents.any(|parent| {
                        self.find(parent).is_some() && !old_parents.contains(&parent)
                    }));
        if refused {
            return Verdict::Refused;
        }
        let mut next = self.clone();
        next.drop(&replaced);
        if ancestors
            .iter()
            .any(|ancestor| next.descendants(*ancestor).len() + 1 > limits.max_descendants)
        {
            return Verdict::Refused;
        }
        next.txs.push(Known {
            tx: tx.clone(),
            txid,
            bytes,
            fee,
        });
        let mut evicted = BTreeSet::new();
        while next.memory() > limits.max_memory {
            // The last of the worst: the newest.
            let worst = next
                .txs
                .iter()
                .rev()
                .min_by_key(|known| next.score(known))
                .unwrap();
            let going = next.descendants(worst.txid);
            next.drop(&going);
            evicted.extend(going);
        }
        if evicted.contains(&txid) {
            // Where nothing was replaced the pool sees this coming, and evicts nothing.
            if !replaced.is_empty() || evicted.len() > 1 {
                *self = next;
            }
            return Verdict::Refused;
        }
        *self = next;
        Verdict::Taken { replaced, evicted }
    }

    /// Takes out what descends from these, and gives it in its order.
    fn set_aside(&mut self, txs: &[Transaction]) -> Vec<Transaction> {
        let made: BTreeSet<Txid> = txs.iter().map(Transaction::compute_txid).collect();
        let spends_them = |known: &&Known| {
            let mut inputs = known.tx.input.iter();
            inputs.any(|input| made.contains(&input.previous_output.txid))
        };
        let spenders = self.txs.iter().filter(spends_them);
        let going: BTreeSet<Txid> = spenders
            .flat_map(|known| self.descendants(known.txid))
            .collect();
        let aside = self.txs.iter().filter(|known| going.contains(&known.txid));
        let aside = aside.map(|known| known.tx.clone()).collect();
        self.drop(&going);
        aside
    }

    /// What a block with these leaves.
    fn confirm(&mut self, txs: &[Transaction]) {
        for tx in txs {
            let txid = tx.compute_txid();
            if self.find(txid).is_some() {
                self.drop(&BTreeSet::from([txid]));
                continue;
            }
            let conflicts: BTreeSet<Txid> = self
                .conflicts(tx)
                .iter()
                .flat_map(|known| self.descendants(known.txid))
                .collect();
            self.drop(&conflicts);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Spends outputs that the pool or the chain has; if `again`, one that is spent in the pool.
    Pay {
        inputs: Vec<Index>,
        outputs: u64,
        rate: u64,
        again: bool,
    },
    /// A block of the best, up to so many payments.
    Mine { payments: usize },
    /// A block with a transaction that the pool has not, and that spends what the pool spends.
    MineOther { input: Index },
    /// Takes up to so many blocks back; if `other`, a block with one of their transactions takes their place.
    Reorganise { blocks: usize, other: bool },
    /// Time passes.
    Wait { hours: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let pay = (
        prop::collection::vec(any::<Index>(), 1..3),
        1_u64..4,
        900_u64..9_000,
        prop::bool::weighted(0.4),
    )
        .prop_map(|(inputs, outputs, rate, again)| Step::Pay {
            inputs,
            outputs,
            rate,
            again,
        });
    prop_oneof![
        20 => pay,
        2 => (0_usize..6).prop_map(|payments| Step::Mine { payments }),
        1 => any::<Index>().prop_map(|input| Step::MineOther { input }),
        2 => (1_usize..3, any::<bool>()).prop_map(|(blocks, other)| Step::Reorganise { blocks, other }),
        1 => (1_u64..30).prop_map(|hours| Step::Wait { hours }),
    ]
}

struct Run {
    bench: Bench,
    model: Model,
    blocks: Vec<(Block, Vec<(OutPoint, Coin)>)>,
    taken: usize,
    replaced: usize,
    evicted: usize,
    returned: usize,
}

impl Run {
    fn new() -> Self {
        let mut bench = Bench::with(limits());
        for _ in 0..6 {
            bench.fund(1_000_000_000);
        }
        Self {
            bench,
            model: Model::default(),
            blocks: Vec::new(),
            taken: 0,
            replaced: 0,
            evicted: 0,
            returned: 0,
        }
    }

    /// Outputs that a transaction could spend, spent in the pool or not, in a fixed order.
    fn spendable(&self, spent: bool) -> Vec<OutPoint> {
        let made = self.bench.pool.iter().flat_map(|entry| {
            (0..entry.tx.output.len() as u32).map(|vout| OutPoint::new(entry.txid, vout))
        });
        let mature = |coin: &Coin| !coin.coinbase;
        let chain = self.bench.coins.iter();
        let mut all: Vec<OutPoint> = chain
            .filter(|(_, coin)| mature(coin))
            .map(|(outpoint, _)| *outpoint)
            .chain(made)
            .filter(|outpoint| self.bench.pool.graph.spender(outpoint).is_some() == spent)
            .collect();
        // By value, since ids differ from run to run: signatures do not change them, but keep it plain.
        all.sort_by_key(|outpoint| (self.bench.outputs[outpoint].value, *outpoint));
        all
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Pay {
                inputs,
                outputs,
                rate,
                again,
            } => self.pay(inputs, *outputs, *rate, *again),
            Step::Mine { payments } => self.mine(*payments),
            Step::MineOther { input } => self.mine_other(input),
            Step::Reorganise { blocks, other } => self.reorganise(*blocks, *other),
            Step::Wait { hours } => self.bench.context.now += hours * 3_600,
        }
        let pool: Vec<Txid> = self.bench.pool.iter().map(Entry::txid).collect();
        let model: Vec<Txid> = self.model.txs.iter().map(|known| known.txid).collect();
        assert_eq!(pool, model, "after {step:?}");
        self.check_selection();
    }

    fn pay(&mut self, picks: &[Index], outputs: u64, rate: u64, again: bool) {
        let fresh = self.spendable(false);
        let spent = self.spendable(true);
        let mut inputs: Vec<OutPoint> = Vec::new();
        for (number, pick) in picks.iter().enumerate() {
            let from = if again && number == 0 && !spent.is_empty() {
                &spent
            } else {
                &fresh
            };
            if !from.is_empty() {
                inputs.push(*pick.get(from));
            }
        }
        inputs.sort();
        inputs.dedup();
        let value: u64 = inputs
            .iter()
            .map(|i| self.bench.outputs[i].value.to_sat())
            .sum();
        // Rates are for about 4 kB an input.
        let fee = rate * 4 * inputs.len() as u64;
        if value < fee + outputs * 1_000_000 {
            return;
        }
        let tx = self.bench.pay(&inputs, outputs, fee);
        let floor = self.bench.pool.min_fee_rate(self.bench.context.now);
        let verdict = self.model.accept(&tx, fee, floor, &limits());
        let result = self.bench.accept(&tx);
        match (verdict, result) {
            (Verdict::Refused, Err(error)) => assert!(
                !error.is_peer_fault()
                    || matches!(error, MempoolError::ConflictsWithAncestor { .. }),
                "{error}"
            ),
            (Verdict::Taken { replaced, evicted }, Ok(accepted)) => {
                assert_eq!(BTreeSet::from_iter(accepted.replaced), replaced);
                assert_eq!(BTreeSet::from_iter(accepted.evicted), evicted);
                assert_eq!(accepted.fee, fee);
                self.taken += 1;
                self.replaced += replaced.len();
                self.evicted += evicted.len();
            }
            (verdict, result) => panic!("model {verdict:?}, pool {result:?}"),
        }
    }

    fn mine(&mut self, payments: usize) {
        let template = self.bench.pool.select(payments * 4_000);
        let txs: Vec<Transaction> = template
            .transactions
            .iter()
            .map(|tx| tx.as_ref().clone())
            .collect();
        self.connect(&txs);
    }

    fn mine_other(&mut self, pick: &Index) {
        let spent: Vec<OutPoint> = self
            .spendable(true)
            .into_iter()
            .filter(|outpoint| self.bench.coins.contains_key(outpoint))
            .collect();
        if !spent.is_empty() {
            let tx = self.bench.pay(&[*pick.get(&spent)], 2, 0);
            self.connect(&[tx]);
        }
    }

    fn connect(&mut self, txs: &[Transaction]) {
        self.model.confirm(txs);
        let block = self.bench.connect(txs);
        self.blocks.push(block);
    }

    fn reorganise(&mut self, blocks: usize, other: bool) {
        let mut waiting: Vec<Transaction> = Vec::new();
        for _ in 0..blocks {
            let Some((block, spent)) = self.blocks.pop() else {
                break;
            };
            let aside = self.model.set_aside(&block.txdata);
            let below = block.txdata[1..].iter().cloned().chain(aside);
            waiting.splice(0..0, below);
            self.bench.disconnect(&block, spent);
        }
        // A block that holds the first of what waits, which spends no other.
        if other && !waiting.is_empty() {
            self.connect(&[waiting.remove(0)]);
        }
        let mut returned = 0;
        for tx in &waiting {
            returned += usize::from(self.takes_back(tx));
        }
        // Of those, what was evicted for the later ones.
        let still = waiting
            .iter()
            .filter(|tx| self.model.find(tx.compute_txid()).is_some());
        let (still, lost) = (still.count(), waiting.len());
        assert!(still <= returned);
        let result = self.bench.revalidate();
        assert_eq!(result.removed, []);
        assert_eq!((result.returned, result.lost), (still, lost - still));
        self.returned += still;
    }

    /// Whether the model takes what a block held: if all that it spends is there, whatever it pays.
    fn takes_back(&mut self, tx: &Transaction) -> bool {
        let outputs = &self.bench.outputs;
        let value = |output: &TxOut| output.value.to_sat();
        let inputs = || tx.input.iter().map(|input| &input.previous_output);
        let there = inputs().all(|outpoint| {
            self.bench.coins.contains_key(outpoint) || self.model.find(outpoint.txid).is_some()
        });
        let input: u64 = inputs().map(|outpoint| value(&outputs[outpoint])).sum();
        let fee = input - tx.output.iter().map(value).sum::<u64>();
        there && self.model.accept(tx, fee, 0, &limits()) != Verdict::Refused
    }

    fn check_selection(&self) {
        let pool = &self.bench.pool;
        for bytes in [0, 10_000, 25_000, usize::MAX] {
            let template = pool.select(bytes);
            let mut seen: BTreeSet<Txid> = BTreeSet::new();
            let (mut size, mut fees) = (0, 0);
            for tx in &template.transactions {
                for input in &tx.input {
                    let parent = input.previous_output.txid;
                    assert!(pool.get(&parent).is_none() || seen.contains(&parent));
                }
                assert!(seen.insert(tx.compute_txid()), "selected twice");
                let entry = pool.get(&tx.compute_txid()).unwrap();
                size += entry.bytes;
                fees += entry.fee;
            }
            assert_eq!((template.bytes, template.fees), (size, fees));
            assert!(size <= bytes);
            if bytes == usize::MAX {
                assert_eq!(template.transactions.len(), pool.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn agrees_with_a_model_that_knows_no_sums(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in &steps {
            run.apply(step);
        }
    }
}

/// The random histories above are worth nothing if they do not meet the rules.
#[test]
fn random_histories_meet_the_rules() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 80..81);
    let mut met = [0; 4];
    for _ in 0..12 {
        let mut run = Run::new();
        for step in steps.new_tree(&mut runner).unwrap().current() {
            run.apply(&step);
        }
        for (all, one) in met
            .iter_mut()
            .zip([run.taken, run.replaced, run.evicted, run.returned])
        {
            *all += one;
        }
    }
    let [taken, replaced, evicted, returned] = met;
    assert!(
        taken > 200 && replaced > 20 && evicted > 20 && returned > 20,
        "{met:?}"
    );
}
