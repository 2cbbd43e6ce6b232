//! One zone: its apex, its name servers, and what each name below it stands for.
//!
//! [`Zone::place`] classifies names without any state; [`render`] makes the records; [`dump`] writes the
//! whole zone as a master file for other name servers and checkers.

pub mod dump;
pub mod label;
pub mod render;
mod server_address;

use std::net::IpAddr;

use hickory_proto::rr::Name;

pub use self::server_address::{NoServerAddress, ServerAddress};

use crate::{snapshot::Selection, wire::name::WireName};

/// TTL of negative answers (RFC 2308) in seconds, and the SOA's minimum: a filter that finds nobody now may
/// find someone at the next refresh.
pub const NEGATIVE_TTL: u32 = 60;

/// Least TTL of peer records in seconds: the policy for DNS seed operators asks for it, and less would turn
/// caches off.
pub const MIN_TTL: u32 = 60;

/// TTL of NS and SOA records and of name server addresses in seconds: they change when an operator moves,
/// and an hour is what a planned move waits for.
pub const INFRASTRUCTURE_TTL: u32 = 3600;

/// What an operator says about one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    apex: Name,
    apex_wire: WireName,
    name_servers: Vec<WireName>,
    /// Those within the zone.
    own_servers: Vec<WireName>,
    /// Addresses of these.
    addresses: Vec<(WireName, IpAddr)>,
    contact: WireName,
    ttl: u32,
    selection: Selection,
}

/// What a name in the zone stands for, before the peers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The zone's own name.
    Apex,
    /// `xN.<apex>`: peers with all service bits of N.
    Filter(u64),
    /// `_qtc._tcp.<apex>` or `_qtc._tcp.xN.<apex>`: SRV; 0 is no filter.
    Service(u64),
    /// `<label>.n.<apex>`: the one address that the label spells.
    Host(IpAddr),
    /// One of the zone's name servers, within the zone.
    NameServer,
    /// Exists only because names below it do (RFC 8020): no records of its own.
    Hollow,
    /// Does not exist.
    Nothing,
}

/// A zone that can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// Not a domain name.
    #[error("{name:?} is no domain name ({reason}); write it as in seed.example.net")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The root can't be a seed's zone.
    #[error("the root can't be a zone here; name the delegated zone, as in seed.example.net")]
    Root,
    /// A name server may not have the zone's own name: its addresses are the peers'.
    #[error("{0} can't be its own name server, since its addresses are the peers; use ns1.{0}")]
    OwnNameServer(Name),
    /// A name server may not have a name that means something else in the zone.
    #[error(
        "{0} can't be a name server: names such as x9, n and _tcp stand for peers and services; use ns1"
    )]
    ReservedServer(String),
    /// The contact is neither a mail address nor a domain name.
    #[error("{0:?} is no contact: write a mail address as in seed@example.net")]
    Contact(String),
    /// TTL out of range.
    #[error("a TTL of {0} s is out of range: seeds use {MIN_TTL} to 86400 s")]
    Ttl(u32),
}

/// What may be set for a zone besides its name.
#[derive(Debug, Clone, Default)]
pub struct ZoneOptions<'a> {
    /// Names of the name servers; empty means `ns1.<apex>`.
    pub name_servers: &'a [String],
    /// Addresses of the name servers inside the zone (glue).
    pub name_server_addresses: &'a [ServerAddress],
    /// Mail address of the operator; empty means `hostmaster.<apex>`.
    pub contact: &'a str,
    /// Seconds that resolvers may keep peer records; 0 means [`MIN_TTL`].
    pub ttl: u32,
    /// Which peers it serves.
    pub selection: Selection,
}

impl Zone {
    /// A zone with the given name.
    ///
    /// # Errors
    /// [`ZoneError`] says what can't be and how to write it.
    pub fn new(apex: &str, options: &ZoneOptions<'_>) -> Result<Self, ZoneError> {
        let apex = parse_name(apex)?;
        if apex.is_root() {
            return Err(ZoneError::Root);
        }
        let mut name_servers = options
            .name_servers
            .iter()
            .map(|name| parse_name(name))
            .collect::<Result<Vec<_>, _>>()?;
        if name_servers.is_empty() {
            name_servers.push(below("ns1", &apex)?);
        }
        if name_servers.contains(&apex) {
            return Err(ZoneError::OwnNameServer(apex));
        }
        let name_servers = distinct(name_servers);
        let contact = match options.contact {
            "" => below("hostmaster", &apex)?,
            contact => contact_name(contact)?,
        };
        let ttl = if options.ttl == 0 {
            MIN_TTL
        } else {
            options.ttl
        };
        if !(MIN_TTL..=86_400).contains(&ttl) {
            return Err(ZoneError::Ttl(ttl));
        }
        let apex_wire = WireName::of(&apex);
        let servers: Vec<WireName> = name_servers.iter().map(WireName::of).collect();
        let inside = |server: &&WireName| server.below(&apex_wire).is_some();
        let own_servers: Vec<WireName> = servers.iter().filter(inside).copied().collect();
        let mut addresses = Vec::new();
        for ServerAddress { server, ip } in options.name_server_addresses {
            let named = server.as_ref().map(WireName::of);
            let mine = own_servers
                .iter()
                .filter(|own| named.is_none_or(|named| named == **own));
            addresses.extend(mine.map(|own| (*own, *ip)));
        }
        let zone = Self {
            own_servers,
            apex_wire,
            apex,
            name_servers: servers,
            addresses: distinct(addresses),
            contact: WireName::of(&contact),
            ttl,
            selection: options.selection.clone(),
        };
        // A name server's addresses must not be those of peers, nor those that are computed.
        let reserved = |server: &&WireName| zone.place(server) != Place::NameServer;
        if let Some(server) = zone.own_servers.iter().find(reserved) {
            return Err(ZoneError::ReservedServer(format!("{server:?}")));
        }
        Ok(zone)
    }

    /// The zone's name, lower-case.
    #[must_use]
    pub const fn apex(&self) -> &Name {
        &self.apex
    }

    /// Those of its name servers that lie in the zone.
    #[must_use]
    pub fn own_servers(&self) -> &[WireName] {
        &self.own_servers
    }

    /// Addresses of all of these.
    #[must_use]
    pub fn name_server_addresses(&self) -> Vec<IpAddr> {
        distinct(self.addresses.iter().map(|(_, ip)| *ip).collect())
    }

    /// Addresses of one of these.
    pub fn addresses_of(&self, server: &WireName) -> impl Iterator<Item = IpAddr> {
        let mine = self.addresses.iter().filter(move |(own, _)| own == server);
        mine.map(|(_, ip)| *ip)
    }

    /// All of its name servers.
    #[must_use]
    pub fn servers(&self) -> &[WireName] {
        &self.name_servers
    }

    /// Its operator, as an SOA names him.
    #[must_use]
    pub const fn contact(&self) -> &WireName {
        &self.contact
    }

    /// Seconds that resolvers may keep peer records.
    #[must_use]
    pub const fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Which peers it serves.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The zone's name in wire form.
    #[must_use]
    pub const fn apex_wire(&self) -> &WireName {
        &self.apex_wire
    }

    /// What `name` stands for, when the zone contains it.
    #[must_use]
    pub fn place(&self, name: &WireName) -> Place {
        let Some(above) = name.below(&self.apex_wire) else {
            return Place::Nothing;
        };
        let label = |index| name.label(index).unwrap_or_default();
        let known = match above {
            0 => Some(Place::Apex),
            1 => match label(0) {
                b"_tcp" | b"n" => Some(Place::Hollow),
                filter => label::filter(filter).map(Place::Filter),
            },
            2 => match (label(0), label(1)) {
                (b"_qtc", b"_tcp") => Some(Place::Service(0)),
                (b"_tcp", filter) => label::filter(filter).map(|_| Place::Hollow),
                (host, b"n") => label::host(host).map(Place::Host),
                _ => None,
            },
            3 => match (label(0), label(1)) {
                (b"_qtc", b"_tcp") => label::filter(label(2)).map(Place::Service),
                _ => None,
            },
            _ => None,
        };
        known.unwrap_or_else(|| self.infrastructure(name))
    }

    fn infrastructure(&self, name: &WireName) -> Place {
        let above = |server: &WireName| server.below(name);
        match self.own_servers.iter().filter_map(above).min() {
            Some(0) => Place::NameServer,
            Some(_) => Place::Hollow,
            None => Place::Nothing,
        }
    }
}

/// Each once, in the order of the first.
fn distinct<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut distinct = Vec::with_capacity(all.len());
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// Reads a domain name, lower-cases it and makes it absolute.
fn parse_name(text: &str) -> Result<Name, ZoneError> {
    let wrong = |reason: String| ZoneError::Name {
        name: text.to_owned(),
        reason,
    };
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    let mut name = Name::from_ascii(text).map_err(|error| wrong(error.to_string()))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

fn below(label: &str, apex: &Name) -> Result<Name, ZoneError> {
    apex.prepend_label(label).map_err(|error| ZoneError::Name {
        name: format!("{label}.{apex}"),
        reason: error.to_string(),
    })
}

/// A mail address as an SOA names it: the local part is one label, dots included (RFC 1035, 3.3.13).
fn contact_name(contact: &str) -> Result<Name, ZoneError> {
    let wrong = || ZoneError::Contact(contact.to_owned());
    match contact.split_once('@') {
        None => parse_name(contact).map_err(|_| wrong()),
        Some((local, domain)) if !local.is_empty() => {
            let domain = parse_name(domain).map_err(|_| wrong())?;
            domain.prepend_label(local.as_bytes()).map_err(|_| wrong())
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
