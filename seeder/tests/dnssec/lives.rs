//! Keys that come and go: what validators with old records in their caches see.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use quantumcoin_seeder::dnssec::{keyfile, times::Times};

use crate::{
    Signed, ZONES, anchors, delv, ds, signed,
    support::{self, PATIENCE, has},
    unbound::{Unbound, check_by_unbound},
};

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
