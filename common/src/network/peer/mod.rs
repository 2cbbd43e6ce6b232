//! One peer: [`establish`](session::establish) makes a session of a TCP stream, [`actor`] runs it, and a
//! [`PeerHandle`] is all that the hub holds of it.
//!
//! The actor answers what needs no common state (ping, getheaders, getdata) by itself, and passes the rest
//! to the hub through a bounded channel: a peer that sends faster than we work is read more slowly.

pub(crate) mod actor;
pub(crate) mod claims;
mod compact;
mod serve;
pub(crate) mod session;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bitcoin::p2p::message::NetworkMessage;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::network::protocol::version::{Direction, PeerVersion};
use crate::network::security::ledger::Ledger;
use crate::transport::RemoteIdentity;

/// Names a connection for as long as the process runs; never used twice.
pub(crate) type PeerId = u64;

/// Who sent something: enough to hold it against its sender when the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
}

/// Small messages that may wait for a peer. A peer that lets so many pile up does not read and is dropped.
pub(crate) const CONTROL_QUEUE: usize = 512;

/// Large answers that may wait for a peer; while they do, nothing more is read from it. Four is reth's
/// figure: enough to keep the pipe full, at most 16 MB of blocks.
pub(crate) const BULK_QUEUE: usize = 4;

/// A large answer.
#[derive(Debug)]
pub(crate) enum Bulk {
    Message(NetworkMessage),
    /// A block of the chain's files, serialized as it is there: to decode and encode it would cost more than
    /// all else that serving it takes.
    StoredBlock(Vec<u8>),
}

impl From<NetworkMessage> for Bulk {
    fn from(message: NetworkMessage) -> Self {
        Self::Message(message)
    }
}

/// What the peer moved, for status and metrics.
#[derive(Debug, Default)]
pub(crate) struct PeerStats {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Microseconds of the last ping's round trip; 0 before the first.
    pub(crate) ping_us: AtomicU64,
}

impl PeerStats {
    pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The hub's end of a connection. Cancelling `stop` ends it.
#[derive(Debug)]
pub(crate) struct PeerHandle {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    pub(crate) remote: RemoteIdentity,
    pub(crate) version: PeerVersion,
    pub(crate) since: Instant,
    pub(crate) stats: Arc<PeerStats>,
    /// Bytes that have arrived of the message under way.
    pub(crate) arriving: Arc<AtomicU64>,
    pub(crate) outbox: Outbox,
    pub(crate) stop: CancellationToken,
}

impl PeerHandle {
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            id: self.id,
            addr: self.addr,
        }
    }
}

/// Where messages for a peer are put; knows the ledger, so that no question goes out without its credit.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    control: mpsc::Sender<NetworkMessage>,
    bulk: mpsc::Sender<Bulk>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Outbox {
    /// Queues a small message without waiting. False when the peer does not read: drop it then.
    pub(crate) fn send(&self, message: NetworkMessage) -> bool {
        self.note(&message);
        self.control.try_send(message).is_ok()
    }

    /// Queues a large answer, waiting for room. False when the connection is over.
    pub(crate) async fn send_bulk(&self, answer: Bulk) -> bool {
        self.bulk.send(answer).await.is_ok()
    }

    pub(crate) fn with_ledger<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        // The ledger is plain arithmetic; a poisoned lock still holds a whole value.
        f(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, message: &NetworkMessage) {
        self.with_ledger(|ledger| ledger.sent(message));
    }
}
