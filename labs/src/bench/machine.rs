//! The machine and the versions that figures belong to, and what this process has used of it.
//!
//! Linux only: elsewhere the figures are missing, never invented.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// The versions that this program was built with.
const LOCK_FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// Libraries whose speed shows in the figures.
const LIBRARIES: [&str; 9] = [
    "aws-lc-rs",
    "bitcoin",
    "fips204",
    "fjall",
    "hickory-server",
    "rayon",
    "rustls",
    "snow",
    "tokio",
];

/// Two lines: the machine, and the versions.
pub(crate) fn describe() -> [String; 2] {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = format!(
        "machine: {}, {cores} cores, {} GB, Linux {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        field("/proc/meminfo", "MemTotal").map_or_else(|| "?".to_owned(), gigabytes),
        fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
            |_| "of unknown release".to_owned(),
            |text| text.trim().to_owned()
        ),
    );
    let libraries: Vec<String> = LIBRARIES
        .iter()
        .filter_map(|name| Some(format!("{name} {}", locked_version(name)?)))
        .collect();
    let profile = if cfg!(debug_assertions) {
        " (built without optimisation: these figures mean nothing)"
    } else {
        ""
    };
    let versions = format!(
        "versions: {} {}{profile}, {}, {}",
        env!("CARGO_PKG_VERSION"),
        output("git", &["describe", "--always", "--dirty"])
            .unwrap_or_else(|| "of unknown commit".to_owned()),
        output("rustc", &["--version"]).unwrap_or_else(|| "unknown rustc".to_owned()),
        libraries.join(", ")
    );
    [machine, versions]
}

/// Processor time of all threads of this process so far.
#[cfg(target_os = "linux")]
pub(crate) fn cpu_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

/// Processor time of all threads of this process so far.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu_time() -> Option<Duration> {
    None
}

/// The most memory that this process ever had resident, in MB of a million bytes.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let text = field("/proc/self/status", "VmHWM")?;
    let kibibytes: f64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024.0 / 1e6)
}

/// What this process has resident, in KiB.
pub(crate) fn rss_kib() -> Option<f64> {
    let text = field("/proc/self/status", "VmRSS")?;
    text.strip_suffix("kB")?.trim().parse().ok()
}

/// The value of the first line `key : value`.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)?;
    Some(value.trim().to_owned())
}

fn gigabytes(text: String) -> String {
    let kibibytes = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    kibibytes.map_or(text, |n| (n * 1_024 / 1_000_000_000).to_string())
}

/// The first version of a package in the lock file.
fn locked_version(package: &str) -> Option<&'static str> {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK_FILE.lines().skip_while(|line| *line != name).skip(1);
    lines
        .next()?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

/// The first line that a program says, run at the sources.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_versions_of_the_lock_file() {
        assert_eq!(locked_version("bitcoin"), Some("0.32.102"));
        assert_eq!(locked_version("no such package"), None);
        for library in LIBRARIES {
            assert!(locked_version(library).is_some(), "{library}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn knows_what_this_process_has_used() {
        let before = cpu_time().unwrap();
        let held = vec![1_u8; 64 << 20];
        assert!(std::hint::black_box(&held).contains(&1));
        assert!(cpu_time().unwrap() > before);
        assert!(peak_rss_mb().unwrap() > 64.0);
    }
}
