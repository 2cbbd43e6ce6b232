//! The good peers at one moment, drawn into variants that answers are picked from.
//!
//! A [`Snapshot`] never changes once built; a newer one replaces it as a whole. Building is the slow part
//! (many weighted draws); picking is an index. Filters that resolvers really ask for are drawn ahead;
//! any other is answered by one bounded walk over the peers, so an odd filter costs no memory and no draw.
//!
//! Zones may serve different peers ([`Selection`]); each selection has variants of its own.
//!
//! In an answer no two peers share a netgroup, as long as there are eight without that, and no two have one identity: those are
//! the groups in which an operator can be seen. Of several addresses of one identity the longest proven is served (`twins`).

mod selection;
mod twins;
mod view;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use quantumcoin::{
    reachability::{
        GoodPeer,
        netgroup::Netgroup,
        overlay::{OverlayName, PeerAddress, is_stand_in},
    },
    store::GoodSet,
};
use rand::{Rng, seq::SliceRandom};

pub use self::selection::{NoSlice, Selection, Slice};
use self::view::View;

/// Peers of one address answer. 24 AAAA records fit in 1232 bytes, 24 A records in 512.
pub const ADDRESSES: usize = 24;

/// Peers of one SRV answer: with targets and their addresses about 1,100 bytes.
pub const SERVICES: usize = 12;

/// Peers of one TXT answer: about 135 bytes each with an IPv6 address.
pub const TEXTS: usize = 8;

/// How many of these are peers of overlay networks, when there are any: enough for who can reach no others, and few since
/// such names cost nothing. Where there are fewer with addresses, more names fit.
pub const OVERLAY_TEXTS: usize = 2;

/// Bytes of the longest text record with an address at the default port, and of one with a name; and of the records of an
/// answer that fit in 1232 bytes: six of the one and two of the other.
const ADDRESS_TEXT: usize = 143;
const NAME_TEXT: usize = 164;
const TEXT_BYTES: usize = 6 * ADDRESS_TEXT + OVERLAY_TEXTS * NAME_TEXT;

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
    /// Any address and port (SRV).
    Any,
    /// Those, and peers of overlay networks (TXT).
    Text,
}

const FAMILIES: [Family; 4] = [Family::V4, Family::V6, Family::Any, Family::Text];

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the network whose peers they are.
    pub network: String,
    /// Port of peers that A and AAAA may name.
    pub default_port: u16,
    /// At most one peer of a netgroup in an answer. Off on devnets, where all share one.
    pub one_per_netgroup: bool,
    /// Variants of each drawn set.
    pub variants: usize,
    /// Seconds that the name of an SRV target stays resolvable after its peer left the good set: caches
    /// hold the SRV record that long.
    pub host_memory: i64,
    /// What the zones serve; each different one once.
    pub selections: Vec<Selection>,
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
    /// Names of those whose address stands for one.
    names: HashMap<IpAddr, OverlayName>,
    views: Vec<View>,
    hosts: HashMap<IpAddr, i64>,
    policy: Policy,
    /// Counted when it is first asked for.
    diversity: OnceLock<Diversity>,
}

/// How different the peers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Diversity {
    /// With IPv4 addresses.
    pub ipv4: usize,
    /// With IPv6 addresses.
    pub ipv6: usize,
    /// Of overlay networks.
    pub overlay: usize,
    /// Netgroups, or autonomous systems where the crawler knows them.
    pub netgroups: usize,
    /// Peers of the largest of these.
    pub largest: usize,
    /// Autonomous systems that are known.
    pub systems: usize,
}

impl Diversity {
    fn of(peers: &[GoodPeer]) -> Self {
        let mut groups: HashMap<Netgroup, usize> = HashMap::new();
        let mut diversity = Self::default();
        for peer in peers {
            match peer.addr.ip() {
                ip if is_stand_in(ip) => diversity.overlay += 1,
                IpAddr::V4(_) => diversity.ipv4 += 1,
                IpAddr::V6(_) => diversity.ipv6 += 1,
            }
            *groups.entry(peer.netgroup()).or_default() += 1;
        }
        let systems: HashSet<u32> = peers.iter().filter_map(|peer| peer.place.system).collect();
        Self {
            netgroups: groups.len(),
            largest: groups.into_values().max().unwrap_or_default(),
            systems: systems.len(),
            ..diversity
        }
    }
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
            names: HashMap::new(),
            views: Vec::new(),
            hosts: HashMap::new(),
            policy: policy.clone(),
            diversity: OnceLock::new(),
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
            peers,
            stale: true,
            ..GoodSet::default()
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
        let (mut peers, names) = (set.peers, set.names);
        // Whom nobody knows by name nobody can be told of.
        peers.retain(|peer| !is_stand_in(peer.addr.ip()) || names.contains_key(&peer.addr.ip()));
        let served = previous.map(|previous| {
            let peers = previous.peers.iter();
            peers.map(|peer| (peer.addr, peer.node_id))
        });
        let served = served.into_iter().flatten().collect();
        twins::keep_one_of_each(&mut peers, policy.default_port, &served);
        // The walk for unusual filters starts anywhere in this order.
        peers.shuffle(rng);
        let mut hosts: HashMap<IpAddr, i64> = previous
            .map(|previous| previous.hosts.clone())
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, seen)| now.saturating_sub(*seen) <= policy.host_memory)
            .collect();
        hosts.extend(with_addresses(&peers).map(|ip| (ip, now)));

        Self {
            serial: serial(now, previous),
            taken_at: now,
            origin: Origin::Store,
            stale: set.stale,
            newest_probe_at: set.newest_probe_at,
            views: views(&peers, policy, rng),
            peers,
            names,
            hosts,
            policy: policy.clone(),
            diversity: OnceLock::new(),
        }
    }

    /// Served on because nothing newer can be had at `now`; drawn anew where a reload has changed how.
    pub fn keep(&mut self, policy: &Policy, now: i64, rng: &mut impl Rng) {
        self.stale = true;
        // Answers that name them go out still.
        self.hosts
            .extend(with_addresses(&self.peers).map(|ip| (ip, now)));
        if self.policy != *policy {
            self.views = views(&self.peers, policy, rng);
            self.policy = policy.clone();
            self.serial = self.serial.wrapping_add(1);
        }
    }

    /// The network whose peers they are.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.policy.network
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

    /// How different the peers are.
    #[must_use]
    pub fn diversity(&self) -> Diversity {
        *self.diversity.get_or_init(|| Diversity::of(&self.peers))
    }

    /// Where a peer is, as clients are told.
    #[must_use]
    pub fn address(&self, peer: &GoodPeer) -> PeerAddress {
        let name = self.names.get(&peer.addr.ip());
        name.map_or(peer.addr.into(), |name| {
            PeerAddress::Named(*name, peer.addr.port())
        })
    }

    /// Whether the address belongs to a peer of this set, or did until a short while ago
    /// ([`Policy::host_memory`]).
    #[must_use]
    pub fn knows_host(&self, ip: IpAddr) -> bool {
        self.hosts.contains_key(&ip)
    }

    /// Whether there is a peer for [`Snapshot::select`] to choose.
    #[must_use]
    pub fn has(&self, selection: &Selection, filter: u64, family: Family) -> bool {
        self.view(selection)
            .is_some_and(|view| view.has(filter, family))
    }

    /// Some peers of a selection that have all bits of `filter`; `pick` chooses among the variants.
    #[must_use]
    pub fn select(
        &self,
        selection: &Selection,
        filter: u64,
        family: Family,
        pick: u64,
        limit: usize,
    ) -> Vec<&GoodPeer> {
        let Some(view) = self.view(selection) else {
            return Vec::new();
        };
        match view.variants(filter, family) {
            Some(variants) => {
                let chosen = nth(variants, pick).into_iter().flatten().take(limit);
                chosen
                    .filter_map(|index| self.peers.get(*index as usize))
                    .collect()
            }
            None if view.has(filter, family) => {
                let start = position(self.peers.len(), pick).unwrap_or_default();
                let walk = Walk {
                    snapshot: self,
                    selection: &view.selection,
                    filter,
                    start,
                };
                match family {
                    Family::Text => walk.texts(limit),
                    family => walk.addresses(family, limit),
                }
            }
            None => Vec::new(),
        }
    }

    /// How many different choices [`Snapshot::select`] has; 1 where it walks.
    #[must_use]
    pub fn variants(&self, selection: &Selection, filter: u64, family: Family) -> u64 {
        let variants = self
            .view(selection)
            .and_then(|view| view.variants(filter, family));
        variants.map_or(1, |variants| variants.len().max(1) as u64)
    }

    fn view(&self, selection: &Selection) -> Option<&View> {
        self.views.iter().find(|view| view.selection == *selection)
    }
}

/// One round over all peers, from a start, for a filter that is not drawn ahead.
#[derive(Clone, Copy)]
struct Walk<'a> {
    snapshot: &'a Snapshot,
    selection: &'a Selection,
    filter: u64,
    start: usize,
}

impl<'a> Walk<'a> {
    fn peers(self, fits: impl Fn(&GoodPeer) -> bool) -> impl Iterator<Item = &'a GoodPeer> {
        let (before, after) = self
            .snapshot
            .peers
            .split_at_checked(self.start)
            .unwrap_or_default();
        let all = after.iter().chain(before);
        all.filter(move |peer| fits(peer) && self.selection.holds(peer.addr, peer.services))
    }

    /// The first that fit, by the rules of answers that are drawn.
    fn addresses(self, family: Family, limit: usize) -> Vec<&'a GoodPeer> {
        let policy = &self.snapshot.policy;
        let (mut chosen, mut spare) = (Vec::new(), Vec::new());
        let mut groups = Vec::new();
        for peer in self.peers(|peer| fits(peer, self.filter, family, policy.default_port)) {
            if chosen.len() >= limit {
                break;
            }
            if is_twin(peer, &chosen) {
                continue;
            }
            let group = peer.netgroup();
            if policy.one_per_netgroup && groups.contains(&group) {
                if spare.len() < LEAST && !is_twin(peer, &spare) {
                    spare.push(peer);
                }
                continue;
            }
            groups.push(group);
            chosen.push(peer);
        }
        for peer in spare {
            if chosen.len() < LEAST.min(limit) && !is_twin(peer, &chosen) {
                chosen.push(peer);
            }
        }
        chosen
    }

    /// Those with addresses, and some with names.
    fn texts(self, limit: usize) -> Vec<&'a GoodPeer> {
        let mut chosen = self.addresses(Family::Any, limit);
        if self.snapshot.names.is_empty() {
            return chosen;
        }
        let named = |peer: &GoodPeer| {
            is_stand_in(peer.addr.ip()) && peer.services & self.filter == self.filter
        };
        let mut some: Vec<&GoodPeer> = Vec::new();
        for peer in self.peers(named) {
            if some.len() >= named_room(chosen.len()).min(limit) {
                break;
            }
            if !is_twin(peer, &some) {
                some.push(peer);
            }
        }
        join_named(&mut chosen, some, limit);
        chosen
    }
}

/// How many peers with names there is room for in a text answer, beside so many with addresses.
fn named_room(addresses: usize) -> usize {
    let left = TEXT_BYTES.saturating_sub(addresses * ADDRESS_TEXT);
    let fitting = TEXTS.saturating_sub(addresses).min(left / NAME_TEXT);
    fitting.max(OVERLAY_TEXTS)
}

/// Puts peers with names in the place of the last with addresses; of those with an identity that is told already, none.
fn join_named<'a>(chosen: &mut Vec<&'a GoodPeer>, mut named: Vec<&'a GoodPeer>, limit: usize) {
    chosen.truncate(limit.saturating_sub(named.len()));
    named.retain(|peer| !is_twin(peer, chosen));
    chosen.extend(named);
}

/// Whether some peer has the same identity.
fn is_twin(peer: &GoodPeer, others: &[&GoodPeer]) -> bool {
    peer.node_id.is_some() && others.iter().any(|other| other.node_id == peer.node_id)
}

fn views(peers: &[GoodPeer], policy: &Policy, rng: &mut impl Rng) -> Vec<View> {
    let selections = policy.selections.iter();
    selections
        .map(|selection| View::draw(selection, peers, policy, rng))
        .collect()
}

/// The addresses of those that have one.
fn with_addresses(peers: &[GoodPeer]) -> impl Iterator<Item = IpAddr> {
    peers
        .iter()
        .map(|peer| peer.addr.ip())
        .filter(|ip| !is_stand_in(*ip))
}

fn fits(peer: &GoodPeer, filter: u64, family: Family, default_port: u16) -> bool {
    let named = is_stand_in(peer.addr.ip());
    let family = match family {
        Family::V4 => peer.addr.is_ipv4() && peer.addr.port() == default_port,
        Family::V6 => peer.addr.is_ipv6() && peer.addr.port() == default_port && !named,
        Family::Any => !named,
        Family::Text => true,
    };
    family && peer.services & filter == filter
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
pub(crate) mod tests;
