//! What the manager is told, and what it says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// A moment, by both clocks: the one that only goes forward, and the one that files and messages know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For pauses.
    pub at: Instant,
    /// Unix seconds.
    pub unix: u64,
}

/// What a connection that we open is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Blocks, transactions and addresses.
    Full,
    /// Blocks alone: whoever watches how transactions and addresses spread learns nothing of it, and so can't cut the node off
    /// by attacking the peers that he has found (Bitcoin Core's block-relay-only connections).
    BlockOnly,
    /// Only to see who is there.
    Feeler,
}

impl Purpose {
    /// As status says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::BlockOnly => "block_only",
            Self::Feeler => "feeler",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Dial this address; [`super::Connections::established`] or [`super::Connections::failed`] hears how it went.
    Dial(SocketAddr, Purpose),
    /// End the connection to this address.
    HangUp(SocketAddr, &'static str),
    /// Ask the DNS seeds; [`super::Connections::dns_answered`] hears when that is over.
    AskDns,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Our own identity was proven to us there.
    Ourselves,
    /// A connection to the same node stands.
    SameNode,
    /// By TLS, and the node there speaks Noise.
    Downgraded,
    /// It did not answer to the key that it had.
    KeyUnanswered,
    /// Anything else.
    Unreachable,
}

/// What the manager asks about others while it decides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Whether a host is not to be dialled.
    pub banned: &'a dyn Fn(SocketAddr) -> bool,
    /// Whether a peer is about to give us what we asked it for.
    pub busy: &'a dyn Fn(SocketAddr) -> bool,
}

/// The numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Full connections to keep, manual peers among them; with 0 nobody is dialled but manual peers.
    pub full: usize,
    /// Block-only connections to keep.
    pub block_only: usize,
    /// Pause between two feelers.
    pub feeler_every: Duration,
    /// Mean pause between looks for a better chain elsewhere, by one more block-only connection.
    pub look_around_every: Duration,
    /// With no new block for so long one more full connection is made.
    pub stale_after: Duration,
    /// How long DNS is given before the bootstrap nodes are tried.
    pub bootstrap_after: Duration,
    /// Dialled when DNS gives nothing.
    pub bootstrap_nodes: Vec<SocketAddr>,
    /// Whether there are seeds to ask.
    pub asks_dns: bool,
}
