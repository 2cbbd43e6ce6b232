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
    let far_over = ledger.received(&inv, 1_000_000, now);
    assert_eq!(far_over, Charge::Exceeded(Offence::InventorySpam));
}

#[test]
fn a_flood_is_dropped_in_the_end() {
    let now = Instant::now();
    let mut ledger = Ledger::new(LIMITS, now);
    let ping = NetworkMessage::Ping(1);
    let last = (0..200).map(|_| ledger.received(&ping, 32, now)).last();
    assert_eq!(last, Some(Charge::Exceeded(Offence::PingFlood)));
}

#[test]
fn a_peer_that_pushes_on_while_it_is_throttled_is_dropped() {
    let mut now = Instant::now();
    let mut ledger = Ledger::new(LIMITS, now);
    let ping = NetworkMessage::Ping(1);
    let mut throttled = 0;
    loop {
        match ledger.received(&ping, 32, now) {
            Charge::Throttle(wait) | Charge::Pushing(wait, Offence::PingFlood) => {
                throttled += 1;
                // It sends the next one as soon as we read again, and a little before.
                now += wait.mul_f64(0.99);
            }
            Charge::Exceeded(Offence::PingFlood) => break,
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

    let mut ledger = Ledger::new(limits, now);
    ledger.sent(&NetworkMessage::GetData(vec![item; 1_000]));
    let too_large = MAX_FREE_TRANSACTION + 1;
    assert_ne!(ledger.received(&answer, too_large, now), Charge::Solicited);
    for _ in 1..MAX_TRANSACTION_CREDITS {
        assert_eq!(ledger.received(&answer, 4_000, now), Charge::Solicited);
    }
    assert_ne!(ledger.received(&answer, 4_000, now), Charge::Solicited);
}

#[test]
fn a_block_that_is_asked_for_comes_once_in_each_form_that_it_leads_to() {
    use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
    use bitcoin::p2p::message_compact_blocks::{BlockTxn, CmpctBlock, GetBlockTxn};

    let now = Instant::now();
    let limits = PushLimits {
        messages_per_minute: 1,
        bytes_per_minute: 10,
    };
    let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let block_hash = block.block_hash();
    let compact_block = HeaderAndShortIds::from_block(&block, 1, 2, &[]).unwrap();
    let compact = NetworkMessage::CmpctBlock(CmpctBlock { compact_block });
    let whole = NetworkMessage::Block(block);
    let rest = NetworkMessage::BlockTxn(BlockTxn {
        transactions: BlockTransactions {
            block_hash,
            transactions: Vec::new(),
        },
    });
    let ask_rest = NetworkMessage::GetBlockTxn(GetBlockTxn {
        txs_request: BlockTransactionsRequest {
            block_hash,
            indexes: vec![0],
        },
    });
    let ask_compact = NetworkMessage::GetData(vec![Inventory::CompactBlock(block_hash)]);
    let ask_whole = NetworkMessage::GetData(vec![Inventory::WitnessBlock(block_hash)]);
    let is_free = |ledger: &mut Ledger, message| {
        ledger.received(message, 4_000_000, now) == Charge::Solicited
    };

    let mut ledger = Ledger::new(limits, now);
    ledger.sent(&ask_whole);
    assert!(!is_free(&mut ledger, &compact) && !is_free(&mut ledger, &rest));
    assert!(is_free(&mut ledger, &whole) && !is_free(&mut ledger, &whole));
    ledger.sent(&ask_compact);
    assert!(!is_free(&mut ledger, &rest), "nobody asked for that yet");
    assert!(is_free(&mut ledger, &compact));
    ledger.sent(&ask_rest);
    assert!(!is_free(&mut ledger, &compact), "it does not begin again");
    assert!(is_free(&mut ledger, &rest));
    ledger.sent(&ask_whole);
    assert!(!is_free(&mut ledger, &compact) && !is_free(&mut ledger, &rest));
    assert!(is_free(&mut ledger, &whole));
    assert_eq!((ledger.blocks.len(), ledger.open_blocks), (0, 0));
    // An old block comes whole instead.
    for question in [&ask_compact, &ask_rest] {
        ledger.sent(question);
        assert!(is_free(&mut ledger, &whole));
    }
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
