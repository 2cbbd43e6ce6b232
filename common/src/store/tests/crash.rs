//! `kill -9` of the writer at any moment: nothing acknowledged is lost, nothing is damaged.
//!
//! The test starts itself again as a child that writes for ever and prints what was committed; the parent
//! kills it, checks the file, and goes on with the same file.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// Names the file to the child; absent in a normal run.
const CHILD_FILE: &str = "QTC_STORE_CRASH_FILE";

const KILLS: u32 = 25;

#[tokio::test]
async fn killing_the_writer_loses_nothing_acknowledged() {
    let (_dir, path) = scratch();
    let mut found = 0;
    for round in 0..KILLS {
        let acknowledged = found + run_and_kill(&path, round);
        let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut raw(&path).await)
            .await
            .unwrap();
        assert_eq!(verdict, "ok", "round {round}");
        found = count(
            &path,
            "SELECT COALESCE(SUM(probes), 0) FROM hourly_outcomes",
        )
        .await;
        assert!(
            found >= acknowledged,
            "round {round}: {found} of {acknowledged}"
        );
        let orphans = count(
            &path,
            "SELECT COUNT(*) FROM peers p LEFT JOIN reliability r ON r.address_id = p.address_id \
             WHERE r.address_id IS NULL",
        )
        .await;
        assert_eq!(orphans, 0, "round {round}: half a batch");
    }
    assert!(
        found >= i64::from(KILLS) * 50,
        "each child must have committed once: {found}"
    );
}

/// Lets a child write, kills it, and returns how many probes it acknowledged.
fn run_and_kill(path: &Path, round: u32) -> i64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "store::tests::crash::child_that_writes_for_ever",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD_FILE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Wait for the first commit, then kill somewhere in the ones that follow.
    let mut last = 0;
    for line in lines.by_ref() {
        if let Some(n) = line
            .unwrap()
            .strip_prefix("committed ")
            .and_then(|n| n.parse().ok())
        {
            last = n;
            break;
        }
    }
    std::thread::sleep(Duration::from_micros(u64::from(round) * 2_731 % 60_000));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some(n) = line.strip_prefix("committed ").and_then(|n| n.parse().ok()) {
            last = n;
        }
    }
    last
}

/// Not a test of its own: the child's side of the one above.
#[tokio::test]
async fn child_that_writes_for_ever() {
    let Some(path) = std::env::var_os(CHILD_FILE) else {
        return;
    };
    let store = Store::open(Path::new(&path), options()).await.unwrap();
    let mut out = std::io::stdout();
    let mut written = 0u32;
    loop {
        for _ in 0..50 {
            let outcome = if written.is_multiple_of(3) {
                Outcome::Refused
            } else {
                Outcome::Ok
            };
            store
                .write(probe(written % 5_000, T0 + i64::from(written), outcome))
                .await
                .unwrap();
            written += 1;
        }
        store.flush().await.unwrap();
        writeln!(out, "committed {written}").unwrap();
        out.flush().unwrap();
    }
}
