//! An unbound that validates, and what it makes of every kind of answer.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    NO_DATA, NO_NAME, POSITIVE, Signed, ZONES, ds, signed,
    support::{PATIENCE, has},
};

/// An unbound that validates, with the zones as stubs.
pub(crate) struct Unbound {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Unbound {
    pub(crate) fn start(server: SocketAddr, keys: &Path) -> Self {
        let dir = TempDir::new().unwrap();
        let addr = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut anchors = String::new();
        let mut stubs = String::new();
        for zone in ZONES {
            anchors.push_str(&ds(keys, zone));
            write!(
                stubs,
                "stub-zone:\n  name: \"{zone}\"\n  stub-addr: {}@{}\n  stub-prime: no\n",
                server.ip(),
                server.port()
            )
            .unwrap();
        }
        let file = dir.path().join("anchors");
        fs::write(&file, anchors).unwrap();
        let config = format!(
            "server:\n  interface: 127.0.0.1@{}\n  port: {}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  do-not-query-localhost: no\n  num-threads: 1\n  \
             module-config: \"validator iterator\"\n  trust-anchor-file: \"{}\"\n  aggressive-nsec: yes\n  \
             use-caps-for-id: yes\n  val-log-level: 2\n  private-address: 255.255.255.255\nremote-control:\n  \
             control-enable: no\n{stubs}",
            addr.port(),
            addr.port(),
            dir.path().display(),
            file.display()
        );
        let path = dir.path().join("unbound.conf");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("unbound")
            .arg("-d")
            .arg("-c")
            .arg(&path)
            .stderr(log)
            .spawn()
            .unwrap();
        let unbound = Self {
            child,
            addr,
            _dir: dir,
        };
        let start = Instant::now();
        while unbound.ask(ZONES[0], "SOA").0 != "NOERROR" {
            assert!(start.elapsed() < PATIENCE, "unbound does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        unbound
    }

    /// The status of an answer, whether it was validated, and all that dig said.
    fn ask(&self, name: &str, kind: &str) -> (String, bool, String) {
        let output = Command::new("dig")
            .args([
                &format!("@{}", self.addr.ip()),
                "-p",
                &self.addr.port().to_string(),
            ])
            .args(["+dnssec", "+tries=1", "+time=5", name, kind])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let between = |start: &str, end: &str| {
            let rest = text.split_once(start).map(|(_, rest)| rest)?;
            rest.split_once(end).map(|(found, _)| found.to_owned())
        };
        let flags = between(";; flags: ", ";").unwrap_or_default();
        (
            between("status: ", ",").unwrap_or_default(),
            flags.split(' ').any(|flag| flag == "ad"),
            text,
        )
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `step` 1 asks everything, more a part of it.
pub(crate) fn check_by_unbound(unbound: &Unbound, step: usize) {
    // Twice: the second time from its cache and by NSEC records that it has learnt, which must deny nothing that exists.
    for _ in 0..2 {
        for zone in ZONES {
            let assert = |label: &str, kind: &str, wanted: &str, answers: bool| {
                let (status, validated, text) = unbound.ask(&format!("{label}{zone}"), kind);
                assert_eq!(
                    (status.as_str(), validated),
                    (wanted, true),
                    "{label}{zone} {kind}:\n{text}"
                );
                assert_eq!(
                    text.contains(";; ANSWER SECTION"),
                    answers,
                    "{label}{zone} {kind}:\n{text}"
                );
            };
            for label in NO_NAME.iter().step_by(step) {
                assert(label, "A", "NXDOMAIN", false);
            }
            for (label, kind) in NO_DATA.iter().step_by(step) {
                assert(label, kind, "NOERROR", false);
            }
            for (label, kind) in POSITIVE.iter().step_by(step) {
                assert(label, kind, "NOERROR", true);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unbound_validates_every_kind_of_answer() {
    if !has("unbound", "unbound") || !has("dig", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys } = signed().await;
    let (server, path) = (bench.dns, keys.path().to_owned());
    let asked =
        tokio::task::spawn_blocking(move || check_by_unbound(&Unbound::start(server, &path), 1));
    asked.await.unwrap();
    bench.finish().await;
}
