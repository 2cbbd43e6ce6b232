//! The engine: one question and the current snapshot in, the whole answer out. No I/O, no clock, no
//! randomness of its own; whatever carries the bytes decides nothing but size.
//!
//! | asked | answered |
//! |---|---|
//! | name in none of our zones, class other than IN or CH, zone transfer | REFUSED |
//! | name that does not exist in a zone | NXDOMAIN with the apex's SOA |
//! | name that exists, type that it does not have | NODATA with the apex's SOA |
//! | ANY | the one HINFO of RFC 8482 |
//! | CHAOS `version.bind`, `id.server` … | as configured, else REFUSED |

use crate::{
    snapshot::{ADDRESSES, Family, SERVICES, Snapshot, TEXTS},
    wire::{
        CLASS_CH, CLASS_IN, code,
        kind::{self, A, AAAA, ANY, NS, SOA, SRV, TXT},
        name::WireName,
        rrset::{Rdata, RrSet},
    },
    zone::{Place, Zone, render},
};

/// One parsed question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name.
    pub name: &'a WireName,
    /// The class.
    pub class: u16,
    /// The type.
    pub kind: u16,
}

/// What to send back, before it is fitted to the client's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// RCODE.
    pub code: u8,
    /// The AA bit: the name is in one of our zones.
    pub authoritative: bool,
    /// The set that answers.
    pub answer: Option<RrSet>,
    /// The SOA that denies.
    pub denial: Option<RrSet>,
    /// Additional section without OPT; may be left out when there is no room (RFC 2181, 9).
    pub additionals: Vec<RrSet>,
    /// Index of the zone that answers, for metrics.
    pub zone: Option<usize>,
}

/// What CHAOS questions about the server itself get; `None` refuses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `version.bind` and `version.server`.
    pub version: Option<String>,
    /// `id.server` and `hostname.bind`.
    pub id: Option<String>,
}

/// Decides every answer.
#[derive(Debug, Clone)]
pub struct Engine {
    zones: Vec<Zone>,
    identity: Identity,
}

impl Engine {
    /// An engine for these zones. When one lies within another, the deeper one answers.
    #[must_use]
    pub fn new(zones: Vec<Zone>, identity: Identity) -> Self {
        Self { zones, identity }
    }

    /// The zones, in the order of [`Answer::zone`].
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The answer. `pick` is a random number that chooses among the snapshot's variants.
    #[must_use]
    pub fn answer(&self, question: &Question<'_>, snapshot: &Snapshot, pick: u64) -> Answer {
        match question.class {
            CLASS_IN => {}
            CLASS_CH => return self.chaos(question),
            _ => return Answer::refused(),
        }
        let Some((index, zone)) = self.zone_of(question.name) else {
            return Answer::refused();
        };
        let answer = match meta_type(question.kind) {
            Some(code) => Answer::of(code),
            None => zone_answer(zone, question, snapshot, pick),
        };
        Answer {
            zone: Some(index),
            ..answer
        }
    }

    /// How many different answers there are to a question about peers; others have one.
    #[must_use]
    pub fn variants(&self, name: &WireName, kind: u16, snapshot: &Snapshot) -> u64 {
        let Some((_, zone)) = self.zone_of(name) else {
            return 1;
        };
        let filter = match zone.place(name) {
            Place::Apex => 0,
            Place::Filter(filter) | Place::Service(filter) => filter,
            _ => return 1,
        };
        let family = match kind {
            A => Family::V4,
            AAAA => Family::V6,
            SRV => Family::Any,
            TXT => Family::Text,
            _ => return 1,
        };
        snapshot.variants(zone.selection(), filter, family)
    }

    fn zone_of(&self, name: &WireName) -> Option<(usize, &Zone)> {
        self.zones
            .iter()
            .enumerate()
            .filter(|(_, zone)| name.below(zone.apex_wire()).is_some())
            .max_by_key(|(_, zone)| zone.apex_wire().labels())
    }

    fn chaos(&self, question: &Question<'_>) -> Answer {
        let label = |index| question.name.label(index).unwrap_or_default();
        let text = match (question.name.labels(), label(0), label(1)) {
            (2, b"version", b"bind" | b"server") => &self.identity.version,
            (2, b"id", b"server") | (2, b"hostname", b"bind") => &self.identity.id,
            _ => &None,
        };
        match (text, question.kind) {
            (Some(text), TXT | ANY) => {
                let mut rdata = Rdata::default();
                rdata.push(|bytes| render::push_string(bytes, text));
                let set = RrSet {
                    owner: *question.name,
                    kind: TXT,
                    class: CLASS_CH,
                    ttl: 0,
                    rdata,
                };
                Answer {
                    authoritative: true,
                    answer: Some(set),
                    ..Answer::of(code::NOERROR)
                }
            }
            _ => Answer::refused(),
        }
    }
}

impl Answer {
    const fn of(code: u16) -> Self {
        Self {
            // All codes of answers are below 16.
            code: code as u8,
            authoritative: false,
            answer: None,
            denial: None,
            additionals: Vec::new(),
            zone: None,
        }
    }

    const fn refused() -> Self {
        Self::of(code::REFUSED)
    }

    /// NOERROR with records, or NODATA when there are none.
    fn data(answer: RrSet, additionals: Vec<RrSet>, zone: &Zone, serial: u32) -> Self {
        if answer.rdata.is_empty() {
            return Self::no_data(zone, serial);
        }
        Self {
            authoritative: true,
            answer: Some(answer),
            additionals,
            ..Self::of(code::NOERROR)
        }
    }

    /// NOERROR with this set.
    pub(crate) fn of_set(set: RrSet) -> Self {
        Self {
            authoritative: true,
            answer: Some(set),
            ..Self::of(code::NOERROR)
        }
    }

    /// NOERROR without records.
    pub(crate) fn no_data(zone: &Zone, serial: u32) -> Self {
        Self {
            authoritative: true,
            denial: Some(zone.denial(serial)),
            ..Self::of(code::NOERROR)
        }
    }

    /// NXDOMAIN.
    pub(crate) fn no_such_name(zone: &Zone, serial: u32) -> Self {
        Self {
            authoritative: true,
            denial: Some(zone.denial(serial)),
            ..Self::of(code::NXDOMAIN)
        }
    }
}

fn zone_answer(zone: &Zone, question: &Question<'_>, snapshot: &Snapshot, pick: u64) -> Answer {
    let owner = question.name;
    let place = zone.place(owner);
    let exists = match place {
        Place::Nothing => false,
        Place::Host(ip) => snapshot.knows_host(ip),
        _ => true,
    };
    let serial = snapshot.serial;
    if !exists {
        return Answer::no_such_name(zone, serial);
    }
    let asked = Asked {
        zone,
        owner,
        snapshot,
        pick,
    };
    let found = match (place, question.kind) {
        (Place::Hollow | Place::Nothing, _) => None,
        (_, ANY) => Some((zone.minimal_any(owner), Vec::new())),
        (Place::Apex, SOA) => Some((zone.authority(serial), Vec::new())),
        (Place::Apex, NS) => Some((zone.delegation(), zone.glue())),
        (Place::Apex, kind) => asked.peers(0, kind),
        (Place::Filter(filter), kind) => asked.peers(filter, kind),
        (Place::Service(filter), SRV) => Some(asked.services(filter)),
        (Place::Service(_), _) => None,
        (Place::Host(ip), kind) => (kind == family_type(ip.is_ipv4()))
            .then(|| (zone.addresses(owner, std::iter::once(ip)), Vec::new())),
        (Place::NameServer, kind) => {
            let mut sets = zone.name_server_records(owner).into_iter();
            let set = sets.find(|set| set.kind == kind);
            set.map(|set| (set, Vec::new()))
        }
    };
    match found {
        None => Answer::no_data(zone, serial),
        Some((answer, additionals)) => Answer::data(answer, additionals, zone, serial),
    }
}

/// The code for types that no name has, but that mean something else in a question. ANY is answered like a type.
pub(crate) const fn meta_type(kind: u16) -> Option<u16> {
    match kind {
        // Transfers are not offered. These four are the QTYPEs besides ANY (RFC 1035, 3.2.3).
        kind::AXFR | kind::IXFR => Some(code::REFUSED),
        253 | 254 => Some(code::NOTIMP),
        // Types that live in messages, not in zones (RFC 6895, 3.1).
        0 | kind::OPT | 249 | kind::TSIG => Some(code::FORMERR),
        _ => None,
    }
}

/// A question about peers.
struct Asked<'a> {
    zone: &'a Zone,
    owner: &'a WireName,
    snapshot: &'a Snapshot,
    pick: u64,
}

/// What answers, and what is added to it.
type Found = (RrSet, Vec<RrSet>);

impl Asked<'_> {
    /// A, AAAA or TXT of peers; other types have no records here.
    fn peers(&self, filter: u64, kind: u16) -> Option<Found> {
        let Self {
            zone,
            owner,
            snapshot,
            pick,
        } = *self;
        let addresses = |family| {
            let peers = snapshot.select(zone.selection(), filter, family, pick, ADDRESSES);
            zone.addresses(owner, peers.iter().map(|peer| peer.addr.ip()))
        };
        let set = match kind {
            A => addresses(Family::V4),
            AAAA => addresses(Family::V6),
            TXT => {
                let peers = snapshot.select(zone.selection(), filter, Family::Text, pick, TEXTS);
                let peers = peers.into_iter();
                zone.texts(owner, peers.map(|peer| (peer, snapshot.address(peer))))
            }
            _ => return None,
        };
        Some((set, Vec::new()))
    }

    /// SRV records and the addresses of their targets.
    fn services(&self, filter: u64) -> Found {
        let Self {
            zone,
            owner,
            snapshot,
            pick,
        } = *self;
        let peers = snapshot.select(zone.selection(), filter, Family::Any, pick, SERVICES);
        let (services, targets) = zone.services(owner, peers.into_iter());
        let mut additionals: Vec<RrSet> = Vec::with_capacity(targets.len());
        for (target, ip) in targets {
            // Peers that share an address share the target.
            if !additionals.iter().any(|set| set.owner == target) {
                additionals.push(zone.addresses(&target, std::iter::once(ip)));
            }
        }
        (services, additionals)
    }
}

const fn family_type(v4: bool) -> u16 {
    if v4 { A } else { AAAA }
}

#[cfg(test)]
mod tests;
