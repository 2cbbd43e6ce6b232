//! `quantumcoin-seeder check`: whether everything is as it should be, and how to mend what is not.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::print;
use crate::{
    ask::DNS_PORT,
    check::{self, CheckOptions, DEFAULT_NTP, DEFAULT_RESOLVERS, Level, Report},
    config::{SeederConfig, default_store},
};

/// How to look.
#[derive(Debug, Clone, Args)]
pub(super) struct Check {
    /// Print one JSON object in place of text.
    #[arg(long)]
    json: bool,
    /// Resolver that is asked for the zones, as in 9.9.9.9 or [::1]:5353; may be repeated.
    /// [default: those of Cloudflare, Google and Quad9, by IPv4 and IPv6]
    #[arg(long, value_name = "IP", value_delimiter = ',', value_parser = resolver)]
    resolver: Vec<SocketAddr>,
    /// Time server that the clock is compared with.
    #[arg(long, value_name = "HOST", default_value = DEFAULT_NTP)]
    ntp: String,
    /// Look at this machine alone: neither time server, nor resolvers, nor the parent zone.
    #[arg(long)]
    offline: bool,
    /// Port at which name servers are asked, the parent's too. For tests, and for networks of one's own.
    #[arg(long, value_name = "PORT", default_value_t = DNS_PORT, hide = true)]
    port_of_servers: u16,
}

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let ip = text
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, DNS_PORT));
    ip.or_else(|_| text.parse()).map_err(|_| {
        "write an IP address, with a port where it is not 53: 9.9.9.9, 127.0.0.1:5353 or [::1]:5353".to_owned()
    })
}

/// Where the systemd units of deploy/ keep the crawler's stores, by StateDirectory.
const OF_THE_UNITS: &str = "/var/lib/quantumcoin-crawler";

/// The units are told by systemd where their data are; this check, run by a person, is not: where it has no store of its
/// own, it looks at theirs.
fn store(config: &SeederConfig, of_the_units: &Path) -> Option<PathBuf> {
    let network = &config.spec.network;
    // What may not be looked at is there.
    let there = |path: &Path| !matches!(path.try_exists(), Ok(false));
    let theirs = of_the_units.join(network).join("crawl.sqlite");
    let is_default = config.store == default_store(network);
    let has_none = !config.store.as_deref().is_some_and(there);
    if is_default && has_none && there(&theirs) {
        return Some(theirs);
    }
    config.store.clone()
}

/// Checks, prints what was found, and fails when something is broken. Settings that can't be read are a finding as
/// well.
pub(super) async fn run(
    config: anyhow::Result<SeederConfig>,
    check: Check,
) -> anyhow::Result<ExitCode> {
    let defaults = DEFAULT_RESOLVERS.map(|ip| SocketAddr::new(ip, DNS_PORT));
    let options = CheckOptions {
        resolvers: if check.resolver.is_empty() {
            defaults.to_vec()
        } else {
            check.resolver
        },
        ntp: check.ntp,
        offline: check.offline,
        server_port: check.port_of_servers,
    };
    let report = match config {
        Ok(mut config) => {
            config.store = store(&config, Path::new(OF_THE_UNITS));
            check::run(&config, &options).await
        }
        Err(error) => Report::of_broken_settings(&format!("{error:#}")),
    };
    if check.json {
        print(&format!("{}\n", report.json()?))?;
    } else {
        print(&report.text())?;
    }
    Ok(match report.count(Level::Error) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use quantumcoin::chain_spec::ChainSpec;

    use super::*;

    #[test]
    fn without_a_store_of_its_own_it_looks_at_that_of_the_units() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("devnet/crawl.sqlite");
        let mut config = SeederConfig::new(ChainSpec::devnet());
        config.store = default_store("devnet");
        let by_default = config.store.clone();
        let mine = by_default.as_ref().is_some_and(|path| path.exists());
        assert_eq!(store(&config, dir.path()), by_default);
        std::fs::create_dir(dir.path().join("devnet")).unwrap();
        std::fs::write(&theirs, "").unwrap();
        if !mine {
            assert_eq!(store(&config, dir.path()), Some(theirs));
        }
        // One that was named is taken as it is.
        config.store = Some("/named/crawl.sqlite".into());
        assert_eq!(store(&config, dir.path()), config.store);
    }
}
