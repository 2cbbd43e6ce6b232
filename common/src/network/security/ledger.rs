//! What a peer may send us: answers to our questions are free, the rest is metered.
//!
//! Counting requested data against a rate limit punishes honest syncers (lighthouse#1582, grin#1933), so
//! each question of ours opens a credit, and the answer uses it. What comes without a credit runs into two
//! token buckets, messages and bytes a minute. Over the limit the peer is first read more slowly; one that
//! stays over it is dropped.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;

use super::offence::Offence;
use crate::chain::policy::MAX_STANDARD_BYTES;
use crate::network::protocol::transactions::{MAX_IN_FLIGHT, TxRef};

/// Most credits of one kind: more questions than that are never open at once.
const MAX_CREDITS: usize = 4_096;

/// Most transactions that may come free at a time: those that are asked for, and as many that are late. What a peer
/// withholds it can't save up.
const MAX_TRANSACTION_CREDITS: usize = 2 * MAX_IN_FLIGHT;

/// Largest transaction that comes free, on the wire: more than the largest that is relayed.
const MAX_FREE_TRANSACTION: usize = MAX_STANDARD_BYTES + 1_024;

/// Waiting longer than this means that the peer is far over its limit and is dropped.
pub const MAX_THROTTLE: Duration = Duration::from_secs(30);

/// Messages in a row over the limit after which a peer is dropped: read at the limit's pace that is half a
/// minute of pushing against it, which no honest burst does.
const MAX_STRIKES: u32 = 50;

/// Messages in a row over the limit after which somebody is told: an honest burst may well have a few.
const TELLING_STRIKES: u32 = 10;

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It answers a question of ours.
    Solicited,
    /// Not asked for, within the limits.
    Allowed,
    /// Over the limit: read on only after this time.
    Throttle(Duration),
    /// The same, and now it is no burst any more, but this.
    Pushing(Duration, Offence),
    /// Far over the limit: drop the peer, for this.
    Exceeded(Offence),
}

/// Limits for what nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushLimits {
    /// Messages a minute (100 on mainnet).
    pub messages_per_minute: u32,
    /// Bytes a minute (1 MB on mainnet).
    pub bytes_per_minute: u64,
}

/// Answers that a block's questions allow. A compact block can lead to the question for its transactions, and these
/// to the one for the whole block; nothing leads back, so no question of ours feeds a peer for ever.
#[derive(Debug, Default)]
struct Owed {
    whole: usize,
    compact: usize,
    transactions: usize,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.whole + self.compact + self.transactions == 0
    }

    fn count(&mut self, form: Form) -> &mut usize {
        match form {
            Form::Whole => &mut self.whole,
            Form::Compact => &mut self.compact,
            Form::Transactions => &mut self.transactions,
        }
    }
}

/// A form in which a block, or what is missing of one, comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Compact,
    Transactions,
}

/// The ledger of one peer.
#[derive(Debug)]
pub struct Ledger {
    messages: Bucket,
    bytes: Bucket,
    headers: usize,
    addresses: usize,
    pongs: usize,
    /// Transactions asked for. Not which: a peer gains nothing by sending others in their place.
    transactions: usize,
    /// How often each block was asked for and not answered yet, and in which form.
    blocks: HashMap<BlockHash, Owed>,
    /// Sum of the counts.
    open_blocks: usize,
    /// Messages in a row over the limit, by what they are.
    strikes: BTreeMap<Offence, u32>,
}

impl Ledger {
    /// A new peer starts with full buckets.
    pub fn new(limits: PushLimits, now: Instant) -> Self {
        Self {
            messages: Bucket::new(f64::from(limits.messages_per_minute), now),
            bytes: Bucket::new(limits.bytes_per_minute as f64, now),
            headers: 0,
            addresses: 0,
            pongs: 0,
            transactions: 0,
            blocks: HashMap::new(),
            open_blocks: 0,
            strikes: BTreeMap::new(),
        }
    }

    /// Notes a message that we send: a question opens its credit.
    pub fn sent(&mut self, message: &NetworkMessage) {
        let more = |credits: &mut usize| *credits = (*credits + 1).min(MAX_CREDITS);
        match message {
            NetworkMessage::GetHeaders(_) => more(&mut self.headers),
            NetworkMessage::GetAddr => more(&mut self.addresses),
            NetworkMessage::Ping(_) => more(&mut self.pongs),
            NetworkMessage::GetBlockTxn(request) => {
                self.open_block_credit(request.txs_request.block_hash, Form::Transactions);
            }
            NetworkMessage::GetData(items) => {
                for item in items {
                    if let Some(hash) = block_hash(item) {
                        let compact = matches!(item, Inventory::CompactBlock(_));
                        let form = if compact { Form::Compact } else { Form::Whole };
                        self.open_block_credit(hash, form);
                    }
                }
                let transactions = items.iter().filter(|item| TxRef::of(item).is_some());
                let open = self.transactions + transactions.count();
                self.transactions = open.min(MAX_TRANSACTION_CREDITS);
            }
            _ => {}
        }
    }

    /// Charges a message of `bytes` on the wire. Requests to us are paced by back-pressure, not here.
    pub fn received(&mut self, message: &NetworkMessage, bytes: usize, now: Instant) -> Charge {
        if is_request(message) || self.use_credit(message, bytes) {
            return Charge::Solicited;
        }
        let wait = self
            .messages
            .take(1.0, now)
            .max(self.bytes.take(bytes as f64, now));
        if wait.is_zero() {
            self.strikes.clear();
            return Charge::Allowed;
        }
        *self.strikes.entry(flood_of(message)).or_default() += 1;
        let strikes: u32 = self.strikes.values().sum();
        // Most of what is over the limit, whatever came last.
        let most = self.strikes.iter().max_by_key(|(_, count)| **count);
        let flood = most.map_or(Offence::MessageFlood, |(offence, _)| *offence);
        if wait > MAX_THROTTLE || strikes > MAX_STRIKES {
            Charge::Exceeded(flood)
        } else if strikes == TELLING_STRIKES {
            Charge::Pushing(wait, flood)
        } else {
            Charge::Throttle(wait)
        }
    }

    /// Takes back the charge for a message of about `bytes` that turned out to be useful.
    pub fn refund(&mut self, bytes: usize) {
        self.messages.give(1.0);
        self.bytes.give(bytes as f64);
        self.strikes.clear();
    }

    fn use_credit(&mut self, message: &NetworkMessage, bytes: usize) -> bool {
        use Form::{Compact, Transactions, Whole};
        let mut less = |credits: fn(&mut Self) -> &mut usize| {
            let credits = credits(self);
            let had = *credits > 0;
            *credits = credits.saturating_sub(1);
            had
        };
        match message {
            NetworkMessage::Headers(_) => less(|l| &mut l.headers),
            // A node announces itself with one entry; that is not the answer to our question.
            NetworkMessage::Addr(list) => list.len() > 1 && less(|l| &mut l.addresses),
            NetworkMessage::AddrV2(list) => list.len() > 1 && less(|l| &mut l.addresses),
            NetworkMessage::Pong(_) => less(|l| &mut l.pongs),
            NetworkMessage::Tx(_) => self.use_transaction_credit() && bytes <= MAX_FREE_TRANSACTION,
            NetworkMessage::CmpctBlock(block) => {
                self.use_block_credit(&block.compact_block.header.block_hash(), &[Compact])
            }
            NetworkMessage::BlockTxn(answer) => {
                self.use_block_credit(&answer.transactions.block_hash, &[Transactions])
            }
            // An old block comes whole, whatever was asked for.
            NetworkMessage::Block(block) => {
                self.use_block_credit(&block.block_hash(), &[Whole, Compact, Transactions])
            }
            NetworkMessage::NotFound(items) => {
                let mut all = !items.is_empty();
                for item in items {
                    all &= match block_hash(item) {
                        Some(hash) => self.use_block_credit(&hash, &[Whole, Compact, Transactions]),
                        None => self.use_transaction_credit(),
                    };
                }
                all
            }
            _ => false,
        }
    }

    fn open_block_credit(&mut self, hash: BlockHash, form: Form) {
        if self.open_blocks < MAX_CREDITS {
            *self.blocks.entry(hash).or_default().count(form) += 1;
            self.open_blocks += 1;
        }
    }

    fn use_transaction_credit(&mut self) -> bool {
        let had = self.transactions > 0;
        self.transactions = self.transactions.saturating_sub(1);
        had
    }

    /// Uses the first of these credits that there is. A block that was asked for twice may come twice.
    fn use_block_credit(&mut self, hash: &BlockHash, forms: &[Form]) -> bool {
        let Some(owed) = self.blocks.get_mut(hash) else {
            return false;
        };
        let Some(form) = forms.iter().find(|form| *owed.count(**form) > 0) else {
            return false;
        };
        *owed.count(*form) -= 1;
        if owed.is_empty() {
            self.blocks.remove(hash);
        }
        self.open_blocks -= 1;
        true
    }
}

/// The block that an inventory entry names.
pub fn block_hash(item: &Inventory) -> Option<BlockHash> {
    match item {
        Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => {
            Some(*hash)
        }
        _ => None,
    }
}

/// What too many of these messages are.
fn flood_of(message: &NetworkMessage) -> Offence {
    match message {
        NetworkMessage::Ping(_) => Offence::PingFlood,
        NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => Offence::AddressSpam,
        NetworkMessage::Inv(_) => Offence::InventorySpam,
        _ => Offence::MessageFlood,
    }
}

fn is_request(message: &NetworkMessage) -> bool {
    matches!(
        message,
        NetworkMessage::GetHeaders(_) | NetworkMessage::GetData(_) | NetworkMessage::GetBlockTxn(_)
    )
}

/// A bucket that holds one minute's allowance and may go into debt once.
#[derive(Debug)]
struct Bucket {
    per_minute: f64,
    tokens: f64,
    updated: Instant,
}

impl Bucket {
    fn new(per_minute: f64, now: Instant) -> Self {
        Self {
            per_minute,
            tokens: per_minute,
            updated: now,
        }
    }

    fn give(&mut self, amount: f64) {
        self.tokens = (self.tokens + amount).min(self.per_minute);
    }

    /// Takes `cost`, and says how long to wait until the debt is paid.
    fn take(&mut self, cost: f64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        self.tokens = (self.tokens + elapsed * self.per_minute / 60.0).min(self.per_minute) - cost;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens * 60.0 / self.per_minute).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
