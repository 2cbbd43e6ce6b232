//! What a peer may send us: answers to our questions are free, the rest is metered.
//!
//! Counting requested data against a rate limit punishes honest syncers (lighthouse#1582, grin#1933), so
//! each question of ours opens a credit, and the answer uses it. What comes without a credit runs into two
//! token buckets, messages and bytes a minute. Over the limit the peer is first read more slowly; one that
//! stays over it is dropped.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;

use crate::network::protocol::transactions::TxRef;

/// Most credits of one kind: more questions than that are never open at once.
const MAX_CREDITS: usize = 4_096;

/// Waiting longer than this means that the peer is far over its limit and is dropped.
pub const MAX_THROTTLE: Duration = Duration::from_secs(30);

/// Messages in a row over the limit after which a peer is dropped: read at the limit's pace that is half a
/// minute of pushing against it, which no honest burst does.
const MAX_STRIKES: u32 = 50;

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It answers a question of ours.
    Solicited,
    /// Not asked for, within the limits.
    Allowed,
    /// Over the limit: read on only after this time.
    Throttle(Duration),
    /// Far over the limit: drop the peer.
    Exceeded,
}

/// Limits for what nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushLimits {
    /// Messages a minute (100 on mainnet).
    pub messages_per_minute: u32,
    /// Bytes a minute (1 MB on mainnet).
    pub bytes_per_minute: u64,
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
    /// How often each block was asked for and not answered yet.
    blocks: HashMap<BlockHash, usize>,
    /// Sum of the counts.
    open_blocks: usize,
    strikes: u32,
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
            strikes: 0,
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
                self.open_block_credit(request.txs_request.block_hash);
            }
            NetworkMessage::GetData(items) => {
                for hash in items.iter().filter_map(block_hash) {
                    self.open_block_credit(hash);
                }
                let transactions = items.iter().filter(|item| TxRef::of(item).is_some());
                self.transactions = (self.transactions + transactions.count()).min(MAX_CREDITS);
            }
            _ => {}
        }
    }

    /// Charges a message of `bytes` on the wire. Requests to us are paced by back-pressure, not here.
    pub fn received(&mut self, message: &NetworkMessage, bytes: usize, now: Instant) -> Charge {
        if is_request(message) || self.use_credit(message) {
            return Charge::Solicited;
        }
        let wait = self
            .messages
            .take(1.0, now)
            .max(self.bytes.take(bytes as f64, now));
        if wait.is_zero() {
            self.strikes = 0;
            return Charge::Allowed;
        }
        self.strikes += 1;
        if wait > MAX_THROTTLE || self.strikes > MAX_STRIKES {
            Charge::Exceeded
        } else {
            Charge::Throttle(wait)
        }
    }

    /// Takes back the charge for a message of about `bytes` that turned out to be useful.
    pub fn refund(&mut self, bytes: usize) {
        self.messages.give(1.0);
        self.bytes.give(bytes as f64);
        self.strikes = 0;
    }

    fn use_credit(&mut self, message: &NetworkMessage) -> bool {
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
            NetworkMessage::Tx(_) => self.use_transaction_credit(),
            NetworkMessage::CmpctBlock(block) => {
                self.use_block_credit(&block.compact_block.header.block_hash())
            }
            NetworkMessage::BlockTxn(answer) => {
                self.use_block_credit(&answer.transactions.block_hash)
            }
            NetworkMessage::Block(block) => self.use_block_credit(&block.block_hash()),
            NetworkMessage::NotFound(items) => {
                let mut all = !items.is_empty();
                for item in items {
                    all &= match block_hash(item) {
                        Some(hash) => self.use_block_credit(&hash),
                        None => self.use_transaction_credit(),
                    };
                }
                all
            }
            _ => false,
        }
    }

    fn open_block_credit(&mut self, hash: BlockHash) {
        if self.open_blocks < MAX_CREDITS {
            *self.blocks.entry(hash).or_default() += 1;
            self.open_blocks += 1;
        }
    }

    fn use_transaction_credit(&mut self) -> bool {
        let had = self.transactions > 0;
        self.transactions = self.transactions.saturating_sub(1);
        had
    }

    /// A block that was asked for twice may come twice.
    fn use_block_credit(&mut self, hash: &BlockHash) -> bool {
        let Some(count) = self.blocks.get_mut(hash) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
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
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    const LIMITS: PushLimits = PushLimits {
        messages_per_minute: 100,
        bytes_per_minute: 1_000_000,
    };

    #[test]
    fn a_hundred_messages_a_minute_exactly() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let inv = NetworkMessage::Inv(Vec::new());
        for _ in 0..100 {
            assert_eq!(ledger.received(&inv, 37, now), Charge::Allowed);
        }
        assert!(matches!(
            ledger.received(&inv, 37, now),
            Charge::Throttle(_)
        ));
        assert_eq!(
            ledger.received(&inv, 37, now + Duration::from_secs(60)),
            Charge::Allowed,
            "a minute later the bucket is full again"
        );
    }

    #[test]
    fn a_megabyte_a_minute_exactly() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let inv = NetworkMessage::Inv(Vec::new());
        assert_eq!(ledger.received(&inv, 1_000_000, now), Charge::Allowed);
        assert!(matches!(ledger.received(&inv, 1, now), Charge::Throttle(_)));
        assert_eq!(ledger.received(&inv, 1_000_000, now), Charge::Exceeded);
    }

    #[test]
    fn a_flood_is_dropped_in_the_end() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let ping = NetworkMessage::Ping(1);
        let last = (0..200).map(|_| ledger.received(&ping, 32, now)).last();
        assert_eq!(last, Some(Charge::Exceeded));
    }

    #[test]
    fn a_peer_that_pushes_on_while_it_is_throttled_is_dropped() {
        let mut now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let ping = NetworkMessage::Ping(1);
        let mut throttled = 0;
        loop {
            match ledger.received(&ping, 32, now) {
                Charge::Throttle(wait) => {
                    throttled += 1;
                    // It sends the next one as soon as we read again, and a little before.
                    now += wait.mul_f64(0.99);
                }
                Charge::Exceeded => break,
                _ => {}
            }
        }
        assert_eq!(throttled, MAX_STRIKES);
    }

    #[test]
    fn answers_to_our_questions_are_free_and_only_once() {
        let now = Instant::now();
        let limits = PushLimits {
            messages_per_minute: 1,
            bytes_per_minute: 10,
        };
        let mut ledger = Ledger::new(limits, now);
        let hash = BlockHash::all_zeros();
        ledger.sent(&NetworkMessage::GetData(vec![Inventory::WitnessBlock(
            hash,
        )]));
        ledger.sent(&NetworkMessage::Ping(5));
        let answer = NetworkMessage::NotFound(vec![Inventory::WitnessBlock(hash)]);
        assert_eq!(ledger.received(&answer, 61, now), Charge::Solicited);
        assert_ne!(ledger.received(&answer, 61, now), Charge::Solicited);
        assert_eq!(
            ledger.received(&NetworkMessage::Pong(5), 32, now),
            Charge::Solicited
        );
        assert_ne!(
            ledger.received(&NetworkMessage::Pong(5), 32, now),
            Charge::Solicited
        );
    }

    #[test]
    fn transactions_that_were_asked_for_are_free_and_others_are_not() {
        let now = Instant::now();
        let limits = PushLimits {
            messages_per_minute: 1,
            bytes_per_minute: 10,
        };
        let mut ledger = Ledger::new(limits, now);
        let item = Inventory::WTx(bitcoin::Wtxid::all_zeros());
        ledger.sent(&NetworkMessage::GetData(vec![item, item]));
        let tx = bitcoin::Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        let answer = NetworkMessage::Tx(tx);
        let missing = NetworkMessage::NotFound(vec![item]);
        assert_eq!(ledger.received(&answer, 4_000, now), Charge::Solicited);
        assert_eq!(ledger.received(&missing, 61, now), Charge::Solicited);
        assert_ne!(ledger.received(&answer, 4_000, now), Charge::Solicited);
        assert_ne!(ledger.received(&missing, 61, now), Charge::Solicited);
    }

    #[test]
    fn what_is_refunded_does_not_count() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let headers = NetworkMessage::Headers(Vec::new());
        for _ in 0..1_000 {
            assert_eq!(ledger.received(&headers, 106, now), Charge::Allowed);
            ledger.refund(106);
        }
        for _ in 0..100 {
            assert_eq!(ledger.received(&headers, 106, now), Charge::Allowed);
        }
        assert!(
            matches!(ledger.received(&headers, 106, now), Charge::Throttle(_)),
            "refunds give no more than the limit"
        );
    }

    #[test]
    fn a_block_that_is_asked_for_twice_may_come_twice() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        let items = vec![Inventory::WitnessBlock(BlockHash::all_zeros())];
        let answer = NetworkMessage::NotFound(items.clone());
        ledger.sent(&NetworkMessage::GetData(items.clone()));
        ledger.sent(&NetworkMessage::GetData(items));
        for _ in 0..2 {
            assert_eq!(ledger.received(&answer, 61, now), Charge::Solicited);
        }
        assert_eq!(ledger.received(&answer, 61, now), Charge::Allowed);
        assert_eq!((ledger.blocks.len(), ledger.open_blocks), (0, 0));
    }

    #[test]
    fn a_sync_of_any_size_costs_nothing() {
        let now = Instant::now();
        let mut ledger = Ledger::new(LIMITS, now);
        for _ in 0..10_000 {
            ledger.sent(&NetworkMessage::Ping(0));
            assert_eq!(
                ledger.received(&NetworkMessage::Pong(0), 4_000_000, now),
                Charge::Solicited
            );
        }
    }
}
