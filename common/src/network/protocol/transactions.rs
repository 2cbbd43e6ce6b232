//! Transaction relay: which announced transaction to ask of which peer, and what to announce to a peer when.
//!
//! Peers announce ids in `inv`, by wtxid where both ends said `wtxidrelay` (BIP339), else by txid. Each is asked
//! of one peer at a time ([`TransactionDownload`]): of outbound peers at once, of inbound ones, whom an attacker
//! can be many of, a little later, so that they can't sit on a transaction by announcing it first. A peer that
//! does not answer within `ANSWER_TIMEOUT` has lost its turn, without a penalty. What came is looked at before the
//! others who announced it are forgotten: a txid does not commit to the witness, so one peer could spoil it for all.
//!
//! What we announce waits for a moment drawn at random for each peer ([`Announcements`]): who watches from many
//! connections does not learn from the order who had it first, and many ids share a message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Txid, Wtxid};

use crate::recent::Recent;

/// Transactions in one announcement that nobody asked for, at most; more is a flood.
pub const MAX_ANNOUNCED_AT_ONCE: usize = 1_000;

/// Announced and not received transactions remembered of one peer: one message full. 125 peers of it are 125,000
/// entries of about 150 bytes, 19 MB at the worst.
const MAX_ANNOUNCED: usize = MAX_ANNOUNCED_AT_ONCE;

/// Transactions asked of one peer at a time. Each has a place on the way to the pool, so that what was asked for never
/// holds up what comes after it. With four rounds a second, 128 transactions a second of each peer.
pub const MAX_IN_FLIGHT: usize = 32;

/// How long a peer may take to send what it announced (Bitcoin Core's figure).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long announcements of inbound peers wait for one of an outbound peer (Bitcoin Core's figure).
const INBOUND_DELAY: Duration = Duration::from_secs(2);

/// Ids that one peer is known to know, in a generation of [`Recent`]: 160 kB a peer at the most.
const KNOWN: usize = 2_000;

/// Announcements that wait for one peer; a full pool has about 10,500 transactions. The oldest give way.
const MAX_QUEUED: usize = 10_000;

/// How a transaction is named on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TxRef {
    /// Without its witness.
    Txid(Txid),
    /// With its witness.
    Wtxid(Wtxid),
}

impl TxRef {
    /// What an inventory entry names; `None` if it is no transaction.
    #[must_use]
    pub fn of(item: &Inventory) -> Option<Self> {
        match item {
            Inventory::Transaction(txid) | Inventory::WitnessTransaction(txid) => {
                Some(Self::Txid(*txid))
            }
            Inventory::WTx(wtxid) => Some(Self::Wtxid(*wtxid)),
            _ => None,
        }
    }

    /// How `getdata` asks for it: always with its witness.
    #[must_use]
    pub fn request(self) -> Inventory {
        match self {
            Self::Txid(txid) => Inventory::WitnessTransaction(txid),
            Self::Wtxid(wtxid) => Inventory::WTx(wtxid),
        }
    }

    /// How `inv` announces it.
    fn announcement(self) -> Inventory {
        match self {
            Self::Txid(txid) => Inventory::Transaction(txid),
            Self::Wtxid(wtxid) => Inventory::WTx(wtxid),
        }
    }
}

/// One transaction that peers have announced.
#[derive(Debug)]
struct Wanted<P> {
    asked: Option<(P, Instant)>,
    /// It came and is being looked at, since then.
    checked: Option<Instant>,
    /// It is not wanted any more; whoever was asked still owes an answer.
    settled: bool,
    /// Who else has it, in the order of announcement.
    others: VecDeque<Announcer<P>>,
}

/// Who announced a transaction and was not asked yet.
#[derive(Debug)]
struct Announcer<P> {
    peer: P,
    outbound: bool,
    /// When it may be asked at the earliest.
    from: Instant,
}

/// What is counted of one peer.
#[derive(Debug, Default)]
struct Counts {
    announced: usize,
    in_flight: usize,
}

/// The state machine of what is asked of whom; `P` names a peer.
#[derive(Debug)]
pub struct TransactionDownload<P> {
    wanted: BTreeMap<TxRef, Wanted<P>>,
    peers: HashMap<P, Counts>,
}

impl<P> Default for TransactionDownload<P> {
    fn default() -> Self {
        Self {
            wanted: BTreeMap::new(),
            peers: HashMap::new(),
        }
    }
}

impl<P> Wanted<P> {
    fn is_open(&self) -> bool {
        self.asked.is_some() || self.checked.is_some() || !self.others.is_empty()
    }
}

impl<P: Copy + Eq + Hash + Ord> TransactionDownload<P> {
    /// A peer announced a transaction that we do not have; `outbound` when we chose the peer. False when it has
    /// announced too many already.
    pub fn on_announced(&mut self, peer: P, tx: TxRef, outbound: bool, now: Instant) -> bool {
        let counts = self.peers.entry(peer).or_default();
        if counts.announced >= MAX_ANNOUNCED {
            return false;
        }
        let wanted = self.wanted.entry(tx).or_insert_with(|| Wanted {
            asked: None,
            checked: None,
            settled: false,
            others: VecDeque::new(),
        });
        let again = wanted.asked.is_some_and(|(asked, _)| asked == peer)
            || wanted.others.iter().any(|other| other.peer == peer);
        if again || wanted.settled {
            return true;
        }
        counts.announced += 1;
        let delay = if outbound {
            Duration::ZERO
        } else {
            INBOUND_DELAY
        };
        wanted.others.push_back(Announcer {
            peer,
            outbound,
            from: now + delay,
        });
        true
    }

    /// It came from this peer and is looked at now: nobody else is asked for it until [`Self::on_settled`] or
    /// [`Self::on_unsettled`]. Ignored if nobody announced it.
    pub fn on_received(&mut self, peer: P, tx: TxRef, now: Instant) {
        let Some(wanted) = self.wanted.get_mut(&tx) else {
            return;
        };
        let asked = wanted.asked.take_if(|(asked, _)| *asked == peer).is_some();
        let mut others = wanted.others.iter();
        let place = others.position(|other| other.peer == peer);
        let waited = place.and_then(|place| wanted.others.remove(place));
        wanted.checked = (!wanted.settled).then_some(now);
        if !wanted.is_open() {
            self.wanted.remove(&tx);
        }
        if asked || waited.is_some() {
            self.settle(peer, asked);
        }
    }

    /// It is known now, or not wanted any more.
    pub fn on_settled(&mut self, tx: TxRef) {
        let Some(wanted) = self.wanted.get_mut(&tx) else {
            return;
        };
        wanted.settled = true;
        wanted.checked = None;
        let others = std::mem::take(&mut wanted.others);
        if !wanted.is_open() {
            self.wanted.remove(&tx);
        }
        for other in others {
            self.settle(other.peer, false);
        }
    }

    /// What came was lost, or not what the name stands for: the others who announced it are asked.
    pub fn on_unsettled(&mut self, tx: TxRef) {
        if let Some(wanted) = self.wanted.get_mut(&tx) {
            wanted.checked = None;
            if !wanted.is_open() {
                self.wanted.remove(&tx);
            }
        }
    }

    /// The peer does not have it. Ignored unless the peer was asked for it.
    pub fn on_not_found(&mut self, peer: P, tx: TxRef) {
        let Some(wanted) = self.wanted.get_mut(&tx) else {
            return;
        };
        if wanted.asked.take_if(|(asked, _)| *asked == peer).is_none() {
            return;
        }
        if !wanted.is_open() {
            self.wanted.remove(&tx);
        }
        self.settle(peer, true);
    }

    /// A peer is gone; what it owed is asked of others.
    pub fn peer_left(&mut self, peer: P) {
        self.peers.remove(&peer);
        self.wanted.retain(|_, wanted| {
            wanted.asked.take_if(|(asked, _)| *asked == peer);
            wanted.others.retain(|other| other.peer != peer);
            wanted.is_open()
        });
    }

    /// How many are announced and not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whom to ask for what now, by peer. Looks at everything: call a few times a second.
    pub fn poll(&mut self, now: Instant) -> BTreeMap<P, Vec<TxRef>> {
        let mut requests: BTreeMap<P, Vec<TxRef>> = BTreeMap::new();
        let peers = &mut self.peers;
        self.wanted.retain(|tx, wanted| {
            let late = wanted
                .asked
                .take_if(|(_, since)| now.saturating_duration_since(*since) >= ANSWER_TIMEOUT);
            if let Some((peer, _)) = late
                && let Some(counts) = peers.get_mut(&peer)
            {
                counts.settle(true);
            }
            let late =
                |since: &mut Instant| now.saturating_duration_since(*since) >= ANSWER_TIMEOUT;
            wanted.checked.take_if(late);
            if wanted.asked.is_none() && wanted.checked.is_none() {
                let free = |peer: &P| peers.get(peer).is_some_and(|c| c.in_flight < MAX_IN_FLIGHT);
                let mut ready = wanted
                    .others
                    .iter()
                    .enumerate()
                    .filter(|(_, other)| other.from <= now && free(&other.peer));
                // Of equals the first.
                let next = ready
                    .clone()
                    .find(|(_, other)| other.outbound)
                    .or_else(|| ready.next())
                    .map(|(place, _)| place);
                if let Some(other) = next.and_then(|place| wanted.others.remove(place)) {
                    let peer = other.peer;
                    wanted.asked = Some((peer, now));
                    if let Some(counts) = peers.get_mut(&peer) {
                        counts.in_flight += 1;
                    }
                    requests.entry(peer).or_default().push(*tx);
                }
            }
            wanted.is_open()
        });
        requests
    }

    fn settle(&mut self, peer: P, asked: bool) {
        if let Some(counts) = self.peers.get_mut(&peer) {
            counts.settle(asked);
        }
    }
}

impl Counts {
    /// One of its announcements is dealt with.
    fn settle(&mut self, asked: bool) {
        self.announced = self.announced.saturating_sub(1);
        if asked {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }
}

/// A transaction to tell others of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub txid: Txid,
    /// Its id with witness.
    pub wtxid: Wtxid,
    /// Its fee in base units for 1,000 bytes.
    pub fee_per_kb: u64,
}

/// What waits to be announced to one peer.
#[derive(Debug)]
pub struct Announcements {
    by_wtxid: bool,
    queue: VecDeque<Announcement>,
    known: Recent<TxRef>,
    next: Instant,
    fee_filter: u64,
}

impl Announcements {
    /// For a new peer; `by_wtxid` when both ends said `wtxidrelay`.
    #[must_use]
    pub fn new(by_wtxid: bool, now: Instant) -> Self {
        Self {
            by_wtxid,
            queue: VecDeque::new(),
            known: Recent::new(KNOWN),
            next: now,
            fee_filter: 0,
        }
    }

    /// The peer told us of it: it need not hear of it from us.
    pub fn peer_knows(&mut self, tx: TxRef) {
        self.known.insert(tx);
    }

    /// The peer wants to hear of nothing that pays less (BIP133), in base units for 1,000 bytes.
    pub fn set_fee_filter(&mut self, per_kb: u64) {
        self.fee_filter = per_kb;
    }

    /// To be told when the time has come.
    pub fn push(&mut self, announcement: Announcement) {
        if self.queue.len() >= MAX_QUEUED {
            self.queue.pop_front();
        }
        self.queue.push_back(announcement);
    }

    /// What to announce now, parents before children; empty while it is not time yet. `pause` draws how long
    /// to be silent after that.
    pub fn poll(&mut self, now: Instant, pause: impl FnOnce() -> Duration) -> Vec<Inventory> {
        if self.queue.is_empty() || now < self.next {
            return Vec::new();
        }
        self.next = now + pause();
        let mut told = Vec::new();
        while told.len() < MAX_ANNOUNCED_AT_ONCE {
            let Some(announcement) = self.queue.pop_front() else {
                break;
            };
            let Announcement { txid, wtxid, .. } = announcement;
            let (txid, wtxid) = (TxRef::Txid(txid), TxRef::Wtxid(wtxid));
            if announcement.fee_per_kb < self.fee_filter
                || self.known.contains(&txid)
                || self.known.contains(&wtxid)
            {
                continue;
            }
            let name = if self.by_wtxid { wtxid } else { txid };
            self.known.insert(name);
            told.push(name.announcement());
        }
        told
    }
}

#[cfg(test)]
mod tests;
