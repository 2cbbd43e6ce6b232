//! Which inbound peer has to go when all inbound places are taken and a newcomer has come.
//!
//! If none ever had to, an attacker who once filled all places would keep everybody else out; if it were simply the
//! oldest, or one by lot, he could push out all others by connecting in a loop. So peers stay that are among the best
//! in something that can't be had cheaply, and of the others half, those that stand longest. Who goes is the youngest
//! of the netgroup that has most of those left: whoever connects in a loop soon has the largest one, and pushes out
//! himself.
//!
//! | what protects | peers | what an attacker would need |
//! |---|---|---|
//! | a keyed hash of the netgroup | 4 | addresses everywhere: he can't tell which netgroups count |
//! | lowest ping | 8 | machines near us, in several netgroups |
//! | last gave us a new transaction | 4 | to be faster than honest peers, or to pay fees |
//! | last gave us a new block | 12 | to be faster than honest peers, or to mine |
//! | stands longest | half of those left | time |
//!
//! The idea and the numbers are Bitcoin Core's (`node/eviction.cpp`). Different here:
//! - One criterion protects one peer of a netgroup, so a machine beside ours that has many addresses gets one of the
//!   places for low pings, and not all. One netgroup has at most four places by merit, many together have 28.
//! - Who has given us nothing is not protected for it because others have not either.
//! - A peer with a penalty is never protected, and goes before all others.
//!
//! Whatever newcomers do, of n peers without a penalty the (n − 28) / 2 that stand longest stay: of 114, 43. An
//! attacker who was first to fill all places, each from a netgroup of its own, loses only those by merit to honest
//! peers, and the youngest one, for which newcomers then take turns. What he can't touch at all are outbound
//! connections.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Netgroups of which the peer that stands longest is protected (Bitcoin Core's number). They are those whose keyed
/// hashes are lowest, so an attacker has to be in a great many netgroups to be in these. More would help one who has
/// many against honest peers that excel in something.
const BY_NETGROUP: usize = 4;

/// Peers with the lowest pings (Bitcoin Core's number). Nobody can seem nearer than he is, so an attacker who wants all
/// of these places has to be near us in so many netgroups.
const BY_PING: usize = 8;

/// Peers that last gave us a transaction that we accepted (Bitcoin Core's number). They keep our mempool fed. The
/// cheapest to win, as one's own transaction will do that pays its fee: hence not more.
const BY_TRANSACTIONS: usize = 4;

/// Peers that last were the first to give us a block: while one honest peer is among them we stay on the chain with the
/// most work. Bitcoin Core has two numbers, 8 for peers that send no transactions, as these can't win by transactions,
/// and 4 for all. Here it is the sum: which kind a peer is, it says itself, and for blocks both have the same chances.
const BY_BLOCKS: usize = 12;

/// One part in so many of those left is protected because it stands longest (Bitcoin Core's number). Guards peers that
/// excel in nothing against all who come later; the rest is what newcomers, honest ones too, can have.
const LONGEST_STANDING: usize = 2;

/// What is known of an inbound peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Which peer; each is there once. Decides where all else is equal (the higher one goes), so a peer must not be
    /// able to choose it.
    pub id: Id,
    /// Its netgroup, hashed with a key that only we know and that stays the same: else who can choose among netgroups
    /// takes those that sort first.
    pub netgroup: u64,
    /// When it connected.
    pub since: Instant,
    /// The shortest ping that was seen, if any was answered.
    pub ping: Option<Duration>,
    /// When it last gave us a transaction that was accepted.
    pub last_transaction: Option<Instant>,
    /// When it last was the first to give us a block that we connected.
    pub last_block: Option<Instant>,
    /// Whether it has a score against it.
    pub penalised: bool,
}

impl<Id> Candidate<Id> {
    /// What a clock says that was read a moment after `now` is no advantage.
    fn no_later_than(self, now: Instant) -> Self {
        let past = |time: Instant| time.min(now);
        Self {
            since: past(self.since),
            last_transaction: self.last_transaction.map(past),
            last_block: self.last_block.map(past),
            ..self
        }
    }
}

/// The peer that has to go, whatever the order of the candidates. `None` when all are protected, which needs 28 or
/// fewer of them: then it is the newcomer.
///
/// O(n log n).
#[must_use]
pub fn choose<Id: Copy + Ord>(candidates: Vec<Candidate<Id>>, now: Instant) -> Option<Id> {
    let candidates = candidates.into_iter().map(|peer| peer.no_later_than(now));
    let (penalised, mut exposed): (Vec<_>, Vec<_>) = candidates.partition(|peer| peer.penalised);
    if !penalised.is_empty() {
        return youngest_of_largest_group(&penalised);
    }
    protect(&mut exposed, BY_NETGROUP, |peer| Some(peer.netgroup));
    protect(&mut exposed, BY_PING, |peer| peer.ping);
    protect(&mut exposed, BY_TRANSACTIONS, |peer| {
        peer.last_transaction.map(Reverse)
    });
    protect(&mut exposed, BY_BLOCKS, |peer| peer.last_block.map(Reverse));
    protect_longest_standing(&mut exposed);
    youngest_of_largest_group(&exposed)
}

/// Takes out those with the lowest merits, one of a netgroup and `places` in all. Of equals the one that stands longest
/// is taken: age is what an attacker can't make.
fn protect<Id: Copy + Ord, Merit: Ord>(
    exposed: &mut Vec<Candidate<Id>>,
    places: usize,
    merit: impl Fn(&Candidate<Id>) -> Option<Merit>,
) {
    exposed.sort_unstable_by_key(|peer| (merit(peer), peer.since, peer.id));
    let mut groups = BTreeSet::new();
    exposed.retain(|peer| {
        merit(peer).is_none() || groups.len() >= places || !groups.insert(peer.netgroup)
    });
}

/// Rounded down, so of those left there is always one to go.
fn protect_longest_standing<Id: Copy + Ord>(exposed: &mut Vec<Candidate<Id>>) {
    exposed.sort_unstable_by_key(|peer| (peer.since, peer.id));
    exposed.drain(..exposed.len() / LONGEST_STANDING);
}

/// Of several largest netgroups, the one whose youngest member is the youngest.
fn youngest_of_largest_group<Id: Copy + Ord>(peers: &[Candidate<Id>]) -> Option<Id> {
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for peer in peers {
        *sizes.entry(peer.netgroup).or_default() += 1;
    }
    let rank = |peer: &&Candidate<Id>| (sizes.get(&peer.netgroup), peer.since, peer.id);
    peers.iter().max_by_key(rank).map(|peer| peer.id)
}

#[cfg(test)]
mod tests;
