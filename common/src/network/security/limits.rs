//! Connection limits: 3 per address, 10 per subnet, 125 in all (the chain spec's numbers).
//!
//! An IPv6 host owns a whole /64, so the /64 is its address here; IPv4-mapped IPv6 is IPv4.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::arrivals::Arrivals;
use super::handshakes::{Grant, HandshakeBudget};

/// Inbound connections that may be in their handshakes at once: more than the budget lets begin within `STALLED`, and
/// those that wait for it. Each holds 5 to 11 KiB (docs/benchmarks.md), so a crowd of slow ones holds 14 MiB at most.
pub const MAX_PENDING_HANDSHAKES: usize = 1_280;

/// Handshakes in progress from one subnet, where the chain spec lets it have so many connections: of a devnet all nodes
/// are in one.
pub const MAX_PENDING_PER_SUBNET: usize = 32;

/// When others want its place, a handshake that was begun so long ago has to go: an honest one takes three round trips,
/// which even by satellite are shorter.
const STALLED: Duration = Duration::from_secs(2);

/// How long a handshake from a quiet subnet waits for room in the budget: with the handshake itself about two seconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it asks: in that time the budget fills by four.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// So many handshakes at a time from one subnet are more than neighbours have who start at the same time by chance.
const SEVERAL: usize = 4;

/// How many wait at a time; asking is work too.
const MAX_WAITING: usize = 128;

/// Connections past their handshakes beyond the limit: those of which is not decided yet who has to go for them
/// ([`super::eviction`]), which takes moments.
const UNDECIDED: usize = 8;

/// The numbers, from the chain spec and the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Inbound connections in all.
    pub inbound: usize,
    /// Inbound connections of one IPv4 address or IPv6 /64.
    pub per_ip: usize,
    /// Inbound connections of one IPv4 /24 or IPv6 /48.
    pub per_subnet: usize,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// All inbound slots are taken.
    #[error("all inbound slots are taken")]
    Full,
    /// The address has its share.
    #[error("too many connections from this address")]
    PerIp,
    /// The subnet has its share.
    #[error("too many connections from this subnet")]
    PerSubnet,
    /// The address or its subnet opens one connection after the other.
    #[error("too many connections from this address or subnet in a short time")]
    Rate,
    /// Too many handshakes are in progress.
    #[error("too many handshakes in progress")]
    Handshakes,
    /// Others wanted its place before its handshake was over.
    #[error("not done while others wanted its place")]
    Evicted,
    /// The address is banned.
    #[error("banned")]
    Banned,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::PerIp,
        Self::PerSubnet,
        Self::Rate,
        Self::Handshakes,
        Self::Evicted,
        Self::Banned,
    ];

    /// Bounded label for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PerIp => "per_ip",
            Self::PerSubnet => "per_subnet",
            Self::Rate => "rate",
            Self::Handshakes => "handshakes",
            Self::Evicted => "evicted",
            Self::Banned => "banned",
        }
    }
}

/// The address that limits and bans count: IPv4, or the /64 of IPv6.
pub fn host_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// The subnet that limits count: IPv4 /24, IPv6 /48.
pub fn subnet_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & (u32::MAX << 8)).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 80)).into()),
    }
}

/// Counts the inbound connections that stand. Cloning shares the counts.
#[derive(Debug, Clone)]
pub struct Admission {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug)]
struct Counts {
    /// Connections past their handshakes.
    established: usize,
    /// Those in their handshakes, the oldest first.
    pending: BTreeMap<u64, Pending>,
    next: u64,
    per_ip: HashMap<IpAddr, usize>,
    per_subnet: HashMap<IpAddr, usize>,
    pending_per_subnet: HashMap<IpAddr, usize>,
    arrivals: Arrivals,
    budget: HandshakeBudget,
    /// Pending ones that wait for the budget.
    waiting: usize,
}

/// A connection in its handshake.
#[derive(Debug)]
struct Pending {
    ip: IpAddr,
    subnet: IpAddr,
    stage: Stage,
    evicted: CancellationToken,
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not said yet what an honest one says at once.
    Mute,
    /// It has, and waits for room in the budget.
    Waiting,
    /// It has, and is not let begin.
    Refused,
    /// It was begun.
    Begun(Instant),
}

/// One taken slot; dropping it gives it back. It starts in the handshake.
#[derive(Debug)]
pub struct Slot {
    counts: Arc<Mutex<Counts>>,
    inbound: usize,
    ip: IpAddr,
    pending: Option<u64>,
    evicted: CancellationToken,
}

/// Asked before work is put into a handshake.
#[derive(Debug, Clone)]
pub struct HandshakeGate {
    counts: Arc<Mutex<Counts>>,
    pending: Option<u64>,
}

impl Admission {
    /// No connection stands yet.
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let counts = Counts {
            established: 0,
            pending: BTreeMap::new(),
            next: 0,
            per_ip: HashMap::new(),
            per_subnet: HashMap::new(),
            pending_per_subnet: HashMap::new(),
            arrivals: Arrivals::new(limits.per_ip, limits.per_subnet, now),
            budget: HandshakeBudget::new(now),
            waiting: 0,
        };
        Self {
            limits,
            counts: Arc::new(Mutex::new(counts)),
        }
    }

    /// Takes a slot for a connection from `ip`. When too many are in their handshakes, the oldest of those that have said
    /// nothing yet has to go: an honest one speaks at once. With none of those, the oldest, if it has stalled; and then one
    /// of a subnet that has several.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub fn admit(&self, ip: IpAddr, now: Instant) -> Result<Slot, Refusal> {
        let mut counts = lock(&self.counts);
        let (host, subnet) = (host_key(ip), subnet_key(ip));
        let of = |map: &HashMap<IpAddr, usize>, key| map.get(key).copied().unwrap_or(0);
        if of(&counts.per_ip, &host) >= self.limits.per_ip {
            return Err(Refusal::PerIp);
        }
        if !counts.arrivals.admit(host, subnet, now) {
            return Err(Refusal::Rate);
        }
        if of(&counts.per_subnet, &subnet) >= self.limits.per_subnet {
            return Err(Refusal::PerSubnet);
        }
        if counts.established >= self.limits.inbound + UNDECIDED {
            return Err(Refusal::Full);
        }
        if of(&counts.pending_per_subnet, &subnet) >= MAX_PENDING_PER_SUBNET {
            return Err(Refusal::Handshakes);
        }
        if counts.pending.len() >= MAX_PENDING_HANDSHAKES
            && !counts.evict_mute()
            && !counts.evict_stalled(now)
            && !counts.evict_crowded(subnet)
        {
            return Err(Refusal::Handshakes);
        }
        let evicted = CancellationToken::new();
        let pending = Pending {
            ip,
            subnet,
            stage: Stage::Mute,
            evicted: evicted.clone(),
        };
        let id = counts.next;
        counts.next += 1;
        counts.pending.insert(id, pending);
        *counts.per_ip.entry(host).or_default() += 1;
        *counts.per_subnet.entry(subnet).or_default() += 1;
        *counts.pending_per_subnet.entry(subnet).or_default() += 1;
        drop(counts);
        Ok(Slot {
            counts: Arc::clone(&self.counts),
            inbound: self.limits.inbound,
            ip,
            pending: Some(id),
            evicted,
        })
    }
}

impl Counts {
    /// False when all have said something.
    fn evict_mute(&mut self) -> bool {
        let mut pending = self.pending.iter();
        let mute = pending.find(|(_, pending)| pending.stage == Stage::Mute);
        let Some(oldest) = mute.map(|(id, _)| *id) else {
            return false;
        };
        self.end_pending(oldest);
        true
    }

    /// The oldest of the subnet that has most connections in their handshakes, if those are several, and at least two more
    /// than the newcomer's has. So a few subnets can't hold all places by saying just enough.
    fn evict_crowded(&mut self, newcomer: IpAddr) -> bool {
        let of = |subnet: &IpAddr| self.pending_per_subnet.get(subnet).copied().unwrap_or(0);
        let most = self.pending_per_subnet.values().copied().max().unwrap_or(0);
        if most < (of(&newcomer) + 2).max(SEVERAL) {
            return false;
        }
        let mut pending = self.pending.iter();
        let Some((&oldest, _)) = pending.find(|(_, pending)| of(&pending.subnet) == most) else {
            return false;
        };
        self.end_pending(oldest);
        true
    }

    /// False when none has stalled.
    fn evict_stalled(&mut self, now: Instant) -> bool {
        let begun = |(&id, pending): (&u64, &Pending)| match pending.stage {
            Stage::Begun(at) => Some((at, id)),
            Stage::Mute | Stage::Waiting | Stage::Refused => None,
        };
        let Some((begun, id)) = self.pending.iter().filter_map(begun).min() else {
            return false;
        };
        if now.saturating_duration_since(begun) < STALLED {
            return false;
        }
        self.end_pending(id);
        true
    }

    /// The connection is no longer in its handshake. Whoever runs it is told, should it not be he who ends it.
    fn end_pending(&mut self, id: u64) {
        if let Some(pending) = self.pending.remove(&id) {
            self.waiting -= usize::from(pending.stage == Stage::Waiting);
            decrement(&mut self.pending_per_subnet, pending.subnet);
            pending.evicted.cancel();
        }
    }
}

impl HandshakeGate {
    /// The first message has come. Whether it may be worked on: the budget has room for it, or will have soon.
    pub async fn open(&self) -> bool {
        let patience = Instant::now() + PATIENCE;
        loop {
            let now = Instant::now();
            match self.ask(now) {
                Grant::Now => return true,
                Grant::Soon if now < patience => tokio::time::sleep(ASK_AGAIN).await,
                Grant::Soon | Grant::No => return false,
            }
        }
    }

    fn ask(&self, now: Instant) -> Grant {
        let counts = &mut *lock(&self.counts);
        let pending = self.pending.and_then(|id| counts.pending.get_mut(&id));
        let Some(pending) = pending else {
            return Grant::No;
        };
        counts.waiting -= usize::from(pending.stage == Stage::Waiting);
        let mut grant = counts.budget.take(pending.ip, now);
        if grant == Grant::Soon && counts.waiting >= MAX_WAITING {
            grant = Grant::No;
        }
        pending.stage = match grant {
            Grant::Now => Stage::Begun(now),
            Grant::Soon => Stage::Waiting,
            Grant::No => Stage::Refused,
        };
        counts.waiting += usize::from(pending.stage == Stage::Waiting);
        grant
    }
}

impl Slot {
    /// What the handshake asks before it begins.
    #[must_use]
    pub fn gate(&self) -> HandshakeGate {
        HandshakeGate {
            counts: Arc::clone(&self.counts),
            pending: self.pending,
        }
    }

    /// Cancelled when the connection has to go before its handshake is over.
    #[must_use]
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// The handshakes are over; the slot stays taken.
    ///
    /// # Errors
    /// [`Refusal::Full`] when all slots were taken meanwhile.
    pub fn handshake_done(&mut self) -> Result<(), Refusal> {
        let Some(id) = self.pending else {
            return Ok(());
        };
        let mut counts = lock(&self.counts);
        if counts.established >= self.inbound + UNDECIDED {
            return Err(Refusal::Full);
        }
        counts.established += 1;
        counts.end_pending(id);
        self.pending = None;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        match self.pending {
            Some(id) => counts.end_pending(id),
            None => counts.established -= 1,
        }
        decrement(&mut counts.per_ip, host_key(self.ip));
        decrement(&mut counts.per_subnet, subnet_key(self.ip));
    }
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    // Counts are changed by plain arithmetic only: a poisoned lock still holds a whole value.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decrement(map: &mut HashMap<IpAddr, usize>, key: IpAddr) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = map.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests;
