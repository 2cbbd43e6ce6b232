//! What the command line prints: the only place of the node that writes to standard output.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quantumcoin::chain::{BlockRef, CheckReport};
use quantumcoin::chain_spec::GenesisSpec;
use quantumcoin::network::SyncReport;
use quantumcoin::service::output;
use quantumcoin_node::client;
use serde_json::Value;

/// Prints a line. Where nobody reads on (`| head`) nothing is lost, and a disk that is full is found out by whoever writes
/// there next.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = quantumcoin::service::output::line(format_args!($($words)*));
    }};
}

/// Good to know beside a result, to standard error.
pub(super) fn note(text: &str) {
    eprintln!("note: {text}");
}

pub(super) fn text(text: &str) {
    // As `say`.
    let _ = output::print(text);
}

pub(super) fn hashes(count: u64) {
    eprint!("\r{:.1} billion hashes", count as f64 / 1e9);
}

pub(super) fn genesis(genesis: &GenesisSpec) {
    eprintln!();
    say!("[genesis]");
    match toml::to_string(genesis) {
        Ok(words) => text(&words),
        Err(error) => eprintln!("error: {error}"),
    }
}

/// Tells how far a long work is, at most five times a second, where somebody looks. A total of 0 is unknown.
pub(super) fn progress(what: &'static str, total: u64) -> impl FnMut(u64) {
    let watched = std::io::stderr().is_terminal();
    let mut last: Option<Instant> = None;
    move |done| {
        let due = last.is_none_or(|last| last.elapsed() >= Duration::from_millis(200));
        if watched && due {
            last = Some(Instant::now());
            match total {
                0 => eprint!("\r{what} {done} "),
                _ => eprint!("\r{what} {done} of {total} "),
            }
        }
    }
}

pub(super) fn check_report(report: &CheckReport, json: bool) {
    if json {
        let value = serde_json::json!({
            "ok": true,
            "height": report.tip.height,
            "tip": report.tip.hash.to_string(),
            "blocks": report.blocks,
            "bytes": report.bytes,
            "signatures": report.signatures,
            "coins": report.coins,
            "supply": report.supply,
        });
        say!("{value}");
        return;
    }
    say!(
        "chain      block {} ({})",
        report.tip.height,
        report.tip.hash
    );
    say!("blocks     {} read, {} bytes", report.blocks, report.bytes);
    say!("signatures {} checked", report.signatures);
    say!(
        "coins      {} worth {} base units",
        report.coins,
        report.supply
    );
    say!("everything fits together");
}

pub(super) fn exported(last: BlockRef, file: &Path) {
    say!(
        "exported up to block {} ({}) to {}",
        last.height,
        last.hash,
        file.display()
    );
}

pub(super) fn imported(tip: BlockRef) {
    say!("the chain is at block {} ({})", tip.height, tip.hash);
}

pub(super) fn sync_report(report: &SyncReport) {
    say!(
        "synced: block {} ({}), {} blocks verified in {:.1} s, {} peers",
        report.height,
        report.tip,
        report.blocks,
        report.elapsed.as_secs_f64(),
        report.peers
    );
}

fn ban_line(host: &str, offence: &str, until: Option<u64>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let left = until.map_or_else(
        || "for ever".to_owned(),
        |until| {
            format!(
                "for {} more minutes",
                until.saturating_sub(now).div_ceil(60)
            )
        },
    );
    format!("banned     {host} {left} ({offence})")
}

/// Prints the status of the node whose API is at `http`.
pub(super) async fn status(http: SocketAddr, json: bool) -> anyhow::Result<()> {
    let status = client::get(http, "/api/v1/status").await?;
    if json {
        say!("{status}");
        return Ok(());
    }
    let text = |value: &Value| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        // Some are a peer's own words, which must not command a terminal.
        text.chars().filter(|c| !c.is_control()).collect::<String>()
    };
    say!("network    {}", text(&status["network"]));
    say!("node id    {}", text(&status["node_id"]));
    say!("listens    {}", text(&status["listen_addr"]));
    match &status["external"] {
        Value::Null => say!("told       no address: `quantumcoin-node nat` says why"),
        external => say!(
            "told       {} (seen by {})",
            text(&external["addr"]),
            external["votes"]
        ),
    }
    if status["nat"]["enabled"] == Value::Bool(true) {
        say!("reachable  {}", text(&status["nat"]["reachable"]));
    }
    say!(
        "chain      block {} of {}{}",
        status["sync"]["block_height"],
        status["sync"]["header_height"],
        if status["sync"]["synced"] == Value::Bool(true) {
            ", synced"
        } else {
            ""
        }
    );
    say!(
        "peers      {} outbound, {} inbound; {} addresses known",
        status["outbound"],
        status["inbound"],
        status["known_addresses"]
    );
    for seed in status["seeds"].as_array().into_iter().flatten() {
        say!(
            "seed       {} via {}: {} addresses{}{}",
            text(&seed["seed"]),
            text(&seed["provider"]),
            seed["addresses"],
            seed["validation"]
                .as_str()
                .map_or_else(String::new, |v| format!(", {v}")),
            seed["error"]
                .as_str()
                .map_or_else(String::new, |e| format!(" ({e})"))
        );
    }
    for ban in status["security"]["bans"].as_array().into_iter().flatten() {
        let until = ban["until"].as_u64();
        say!(
            "{}",
            ban_line(&text(&ban["host"]), &text(&ban["offence"]), until)
        );
    }
    for ban in status["security"]["operator_bans"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let until = ban["until"].as_u64();
        say!(
            "{}",
            ban_line(&text(&ban["network"]), "by the operator", until)
        );
    }
    for peer in status["peers"].as_array().into_iter().flatten() {
        let kind = match peer["purpose"].as_str() {
            Some("block_only") => "block-only".to_owned(),
            _ => text(&peer["direction"]),
        };
        say!(
            "  {kind:<10} {:<24} block {:<8} {} {}",
            text(&peer["addr"]),
            peer["height"],
            text(&peer["transport"]),
            text(&peer["user_agent"])
        );
    }
    Ok(())
}
