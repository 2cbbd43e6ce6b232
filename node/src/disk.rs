//! Room on the disk of the data directory, and what the node takes of it: for health and metrics.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::IntGauge;
use quantumcoin::service::health::Check;
use quantumcoin::service::metrics::{Metrics, MetricsError};

/// How often it is looked at: in a minute even a synchronisation writes a few hundred megabytes at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Free bytes below which somebody should look: what three days of full blocks take (4 MB each ten minutes).
const LITTLE: u64 = 2_000_000_000;

/// Free bytes below which the next flush may fail: the largest batch of blocks, and coins beside it.
const NOTHING: u64 = 200_000_000;

/// Looks at the disk.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    free: IntGauge,
    used: IntGauge,
    check: Check,
}

impl Disk {
    pub(crate) fn new(dir: &Path, metrics: &Metrics, check: Check) -> Result<Self, MetricsError> {
        let disk = Self {
            dir: dir.to_owned(),
            free: metrics.gauge("disk_free_bytes", "Room on the disk of the data directory")?,
            used: metrics.gauge(
                "data_dir_bytes",
                "What the files of the data directory take",
            )?,
            check,
        };
        Ok(disk)
    }

    /// Looks once a minute. Never ends.
    pub(crate) async fn watch(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let dir = self.dir.clone();
            let looked = tokio::task::spawn_blocking(move || (free_bytes(&dir), size_of(&dir)));
            let Ok((free, used)) = looked.await else {
                continue;
            };
            self.used.set(i64::try_from(used).unwrap_or(i64::MAX));
            self.judge(free);
        }
    }

    fn judge(&self, free: io::Result<u64>) {
        let free = match free {
            Ok(free) => free,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return self.check.ok(),
            Err(error) => {
                let dir = self.dir.display();
                return self
                    .check
                    .degraded(format!("{dir} can't be looked at: {error}"));
            }
        };
        self.free.set(i64::try_from(free).unwrap_or(i64::MAX));
        let left = format!("{} MB are free in {}", free / 1_000_000, self.dir.display());
        match free {
            ..NOTHING => self.check.failing(left),
            NOTHING..LITTLE => self.check.degraded(left),
            _ => self.check.ok(),
        }
    }
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Other systems tell it in their own ways; there it is not watched.
#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes of all files below `dir`; what vanishes meanwhile counts nothing.
fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use quantumcoin::service::health::{Health, Status};

    use super::*;

    #[test]
    fn room_is_judged_and_files_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("chain")).unwrap();
        fs::write(dir.path().join("chain/blocks"), [0; 500]).unwrap();
        fs::write(dir.path().join("key"), [0; 100]).unwrap();
        assert_eq!(size_of(dir.path()), 600);
        #[cfg(unix)]
        assert!(free_bytes(dir.path()).unwrap() > 0);

        let (health, metrics) = (Health::new(), Metrics::new("test"));
        let disk = Disk::new(dir.path(), &metrics, health.check("disk")).unwrap();
        let judged = |free| {
            disk.judge(free);
            health.ready().status
        };
        assert_eq!(judged(Ok(LITTLE)), Status::Ok);
        assert_eq!(judged(Ok(LITTLE - 1)), Status::Degraded);
        assert_eq!(judged(Ok(NOTHING - 1)), Status::Failing);
        assert!(health.ready().checks[0].reason.contains("199 MB"));
        let gone = Err(io::ErrorKind::NotFound.into());
        assert_eq!(judged(gone), Status::Degraded);
    }
}
