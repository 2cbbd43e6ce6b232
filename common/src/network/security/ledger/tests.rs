use bitcoin::hashes::Hash;
use proptest::collection::vec;
use proptest::prelude::*;

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

/// The burst is a minute's share; then both buckets fill by a sixtieth of it in a second, and no faster.
#[test]
fn after_the_burst_a_message_every_600_ms_and_a_byte_every_60_us() {
    let start = Instant::now();
    let inv = NetworkMessage::Inv(Vec::new());
    let mut ledger = Ledger::new(LIMITS, start);
    for _ in 0..100 {
        assert_eq!(ledger.received(&inv, 37, start), Charge::Allowed);
    }
    for nth in 1..1_000 {
        let now = start + Duration::from_millis(600) * nth;
        assert_eq!(ledger.received(&inv, 37, now), Charge::Allowed, "{nth}");
    }
    let early = start + Duration::from_millis(600) * 1_000 - Duration::from_millis(1);
    let Charge::Throttle(wait) = ledger.received(&inv, 37, early) else {
        panic!("a millisecond too early");
    };
    assert!(wait <= Duration::from_millis(1), "{wait:?}");

    let mut ledger = Ledger::new(LIMITS, start);
    let most = ledger.received(&inv, 1_000_000, start);
    assert_eq!(most, Charge::Allowed);
    let second = start + Duration::from_secs(1);
    assert_eq!(ledger.received(&inv, 16_666, second), Charge::Allowed);
    let charge = ledger.received(&inv, 60, second);
    assert!(matches!(charge, Charge::Throttle(_)), "{charge:?}");
}

/// Half a minute of debt is the edge between slower and dropped.
#[test]
fn who_owes_half_a_minute_is_waited_for_and_who_owes_more_is_dropped() {
    let now = Instant::now();
    let inv = NetworkMessage::Inv(Vec::new());
    let charge = |bytes| Ledger::new(LIMITS, now).received(&inv, bytes, now);
    assert_eq!(charge(1_500_000), Charge::Throttle(MAX_THROTTLE));
    assert_eq!(charge(1_500_001), Charge::Exceeded(Offence::InventorySpam));
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

/// Something that nobody asked for.
fn any_push() -> impl Strategy<Value = NetworkMessage> {
    prop_oneof![
        Just(NetworkMessage::Ping(1)),
        Just(NetworkMessage::Inv(Vec::new())),
        Just(NetworkMessage::AddrV2(Vec::new())),
        Just(NetworkMessage::SendHeaders),
    ]
}

/// What the ledger counts by number: a question, its answer, and where its credits are.
type Counted = (NetworkMessage, NetworkMessage, fn(&Ledger) -> usize);

fn counted(kind: usize) -> Counted {
    let block = vec![Inventory::WitnessBlock(BlockHash::all_zeros())];
    let transaction = vec![Inventory::WTx(bitcoin::Wtxid::all_zeros())];
    let all: [Counted; 4] = [
        (NetworkMessage::Ping(1), NetworkMessage::Pong(1), |ledger| {
            ledger.pongs
        }),
        (
            NetworkMessage::GetHeaders(bitcoin::p2p::message_blockdata::GetHeadersMessage::new(
                Vec::new(),
                BlockHash::all_zeros(),
            )),
            NetworkMessage::Headers(Vec::new()),
            |ledger| ledger.headers,
        ),
        (
            NetworkMessage::GetData(block.clone()),
            NetworkMessage::NotFound(block),
            |ledger| ledger.open_blocks,
        ),
        (
            NetworkMessage::GetData(transaction.clone()),
            NetworkMessage::NotFound(transaction),
            |ledger| ledger.transactions,
        ),
    ];
    all[kind].clone()
}

proptest! {
    /// Whether it waits when it is told to or not.
    #[test]
    fn nobody_gets_more_than_the_limits_and_who_keeps_to_them_is_not_slowed_down(
        steps in vec((any_push(), 0_usize..60_000, 0_u64..1_000), 1..400),
        waits in any::<bool>(),
    ) {
        let start = Instant::now();
        let mut ledger = Ledger::new(LIMITS, start);
        let (mut now, mut messages, mut bytes) = (start, 0.0, 0.0);
        for (message, size, pause) in steps {
            now += Duration::from_millis(pause);
            messages += 1.0;
            bytes += size as f64;
            let share = |seconds: f64| {
                let minutes = 1.0 + (now.duration_since(start).as_secs_f64() + seconds) / 60.0;
                messages <= 100.0 * minutes + 1e-6 && bytes <= 1e6 * minutes + 1e-3
            };
            match ledger.received(&message, size, now) {
                Charge::Solicited => prop_assert!(false, "nobody asked for it"),
                Charge::Allowed => prop_assert!(share(0.0)),
                Charge::Throttle(wait) | Charge::Pushing(wait, _) => {
                    prop_assert!(messages > 100.0 || bytes > 1e6);
                    prop_assert!(share(MAX_THROTTLE.as_secs_f64()));
                    if waits {
                        now += wait;
                    }
                }
                Charge::Exceeded(_) => {
                    prop_assert!(messages > 100.0 || bytes > 1e6);
                    break;
                }
            }
        }
    }

    #[test]
    fn as_many_answers_are_free_as_were_asked_for(
        steps in vec((0_usize..4, any::<bool>(), 1_usize..40), 1..200),
    ) {
        let now = Instant::now();
        let limits = PushLimits { messages_per_minute: 1, bytes_per_minute: 1 };
        let mut ledger = Ledger::new(limits, now);
        let mut open = [0; 4];
        for (kind, asks, count) in steps {
            let (question, answer, credits) = counted(kind);
            let most = if kind == 3 { MAX_TRANSACTION_CREDITS } else { MAX_CREDITS };
            for _ in 0..count {
                if asks {
                    ledger.sent(&question);
                    open[kind] = (open[kind] + 1).min(most);
                } else {
                    let free = ledger.received(&answer, 61, now) == Charge::Solicited;
                    prop_assert_eq!(free, open[kind] > 0);
                    open[kind] -= usize::from(free);
                }
                prop_assert_eq!(credits(&ledger), open[kind]);
            }
            prop_assert_eq!(ledger.blocks.len(), usize::from(open[2] > 0));
        }
    }
}
