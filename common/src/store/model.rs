//! What is written to the store, and the few rows that come back as they are.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::{Ban, Churn};
use crate::reachability::census::{Latencies, Share, Trait};
use crate::reachability::overlay::PeerAddress;
use crate::reachability::{GoodPolicy, Netgroup, Outcome, Place, Stage, Transports};

/// Most characters of a user agent that are kept; a longer one is cut.
pub const USER_AGENT_CHARS: usize = 256;

/// One finished probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRecord {
    /// Who was probed.
    pub addr: SocketAddr,
    /// When it ended, Unix seconds.
    pub at: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// How far it came.
    pub stage: Stage,
    /// How long it took, milliseconds.
    pub duration_ms: u32,
    /// When the next visit is due, Unix seconds.
    pub next_due: i64,
    /// Failures in a row, this probe included.
    pub failures: u32,
    /// What the peer said, as far as the probe came.
    pub observed: Observation,
    /// How often others told of its address since that was last written.
    pub heard: Heard,
}

/// How often an address was told, without each time being written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// How many times.
    pub times: u32,
    /// When it was told last, Unix seconds.
    pub at: i64,
    /// Netgroups of those who told it, as bits ([`teller_bit`]).
    pub told_by: u32,
}

/// The bit of somebody who tells of an address: one for each 32nd of all netgroups, so that a bitmap's ones are no more
/// than the netgroups that told, and as many where they are few.
pub fn teller_bit(teller: Netgroup) -> u32 {
    let group = teller.to_string();
    // FNV-1a (Fowler, Noll, Vo): the same on every machine and in every version, since it is stored.
    let hash = group.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1 << (hash >> 59)
}

/// What a probe learnt. `None` means that it did not come so far; the store then keeps what it had, except
/// for `proved_height`, which a failed proof clears.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// Service bits.
    pub services: Option<u64>,
    /// Protocol version.
    pub protocol_version: Option<u32>,
    /// User agent; cut to [`USER_AGENT_CHARS`] when stored.
    pub user_agent: Option<String>,
    /// Claimed height, blocks.
    pub start_height: Option<i32>,
    /// Height up to which headers proved our chain, blocks.
    pub proved_height: Option<u32>,
    /// Whether it wants transactions.
    pub relay: Option<bool>,
    /// Its clock minus ours, seconds.
    pub clock_offset_secs: Option<i64>,
    /// Transports it spoke.
    pub transports: Option<Transports>,
    /// Its proven node id.
    pub node_id: Option<[u8; 32]>,
    /// TCP connect, milliseconds.
    pub connect_ms: Option<u32>,
    /// Secure handshake, milliseconds.
    pub secure_ms: Option<u32>,
    /// Ping round trip, milliseconds.
    pub ping_ms: Option<u32>,
    /// Addresses that it told in answer to `getaddr`.
    pub told_addresses: Option<u32>,
    /// Where its address is; what is not known of it is not kept either.
    pub place: Option<Place>,
}

/// An address that somebody told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The address. A name is written down with it.
    pub address: PeerAddress,
    /// When we heard of it, Unix seconds.
    pub at: i64,
    /// Who told: `dns:NAME`, `bootstrap`, `manual` or `peer:ADDR`.
    pub source: String,
    /// How many times.
    pub times: u32,
    /// Netgroups of those who told it, as bits ([`teller_bit`]); 0 where nobody of the network did.
    pub told_by: u32,
    /// First visit if the address is new, Unix seconds; a known one keeps its own.
    pub next_due: i64,
}

/// The network's size at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSample {
    /// When, Unix seconds.
    pub at: i64,
    /// Known addresses.
    pub known: u64,
    /// Addresses that accepted a connection lately.
    pub reachable: u64,
    /// Good peers.
    pub good: u64,
    /// Median height of the good peers, blocks.
    pub height: Option<u32>,
}

/// What the good peers are like at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// When, Unix seconds.
    pub at: i64,
    /// By each trait, the most frequent values.
    pub shares: Vec<(Trait, Vec<Share>)>,
    /// How long they let one wait.
    pub latencies: Latencies,
}

/// One run of the crawler; written again with the same start to bring it up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrawlRun {
    /// `once` or `run`.
    pub kind: &'static str,
    /// Start, Unix seconds; names the run.
    pub started_at: i64,
    /// End, Unix seconds; `None` while it runs.
    pub ended_at: Option<i64>,
    /// Probes so far.
    pub probes: u64,
    /// Those that passed.
    pub passed: u64,
}

/// Something worth an operator's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, Unix seconds.
    pub at: i64,
    /// Stable kind, e.g. `local_network_down`.
    pub kind: &'static str,
    /// An address, or empty.
    pub subject: String,
    /// In words.
    pub detail: String,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A finished probe.
    Probe(Box<ProbeRecord>),
    /// An address that we heard of.
    Sighting(Sighting),
    /// An address to be forgotten with all that is known about it.
    Forget(SocketAddr),
    /// Somebody asks at this time (Unix seconds) for this address to be visited at once.
    RequestVisit(SocketAddr, i64),
    /// The crawler has taken such a request up.
    VisitTaken(SocketAddr),
    /// A network that is banned from now on, or longer or shorter than before.
    Ban(Ban),
    /// The thresholds of a good peer from now on.
    Policy(GoodPolicy),
    /// A ban that is lifted.
    Unban(IpNet),
    /// The network's size.
    Network(NetworkSample),
    /// What the good peers are like.
    Census(Box<Census>),
    /// Who came and went on a day.
    Churn(Churn),
    /// The name of an autonomous system.
    System(u32, String),
    /// An event.
    Event(Event),
    /// The state of a run of the crawler.
    Crawl(CrawlRun),
    /// Our own network went down at this time (Unix seconds), or came back (`None`).
    Frozen(Option<i64>),
}

/// An address as the due queue needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAddress {
    /// The address.
    pub addr: SocketAddr,
    /// Next visit, Unix seconds.
    pub next_due: i64,
    /// Failures in a row.
    pub failures: u32,
    /// Last probe that passed, Unix seconds.
    pub last_ok_at: Option<i64>,
    /// When it last answered `getaddr`, Unix seconds.
    pub told_addresses_at: Option<i64>,
    /// Whether the last probe that counted passed.
    pub last_ok: bool,
    /// Whether it was ever probed.
    pub tried: bool,
}
