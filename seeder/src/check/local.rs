//! Configuration and keys.

use std::{io, path::Path};

use quantumcoin::reachability::netgroup::is_routable;

use super::{Finding, KeyDirectory, Level, Topic};
use crate::{
    ask::DNS_PORT,
    config::{ConfigError, SeederConfig},
    dnssec::{
        keyfile::{Fault, KeyFileError},
        keyring::{Current, Keyring},
    },
    state::refuse_inner,
    wire::name::WireName,
    words::date,
    zone::Zone,
};

/// What to run when files are there but can't be read: the seeder's user can, as deploy/sysusers.d names it.
pub(super) const AS_THE_SEEDER: &str = "run this check as the user that the seeder runs as: `sudo -u quantumcoin \
 quantumcoin-seeder check …`";

/// How bad it is that this user may not read a file. A seeder at work can, since it would not have started; before its
/// first start nobody knows, unless the check runs as the seeder's user.
pub(super) const fn unread(at_work: bool) -> Level {
    match at_work {
        true => Level::Note,
        false => Level::Warning,
    }
}

/// The settings: whether zones can be made of them, and what of them can't work on the internet.
pub(super) fn config(
    config: &SeederConfig,
    zones: &Result<Vec<Zone>, ConfigError>,
) -> Vec<Finding> {
    let mut findings = match zones {
        Ok(zones) => {
            let allow_private = config.spec.network_protocol.allow_private_addresses;
            let zones = zones.iter();
            zones
                .flat_map(|zone| zone_settings(zone, allow_private))
                .collect()
        }
        Err(error) => vec![Finding::new(
            Topic::Config,
            Level::Error,
            "zones",
            error.to_string(),
            "change that option, or its line in the file of --config; `quantumcoin-seeder zone` lists the zones \
             when it is right",
        )],
    };
    findings.push(listening(config));
    findings
}

fn zone_settings(zone: &Zone, allow_private: bool) -> Vec<Finding> {
    let apex = zone.apex();
    let servers: Vec<String> = zone.servers().iter().map(shown).collect();
    let what = format!(
        "its name servers are {}; peers are kept for {} s",
        servers.join(", "),
        zone.ttl()
    );
    let mut findings = vec![Finding::ok(Topic::Config, apex, what)];
    let mut servers = zone.own_servers().iter();
    if let Some(inside) = servers.find(|server| zone.addresses_of(server).next().is_none()) {
        findings.push(Finding::new(
            Topic::Config,
            Level::Error,
            apex,
            format!("{inside:?} lies within the zone and has no address, so that nobody can find it"),
            "name its public addresses: --ns-address 192.0.2.53 --ns-address 2001:db8::53 (yours in their place)",
        ));
    }
    let all = zone.name_server_addresses().into_iter();
    let private: Vec<String> = all
        .filter(|ip| !is_routable(*ip, allow_private))
        .map(|ip| ip.to_string())
        .collect();
    if !private.is_empty() {
        let found = format!(
            "its name server is said to be at {}, where no resolver on the internet can reach it",
            private.join(" and ")
        );
        let mend = "name public addresses with --ns-address; your provider's panel shows them, or `curl -4 \
                    ifconfig.co`";
        findings.push(Finding::new(
            Topic::Config,
            Level::Warning,
            apex,
            found,
            mend,
        ));
    }
    findings
}

fn shown(name: &WireName) -> String {
    format!("{name:?}")
}

fn listening(config: &SeederConfig) -> Finding {
    let all: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    if all.is_empty() {
        let words = ConfigError::NoListen.to_string();
        let mend = "leave `listen` out of the file of --config to listen on every address";
        return Finding::new(Topic::Config, Level::Error, "listen", words, mend);
    }
    let found = format!("UDP and TCP on {}", all.join(", "));
    if config.listen.iter().any(|addr| addr.port() == DNS_PORT) {
        return Finding::ok(Topic::Config, "listen", found);
    }
    Finding::new(
        Topic::Config,
        Level::Note,
        "listen",
        format!("{found}; resolvers ask at port {DNS_PORT} and nowhere else"),
        format!("listen on port {DNS_PORT}, or have a firewall or proxy hand on what comes to it"),
    )
}

/// The keys of each zone: what they do, until when, and what is wrong with them. `at_work` says whether a seeder
/// answers.
pub(super) fn keys(
    directory: &KeyDirectory,
    all: &[Zone],
    at_work: bool,
    now: i64,
) -> Vec<Finding> {
    let KeyDirectory { path, zones, ring } = directory;
    match ring {
        Ok(ring) => zones
            .iter()
            .map(|zone| keys_of(zone, all, path, ring, now))
            .collect(),
        Err(error) => {
            let level = match &error.fault {
                Fault::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    unread(at_work)
                }
                _ => Level::Error,
            };
            let (found, mend) = (error.to_string(), mend_key_file(error));
            vec![Finding::new(Topic::Config, level, "keys", found, mend)]
        }
    }
}

/// No zone has a directory of keys.
pub(super) fn no_keys() -> Finding {
    Finding::new(
        Topic::Config,
        Level::Note,
        "keys",
        "no zone is signed: no directory of keys is set",
        "DNSSEC is your choice: `quantumcoin-seeder keys generate --keys DIR`, then run with --keys DIR (docs/seeder.md)",
    )
}

fn mend_key_file(error: &KeyFileError) -> String {
    let KeyFileError { path, fault } = error;
    match fault {
        Fault::Io(error) if error.kind() == io::ErrorKind::NotFound => format!(
            "make it with `quantumcoin-seeder keys generate --keys {}`, or name the right directory",
            path.display()
        ),
        Fault::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            AS_THE_SEEDER.to_owned()
        }
        _ => "put the right file in its place, or take it out of the directory of keys".to_owned(),
    }
}

fn keys_of(zone: &Zone, zones: &[Zone], dir: &Path, ring: &Keyring, now: i64) -> Finding {
    let (apex, wire) = (zone.apex(), zone.apex_wire());
    let list = format!(
        "`quantumcoin-seeder keys list --zone {apex} --keys {}` shows the keys",
        dir.display()
    );
    let of =
        |level, found: String, mend: String| Finding::new(Topic::Config, level, apex, found, mend);
    let current = match ring.current(wire, now) {
        Ok(None) => {
            let found = format!("is not signed: {} holds no key of it", dir.display());
            let mend = format!(
                "to sign it: `quantumcoin-seeder keys generate --zone {apex} --keys {}`",
                dir.display()
            );
            return of(Level::Note, found, mend);
        }
        Ok(Some(current)) => current,
        Err(error) => return of(Level::Error, error.to_string(), list),
    };
    if let Err(error) = refuse_inner(zone, zones) {
        let mend = format!(
            "serve the inner zone by another seeder, or take the keys of {apex} out of {}",
            dir.display()
        );
        return of(Level::Error, error.to_string(), mend);
    }
    let moments = || {
        ring.keys(wire)
            .iter()
            .filter_map(|key| key.times.next_change(now))
    };
    let signs = format!("is signed by {}", tags(&current));
    // Each change of a key, until one leaves nothing to sign with.
    let mut moment = moments().min();
    while let Some(at) = moment {
        if let Err(error) = ring.current(wire, at) {
            let found = format!("{signs}, but from {} on it can't be: {error}", date(at));
            let mend = format!("`quantumcoin-seeder keys roll` in time; {list}");
            return of(Level::Warning, found, mend);
        }
        let keys = ring.keys(wire).iter();
        moment = keys.filter_map(|key| key.times.next_change(at)).min();
    }
    let next = moments().min().map_or_else(
        || "no change of keys is planned".to_owned(),
        |at| format!("the next change of keys is at {}", date(at)),
    );
    let leaves = ring.leaving(wire).map_or_else(String::new, |since| {
        format!("; it is to become unsigned (since {})", date(since))
    });
    let found = format!("{signs}, anew at each refresh for a week; {next}{leaves}");
    Finding::ok(Topic::Config, apex, found)
}

fn tags(current: &Current) -> String {
    let mut all: Vec<String> = Vec::new();
    for key in current.key_signing.iter().chain(&current.zone_signing) {
        let one = format!("{} ({})", key.tag(), key.algorithm().name());
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all.join(" and ")
}

#[cfg(test)]
mod tests;
