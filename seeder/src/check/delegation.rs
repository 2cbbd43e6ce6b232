//! What the world outside says about a zone, judged: resolvers, the parent zone's servers, and the zone's own name
//! servers.
//!
//! Everything here is pure; [`super::gather`] does the asking.

mod ds;
mod servers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData},
};

pub(super) use self::ds::Ds;
use super::{
    Finding, Level, Topic, parent,
    server::{Said, code_name},
};
use crate::{ask::AskError, dnssec::key::Key, zone::Zone};

/// What a zone is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours {
    /// Its name.
    pub(super) zone: Name,
    /// Its name servers.
    pub(super) servers: BTreeSet<Name>,
    /// Addresses of those that lie within the zone.
    pub(super) glue: BTreeSet<IpAddr>,
    /// Whether it is signed, and by what.
    pub(super) signing: Signing,
    /// Lines for the parent zone: NS and glue.
    pub(super) records: Vec<String>,
}

/// Whether a zone is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signing {
    /// The keys can't be read.
    Unknown,
    /// It has no keys.
    Unsigned,
    /// It has keys.
    Signed {
        /// What the parent may name.
        ds: BTreeSet<Ds>,
        /// Until then, Unix seconds, caches may hold unsigned answers: the parent is to wait.
        wait_until: Option<i64>,
    },
}

impl Signing {
    /// By the keys of a zone.
    pub(super) fn by(keys: &[Arc<Key>], now: i64) -> Self {
        if keys.is_empty() {
            return Self::Unsigned;
        }
        let told = keys.iter().any(|key| key.times.is_for_parent(now));
        let moments = parent::entry_points(keys, now).filter_map(|key| key.times.sync_publish);
        Self::Signed {
            ds: parent::entry_points(keys, now)
                .map(|key| Ds::new(key.ds()))
                .collect(),
            wait_until: moments.min().filter(|at| !told && *at > now),
        }
    }

    /// Whether there are keys.
    pub(super) const fn is_signed(&self) -> bool {
        matches!(self, Self::Signed { .. })
    }
}

impl Ours {
    /// Of the settings.
    pub(super) fn of(zone: &Zone, signing: Signing) -> Self {
        let records = zone.delegation().records().unwrap_or_default();
        let names = records.into_iter().filter_map(|record| match record.data {
            RData::NS(ns) => Some(ns.0),
            _ => None,
        });
        Self {
            zone: zone.apex().clone(),
            servers: names.collect(),
            glue: zone.name_server_addresses().into_iter().collect(),
            signing,
            records: parent::delegation(zone),
        }
    }

    fn is_inside(&self, server: &Name) -> bool {
        self.zone.zone_of(server)
    }

    /// The lines that the parent needs for one name server, or for all.
    fn lines(&self, server: Option<&Name>) -> String {
        let owner =
            |line: &&String| server.is_none_or(|server| line.starts_with(&format!("{server} ")));
        let lines: Vec<&str> = self
            .records
            .iter()
            .filter(owner)
            .map(String::as_str)
            .collect();
        lines.join("\n")
    }
}

/// What was seen of a zone from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// What each resolver said.
    pub(super) resolvers: Vec<AtResolver>,
    /// The parent; `None` when it could not be found.
    pub(super) parent: Option<Parent>,
    /// Addresses of all name servers that we or the parent name, by a resolver and by glue.
    pub(super) addresses: BTreeMap<Name, BTreeSet<IpAddr>>,
    /// What each of them answers.
    pub(super) servers: Vec<AtServer>,
}

/// One resolver.
#[derive(Debug, Clone)]
pub(super) struct AtResolver {
    /// Its address.
    pub(super) resolver: SocketAddr,
    /// What it says.
    pub(super) said: Result<Resolved, AskError>,
}

/// What a resolver finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Response code.
    pub(super) code: ResponseCode,
    /// The zone's name servers.
    pub(super) servers: BTreeSet<Name>,
    /// Its DS records; `None` when it did not tell.
    pub(super) ds: Option<BTreeSet<Ds>>,
}

/// The zone above.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    /// Its name.
    pub(super) zone: Name,
    /// What its servers say; those that say the same stand together.
    pub(super) views: Vec<View>,
    /// Those that say nothing, and why.
    pub(super) silent: Vec<String>,
}

/// What servers of the parent say about the delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Who says so.
    pub(super) by: Vec<SocketAddr>,
    /// The name servers that it delegates to.
    pub(super) servers: BTreeSet<Name>,
    /// Addresses that come with it; `None` when the server holds the zone itself, so that it shows no delegation.
    pub(super) glue: Option<BTreeMap<Name, BTreeSet<IpAddr>>>,
    /// DS records; `None` when it did not tell.
    pub(super) ds: Option<BTreeSet<Ds>>,
}

/// One address of a name server.
#[derive(Debug, Clone)]
pub(super) struct AtServer {
    /// Its name.
    pub(super) name: Name,
    /// Its address.
    pub(super) addr: IpAddr,
    /// What it answers over UDP.
    pub(super) udp: Result<Said, AskError>,
    /// What it answers over TCP.
    pub(super) tcp: Result<Said, AskError>,
}

impl Seen {
    /// Whether anybody out there answered by IPv4 or by IPv6.
    fn reaches(&self, v4: bool) -> bool {
        let resolvers = self.resolvers.iter().filter(|at| at.said.is_ok());
        let views = self.parent.iter().flat_map(|parent| &parent.views);
        let servers = self.servers.iter().filter(|at| at.udp.is_ok());
        let mut addresses = resolvers
            .map(|at| at.resolver.ip())
            .chain(views.flat_map(|view| view.by.iter().map(SocketAddr::ip)))
            .chain(servers.map(|at| at.addr));
        addresses.any(|ip| ip.is_ipv4() == v4)
    }
}

/// Judges a zone's delegation.
pub(super) fn judge(ours: &Ours, seen: &Seen, now: i64) -> Vec<Finding> {
    let mut findings = resolvers(ours, seen);
    if seen.resolvers.iter().any(|at| at.said.is_ok()) {
        findings.extend(parent_zone(ours, seen));
        findings.extend(ds::judge(ours, seen));
        findings.extend(servers::judge(ours, seen, now));
    }
    findings.extend(servers::spread(ours, seen));
    findings
}

/// A finding about a zone.
fn of(ours: &Ours, level: Level, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding::new(Topic::Delegation, level, &ours.zone, found, mend)
}

fn list<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    all.join(", ")
}

/// What resolvers find; those that find the same stand in one line.
fn resolvers(ours: &Ours, seen: &Seen) -> Vec<Finding> {
    let mut silent = Vec::new();
    let mut groups: Vec<(Vec<IpAddr>, &Resolved)> = Vec::new();
    for AtResolver { resolver, said } in &seen.resolvers {
        match said {
            Err(error) => silent.push((resolver.ip(), error)),
            Ok(said) => {
                let same = groups
                    .iter_mut()
                    .find(|(_, other)| (other.code, &other.servers) == (said.code, &said.servers));
                match same {
                    Some((by, _)) => by.push(resolver.ip()),
                    None => groups.push((vec![resolver.ip()], said)),
                }
            }
        }
    }
    let mut findings: Vec<Finding> = groups
        .iter()
        .map(|(by, said)| resolved(ours, &list(by), said))
        .collect();
    if findings.is_empty() {
        let why = silent.first().map_or_else(
            || "the questions took too long".to_owned(),
            |(ip, error)| format!("{ip}: {error}"),
        );
        findings.push(of(
            ours,
            Level::Note,
            format!("no resolver is reachable from here ({why}), so that the delegation was not looked at"),
            "run this check from where the internet can be reached, or name a resolver that can: --resolver IP",
        ));
    } else if let Some((_, why)) = silent.first() {
        let by = list(silent.iter().map(|(ip, _)| ip));
        let found = format!("not reachable from here: {by} ({why})");
        findings.push(of(ours, Level::Note, found, ""));
    }
    findings
}

fn resolved(ours: &Ours, by: &str, said: &Resolved) -> Finding {
    let first = by.split(',').next().unwrap_or_default();
    let zone = &ours.zone;
    match said.code {
        ResponseCode::NoError if said.servers == ours.servers => {
            let found = format!("{by}: its name servers are {}", list(&said.servers));
            of(ours, Level::Ok, found, "")
        }
        ResponseCode::NoError if !said.servers.is_empty() => {
            let (level, found) = differing(ours, &said.servers);
            let mend = "make --ns and the parent's NS records agree; resolvers may take an hour or a day to notice";
            of(ours, level, format!("{by}: {found}"), mend)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => of(
            ours,
            Level::Error,
            format!("{by}: there is no such zone ({})", code_name(said.code)),
            format!("put these into the parent zone:\n{}", ours.lines(None)),
        ),
        ResponseCode::ServFail => of(
            ours,
            Level::Error,
            format!("{by}: can't be resolved (SERVFAIL)"),
            format!(
                "no name server answers, or DNSSEC is broken: see the lines below. `dig @{first} {zone} SOA \
                 +cd` has an answer only when it is DNSSEC"
            ),
        ),
        code => of(
            ours,
            Level::Note,
            format!(
                "{by}: does not want to be asked by us ({})",
                code_name(code)
            ),
            "name another resolver with --resolver IP",
        ),
    }
}

/// Name servers elsewhere that are not ours: an error when none is.
fn differing(ours: &Ours, theirs: &BTreeSet<Name>) -> (Level, String) {
    let level = if ours.servers.is_disjoint(theirs) {
        Level::Error
    } else {
        Level::Warning
    };
    let found = format!(
        "its name servers are {}, but by the seeder's settings {}",
        list(theirs),
        list(&ours.servers)
    );
    (level, found)
}

fn parent_zone(ours: &Ours, seen: &Seen) -> Vec<Finding> {
    let Some(parent) = &seen.parent else {
        return vec![of(
            ours,
            Level::Note,
            "the parent zone could not be found from here",
            "",
        )];
    };
    if parent.views.is_empty() {
        let found = format!(
            "no name server of the parent zone {} is reachable from here ({})",
            parent.zone,
            parent.silent.first().map_or("it has none", String::as_str)
        );
        return vec![of(
            ours,
            Level::Note,
            found,
            "is port 53 to the internet barred here? `dig +trace` shows it",
        )];
    }
    let mut findings = Vec::new();
    for view in &parent.views {
        findings.push(delegated(ours, parent, view));
        if let (Some(glue), false) = (&view.glue, view.servers.is_empty()) {
            findings.extend(servers::glue(ours, &view.servers, glue));
        }
    }
    if parent.views.len() > 1 {
        let found = format!("the name servers of {} do not agree about it", parent.zone);
        let mend = "if the parent was changed just now, wait until all its servers have the change; else tell \
         its operator";
        findings.push(of(ours, Level::Warning, found, mend));
    }
    findings
}

fn delegated(ours: &Ours, parent: &Parent, view: &View) -> Finding {
    let who = format!(
        "parent zone {} (by {})",
        parent.zone,
        list(view.by.iter().map(SocketAddr::ip))
    );
    let mend = || format!("put these into {}:\n{}", parent.zone, ours.lines(None));
    if view.servers.is_empty() {
        let found = format!("the {who} does not delegate it");
        return of(ours, Level::Error, found, mend());
    }
    if view.servers == ours.servers {
        let found = format!("the {who} delegates it to {}", list(&view.servers));
        return of(ours, Level::Ok, found, "");
    }
    let (level, found) = differing(ours, &view.servers);
    of(
        ours,
        level,
        format!("by the {who} {found}"),
        format!("name the same servers with --ns, or {}", mend()),
    )
}

#[cfg(test)]
mod tests;
