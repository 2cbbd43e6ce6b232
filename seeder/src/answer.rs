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

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::TXT},
};

use crate::{
    snapshot::{ADDRESSES, Family, SERVICES, Snapshot, TEXTS},
    wire::name::WireName,
    zone::{Place, Zone},
};

/// One parsed question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name, in the case in which it was asked.
    pub name: &'a Name,
    /// The class.
    pub class: DNSClass,
    /// The type.
    pub kind: RecordType,
}

/// What to send back, before it is fitted to the client's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// RCODE.
    pub code: ResponseCode,
    /// The AA bit: the name is in one of our zones.
    pub authoritative: bool,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section without OPT; may be left out when there is no room (RFC 2181, 9).
    pub additionals: Vec<Record>,
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
            DNSClass::IN => {}
            DNSClass::CH => return self.chaos(question),
            _ => return Answer::refused(),
        }
        let name = WireName::of(question.name);
        let Some((index, zone)) = self.zone_of(&name) else {
            return Answer::refused();
        };
        let answer = match question.kind {
            // Transfers are not offered. These four are the QTYPEs besides ANY (RFC 1035, 3.2.3).
            RecordType::AXFR | RecordType::IXFR => Answer::refused(),
            RecordType::Unknown(253 | 254) => Answer::of(ResponseCode::NotImp),
            // Types that live in messages, not in zones (RFC 6895, 3.1).
            RecordType::OPT | RecordType::TSIG | RecordType::ZERO | RecordType::Unknown(249) => {
                Answer::of(ResponseCode::FormErr)
            }
            _ => zone_answer(zone, zone.place(&name), question, snapshot, pick),
        };
        Answer {
            zone: Some(index),
            ..answer
        }
    }

    /// How many different answers there are to a question about peers; others have one.
    #[must_use]
    pub fn variants(&self, name: &WireName, kind: RecordType, snapshot: &Snapshot) -> u64 {
        let place = self.zone_of(name).map(|(_, zone)| zone.place(name));
        let filter = match place {
            Some(Place::Apex) => 0,
            Some(Place::Filter(filter) | Place::Service(filter)) => filter,
            _ => return 1,
        };
        let family = match kind {
            RecordType::A => Family::V4,
            RecordType::AAAA => Family::V6,
            RecordType::TXT | RecordType::SRV => Family::Any,
            _ => return 1,
        };
        snapshot.variants(filter, family)
    }

    fn zone_of(&self, name: &WireName) -> Option<(usize, &Zone)> {
        self.zones
            .iter()
            .enumerate()
            .filter(|(_, zone)| name.below(zone.apex_wire()).is_some())
            .max_by_key(|(_, zone)| zone.apex_wire().labels())
    }

    fn chaos(&self, question: &Question<'_>) -> Answer {
        let text = match question.name.to_lowercase().to_ascii().as_str() {
            "version.bind." | "version.server." => &self.identity.version,
            "id.server." | "hostname.bind." => &self.identity.id,
            _ => &None,
        };
        match (text, question.kind) {
            (Some(text), RecordType::TXT | RecordType::ANY) => {
                let data = RData::TXT(TXT::new(vec![text.clone()]));
                let mut record = Record::from_rdata(question.name.clone(), 0, data);
                record.dns_class = DNSClass::CH;
                Answer {
                    authoritative: true,
                    answers: vec![record],
                    ..Answer::of(ResponseCode::NoError)
                }
            }
            _ => Answer::refused(),
        }
    }
}

impl Answer {
    fn of(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            zone: None,
        }
    }

    fn refused() -> Self {
        Self::of(ResponseCode::Refused)
    }

    /// NOERROR with records, or NODATA when there are none.
    fn data(answers: Vec<Record>, additionals: Vec<Record>, zone: &Zone, serial: u32) -> Self {
        let authorities = if answers.is_empty() {
            vec![zone.denial(serial)]
        } else {
            Vec::new()
        };
        Self {
            authoritative: true,
            answers,
            authorities,
            additionals,
            ..Self::of(ResponseCode::NoError)
        }
    }

    /// NOERROR without records.
    pub(crate) fn no_data(zone: &Zone, serial: u32) -> Self {
        Self::data(Vec::new(), Vec::new(), zone, serial)
    }

    /// NXDOMAIN.
    pub(crate) fn no_such_name(zone: &Zone, serial: u32) -> Self {
        Self {
            authoritative: true,
            authorities: vec![zone.denial(serial)],
            ..Self::of(ResponseCode::NXDomain)
        }
    }
}

fn zone_answer(
    zone: &Zone,
    place: Place,
    question: &Question<'_>,
    snapshot: &Snapshot,
    pick: u64,
) -> Answer {
    let exists = match place {
        Place::Nothing => false,
        Place::Host(ip) => snapshot.knows_host(ip),
        _ => true,
    };
    if !exists {
        return Answer::no_such_name(zone, snapshot.serial);
    }
    let owner = question.name;
    let asked = Asked {
        zone,
        owner,
        snapshot,
        pick,
    };
    let (answers, additionals) = match (place, question.kind) {
        (Place::Hollow | Place::Nothing, _) => Default::default(),
        (_, RecordType::ANY) => (vec![zone.minimal_any(owner)], Vec::new()),
        (Place::Apex, RecordType::SOA) => (vec![zone.authority(owner, snapshot.serial)], vec![]),
        (Place::Apex, RecordType::NS) => (zone.delegation(owner).collect(), zone.glue().collect()),
        (Place::Apex, kind) => (asked.peers(0, kind), Vec::new()),
        (Place::Filter(filter), kind) => (asked.peers(filter, kind), Vec::new()),
        (Place::Service(filter), RecordType::SRV) => asked.services(filter),
        (Place::Service(_), _) => Default::default(),
        (Place::Host(ip), kind) if kind == family_type(ip.is_ipv4()) => {
            (vec![zone.address(owner, ip)], Vec::new())
        }
        (Place::Host(_), _) => Default::default(),
        (Place::NameServer, kind) => {
            let records = zone.name_server_records(owner);
            (
                records
                    .filter(|record| record.record_type() == kind)
                    .collect(),
                Vec::new(),
            )
        }
    };
    Answer::data(answers, additionals, zone, snapshot.serial)
}

/// A question about peers.
struct Asked<'a> {
    zone: &'a Zone,
    owner: &'a Name,
    snapshot: &'a Snapshot,
    pick: u64,
}

impl Asked<'_> {
    /// A, AAAA or TXT of peers; other types have no records here.
    fn peers(&self, filter: u64, kind: RecordType) -> Vec<Record> {
        let Self {
            zone,
            owner,
            snapshot,
            pick,
        } = *self;
        let addresses = |family| {
            let peers = snapshot.select(filter, family, pick, ADDRESSES);
            peers
                .into_iter()
                .map(|peer| zone.address(owner, peer.addr.ip()))
                .collect()
        };
        match kind {
            RecordType::A => addresses(Family::V4),
            RecordType::AAAA => addresses(Family::V6),
            RecordType::TXT => {
                let peers = snapshot.select(filter, Family::Any, pick, TEXTS);
                peers
                    .into_iter()
                    .map(|peer| zone.text(owner, peer))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// SRV records and the addresses of their targets. A peer whose target's name would be too long for
    /// DNS is left out; that takes an apex of more than 200 characters.
    fn services(&self, filter: u64) -> (Vec<Record>, Vec<Record>) {
        let Self {
            zone,
            owner,
            snapshot,
            pick,
        } = *self;
        let mut additionals: Vec<Record> = Vec::new();
        let mut answers = Vec::new();
        for peer in snapshot.select(filter, Family::Any, pick, SERVICES) {
            if let (Ok(service), Ok(host)) = (zone.service(owner, peer), zone.host(peer.addr.ip()))
            {
                answers.push(service);
                // Peers that share an address share the target.
                if !additionals.contains(&host) {
                    additionals.push(host);
                }
            }
        }
        (answers, additionals)
    }
}

const fn family_type(v4: bool) -> RecordType {
    if v4 { RecordType::A } else { RecordType::AAAA }
}

#[cfg(test)]
mod tests;
