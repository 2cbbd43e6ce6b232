//! Carries the commands out. Results go to standard output, everything else to standard error.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use indicatif::{ProgressBar, ProgressStyle};
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::netgroup::is_dialable;
use quantumcoin::reachability::overlay::PeerAddress;
use quantumcoin::service::{output, shutdown, supervisor};
use quantumcoin::store::queries::{PeerDetail, Standard};
use quantumcoin::store::{Sighting, Store, StoreError, StoreReader, Write};
use tokio::sync::mpsc;

use super::dump::addresses;
use super::settings::Reloader;
use crate::config::CrawlerConfig;
use crate::crawler::Crawler;
use crate::dashboard::{peer_json, summary_json};
use crate::observer::Snapshot;
use crate::probe::unix_now;

/// Exit status of `explain` for a peer that is not good.
const NOT_GOOD: u8 = 3;

pub(super) async fn run(config: CrawlerConfig, loader: Reloader) -> anyhow::Result<ExitCode> {
    let mut crawler = Crawler::bind(config).await?;
    tokio::spawn(reload(loader, crawler.reloads()));
    if let Some(addr) = crawler.http_addr() {
        tracing::info!("dashboard on http://{addr}/");
    }
    let stop = shutdown::signals();
    let telling = tokio::spawn(supervisor::report(crawler.health(), stop.clone()));
    let ran = crawler.run(stop.clone()).await;
    stop.cancel();
    telling.await?;
    ran?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings again at each SIGHUP. What is wrong with them is told, and the old ones stay.
async fn reload(loader: Reloader, reloads: mpsc::Sender<CrawlerConfig>) {
    let mut hangups = shutdown::reloads();
    while hangups.changed().await.is_ok() {
        match loader.load().await {
            Ok(config) => {
                if reloads.send(config).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!("the settings were not read again, the old ones stay: {error:#}");
            }
        }
    }
}

pub(super) async fn once(config: CrawlerConfig, json: bool) -> anyhow::Result<ExitCode> {
    let crawler = Crawler::bind(config).await?;
    if let Some(addr) = crawler.http_addr() {
        tracing::info!("dashboard on http://{addr}/");
    }
    let bar = progress(&crawler);
    let report = crawler.once(shutdown::signals()).await?;
    bar.finish_and_clear();
    if json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(if report.interrupted {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A line that shows the crawl's progress on a terminal; hidden elsewhere.
fn progress(crawler: &Crawler) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let (metrics, line) = (crawler.metrics(), bar.clone());
    tokio::spawn(async move {
        while !line.is_finished() {
            line.set_message(metrics.progress());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    bar
}

pub(super) async fn status(config: &CrawlerConfig, json: bool) -> anyhow::Result<ExitCode> {
    let reader = open_reader(config).await?;
    let snapshot = Snapshot::take(&reader, unix_now()).await?;
    let network = reader.network().await?;
    if json {
        print(&summary_json(&network, &snapshot).to_string())?;
    } else {
        print(&status_text(&network, &snapshot))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status_text(network: &str, s: &Snapshot) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("network", network.to_owned());
    row("good", s.good.to_string());
    row("reachable", s.counts.reachable.to_string());
    row("known", s.counts.known.to_string());
    row(
        "median height",
        s.standard
            .median
            .map_or_else(|| "unknown".to_owned(), |h| h.to_string()),
    );
    let newest = s
        .standard
        .newest_ok_at
        .map(|at| format!("{} s ago", s.at.saturating_sub(at)));
    row(
        "last passed probe",
        newest.unwrap_or_else(|| "never".to_owned()),
    );
    for (outcome, n) in &s.outcomes {
        row(&format!("  last probe {outcome}"), n.to_string());
    }
    if s.standard.stale {
        row(
            "note",
            "stale: the good set is the last known one only".to_owned(),
        );
    }
    table.to_string()
}

pub(super) async fn add(config: &CrawlerConfig, addr: PeerAddress) -> anyhow::Result<ExitCode> {
    let private = config.spec.network_protocol.allow_private_addresses;
    if let PeerAddress::Socket(addr) = addr
        && !is_dialable(addr, private)
    {
        anyhow::bail!("{addr} is in a reserved or private range, which only devnets dial");
    }
    let store = open_store(config).await?;
    let at = unix_now();
    tell(&store, addr, at).await?;
    store.write(Write::RequestVisit(addr.key(), at)).await?;
    store.close().await?;
    print(&format!(
        "{addr} is queued; a running crawler visits it within seconds, else the next start does"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes in the addresses of a file.
pub(super) async fn import(config: &CrawlerConfig, file: &Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} can't be read", file.display()))?;
    let addrs = addresses(&text).map(|word| {
        word.map_err(|(line, word)| {
            let file = file.display();
            anyhow::anyhow!("{file}, line {line}: {word:?} is no address with port")
        })
    });
    // All or none.
    let addrs: Vec<PeerAddress> = addrs.collect::<Result<_, _>>()?;
    let private = config.spec.network_protocol.allow_private_addresses;
    let store = open_store(config).await?;
    let (at, mut taken) = (unix_now(), 0);
    let may_be_dialled = |addr: &&PeerAddress| match addr {
        PeerAddress::Socket(addr) => is_dialable(*addr, private),
        PeerAddress::Named(..) => true,
    };
    for addr in addrs.iter().filter(may_be_dialled) {
        tell(&store, *addr, at).await?;
        taken += 1;
    }
    store.close().await?;
    let reserved = addrs.len() - taken;
    print(&format!(
        "{taken} addresses taken in, {reserved} left out (reserved or private); a crawler that starts from now on visits them"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The operator tells of an address.
async fn tell(store: &Store, address: PeerAddress, at: i64) -> Result<(), StoreError> {
    let sighting = Sighting {
        address,
        at,
        source: "manual".to_owned(),
        times: 1,
        told_by: 0,
        next_due: at,
    };
    store.write(Write::Sighting(sighting)).await
}

pub(super) async fn explain(
    config: &CrawlerConfig,
    addr: PeerAddress,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let reader = open_reader(config).await?;
    let standard = reader.standard(unix_now()).await?;
    let Some(detail) = reader.peer(addr.key(), unix_now()).await? else {
        anyhow::bail!("{addr} is not known; queue it with: quantumcoin-crawler add {addr}");
    };
    let text = if json {
        peer_json(&detail, &standard).to_string()
    } else {
        explain_text(&detail, &standard, unix_now())
    };
    print(&text)?;
    let good = detail.verdict(&standard).is_good();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_GOOD)
    })
}

fn explain_text(d: &PeerDetail, standard: &Standard, now: i64) -> String {
    let verdict = d.verdict(standard);
    let word = if verdict.is_good() {
        "good"
    } else {
        "not good"
    };
    let mut lines = vec![format!("{}: {word}", d.address)];
    for r in &verdict.rules {
        let mark = if r.passed { "pass" } else { "FAIL" };
        lines.push(format!("  {mark}  {:<10}  {}", r.rule.as_str(), r.detail));
    }
    let reason = match d.facts.last_outcome {
        None => "it was not visited yet".to_owned(),
        Some(Outcome::Ok) => "the last probe passed".to_owned(),
        Some(outcome) => format!("{} failures in a row, the last: {outcome}", d.failures),
    };
    lines.push(if d.facts.banned {
        "not visited while it is banned".to_owned()
    } else {
        let wait = d.next_due.saturating_sub(now).max(0);
        format!("next visit in {wait} s: {reason}")
    });
    lines.push("recent probes:".to_owned());
    for p in &d.history {
        let age = now.saturating_sub(p.at);
        lines.push(format!(
            "  {age:>8} s ago  {:<18} at {:<9} {:>6} ms",
            p.outcome, p.stage, p.duration_ms
        ));
    }
    lines.join("\n")
}

/// One result to standard output.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    output::line(text)
}

/// Opens the store for reading; a store of another network than the one asked for is refused.
pub(super) async fn open_reader(config: &CrawlerConfig) -> anyhow::Result<StoreReader> {
    let reader = StoreReader::open(&config.store_path()).await?;
    let (found, wanted) = (reader.network().await?, &config.spec.network);
    if &found != wanted {
        anyhow::bail!(
            "{} holds the crawl of {found}, not of {wanted}; name it with --network {found}, or another --data-dir",
            config.store_path().display()
        );
    }
    Ok(reader)
}

/// Opens the store for writing, beside a running crawler.
pub(super) async fn open_store(config: &CrawlerConfig) -> anyhow::Result<Store> {
    Ok(Store::open(&config.store_path(), config.store_options()).await?)
}
