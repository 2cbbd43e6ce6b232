//! What validators that we did not write say about signed zones: BIND's `delv`, unbound, and ldns. Each test prints a reason and
//! passes when its tool is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use hickory_proto::rr::Name;
use quantumcoin_seeder::{
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    follow::unix_now,
    wire::name::WireName,
};
use support::{Bench, PATIENCE, bench_with, has};
use tempfile::TempDir;

const ZONES: [&str; 2] = ["seed1.quantumcoin.network", "seed2.quantumcoin.network"];

/// Names and types that exist.
const POSITIVE: [(&str, &str); 15] = [
    ("", "A"),
    ("", "AAAA"),
    ("", "TXT"),
    ("", "NS"),
    ("", "SOA"),
    ("", "DNSKEY"),
    ("", "CDS"),
    ("", "CDNSKEY"),
    ("", "NSEC"),
    ("x9.", "A"),
    ("X9.", "TXT"),
    ("x8.", "AAAA"),
    ("_qtc._tcp.", "SRV"),
    ("ns1.", "A"),
    // 127.0.0.1 is one of the peers.
    ("p4aaaai.n.", "A"),
];

/// Names that exist without the type.
const NO_DATA: [(&str, &str); 9] = [
    ("", "MX"),
    ("", "CAA"),
    ("x9.", "MX"),
    ("x4000.", "A"),
    ("_tcp.", "A"),
    ("n.", "TXT"),
    ("_qtc._tcp.", "A"),
    ("_qtc._tcp.x4000.", "SRV"),
    ("ns1.", "AAAA"),
];

/// Names that do not exist: in every gap of the zone, between filters, below names that exist.
const NO_NAME: [&str; 17] = [
    "www.",
    "0.",
    "a.b.c.",
    "zebra.",
    "mail.",
    "ns2.",
    "a.x9.",
    "xg.",
    "x0.",
    "x10g.",
    "_udp.",
    "baeaqca.n.",
    "no.n.",
    // Behind the capitals, which are no letters of their own, and as long as a label can be.
    "a[.n.",
    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq.n.",
    "a._tcp.",
    "_tcp.no.",
];

/// Keys of both zones: a combined one, and a pair of the other algorithm.
fn make_keys(dir: &Path) {
    let times = Times {
        sync_publish: Some(0),
        ..Times::from_now(unix_now() - 10)
    };
    for (zone, algorithm, role) in [
        (ZONES[0], Algorithm::EcdsaP256, Role::KeySigning),
        (ZONES[1], Algorithm::Ed25519, Role::KeySigning),
        (ZONES[1], Algorithm::Ed25519, Role::ZoneSigning),
    ] {
        make_key(dir, zone, algorithm, role, times);
    }
}

fn make_key(dir: &Path, zone: &str, algorithm: Algorithm, role: Role, times: Times) -> Key {
    let apex = WireName::of(&Name::from_ascii(format!("{zone}.")).unwrap());
    let key = Key::generate(apex, algorithm, role, times).unwrap();
    keyfile::write(dir, &key).unwrap();
    key
}

/// A seeder with signed zones.
struct Signed {
    bench: Bench,
    keys: TempDir,
}

async fn signed() -> Signed {
    let keys = TempDir::new().unwrap();
    make_keys(keys.path());
    let dir = keys.path().to_owned();
    let bench = bench_with(&["127.0.0.1:0"], |config| config.keys = Some(dir)).await;
    Signed { bench, keys }
}

/// The records of `keys ds` of the program itself.
fn ds(keys: &Path, zone: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
        .args([
            "keys",
            "ds",
            "--network",
            "devnet",
            "--zone",
            zone,
            "--keys",
        ])
        .arg(keys)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Comments say what is to be waited for.
    let lines = text.lines().filter(|line| !line.starts_with(';'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The trust anchors for `delv`.
fn anchors(keys: &Path) -> PathBuf {
    let mut text = "trust-anchors {\n".to_owned();
    for zone in ZONES {
        for line in ds(keys, zone).lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [owner, _, "IN", "DS", tag, algorithm, digest_type, digest] = fields.as_slice()
            else {
                panic!("{line}")
            };
            writeln!(
                text,
                "  \"{owner}\" static-ds {tag} {algorithm} {digest_type} \"{digest}\";"
            )
            .unwrap();
        }
    }
    text.push_str("};\n");
    let path = keys.join("anchors");
    fs::write(&path, text).unwrap();
    path
}

fn delv(server: SocketAddr, anchors: &Path, zone: &str, name: &str, kind: &str) -> String {
    let output = Command::new("delv")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
            "-a",
        ])
        .arg(anchors)
        .args([&format!("+root={zone}"), name, kind])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn delv_accepts_every_kind_of_answer() {
    if !has("delv", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys } = signed().await;
    let (server, path) = (bench.dns, keys.path().to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let anchors = anchors(&path);
        for zone in ZONES {
            for (label, kind) in POSITIVE {
                let said = delv(server, &anchors, zone, &format!("{label}{zone}"), kind);
                assert!(
                    said.contains("; fully validated"),
                    "{label}{zone} {kind}:\n{said}"
                );
            }
            for (label, kind) in NO_DATA {
                let said = delv(server, &anchors, zone, &format!("{label}{zone}"), kind);
                assert!(
                    said.contains("negative response, fully validated"),
                    "{label}{zone} {kind}:\n{said}"
                );
                assert!(said.contains("NXRRSET"), "{label}{zone} {kind}:\n{said}");
            }
            for label in NO_NAME {
                let said = delv(server, &anchors, zone, &format!("{label}{zone}"), "A");
                assert!(
                    said.contains("negative response, fully validated"),
                    "{label}{zone}:\n{said}"
                );
                assert!(said.contains("NXDOMAIN"), "{label}{zone}:\n{said}");
            }
        }
    });
    asked.await.unwrap();
    bench.finish().await;
}

/// An unbound that validates, with the zones as stubs.
struct Unbound {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Unbound {
    fn start(server: SocketAddr, keys: &Path) -> Self {
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
fn check_by_unbound(unbound: &Unbound, step: usize) {
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

/// Without DO nothing of DNSSEC is sent, and an answer with signatures still fits where it has to.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_only_when_they_are_wanted() {
    if !has("dig", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys: _keys } = signed().await;
    let server = bench.dns;
    let asked = tokio::task::spawn_blocking(move || {
        let dig = |arguments: &str| {
            let output = Command::new("dig")
                .args([
                    &format!("@{}", server.ip()),
                    "-p",
                    &server.port().to_string(),
                ])
                .args(["+tries=1", "+time=5", "+nocookie"])
                .args(arguments.split_whitespace())
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let zone = ZONES[0];
        for name in ["", "no.", "x77.", "a.x9."] {
            let plain = dig(&format!("{name}{zone} A"));
            assert!(
                !plain.contains("RRSIG") && !plain.contains("NSEC"),
                "{plain}"
            );
            let signed = dig(&format!("{name}{zone} A +dnssec"));
            assert!(signed.contains("RRSIG"), "{signed}");
        }
        for kind in ["A", "AAAA", "SRV", "TXT"] {
            let label = if kind == "SRV" { "_qtc._tcp." } else { "" };
            let signed = dig(&format!("{label}{zone} {kind} +dnssec +ignore"));
            let size = signed
                .split_once("MSG SIZE  rcvd: ")
                .and_then(|(_, rest)| rest.trim().parse::<usize>().ok());
            assert!(size.unwrap() <= 1232, "{signed}");
        }
        // Over TCP whole, whatever the size.
        let tcp = dig(&format!("_qtc._tcp.{zone} SRV +dnssec +tcp"));
        assert!(tcp.contains("RRSIG") && !tcp.contains(" tc"), "{tcp}");
        // No set without its signature; who wants none gets the addresses of the targets.
        assert!(tcp.contains("ADDITIONAL: 1\n"), "{tcp}");
        let bare = dig(&format!("_qtc._tcp.{zone} SRV +tcp"));
        assert!(bare.contains("ADDITIONAL: 13\n"), "{bare}");
        // Among hosts, whatever the bytes and the length: proofs are those of a name that is none.
        for label in ["a[".to_owned(), "q".repeat(63), "~".repeat(63)] {
            let denied = dig(&format!("{label}.n.{zone} A +dnssec"));
            assert!(
                denied.contains("NXDOMAIN") && denied.contains("RRSIG"),
                "{denied}"
            );
        }
        let own = dig(&format!("{zone} RRSIG"));
        assert!(own.contains("NSEC 13"), "{own}");
    });
    asked.await.unwrap();
    bench.finish().await;
}

/// As if so many seconds had passed for the keys.
fn age(dir: &Path, seconds: i64) {
    for key in keyfile::read_all(dir, |_| true).unwrap() {
        let back = |moment: Option<i64>| moment.map(|moment| moment - seconds);
        let times = Times {
            created: back(key.times.created),
            publish: back(key.times.publish),
            activate: back(key.times.activate),
            inactive: back(key.times.inactive),
            delete: back(key.times.delete),
            sync_publish: back(key.times.sync_publish),
            sync_delete: back(key.times.sync_delete),
        };
        let aged = key.with_times(times);
        keyfile::rewrite(dir, &aged.unwrap()).unwrap();
    }
}

/// `keys …` of the program itself.
fn keys(dir: &Path, zone: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
        .arg("keys")
        .args(arguments)
        .args(["--network", "devnet", "--zone", zone, "--keys"])
        .arg(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many DNSKEY and CDS records a zone has, and by how many keys an answer is signed.
fn counts(server: SocketAddr, zone: &str) -> [usize; 3] {
    let short = |kind: &str| {
        let output = Command::new("dig")
            .args([
                &format!("@{}", server.ip()),
                "-p",
                &server.port().to_string(),
            ])
            .args(["+noall", "+answer", "+dnssec", zone, kind])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let count = |kind: &str, wanted: &str| {
        let text = short(kind);
        text.lines()
            .filter(|line| line.split_whitespace().nth(3) == Some(wanted))
            .count()
    };
    [
        count("DNSKEY", "DNSKEY"),
        count("CDS", "CDS"),
        count("A", "RRSIG"),
    ]
}

/// A zone-signing key is replaced while an unbound that has old records in its cache goes on asking.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_signing_key_is_replaced_unnoticed() {
    if !has("unbound", "unbound") || !has("dig", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys: dir } = signed().await;
    let (server, zone) = (bench.dns, ZONES[1]);
    let old = Unbound::start(server, dir.path());
    let old = ask_all(old).await;
    assert_eq!(counts(server, zone), [2, 1, 1]);

    let said = keys(
        dir.path(),
        zone,
        &["roll", "--role", "zsk", "--algorithm", "ed25519"],
    );
    assert!(said.contains("signs in place of"), "{said}");
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [3, 1, 1]);
    // Those that learn the keys now know both; those that knew one still get its signatures.
    let old = ask_all(old).await;
    let middle = ask_all(Unbound::start(server, dir.path())).await;

    age(dir.path(), 2 * 3600 + 10);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [3, 1, 1]);
    let signer = || keys(dir.path(), zone, &["list"]);
    assert!(
        signer().contains("zone-signing, retired") && signer().contains("zone-signing, active"),
        "{}",
        signer()
    );
    let middle = ask_all(middle).await;
    let late = ask_all(Unbound::start(server, dir.path())).await;
    // Its DNSKEY records would have left its cache long ago.
    drop(old);

    age(dir.path(), 2 * 3600 + 10);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [2, 1, 1]);
    drop(middle);
    ask_all(late).await;
    ask_all(Unbound::start(server, dir.path())).await;
    bench.finish().await;
}

/// An entry point is replaced: both sign until the parent has the new DS.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_is_replaced_with_its_ds() {
    if !has("delv", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys: dir } = signed().await;
    let (server, zone) = (bench.dns, ZONES[0]);
    let before = anchors(dir.path());
    let old_anchors = dir.path().join("old");
    fs::rename(&before, &old_anchors).unwrap();
    let old_ds = ds(dir.path(), zone);
    let accepted = |anchors: &Path| {
        ["A", "SOA", "DNSKEY"].iter().all(|kind| {
            delv(server, anchors, zone, zone, kind).contains("; fully validated")
                && delv(server, anchors, zone, &format!("no.{zone}"), kind).contains("NXDOMAIN")
        })
    };
    assert!(accepted(&old_anchors));

    keys(dir.path(), zone, &["roll", "--role", "csk"]);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [2, 1, 2]);
    assert!(accepted(&old_anchors), "the parent has the old DS still");
    let both = ds(dir.path(), zone);
    let new_ds = both.replace(&old_ds, "");
    assert_eq!(new_ds.lines().count(), 1, "{both}");
    let new_tag = new_ds.split_whitespace().nth(4).unwrap().to_owned();
    let old_tag = old_ds.split_whitespace().nth(4).unwrap().to_owned();

    age(dir.path(), 2 * 3600 + 10);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [2, 1, 2]);
    let cds = Command::new("dig")
        .args([
            &format!("@{}", server.ip()),
            "-p",
            &server.port().to_string(),
            "+short",
            zone,
            "CDS",
        ])
        .output()
        .unwrap();
    let cds = String::from_utf8(cds.stdout).unwrap();
    assert!(
        cds.starts_with(&format!("{new_tag} ")),
        "the parent is asked for the new one: {cds}"
    );
    let new_anchors = dir.path().join("new");
    let fields: Vec<&str> = new_ds.split_whitespace().collect();
    let line = format!(
        "trust-anchors {{ \"{zone}.\" static-ds {} {} {} \"{}\"; }};\n",
        fields[4], fields[5], fields[6], fields[7]
    );
    fs::write(&new_anchors, line).unwrap();
    assert!(
        accepted(&old_anchors) && accepted(&new_anchors),
        "either DS is good"
    );

    let said = keys(dir.path(), zone, &["retire", "--tag", &old_tag]);
    assert!(said.contains("signs no more"), "{said}");
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [2, 1, 1]);
    assert!(accepted(&new_anchors));
    age(dir.path(), 2 * 3600 + 10);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(now(server, zone).await, [1, 1, 1]);
    assert!(accepted(&new_anchors));

    // A signed zone that loses its keys stays signed, and says why.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with('K') {
            fs::remove_file(path).unwrap();
        }
    }
    let error = bench
        .control
        .reload(&bench.config)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("was signed") && error.contains("DS"),
        "{error}"
    );
    let http = bench.http;
    let told = async {
        let ready = || support::get(http, "/health/ready");
        while !ready().await.contains("signing with the keys of before") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("health says so");
    assert_eq!(counts(server, zone), [1, 1, 1]);
    assert!(accepted(&new_anchors));
    bench.finish().await;
}

/// A parent is asked to drop its DS, by records that validators take for the zone's own, and then it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_asks_its_parent_to_let_it_go() {
    if !has("delv", "bind9-dnsutils") {
        return;
    }
    let Signed { bench, keys: dir } = signed().await;
    let (server, zone) = (bench.dns, ZONES[0]);
    let path = dir.path().to_owned();
    let anchors = anchors(&path);
    // What the zone asks of its parent, and whether all is validated.
    let asked = move || {
        let of = |kind| {
            let said = delv(server, &anchors, zone, zone, kind);
            assert!(said.contains("; fully validated"), "{said}");
            let data = said.lines().filter_map(|line| {
                // What follows explains a key.
                let (line, _) = line.split_once(" ;").unwrap_or((line, ""));
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (head, data) = fields.split_at_checked(4)?;
                (head[2..] == ["IN", kind]).then(|| data.join(" "))
            });
            data.collect::<Vec<String>>()
        };
        assert!(delv(server, &anchors, zone, &format!("no.{zone}"), "A").contains("NXDOMAIN"));
        assert_eq!((of("DNSKEY").len(), of("A").len()), (1, 24));
        (of("CDS"), of("CDNSKEY"))
    };
    let tag = ds(&path, zone)
        .split_whitespace()
        .nth(4)
        .unwrap()
        .to_owned();
    let (cds, _) = asked();
    assert!(cds[0].starts_with(&format!("{tag} 13 2 ")), "{cds:?}");

    let said = keys(&path, zone, &["unsign"]);
    assert!(said.contains("ask the parent to drop its DS"), "{said}");
    bench.control.reload(&bench.config).await.unwrap();
    let wanted = (vec!["0 0 0 00".to_owned()], vec!["0 3 0 AA==".to_owned()]);
    assert_eq!(asked(), wanted);
    assert_eq!(ds(&path, zone), "", "none is to be put there");
    let chain = delv(server, &path.join("anchors"), zone, zone, "NSEC");
    assert!(chain.contains(" CDS CDNSKEY"), "{chain}");

    keys(&path, zone, &["unsign", "--undo"]);
    bench.control.reload(&bench.config).await.unwrap();
    assert_eq!(asked().0, cds);
    bench.finish().await;
}

async fn ask_all(unbound: Unbound) -> Unbound {
    tokio::task::spawn_blocking(move || {
        check_by_unbound(&unbound, 5);
        unbound
    })
    .await
    .unwrap()
}

async fn now(server: SocketAddr, zone: &'static str) -> [usize; 3] {
    tokio::task::spawn_blocking(move || counts(server, zone))
        .await
        .unwrap()
}
