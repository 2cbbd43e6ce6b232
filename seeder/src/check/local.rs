//! Configuration, keys and store.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use quantumcoin::{
    reachability::{netgroup::is_routable, overlay::is_stand_in},
    store::{StoreError, StoreReader},
};
use tokio::time::timeout;

use super::{
    DNS_PORT, Finding, Level, Topic,
    words::{date, span},
};
use crate::{
    config::{ConfigError, SeederConfig},
    dnssec::{
        keyfile::{Fault, KeyFileError},
        keyring::{Current, Keyring},
    },
    snapshot::LEAST,
    state::refuse_inner,
    wire::name::WireName,
    zone::Zone,
};

/// Longest wait for the store: twice the 5 s that SQLite waits for a lock.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// What to run when files are there but can't be read: the seeder's user can, as deploy/sysusers.d names it.
const AS_THE_SEEDER: &str = "run this check as the user that the seeder runs as: `sudo -u quantumcoin \
 quantumcoin-seeder check …`";

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
        return Finding::new(Topic::Config, Level::Error, "listen", words, "");
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

/// The keys of each zone: what they do, until when, and what is wrong with them.
pub(super) fn keys(
    zones: &[Zone],
    all: &[Zone],
    dir: &Path,
    ring: &Result<Keyring, KeyFileError>,
    now: i64,
) -> Vec<Finding> {
    match ring {
        Ok(ring) => zones
            .iter()
            .map(|zone| keys_of(zone, all, dir, ring, now))
            .collect(),
        Err(error) => vec![Finding::new(
            Topic::Config,
            Level::Error,
            "keys",
            error.to_string(),
            mend_key_file(error),
        )],
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
        return of(Level::Error, error.to_string(), String::new());
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
    let found = format!("{signs}, anew at each refresh for a week; {next}");
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

/// What a store says.
#[derive(Debug)]
pub(super) enum StoreState {
    /// None is set, and there is no place where it would be by default.
    Nowhere,
    /// It can't be read.
    Failed(StoreError),
    /// It did not answer in time.
    Hangs,
    /// It is of another network.
    OtherNetwork(String),
    /// It was read.
    Read(Crawl),
}

/// The good peers of a store.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Crawl {
    /// By IPv4 on the network's default port, so that A records can name them.
    pub(super) v4: usize,
    /// The same by IPv6, for AAAA records.
    pub(super) v6: usize,
    /// All others: on other ports, or of overlay networks.
    pub(super) others: usize,
    /// When a probe last passed, Unix seconds.
    pub(super) newest: Option<i64>,
    /// See [`quantumcoin::store::GoodSet::stale`].
    pub(super) stale: bool,
}

impl StoreState {
    /// When a probe last passed, Unix seconds.
    pub(super) const fn newest_probe(&self) -> Option<i64> {
        match self {
            Self::Read(crawl) => crawl.newest,
            _ => None,
        }
    }
}

/// Reads the store.
pub(super) async fn look_at_store(config: &SeederConfig, now: i64) -> StoreState {
    let Some(path) = &config.store else {
        return StoreState::Nowhere;
    };
    let read = async {
        let reader = StoreReader::open(path).await?;
        let network = reader.network().await?;
        let set = reader.good_peers(now).await?;
        reader.close().await;
        Ok((network, set))
    };
    let (network, set) = match timeout(STORE_PATIENCE, read).await {
        Err(_) => return StoreState::Hangs,
        Ok(Err(error)) => return StoreState::Failed(error),
        Ok(Ok(read)) => read,
    };
    if network != config.spec.network {
        return StoreState::OtherNetwork(network);
    }
    let port = config.spec.network_protocol.default_port;
    let mut crawl = Crawl {
        newest: set.newest_probe_at,
        stale: set.stale,
        ..Crawl::default()
    };
    for peer in &set.peers {
        match peer.addr.ip() {
            ip if is_stand_in(ip) || peer.addr.port() != port => crawl.others += 1,
            IpAddr::V4(_) => crawl.v4 += 1,
            IpAddr::V6(_) => crawl.v6 += 1,
        }
    }
    StoreState::Read(crawl)
}

/// What the settings want of a store.
#[derive(Debug)]
pub(super) struct Wanted {
    path: Option<PathBuf>,
    network: String,
    bootstrap: usize,
}

impl Wanted {
    pub(super) fn of(config: &SeederConfig) -> Self {
        Self {
            path: config.store.clone(),
            network: config.spec.network.clone(),
            bootstrap: config.spec.discovery.bootstrap_nodes.len(),
        }
    }

    fn subject(&self) -> String {
        let path = self.path.as_ref();
        path.map_or_else(|| "store".to_owned(), |path| path.display().to_string())
    }

    /// Where nothing can be had from the store: how bad that is, and what is served instead.
    fn without(&self, found: &str) -> (Level, String) {
        match self.bootstrap {
            0 => (
                Level::Error,
                format!("{found}; so there is nobody to serve"),
            ),
            nodes => (
                Level::Warning,
                format!("{found}; the chain spec's {nodes} bootstrap nodes are served meanwhile"),
            ),
        }
    }
}

/// Whether there is somebody to serve, and how fresh that is.
pub(super) fn store(state: &StoreState, wanted: &Wanted, now: i64) -> Vec<Finding> {
    let of = |level, found: String, mend: &str| {
        Finding::new(Topic::Store, level, wanted.subject(), found, mend)
    };
    let without = |found: &str, mend: &str| {
        let (level, found) = wanted.without(found);
        vec![of(level, found, mend)]
    };
    match state {
        StoreState::Nowhere => without(
            "no store is set, and no home directory says where it would be",
            "name the crawler's store: --store /var/lib/quantumcoin-crawler/NETWORK/crawl.sqlite",
        ),
        StoreState::Failed(StoreError::Missing { .. }) => without(
            "is not there (yet)",
            &format!(
                "start the crawler: `systemctl enable --now quantumcoin-crawler`. With the systemd units of \
                 deploy/ the store is --store /var/lib/quantumcoin-crawler/{}/crawl.sqlite",
                wanted.network
            ),
        ),
        StoreState::Failed(error @ StoreError::Open { .. }) => {
            without(&unnamed(&error.to_string(), wanted), AS_THE_SEEDER)
        }
        StoreState::Failed(error) => without(&unnamed(&error.to_string(), wanted), ""),
        StoreState::Hangs => without(
            &format!("gives no answer within {} s", STORE_PATIENCE.as_secs()),
            "is the disk hanging, or does another program hold a lock? `fuser -v` with the file's name shows \
             who has it open",
        ),
        StoreState::OtherNetwork(found) => vec![of(
            Level::Error,
            format!(
                "holds the crawl of {found}, but this seeder serves {}",
                wanted.network
            ),
            "name the right file with --store, or the right network with --network",
        )],
        StoreState::Read(crawl) => crawl_findings(crawl, wanted, now),
    }
}

/// The words of an error without the file that they begin with: the finding names it already.
fn unnamed(words: &str, wanted: &Wanted) -> String {
    let named = format!("{}: ", wanted.subject());
    words.strip_prefix(&named).unwrap_or(words).to_owned()
}

fn crawl_findings(crawl: &Crawl, wanted: &Wanted, now: i64) -> Vec<Finding> {
    let of = |level, found: String, mend: &str| {
        Finding::new(Topic::Store, level, wanted.subject(), found, mend)
    };
    let watch = "`systemctl status quantumcoin-crawler` and `quantumcoin-crawler status` tell what it does; \
                 `quantumcoin-crawler explain ADDR` why a peer is not good";
    let Crawl { v4, v6, others, .. } = *crawl;
    let mut findings = Vec::new();
    if v4 + v6 + others == 0 {
        let (level, found) = wanted
            .without("holds no good peer (a crawler that has just started needs some minutes)");
        findings.push(of(level, found, watch));
    } else {
        let found = format!(
            "{v4} good peers by IPv4 and {v6} by IPv6 on the default port, {others} elsewhere"
        );
        findings.push(of(Level::Ok, found, ""));
        for (count, family, kind) in [(v4, "IPv4", "A"), (v6, "IPv6", "AAAA")] {
            if count < LEAST {
                let found = format!(
                    "with {count} good peers by {family}, answers of type {kind} hold fewer than the usual {LEAST}"
                );
                findings.push(of(Level::Note, found, watch));
            }
        }
    }
    let age = crawl.newest.map(|newest| now.saturating_sub(newest));
    let old = age.map_or_else(
        || "no probe ever passed".to_owned(),
        |age| format!("the newest passed probe is {} old", span(age)),
    );
    if crawl.stale {
        let found =
            format!("{old}: the crawl is stale, since the crawler or its network stands still");
        findings.push(of(Level::Warning, found, watch));
    } else {
        findings.push(of(Level::Ok, old, ""));
    }
    findings
}

#[cfg(test)]
mod tests;
