//! Where the lab plays: namespaces of its own for networks, mounts and processes.
//!
//! The first process of the last is the lab's worker, and the kernel ends all others with it. The networks have their names in a
//! directory that only these processes see, and go with them. So nothing is left of a lab, however it ends, and two of them don't
//! get in each other's way.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::bench::worker::Running;

/// What the lab keeps while it runs, in memory.
const ROOM: &str = "/run/lab";

/// Programs, and the Debian packages that they are in.
const PROGRAMS: [(&str, &str); 12] = [
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ss", "iproute2"),
    ("turnserver", "coturn"),
    ("turnutils_natdiscovery", "coturn"),
    ("stun", "stun-client"),
    ("miniupnpd", "miniupnpd-nftables"),
    ("upnpc", "miniupnpc"),
    ("dig", "bind9-dnsutils"),
];

/// New namespaces. The worker ends with `unshare`, which ends with the lab.
const UNSHARE: [&str; 9] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Why the lab can't be run here, if so.
pub(super) fn lacking() -> Option<String> {
    let tried = Command::new("setpriv").args(UNSHARE).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("no reason was given");
            return Some(format!("namespaces need root: {said}"));
        }
        Err(error) => return Some(format!("setpriv (util-linux) can't be run: {error}")),
    }
    let missing: Vec<String> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(program, package)| format!("{program} (Debian: apt-get install {package})"))
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

fn is_there(program: &str) -> bool {
    // Debian keeps some of them where only root looks.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(system);
    places.any(|place| place.join(program).is_file())
}

/// Starts the worker in its namespaces. It has to call [`enter`] first.
pub(super) fn start(arguments: &[&str]) -> anyhow::Result<Running> {
    let mut program = Command::new("setpriv");
    program
        .args(UNSHARE)
        .arg("--")
        .arg(std::env::current_exe()?);
    Running::start_by(program, arguments)
}

/// Makes room for names of networks and for files, which nobody else sees, and gives the place for files.
pub(super) fn enter() -> anyhow::Result<PathBuf> {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none", "/run"])
        .stdin(Stdio::null())
        .status()
        .context("mount can't be run")?;
    ensure!(mounted.success(), "no room in memory: mount: {mounted}");
    let room = PathBuf::from(ROOM);
    std::fs::create_dir_all("/run/netns")?;
    std::fs::create_dir_all(&room)?;
    Ok(room)
}
