//! When a transaction takes the place of those in the pool that spend the same outputs.
//!
//! BIP125's rules but the first: no transaction has to signal that it may be replaced, since whoever mines
//! takes what pays more, whatever it signals ("full" replace-by-fee).
//!
//! | BIP125 | here |
//! |---|---|
//! | 1, originals signal | not asked |
//! | 2, no new unconfirmed inputs | each parent in the pool is a parent of one that is replaced |
//! | 3, pays at least what goes | taken |
//! | 4, and for its own relay | taken, at the relay minimum |
//! | 5, at most 100 go | taken, descendants counted |
//! | (Bitcoin Core) | its rate is higher than that of each one that it conflicts with itself |

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::Transaction;

use super::entry::{Id, Sum};
use super::graph::Graph;
use super::{Entry, FeeRate, Limits, MempoolError};
use crate::chain::policy;

/// A transaction that wants to come in.
#[derive(Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) tx: &'a Transaction,
    pub(super) fee: u64,
    pub(super) bytes: usize,
    /// Parents in the pool.
    pub(super) parents: &'a BTreeSet<Id>,
    /// All from which it descends in the pool.
    pub(super) ancestors: &'a BTreeSet<Id>,
}

/// What a transaction replaces, descendants included: nothing if nobody spends the same.
///
/// Costs at most one walk over descendants for each input and one over what goes.
pub(super) fn check(
    graph: &Graph,
    new: &Newcomer<'_>,
    limits: &Limits,
) -> Result<BTreeSet<Id>, MempoolError> {
    let spenders = new.tx.input.iter();
    let conflicts: BTreeSet<Id> = spenders
        .filter_map(|input| graph.spender(&input.previous_output))
        .collect();
    if conflicts.is_empty() {
        return Ok(conflicts);
    }
    if let Some(entry) = entries(graph, conflicts.intersection(new.ancestors)).next() {
        return Err(MempoolError::ConflictsWithAncestor {
            ancestor: entry.txid,
        });
    }
    check_rate(graph, new, &conflicts)?;
    check_inputs(graph, new, &conflicts)?;
    let going = going(graph, &conflicts, limits.max_replaced)?;
    check_fee(graph, new, &going)?;
    Ok(going)
}

/// What each of `ancestors` loses in descendants when `replaced` go.
pub(super) fn by_ancestor(
    graph: &Graph,
    ancestors: &BTreeSet<Id>,
    replaced: &BTreeSet<Id>,
) -> BTreeMap<Id, Sum> {
    let mut losses: BTreeMap<Id, Sum> = BTreeMap::new();
    if ancestors.is_empty() {
        return losses;
    }
    for entry in entries(graph, replaced) {
        for ancestor in graph.ancestors(entry.id).intersection(ancestors) {
            losses.entry(*ancestor).or_default().add(entry.own());
        }
    }
    losses
}

fn check_rate(
    graph: &Graph,
    new: &Newcomer<'_>,
    conflicts: &BTreeSet<Id>,
) -> Result<(), MempoolError> {
    let rate = FeeRate::new(new.fee, new.bytes);
    match entries(graph, conflicts).find(|entry| entry.fee_rate() >= rate) {
        None => Ok(()),
        Some(entry) => Err(MempoolError::ReplacementRate {
            replaced: entry.txid,
        }),
    }
}

fn check_inputs(
    graph: &Graph,
    new: &Newcomer<'_>,
    conflicts: &BTreeSet<Id>,
) -> Result<(), MempoolError> {
    let old: BTreeSet<Id> = entries(graph, conflicts)
        .flat_map(|entry| entry.parents.iter().copied())
        .collect();
    match entries(graph, new.parents.difference(&old)).next() {
        None => Ok(()),
        Some(parent) => Err(MempoolError::ReplacementInput {
            parent: parent.txid,
        }),
    }
}

fn going(
    graph: &Graph,
    conflicts: &BTreeSet<Id>,
    limit: usize,
) -> Result<BTreeSet<Id>, MempoolError> {
    let mut going = BTreeSet::new();
    for id in conflicts {
        going.extend(graph.with_descendants(*id));
        if going.len() > limit {
            return Err(MempoolError::TooManyReplaced { limit });
        }
    }
    Ok(going)
}

fn check_fee(graph: &Graph, new: &Newcomer<'_>, going: &BTreeSet<Id>) -> Result<(), MempoolError> {
    let lost = entries(graph, going).map(|entry| entry.fee);
    let required = lost.fold(policy::required_fee(new.bytes), u64::saturating_add);
    if new.fee < required {
        return Err(MempoolError::ReplacementFee {
            fee: new.fee,
            required,
        });
    }
    Ok(())
}

fn entries<'a>(
    graph: &'a Graph,
    ids: impl IntoIterator<Item = &'a Id>,
) -> impl Iterator<Item = &'a Entry> {
    ids.into_iter().filter_map(|id| graph.entry(*id))
}
