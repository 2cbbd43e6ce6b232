//! What was seen of a zone from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{op::ResponseCode, rr::Name};

use super::{Ds, Ours};
use crate::{ask::AskError, check::server::Said};

/// All that was seen. It is filled step by step: when time runs out, what came until then counts.
#[derive(Debug, Clone, Default)]
pub(in crate::check) struct Seen {
    /// What each resolver said.
    pub(in crate::check) resolvers: Vec<AtResolver>,
    /// The parent; `None` when it could not be found.
    pub(in crate::check) parent: Option<Parent>,
    /// Addresses of all name servers that we or the parent name, by a resolver and by glue.
    pub(in crate::check) addresses: BTreeMap<Name, BTreeSet<IpAddr>>,
    /// Name servers of which no resolver could tell all addresses.
    pub(in crate::check) unknown: BTreeSet<Name>,
    /// Name servers that stand for other names (CNAME).
    pub(in crate::check) aliases: BTreeSet<Name>,
    /// What each of them answers.
    pub(in crate::check) servers: Vec<AtServer>,
    /// Whether time ran out before all were asked.
    pub(in crate::check) late: bool,
}

/// One resolver.
#[derive(Debug, Clone)]
pub(in crate::check) struct AtResolver {
    /// Its address.
    pub(in crate::check) resolver: SocketAddr,
    /// What it says.
    pub(in crate::check) said: Result<Resolved, AskError>,
}

/// What a resolver finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Resolved {
    /// Response code.
    pub(in crate::check) code: ResponseCode,
    /// The zone's name servers.
    pub(in crate::check) servers: BTreeSet<Name>,
    /// Its DS records; `None` when it did not tell.
    pub(in crate::check) ds: Option<BTreeSet<Ds>>,
}

/// The zone above.
#[derive(Debug, Clone)]
pub(in crate::check) struct Parent {
    /// Its name.
    pub(in crate::check) zone: Name,
    /// What its servers say; those that say the same stand together.
    pub(in crate::check) views: Vec<View>,
    /// Those that say nothing, and why.
    pub(in crate::check) silent: Vec<String>,
    /// How many of them a resolver on the way answered for.
    pub(in crate::check) replaced: usize,
}

/// What servers of the parent say about the delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct View {
    /// Who says so.
    pub(in crate::check) by: Vec<SocketAddr>,
    /// The name servers that it delegates to.
    pub(in crate::check) servers: BTreeSet<Name>,
    /// Addresses that come with it; `None` when the server holds the zone itself, so that it shows no delegation.
    pub(in crate::check) glue: Option<BTreeMap<Name, BTreeSet<IpAddr>>>,
    /// DS records; `None` when it did not tell.
    pub(in crate::check) ds: Option<BTreeSet<Ds>>,
}

/// One address of a name server.
#[derive(Debug, Clone)]
pub(in crate::check) struct AtServer {
    /// Its name.
    pub(in crate::check) name: Name,
    /// Its address.
    pub(in crate::check) addr: IpAddr,
    /// What it answers over UDP.
    pub(in crate::check) udp: Result<Said, AskError>,
    /// What it answers over TCP.
    pub(in crate::check) tcp: Result<Said, AskError>,
}

impl Seen {
    /// Whether anybody out there answered by IPv4 or by IPv6.
    pub(super) fn reaches(&self, v4: bool) -> bool {
        let resolvers = self.resolvers.iter().filter(|at| at.said.is_ok());
        let views = self.parent.iter().flat_map(|parent| &parent.views);
        let servers = self.servers.iter().filter(|at| at.udp.is_ok());
        let mut addresses = resolvers
            .map(|at| at.resolver.ip())
            .chain(views.flat_map(|view| view.by.iter().map(SocketAddr::ip)))
            .chain(servers.map(|at| at.addr));
        addresses.any(|ip| ip.is_ipv4() == v4)
    }

    /// Whether the network here has its own resolver answer all DNS, whomever it is sent to: then nothing is known of
    /// the servers themselves.
    pub(super) fn is_intercepted(&self) -> bool {
        let above = self
            .parent
            .as_ref()
            .map(|parent| parent.views.is_empty() && parent.replaced > 0);
        let said = || self.servers.iter().filter_map(|at| at.udp.as_ref().ok());
        above.unwrap_or_else(|| said().next().is_some()) && said().all(Said::is_resolvers)
    }

    /// Whether all servers of the parent that could be asked delegate as they should: then a resolver that says
    /// otherwise remembers what was.
    pub(super) fn is_delegated(&self, ours: &Ours) -> bool {
        let views = || self.parent.iter().flat_map(|parent| &parent.views);
        views().next().is_some() && views().all(|view| view.servers == ours.servers)
    }
}

impl View {
    /// The addresses of name servers within the zone: others may come with a delegation or not.
    fn needed<'a>(&'a self, zone: &'a Name) -> Option<BTreeMap<&'a Name, &'a BTreeSet<IpAddr>>> {
        let inside = |glue: &'a BTreeMap<Name, BTreeSet<IpAddr>>| {
            let mine = glue.iter().filter(|(name, _)| zone.zone_of(name));
            mine.collect()
        };
        self.glue.as_ref().map(inside)
    }

    /// Whether two servers say the same, as far as both say something.
    fn agrees(&self, other: &Self, zone: &Name) -> bool {
        fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            }
        }
        self.servers == other.servers
            && same(self.needed(zone), other.needed(zone))
            && same(self.ds.as_ref(), other.ds.as_ref())
    }

    /// Puts it beside those that say the same of `zone`.
    pub(in crate::check) fn join(self, views: &mut Vec<Self>, zone: &Name) {
        match views.iter_mut().find(|other| other.agrees(&self, zone)) {
            None => views.push(self),
            Some(other) => {
                other.by.extend(self.by);
                other.ds = other.ds.take().or(self.ds);
                match (&mut other.glue, self.glue) {
                    (Some(glue), Some(more)) => glue.extend(more),
                    (glue, more) => *glue = glue.take().or(more),
                }
            }
        }
    }
}
