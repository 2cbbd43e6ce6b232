//! The command line and the settings of the real program: what an operator reads, and what an operator gets wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../../common/tests/program/mod.rs"]
mod program;

use std::path::Path;

use program::{Case, Program};

fn this() -> Program {
    Program {
        name: "quantumcoin-node",
        file: "node.toml",
        exe: env!("CARGO_BIN_EXE_quantumcoin-node"),
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
        Case::file("syntax: text without quotes", "network = \"devnet\"\nlisten = 127.0.0.1:8333\n"),
        Case::file("syntax: quotes that do not end", "log = \"info\noutbound = 3\n"),
        Case::file("unknown key, a letter off", "network = \"devnet\"\nlisen = \"127.0.0.1:8333\"\n"),
        Case::file("unknown key, nothing near", "colour = \"red\"\n"),
        Case::file("key with - for _", "data-dir = \"/tmp\"\n"),
        Case::file("key by another name", "addnode = [\"192.0.2.1:8333\"]\n"),
        Case::file("key of another program", "refresh_seconds = 5\n"),
        Case::file("section of another program", "[pace]\ndials_per_second = 5\n"),
        Case::file("wrong type: quotes", "outbound = \"8\"\n"),
        Case::file("wrong type: no list", "resolver = \"9.9.9.9\"\n"),
        Case::file("wrong type: no text", "listen = 8333\n"),
        Case::file("out of range", "penalty_half_life = 59\n\nmine_every = -1\n"),
        Case::file("no such choice", "dnssec = \"requires\"\nport_mapping = [\"pcp\", \"upnpp\"]\n"),
        Case::file("no address", "listen = \"0.0.0.0\"\nhttp = \"localhost:8332\"\nconnect = [\"seed.example.org:8333\"]\n"),
        Case::file("no resolver", "resolver = [\"system\", \"tls://dns.quad9.net\"]\n"),
        Case::file("twice", "outbound = 3\nlog = \"info\"\noutbound = 4\n"),
        Case::file("not together", "dnssec = \"off\"\ntrust_anchor = \"/etc/hosts\"\n"),
        Case::file("files that are not there", "as_map = \"/no/such/map\"\nresolver_ca = \"/no/such/ca.pem\"\ntrust_anchor = \"/no/such/key\"\n"),
        Case::file("chain spec that is not there", "chain_spec = \"/no/such/spec.toml\"\n"),
        Case::file("network that is not there", "network = \"mainet\"\n"),
        Case::file("API open to the world", "http = \"0.0.0.0:8332\"\n"),
        Case::file("address of another machine", "listen = \"192.0.2.1:8333\"\n"),
        Case::file("mining where it is in vain", "mine_every = 2\n"),
        Case::file("more connections than places", "outbound = 500\n"),
        Case::file("data directory that is a file", "data_dir = \"node.toml\"\n"),
        Case::file("several at once", "outbound = \"many\"\nhttps = \"127.0.0.1:1\"\nas_map = \"/no/such/map\"\n"),
        Case::variables("variable with a wrong value", &[("QTC_NODE_OUTBOUND", "many"), ("QTC_NODE_CONNECT", "192.0.2.1:8333,there")]),
        Case::variables("variable that is misspelt", &[("QTC_NODE_LISEN", "127.0.0.1:1"), ("QTC_NETWROK", "devnet")]),
        Case::variables("variable with a file that is not there", &[("QTC_NODE_AS_MAP", "/no/such/map")]),
        Case::flags("flag with a wrong value", &["--listen", "here"]),
        Case::flags("flag out of range", &["--penalty-half-life", "5"]),
        Case::flags("flag that is misspelt", &["--lisen", "127.0.0.1:1"]),
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
        "network = \"devnet\"\noutbound = 4\nresolver = [\"9.9.9.9\"]\nconnect = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\n",
        &[("QTC_NODE_LISTEN", "127.0.0.1:4"), ("QTC_LOG_FORMAT", "json")],
        &["--mine-every", "2", "--stun-server", "none"],
    );
}

#[test]
fn a_misspelt_variable_is_refused() {
    this().a_misspelt_variable_is_refused(&["status"], "QTC_NODE_LISEN", "QTC_NODE_LISTEN");
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
fn the_chain_spec_comes_as_json() {
    let answer = this().run(&["spec", "--network", "devnet", "--json"]);
    let spec: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(
        (answer.code, spec["network"].as_str()),
        (Some(0), Some("devnet"))
    );
}

#[test]
fn a_configuration_check_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("data");
    let place = place.to_str().unwrap();
    let answer = this().run(&["config", "check", "--data-dir", place, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!((answer.code, report["ok"].as_bool()), (Some(0), Some(true)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let answer = this().run(&[
        "config",
        "check",
        "--data-dir",
        place,
        "--outbound",
        "999",
        "--json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(answer.code, Some(1), "{report}");
    assert_eq!(report["mistakes"][0]["place"]["flag"], "--outbound");
}
