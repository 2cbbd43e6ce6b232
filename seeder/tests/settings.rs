//! The command line and the settings of the real program: what an operator reads, and what an operator gets wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../../common/tests/program/mod.rs"]
mod program;

use std::path::Path;

use program::{Case, Program};

fn this() -> Program {
    Program {
        name: "quantumcoin-seeder",
        file: "seeder.toml",
        exe: env!("CARGO_BIN_EXE_quantumcoin-seeder"),
        golden: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings"),
    }
}

#[test]
fn helps_are_as_kept() {
    this().helps_are_as_kept();
}

#[test]
fn mistakes_are_told_with_place_and_remedy() {
    this().mistakes_are_told(vec![
        Case::file("syntax: a comma too few", "zones = [\"a.test\" \"b.test\"]\n"),
        Case::file("unknown key, a letter off", "ttl = 60\nlissten = [\"127.0.0.1:53\"]\n"),
        Case::file("unknown key, nothing near", "[tls]\ncolour = \"red\"\n"),
        Case::file("key by the name of its flag", "ns = [\"ns1.a.test\"]\n[[zone]]\nname = \"a.test\"\nns_address = [\"192.0.2.1\"]\n"),
        Case::file("key in the wrong place", "slice = \"1/2\"\n[tls]\nttl = 60\n"),
        Case::file("key with - for _", "name-servers = [\"ns1.a.test\"]\n"),
        Case::file("key of another program", "penalty_half_life = 3600\n[schedule]\n"),
        Case::file("section that comes once, section that comes often", "[zone]\nname = \"a.test\"\n[[tls]]\nkey = \"/k\"\n"),
        Case::file("zone without a name", "[[zone]]\nttl = 60\n"),
        Case::file("wrong type", "ttl = \"60\"\nlisten = \"127.0.0.1:53\"\nid = 5\n"),
        Case::file("out of range", "ttl = 5\nrefresh_seconds = 61\naudit_seconds = 30\nudp_workers = 5000\n"),
        Case::file("of another form", "cookie_secret = \"secret\"\nname_server_addresses = [\"ns1\"]\n[[zone]]\nname = \"a.test\"\nslice = \"5/4\"\nservices = \"9\"\nfilters = [\"x1\", \"x0\"]\n"),
        Case::file("no address", "listen = [\"53\", \"0.0.0.0\", \"::1\"]\n"),
        Case::file("twice", "zones = [\"a.test\"]\n[[zone]]\nname = \"b.test\"\n[[zone]]\nname = \"B.test.\"\n"),
        Case::file("key twice", "ttl = 60\nttl = 61\n"),
        Case::file("no such zone", "zones = [\"a..test\"]\n"),
        Case::file("server of no zone", "zones = [\"a.test\"]\nname_server_addresses = [\"ns9.a.test=192.0.2.1\"]\n"),
        Case::file("TLS by half", "[tls]\ncertificate = \"/no/such/cert.pem\"\n"),
        Case::file("files that are not there", "keys = \"/no/such/keys\"\n[tls]\ncertificate = \"/no/such/cert.pem\"\nkey = \"/no/such/key.pem\"\n"),
        Case::file("addresses of another machine", "listen = [\"192.0.2.1:53\", \"[2001:db8::1]:53\"]\n"),
        Case::file("nowhere to listen", "listen = []\n"),
        Case::variables("variable with a wrong value", &[("QTC_SEEDER_TTL", "5"), ("QTC_SEEDER_COOKIE_SECRET", "geheim")]),
        Case::variables("variable that is misspelt", &[("QTC_SEEDER_ZONES", "a.test"), ("QTC_SEEDER_REFRESH_SECOND", "5")]),
        Case::flags("flag with a wrong value", &["--ns-address", "ns1"]),
        Case::flags("flag that is misspelt", &["--zones", "a.test"]),
    ]);
}

#[test]
fn files_that_are_none_are_told() {
    this().files_that_are_none_are_told();
}

#[test]
fn the_template_is_in_deploy() {
    this().the_template_is_in_deploy();
}

#[test]
fn what_is_shown_can_be_read_again() {
    this().what_is_shown_can_be_read_again(
        "network = \"devnet\"\nttl = 120\ncookie_secret = \"000102030405060708090a0b0c0d0e0f\"\nzones = [\"a.test\"]\n[[zone]]\nname = \"b.test\"\nslice = \"1/2\"\n[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n",
        &[("QTC_SEEDER_NS", "ns1.a.test, ns2.a.test"), ("QTC_SEEDER_RATE_LIMIT", "0"), ("QTC_SEEDER_TLS_LISTEN", "127.0.0.1:853")],
        &["--refresh-seconds", "5", "--listen", "127.0.0.1:53,[::1]:53"],
    );
}

#[test]
fn a_misspelt_variable_is_refused() {
    this().a_misspelt_variable_is_refused(&["zone"], "QTC_SEEDER_LISEN", "QTC_SEEDER_LISTEN");
}

#[test]
fn completions_are_scripts() {
    this().completions_are_scripts();
}

#[test]
fn man_pages_are_pages() {
    this().man_pages_are_pages();
}

#[test]
fn a_closed_pipe_is_no_failure() {
    this().a_closed_pipe_is_no_failure();
}

#[test]
fn data_comes_as_json() {
    let program = this();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let answer = program.run(arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let zone = ["--zone", "a.test", "--network", "devnet", "--keys", dir];
    let with = |more: &[&'static str]| [more, &zone[..]].concat();
    assert_eq!(
        json(&with(&["zone", "--json"])),
        serde_json::json!(["a.test."])
    );
    let made = program.run(&with(&["keys", "generate"]));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let keys = json(&with(&["keys", "list", "--json"]));
    assert_eq!(keys[0]["zone"], "a.test.");
    assert_eq!(keys[0]["keys"][0]["entry_point"], true, "{keys}");
    assert!(keys[0]["problem"].is_null(), "{keys}");
    let answer = json(&with(&["query", "a.test", "SOA", "--json"]));
    assert_eq!(answer["answer"][0]["type"], "SOA", "{answer}");
    assert_eq!(answer["answer"][0]["name"], "a.test.");
}
