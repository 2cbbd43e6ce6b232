//! What waits to be sent to a peer, by classes: a ping goes before headers, these before blocks, these before
//! transactions, and addresses come last. After some messages, or one batch of large ones, another class has its turn, so
//! that none waits for ever.
//!
//! All queues are bounded. Answers to what the peer asked for wait for room, and meanwhile nothing more is read from
//! it. News of transactions and addresses that find no room are left out; a peer for whom so much else piles up does not
//! read.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::network::security::ledger::{Ledger, block_hash};

/// Answers that may wait for a peer; while they do, nothing more is read from it. Four is reth's figure: enough to
/// keep the pipe full, at most 16 MB of blocks.
const WAITING_ANSWERS: usize = 4;

/// Every eighth message that leaves is one whose class has its turn, whatever is more urgent: a peer that is sent blocks
/// all day hears of transactions too.
const FAIR_TURN: u32 = 8;

/// What a message is to its receiver, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Pings, questions, settings.
    Control,
    /// Headers, and news of blocks.
    Headers,
    /// Blocks and parts of them.
    Blocks,
    /// Transactions, and news of them.
    Transactions,
    /// Where others are.
    Addresses,
}

impl Class {
    const ALL: [Self; 5] = [
        Self::Control,
        Self::Headers,
        Self::Blocks,
        Self::Transactions,
        Self::Addresses,
    ];

    fn of(message: &NetworkMessage) -> Self {
        match message {
            NetworkMessage::Headers(_) => Self::Headers,
            NetworkMessage::Inv(items) if names_block(items) => Self::Headers,
            // After the answers to what the same question found.
            NetworkMessage::NotFound(items) if names_block(items) => Self::Blocks,
            NetworkMessage::Block(_)
            | NetworkMessage::CmpctBlock(_)
            | NetworkMessage::BlockTxn(_) => Self::Blocks,
            NetworkMessage::Tx(_) | NetworkMessage::Inv(_) | NetworkMessage::NotFound(_) => {
                Self::Transactions
            }
            NetworkMessage::Addr(_) | NetworkMessage::AddrV2(_) => Self::Addresses,
            _ => Self::Control,
        }
    }

    fn of_outgoing(outgoing: &Outgoing) -> Self {
        match outgoing {
            Outgoing::Message(message) => Self::of(message),
            Outgoing::StoredBlock(_) => Self::Blocks,
        }
    }

    /// Whether what finds no room is no loss: others tell it too, or we tell it later.
    fn is_hearsay(self) -> bool {
        matches!(self, Self::Transactions | Self::Addresses)
    }

    /// Messages of the class that may wait. What we send by ourselves is a few messages in a second.
    const fn room(self) -> usize {
        match self {
            Self::Control => 512,
            Self::Headers => 128,
            Self::Blocks => WAITING_ANSWERS,
            Self::Transactions | Self::Addresses => 32,
        }
    }
}

fn names_block(items: &[Inventory]) -> bool {
    items.iter().any(|item| block_hash(item).is_some())
}

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(NetworkMessage),
    /// A block of the chain's files, serialized as it is there: to decode and encode it would cost more than
    /// all else that serving it takes.
    StoredBlock(Vec<u8>),
}

impl From<NetworkMessage> for Outgoing {
    fn from(message: NetworkMessage) -> Self {
        Self::Message(message)
    }
}

/// Something that waits to be sent; an answer keeps its place until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) what: Outgoing,
    place: Place,
}

/// The place of an answer among the [`WAITING_ANSWERS`], which comes free when this is dropped.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

impl Queued {
    /// Gives up what was to be sent, and keeps its place.
    pub(crate) fn into_place(self) -> Place {
        self.place
    }
}

/// Where messages for a peer are put; knows the ledger, so that no question goes out without its credit.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queues: [mpsc::Sender<Queued>; Class::ALL.len()],
    answers: Arc<Semaphore>,
    ledger: Arc<Mutex<Ledger>>,
    overflowed: Arc<AtomicBool>,
}

/// The receiving end of an [`Outbox`].
pub(crate) struct Inbox {
    queues: [mpsc::Receiver<Queued>; Class::ALL.len()],
    /// Messages since the last whose class had its turn.
    since: u32,
    /// The class that has its turn next.
    turn: usize,
}

/// Makes the queues of a connection.
pub(crate) fn outbox(ledger: Ledger) -> (Outbox, Inbox) {
    let channels = Class::ALL.map(|class| mpsc::channel(class.room()));
    let [a, b, c, d, e] = channels;
    let outbox = Outbox {
        queues: [a.0, b.0, c.0, d.0, e.0],
        answers: Arc::new(Semaphore::new(WAITING_ANSWERS)),
        ledger: Arc::new(Mutex::new(ledger)),
        overflowed: Arc::default(),
    };
    let inbox = Inbox {
        queues: [a.1, b.1, c.1, d.1, e.1],
        since: 0,
        turn: Class::ALL.len() - 1,
    };
    (outbox, inbox)
}

impl Outbox {
    /// Queues something of our own without waiting. False when the peer does not read: drop it then.
    pub(crate) fn send(&self, message: NetworkMessage) -> bool {
        let class = Class::of(&message);
        self.with_ledger(|ledger| ledger.sent(&message));
        let queued = Queued {
            what: message.into(),
            place: None,
        };
        match self.queue(class).try_send(queued) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) if class.is_hearsay() => true,
            Err(TrySendError::Full(_)) => {
                self.overflowed.store(true, Ordering::Relaxed);
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Whether there was no room for something that the peer must hear.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Whether news of transactions would be left out.
    pub(crate) fn is_behind(&self) -> bool {
        self.queue(Class::Transactions).capacity() == 0
    }

    /// Queues an answer, waiting for room. False when the connection is over.
    pub(crate) async fn answer(&self, answer: Outgoing) -> bool {
        let class = Class::of_outgoing(&answer);
        let place = tokio::select! {
            place = Arc::clone(&self.answers).acquire_owned() => place.ok(),
            // Nobody takes answers any more, so no place comes free.
            () = self.queue(class).closed() => return false,
        };
        let queued = Queued {
            what: answer,
            place,
        };
        self.queue(class).send(queued).await.is_ok()
    }

    pub(crate) fn with_ledger<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        // The ledger is plain arithmetic; a poisoned lock still holds a whole value.
        f(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn queue(&self, class: Class) -> &mpsc::Sender<Queued> {
        let [control, headers, blocks, transactions, addresses] = &self.queues;
        match class {
            Class::Control => control,
            Class::Headers => headers,
            Class::Blocks => blocks,
            Class::Transactions => transactions,
            Class::Addresses => addresses,
        }
    }
}

impl Inbox {
    /// Waits for what is to be sent next; `None` when all senders are gone.
    pub(crate) async fn next(&mut self) -> Option<Queued> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// What is to be sent next, if there is something already.
    pub(crate) fn try_next(&mut self) -> Option<Queued> {
        self.take(|queue| queue.try_recv().ok())
    }

    /// So much was sent at once that another class has its turn now.
    pub(crate) fn end_of_round(&mut self) {
        self.since = FAIR_TURN - 1;
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Queued>> {
        let mut open = false;
        let next = self.take(|queue| match queue.poll_recv(context) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                open = true;
                None
            }
        });
        if next.is_none() && open {
            return Poll::Pending;
        }
        Poll::Ready(next)
    }

    /// Asks the queues in their order until one gives something; now and then in another order, which begins with each class
    /// in turn.
    fn take(
        &mut self,
        mut ask: impl FnMut(&mut mpsc::Receiver<Queued>) -> Option<Queued>,
    ) -> Option<Queued> {
        let fair = self.since + 1 >= FAIR_TURN;
        let count = self.queues.len();
        let mut order = (0..count).map(|step| match fair {
            // From the class that has its turn towards the urgent ones, and around.
            true => (self.turn + count - step) % count,
            false => step,
        });
        let (index, next) = order.find_map(|index| {
            let queue = self.queues.get_mut(index)?;
            Some((index, ask(queue)?))
        })?;
        if fair {
            self.since = 0;
            self.turn = (index + count - 1) % count;
        } else {
            self.since += 1;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bitcoin::hashes::Hash;
    use bitcoin::{BlockHash, Txid};
    use tokio::time::timeout;

    use super::*;
    use crate::network::security::ledger::PushLimits;

    fn queues() -> (Outbox, Inbox) {
        let limits = PushLimits {
            messages_per_minute: 100,
            bytes_per_minute: 1_000_000,
        };
        outbox(Ledger::new(limits, Instant::now()))
    }

    fn of(class: Class) -> NetworkMessage {
        let message = match class {
            Class::Control => NetworkMessage::Ping(7),
            Class::Headers => NetworkMessage::Headers(Vec::new()),
            Class::Blocks => {
                NetworkMessage::NotFound(vec![Inventory::Block(BlockHash::all_zeros())])
            }
            Class::Transactions => {
                NetworkMessage::Inv(vec![Inventory::Transaction(Txid::all_zeros())])
            }
            Class::Addresses => NetworkMessage::Addr(Vec::new()),
        };
        assert_eq!(Class::of(&message), class);
        message
    }

    fn class(queued: &Queued) -> Class {
        Class::of_outgoing(&queued.what)
    }

    #[test]
    fn the_urgent_goes_first_and_every_eighth_message_is_of_another_class_in_turn() {
        let (outbox, mut inbox) = queues();
        for of_class in Class::ALL.into_iter().rev() {
            for _ in 0..4 {
                assert!(outbox.send(of(of_class)));
            }
        }
        let order: Vec<_> = std::iter::from_fn(|| inbox.try_next())
            .map(|queued| class(&queued) as u8)
            .collect();
        assert_eq!(
            order,
            [0, 0, 0, 0, 1, 1, 1, 4, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4]
        );
    }

    /// Two classes that never run dry take nothing from the others.
    #[tokio::test]
    async fn a_flood_starves_no_other_class() {
        let (outbox, mut inbox) = queues();
        let flood = [Class::Control, Class::Addresses];
        for of_class in flood {
            for _ in 0..of_class.room() {
                assert!(outbox.send(of(of_class)));
            }
        }
        for of_class in [Class::Headers, Class::Blocks, Class::Transactions] {
            assert!(outbox.send(of(of_class)));
        }
        let mut left = Vec::new();
        for _ in 0..5 * FAIR_TURN {
            let next = class(&inbox.next().await.unwrap());
            if !flood.contains(&next) {
                left.push(next);
            }
            for of_class in flood {
                outbox.send(of(of_class));
            }
        }
        assert_eq!(left, [Class::Transactions, Class::Blocks, Class::Headers]);
    }

    /// A peer that loads blocks over a slow line hears of transactions, and is not taken for one that does not read.
    #[tokio::test]
    async fn news_get_through_between_blocks_and_cost_nobody_the_connection() {
        let (outbox, mut inbox) = queues();
        let (mut news, mut blocks) = (0, 0);
        for _ in 0..1_000 {
            let block = outbox.answer(Outgoing::StoredBlock(vec![1]));
            assert!(timeout(Duration::from_secs(5), block).await.unwrap());
            // Several for each block.
            for _ in 0..3 {
                assert!(outbox.send(of(Class::Transactions)));
            }
            match class(&inbox.next().await.unwrap()) {
                Class::Blocks => {
                    blocks += 1;
                    inbox.end_of_round();
                }
                _ => {
                    news += 1;
                    drop(inbox.next().await);
                }
            }
        }
        assert!(blocks >= 300 && news >= 300, "{blocks} {news}");
    }

    #[test]
    fn who_does_not_read_is_found_out_and_hearsay_is_left_out() {
        for of_class in Class::ALL {
            let (outbox, inbox) = queues();
            for _ in 0..of_class.room() {
                assert!(outbox.send(of(of_class)), "{of_class:?}");
            }
            assert_eq!(outbox.send(of(of_class)), of_class.is_hearsay());
            drop(inbox);
            assert!(!outbox.send(of(of_class)), "the connection is over");
        }
    }

    #[tokio::test]
    async fn answers_wait_while_four_are_under_way_and_a_ping_does_not() {
        let (outbox, mut inbox) = queues();
        for n in 0..WAITING_ANSWERS {
            let answer = if n % 2 == 0 {
                Outgoing::StoredBlock(vec![1])
            } else {
                of(Class::Headers).into()
            };
            assert!(outbox.answer(answer).await);
        }
        let fifth = outbox.answer(Outgoing::StoredBlock(vec![5]));
        tokio::pin!(fifth);
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, &mut fifth).await.is_err(), "it waits");
        assert!(outbox.send(of(Class::Control)));
        let ping = inbox.next().await.unwrap();
        assert_eq!(class(&ping), Class::Control);
        let first = inbox.next().await.unwrap();
        assert!(timeout(soon, &mut fifth).await.is_err(), "it is being sent");
        drop(first);
        assert!(fifth.await, "it has been sent");
    }

    #[tokio::test]
    async fn an_answer_ends_with_the_connection() {
        let (outbox, inbox) = queues();
        for _ in 0..WAITING_ANSWERS {
            assert!(outbox.answer(Outgoing::StoredBlock(vec![1])).await);
        }
        let fifth = outbox.answer(Outgoing::StoredBlock(vec![5]));
        let (queued, ()) = tokio::join!(fifth, async { drop(inbox) });
        assert!(!queued);
    }

    #[tokio::test]
    async fn it_ends_when_all_senders_are_gone() {
        let (outbox, mut inbox) = queues();
        outbox.send(of(Class::Control));
        drop(outbox);
        assert!(inbox.next().await.is_some());
        assert!(inbox.next().await.is_none());
    }

    #[test]
    fn news_of_a_block_are_not_news_of_a_transaction() {
        let block = Inventory::Block(BlockHash::all_zeros());
        assert_eq!(Class::of(&NetworkMessage::Inv(vec![block])), Class::Headers);
    }
}
