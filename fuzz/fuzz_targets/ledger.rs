//! The ledger of one peer against any sequence of questions, answers and pushes: nothing is free that was not asked for,
//! nobody is slowed down within the limits, and nobody gets more than they allow before he is dropped.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn};
use bitcoin::transaction::Version as TxVersion;
use bitcoin::{Block, BlockHash, CompactTarget, Transaction, TxMerkleNode, Wtxid};
use libfuzzer_sys::fuzz_target;
use quantumcoin::network::protocol::transactions::MAX_IN_FLIGHT;
use quantumcoin::network::security::ledger::{Charge, Ledger, MAX_THROTTLE, PushLimits};
use quantumcoin::network::security::offence::Offence;
use quantumcoin_fuzz::Script;

/// Questions of one kind that count at a time, as the library has it.
const MAX_CREDITS: usize = 4_096;

/// Room for what `f64` rounds.
const ROUNDING: f64 = 1e-3;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let (Some([messages, patient]), Some(kib)) = (script.bytes(), script.u8()) else {
        return;
    };
    let limits = PushLimits {
        messages_per_minute: u32::from(messages) + 1,
        bytes_per_minute: (u64::from(kib) + 1) * 1_024,
    };
    let mut peer = Peer::new(limits, patient & 1 == 1);
    while let Some([what, which]) = script.bytes() {
        let (Some(size), Some(pause)) = (script.u16(), script.u16()) else {
            break;
        };
        peer.now += Duration::from_millis(u64::from(pause));
        if what & 1 == 0 {
            peer.is_asked(what >> 1, which, size);
        } else if !peer.says(what >> 1, which, usize::from(size)) {
            break;
        }
    }
});

/// A ledger, and what it must have counted.
struct Peer {
    ledger: Ledger,
    limits: PushLimits,
    /// It waits when it is told to.
    patient: bool,
    start: Instant,
    now: Instant,
    /// Open questions of each kind, or more.
    open: [usize; 5],
    pushed: Amount,
    refunded: Amount,
}

#[derive(Default)]
struct Amount {
    messages: usize,
    bytes: usize,
}

/// A kind of question.
#[derive(Clone, Copy)]
enum Kind {
    Headers,
    Addresses,
    Pongs,
    Transactions,
    Blocks,
}

impl Kind {
    /// Most questions that are open at a time.
    fn most(self) -> usize {
        match self {
            Self::Transactions => 2 * MAX_IN_FLIGHT,
            _ => MAX_CREDITS,
        }
    }
}

impl Peer {
    fn new(limits: PushLimits, patient: bool) -> Self {
        let start = Instant::now();
        Self {
            ledger: Ledger::new(limits, start),
            limits,
            patient,
            start,
            now: start,
            open: [0; 5],
            pushed: Amount::default(),
            refunded: Amount::default(),
        }
    }

    fn is_asked(&mut self, what: u8, which: u8, size: u16) {
        let count = usize::from(size) % 512;
        let (message, kind, asked) = question(what, which, count);
        self.ledger.sent(&message);
        let open = &mut self.open[kind as usize];
        *open = (*open + asked).min(kind.most());
    }

    /// False when it is dropped.
    fn says(&mut self, what: u8, which: u8, size: usize) -> bool {
        let (message, answers) = message(what, which);
        let charge = self.ledger.received(&message, size, self.now);
        if charge == Charge::Solicited {
            for (kind, count) in answers.into_iter().flatten() {
                let open = &mut self.open[kind as usize];
                assert!(*open >= count, "nobody asked for that");
                *open -= count;
            }
            return true;
        }
        assert!(!is_question(&message), "back-pressure is for those");
        self.pushed.messages += 1;
        self.pushed.bytes += size;
        let within = self.within(0.0);
        match charge {
            Charge::Allowed => assert!(within),
            Charge::Throttle(wait) | Charge::Pushing(wait, _) => {
                assert!(!self.within_burst(), "slowed down within the limits");
                assert!(wait <= MAX_THROTTLE && self.within(MAX_THROTTLE.as_secs_f64()));
                if self.patient {
                    self.now += wait;
                }
            }
            Charge::Exceeded(offence) => {
                assert!(!self.within_burst(), "dropped within the limits");
                let flood = matches!(
                    offence,
                    Offence::MessageFlood
                        | Offence::PingFlood
                        | Offence::AddressSpam
                        | Offence::InventorySpam
                );
                assert!(flood);
                return false;
            }
            Charge::Solicited => unreachable!("handled above"),
        }
        // Only what is useful is given back, and only what was charged.
        if matches!(message, NetworkMessage::Headers(_)) && which & 1 == 1 {
            self.ledger.refund(size);
            self.refunded.messages += 1;
            self.refunded.bytes += size;
        }
        true
    }

    /// Whether all that was pushed is no more than the limits allow until `debt` seconds from now.
    fn within(&self, debt: f64) -> bool {
        let minutes = 1.0 + ((self.now - self.start).as_secs_f64() + debt) / 60.0;
        let is_within = |pushed: usize, refunded: usize, limit: f64| {
            pushed as f64 <= refunded as f64 + limit * minutes + ROUNDING
        };
        let Self {
            pushed,
            refunded,
            limits,
            ..
        } = self;
        is_within(
            pushed.messages,
            refunded.messages,
            f64::from(limits.messages_per_minute),
        ) && is_within(pushed.bytes, refunded.bytes, limits.bytes_per_minute as f64)
    }

    /// Whether it is no more than what may come at once.
    fn within_burst(&self) -> bool {
        self.pushed.messages <= self.limits.messages_per_minute as usize
            && self.pushed.bytes as u64 <= self.limits.bytes_per_minute
    }
}

fn is_question(message: &NetworkMessage) -> bool {
    matches!(
        message,
        NetworkMessage::GetHeaders(_) | NetworkMessage::GetData(_) | NetworkMessage::GetBlockTxn(_)
    )
}

/// A message of ours, and how many questions of which kind it asks.
fn question(what: u8, which: u8, count: usize) -> (NetworkMessage, Kind, usize) {
    let block = hash(which);
    match what % 8 {
        0 => (get_headers(), Kind::Headers, 1),
        1 => (NetworkMessage::GetAddr, Kind::Addresses, 1),
        2 => (NetworkMessage::Ping(1), Kind::Pongs, 1),
        3 => {
            let item = Inventory::WTx(Wtxid::all_zeros());
            let items = vec![item; count];
            (NetworkMessage::GetData(items), Kind::Transactions, count)
        }
        4 => (get_block_txn(block), Kind::Blocks, 1),
        form => {
            let item = if form == 5 {
                Inventory::CompactBlock
            } else {
                Inventory::WitnessBlock
            };
            let items = (0..count).map(|n| item(hash((n % 256) as u8 ^ which)));
            (
                NetworkMessage::GetData(items.collect()),
                Kind::Blocks,
                count,
            )
        }
    }
}

/// What a message answers, if it comes free.
type Answers = [Option<(Kind, usize)>; 2];

/// A message of the peer's, and what it answers.
fn message(what: u8, which: u8) -> (NetworkMessage, Answers) {
    let block = hash(which);
    let one = |kind| [Some((kind, 1)), None];
    let blocks = one(Kind::Blocks);
    match what % 16 {
        0 => (NetworkMessage::Headers(Vec::new()), one(Kind::Headers)),
        1 => (
            NetworkMessage::AddrV2(vec![address(); 2]),
            one(Kind::Addresses),
        ),
        2 => (NetworkMessage::AddrV2(vec![address()]), [None; 2]),
        3 => (NetworkMessage::Pong(1), one(Kind::Pongs)),
        4 => (NetworkMessage::Tx(transaction()), one(Kind::Transactions)),
        5 => {
            let compact_block = HeaderAndShortIds {
                header: header(which),
                nonce: 1,
                short_ids: Vec::new(),
                prefilled_txs: Vec::new(),
            };
            (
                NetworkMessage::CmpctBlock(CmpctBlock { compact_block }),
                blocks,
            )
        }
        6 => {
            let transactions = BlockTransactions {
                block_hash: block,
                transactions: Vec::new(),
            };
            (NetworkMessage::BlockTxn(BlockTxn { transactions }), blocks)
        }
        7 => {
            let block = Block {
                header: header(which),
                txdata: Vec::new(),
            };
            (NetworkMessage::Block(block), blocks)
        }
        8 => not_found(block, usize::from(which % 4), usize::from(which / 4 % 4)),
        9 => (get_headers(), [None; 2]),
        10 => {
            let item = Inventory::WitnessBlock(block);
            (NetworkMessage::GetData(vec![item]), [None; 2])
        }
        11 => (get_block_txn(block), [None; 2]),
        12 => (NetworkMessage::Ping(1), [None; 2]),
        13 => (NetworkMessage::Inv(Vec::new()), [None; 2]),
        14 => (NetworkMessage::GetAddr, [None; 2]),
        _ => (NetworkMessage::SendHeaders, [None; 2]),
    }
}

fn not_found(block: BlockHash, blocks: usize, transactions: usize) -> (NetworkMessage, Answers) {
    let mut items = vec![Inventory::CompactBlock(block); blocks];
    items.resize(blocks + transactions, Inventory::WTx(Wtxid::all_zeros()));
    let answers = [
        Some((Kind::Blocks, blocks)),
        Some((Kind::Transactions, transactions)),
    ];
    (NetworkMessage::NotFound(items), answers)
}

fn get_headers() -> NetworkMessage {
    NetworkMessage::GetHeaders(GetHeadersMessage::new(Vec::new(), BlockHash::all_zeros()))
}

fn get_block_txn(block_hash: BlockHash) -> NetworkMessage {
    let txs_request = BlockTransactionsRequest {
        block_hash,
        indexes: vec![0],
    };
    NetworkMessage::GetBlockTxn(GetBlockTxn { txs_request })
}

fn address() -> AddrV2Message {
    AddrV2Message {
        time: 1,
        services: ServiceFlags::NONE,
        addr: AddrV2::Ipv4([9, 9, 9, 9].into()),
        port: 8_333,
    }
}

fn transaction() -> Transaction {
    Transaction {
        version: TxVersion::TWO,
        lock_time: LockTime::ZERO,
        input: Vec::new(),
        output: Vec::new(),
    }
}

fn header(nonce: u8) -> Header {
    Header {
        version: Version::ONE,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 0,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: u32::from(nonce),
    }
}

/// Of [`header`]; made once, since hashing is slow under the sanitizer.
fn hash(nonce: u8) -> BlockHash {
    static HASHES: LazyLock<Vec<BlockHash>> = LazyLock::new(|| {
        (0..=u8::MAX)
            .map(|nonce| header(nonce).block_hash())
            .collect()
    });
    HASHES[usize::from(nonce)]
}
