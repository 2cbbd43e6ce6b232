//! What the world outside says about a zone, judged: resolvers, the parent zone's servers, and the zone's own name
//! servers.
//!
//! Everything here is pure; [`super::gather`] does the asking.

mod ds;
mod seen;
mod servers;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData},
};

pub(super) use self::{
    ds::Ds,
    seen::{AtResolver, AtServer, Parent, Resolved, Seen, View},
};
use super::{Finding, Level, Topic, parent, server::code_name};
use crate::{
    dnssec::{keyring::Keyring, times::Phase},
    wire::name::WireName,
    zone::Zone,
};

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
    /// The keys can't be read, or can't sign.
    Unknown,
    /// It has no keys.
    Unsigned,
    /// It has keys.
    Signed {
        /// What the parent may name: entry points that sign.
        ds: BTreeSet<Ds>,
        /// Entry points that are published and don't sign yet. Named alone, they leave nothing to validate by.
        waiting: BTreeSet<Ds>,
        /// Until then, Unix seconds, caches may hold unsigned answers: the parent is to wait.
        wait_until: Option<i64>,
        /// Since then, Unix seconds, it is to become unsigned.
        leaving: Option<i64>,
    },
}

impl Signing {
    /// By the keys of a zone.
    pub(super) fn by(ring: &Keyring, zone: &WireName, now: i64) -> Self {
        match ring.current(zone, now) {
            Ok(None) => return Self::Unsigned,
            // Nor does `run` sign with them; one that runs goes on with those before.
            Err(_) => return Self::Unknown,
            Ok(Some(_)) => {}
        }
        let keys = ring.keys(zone);
        let told = keys.iter().any(|key| key.times.is_for_parent(now));
        let moments = parent::entry_points(keys, now).filter_map(|key| key.times.sync_publish);
        let of = |phase: Phase| -> BTreeSet<Ds> {
            let all = parent::entry_points(keys, now);
            let mine = all.filter(|key| key.times.phase(now) == phase);
            mine.map(|key| Ds::new(key.ds())).collect()
        };
        Self::Signed {
            ds: of(Phase::Active),
            waiting: of(Phase::Published),
            wait_until: moments.min().filter(|at| !told && *at > now),
            leaving: ring.leaving(zone),
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

/// Judges a zone's delegation.
pub(super) fn judge(ours: &Ours, seen: &Seen, now: i64) -> Vec<Finding> {
    let mut findings = resolvers(ours, seen);
    if seen.late {
        let found =
            "the questions took too long: what came until then is judged, the rest is not known";
        let mend = "run this check again, or from where the network is quicker";
        findings.push(of(ours, Level::Note, found, mend));
    }
    if seen.resolvers.iter().any(|at| at.said.is_ok()) {
        let intercepted = seen.is_intercepted();
        if intercepted {
            findings.push(of(
                ours,
                Level::Note,
                "a resolver of the network here answers in place of every server that is asked, as in hotels and \
                 with some providers; so nothing is known of the parent's servers and of the zone's own",
                "run this check from another network, or on the seeder's machine",
            ));
        } else {
            findings.extend(parent_zone(ours, seen));
        }
        findings.extend(ds::judge(ours, seen));
        findings.extend(servers::names(ours, seen));
        if !intercepted {
            findings.extend(servers::judge(ours, seen, now));
        }
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
    let delegated = seen.is_delegated(ours);
    let mut findings: Vec<Finding> = groups
        .iter()
        .map(|(by, said)| resolved(ours, &list(by), said, delegated))
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

/// `delegated` says whether the parent's servers delegate as they should, so that the resolver's memory is old.
fn resolved(ours: &Ours, by: &str, said: &Resolved, delegated: bool) -> Finding {
    let first = by.split(',').next().unwrap_or_default();
    let zone = &ours.zone;
    match said.code {
        ResponseCode::NoError if said.servers == ours.servers => {
            let found = format!("{by}: its name servers are {}", list(&said.servers));
            of(ours, Level::Ok, found, "")
        }
        ResponseCode::NoError if !said.servers.is_empty() => {
            let (level, found) = differing(ours, &said.servers);
            let (level, mend) = match delegated {
                true => (
                    level.min(Level::Warning),
                    "the parent has the right ones: wait until the old ones have left the caches, a day or two; if it \
                     stays, another name server of the zone names others",
                ),
                false => (
                    level,
                    "make --ns and the parent's NS records agree; resolvers may take an hour or a day to notice",
                ),
            };
            of(ours, level, format!("{by}: {found}"), mend)
        }
        ResponseCode::NoError | ResponseCode::NXDomain if delegated => of(
            ours,
            Level::Note,
            format!(
                "{by}: there is no such zone ({}), as it remembers from before the parent had it",
                code_name(said.code)
            ),
            "wait: a denial leaves the caches after the time in the parent's SOA, a few hours at most",
        ),
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
    if let [_, ..] = parent.silent.as_slice() {
        let found = format!("not heard of the parent zone: {}", parent.silent.join("; "));
        findings.push(of(ours, Level::Note, found, ""));
    }
    // Who holds the zone itself tells what is in there, and not what the parent has.
    let views = parent.views.iter().filter(|view| view.glue.is_some());
    if views.count() > 1 {
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
