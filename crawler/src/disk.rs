//! How much room there is for the store.

use std::path::Path;

/// Free bytes for this program on the disk that holds `path`, and all of its bytes; `None` where the system does not tell.
#[cfg(unix)]
pub(crate) fn space(path: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// Free bytes for this program on the disk that holds `path`, and all of its bytes; `None` where the system does not tell.
#[cfg(not(unix))]
pub(crate) fn space(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_no_more_free_than_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (free, all) = space(dir.path()).unwrap();
        assert!(all > 0 && free <= all, "{free} of {all}");
        assert_eq!(space(&dir.path().join("missing")), None);
    }
}
