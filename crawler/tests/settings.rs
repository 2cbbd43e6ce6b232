//! The command line and the settings of the real program: what an operator reads, and what an operator gets wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../../common/tests/program/mod.rs"]
mod program;

use std::path::Path;

use program::{Case, Program};

fn this() -> Program {
    Program {
        name: "quantumcoin-crawler",
        file: "crawler.toml",
        exe: env!("CARGO_BIN_EXE_quantumcoin-crawler"),
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
        Case::file("syntax: text without quotes", "contact = ops@example.org\n"),
        Case::file("unknown key, a letter off", "[pace]\nmax_inflight = 5\n"),
        Case::file("unknown key, a part of the right one", "[pace]\ndials = 5\n"),
        Case::file("unknown key, nothing near", "[geo]\ncolour = \"red\"\n"),
        Case::file("unknown section", "[shedule]\ngood_min_secs = 5\n"),
        Case::file("key in the wrong place", "dials_per_second = 5\n[pace]\ncontact = \"a\"\n[good]\nonion = \"127.0.0.1:9050\"\n"),
        Case::file("key with - for _", "do-not-probe = \"/tmp/x\"\n[Pace]\n"),
        Case::file("key of another program", "outbound = 8\n"),
        Case::file("section of another program", "[tls]\nkey = \"/x\"\n"),
        Case::file("section without brackets", "pace = 5\n"),
        Case::file("section twice over", "[[pace]]\ndials_per_second = 5\n"),
        Case::file("wrong type", "dns = \"false\"\n[pace]\ndials_per_second = \"5\"\nblock_every = 1.5\n[good]\nallow_private_addresses = 1\n"),
        Case::file("out of range", "[pace]\ndials_per_second = 0\n[good]\nmax_netgroup_percent = 101\n[intake]\nper_hour = -1\n[limits]\nanswer_ms = 99999999999999999999\n"),
        Case::file("rows that lack something", "[good]\nwindows = [{ reliability = 2.0, count = 1 }, { count = 1 }, { reliability = 0.5, counts = 2 }, 4, { reliability = 0.1, count = 3 }]\n"),
        Case::file("too few rows", "[good]\nwindows = [{ reliability = 0.5, count = 1 }]\n"),
        Case::file("no network, no address", "trusted_proxies = [\"10.0.0.0/40\"]\nseed_addr = [\"example.org:8333\"]\n[proxies]\nonion = \"localhost:9050\"\n"),
        Case::file("twice", "[pace]\ndials_per_second = 5\n[geo]\n[pace]\nblock_every = 5\n"),
        Case::file("files that are not there", "do_not_probe = \"/no/such/list\"\n[geo]\ncountries = \"/no/such/db\"\nsystems = \"crawler.toml\"\n"),
        Case::file("not in order", "[schedule]\ngood_min_secs = 3600\nbackoff_cap_secs = 60\n"),
        Case::file("not together", "dns = false\nresolver = [\"9.9.9.9\"]\n"),
        Case::file("address of another machine", "http = \"192.0.2.1:8380\"\n"),
        Case::variables("variable with a wrong value", &[("QTC_CRAWLER_PACE_DIALS_PER_SECOND", "many"), ("QTC_CRAWLER_DNS", "yes")]),
        Case::variables("variable that is misspelt", &[("QTC_CRAWLER_PACE_DIALS_PER_SECONDS", "5"), ("QTC_CRAWLER_DIALS_PER_SECOND", "5")]),
        Case::flags("flag with a wrong value", &["--seed-addr", "example.org"]),
        Case::flags("flag that is misspelt", &["--datadir", "/tmp"]),
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
        "network = \"devnet\"\ncontact = \"https://example.org\"\n[pace]\ndials_per_second = 7\n[good]\nmax_age_secs = 600\n",
        &[("QTC_CRAWLER_PACE_BLOCK_EVERY", "9"), ("QTC_CRAWLER_LIMITS_CONNECT_MS", "2500"), ("QTC_CRAWLER_GEO_SYSTEMS", "/usr/share/GeoIP/x.mmdb")],
        &["--no-dns", "--seed-addr", "127.0.0.1:1", "--data-dir", "/srv/crawler"],
    );
}

#[test]
fn a_misspelt_variable_is_refused() {
    this().a_misspelt_variable_is_refused(
        &["status"],
        "QTC_CRAWLER_PACE_DIALS_PER_SECONDS",
        "QTC_CRAWLER_PACE_DIALS_PER_SECOND",
    );
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
fn bans_come_as_json() {
    let program = this();
    let dir = tempfile::tempdir().unwrap();
    let place = [
        "--network",
        "devnet",
        "--data-dir",
        dir.path().to_str().unwrap(),
    ];
    let with = |more: &[&'static str]| [more, &place[..]].concat();
    let banned = program.run(&with(&[
        "ban",
        "192.0.2.0/24",
        "--for",
        "2",
        "--reason",
        "spam",
    ]));
    assert_eq!(banned.code, Some(0), "{}", banned.stderr);
    let bans = program.run(&with(&["bans", "--json"]));
    let bans: serde_json::Value = serde_json::from_str(&bans.stdout).unwrap();
    assert_eq!(bans[0]["network"], "192.0.2.0/24");
    assert_eq!(bans[0]["reason"], "spam");
    let (since, until) = (
        bans[0]["since"].as_i64().unwrap(),
        bans[0]["until"].as_i64().unwrap(),
    );
    assert_eq!(until - since, 7_200);
}
