//! The good peers at one moment, drawn into variants that answers are picked from.
//!
//! A [`Snapshot`] never changes once built; a newer one replaces it as a whole. Building is the slow part
//! (many weighted draws); picking is an index. Filters that resolvers really ask for are drawn ahead;
//! any other is answered by one bounded walk over the peers, so an odd filter costs no memory and no draw.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use quantumcoin::{
    reachability::{
        GoodPeer,
        overlay::is_stand_in,
        selection::{Draw, draw},
    },
    store::GoodSet,
};
use rand::{Rng, seq::SliceRandom};

/// Peers of one address answer. 24 AAAA records fit in 1232 bytes, 24 A records in 512.
pub const ADDRESSES: usize = 24;

/// Peers of one SRV answer: with targets and their addresses about 1,100 bytes.
pub const SERVICES: usize = 12;

/// Peers of one TXT answer: about 135 bytes each with an IPv6 address.
pub const TEXTS: usize = 8;

/// An answer holds at least that many peers when there are that many, even if they share netgroups.
pub const LEAST: usize = 8;

/// Variants of each drawn set by default: enough that all peers of a large set appear within a few
/// refreshes, small enough (24 indices each) that all sets together stay below 1 MiB.
pub const VARIANTS: usize = 64;

/// Filters drawn ahead: those that Bitcoin's seeds made customary and wallets therefore ask for.
pub const USUAL_FILTERS: [u64; 14] = [
    0x1, 0x5, 0x9, 0xd, 0x49, 0x400, 0x404, 0x408, 0x40c, 0x448, 0x809, 0x849, 0xc08, 0xc48,
];

/// Which addresses a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 on the network's default port (A).
    V4,
    /// IPv6 on the network's default port (AAAA).
    V6,
    /// Any address and port (SRV, TXT).
    Any,
}

/// Where a snapshot's peers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The crawl.
    Store,
    /// The chain spec's bootstrap nodes: there is no crawl yet.
    Bootstrap,
    /// Neither: answers are empty.
    Nothing,
}

/// How snapshots are built.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Port of peers that A and AAAA may name.
    pub default_port: u16,
    /// At most one peer of a netgroup in an answer. Off on devnets, where all share one.
    pub one_per_netgroup: bool,
    /// Variants of each drawn set.
    pub variants: usize,
    /// Seconds that the name of an SRV target stays resolvable after its peer left the good set: caches
    /// hold the SRV record that long.
    pub host_memory: i64,
}

/// The good peers at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// SOA serial: Unix seconds, always greater than the one before.
    pub serial: u32,
    /// When it was built, Unix seconds.
    pub taken_at: i64,
    /// Where the peers come from.
    pub origin: Origin,
    /// Whether the crawl that it shows is old.
    pub stale: bool,
    /// When a probe last passed, Unix seconds.
    pub newest_probe_at: Option<i64>,
    peers: Vec<GoodPeer>,
    drawn: BTreeMap<u64, Views>,
    hosts: HashMap<IpAddr, i64>,
    /// The service bits that peers have, and which families of addresses there are with them. Honest networks have a handful;
    /// peers choose their bits, so that there are at most as many as peers.
    kinds: HashMap<u64, [bool; 3]>,
    default_port: u16,
    one_per_netgroup: bool,
}

/// Variants of one filter, as indices into the peers.
#[derive(Debug, Clone, Default)]
struct Views {
    v4: Vec<Vec<u32>>,
    v6: Vec<Vec<u32>>,
    any: Vec<Vec<u32>>,
}

impl Snapshot {
    /// Before anything is known.
    #[must_use]
    pub fn empty(policy: &Policy, now: i64) -> Self {
        Self {
            serial: serial(now, None),
            taken_at: now,
            origin: Origin::Nothing,
            stale: true,
            newest_probe_at: None,
            peers: Vec::new(),
            drawn: BTreeMap::new(),
            hosts: HashMap::new(),
            kinds: HashMap::new(),
            default_port: policy.default_port,
            one_per_netgroup: policy.one_per_netgroup,
        }
    }

    /// The chain spec's bootstrap nodes, of which nothing but the address is known.
    #[must_use]
    pub fn bootstrap(
        nodes: &[SocketAddr],
        policy: &Policy,
        previous: Option<&Self>,
        now: i64,
        rng: &mut impl Rng,
    ) -> Self {
        let peers = nodes
            .iter()
            .map(|addr| GoodPeer::unknown(*addr))
            .collect::<Vec<_>>();
        let origin = if peers.is_empty() {
            Origin::Nothing
        } else {
            Origin::Bootstrap
        };
        let set = GoodSet {
            left_out: 0,
            peers,
            generation: 0,
            newest_probe_at: None,
            stale: true,
        };
        Self {
            origin,
            ..Self::build(set, policy, previous, now, rng)
        }
    }

    /// The crawl's good set, drawn.
    #[must_use]
    pub fn build(
        set: GoodSet,
        policy: &Policy,
        previous: Option<&Self>,
        now: i64,
        rng: &mut impl Rng,
    ) -> Self {
        let mut peers = set.peers;
        // Those that have a name instead of an address can't be told in A, AAAA and SRV.
        peers.retain(|peer| !is_stand_in(peer.addr.ip()));
        // The walk for unusual filters starts anywhere in this order.
        peers.shuffle(rng);
        let index: HashMap<SocketAddr, u32> = peers
            .iter()
            .zip(0..)
            .map(|(peer, index)| (peer.addr, index))
            .collect();

        let drawn = std::iter::once(0)
            .chain(USUAL_FILTERS)
            .map(|filter| (filter, Views::draw(&peers, &index, filter, policy, rng)))
            .collect();

        let mut hosts: HashMap<IpAddr, i64> = previous
            .map(|previous| previous.hosts.clone())
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, seen)| now.saturating_sub(*seen) <= policy.host_memory)
            .collect();
        hosts.extend(peers.iter().map(|peer| (peer.addr.ip(), now)));

        let kinds = kinds(&peers, policy.default_port);
        Self {
            serial: serial(now, previous),
            taken_at: now,
            origin: Origin::Store,
            stale: set.stale,
            newest_probe_at: set.newest_probe_at,
            peers,
            drawn,
            hosts,
            kinds,
            default_port: policy.default_port,
            one_per_netgroup: policy.one_per_netgroup,
        }
    }

    /// Served on because nothing newer can be had at `now`.
    pub fn keep(&mut self, now: i64) {
        self.stale = true;
        // Answers that name them go out still.
        let hosts = self.peers.iter().map(|peer| (peer.addr.ip(), now));
        self.hosts.extend(hosts);
    }

    /// How many peers may be served.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is nobody to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// All peers, in no particular order.
    #[must_use]
    pub fn peers(&self) -> &[GoodPeer] {
        &self.peers
    }

    /// Whether the address belongs to a peer of this set, or did until a short while ago
    /// ([`Policy::host_memory`]).
    #[must_use]
    pub fn knows_host(&self, ip: IpAddr) -> bool {
        self.hosts.contains_key(&ip)
    }

    /// Whether there is a peer for [`Snapshot::select`] to choose.
    #[must_use]
    pub fn has(&self, filter: u64, family: Family) -> bool {
        let index = FAMILIES.iter().position(|known| *known == family);
        let has = |families: &[bool; 3]| index.and_then(|index| families.get(index)) == Some(&true);
        let mut kinds = self.kinds.iter();
        kinds.any(|(services, families)| services & filter == filter && has(families))
    }

    /// Some peers that have all bits of `filter`; `pick` chooses among the variants.
    #[must_use]
    pub fn select(&self, filter: u64, family: Family, pick: u64, limit: usize) -> Vec<&GoodPeer> {
        match self.drawn.get(&filter) {
            Some(views) => {
                let variants = views.of(family);
                nth(variants, pick)
                    .into_iter()
                    .flatten()
                    .take(limit)
                    .filter_map(|index| self.peers.get(*index as usize))
                    .collect()
            }
            None => self.walk(filter, family, pick, limit),
        }
    }

    /// How many different choices [`Snapshot::select`] has; 1 where it walks.
    #[must_use]
    pub fn variants(&self, filter: u64, family: Family) -> u64 {
        self.drawn
            .get(&filter)
            .map_or(1, |views| views.of(family).len().max(1) as u64)
    }

    /// One round over all peers from a random start: the first that fit, spread over netgroups.
    fn walk(&self, filter: u64, family: Family, pick: u64, limit: usize) -> Vec<&GoodPeer> {
        if !self.has(filter, family) {
            return Vec::new();
        }
        let Some(start) = position(self.peers.len(), pick) else {
            return Vec::new();
        };
        let (before, after) = self.peers.split_at(start);
        let (mut chosen, mut spare) = (Vec::new(), Vec::new());
        let mut groups = Vec::new();
        for peer in after.iter().chain(before) {
            if !fits(peer, filter, family, self.default_port) {
                continue;
            }
            let group = peer.netgroup();
            if self.one_per_netgroup && groups.contains(&group) {
                if spare.len() < LEAST {
                    spare.push(peer);
                }
                continue;
            }
            groups.push(group);
            chosen.push(peer);
            if chosen.len() >= limit {
                break;
            }
        }
        let missing = LEAST.min(limit).saturating_sub(chosen.len());
        chosen.extend(spare.into_iter().take(missing));
        chosen
    }
}

impl Views {
    fn draw(
        peers: &[GoodPeer],
        index: &HashMap<SocketAddr, u32>,
        filter: u64,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Self {
        let mut variants = |family| {
            let fitting: Vec<GoodPeer> = peers
                .iter()
                .filter(|peer| fits(peer, filter, family, policy.default_port))
                .cloned()
                .collect();
            draw_variants(&fitting, index, policy, rng)
        };
        Self {
            v4: variants(Family::V4),
            v6: variants(Family::V6),
            any: variants(Family::Any),
        }
    }

    fn of(&self, family: Family) -> &[Vec<u32>] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
            Family::Any => &self.any,
        }
    }
}

/// Draws variants until there are enough. One draw over a large set gives several: its first half, cut
/// into answers. (The second half holds those that the weights put last.)
fn draw_variants(
    fitting: &[GoodPeer],
    index: &HashMap<SocketAddr, u32>,
    policy: &Policy,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let mut variants = Vec::new();
    if fitting.is_empty() {
        return variants;
    }
    let everyone = Draw {
        count: fitting.len(),
        one_per_netgroup: policy.one_per_netgroup,
    };
    while variants.len() < policy.variants.max(1) {
        let mut order = draw(fitting, everyone, rng);
        if order.len() < LEAST && order.len() < fitting.len() {
            top_up(&mut order, fitting, rng);
        }
        let usable = (order.len() / 2).max(ADDRESSES).min(order.len());
        let whole = usable
            - if usable > ADDRESSES {
                usable % ADDRESSES
            } else {
                0
            };
        for chunk in order.get(..whole).unwrap_or_default().chunks(ADDRESSES) {
            variants.push(
                chunk
                    .iter()
                    .filter_map(|p| index.get(&p.addr).copied())
                    .collect(),
            );
        }
    }
    variants.truncate(policy.variants.max(1));
    variants
}

/// Too few netgroups for an answer: fill up with others of the same ones.
fn top_up<'a>(order: &mut Vec<&'a GoodPeer>, fitting: &'a [GoodPeer], rng: &mut impl Rng) {
    for peer in draw(
        fitting,
        Draw {
            count: 2 * LEAST,
            one_per_netgroup: false,
        },
        rng,
    ) {
        if order.len() >= LEAST {
            break;
        }
        if !order.iter().any(|chosen| chosen.addr == peer.addr) {
            order.push(peer);
        }
    }
}

fn fits(peer: &GoodPeer, filter: u64, family: Family, default_port: u16) -> bool {
    let family = match family {
        Family::V4 => peer.addr.is_ipv4() && peer.addr.port() == default_port,
        Family::V6 => peer.addr.is_ipv6() && peer.addr.port() == default_port,
        Family::Any => true,
    };
    family && peer.services & filter == filter
}

/// In the order of [`Snapshot::kinds`].
const FAMILIES: [Family; 3] = [Family::V4, Family::V6, Family::Any];

fn kinds(peers: &[GoodPeer], default_port: u16) -> HashMap<u64, [bool; 3]> {
    let mut kinds: HashMap<u64, [bool; 3]> = HashMap::new();
    for peer in peers {
        let families = kinds.entry(peer.services).or_default();
        for (has, family) in families.iter_mut().zip(FAMILIES) {
            *has |= fits(peer, 0, family, default_port);
        }
    }
    kinds
}

fn nth<T>(items: &[T], pick: u64) -> Option<&T> {
    items.get(position(items.len(), pick)?)
}

fn position(len: usize, pick: u64) -> Option<usize> {
    usize::try_from(pick.checked_rem(len as u64)?).ok()
}

/// Unix seconds (RFC 1982 arithmetic lets them pass 2^32), moved on if the clock did not.
fn serial(now: i64, previous: Option<&Snapshot>) -> u32 {
    // The low 32 bits are meant.
    let now = now as u32;
    match previous {
        // Greater in serial arithmetic: the difference is below 2^31.
        Some(previous) if now.wrapping_sub(previous.serial).wrapping_sub(1) >= 1 << 31 => {
            previous.serial.wrapping_add(1)
        }
        _ => now,
    }
}

#[cfg(test)]
mod tests;
