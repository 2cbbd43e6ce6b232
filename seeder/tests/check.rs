//! `quantumcoin-seeder check` of the real program: on a machine with and without a seeder, and in a world of our own,
//! where BIND's `named` has the parent zone and unbound resolves. Tests print a reason and pass when a program is
//! missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;
mod world;

use std::{fs, net::UdpSocket};

use support::bench_with;
use tempfile::TempDir;
use world::{PARENT, Program, World, ZONE, check, records, run, seeder};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_store_and_network() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("crawl.sqlite");
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap().to_string();
    // 192.0.2.0/24 is for documentation (RFC 5737): nobody answers there.
    let checked = check(&[
        "--zone",
        ZONE,
        "--listen",
        &listen,
        "--store",
        store.to_str().unwrap(),
        "--resolver",
        "192.0.2.1",
        "--ntp",
        "192.0.2.1",
    ])
    .await;
    assert!(!checked.success);
    let store = checked.findings("store", "error");
    assert!(
        store[0].contains("is not there") && store[0].contains("systemctl"),
        "{store:?}"
    );
    let port = checked.findings("port", "error");
    let me = std::process::id().to_string();
    assert!(
        port[0].contains(&me) || !cfg!(target_os = "linux"),
        "{port:?}"
    );
    for topic in ["delegation", "clock", "server"] {
        let errors = checked.findings(topic, "error");
        assert_eq!(errors, [""; 0], "what is out of reach is no error");
    }
    let outside = checked.findings("delegation", "note");
    assert!(
        outside[0].contains("no resolver is reachable from here"),
        "{outside:?}"
    );
    let clock = checked.findings("clock", "note");
    assert!(
        clock[0].contains("no time server is reachable"),
        "{clock:?}"
    );
    let records = checked.json["parent_records"].as_array().unwrap();
    let wanted = [
        "seed.test. 3600 IN NS ns1.seed.test.",
        "ns1.seed.test. 3600 IN A 127.0.0.1",
    ];
    assert_eq!(*records, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_seeder_is_known_and_judged() {
    let bench = bench_with(&["127.0.0.1:0"], |_| {}).await;
    let (listen, store) = (
        bench.dns.to_string(),
        bench.path.to_str().unwrap().to_owned(),
    );
    let arguments = [
        "--listen",
        &listen,
        "--store",
        &store,
        "--offline",
        "--zone",
    ];
    let ours = check(&[&arguments[..], &["seed1.quantumcoin.network"]].concat()).await;
    let answers = ours.findings("server", "ok");
    assert_eq!(answers.len(), 1, "{:#}", ours.json);
    assert!(
        answers[0].contains("over UDP and TCP: answers as an authority"),
        "{answers:?}"
    );
    let store = ours.findings("store", "ok");
    assert!(
        store[0].contains("30 good peers by IPv4 and 30 by IPv6"),
        "{store:?}"
    );
    assert!(
        !ours.findings("delegation", "note").is_empty(),
        "--offline is told"
    );
    // The seeder runs within this test program, whose name is another: it is taken for a proxy.
    let port = ours.findings("port", "note");
    assert!(
        port[0].contains("is in use by check-") || !cfg!(target_os = "linux"),
        "{port:?}"
    );

    let other = check(&[&arguments[..], &["other.test"]].concat()).await;
    let refused = other.findings("server", "error");
    assert!(refused[0].contains("REFUSED"), "{refused:?}");
    let port = other.findings("port", "error");
    assert!(port[0].contains("is taken by"), "{port:?}");
    bench.finish().await;
}

/// The program itself holds the port: no fault.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_own_port_is_no_fault() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("none");
    let settings = |listen: &str| {
        let store = store.to_str().unwrap();
        ["--listen", listen, "--zone", ZONE, "--store", store].map(str::to_owned)
    };
    let (program, listen) =
        Program::at_free_port(&[PARENT], |addr| seeder(&settings(&addr.to_string())));
    let listen = listen.to_string();
    let settings = settings(&listen);
    let arguments = settings.each_ref().map(String::as_str);
    let checked = check(&[&arguments[..], &["--offline"]].concat()).await;
    let answers = checked.findings("server", "ok");
    assert_eq!(answers.len(), 1, "{:#}", checked.json);
    let port = checked.findings("port", "ok");
    let me = format!("process {}", program.0.id());
    assert!(
        port[0].contains(&me) || !cfg!(target_os = "linux"),
        "{port:?}"
    );

    // One that is to have all addresses is another, and can't start beside it.
    let everywhere = listen.replace(&PARENT.to_string(), "0.0.0.0");
    let wider = ["--listen", &everywhere, "--ns-address", "127.0.0.1"];
    let checked = check(&[&wider[..], &arguments[2..], &["--offline"]].concat()).await;
    let port = checked.findings("port", "error");
    assert!(
        port[0].contains("with other settings") || !cfg!(target_os = "linux"),
        "{port:?}"
    );
}

#[test]
fn settings_that_can_not_be_read_are_a_finding() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("seeder.toml");
    fs::write(&path, "zoness = []\n").unwrap();
    let output = run(&["--config", path.to_str().unwrap(), "--offline"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("Configuration\n  ERROR ") && text.contains("zoness"),
        "{text}"
    );
    assert!(text.contains("Something is broken: 1 error,"), "{text}");
    let output = run(&["--resolver", "dns.example"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "wrong usage");
    assert!(text.contains("write an IP address"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_that_are_right_and_broken() {
    let Some(world) = World::new(false).await else {
        return;
    };
    let nothing = world.check("").await;
    nothing.assert_broken(&[
        "does not delegate it",
        "seed.test. 3600 IN NS ns1.seed.test.",
    ]);

    // The lines that it asks for make all well.
    let right = world.check(&records(&nothing)).await;
    assert_eq!(right.errors(), [""; 0], "{:#}", right.json);
    assert!(right.success);
    let ok = right.findings("delegation", "ok").join("\n");
    for wanted in [
        "its name servers are ns1.seed.test.",
        "the parent zone test. (by 127.0.0.1) delegates it to ns1.seed.test.",
        "the parent's glue is right: 127.0.0.2",
        "is not signed, and the parent has no DS",
        "ns1.seed.test. at 127.0.0.2 answers as an authority over UDP and TCP",
    ] {
        assert!(ok.contains(wanted), "{wanted}: {ok}");
    }

    let no_glue = world.check("seed IN NS ns1.seed").await;
    no_glue.assert_broken(&[
        "no glue for ns1.seed.test.",
        "ns1.seed.test. 3600 IN A 127.0.0.2",
    ]);

    // The parent's server gets asked for the zone, and refers to others: lame. Its address is no glue of ours, which
    // is told, too.
    let lame = world
        .check("seed IN NS ns1.seed\nseed IN NS ns\nns1.seed IN A 127.0.0.2")
        .await;
    lame.assert_broken(&["ns.test. at 127.0.0.1 is lame", "no AA flag"]);
    let other = lame.findings("delegation", "warning").join("\n");
    assert!(
        other.contains("ns.test."),
        "the sets of name servers differ: {other}"
    );

    let ds =
        "seed IN DS 4711 13 2 0707070707070707070707070707070707070707070707070707070707070707";
    let bogus = world.check(&format!("{}\n{ds}", records(&nothing))).await;
    bogus.assert_broken(&["4711 13 2", "bogus", "take the DS out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_zone_with_and_without_its_ds() {
    let Some(world) = World::new(true).await else {
        return;
    };
    let plain = "seed IN NS ns1.seed\nns1.seed IN A 127.0.0.2";
    let insecure = world.check(plain).await;
    assert_eq!(insecure.errors(), [""; 0], "{:#}", insecure.json);
    let notes = insecure.findings("delegation", "note").join("\n");
    assert!(
        notes.contains("the parent has no DS of it") && notes.contains(" IN DS "),
        "{notes}"
    );

    let secure = world.check(&records(&insecure)).await;
    assert_eq!(secure.errors(), [""; 0], "{:#}", secure.json);
    let ok = secure.findings("delegation", "ok").join("\n");
    assert!(
        ok.contains("the parent's DS names a key of the zone"),
        "{ok}"
    );

    let digest = "07".repeat(32);
    let wrong = world
        .check(&format!("{plain}\nseed IN DS 4711 13 2 {digest}"))
        .await;
    wrong.assert_broken(&["no DS of the parent", "names a key of the zone"]);
}

/// The steps of going unsigned, by what the check says at each.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_becomes_unsigned_is_told_when_its_keys_may_go() {
    let Some(world) = World::new(true).await else {
        return;
    };
    let plain = "seed IN NS ns1.seed\nns1.seed IN A 127.0.0.2";
    let secure = records(&world.check(plain).await);
    assert!(secure.contains(" IN DS "), "{secure}");
    world.keys(&["unsign"]);
    let asking = world.check(&secure).await;
    assert_eq!(asking.errors(), [""; 0], "{:#}", asking.json);
    let notes = asking.findings("delegation", "note").join("\n");
    assert!(
        notes.contains("to drop its DS") && notes.contains("which it still has"),
        "{notes}"
    );
    assert!(
        !records(&asking).contains(" DS "),
        "none is to be put there"
    );
    let done = world.check(plain).await;
    assert_eq!(done.errors(), [""; 0], "{:#}", done.json);
    let notes = done.findings("delegation", "note").join("\n");
    assert!(notes.contains("its keys may be removed"), "{notes}");
    world.keys(&["unsign", "--undo"]);
    let again = world.check(&secure).await;
    let ok = again.findings("delegation", "ok").join("\n");
    assert!(ok.contains("the parent's DS names a key"), "{ok}");
}
