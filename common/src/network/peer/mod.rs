//! One peer: [`establish`](session::establish) makes a session of a TCP stream, [`actor`] runs it, and a
//! [`PeerHandle`] is all that the hub holds of it.
//!
//! The actor answers what needs no common state (ping, getheaders, getdata) by itself, and passes the rest
//! to the hub through a bounded channel: a peer that sends faster than we work is read more slowly.

pub(crate) mod actor;
pub(crate) mod claims;
mod compact;
pub(crate) mod outbox;
pub(crate) mod pace;
mod serve;
pub(crate) mod session;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::outbox::Outbox;
use self::pace::Pace;
use crate::network::protocol::version::{Direction, PeerVersion};
use crate::transport::RemoteIdentity;

/// Names a connection for as long as the process runs; never used twice.
pub(crate) type PeerId = u64;

/// Who sent something: enough to hold it against its sender when the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
}

/// What the peer moved, for status and metrics.
#[derive(Debug, Default)]
pub(crate) struct PeerStats {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Microseconds of the last ping's round trip; 0 before the first.
    pub(crate) ping_us: AtomicU64,
    /// The shortest of all.
    pub(crate) min_ping_us: AtomicU64,
}

impl PeerStats {
    pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A ping was answered. Only the connection's reader calls this.
    pub(crate) fn note_ping(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.ping_us.store(micros, Ordering::Relaxed);
        let least = self.min_ping_us.load(Ordering::Relaxed);
        if least == 0 || micros < least {
            self.min_ping_us.store(micros, Ordering::Relaxed);
        }
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
    pub(crate) pace: Pace,
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
