//! The real crawler, started on a made-up store: a process whose memory and processor time are looked at from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::http::Connection;

/// Longest time to start with all peers in memory.
const START: Duration = Duration::from_secs(60);

/// Clock ticks in a second, in which Linux tells processor time (`USER_HZ`, the same on all machines that it runs on).
const TICKS: f64 = 100.0;

/// Visits are far apart, so that peers stay as they were made; nobody but loopback is dialled.
const SETTINGS: &str = "do_not_probe = \"DIR/do-not-probe\"\nseeders = []\n\
    [schedule]\ngood_min_secs = 43200\ngood_max_secs = 86400\nbackoff_first_secs = 43200\nbackoff_cap_secs = 86400\n";

/// A crawler that runs.
pub(super) struct Crawler {
    child: Child,
    pub(super) http: SocketAddr,
}

impl Crawler {
    /// Starts it, and waits until its dashboard knows all `peers`.
    pub(super) async fn start(dir: &Path, peers: u32) -> anyhow::Result<Self> {
        let settings = dir.join("crawler.toml");
        fs::write(dir.join("do-not-probe"), "::/0\n")?;
        fs::write(
            &settings,
            SETTINGS.replace("DIR", &dir.display().to_string()),
        )?;
        let mut child = Command::new(program()?)
            .args(["run", "--network", "devnet", "--http", "127.0.0.1:0"])
            .args([
                "--no-dns",
                "--no-bootstrap",
                "--log-format",
                "json",
                "--data-dir",
            ])
            .arg(dir)
            .arg("--config")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start quantumcoin-crawler")?;
        let log = child.stderr.take().context("its log is read here")?;
        let (told, heard) = mpsc::channel();
        // Reads to the end, so that the crawler never waits for its log to be read.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(addr) = address(&line) {
                    // Nobody listens any more when the crawler took too long.
                    let _ = told.send(addr);
                } else if line.contains("ERROR") {
                    eprintln!("{line}");
                }
            }
        });
        let crawler = Self {
            http: heard
                .recv_timeout(START)
                .inspect_err(|_| {
                    // It is not ours to wait for any longer.
                    let _ = child.kill();
                })
                .context("quantumcoin-crawler does not say where its dashboard is")?,
            child,
        };
        crawler.wait_for(peers).await?;
        Ok(crawler)
    }

    async fn wait_for(&self, peers: u32) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        loop {
            let mut connection = Connection::open(self.http).await?;
            let answer = connection.get("/api/v1/peers?limit=1", None).await?;
            let json: serde_json::Value = serde_json::from_slice(&answer.body)?;
            if json.get("total").and_then(serde_json::Value::as_u64) >= Some(peers.into()) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the dashboard never knew all peers");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it has resident, MB.
    pub(super) fn rss_mb(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("Linux tells no VmRSS")? * 1_024.0 / 1e6)
    }

    /// Processor time of all its threads so far, seconds.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field, its name, may hold spaces and ends with the last bracket.
        let (_, rest) = text.rsplit_once(')').context("no process's line")?;
        let mut fields = rest.split_whitespace().skip(11).map(str::parse::<f64>);
        let (user, system) = (fields.next(), fields.next());
        match (user, system) {
            (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS),
            _ => anyhow::bail!("Linux tells no processor time of the crawler"),
        }
    }
}

impl Drop for Crawler {
    fn drop(&mut self) {
        // One that has ended is not there to be killed, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that was built beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("quantumcoin-crawler");
    ensure!(
        path.is_file(),
        "{} is missing; build it with: cargo build --release --bins",
        path.display()
    );
    Ok(path)
}

/// Where a line of the log says that the dashboard is.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("dashboard on http://")?;
    rest.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let line = r#"{"level":"INFO","fields":{"message":"dashboard on http://127.0.0.1:4711/"}}"#;
        assert_eq!(address(line), Some("127.0.0.1:4711".parse().unwrap()));
        assert_eq!(address("dashboard"), None);
    }
}
