//! The crawler's store: whether it can be read, and whom it gives to serve.

use std::{fs::File, io, net::IpAddr, path::PathBuf, time::Duration};

use quantumcoin::{
    reachability::overlay::is_stand_in,
    store::{StoreError, StoreReader},
};
use tokio::time::timeout;

use super::{
    Finding, Level, Topic,
    local::{AS_THE_SEEDER, unread},
};
use crate::{config::SeederConfig, snapshot::LEAST, words::span};

/// Longest wait for the store: twice the 5 s that SQLite waits for a lock.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// What to do about a store that is there and wrong: the words of the error say it, and its writer may know more.
const READ_THE_LOG: &str = "do what the message says; the crawler's log may tell more: `journalctl -u \
 quantumcoin-crawler`";

/// What a store says.
#[derive(Debug)]
pub(super) enum StoreState {
    /// None is set, and there is no place where it would be by default.
    Nowhere,
    /// This user may not read it.
    Denied,
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
pub(super) async fn look(config: &SeederConfig, now: i64) -> StoreState {
    let Some(path) = &config.store else {
        return StoreState::Nowhere;
    };
    // SQLite says of both that the file can't be opened, and of a directory that is closed to us that it is not there.
    if let Err(error) = File::open(path)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return StoreState::Denied;
    }
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

/// Whether there is somebody to serve, and how fresh that is. `at_work` says whether a seeder answers.
pub(super) fn judge(state: &StoreState, wanted: &Wanted, at_work: bool, now: i64) -> Vec<Finding> {
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
        StoreState::Denied => {
            let found = "may not be read by this user, so that nothing is known of it";
            vec![of(unread(at_work), found.to_owned(), AS_THE_SEEDER)]
        }
        StoreState::Failed(error @ StoreError::Open { .. }) => {
            without(&unnamed(&error.to_string(), wanted), AS_THE_SEEDER)
        }
        StoreState::Failed(error) => without(&unnamed(&error.to_string(), wanted), READ_THE_LOG),
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
