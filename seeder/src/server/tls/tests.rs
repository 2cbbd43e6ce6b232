//! Which certificate is shown, and what is told of it, by a clock of the test's own.

use std::{fs, path::Path, time::SystemTime};

use quantumcoin::service::health::Status;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

const DAY: i64 = 86_400;

/// A certificate for April to June of a year, and the Unix time of its last day.
fn issue(year: i32) -> (String, String, i64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["ns1.seed.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(year, 4, 1);
    params.not_after = date_time_ymd(year, 7, 1);
    let until = params.not_after.unix_timestamp();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem(), until)
}

struct Bench {
    dir: TempDir,
    health: Health,
    expires: IntGauge,
    tls: Tls,
    until: i64,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (certificate, key, until) = issue(2026);
        write(dir.path(), "chain", &certificate);
        write(dir.path(), "key", &key);
        let options = TlsOptions {
            listen: Vec::new(),
            certificate: dir.path().join("chain"),
            key: dir.path().join("key"),
        };
        let health = Health::new();
        let expires = IntGauge::new("expires", "Test.").unwrap();
        let tls = Tls::new(
            options.clone(),
            Certificate::load(&options).unwrap(),
            Duration::from_secs(1),
            health.check("tls"),
            expires.clone(),
        );
        Self {
            dir,
            health,
            expires,
            tls,
            until,
        }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.dir.path(), name, text);
    }

    /// What health says after a look at that time.
    fn look(&self, now: i64) -> (Status, String) {
        self.tls.look(now);
        let [check] = self.health.ready().checks.try_into().unwrap();
        (check.status, check.reason)
    }

    fn shown(&self) -> Arc<ServerConfig> {
        self.tls.current.load_full()
    }
}

/// Writes a file, later than all before: two in a row may come within one tick of the file system's clock.
fn write(dir: &Path, name: &str, text: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TICKS: AtomicU64 = AtomicU64::new(1);
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = fs::File::options().append(true).open(&path).unwrap();
    let ticks = Duration::from_secs(TICKS.fetch_add(1, Ordering::Relaxed));
    file.set_modified(SystemTime::UNIX_EPOCH + ticks).unwrap();
}

#[test]
fn a_renewal_is_taken_up_and_half_of_one_is_not() {
    let bench = Bench::new();
    let first = bench.shown();
    let soon = bench.until - 20 * DAY;
    assert_eq!(bench.look(soon), (Status::Ok, String::new()));
    assert!(Arc::ptr_eq(&first, &bench.shown()), "nothing has changed");
    assert_eq!(bench.expires.get(), bench.until);

    let (certificate, key, until) = issue(2027);
    bench.write("chain", &certificate);
    let (status, words) = bench.look(soon);
    assert_eq!(status, Status::Degraded);
    assert!(
        words.starts_with("showing the certificate of before: the key of [tls]"),
        "{words}"
    );
    assert!(
        words.contains("does not belong to the first certificate"),
        "{words}"
    );
    assert!(Arc::ptr_eq(&first, &bench.shown()));

    bench.write("key", &key);
    let in_time = until - 20 * DAY;
    assert_eq!(bench.look(in_time), (Status::Ok, String::new()));
    assert!(!Arc::ptr_eq(&first, &bench.shown()));
    assert_eq!(bench.expires.get(), until);
}

#[test]
fn a_file_that_is_gone_and_comes_back_is_told_and_forgotten() {
    let bench = Bench::new();
    let now = bench.until - 20 * DAY;
    let (away, home) = (bench.dir.path().join("away"), bench.dir.path().join("key"));
    fs::rename(&home, &away).unwrap();
    let (status, words) = bench.look(now);
    assert_eq!(status, Status::Degraded);
    assert!(words.contains("can't be read"), "{words}");
    fs::rename(&away, &home).unwrap();
    assert_eq!(bench.look(now), (Status::Ok, String::new()));
}

/// Files that could not be used are read again though no file has changed: a mode, say, shows in no stamp.
#[cfg(unix)]
#[test]
fn a_mended_mode_is_noticed() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (certificate, key, until) = issue(2027);
    bench.write("chain", &certificate);
    bench.write("key", &key);
    let path = bench.dir.path().join("key");
    let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o644);
    let now = until - 20 * DAY;
    assert!(bench.look(now).1.contains("readable by others (mode 644)"));
    chmod(0o600);
    assert_eq!(bench.look(now), (Status::Ok, String::new()));
}

#[test]
fn time_alone_makes_it_degraded() {
    let bench = Bench::new();
    assert_eq!(bench.look(bench.until - 20 * DAY).0, Status::Ok);
    let (status, words) = bench.look(bench.until - 5 * DAY);
    assert_eq!(status, Status::Degraded);
    assert!(words.contains("is it being renewed?"), "{words}");
    let (status, words) = bench.look(bench.until + 1);
    assert_eq!(
        status,
        Status::Degraded,
        "who looks does not check it (RFC 9539)"
    );
    assert!(words.contains("has expired on 2026-07-01"), "{words}");
}
