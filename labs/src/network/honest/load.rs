//! What honest nodes are kept busy with: blocks and transactions.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bitcoin::consensus::encode::deserialize;
use bitcoin::{Block, Transaction, Txid};
use quantumcoin::chain::mempool::MempoolError;
use quantumcoin::network::SubmitError;

use crate::network::node::LabNode;

/// What a node does not take is handed in again so much later: the transaction that it spends may be on its way.
const AGAIN: Duration = Duration::from_secs(2);

/// A transaction that nobody has taken for so long is refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks and transactions to be, and what became of them.
#[derive(Debug)]
pub(super) struct Load {
    /// Height of the chain before the first block of ours.
    base: u32,
    /// Who mines next, and who is handed the next transaction.
    turn: usize,
    left: VecDeque<Transaction>,
    waiting: VecDeque<Waiting>,
    handed_in: Vec<Txid>,
    refused: Vec<String>,
}

/// A transaction that is to be handed in.
#[derive(Debug)]
struct Waiting {
    transaction: Transaction,
    since: Instant,
    next: Instant,
}

impl Load {
    pub(super) fn new(payments: Vec<Transaction>, base: u32) -> Self {
        Self {
            base,
            turn: 0,
            left: payments.into(),
            waiting: VecDeque::new(),
            handed_in: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Transactions that nodes have taken.
    pub(super) fn count(&self) -> usize {
        self.handed_in.len()
    }

    /// Transactions that nobody took, each with the reason.
    pub(super) fn refused(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|waiting| {
            format!(
                "the transaction {} was taken by nobody",
                waiting.transaction.compute_txid()
            )
        });
        self.refused.iter().cloned().chain(waiting).collect()
    }

    /// One of those that have the highest tip mines, each in its turn.
    pub(super) async fn mine(&mut self, nodes: &[LabNode]) -> anyhow::Result<()> {
        let best = nodes.iter().map(|node| node.tip().height).max();
        let up_to_date: Vec<_> = nodes
            .iter()
            .filter(|node| Some(node.tip().height) == best)
            .collect();
        if let Some(node) = self.choose(&up_to_date) {
            node.mine().await?;
        }
        Ok(())
    }

    /// One more transaction is to be handed in.
    pub(super) fn pay(&mut self) {
        let now = Instant::now();
        self.waiting
            .extend(self.left.pop_front().map(|transaction| Waiting {
                transaction,
                since: now,
                next: now,
            }));
    }

    /// Hands in what is due, at nodes with even numbers that are up to date.
    pub(super) async fn hand_in(&mut self, nodes: &[LabNode]) -> anyhow::Result<()> {
        let takers: Vec<_> = nodes
            .iter()
            .filter(|node| node.number() % 2 == 0 && node.network.progress().borrow().synced)
            .collect();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            let now = Instant::now();
            match self.choose(&takers) {
                Some(node) if waiting.next <= now => self.submit(node, waiting).await,
                _ => self.waiting.push_back(waiting),
            }
        }
        Ok(())
    }

    async fn submit(&mut self, node: &LabNode, waiting: Waiting) {
        let txid = waiting.transaction.compute_txid();
        match node
            .network
            .submit_transaction(waiting.transaction.clone())
            .await
        {
            // Both others: it was an orphan the last time, and its parent has come.
            Ok(_)
            | Err(SubmitError::Refused(
                MempoolError::AlreadyKnown | MempoolError::AlreadyConfirmed,
            )) => self.handed_in.push(txid),
            Err(_) if waiting.since.elapsed() < PATIENCE => {
                let next = Instant::now() + AGAIN;
                self.waiting.push_back(Waiting { next, ..waiting });
            }
            Err(error) => self.refused.push(format!(
                "node {} does not take the transaction {txid}: {error}",
                node.number()
            )),
        }
    }

    /// Each in its turn.
    fn choose<'a>(&mut self, nodes: &[&'a LabNode]) -> Option<&'a LabNode> {
        self.turn = self.turn.wrapping_add(1);
        nodes.get(self.turn % nodes.len().max(1)).copied()
    }

    /// The transactions that nodes have taken and that this one's chain does not hold.
    pub(super) fn unconfirmed(&self, node: &LabNode) -> anyhow::Result<Vec<Txid>> {
        let mut confirmed = HashSet::new();
        for height in self.base + 1..=node.tip().height {
            let Some(hash) = node.chain.block_at(height) else {
                continue;
            };
            if let Some(bytes) = node.chain.block(&hash)? {
                let block: Block = deserialize(&bytes)?;
                confirmed.extend(block.txdata.iter().map(Transaction::compute_txid));
            }
        }
        let missing = self.handed_in.iter();
        Ok(missing
            .filter(|txid| !confirmed.contains(*txid))
            .copied()
            .collect())
    }
}
