//! The real program: what it says to wrong input, how it stops, and what a kill leaves behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::security::offence::Offence;
use quantumcoin::network::security::standing::{HALF_LIFE, Policy, Standing};

const BIN: &str = env!("CARGO_BIN_EXE_quantumcoin-node");

/// Longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(dir: &Path) -> Command {
    let mut command = Command::new(BIN);
    command
        .args([
            "run",
            "--network",
            "devnet",
            "--http",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .args(["--resolver", "127.0.0.1:9", "--log", "info"])
        .arg("--data-dir")
        .arg(dir)
        .env_remove("QTC_LOG");
    command
}

/// Runs a command that must fail, and returns what it said.
fn complaint(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A running node whose log lines can be waited for.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a log line that holds `text`.
    fn wait_for(&self, text: &str) -> String {
        let start = Instant::now();
        while let Ok(line) = self
            .lines
            .recv_timeout(PATIENCE.saturating_sub(start.elapsed()))
        {
            if line.contains(text) {
                return line;
            }
        }
        panic!("{text:?} was never logged");
    }

    /// The addresses of its listener and its API.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let line = self.wait_for("\"message\":\"ready\"");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let addr = |key: &str| line[key].as_str().unwrap().parse().unwrap();
        (addr("listen"), addr("http"))
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_malformed_chain_spec_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spec.toml");
    let text = ChainSpec::devnet()
        .to_toml()
        .replace("default_port = 8333", "default_port = \"8333\"");
    std::fs::write(&file, &text).unwrap();
    let line = 1 + text
        .lines()
        .position(|l| l.contains("default_port"))
        .unwrap();
    let said = complaint(
        Command::new(BIN)
            .args(["run", "--data-dir"])
            .arg(dir.path())
            .arg("--chain-spec")
            .arg(&file),
    );
    assert!(
        said.contains("spec.toml") && said.contains("default_port"),
        "{said}"
    );
    assert!(
        said.contains(&line.to_string()),
        "line {line} is named: {said}"
    );
}

#[test]
fn a_wrong_genesis_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spec.toml");
    let spec = ChainSpec::devnet();
    let wrong = spec.genesis.hash.replace('6', "7");
    std::fs::write(&file, spec.to_toml().replace(&spec.genesis.hash, &wrong)).unwrap();
    let said = complaint(
        Command::new(BIN)
            .args(["run", "--data-dir"])
            .arg(dir.path())
            .arg("--chain-spec")
            .arg(&file),
    );
    assert!(
        said.contains("spec.toml") && said.contains("hash"),
        "{said}"
    );
}

#[test]
fn an_absent_chain_spec_that_was_asked_for_is_refused() {
    let said = complaint(Command::new(BIN).args(["run", "--chain-spec", "nowhere.toml"]));
    assert!(said.contains("nowhere.toml"), "{said}");
}

#[test]
fn a_busy_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap().to_string();
    let said = complaint(
        Command::new(BIN)
            .args([
                "run",
                "--network",
                "devnet",
                "--listen",
                &addr,
                "--data-dir",
            ])
            .arg(dir.path()),
    );
    assert!(said.contains(&addr) && said.contains("use"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = complaint(&mut command(&file.join("data")));
    assert!(said.contains("file/data"), "{said}");
}

#[test]
fn bans_are_listed_and_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let bans = |arguments: &[&str]| {
        let mut command = Command::new(BIN);
        command.arg("bans").args(arguments);
        command.args(["--network", "devnet", "--data-dir"]);
        command.arg(dir.path());
        command
    };
    // Nobody listens on port 9, so the file is read.
    let text = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let policy = Policy {
        half_life: HALF_LIFE,
        by_netgroup: false,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut standing = Standing::new(policy);
    for host in ["9.8.7.6", "2001:db8:5::1"] {
        standing.note(host.parse().unwrap(), Offence::InvalidBlock, now.as_secs());
    }
    standing.snapshot(now.as_secs()).save(dir.path()).unwrap();
    let list = text(bans(&["list", "--http", "127.0.0.1:9"]));
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(
        lines[1].contains("9.8.7.6") && lines[1].contains("h more"),
        "{list}"
    );
    assert!(lines[2].contains("2001:db8:5::/64") && lines[2].contains("invalid_block"));
    // Only where nobody else writes the file.
    let error = complaint(&mut bans(&["lift", "9.8.7.6"]));
    assert!(error.contains("there is no chain"), "{error}");
    let spec = Arc::new(ChainSpec::devnet());
    let running = Blockchain::open(spec, &dir.path().join("chain")).unwrap();
    let error = complaint(&mut bans(&["lift", "9.8.7.6"]));
    assert!(error.contains("quantumcoin-node unban"), "{error}");
    drop(running);
    let lifted = text(bans(&["lift", "2001:db8:5::ffff"]));
    assert!(lifted.contains("nothing is held against 2001:db8:5::ffff any more"));
    let error = complaint(&mut bans(&["lift", "2001:db8:5::1"]));
    assert!(
        error.contains("nothing is held") && error.contains("bans list"),
        "{error}"
    );
    text(bans(&["lift", "9.8.7.6"]));
    assert_eq!(text(bans(&["list", "--json", "--files"])), "[]\n");
    let mut nowhere = Command::new(BIN);
    nowhere.args(["bans", "list", "--files", "--data-dir"]);
    let error = complaint(nowhere.arg(dir.path().join("nowhere")));
    assert!(error.contains("no such directory"), "{error}");
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Running::start(&mut command(dir.path()));
    first.addresses();
    let said = complaint(&mut command(dir.path()));
    assert!(said.contains("chain") && said.contains("use"), "{said}");
}

#[test]
fn another_networks_data_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Arc::new(ChainSpec::testnet());
    drop(Blockchain::open(spec, &dir.path().join("chain")).unwrap());
    let said = complaint(&mut command(dir.path()));
    assert!(
        said.contains("testnet") || said.contains("network"),
        "{said}"
    );
}

#[test]
fn a_damaged_identity_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("identity.key");
    std::fs::write(&key, b"junk").unwrap();
    let mut permissions = std::fs::metadata(&key).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&key, permissions).unwrap();
    let said = complaint(&mut command(dir.path()));
    assert!(said.contains("identity.key"), "{said}");
    assert_eq!(std::fs::read(&key).unwrap(), b"junk");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let output = Command::new(BIN)
        .args(["run", "--no-such-flag"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn signals_stop_it_cleanly_within_five_seconds() {
    for name in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Running::start(command(dir.path()).args(["--mine-every", "0.05"]));
        node.addresses();
        let start = Instant::now();
        node.signal(name);
        let status = node.child.wait().unwrap();
        assert!(status.success(), "{name}: {status}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn status_of_a_running_node_and_of_none() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(&mut command(dir.path()));
    let (listen, http) = node.addresses();
    let output = Command::new(BIN)
        .args(["status", "--json", "--http", &http.to_string()])
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["network"], "devnet");
    assert_eq!(status["listen_addr"], listen.to_string());
    drop(node);
    let said = complaint(Command::new(BIN).args(["status", "--http", &http.to_string()]));
    assert!(
        said.contains(&http.to_string()) && said.contains("running"),
        "{said}"
    );
}

#[test]
fn a_node_killed_while_it_syncs_goes_on_where_it_was() {
    let miner_dir = tempfile::tempdir().unwrap();
    let miner = Running::start(command(miner_dir.path()).args(["--mine-every", "0.002"]));
    let (peer, _) = miner.addresses();
    let dir = tempfile::tempdir().unwrap();
    let mut least = 0;
    for _ in 0..5 {
        let follower = Running::start(command(dir.path()).args(["--connect", &peer.to_string()]));
        let (_, http) = follower.addresses();
        // Let it get on, then kill it in the middle: Drop sends SIGKILL.
        wait_for_height(http, least + 30);
        drop(follower);
        let spec = Arc::new(ChainSpec::devnet());
        let chain = Blockchain::open(spec, &dir.path().join("chain")).unwrap();
        let tip = chain.tip();
        assert!(chain.block(&tip.hash).unwrap().is_some());
        assert!(tip.height >= least, "from {least} to {}", tip.height);
        least = tip.height;
    }
    assert!(least > 0, "something was kept");
}

/// Waits until the node whose API is at `http` has verified so many blocks.
fn wait_for_height(http: SocketAddr, height: u32) {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    loop {
        let tip = runtime
            .block_on(quantumcoin_node::client::get(http, "/api/v1/tip"))
            .unwrap();
        if tip["height"].as_u64().unwrap() >= height.into() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "stuck at {tip}");
    }
}

#[test]
fn it_may_end_after_the_first_synchronisation() {
    let miner_dir = tempfile::tempdir().unwrap();
    let miner = Running::start(command(miner_dir.path()).args(["--mine-every", "0.01"]));
    let (peer, http) = miner.addresses();
    wait_for_height(http, 20);
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path())
        .args(["--exit-when-synced", "--connect", &peer.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.starts_with("synced: block "), "{said}");
}

/// `quantumcoin-node chain …` on a data directory.
fn chain_command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command.arg("chain").args(arguments);
    command.args(["--network", "devnet", "--data-dir"]).arg(dir);
    command.env_remove("QTC_LOG");
    command
}

fn output_of(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_chain_is_checked_exported_and_imported() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    mined_directory(&node, 30);
    let checked = output_of(&mut chain_command(
        &node,
        &["check", "--signatures", "--json"],
    ));
    let report: serde_json::Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(
        (&report["ok"], &report["height"]),
        (&true.into(), &30.into())
    );
    assert_eq!(
        (&report["blocks"], &report["coins"]),
        (&30.into(), &30.into())
    );

    let file = dir.path().join("chain.dat");
    let name = file.to_str().unwrap();
    output_of(&mut chain_command(&node, &["export", name]));
    let text = complaint(&mut chain_command(&node, &["export", name]));
    assert!(text.contains("exists already"), "{text}");

    let copy = dir.path().join("copy");
    let text = output_of(&mut chain_command(&copy, &["import", name]));
    assert!(text.contains("block 30 "), "{text}");
    let tip = |text: &str| text.lines().next().map(str::to_owned);
    assert_eq!(
        tip(&output_of(&mut chain_command(&copy, &["check"]))),
        tip(&output_of(&mut chain_command(&node, &["check"])))
    );

    let text = complaint(&mut chain_command(&dir.path().join("none"), &["check"]));
    assert!(
        text.contains("there is no chain") && text.contains("--data-dir"),
        "{text}"
    );
    std::fs::write(&file, b"QTCD").unwrap();
    let text = complaint(&mut chain_command(&copy, &["import", name]));
    assert!(text.contains("byte 0") && text.contains("help: "), "{text}");
}

#[test]
fn a_damaged_block_is_found_by_the_check() {
    let dir = tempfile::tempdir().unwrap();
    mined_directory(dir.path(), 10);
    let file = dir.path().join("chain/blk00000.dat");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let text = complaint(&mut chain_command(dir.path(), &["check"]));
    assert!(
        text.contains("blk00000.dat") && text.contains("help: "),
        "{text}"
    );
}

/// A node's data directory with a chain of this height.
fn mined_directory(dir: &Path, height: u32) {
    let chain = Blockchain::open(Arc::new(ChainSpec::devnet()), &dir.join("chain")).unwrap();
    for _ in 0..height {
        let payout = quantumcoin::chain::p2mldsa::script([7; 32]);
        quantumcoin::chain::miner::mine_block(&chain, payout, 1_790_000_000).unwrap();
    }
}
