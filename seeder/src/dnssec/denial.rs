//! The chain of NSEC records (RFC 4034, 4; RFC 4035, 3.1.3).
//!
//! The names of a zone in canonical order (RFC 4034, 6.1) are the walk through a tree, parents first:
//!
//! ```text
//! apex · _tcp · _qtc._tcp · n · <hosts>.n · ns1 · x1 · _tcp.x1 · _qtc._tcp.x1 · x10 · _tcp.x10 … xffffffffffffffff …
//! ```
//!
//! Most are few and kept in order ([`Chain`]); the filters are 2^64, in the order of their labels, and their neighbours are
//! computed (`filters`). So their NSEC records' next names are the zone's true next names.
//!
//! The hosts come and go with the peers, and a record in a cache must not deny one that has come since. So at `n` and below it an
//! NSEC record reaches no further than it must ("minimal covering", RFC 4470): from the name before a name that does not exist to the
//! name behind it, or from a name that exists to the first that could lie below it.
//!
//! Every name owns an NSEC record, also those that have no other records ("empty non-terminals" and filters that nobody
//! passes): that denies their types with one record, as online signers do (RFC 4470; RFC 9824).

use std::{
    collections::BTreeSet,
    net::IpAddr,
    ops::Bound::{Excluded, Included, Unbounded},
};

use super::kind;
use crate::{
    snapshot::{Family, Snapshot},
    wire::{
        CLASS_IN,
        kind::{A, AAAA, NS, SOA, SRV, TXT},
        name::WireName,
        rrset::RrSet,
    },
    zone::{NEGATIVE_TTL, Place, Zone, label, render},
};

/// The labels of a name from the zone's apex down. Their order as lists is the canonical order of names.
type Path = Vec<Vec<u8>>;

/// Most bytes of a label, and of a name in wire form (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 255;

/// What the labels of all filters begin with.
pub const FILTERS: &[u8] = b"x";

/// The names of a zone.
#[derive(Debug)]
pub struct Chain {
    names: BTreeSet<Path>,
    apex: WireName,
    /// Further types of the apex: DNSKEY and the like.
    apex_types: Vec<u16>,
}

impl Chain {
    /// The names of `zone`; the apex has `apex_types` besides its own.
    #[must_use]
    pub fn new(zone: &Zone, apex_types: Vec<u16>) -> Self {
        let [service, protocol] = render::SERVICE_LABELS.map(<[u8]>::to_vec);
        let hosts = render::HOSTS_LABEL.to_vec();
        let mut names = BTreeSet::from([
            Vec::new(),
            vec![protocol.clone()],
            vec![protocol, service],
            vec![hosts.clone()],
        ]);
        // Behind all hosts, whose labels are letters and digits.
        names.insert(vec![hosts, b"~".to_vec()]);
        let apex = *zone.apex_wire();
        for server in zone.own_servers() {
            let path = path(server, &apex);
            // With the names between it and the apex.
            names.extend((1..=path.len()).filter_map(|depth| path.get(..depth).map(<[_]>::to_vec)));
        }
        // Those that are filters as well are computed.
        names.retain(|path| !is_filter(path));
        Self {
            names,
            apex,
            apex_types,
        }
    }

    /// The NSEC record of `name`, which exists.
    #[must_use]
    pub fn at(&self, name: &WireName, zone: &Zone, snapshot: &Snapshot) -> Option<RrSet> {
        let path = path(name, &self.apex);
        let next = if is_at_hosts(&path) {
            [path.as_slice(), &[vec![0]]].concat()
        } else {
            self.after(&path)
        };
        self.record(&path, &next, zone, snapshot)
    }

    /// The NSEC records that prove that neither `name` nor a wildcard for it exists; one may prove both.
    #[must_use]
    pub fn around(&self, name: &WireName, zone: &Zone, snapshot: &Snapshot) -> Option<Vec<RrSet>> {
        let path = path(name, &self.apex);
        // The apex exists, so there is a closest encloser.
        let depth = (0..path.len())
            .rev()
            .find(|depth| self.exists(path.get(..*depth).unwrap_or_default(), snapshot))?;
        let closer = path.get(..=depth)?;
        let mut wildcard = path.get(..depth)?.to_vec();
        wildcard.push(b"*".to_vec());
        let (before, next) = self.interval(closer)?;
        let mut records = vec![self.record(&before, &next, zone, snapshot)?];
        let (before_wildcard, next) = self.interval(&wildcard)?;
        if before_wildcard != before {
            records.push(self.record(&before_wildcard, &next, zone, snapshot)?);
        }
        Some(records)
    }

    /// Names around one that does not exist, and everything below it.
    fn interval(&self, path: &[Vec<u8>]) -> Option<(Path, Path)> {
        let (last, above) = path.split_last()?;
        if is_at_hosts(above) {
            let with = |label: Vec<u8>| [above, &[label]].concat();
            let room = self.room(above);
            let before = label_before(last, room).map_or_else(|| above.to_vec(), with);
            return Some((before, self.behind(path)));
        }
        let before = self.before(path);
        let next = self.after(&before);
        Some((before, next))
    }

    /// The first name behind all that may lie below a path among hosts. Behind the last of all labels below a name is what is behind
    /// that name: no host that may come, other than one below it, is passed over.
    fn behind(&self, path: &[Vec<u8>]) -> Path {
        let mut rest = path;
        while let Some((last, above)) = rest.split_last()
            && is_at_hosts(above)
        {
            if let Some(label) = label_after(last, self.room(above)) {
                return [above, &[label]].concat();
            }
            rest = above;
        }
        self.after(path)
    }

    /// Most bytes of a label below a name.
    fn room(&self, above: &[Vec<u8>]) -> usize {
        let labels = above.iter().map(|label| label.len() + 1);
        let used = labels.sum::<usize>() + self.apex.as_bytes().len();
        MAX_LABEL.min(MAX_NAME.saturating_sub(used + 1))
    }

    /// The gaps between the labels directly below the apex, filters left out: each with the label that it begins behind (none for
    /// the first) and a name in it, if there is one. All names of a gap are denied by the same records.
    #[must_use]
    pub fn gaps(&self) -> Vec<(Vec<u8>, Option<WireName>)> {
        let tops = self
            .names
            .iter()
            .filter(|path| path.len() == 1)
            .flatten()
            .cloned();
        let mut begins: Vec<Vec<u8>> = tops.chain([Vec::new(), FILTERS.to_vec()]).collect();
        begins.sort();
        let gap = |begin: Vec<u8>| {
            // The next label in order, or one behind all filters.
            let label = if begin == FILTERS {
                b"y".to_vec()
            } else {
                [begin.as_slice(), &[0]].concat()
            };
            let path = vec![label];
            let name = if self.is_static(&path) {
                None
            } else {
                self.name(&path)
            };
            (begin, name)
        };
        begins.into_iter().map(gap).collect()
    }

    fn is_static(&self, path: &[Vec<u8>]) -> bool {
        self.names.contains(path) || is_filter(path)
    }

    fn exists(&self, path: &[Vec<u8>], snapshot: &Snapshot) -> bool {
        match path {
            [hosts, host] if hosts == render::HOSTS_LABEL => {
                label::host(host).is_some_and(|ip| snapshot.knows_host(ip))
            }
            _ => self.is_static(path),
        }
    }

    /// The last name that is not behind `path`.
    fn before(&self, path: &[Vec<u8>]) -> Path {
        let known = self
            .names
            .range::<[Vec<u8>], _>((Unbounded, Included(path)))
            .next_back()
            .cloned();
        // The apex is before all.
        known.max(filters::before(path)).unwrap_or_default()
    }

    /// The first name behind `path`; the apex behind the last.
    fn after(&self, path: &[Vec<u8>]) -> Path {
        let known = self
            .names
            .range::<[Vec<u8>], _>((Excluded(path), Unbounded))
            .next()
            .cloned();
        let all = [known, filters::after(path)];
        all.into_iter().flatten().min().unwrap_or_default()
    }

    fn record(
        &self,
        path: &[Vec<u8>],
        next: &[Vec<u8>],
        zone: &Zone,
        snapshot: &Snapshot,
    ) -> Option<RrSet> {
        let owner = self.name(path)?;
        let mut rdata = self.name(next)?.as_bytes().to_vec();
        let mut types = types(zone, &owner, snapshot);
        if path.is_empty() {
            types.extend(&self.apex_types);
        }
        types.extend([kind::RRSIG, kind::NSEC]);
        rdata.extend(bitmap(types));
        Some(RrSet {
            owner,
            kind: kind::NSEC,
            class: CLASS_IN,
            // RFC 9077: as long as a negative answer.
            ttl: NEGATIVE_TTL,
            rdata: std::iter::once(rdata).collect(),
        })
    }

    fn name(&self, path: &[Vec<u8>]) -> Option<WireName> {
        let mut bytes = Vec::new();
        for label in path.iter().rev() {
            bytes.push(u8::try_from(label.len()).ok()?);
            bytes.extend_from_slice(label);
        }
        bytes.extend_from_slice(self.apex.as_bytes());
        WireName::read(&bytes).map(|(name, _)| name)
    }
}

fn path(name: &WireName, apex: &WireName) -> Path {
    let above = name.below(apex).unwrap_or(0);
    let labels = (0..above).rev();
    labels
        .filter_map(|index| name.label(index).map(<[u8]>::to_vec))
        .collect()
}

/// Whether a name is the hosts' label or below it.
fn is_at_hosts(path: &[Vec<u8>]) -> bool {
    path.first().is_some_and(|top| top == render::HOSTS_LABEL)
}

/// A label before `label`, with none between that a host could have: its last byte less one, and behind that the greatest byte, which
/// is none of base32. `None` for the first of all labels.
fn label_before(label: &[u8], room: usize) -> Option<Vec<u8>> {
    let (last, rest) = label.split_last()?;
    let less = match last {
        0 => return (!rest.is_empty()).then(|| rest.to_vec()),
        // Names are in lower case (RFC 4034, 6.1): capitals would be taken for letters, which come later.
        b'[' => b'@',
        last => last - 1,
    };
    let mut before = [rest, &[less]].concat();
    before.extend((before.len() < room).then_some(0xff));
    Some(before)
}

/// The first label behind `label` and all that may lie below it; `None` for the last of all labels.
fn label_after(label: &[u8], room: usize) -> Option<Vec<u8>> {
    if label.len() < room {
        return Some([label, &[0]].concat());
    }
    let mut after = label.to_vec();
    while let Some(last) = after.pop() {
        let more = match last {
            0xff => continue,
            // As in `label_before`.
            b'@' => b'[',
            last => last + 1,
        };
        after.push(more);
        return Some(after);
    }
    None
}

/// Whether a name is that of a filter or below one, and exists.
fn is_filter(path: &[Vec<u8>]) -> bool {
    match path {
        [top, below @ ..] => {
            label::filter(top).is_some() && filters::BELOW.iter().any(|known| *known == below)
        }
        [] => false,
    }
}

/// Types that a name has, as the engine would answer them.
fn types(zone: &Zone, owner: &WireName, snapshot: &Snapshot) -> Vec<u16> {
    let mut types = Vec::new();
    match zone.place(owner) {
        Place::Apex => {
            types = peers(zone, 0, snapshot);
            types.extend([NS, SOA]);
        }
        Place::Filter(filter) => types = peers(zone, filter, snapshot),
        Place::Service(filter) => {
            if snapshot.has(zone.selection(), filter, Family::Any) {
                types.push(SRV);
            }
        }
        Place::Host(ip) => types.push(family(ip)),
        Place::NameServer => {
            types.extend(zone.addresses_of(owner).map(family));
        }
        Place::Hollow | Place::Nothing => {}
    }
    types
}

fn peers(zone: &Zone, filter: u64, snapshot: &Snapshot) -> Vec<u16> {
    let kinds = [(A, Family::V4), (AAAA, Family::V6), (TXT, Family::Text)];
    let some = kinds
        .into_iter()
        .filter(|(_, family)| snapshot.has(zone.selection(), filter, *family));
    some.map(|(kind, _)| kind).collect()
}

const fn family(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { A } else { AAAA }
}

/// The type bit maps of NSEC (RFC 4034, 4.1.2). All of our types are below 256: one window.
fn bitmap(types: Vec<u16>) -> Vec<u8> {
    let mut bits = [0_u8; 32];
    let mut length = 0;
    for kind in types {
        let byte = usize::from(kind / 8);
        if let Some(place) = bits.get_mut(byte) {
            *place |= 0x80 >> (kind % 8);
            length = length.max(byte + 1);
        }
    }
    // At most 32.
    let mut map = vec![0, length as u8];
    map.extend_from_slice(bits.get(..length).unwrap_or_default());
    map
}

mod filters {
    //! The order of the names of filters.
    //!
    //! Labels are `x` and one to sixteen hexadecimal digits, the first of them not 0. Ordered as bytes they are the walk through
    //! a tree of digits, parents first.

    use super::Path;

    /// Digits of a filter.
    const DIGITS: usize = 16;

    /// What each filter's name has below it, in order.
    pub(super) const BELOW: [&[&[u8]]; 3] = [&[], &[b"_tcp"], &[b"_tcp", b"_qtc"]];

    const HEX: &[u8; 16] = b"0123456789abcdef";

    /// The last name of a filter that is not behind `path`.
    pub(super) fn before(path: &[Vec<u8>]) -> Option<Path> {
        let (top, rest) = path.split_first()?;
        let label = floor(top)?;
        let known = if label == *top {
            BELOW
                .iter()
                .rev()
                .find(|below| compare(below, rest).is_le())
        } else {
            BELOW.last()
        };
        Some(named(label, known.copied().unwrap_or_default()))
    }

    /// The first name of a filter behind `path`.
    pub(super) fn after(path: &[Vec<u8>]) -> Option<Path> {
        let Some((top, rest)) = path.split_first() else {
            return Some(named(b"x1".to_vec(), &[]));
        };
        if floor(top).as_ref() == Some(top)
            && let Some(below) = BELOW.iter().find(|below| compare(below, rest).is_gt())
        {
            return Some(named(top.clone(), below));
        }
        Some(named(ceiling(top)?, &[]))
    }

    fn compare(below: &[&[u8]], rest: &[Vec<u8>]) -> std::cmp::Ordering {
        below.iter().copied().cmp(rest.iter().map(Vec::as_slice))
    }

    fn named(label: Vec<u8>, below: &[&[u8]]) -> Path {
        std::iter::once(label)
            .chain(below.iter().map(|label| label.to_vec()))
            .collect()
    }

    /// The digits that may stand at a depth: no filter begins with 0.
    fn digits(depth: usize) -> &'static [u8] {
        match depth {
            0 => HEX.get(1..).unwrap_or_default(),
            DIGITS.. => &[],
            _ => HEX,
        }
    }

    /// How many bytes of `label` are a way into the tree, with the `x`; `None` when it does not begin with one.
    fn way(label: &[u8]) -> Option<usize> {
        let (b'x', rest) = label.split_first()? else {
            return None;
        };
        let steps = rest
            .iter()
            .enumerate()
            .take_while(|(depth, digit)| digits(*depth).contains(digit));
        Some(1 + steps.count())
    }

    /// The last filter's label that is not behind `label`.
    pub(super) fn floor(label: &[u8]) -> Option<Vec<u8>> {
        let Some(length) = way(label) else {
            let behind_all = label.first().is_some_and(|first| *first > b'x');
            return behind_all.then(|| last_below(b"x".to_vec()));
        };
        let node = label.get(..length)?.to_vec();
        // Below the node, what lies before the byte where the way ends.
        let child = label.get(length).and_then(|byte| {
            let before = digits(length - 1).iter().rev().find(|digit| *digit < byte);
            before.map(|digit| [node.as_slice(), &[*digit]].concat())
        });
        match child {
            Some(child) => Some(last_below(child)),
            // The `x` alone is no filter.
            None => (length > 1).then_some(node),
        }
    }

    /// The last in the part of the tree below `node`.
    fn last_below(mut node: Vec<u8>) -> Vec<u8> {
        node.resize(1 + DIGITS, b'f');
        node
    }

    /// The first filter's label behind `label`.
    pub(super) fn ceiling(label: &[u8]) -> Option<Vec<u8>> {
        let Some(length) = way(label) else {
            let before_all = label.first().is_none_or(|first| *first < b'x');
            return before_all.then(|| b"x1".to_vec());
        };
        let mut node = label.get(..length)?.to_vec();
        // Below the node: the first child, or the first behind the byte where the way ends.
        let end = label.get(length).copied();
        let mut children = digits(length - 1).iter();
        if let Some(digit) = children.find(|digit| end.is_none_or(|byte| **digit > byte)) {
            node.push(*digit);
            return Some(node);
        }
        // Else the next beside it, or beside one above it.
        while let (Some(digit), true) = (node.pop(), !node.is_empty()) {
            let beside = digits(node.len() - 1).iter().find(|other| **other > digit);
            if let Some(beside) = beside {
                node.push(*beside);
                return Some(node);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
