//! What zones with one selection serve: the variants of each filter that is drawn ahead.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use quantumcoin::reachability::{
    GoodPeer,
    overlay::{is_stand_in, kind_of},
    selection::{Draw, draw},
};
use rand::{Rng, seq::SliceRandom};

use super::{
    ADDRESSES, FAMILIES, Family, LEAST, Policy, Selection, TEXTS, fits, join_named, named_room,
};

/// Peers by their place among all.
pub(super) type Indices = Vec<u32>;

/// What a selection makes of the peers.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) selection: Selection,
    drawn: BTreeMap<u64, Drawn>,
    /// The service bits that peers have, and which families there are with them. Honest networks have a handful; peers choose
    /// their bits, so that there are at most as many as peers.
    kinds: HashMap<u64, [bool; FAMILIES.len()]>,
}

impl View {
    pub(super) fn draw(
        selection: &Selection,
        peers: &[GoodPeer],
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Self {
        let index: HashMap<SocketAddr, u32> = peers
            .iter()
            .zip(0..)
            .filter(|(peer, _)| selection.holds(peer.addr, peer.services))
            .map(|(peer, index)| (peer.addr, index))
            .collect();
        let held = Held { peers, index };
        let filters = std::iter::once(&0).chain(&selection.filters);
        Self {
            drawn: filters
                .map(|filter| (*filter, Drawn::draw(&held, *filter, policy, rng)))
                .collect(),
            kinds: held.kinds(policy.default_port),
            selection: selection.clone(),
        }
    }

    /// The variants of a filter that is drawn ahead.
    pub(super) fn variants(&self, filter: u64, family: Family) -> Option<&[Indices]> {
        self.drawn.get(&filter).map(|drawn| drawn.of(family))
    }

    /// Whether there is a peer with all bits of `filter`.
    pub(super) fn has(&self, filter: u64, family: Family) -> bool {
        let index = FAMILIES.iter().position(|known| *known == family);
        let has = |families: &[bool; FAMILIES.len()]| {
            index.and_then(|index| families.get(index)) == Some(&true)
        };
        let mut kinds = self.kinds.iter();
        kinds.any(|(services, families)| services & filter == filter && has(families))
    }
}

/// The peers of a selection.
struct Held<'a> {
    peers: &'a [GoodPeer],
    index: HashMap<SocketAddr, u32>,
}

impl Held<'_> {
    fn fitting(&self, filter: u64, family: Family, default_port: u16) -> Vec<GoodPeer> {
        let held = self
            .peers
            .iter()
            .filter(|peer| self.index.contains_key(&peer.addr));
        held.filter(|peer| fits(peer, filter, family, default_port))
            .cloned()
            .collect()
    }

    fn kinds(&self, default_port: u16) -> HashMap<u64, [bool; FAMILIES.len()]> {
        let mut kinds: HashMap<u64, [bool; FAMILIES.len()]> = HashMap::new();
        for peer in self
            .peers
            .iter()
            .filter(|peer| self.index.contains_key(&peer.addr))
        {
            let families = kinds.entry(peer.services).or_default();
            for (has, family) in families.iter_mut().zip(FAMILIES) {
                *has |= fits(peer, 0, family, default_port);
            }
        }
        kinds
    }
}

/// Variants of one filter.
#[derive(Debug, Clone, Default)]
struct Drawn {
    v4: Vec<Indices>,
    v6: Vec<Indices>,
    any: Vec<Indices>,
    texts: Vec<Indices>,
}

impl Drawn {
    fn draw(held: &Held<'_>, filter: u64, policy: &Policy, rng: &mut impl Rng) -> Self {
        let mut variants = |family| {
            let fitting = held.fitting(filter, family, policy.default_port);
            draw_variants(&fitting, &held.index, policy, rng)
        };
        let (v4, v6, any) = (
            variants(Family::V4),
            variants(Family::V6),
            variants(Family::Any),
        );
        let mut named = held.fitting(filter, Family::Text, policy.default_port);
        named.retain(|peer| is_stand_in(peer.addr.ip()));
        let none = vec![Indices::new(); policy.variants.max(1)];
        let base = if any.is_empty() { &none } else { &any };
        // Without names they are those of the services, cut when they are picked.
        let texts = match named.as_slice() {
            [] => Vec::new(),
            named => base
                .iter()
                .map(|one| with_named(one, named, held, rng))
                .collect(),
        };
        Self { v4, v6, any, texts }
    }

    fn of(&self, family: Family) -> &[Indices] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
            Family::Text if !self.texts.is_empty() => &self.texts,
            Family::Any | Family::Text => &self.any,
        }
    }
}

/// The peers of one text answer: of those with addresses, and some with names, of different networks first.
fn with_named(
    addresses: &[u32],
    named: &[GoodPeer],
    held: &Held<'_>,
    rng: &mut impl Rng,
) -> Indices {
    let peers = addresses
        .iter()
        .filter_map(|index| held.peers.get(*index as usize));
    let mut chosen: Vec<&GoodPeer> = peers.take(TEXTS).collect();
    let mut order = one_of_each(named, rng);
    let kind = |peer: &GoodPeer| kind_of(peer.addr.ip());
    if let Some(first) = order.first().map(|first| kind(first))
        && let Some(other) = order.iter().position(|peer| kind(peer) != first)
    {
        order.swap(1, other);
    }
    order.truncate(named_room(chosen.len()));
    join_named(&mut chosen, order, TEXTS);
    chosen
        .iter()
        .filter_map(|peer| held.index.get(&peer.addr).copied())
        .collect()
}

/// The peers in random order, of those with one identity a single one.
fn one_of_each<'a>(peers: &'a [GoodPeer], rng: &mut impl Rng) -> Vec<&'a GoodPeer> {
    let mut order: Vec<&GoodPeer> = peers.iter().collect();
    order.shuffle(rng);
    let mut seen = HashSet::new();
    order.retain(|peer| peer.node_id.is_none_or(|id| seen.insert(id)));
    order
}

/// Draws variants until there are enough. One draw over a large set gives several: its first half, cut
/// into answers. (The second half holds those that the weights put last.)
pub(super) fn draw_variants(
    fitting: &[GoodPeer],
    index: &HashMap<SocketAddr, u32>,
    policy: &Policy,
    rng: &mut impl Rng,
) -> Vec<Indices> {
    let mut variants = Vec::new();
    if fitting.is_empty() {
        return variants;
    }
    while variants.len() < policy.variants.max(1) {
        let distinct: Vec<GoodPeer> = one_of_each(fitting, rng).into_iter().cloned().collect();
        let everyone = Draw {
            count: distinct.len(),
            one_per_netgroup: policy.one_per_netgroup,
        };
        let mut order = draw(&distinct, everyone, rng);
        if order.len() < LEAST && order.len() < distinct.len() {
            top_up(&mut order, &distinct, rng);
        }
        let usable = (order.len() / 2).max(ADDRESSES).min(order.len());
        let whole = usable
            - if usable > ADDRESSES {
                usable % ADDRESSES
            } else {
                0
            };
        for chunk in order.get(..whole).unwrap_or_default().chunks(ADDRESSES) {
            let indices = chunk
                .iter()
                .filter_map(|peer| index.get(&peer.addr).copied());
            variants.push(indices.collect());
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
