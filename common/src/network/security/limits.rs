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
        if counts.established >= self.limits.inbound {
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
        if counts.established >= self.inbound {
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
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        inbound: 20,
        per_ip: 3,
        per_subnet: 10,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn opens(slot: &Slot, now: Instant) -> bool {
        slot.gate().ask(now) == Grant::Now
    }

    #[test]
    fn three_per_address_exactly() {
        let admission = Admission::new(LIMITS);
        let mut slots: Vec<_> = (0..3)
            .map(|_| admission.admit(ip("9.8.7.6"), Instant::now()).unwrap())
            .collect();
        assert_eq!(
            admission.admit(ip("9.8.7.6"), Instant::now()).unwrap_err(),
            Refusal::PerIp
        );
        assert_eq!(
            admission
                .admit(ip("::ffff:9.8.7.6"), Instant::now())
                .unwrap_err(),
            Refusal::PerIp
        );
        slots.pop();
        assert!(admission.admit(ip("9.8.7.6"), Instant::now()).is_ok());
    }

    #[test]
    fn ten_per_subnet_exactly() {
        let admission = Admission::new(LIMITS);
        let slots: Vec<_> = (0..10)
            .map(|n| {
                admission
                    .admit(ip(&format!("9.8.7.{n}")), Instant::now())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            admission.admit(ip("9.8.7.99"), Instant::now()).unwrap_err(),
            Refusal::PerSubnet
        );
        assert!(admission.admit(ip("9.8.6.99"), Instant::now()).is_ok());
        drop(slots);
        assert!(admission.admit(ip("9.8.7.99"), Instant::now()).is_ok());
    }

    #[test]
    fn an_ipv6_64_is_one_address_and_a_48_one_subnet() {
        let admission = Admission::new(LIMITS);
        let _a: Vec<_> = (0..3)
            .map(|n| {
                admission
                    .admit(ip(&format!("2001:db8:1:2::{n}")), Instant::now())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            admission
                .admit(ip("2001:db8:1:2:ffff::1"), Instant::now())
                .unwrap_err(),
            Refusal::PerIp
        );
        let _b: Vec<_> = (10..17)
            .map(|n| {
                admission
                    .admit(ip(&format!("2001:db8:1:{n}::1")), Instant::now())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            admission
                .admit(ip("2001:db8:1:99::1"), Instant::now())
                .unwrap_err(),
            Refusal::PerSubnet
        );
        assert!(
            admission
                .admit(ip("2001:db8:2:99::1"), Instant::now())
                .is_ok()
        );
    }

    #[test]
    fn all_slots_and_all_handshakes_are_bounded() {
        let admission = Admission::new(LIMITS);
        let mut slots: Vec<_> = (0..21)
            .map(|n| {
                admission
                    .admit(ip(&format!("9.8.{n}.1")), Instant::now())
                    .unwrap()
            })
            .collect();
        let mut last = slots.pop().unwrap();
        for slot in &mut slots {
            slot.handshake_done().unwrap();
        }
        assert_eq!(
            admission.admit(ip("9.9.9.9"), Instant::now()).unwrap_err(),
            Refusal::Full
        );
        assert_eq!(last.handshake_done(), Err(Refusal::Full));
        slots.pop();
        assert_eq!(last.handshake_done(), Ok(()));
        assert_eq!(
            admission.admit(ip("9.9.9.9"), Instant::now()).unwrap_err(),
            Refusal::Full
        );

        let wide = Limits {
            inbound: 1_000,
            per_ip: 1_000,
            per_subnet: 1_000,
        };
        let admission = Admission::new(wide);
        let mut slots: Vec<_> = (0..MAX_PENDING_PER_SUBNET)
            .map(|_| admission.admit(ip("9.8.7.1"), Instant::now()).unwrap())
            .collect();
        assert_eq!(
            admission.admit(ip("9.8.7.2"), Instant::now()).unwrap_err(),
            Refusal::Handshakes
        );
        slots[0].handshake_done().unwrap();
        slots[0].handshake_done().unwrap();
        assert!(
            admission.admit(ip("9.8.7.2"), Instant::now()).is_ok(),
            "an established peer is no handshake"
        );
    }

    #[test]
    fn whoever_says_nothing_makes_room_for_others_and_whoever_speaks_stays_unless_it_stalls() {
        let wide = Limits {
            inbound: 1_000,
            per_ip: 3,
            per_subnet: 10,
        };
        let admission = Admission::new(wide);
        let start = Instant::now();
        let from =
            |n: usize, now| admission.admit(ip(&format!("9.{}.{}.1", n / 250, n % 250)), now);
        let mut slots: Vec<_> = (0..MAX_PENDING_HANDSHAKES)
            .map(|n| from(n, start).unwrap())
            .collect();
        assert!(opens(&slots[0], start));
        let newcomer = from(2_000, start).unwrap();
        let evicted = |slot: &Slot| slot.evicted().is_cancelled();
        assert!(!evicted(&slots[0]) && evicted(&slots[1]) && !evicted(&slots[2]));
        assert!(!opens(&slots[1], start), "too late");
        // With all of them speaking, nobody has to go.
        drop(slots.remove(1));
        let mut now = start;
        for slot in slots.iter().skip(1).chain([&newcomer]) {
            now += Duration::from_micros(1_400);
            // Some have to wait for the budget, and count as having spoken.
            let _ = slot.gate().ask(now);
        }
        assert!(now < start + STALLED);
        assert_eq!(from(2_001, now).unwrap_err(), Refusal::Handshakes);
        slots[5].handshake_done().unwrap();
        let next = from(2_001, now).unwrap();
        let _ = next.gate().ask(now);
        // The one that spoke first stalls first.
        let later = start + STALLED;
        assert!(from(2_002, later).is_ok());
        assert!(evicted(&slots[0]) && !evicted(&slots[1]));
    }

    /// Subnets that all say their first message and stop there.
    #[test]
    fn a_few_talkative_subnets_keep_nobody_out() {
        let wide = Limits {
            inbound: 1_000,
            per_ip: 3,
            per_subnet: 10,
        };
        let admission = Admission::new(wide);
        let mut now = Instant::now();
        let mut crowd: Vec<_> = (0..MAX_PENDING_HANDSHAKES)
            .map(|n| {
                now += Duration::from_millis(7);
                let slot = admission.admit(ip(&format!("9.8.{}.{}", n / 10, n % 10)), now);
                let slot = slot.unwrap();
                assert!(opens(&slot, now));
                slot
            })
            .collect();
        for n in 0..50 {
            now += Duration::from_millis(1);
            let mut honest = admission.admit(ip(&format!("9.9.{n}.1")), now).unwrap();
            assert!(opens(&honest, now));
            honest.handshake_done().unwrap();
        }
        crowd.retain(|slot| !slot.evicted().is_cancelled());
        assert!(crowd.len() < MAX_PENDING_HANDSHAKES);
    }

    /// As many whole first messages as the budget takes, each from a subnet of its own, and nothing after them.
    #[test]
    fn a_crowd_that_stalls_everywhere_keeps_nobody_out() {
        let wide = Limits {
            inbound: 115,
            per_ip: 3,
            per_subnet: 10,
        };
        let admission = Admission::new(wide);
        let mut now = Instant::now();
        let mut crowd = std::collections::VecDeque::new();
        for n in 0..10_000_u32 {
            now += Duration::from_micros(5_100);
            let address = std::net::Ipv4Addr::from(0x0b00_0001 + (n << 8));
            let slot = admission.admit(address.into(), now).unwrap();
            assert!(opens(&slot, now));
            crowd.push_back(slot);
            // The deadline of five seconds.
            while crowd.len() > 980 {
                crowd.pop_front();
            }
            if n % 100 == 0 {
                let address = std::net::Ipv4Addr::from(0x6300_0001 + (n << 8));
                let mut honest = admission.admit(address.into(), now).unwrap();
                assert!(opens(&honest, now));
                honest.handshake_done().unwrap();
            }
        }
    }

    /// A silent crowd from everywhere does not keep out who speaks at once.
    #[test]
    fn a_silent_crowd_keeps_nobody_out() {
        let wide = Limits {
            inbound: 115,
            per_ip: 3,
            per_subnet: 10,
        };
        let admission = Admission::new(wide);
        let mut crowd = std::collections::VecDeque::new();
        for n in 0..10_000_u32 {
            let address = std::net::Ipv4Addr::from(0x0b00_0001 + (n << 8));
            crowd.push_back(admission.admit(address.into(), Instant::now()).unwrap());
            // Those that had to go are closed a little later.
            while crowd.len() > MAX_PENDING_HANDSHAKES + 100 {
                crowd.pop_front();
            }
            if n % 100 == 0 {
                let address = std::net::Ipv4Addr::from(0x6300_0001 + (n << 8));
                let mut honest = admission.admit(address.into(), Instant::now()).unwrap();
                assert!(opens(&honest, Instant::now()));
                honest.handshake_done().unwrap();
            }
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let admission = Admission::new(LIMITS);
        for n in 0..1_000 {
            let mut slot = admission
                .admit(ip(&format!("9.{}.{}.1", n / 250, n % 250)), Instant::now())
                .unwrap();
            if n % 2 == 0 {
                slot.handshake_done().unwrap();
            }
        }
        let counts = lock(&admission.counts);
        assert_eq!((counts.established, counts.pending.len()), (0, 0));
        assert!(counts.per_ip.is_empty() && counts.per_subnet.is_empty());
        assert!(counts.pending_per_subnet.is_empty());
    }
}
