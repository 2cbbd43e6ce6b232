//! A network of our own, where packets can be dropped without anybody else noticing: a process in a network namespace of
//! its own, which goes with it. Needs Linux, root and the packages util-linux, iproute2 and nftables.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::bench::worker::Running;

/// The table that holds our rules.
const TABLE: &str = "qtc_lab";

/// Why no such network can be had here, if so.
pub(super) fn lacking() -> Option<String> {
    let tried = Command::new("unshare")
        .args(["-n", "--", "sh", "-c"])
        .arg("ip link set lo up && nft list ruleset")
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("no reason was given");
            Some(format!(
                "a network namespace with nft needs root, iproute2 and nftables: {said}"
            ))
        }
        Err(error) => Some(format!("unshare (util-linux) can't be run: {error}")),
    }
}

/// Starts a worker in a network of its own. It has to call [`enter`] first.
pub(super) fn start(arguments: &[&str]) -> anyhow::Result<Running> {
    let mut unshare = Command::new("unshare");
    unshare.args(["-n", "--"]).arg(std::env::current_exe()?);
    Running::start_by(unshare, arguments)
}

/// Brings loopback up, which a new namespace has down.
pub(super) fn enter() -> anyhow::Result<()> {
    let done = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    ensure!(done.context("ip can't be run")?.success(), "no loopback");
    Ok(())
}

/// From now on TCP gives a connection up after so many attempts to send again what was lost; 15 by default, which takes
/// a quarter of an hour. This namespace only.
pub(super) fn give_up_after(attempts: u8) -> anyhow::Result<()> {
    let setting = "/proc/sys/net/ipv4/tcp_retries2";
    std::fs::write(setting, attempts.to_string()).with_context(|| format!("can't set {setting}"))
}

/// Loses packets for as long as it lives.
#[derive(Debug)]
pub(super) struct Losing(());

impl Losing {
    /// What arrives and matches one of these nft expressions is lost. It is lost where it arrives, as in the world: were it
    /// dropped where it is sent, TCP would hear of it and try again at once.
    pub(super) fn what(matches: &[&str]) -> anyhow::Result<Self> {
        let rules: String = matches
            .iter()
            .map(|what| format!("{what} drop\n"))
            .collect();
        nft(&format!(
            "table inet {TABLE} {{\n\
             chain arriving {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
        ))?;
        Ok(Self(()))
    }

    /// From now on everything arrives.
    pub(super) fn end(self) -> anyhow::Result<()> {
        nft(&format!("delete table inet {TABLE}\n"))
    }
}

/// Gives nft a script.
fn nft(script: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("nft can't be run")?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
