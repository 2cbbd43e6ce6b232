//! The servers that are compared, each with one worker on one core and the same records in the answers.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::super::worker::Running;
use super::load;
use super::{ADDRESSES, SERVER_CORE, ZONES, parts};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// A running server.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    root: u32,
    process: Process,
}

enum Process {
    Worker(#[expect(dead_code, reason = "held for its end")] Running),
    Foreign(Child),
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Foreign(child) = self {
            // NSD's children end with it only when it is asked politely.
            let pid = child.id().to_string();
            let _ = Command::new("kill").arg(&pid).status();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// One of this program's own, by the name of its part; what it needs to know is in `arguments`.
    pub(super) fn own(part: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut program = Command::new("taskset");
        program
            .args(["-c", SERVER_CORE])
            .arg(std::env::current_exe()?);
        let all: Vec<&str> = ["dns", part].iter().chain(arguments).copied().collect();
        let mut running = Running::start_by(program, &all)?;
        let told = running.result()?;
        let addr = told.get("addr").and_then(|addr| addr.as_str());
        let pid = told.get("pid").and_then(serde_json::Value::as_u64);
        Ok(Self {
            addr: addr.context("a server told no address")?.parse()?,
            root: u32::try_from(pid.context("a server told no pid")?)?,
            process: Process::Worker(running),
        })
    }

    /// The seeder's own program, which lies beside this one.
    pub(super) fn seeder(dir: &Path, signed: bool, limit: Option<u32>) -> anyhow::Result<Self> {
        let home = made(dir, "seeder", signed)?;
        let addr = free_port()?;
        let mut config =
            format!("listen = [\"{addr}\"]\nhttp = \"127.0.0.1:0\"\nudp_workers = 1\n");
        writeln!(config, "zones = {ZONES:?}\nstore = {:?}", parts::store(dir))?;
        // Its peers are addresses of others, whom nobody here may dial.
        writeln!(config, "audit_seconds = 0")?;
        if let Some(limit) = limit {
            writeln!(config, "rate_limit = {limit}")?;
        }
        if signed {
            writeln!(config, "keys = {:?}", parts::keys(dir))?;
        }
        let path = home.join("seeder.toml");
        fs::write(&path, config)?;
        let program = std::env::current_exe()?.with_file_name("quantumcoin-seeder");
        let flags = ["run", "--network", "mainnet", "--config"];
        let server = foreign(&program, &flags, &path, addr, signed)?;
        let hint = "`cargo build --release --bins` makes it";
        server.with_context(|| format!("{} is not there: {hint}", program.display()))
    }

    /// Knot, when it is installed.
    pub(super) fn knot(dir: &Path, signed: bool) -> anyhow::Result<Option<Self>> {
        let home = made(dir, "knot", signed)?;
        let mut config = String::new();
        let addr = free_port()?;
        let place = home.display();
        writeln!(
            config,
            "server:\n  rundir: \"{place}\"\n  listen: {}@{}",
            addr.ip(),
            addr.port()
        )?;
        writeln!(
            config,
            "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1"
        )?;
        writeln!(config, "log:\n  - target: stderr\n    any: error")?;
        writeln!(config, "database:\n  storage: \"{place}\"\nzone:")?;
        for zone in ZONES {
            writeln!(
                config,
                "  - domain: {zone}\n    file: \"{}\"",
                zone_file(dir, zone, signed).display()
            )?;
        }
        if !all_there(dir, signed) {
            return Ok(None);
        }
        let path = home.join("knot.conf");
        fs::write(&path, config)?;
        foreign(Path::new("knotd"), &["-c"], &path, addr, signed)
    }

    /// NSD, when it is installed.
    pub(super) fn nsd(dir: &Path, signed: bool) -> anyhow::Result<Option<Self>> {
        let home = made(dir, "nsd", signed)?;
        let mut config = String::new();
        let addr = free_port()?;
        let place = home.display();
        writeln!(
            config,
            "server:\n  server-count: 1\n  ip-address: {}@{}",
            addr.ip(),
            addr.port()
        )?;
        writeln!(
            config,
            "  do-ip6: no\n  username: \"\"\n  minimal-responses: yes\n  rrl-ratelimit: 0"
        )?;
        writeln!(
            config,
            "  zonesdir: \"{place}\"\n  xfrdir: \"{place}\"\n  database: \"\""
        )?;
        for file in ["pidfile", "xfrdfile", "zonelistfile"] {
            writeln!(config, "  {file}: \"{place}/{file}\"")?;
        }
        writeln!(config, "remote-control:\n  control-enable: no")?;
        for zone in ZONES {
            let file = zone_file(dir, zone, signed);
            writeln!(
                config,
                "zone:\n  name: {zone}\n  zonefile: \"{}\"",
                file.display()
            )?;
        }
        if !all_there(dir, signed) {
            return Ok(None);
        }
        let path = home.join("nsd.conf");
        fs::write(&path, config)?;
        foreign(Path::new("nsd"), &["-d", "-c"], &path, addr, signed)
    }

    /// Processor time of all its processes so far, with threads that have ended. The system tells it in hundredths of a second; a
    /// window has some 150 of them.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for pid in family(self.root)? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            // User and system time are the fourteenth and fifteenth field; the third is the first behind the name.
            let times = after.split_whitespace().skip(11).take(2);
            ticks += times
                .filter_map(|time| time.parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(Duration::from_millis(ticks * 10))
    }

    /// What its processes have resident, in MB of a million bytes.
    pub(super) fn rss_mb(&self) -> anyhow::Result<f64> {
        let mut kib = 0;
        for pid in family(self.root)? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let value = line.and_then(|line| line.trim().split(' ').next()?.parse::<u32>().ok());
            kib += value.context("the system tells no resident memory")?;
        }
        Ok(f64::from(kib) * 1024.0 / 1e6)
    }
}

/// A process and its descendants.
fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The command's name is in parentheses and may hold anything.
        let after = stat.rsplit_once(')').map(|(_, rest)| rest);
        let parent = after.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        pairs.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            pairs
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Ok(found)
}

fn made(dir: &Path, name: &str, signed: bool) -> anyhow::Result<PathBuf> {
    let path = dir.join(if signed {
        format!("{name}-signed")
    } else {
        name.to_owned()
    });
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn zone_file(dir: &Path, zone: &str, signed: bool) -> PathBuf {
    let end = if signed { "zone.signed" } else { "zone" };
    dir.join(format!("{zone}.{end}"))
}

fn all_there(dir: &Path, signed: bool) -> bool {
    ZONES
        .iter()
        .all(|zone| zone_file(dir, zone, signed).exists())
}

/// Writes the zones that Knot and NSD serve: at each apex as many addresses as an answer of ours has.
pub(super) fn write_zones(dir: &Path) -> anyhow::Result<()> {
    for zone in ZONES {
        let mut text = format!(
            "{zone}. 3600 IN SOA ns1.{zone}. ops.{zone}. 1 900 300 604800 60\n{zone}. 3600 IN NS ns1.{zone}.\nns1.{zone}. 3600 IN A 127.0.0.1\n"
        );
        for n in 1..=ADDRESSES {
            writeln!(text, "{zone}. 60 IN A 10.{n}.7.1")?;
            writeln!(text, "{zone}. 60 IN AAAA 2400:{n:x}:7::1")?;
        }
        let file = zone_file(dir, zone, false);
        fs::write(&file, text)?;
        sign(dir, zone, &file)?;
    }
    Ok(())
}

/// Signs a zone as NSD's users do, when the tools are installed.
fn sign(dir: &Path, zone: &str, file: &Path) -> anyhow::Result<()> {
    let tool = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(dir);
        command
    };
    let made = tool("ldns-keygen")
        .args(["-a", "ECDSAP256SHA256", "-k", zone])
        .output();
    let Ok(made) = made else {
        eprintln!("ldns-keygen is not installed: figures of others' signed zones are missing");
        return Ok(());
    };
    let key = String::from_utf8(made.stdout)?;
    let signed = tool("ldns-signzone")
        .arg("-o")
        .arg(zone)
        .arg(file)
        .arg(key.trim())
        .output()?;
    let said = String::from_utf8_lossy(&signed.stderr);
    anyhow::ensure!(signed.status.success(), "ldns-signzone: {said}");
    Ok(())
}

/// Times that [`free_port`] looks.
const PORT_TRIES: usize = 64;

/// An address that is free for UDP and for TCP. A port that a client had in the last minute is not, for TCP: after a benchmark
/// with thousands of connections that may be every fifth.
fn free_port() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let addr = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no port of {PORT_TRIES} is free for both UDP and TCP")
}

/// Starts a program of others on the server's core and waits until it answers.
fn foreign(
    program: &Path,
    flags: &[&str],
    config: &Path,
    addr: SocketAddr,
    signed: bool,
) -> anyhow::Result<Option<Server>> {
    let places =
        ["", "/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|dir| Path::new(dir).join(program));
    let Some(path) = places.into_iter().find(|path| path.exists()) else {
        eprintln!(
            "{} is not installed: its figures are missing",
            program.display()
        );
        return Ok(None);
    };
    let child = Command::new("taskset")
        .args(["-c", SERVER_CORE])
        .arg(&path)
        .args(flags)
        .arg(config)
        .stdout(Stdio::null())
        // Of ours only what hinders it; what others say goes through, lest a server that does not start be a riddle.
        .env("QTC_LOG", "warn")
        .spawn()
        .with_context(|| format!("{} can't be started", path.display()))?;
    let mut server = Server {
        addr,
        root: child.id(),
        process: Process::Foreign(child),
    };
    let mix = super::mix(signed);
    let start = Instant::now();
    while start.elapsed() < START {
        // Refused while nobody listens yet.
        let asked = load::latencies(addr, &mix, 50.0, Duration::from_millis(100));
        if asked.is_ok_and(|(_, counts)| counts.answered > 0 && counts.wrong + counts.lost == 0) {
            return Ok(Some(server));
        }
        if let Process::Foreign(child) = &mut server.process
            && let Some(status) = child.try_wait()?
        {
            bail!("{} has ended with {status}", program.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!(
        "{} does not answer as it should within {} s",
        program.display(),
        START.as_secs()
    )
}
