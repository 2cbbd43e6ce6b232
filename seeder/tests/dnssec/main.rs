//! What validators that we did not write say about signed zones: BIND's `delv`, unbound, and ldns. Each test prints a reason and
//! passes when its tool is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod lives;
#[path = "../support/mod.rs"]
mod support;
mod unbound;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
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
use support::{Bench, bench_with, has};
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
