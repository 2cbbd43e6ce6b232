//! The transactions of the next block.
//!
//! The package that pays most is taken first: a transaction with those of its ancestors that are not taken
//! yet. So a child that pays well takes its parents along. What was taken counts for its descendants no
//! more, so they stand anew in the queue.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::Transaction;

use super::entry::{Id, Sum};
use super::graph::Graph;
use super::{FeeRate, Mempool};

/// Packages in a row that may turn out too large before the block counts as full. Bitcoin Core's figure;
/// bounds the search for something that fits a gap.
const MAX_MISSES: usize = 1_000;

/// Transactions for a block.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// Parents before their children.
    pub transactions: Vec<Arc<Transaction>>,
    /// The sum of their fees in base units.
    pub fees: u64,
    /// Their serialized bytes.
    pub bytes: usize,
}

impl Mempool {
    /// The transactions that pay most, of together at most `max_bytes`: what the block allows without its
    /// header, its transaction count and its coinbase. They fit the block after the tip that the pool was
    /// last told of.
    ///
    /// With n transactions in the pool this costs 25 n steps of a queue.
    #[must_use]
    pub fn select(&self, max_bytes: usize) -> Template {
        let mut selection = Selection::new(&self.graph);
        let mut misses = 0;
        while let Some((id, package)) = selection.next() {
            if selection.template.bytes + package.bytes > max_bytes {
                misses += 1;
                if misses > MAX_MISSES {
                    break;
                }
                continue;
            }
            misses = 0;
            selection.take(id);
        }
        selection.template
    }
}

struct Selection<'a> {
    graph: &'a Graph,
    /// The best package first, of equal ones the oldest. An entry is void if its rate is not that of the
    /// package any more: there is a newer one then.
    queue: BinaryHeap<(FeeRate, Reverse<Id>)>,
    taken: HashSet<Id>,
    /// Packages that are smaller now than the sums of the pool say.
    rests: HashMap<Id, Sum>,
    template: Template,
}

impl<'a> Selection<'a> {
    fn new(graph: &'a Graph) -> Self {
        Self {
            graph,
            queue: graph
                .iter()
                .map(|entry| (entry.ancestors.rate(), Reverse(entry.id)))
                .collect(),
            taken: HashSet::new(),
            rests: HashMap::new(),
            template: Template::default(),
        }
    }

    /// The best package that is left.
    fn next(&mut self) -> Option<(Id, Sum)> {
        loop {
            let (rate, Reverse(id)) = self.queue.pop()?;
            if self.taken.contains(&id) {
                continue;
            }
            match self.rest(id) {
                Some(package) if package.rate() == rate => return Some((id, package)),
                _ => {}
            }
        }
    }

    /// A transaction with its ancestors that are not taken yet.
    fn rest(&self, id: Id) -> Option<Sum> {
        let rest = self.rests.get(&id).copied();
        rest.or_else(|| self.graph.entry(id).map(|entry| entry.ancestors))
    }

    fn take(&mut self, id: Id) {
        let mut package = self.graph.ancestors(id);
        package.insert(id);
        package.retain(|member| !self.taken.contains(member));
        let mut touched = BTreeSet::new();
        // Ids rise from parents to children.
        for id in package {
            let Some(entry) = self.graph.entry(id) else {
                continue;
            };
            self.taken.insert(id);
            self.template.transactions.push(Arc::clone(&entry.tx));
            self.template.fees = self.template.fees.saturating_add(entry.fee);
            self.template.bytes += entry.bytes;
            for descendant in self.graph.with_descendants(id) {
                if let Some(mut rest) = self.rest(descendant) {
                    rest.subtract(entry.own());
                    self.rests.insert(descendant, rest);
                    touched.insert(descendant);
                }
            }
        }
        for id in touched {
            if let Some(rest) = self.rest(id).filter(|_| !self.taken.contains(&id)) {
                self.queue.push((rest.rate(), Reverse(id)));
            }
        }
    }
}
