//! The zone's name servers: how the parent tells where they are, what they answer, and where they stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::rr::Name;

use super::{AtServer, Level, Ours, Seen, list, of};
use crate::{
    ask::AskError,
    check::{Finding, server::Said},
    words::span,
};

/// Seconds after which a server's answers should have been renewed: ten times the longest refresh, so that a small
/// difference between clocks does not count.
const STALE: i64 = 600;

/// The addresses that the parent gives with the delegation (RFC 9471): needed for name servers within the zone.
pub(super) fn glue(
    ours: &Ours,
    servers: &BTreeSet<Name>,
    glue: &BTreeMap<Name, BTreeSet<IpAddr>>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for server in servers.iter().filter(|server| ours.is_inside(server)) {
        let theirs = glue.get(server).cloned().unwrap_or_default();
        if theirs.is_empty() {
            findings.push(of(
                ours,
                Level::Error,
                format!("the parent has no glue for {server}, which lies within the zone, so that nobody can find it"),
                format!("put these into the parent zone:\n{}", ours.lines(Some(server))),
            ));
            continue;
        }
        let wrong: Vec<&IpAddr> = theirs.difference(&ours.glue).collect();
        if ours.servers.contains(server) && !wrong.is_empty() {
            findings.push(of(
                ours,
                Level::Error,
                format!(
                    "the parent's glue for {server} is {}, but by the seeder's settings {}",
                    list(&theirs),
                    list(&ours.glue)
                ),
                format!(
                    "if a seeder of this zone answers at {}, name it with --ns-address too; else put this into \
                     the parent zone:\n{}",
                    list(&wrong),
                    ours.lines(Some(server))
                ),
            ));
        }
        told.extend(theirs);
    }
    let unknown: Vec<&IpAddr> = ours.glue.difference(&told).collect();
    if !told.is_empty() && !unknown.is_empty() {
        findings.push(of(
            ours,
            Level::Warning,
            format!(
                "the parent has no glue with {}, which the seeder's settings name",
                list(&unknown)
            ),
            format!("put these into the parent zone:\n{}", ours.lines(None)),
        ));
    }
    if findings.is_empty() && !told.is_empty() {
        findings.push(of(
            ours,
            Level::Ok,
            format!("the parent's glue is right: {}", list(&told)),
            "",
        ));
    }
    findings
}

/// Name servers that have no address, or none that counts.
pub(super) fn names(ours: &Ours, seen: &Seen) -> Vec<Finding> {
    let aliases = seen.aliases.iter().map(|name| {
        of(
            ours,
            Level::Error,
            format!(
                "the name server {name} is an alias (CNAME), which no name server may be (RFC 2181, 10.3): resolvers \
                 don't follow it"
            ),
            format!("give {name} A and AAAA records of its own in place of the CNAME"),
        )
    });
    let none = |name: &Name| seen.addresses.get(name).is_none_or(BTreeSet::is_empty);
    let unknown = seen.unknown.iter().filter(|name| none(name)).map(|name| {
        let found = format!(
            "the addresses of the name server {name} could not be looked up: no resolver answered"
        );
        of(
            ours,
            Level::Note,
            found,
            "run this check again, or with another --resolver IP",
        )
    });
    let lost = seen.addresses.iter().filter(|(name, addresses)| {
        let excused = ours.is_inside(name) || seen.unknown.contains(name);
        addresses.is_empty() && !excused && !seen.aliases.contains(name)
    });
    let lost = lost.map(|(name, _)| {
        of(
            ours,
            Level::Error,
            format!("the name server {name} has no address: resolvers find neither A nor AAAA"),
            format!("add an A and an AAAA record for {name} in its own zone"),
        )
    });
    aliases.chain(unknown).chain(lost).collect()
}

/// What each address of each name server answers.
pub(super) fn judge(ours: &Ours, seen: &Seen, now: i64) -> Vec<Finding> {
    let servers = seen.servers.iter();
    servers.map(|at| judge_one(ours, seen, at, now)).collect()
}

fn judge_one(ours: &Ours, seen: &Seen, at: &AtServer, now: i64) -> Finding {
    let who = format!("{} at {}", at.name, at.addr);
    let (zone, ip) = (&ours.zone, at.addr);
    let said = match &at.udp {
        Ok(said) => said,
        Err(error) => return silent(ours, seen, at, "UDP", error),
    };
    if let Some(fault) = said.fault() {
        return of(
            ours,
            Level::Error,
            format!("{who} is lame: it {fault}"),
            format!(
                "run a seeder with --zone {zone} there (`dig @{ip} +norec {zone} SOA` must show the flag aa), \
                 or take it out of the parent's NS records and of --ns"
            ),
        );
    }
    let over_tcp = match &at.tcp {
        Err(error) => return silent(ours, seen, at, "TCP", error),
        Ok(said) => {
            if let Some(fault) = said.fault() {
                let found = format!("{who} is lame over TCP, though not over UDP: it {fault}");
                return of(
                    ours,
                    Level::Error,
                    found,
                    "somebody else answers TCP there: `ss -lntp` on that machine shows who",
                );
            }
            said
        }
    };
    let whole = if said.cut_off { over_tcp } else { said };
    answered(ours, &who, whole, now)
}

fn answered(ours: &Ours, who: &str, said: &Said, now: i64) -> Finding {
    if ours.signing.is_signed() && !said.signed {
        let found =
            format!("{who} answers without signatures, while the zone is meant to be signed");
        let mend = "give the seeder there the same keys and --keys";
        return of(ours, Level::Error, found, mend);
    }
    let age = said.age(now).unwrap_or_default();
    if age > STALE {
        let found = format!("{who} answers, but from {} ago", span(age));
        let mend = "its seeder can't renew the answers: run this check on that machine";
        return of(ours, Level::Warning, found, mend);
    }
    let found = format!("{who} answers as an authority over UDP and TCP");
    of(ours, Level::Ok, found, "")
}

/// No answer: an error when others of that family answered, else it is we who can't get there.
fn silent(ours: &Ours, seen: &Seen, at: &AtServer, protocol: &str, error: &AskError) -> Finding {
    let AtServer { name, addr, .. } = at;
    let no_route = matches!(error, AskError::NoRoute(_));
    if no_route || !seen.reaches(addr.is_ipv4()) {
        let found = format!("{name} at {addr} is not reachable from here over {protocol}: {error}");
        return of(
            ours,
            Level::Note,
            found,
            "run this check from elsewhere too",
        );
    }
    let zone = &ours.zone;
    let tcp = if protocol == "TCP" { " +tcp" } else { "" };
    of(
        ours,
        Level::Error,
        format!("{name} at {addr} gives no answer over {protocol}: {error}"),
        format!(
            "start the seeder there, and let {protocol} port 53 through the firewall (as in `ufw allow 53`, and \
             in the provider's panel).\nA machine behind NAT may not reach its own public address: then ask from \
             elsewhere, `dig @{addr} +norec{tcp} {zone} SOA`"
        ),
    )
}

/// Whether there are several name servers in several networks, and by which families they can be reached.
pub(super) fn spread(ours: &Ours, seen: &Seen) -> Vec<Finding> {
    let mut addresses: BTreeSet<IpAddr> = seen.addresses.values().flatten().copied().collect();
    if addresses.is_empty() {
        addresses.clone_from(&ours.glue);
    }
    let mut findings = Vec::new();
    let networks: BTreeSet<Vec<u8>> = addresses.iter().map(|ip| network(*ip)).collect();
    if ours.servers.len() < 2 {
        let found = format!(
            "has a single name server, {}: while it is away, nobody finds the zone",
            list(&ours.servers)
        );
        let mend = "run a second seeder elsewhere, name both with --ns at both, and in the parent zone (RFC 2182)";
        findings.push(of(ours, Level::Note, found, mend));
    } else if seen.unknown.is_empty()
        && let [_] = networks.iter().collect::<Vec<_>>().as_slice()
    {
        let found =
            "all its name servers are in one network: while that is away, nobody finds the zone";
        let mend = "move one of them to another provider (RFC 2182)";
        findings.push(of(ours, Level::Note, found, mend));
    }
    if addresses.is_empty() || !seen.unknown.is_empty() {
        return findings;
    }
    if !addresses.iter().any(IpAddr::is_ipv6) {
        let found =
            "no name server has an IPv6 address: resolvers that have IPv6 alone can't ask it";
        let mend = "give one an AAAA record (and --ns-address for one within the zone)";
        findings.push(of(ours, Level::Note, found, mend));
    }
    if !addresses.iter().any(IpAddr::is_ipv4) {
        let found = "no name server has an IPv4 address, which many resolvers need";
        let mend = "give one an A record (and --ns-address for one within the zone)";
        findings.push(of(ours, Level::Warning, found, mend));
    }
    findings
}

/// The network of an address: what is routed as one on the internet, a /24 or a /48.
fn network(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into_iter().take(3).collect(),
        IpAddr::V6(ip) => ip.octets().into_iter().take(6).collect(),
    }
}
