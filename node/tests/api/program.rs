//! The command line against a running node.

use std::process::{Command, Output};

use serde_json::Value;

use super::world::{World, key};

const BIN: &str = env!("CARGO_BIN_EXE_quantumcoin-node");

/// Runs `quantumcoin-node` with the node's address and data directory; its exit code and what it said.
async fn run(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BIN);
    command
        .args(arguments)
        .arg("--http")
        .arg(world.http.to_string());
    if matches!(arguments[0], "add" | "drop" | "ban" | "unban")
        || arguments.starts_with(&["tx", "submit"])
    {
        command.arg("--data-dir").arg(world.dir.path());
        command.args(["--network", "devnet"]);
    }
    output(command).await
}

async fn output(mut command: Command) -> (i32, String, String) {
    for name in [
        "QTC_LOG",
        "QTC_NODE_HTTP",
        "QTC_NETWORK",
        "QTC_NODE_DATA_DIR",
    ] {
        command.env_remove(name);
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().unwrap(), stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_what_it_says() {
    let (world, other) = (World::new().await, World::new().await);
    let key = key();
    world.mine(&key, 101);
    let peer = other.peers.to_string();
    let said = async |arguments: &[&str]| {
        let (code, out, err) = run(&world, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    };
    assert!(said(&["add", &peer]).await.contains("is being dialled"));
    world
        .until("/api/v1/peers", |peers| peers["total"] == 1)
        .await;
    let peers = said(&["peers"]).await;
    assert!(peers.contains(&peer) && peers.contains("kept"), "{peers}");
    let json: Value = serde_json::from_str(&said(&["peers", "--json"]).await).unwrap();
    let id = json["items"][0]["id"].to_string();
    let one = said(&["peer", &id]).await;
    assert!(
        one.contains("user agent") && one.contains("/quantumcoin:"),
        "{one}"
    );
    assert!(said(&["status"]).await.contains(&peer));
    let dropped = said(&["drop", &peer]).await;
    assert!(dropped.contains("1 connections ended"), "{dropped}");

    let banned = said(&["ban", "198.51.100.7/24", "--for", "7d", "--reason", "scans"]).await;
    assert!(banned.contains("198.51.100.0/24 is kept out"), "{banned}");
    let bans = said(&["bans"]).await;
    assert!(
        bans.contains("scans") && bans.contains("operator"),
        "{bans}"
    );
    let json: Value = serde_json::from_str(&said(&["bans", "list", "--json"]).await).unwrap();
    assert_eq!(json[0]["network"], "198.51.100.0/24");
    said(&["unban", "198.51.100.0/24"]).await;
    assert_eq!(said(&["bans"]).await, "nobody is kept out\n");

    assert!(said(&["book"]).await.contains("capacity"));
    assert!(said(&["events"]).await.lines().count() >= 1);
    assert!(
        said(&["header", "101"])
            .await
            .contains("confirmations      1")
    );
    let block = said(&["block", "0", "--limit", "1"]).await;
    assert!(block.contains("merkle root"), "{block}");
    let tx = world.spend(&key, 1, 20_000);
    let hex = bitcoin::consensus::encode::serialize_hex(&tx);
    let txid = tx.compute_txid().to_string();
    assert!(said(&["tx", "submit", &hex]).await.starts_with(&txid));
    assert!(said(&["tx", "show", &txid]).await.contains("wtxid"));
    let nat = said(&["nat"]).await;
    assert!(nat.contains("reachable"), "{nat}");
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_helps_and_exit_with_1() {
    let (world, other) = (World::new().await, World::new().await);
    let fails = async |arguments: &[&str], words: &[&str]| {
        let (code, _, err) = run(&world, arguments).await;
        assert_eq!(code, 1, "{arguments:?}: {err}");
        for word in words {
            assert!(
                err.contains(word),
                "{arguments:?}: {word:?} is not in {err}"
            );
        }
    };
    fails(&["drop", "77"], &["there is no peer number 77", "help:"]).await;
    fails(
        &["unban", "192.0.2.7"],
        &["192.0.2.7 is not banned", "help:"],
    )
    .await;
    fails(&["block", "999"], &["no such block", "help:"]).await;
    fails(&["tx", "submit", "zz"], &["no transaction", "help:"]).await;
    fails(&["add", "0.0.0.0:1"], &["can't be dialled"]).await;

    // Another node's token, no token, no node.
    let command = |http: &str, dir: &std::path::Path| {
        let mut command = Command::new(BIN);
        command.args([
            "ban",
            "192.0.2.7",
            "--network",
            "devnet",
            "--http",
            http,
            "--data-dir",
        ]);
        command.arg(dir);
        command
    };
    let http = world.http.to_string();
    let (code, _, err) = output(command(&http, other.dir.path())).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("another node's token") && err.contains("--data-dir"),
        "{err}"
    );
    let empty = tempfile::tempdir().unwrap();
    let (code, _, err) = output(command(&http, empty.path())).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("no API token") && err.contains("--token-file"),
        "{err}"
    );
    let (code, _, err) = output(command("127.0.0.1:9", world.dir.path())).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("127.0.0.1:9") && err.contains("running"),
        "{err}"
    );
    // What listens there is a peer's port.
    let (code, _, err) = output(command(&other.peers.to_string(), world.dir.path())).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("--http") || err.contains("did not answer"),
        "{err}"
    );
    // Wrong usage has its own code.
    for wrong in [
        ["ban", "nonsense"],
        ["ban", "::/0"],
        ["peers", "--direction=up"],
    ] {
        let (code, _, err) = run(&world, &wrong).await;
        assert_eq!(code, 2, "{wrong:?}: {err}");
    }
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_fails_with_what_to_do_and_bans_of_a_stopped_node_are_read_from_its_files() {
    let world = World::new().await;
    world
        .until("/api/v1/health", |h| h["advice"][0]["code"] == "no_peers")
        .await;
    let (code, out, err) = run(&world, &["health"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        out.contains("There are no peers.") && out.contains("help:"),
        "{out}"
    );
    let (code, _, err) = run(&world, &["ban", "192.0.2.0/24", "--for", "ever"]).await;
    assert_eq!(code, 0, "{err}");
    let (http, dir) = (world.http.to_string(), tempfile::tempdir().unwrap());
    let kept = world.dir.path().join("standing.json");
    world.network.shutdown().await;
    std::fs::copy(&kept, dir.path().join("standing.json")).unwrap();
    world.end().await;
    let mut command = Command::new(BIN);
    command.args(["bans", "--network", "devnet", "--http", &http, "--data-dir"]);
    let (code, out, err) = output({
        command.arg(dir.path());
        command
    })
    .await;
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("no node answers") && err.contains(&http),
        "{err}"
    );
    assert!(
        out.contains("192.0.2.0/24") && out.contains("for ever"),
        "{out}"
    );
}
